//! `deploy/Dockerfile`: its layer of dependencies holds every manifest, and cargo takes the tree that it builds them in.

use std::{fs, path::Path, process::Command};

use gorani_tests::binary::workspace;

use super::{path, read};

/// What the first stage copies, in order: sources of each line.
fn copies() -> Vec<Vec<String>> {
    let dockerfile = read("Dockerfile");
    let lines = dockerfile
        .lines()
        .filter_map(|line| line.strip_prefix("COPY "))
        .filter(|line| !line.starts_with("--"));
    lines
        .map(|line| {
            let mut words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
            words.pop();
            words
        })
        .collect()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::copy(from, to).unwrap();
}

#[test]
fn cargo_takes_the_empty_sources_that_the_layer_of_dependencies_is_built_from() {
    let tree = tempfile::TempDir::new().unwrap();
    // Up to the whole sources, every line copies files.
    for name in copies().into_iter().flatten().take_while(|name| name != "services") {
        copy(&workspace().join(&name), &tree.path().join(&name));
    }
    let script = tree.path().join("deploy/empty-sources.sh");
    assert!(Command::new("sh").arg(script).arg(tree.path()).status().unwrap().success());
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(tree.path())
        .args(["metadata", "--locked", "--offline", "--format-version", "1", "--no-deps"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let manifest = fs::read_to_string(workspace().join("Cargo.toml")).unwrap();
    let members = manifest.lines().find(|line| line.starts_with("members")).unwrap().matches('"').count() / 2;
    assert_eq!(metadata["packages"].as_array().unwrap().len(), members);
}

#[test]
fn whatever_the_image_is_built_from_is_in_its_context() {
    let ignored = fs::read_to_string(workspace().join(".dockerignore")).unwrap();
    let kept: Vec<_> = ignored.lines().filter_map(|line| line.strip_prefix('!')).collect();
    for name in copies().into_iter().flatten() {
        assert!(workspace().join(&name).exists(), "{name}");
        let inside = |kept: &&str| name == *kept || name.starts_with(&format!("{kept}/"));
        assert!(kept.iter().any(inside), "{name} is left out by .dockerignore");
    }
}

#[test]
fn the_labels_of_the_image_say_what_the_manifest_says() {
    let manifest = |file: &str, key: &str| {
        let text = fs::read_to_string(workspace().join(file)).unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = ")).unwrap();
        value.trim_matches('"').to_owned()
    };
    let dockerfile = read("Dockerfile");
    let label = |name: &str| {
        let (_, value) = dockerfile.split_once(&format!("org.opencontainers.image.{name}=\"")).unwrap();
        value.split('"').next().unwrap().to_owned()
    };
    const GATEWAY: &str = "services/gateway/Cargo.toml";
    assert_eq!(label("title"), manifest(GATEWAY, "name"));
    assert_eq!(label("description"), manifest(GATEWAY, "description"));
    assert_eq!(label("version"), manifest("Cargo.toml", "version"));
    assert_eq!(label("licenses"), manifest("Cargo.toml", "license"));
    let (_, base) = dockerfile.rsplit_once("\nFROM ").unwrap();
    assert_eq!(label("base.name").rsplit('/').next(), base.lines().next());
}

#[test]
fn the_example_is_not_in_the_image() {
    let ignored = fs::read_to_string(workspace().join(".dockerignore")).unwrap();
    // The last line that speaks of a path decides.
    let about_it = ignored
        .lines()
        .rfind(|line| ["services", "services/example"].contains(&line.trim_start_matches('!')));
    assert_eq!(about_it, Some("services/example"));
    assert!(workspace().join("services/example/package.json").is_file());
}

#[test]
fn the_image_is_built_with_the_rust_that_the_workspace_asks_for() {
    let manifest = fs::read_to_string(workspace().join("Cargo.toml")).unwrap();
    let version =
        manifest.lines().find_map(|line| line.strip_prefix("rust-version = ")).unwrap().trim_matches('"');
    assert!(read("Dockerfile").contains(&format!("\nFROM rust:{version}-slim-")), "{version}");
    assert!(path("Dockerfile").is_file());
}
