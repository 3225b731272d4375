//! `gorani completions` and `gorani man`: every command and option is in them, and a real shell takes them.

use std::{
    collections::BTreeSet,
    fs,
    process::{Command, Output},
};

use gorani_tests::binary;
use tempfile::TempDir;

fn gorani(arguments: &[&str]) -> Output {
    Command::new(binary::node()).args(arguments).output().unwrap()
}

fn printed(arguments: &[&str]) -> String {
    let output = gorani(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The commands that `--help` names, without `help` itself.
fn commands() -> BTreeSet<String> {
    let help = printed(&["--help"]);
    let (_, commands) = help.split_once("Commands:\n").unwrap();
    let names = commands.lines().take_while(|line| line.starts_with("  "));
    // A line that goes on with a description is indented deeper.
    let names =
        names.filter(|line| !line.starts_with("   ")).filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

/// The long options that a command's `--help` names.
fn options(command: &str) -> BTreeSet<String> {
    let help = printed(&[command, "--help"]);
    let words = help.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    words.filter(|word| word.starts_with("--") && word.len() > 2).map(str::to_owned).collect()
}

#[test]
fn the_completions_of_every_shell_know_every_command_and_option() {
    let commands = commands();
    assert!(commands.contains("serve") && commands.contains("token"), "{commands:?}");
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = printed(&["completions", shell]);
        for command in &commands {
            assert!(script.contains(command.as_str()), "{shell}: {command}");
            for option in options(command) {
                assert!(script.contains(option.trim_start_matches('-')), "{shell}: {command} {option}");
            }
        }
    }
    let refused = gorani(&["completions", "tcsh"]);
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("bash"));
}

#[test]
fn bash_completes_a_command_and_an_option() {
    let script = TempDir::new().unwrap();
    let file = script.path().join("gorani.bash");
    fs::write(&file, printed(&["completions", "bash"])).unwrap();
    for (words, expected) in [("gorani he", "health"), ("gorani token --us", "--user")] {
        let last = words.split(' ').next_back().unwrap();
        let index = words.split(' ').count() - 1;
        let ask = format!(
            "source '{}'; COMP_WORDS=({words}); COMP_CWORD={index}; _gorani gorani '{last}' ''; echo \"${{COMPREPLY[@]}}\"",
            file.display()
        );
        let output = Command::new("bash").args(["--norc", "-c", &ask]).output().unwrap();
        let answer = String::from_utf8(output.stdout).unwrap();
        assert!(answer.split_whitespace().any(|word| word == expected), "{words}: {answer}");
    }
}

#[test]
fn every_command_has_a_page_for_man_with_all_its_options() {
    let first = printed(&["man"]);
    assert!(first.contains(".TH gorani 1"), "{first}");
    let directory = TempDir::new().unwrap();
    let pages = directory.path().join("a/new/one");
    printed(&["man", "--directory", pages.to_str().unwrap()]);
    let commands = commands();
    for command in &commands {
        assert!(first.contains(&format!("gorani\\-{command}(1)")), "{command}: {first}");
        let page = fs::read_to_string(pages.join(format!("gorani-{command}.1"))).unwrap();
        for option in options(command) {
            assert!(page.contains(&option.replace('-', "\\-")), "{command} {option}: {page}");
        }
    }
    // The first page and one for each command, and nothing else.
    assert_eq!(fs::read_dir(&pages).unwrap().count(), commands.len() + 1);
}

#[test]
fn pages_that_cannot_be_written_are_an_error_of_one_line() {
    let output = gorani(&["man", "--directory", "/dev/null/pages"]);
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.lines().count() == 1 && error.starts_with("gorani: output: "), "{error}");
}
