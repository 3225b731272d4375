//! The lines of `deploy/` about a backend, behind `#`: with the `#` off, a node takes it; and its secret comes where the settings look for it.

use std::fs;

use serde_json::Value;

use super::{check, list, read, text, yaml};

/// The place at which the settings look for the secret of signatures.
const SECRET: &str = "/etc/gorani-hooks/hook.secret";

/// Settings with those that are switched off by `#` without a space behind it; comments have one.
fn switched_on(settings: &str) -> String {
    let is_setting = |line: &str| line.starts_with("#[") || (line.starts_with('#') && line.contains(" = "));
    let is_off = |line: &&str| is_setting(line) && !line.starts_with("# ");
    let lines: Vec<_> = settings
        .lines()
        .map(|line| if is_off(&line) { line.trim_start_matches('#') } else { line })
        .collect();
    lines.join("\n")
}

/// The settings files of compose and Kubernetes.
fn settings() -> [String; 2] {
    let map = yaml("kubernetes/configmap.yaml");
    [read("gorani.cluster.toml"), text(&map, "/data/gorani.toml").to_owned()]
}

#[test]
fn a_node_takes_the_settings_for_a_backend_once_they_are_switched_on() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    fs::write(secret.path(), "whsec_YS1zZWNyZXQtb2YtdGhpcnR5LXR3by1ieXRlcy1vci1t\n").unwrap();
    for shown in settings() {
        let on = switched_on(&shown);
        let paths = ["client.proxy.connect", "channel.proxy.subscribe", "rpc.proxy", "[hooks.endpoints]"];
        for section in paths {
            assert!(on.contains(&format!("\n[{section}]")) && !shown.contains(&format!("\n[{section}]")));
        }
        assert_eq!(on.matches(SECRET).count(), 4);
        // A container's own loopback has no backend.
        assert_eq!((on.matches("http://backend:3000/").count(), on.contains("//localhost")), (4, false));
        check(&on.replace(SECRET, secret.path().to_str().unwrap()), &[]).unwrap();
        // Without the file the node says which setting is wrong.
        let refused = check(&on, &[]).unwrap_err();
        assert!(refused.contains("secrets_file"), "{refused}");
    }
}

#[test]
fn the_secret_of_signatures_is_mounted_where_the_settings_look_for_it() {
    assert!(read("docker-compose.yml").contains(&format!("\n      # - ./hook.secret:{SECRET}:ro\n")));
    let deployment = yaml("kubernetes/deployment.yaml");
    let pod = &deployment["spec"]["template"]["spec"];
    let by_name = |list: &[Value]| list.iter().find(|one| one["name"] == "hooks").unwrap().clone();
    let mount = by_name(list(&pod["containers"][0], "/volumeMounts"));
    let volume = by_name(list(pod, "/volumes"));
    assert_eq!(text(&mount, "/mountPath"), SECRET.rsplit_once('/').unwrap().0);
    // Without a backend there is no such Secret, and the pod starts all the same.
    assert_eq!(volume["secret"]["optional"], true);
    let made = format!("secret generic {} --from-literal=hook.secret=", text(&volume, "/secret/secretName"));
    assert!(read("kubernetes/deployment.yaml").contains(&made));
}
