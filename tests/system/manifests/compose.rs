//! `deploy/docker-compose.yml`: names, ports, times and secrets; and both tools read it, where one is installed.

use std::{process::Command, time::Duration};

use serde_json::Value;

use super::{check, list, longest_drain, path, read, text, yaml};

fn service<'a>(file: &'a Value, name: &str) -> &'a Value {
    file.pointer(&format!("/services/{name}")).unwrap_or_else(|| panic!("no service {name}"))
}

#[test]
fn any_number_of_nodes_can_be_started() {
    let file = yaml("docker-compose.yml");
    for key in ["container_name", "ports", "hostname"] {
        assert!(service(&file, "gateway").get(key).is_none(), "{key} is there only once");
    }
    // docker-compose 1.29 and v2 both read it by the Compose Specification; v2 warns of the key.
    assert!(file.get("version").is_none());
}

#[test]
fn what_is_waited_for_has_a_health_check() {
    let file = yaml("docker-compose.yml");
    for (name, needs) in [("gateway", "redis"), ("nginx", "gateway")] {
        let condition = text(service(&file, name), &format!("/depends_on/{needs}/condition"));
        assert_eq!(condition, "service_healthy");
        assert_eq!(list(service(&file, needs), "/healthcheck/test")[0], "CMD");
    }
}

#[test]
fn a_node_has_time_to_drain() {
    let file = yaml("docker-compose.yml");
    let grace = humantime::parse_duration(text(service(&file, "gateway"), "/stop_grace_period")).unwrap();
    assert!(grace > longest_drain() + Duration::from_secs(5), "{grace:?}");
}

#[test]
fn ports_lead_from_nginx_to_where_the_nodes_listen() {
    let file = yaml("docker-compose.yml");
    assert!(read("gorani.cluster.toml").contains("address = \"0.0.0.0:8000\""));
    assert!(read("nginx/upstream.dns.conf").contains("server gateway:8000 resolve "));
    assert!(read("haproxy/nodes.dns.cfg").contains(" gateway:8000 "));
    let scraped = yaml("prometheus/prometheus.yml");
    let names = &list(&scraped, "/scrape_configs")[0]["dns_sd_configs"][0];
    assert_eq!((text(names, "/names/0"), &names["port"]), ("gateway", &Value::from(8000)));
    let nginx = service(&file, "nginx");
    let inside = text(nginx, "/ports/0").rsplit(':').next().unwrap();
    assert!(read("nginx/listen.conf").contains(&format!("listen {inside} ")));
    assert!(
        list(nginx, "/healthcheck/test").last().unwrap().as_str().unwrap().contains(&format!(":{inside}/"))
    );
    assert!(
        yaml("grafana/provisioning/datasources/prometheus.yml")["datasources"][0]["url"]
            == "http://prometheus:9090"
    );
}

#[test]
fn every_file_that_is_mounted_is_there_and_cannot_be_changed() {
    let file = yaml("docker-compose.yml");
    let mut files = 0;
    for service in file["services"].as_object().unwrap().values() {
        for volume in service["volumes"].as_array().into_iter().flatten() {
            let parts: Vec<_> = volume.as_str().unwrap().split(':').collect();
            if let Some(source) = parts[0].strip_prefix("./") {
                assert!(path(source).exists(), "{source}");
                assert_eq!(parts[2], "ro", "{source}");
                files += 1;
            } else {
                assert!(file["volumes"].get(parts[0]).is_some(), "{}", parts[0]);
            }
        }
    }
    assert!(files > 0);
}

#[test]
fn secrets_come_by_the_environment_and_none_has_a_default() {
    let file = yaml("docker-compose.yml");
    let gateway = service(&file, "gateway");
    let mut environment = Vec::new();
    for (name, value) in gateway["environment"].as_object().unwrap() {
        let Some(value) = value.as_str() else {
            // As the file of keys has it: not set until `make up` has made the hash of the password.
            assert!(value.is_null() && name.starts_with("GORANI__ADMIN__"), "{name}: {value}");
            continue;
        };
        match name.as_str() {
            "GORANI_CONFIG" => continue,
            "GORANI__API__KEYS" | "GORANI__TOKEN__HMAC_SECRET" | "GORANI__BROKER__REDIS__PASSWORD" => {
                assert!(value.starts_with("${GORANI_") && value.contains(":?"), "{value}");
                environment.push((name.as_str(), "a-secret-of-at-least-thirty-two-bytes"));
            }
            _ => environment.push((name.as_str(), value)),
        }
    }
    check(&read("gorani.cluster.toml"), &environment).unwrap();
}

#[test]
fn the_keys_of_make_up_are_random_and_good_and_made_once() {
    let directory = tempfile::TempDir::new().unwrap();
    let make = |name: &str| {
        let file = directory.path().join(name);
        let status = Command::new(path("development-keys.sh")).arg(&file).output().unwrap().status;
        assert!(status.success());
        std::fs::read_to_string(file).unwrap()
    };
    let (one, other) = (make("one"), make("other"));
    assert_ne!(one, other);
    assert_eq!(one, make("one"));
    let mut keys = one.lines().filter_map(|line| line.split_once('='));
    // The nodes do not get the password of the admin page, only its hash.
    let used = yaml("docker-compose.yml").to_string() + &read("rolling-update.sh");
    assert!(keys.all(|(name, key)| used.contains(name) && key.len() >= 64));
    assert_eq!(one.lines().filter(|line| line.contains("=dev-")).count(), 5);
}

#[test]
fn keys_that_an_earlier_version_made_stay_and_get_those_that_are_new() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "GORANI_API_KEY=mine\nGORANI_TOKEN_SECRET=mine too\n").unwrap();
    let status = Command::new(path("development-keys.sh")).arg(file.path()).output().unwrap().status;
    assert!(status.success());
    let keys = std::fs::read_to_string(file.path()).unwrap();
    assert!(
        keys.starts_with("GORANI_API_KEY=mine\nGORANI_TOKEN_SECRET=mine too\nGORANI_REDIS_PASSWORD=dev-"),
        "{keys}"
    );
    assert_eq!(keys.lines().count(), 5, "{keys}");
}

/// The command of the file, run by a real shell with a real Redis where the image has its own.
#[test]
fn redis_asks_for_the_password_and_gives_it_to_nobody_else() {
    let file = yaml("docker-compose.yml");
    let redis = service(&file, "redis");
    assert!(text(redis, "/environment/REDISCLI_AUTH").starts_with("${GORANI_REDIS_PASSWORD:?"));
    let command = list(redis, "/command");
    assert_eq!((command[0].as_str(), command[1].as_str()), (Some("sh"), Some("-c")));
    // Compose writes `$$` for a dollar sign that is not its own.
    let script = command[2].as_str().unwrap().replace("$$", "$");
    let directory = tempfile::TempDir::new().unwrap();
    let port = gorani_tests::node::free_address().port();
    let mut child = Command::new("sh")
        .args(["-c", &format!("{script} --port {port} --bind 127.0.0.1")])
        .env("REDISCLI_AUTH", "a password with 'quotes'")
        .current_dir(directory.path())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let ping = |password: &str| {
        let mut cli = Command::new("redis-cli");
        cli.args(["-p", &port.to_string(), "ping"]).env_remove("REDISCLI_AUTH");
        if !password.is_empty() {
            cli.env("REDISCLI_AUTH", password);
        }
        String::from_utf8_lossy(&cli.output().unwrap().stdout).into_owned()
    };
    crate::eventually("Redis answers", Duration::from_secs(20), || {
        ping("a password with 'quotes'") == "PONG\n"
    });
    assert!(ping("").contains("NOAUTH"));
    child.kill().unwrap();
    child.wait().unwrap();
}

/// `:?` would ask everybody for it, also those who start no Grafana.
#[test]
fn grafana_does_not_start_with_an_empty_password() {
    let file = yaml("docker-compose.yml");
    let grafana = service(&file, "grafana");
    assert_eq!(text(grafana, "/environment/GF_SECURITY_ADMIN_PASSWORD"), "${GRAFANA_PASSWORD:-}");
    let entry = list(grafana, "/entrypoint");
    assert_eq!((entry[0].as_str(), entry[1].as_str()), (Some("sh"), Some("-c")));
    let script = entry[2].as_str().unwrap().replace("$$", "$").replace("/run.sh", "echo started");
    for (password, code, said) in [("", 78, ""), ("secret", 0, "started\n")] {
        let mut shell = Command::new("sh");
        let output =
            shell.args(["-c", &script]).env("GF_SECURITY_ADMIN_PASSWORD", password).output().unwrap();
        assert_eq!((output.status.code(), &*String::from_utf8_lossy(&output.stdout)), (Some(code), said));
    }
}

#[test]
fn no_log_grows_without_end() {
    let file = yaml("docker-compose.yml");
    for (name, service) in file["services"].as_object().unwrap() {
        assert!(service["logging"]["options"]["max-size"].is_string(), "{name}");
        assert!(service["logging"]["options"]["max-file"].is_string(), "{name}");
    }
}

/// SIGQUIT, which the image asks for, stops listening and waits for open connections: with WebSockets until docker kills it.
#[test]
fn nginx_ends_at_once_and_sees_changed_files() {
    let file = yaml("docker-compose.yml");
    let nginx = service(&file, "nginx");
    assert_eq!(text(nginx, "/stop_signal"), "SIGTERM");
    assert_eq!(list(nginx, "/volumes"), ["./nginx:/etc/gorani:ro"]);
    let words: Vec<_> = list(nginx, "/command").iter().map(|word| word.as_str().unwrap()).collect();
    assert_eq!(words[..5], ["nginx", "-p", "/srv/gorani", "-c", "/etc/gorani/nginx.conf"]);
    assert_eq!(list(nginx, "/tmpfs"), ["/srv/gorani/run"]);
    assert!(read("nginx/upstream.conf").contains("\ninclude upstream.dns.conf;\n"));
}

#[test]
fn an_empty_key_stops_make_up_and_is_named() {
    for value in ["", "\"\"", "''", " ", "\" \""] {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("GORANI_API_KEY=mine\nGORANI_TOKEN_SECRET={value}\n")).unwrap();
        let output = Command::new(path("development-keys.sh")).arg(file.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(78), "{value:?}");
        assert!(
            String::from_utf8_lossy(&output.stderr).contains("GORANI_TOKEN_SECRET is empty"),
            "{value:?}"
        );
    }
}

#[test]
fn where_it_listens_is_remembered_until_another_place_is_given() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let make = |listen: Option<&str>| {
        let mut script = Command::new(path("development-keys.sh"));
        script.arg(file.path()).env_remove("GORANI_LISTEN");
        assert!(
            script.envs(listen.map(|listen| ("GORANI_LISTEN", listen))).output().unwrap().status.success()
        );
        let text = std::fs::read_to_string(file.path()).unwrap();
        assert_eq!(text.matches("=dev-").count(), 5, "{text}");
        text.lines().filter(|line| line.starts_with("GORANI_LISTEN")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(make(None), [""; 0]);
    assert_eq!(make(Some("0.0.0.0:80")), ["GORANI_LISTEN=0.0.0.0:80"]);
    assert_eq!(make(None), ["GORANI_LISTEN=0.0.0.0:80"]);
    assert_eq!(make(Some("127.0.0.1:9000")), ["GORANI_LISTEN=127.0.0.1:9000"]);
}

/// Debian's docker-compose and docker's plugin differ in what they refuse. Whichever is installed is asked.
#[test]
fn the_compose_tools_that_are_installed_read_the_file() {
    for tool in [&["docker-compose"][..], &["docker", "compose"]] {
        let mut command = Command::new(tool[0]);
        command.args(&tool[1..]);
        let mut version = Command::new(tool[0]);
        if !version.args(&tool[1..]).arg("version").output().is_ok_and(|output| output.status.success()) {
            continue;
        }
        command.arg("--file").arg(path("docker-compose.yml")).args(["config", "--quiet"]);
        // Those of no profile, as the recipe by hand has them.
        let names = ["GORANI_API_KEY", "GORANI_TOKEN_SECRET", "GORANI_REDIS_PASSWORD"];
        command.envs(names.map(|name| (name, "x"))).env_remove("GRAFANA_PASSWORD");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{tool:?}: {}", String::from_utf8_lossy(&output.stderr));
        for name in names {
            let output = command.env(name, "").output().unwrap();
            assert!(!output.status.success(), "{tool:?} takes an empty {name}");
            command.env(name, "x");
        }
    }
}
