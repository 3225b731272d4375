//! A page is done as it says: its files are written, its commands typed in its order, and what it says that they show is shown.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::{fs::symlink, process::CommandExt as _},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use gorani_tests::{binary, node::free_address, process::Signal};
use nix::{sys::signal::killpg, unistd::Pid};
use regex::Regex;
use tempfile::TempDir;

use super::blocks::{Block, blocks_of};

/// The longest that all commands of a page take, on a busy machine.
const DONE_WITHIN: Duration = Duration::from_secs(300);
const SHOWN_WITHIN: Duration = Duration::from_secs(60);
/// Programs that go on and do not listen: what they show first says that they have begun.
const SHOWING: [&str; 2] = ["curl", "python3"];
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(50);
/// The ports that pages name: that of the node and that of the reader's own application.
const PORTS: [&str; 2] = ["8000", "3000"];

/// The common part of blocks that go on and blocks that end: waiting for what they start.
const SHELL: &str = r#"
set -euo pipefail
open() { local n=0 port; for port in $PORTS; do if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then n=$((n + 1)); fi; done; echo "$n"; }
# What a terminal starts either listens or shows something; a node does both.
begun() { until [ "$(open)" -gt "$1" ] || { [ "$3" = shows ] && [ -s "$2" ]; }; do kill -0 "$!" || { cat "$2" "$2.err" >&2; return 1; }; sleep 0.05; done; }
"#;

/// A page under way: its commands are done, and what it started runs until this is dropped.
struct Walk {
    directory: TempDir,
    child: Child,
    ports: BTreeMap<&'static str, u16>,
}

impl Drop for Walk {
    fn drop(&mut self) {
        // Both fail only when all of them are gone already, which is what is wanted.
        let group = Pid::from_raw(i32::try_from(self.child.id()).unwrap_or(i32::MAX));
        let _ = killpg(group, Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

impl Walk {
    /// Does what the blocks say. With `settings`, a node with that file of `deploy/` runs before the first of them.
    fn begin(blocks: &[Block], settings: Option<&str>) -> Self {
        let is_done = |block: &Block| matches!(&*block.word, "run" | "terminal");
        assert!(blocks.iter().any(is_done), "the page has commands");
        // What a reader gets by `npm install` and `pip install`.
        let tools = fs::canonicalize(binary::workspace().join("tests/e2e")).unwrap();
        assert!(
            tools.join("node_modules").exists() && tools.join(".venv").exists(),
            "`make test-tools` installs them"
        );
        let directory = TempDir::new().unwrap();
        let ports = PORTS.map(|port| (port, free_address().port())).into();
        fs::create_dir(directory.path().join("bin")).unwrap();
        symlink(fs::canonicalize(binary::node()).unwrap(), directory.path().join("bin/gorani")).unwrap();
        symlink(tools.join("node_modules"), directory.path().join("node_modules")).unwrap();
        let script = script(blocks, settings, &ports, directory.path());
        fs::write(directory.path().join("script"), script).unwrap();
        let path = format!(
            "{}/bin:{}/.venv/bin:{}",
            directory.path().display(),
            tools.display(),
            std::env::var("PATH").unwrap()
        );
        let child = Command::new("bash")
            .arg("script")
            .current_dir(directory.path())
            .env("PATH", path)
            .env("PYTHONUNBUFFERED", "1")
            .env("PORTS", ports.values().map(u16::to_string).collect::<Vec<_>>().join(" "))
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(fs::File::create(directory.path().join("said")).unwrap())
            .stderr(fs::File::create(directory.path().join("said.err")).unwrap())
            .spawn()
            .unwrap();
        let mut walk = Self { directory, child, ports };
        walk.wait_until_done();
        walk
    }

    fn wait_until_done(&mut self) {
        let give_up = Instant::now() + DONE_WITHIN;
        while !self.directory.path().join("done").exists() {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < give_up, "{}", self.all_said());
            thread::sleep(LOOK_AGAIN_AFTER);
        }
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.directory.path().join(file)).unwrap_or_default()
    }

    /// Everything that was shown, block by block.
    fn all_said(&self) -> String {
        let mut files: Vec<_> = fs::read_dir(self.directory.path()).unwrap().flatten().collect();
        files.sort_by_key(fs::DirEntry::file_name);
        let names = files.iter().map(|file| file.file_name().to_string_lossy().into_owned());
        let said = names
            .filter(|name| name.starts_with("said"))
            .map(|name| format!("--- {name}\n{}", self.read(&name)));
        said.collect()
    }

    /// Holds what a page says that its blocks show against what they showed.
    fn shows_what_the_page_says(&self, blocks: &[Block]) {
        for pair in blocks.windows(2) {
            let [command, output] = pair else { continue };
            if output.word == "output" {
                let give_up = Instant::now() + SHOWN_WITHIN;
                let file = format!("said-{}", command.line);
                let expected = pattern(&self.with_ports(&output.text));
                while !expected.is_match(self.read(&file).trim()) {
                    let may_come = command.word == "terminal" && Instant::now() < give_up;
                    assert!(may_come, "{} does not show {expected}: {}", command.place(), self.all_said());
                    thread::sleep(LOOK_AGAIN_AFTER);
                }
            }
        }
    }

    fn with_ports(&self, text: &str) -> String {
        with_ports(text, &self.ports)
    }
}

fn with_ports(text: &str, ports: &BTreeMap<&str, u16>) -> String {
    ports.iter().fold(text.to_owned(), |text, (written, port)| {
        Regex::new(&format!(r"\b{written}\b")).unwrap().replace_all(&text, port.to_string()).into_owned()
    })
}

/// The expected text; `…` stands for anything.
fn pattern(expected: &str) -> Regex {
    let parts: Vec<String> = expected.trim().split('…').map(regex::escape).collect();
    Regex::new(&parts.join("(?s:.*?)")).unwrap()
}

/// All blocks as one script, so that variables last as they do in a terminal.
fn script(
    blocks: &[Block],
    settings: Option<&str>,
    ports: &BTreeMap<&'static str, u16>,
    directory: &Path,
) -> String {
    let mut script = SHELL.to_owned();
    let in_a_terminal = |line: usize, text: &str, waits: &str| {
        format!(
            "before=$(open)\n(\n{text}\n) > said-{line} 2> said-{line}.err &\nbegun \"$before\" said-{line} {waits}\n"
        )
    };
    if let Some(settings) = settings {
        let shown = fs::read_to_string(binary::workspace().join("deploy").join(settings)).unwrap();
        fs::write(directory.join("settings.toml"), with_ports(&shown, ports)).unwrap();
        script += &in_a_terminal(0, "exec gorani serve --config settings.toml", "listens");
    }
    for block in blocks {
        let text = with_ports(&block.text, ports);
        let line = block.line;
        match &*block.word {
            "run" => {
                script += &format!(
                    "{{\n{text}\n}} > said-{line} 2> said-{line}.err || {{ cat said-{line}.err >&2; exit 1; }}\n"
                )
            }
            "terminal" if SHOWING.iter().any(|program| text.contains(program)) => {
                script += &in_a_terminal(line, &text, "shows")
            }
            "terminal" => script += &in_a_terminal(line, &text, "listens"),
            file if block.is_file() => {
                script += &format!("cat >> {file} <<'END OF THE FILE'\n{text}END OF THE FILE\n")
            }
            _ => {}
        }
    }
    // What it started stays until the test has seen it.
    script + "touch done\nread -r _ || true\n"
}

/// The blocks of a section, or of all of them.
fn of_section(page: &str, section: Option<&str>) -> Vec<Block> {
    let blocks = blocks_of(page);
    blocks.into_iter().filter(|block| section.is_none_or(|section| block.section == section)).collect()
}

fn walk(page: &str, section: Option<&str>, settings: Option<&str>) -> Walk {
    let blocks = of_section(page, section);
    let walk = Walk::begin(&blocks, settings);
    walk.shows_what_the_page_says(&blocks);
    walk
}

#[test]
fn the_first_command_of_the_readme_publishes_in_both_languages() {
    walk("README.md", Some("Two commands"), Some("gorani.dev.toml"));
    walk("services/gateway/docs/README.ko.md", Some("명령 두 개로 시작하기"), Some("gorani.dev.toml"));
}

#[test]
fn the_first_app_of_the_readme_shows_in_a_browser_what_its_backend_publishes() {
    let walk = walk("README.md", Some("Your first app in ten minutes"), None);
    let browser = Command::new("node")
        .arg("support/first_app.js")
        .arg(format!("http://localhost:{}", walk.ports["3000"]))
        .current_dir(binary::workspace().join("tests/e2e"))
        .output()
        .unwrap();
    let said = [browser.stdout, browser.stderr].concat();
    assert!(browser.status.success(), "{}{}", String::from_utf8_lossy(&said), walk.all_said());
}

#[test]
fn the_backend_of_the_quick_start_is_asked_and_told() {
    let walk = walk("services/gateway/docs/backend.md", Some("Ten minutes"), None);
    let browser = Command::new("node")
        .arg("support/backend_app.js")
        .arg(format!("http://localhost:{}", walk.ports["3000"]))
        .current_dir(binary::workspace().join("tests/e2e"))
        .output()
        .unwrap();
    let said = [browser.stdout, browser.stderr].concat();
    assert!(browser.status.success(), "{}{}", String::from_utf8_lossy(&said), walk.all_said());
}

#[test]
fn a_client_without_an_sdk_hears_as_the_readme_says() {
    walk("README.md", Some("SDKs"), Some("gorani.dev.toml"));
}

#[test]
fn a_client_in_python_hears_what_a_backend_in_node_publishes() {
    walk("services/gateway/docs/sdks.md", None, Some("gorani.dev.toml"));
}

#[test]
fn the_sample_for_those_who_come_from_spring_publishes() {
    walk("services/gateway/docs/spring.md", Some("A sample"), Some("gorani.dev.toml"));
}

#[test]
fn the_recipes_for_channels_do_what_the_page_says() {
    walk("services/gateway/docs/channels.md", None, None);
}

#[test]
fn what_fails_is_answered_as_the_page_of_symptoms_says() {
    walk("services/gateway/docs/troubleshooting.md", None, Some("gorani.dev.toml"));
}

#[test]
fn tokens_of_every_language_open_a_connection() {
    walk("services/gateway/docs/tokens.md", None, None);
}
