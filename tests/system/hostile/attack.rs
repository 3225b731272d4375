//! The short form of `make attack`: every attack at once, with a part of its connections and pace, beside honest clients.
//!
//! What is asserted does not depend on the machine's speed: nobody loses a message, the nodes stay ready, memory stays bounded.

use std::process::Command;

use gorani_tests::binary;

#[test]
fn all_attacks_at_once_cost_no_honest_client_a_message_no_node_its_readiness_and_little_memory() {
    let output = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(["attack", "--brief"])
        .env("GORANI_BIN", binary::node())
        .output()
        .expect("the program can be started");
    let told = [output.stdout, output.stderr].map(|told| String::from_utf8_lossy(&told).into_owned());
    assert!(output.status.success(), "{}\n{}", told[0], told[1]);
}
