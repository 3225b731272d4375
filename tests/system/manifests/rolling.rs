//! `deploy/rolling-update.sh`, by which `make up` brings a cluster that runs to the image and the settings of now: node by node. Docker is a stand-in
//! (`docker.sh` beside this file), the script is the real one.

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Output},
};

use gorani_tests::{
    binary::{self, workspace},
    node::{Node, Settings},
};
use tempfile::TempDir;

use super::{check, path, read};
use crate::admin::login_status;

/// A copy of the files that the script reads, and the state of docker.
struct Machine {
    files: TempDir,
}

impl Machine {
    fn new() -> Self {
        let files = TempDir::new().unwrap();
        for name in ["rolling-update.sh", "docker-compose.yml", "gorani.cluster.toml"] {
            fs::copy(path(name), files.path().join(name)).unwrap();
        }
        fs::write(files.path().join(".env"), "GORANI_API_KEY=a\nGORANI_TOKEN_SECRET=b\n").unwrap();
        symlink(workspace().join("tests/system/manifests/docker.sh"), files.path().join("docker")).unwrap();
        let machine = Self { files };
        machine.write("image", "sha256:old");
        machine.write("health", "healthy");
        machine
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.files.path().join(name), format!("{text}\n")).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.files.path().join(name)).unwrap()
    }

    fn append(&self, name: &str, text: &str) {
        let old = fs::read_to_string(self.files.path().join(name)).unwrap();
        self.write(name, &format!("{old}{text}"));
    }

    fn update(&self, nodes: &str) -> Output {
        self.update_with(nodes, &[])
    }

    /// `arguments`: further ones of compose.
    fn update_with(&self, nodes: &str, arguments: &[&str]) -> Output {
        let old = std::env::var("PATH").unwrap();
        Command::new(self.files.path().join("rolling-update.sh"))
            .args([nodes, "docker", "compose", "--project-name", "gorani"])
            .args(arguments)
            .env("PATH", format!("{}:{old}", self.files.path().display()))
            .env("DOCKER_STATE", self.files.path())
            .env("GORANI_NODE", binary::node())
            .envs([("LEARN_SECONDS", "0"), ("READY_SECONDS", "1")])
            .env_remove("GORANI_API_KEY")
            .env_remove("GORANI_ADMIN_PASSWORD")
            .output()
            .unwrap()
    }

    fn updated(&self, nodes: &str) {
        let output = self.update(nodes);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Names of the nodes' containers, the oldest first; all of them run.
    fn nodes(&self) -> Vec<String> {
        self.containers("gateway")
    }

    /// Names of a service's containers, the oldest first.
    fn containers(&self, service: &str) -> Vec<String> {
        let containers = fs::read_dir(self.files.path().join("containers")).unwrap();
        let is_own = |of: &Path| fs::read_to_string(of.join("service")).unwrap().trim_end() == service;
        let mut own: Vec<String> = containers
            .map(|container| container.unwrap())
            .filter(|container| is_own(&container.path()))
            .map(|container| container.file_name().into_string().unwrap())
            .collect();
        own.sort();
        own
    }

    /// The healthy nodes that were left at the end of each that ended.
    fn left_at_ends(&self) -> Vec<usize> {
        let ends = fs::read_to_string(self.files.path().join("ends")).unwrap_or_default();
        ends.lines().map(|line| line.parse().unwrap()).collect()
    }
}

#[test]
fn a_cluster_starts_and_an_update_without_a_change_ends_no_node() {
    let machine = Machine::new();
    machine.updated("3");
    let nodes = machine.nodes();
    assert_eq!(nodes.len(), 3);
    machine.updated("3");
    assert_eq!(machine.nodes(), nodes);
    machine.updated("5");
    assert_eq!(machine.nodes()[..3], nodes);
    assert_eq!(machine.nodes().len(), 5);
    assert!(machine.left_at_ends().is_empty());
}

#[test]
fn what_is_of_a_profile_starts_for_those_who_ask_for_the_profile_alone() {
    let machine = Machine::new();
    machine.updated("1");
    assert_eq!((machine.containers("nginx").len(), machine.containers("prometheus").len()), (1, 0));
    let output = machine.update_with("1", &["--profile", "metrics"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!((machine.containers("nginx").len(), machine.containers("prometheus").len()), (1, 1));
}

#[test]
fn changed_settings_keys_and_images_replace_every_node_and_there_are_never_fewer() {
    let changes: [fn(&Machine); 3] = [
        |machine| machine.append("gorani.cluster.toml", "# changed"),
        |machine| machine.append(".env", "GORANI_REDIS_PASSWORD=other"),
        |machine| machine.write("image", "sha256:new"),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        for nodes in ["1", "3"] {
            let machine = Machine::new();
            machine.updated(nodes);
            let before = machine.nodes();
            change(&machine);
            machine.updated(nodes);
            let after = machine.nodes();
            assert_eq!(after.len(), before.len());
            assert!(after.iter().all(|node| !before.contains(node)), "change {number}: {before:?} {after:?}");
            assert_eq!(machine.left_at_ends(), vec![before.len(); before.len()], "change {number}");
        }
    }
}

#[test]
fn the_admin_page_gets_the_hash_of_its_password_once_for_each_password() {
    let machine = Machine::new();
    machine.append(".env", "GORANI_ADMIN_PASSWORD=\"one of make up\"");
    machine.updated("1");
    let keys = machine.read(".env");
    let value = |name: &str| {
        let found = keys.lines().find_map(|line| line.strip_prefix(&format!("{name}=")));
        found.unwrap_or_else(|| panic!("no {name}: {keys}")).to_owned()
    };
    assert!(keys.starts_with("GORANI_API_KEY=a\nGORANI_TOKEN_SECRET=b\n"), "{keys}");
    let node = Node::start(
        Settings::open()
            .set("admin.enabled", value("GORANI__ADMIN__ENABLED"))
            .set("admin.password_hash", format!("{:?}", value("GORANI__ADMIN__PASSWORD_HASH"))),
    );
    assert_eq!(login_status(node.address(), "one of make up"), 200);
    assert_eq!(login_status(node.address(), "another"), 401);
    let environment = [
        ("GORANI__ADMIN__ENABLED", &*value("GORANI__ADMIN__ENABLED")),
        ("GORANI__ADMIN__PASSWORD_HASH", &value("GORANI__ADMIN__PASSWORD_HASH")),
        ("GORANI__API__KEYS", "a-secret-of-at-least-thirty-two-bytes"),
        ("GORANI__TOKEN__HMAC_SECRET", "a-secret-of-at-least-thirty-two-bytes"),
        ("GORANI__BROKER__REDIS__URL", "redis://redis:6379/0"),
    ];
    check(&read("gorani.cluster.toml"), &environment).unwrap();

    let nodes = machine.nodes();
    machine.updated("1");
    assert_eq!((machine.read(".env"), machine.nodes()), (keys.clone(), nodes.clone()));

    machine.write(
        ".env",
        &keys.replace("one of make up", "another of mine").replace("ENABLED=true", "ENABLED=false"),
    );
    machine.updated("1");
    let keys = machine.read(".env");
    assert!(keys.contains("GORANI__ADMIN__ENABLED=false\n"), "{keys}");
    assert_eq!(keys.matches("GORANI__ADMIN__PASSWORD_HASH=").count(), 1, "{keys}");
    assert_ne!(machine.nodes(), nodes);
}

#[test]
fn a_new_node_that_does_not_become_ready_ends_the_update_and_the_old_ones_stay() {
    let machine = Machine::new();
    machine.updated("3");
    let before = machine.nodes();
    machine.write("image", "sha256:broken");
    for health in ["unhealthy", "starting"] {
        machine.write("health", health);
        let output = machine.update("3");
        assert_eq!(output.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&output.stderr).contains(&format!("is {health} and not ready")));
        assert_eq!(machine.nodes(), before);
    }
    assert!(machine.left_at_ends().is_empty());
}

#[test]
fn no_node_starts_or_ends_while_redis_is_not_there() {
    let machine = Machine::new();
    machine.write("health", "starting");
    let output = machine.update("3");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("Redis is starting"), "{output:?}");
    assert!(machine.nodes().is_empty());
}

#[test]
fn fewer_nodes_end_one_after_the_other() {
    let machine = Machine::new();
    machine.updated("4");
    machine.updated("2");
    assert_eq!(machine.nodes().len(), 2);
    assert_eq!(machine.left_at_ends(), [3, 2]);
    // Fewer, and all of them changed.
    machine.updated("4");
    machine.write("image", "sha256:new");
    machine.updated("2");
    assert_eq!(machine.nodes().len(), 2);
    assert!(machine.left_at_ends().into_iter().all(|left| left >= 2), "{:?}", machine.left_at_ends());
}

#[test]
fn what_is_no_number_of_nodes_is_told() {
    for nodes in ["", "0", "three", "-1"] {
        assert_eq!(Machine::new().update(nodes).status.code(), Some(78), "{nodes}");
    }
}
