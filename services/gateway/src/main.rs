//! The `gorani` command.
fn main() {}
