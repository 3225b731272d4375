//! `services/gateway/docs/journeys.md`: every file and every function of a journey exists, an earlier step leads to each step, and
//! `services/gateway/docs/architecture.md` tells the same journeys as lists of files.

use std::{collections::BTreeSet, fs};

use gorani_tests::binary;
use regex::Regex;

/// The sources of the gateway, whose paths the lists give without this.
const GATEWAY: &str = "services/gateway/src/";
/// Files that a publication crosses at most, from the API to the socket.
const PUBLISH_FILES: usize = 16;

/// One journey of the page.
struct Journey {
    title: String,
    steps: Vec<Step>,
}

/// One step of a journey.
#[derive(Debug, PartialEq, Eq)]
struct Step {
    /// From the top of the repository.
    file: String,
    /// The function that the journey comes through.
    function: String,
    /// The name by which an earlier step calls this one, where it is not the function's: a message, a key, a trait's method.
    by: String,
}

fn text(file: &str) -> String {
    fs::read_to_string(binary::workspace().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn journeys() -> Vec<Journey> {
    let page = text("services/gateway/docs/journeys.md");
    let step = Regex::new(r"(?m)^\d+\. `([^`]+)` `(\w+)`(?: by `([^`]+)`)?:").unwrap();
    let sections = page.split("\n## ").skip(1);
    let journeys = sections.map(|section| Journey {
        title: section.lines().next().unwrap().to_owned(),
        steps: step
            .captures_iter(section)
            .map(|found| Step {
                file: found[1].to_owned(),
                function: found[2].to_owned(),
                by: found.get(3).map_or(&found[2], |by| by.as_str()).to_owned(),
            })
            .collect(),
    });
    let journeys: Vec<Journey> = journeys.collect();
    assert_eq!(journeys.len(), 11, "the page tells eleven journeys");
    for Journey { title, steps } in &journeys {
        assert!(steps.len() >= 3, "{title} has its steps");
    }
    journeys
}

/// The body of a function: from its name to the first line that ends it at its own indentation. All bodies, where a file has several.
fn bodies(source: &str, function: &str) -> String {
    let mut found = String::new();
    let mut lines = source.lines();
    let start = Regex::new(&format!(r"\bfn {function}\b|^{function}:|^function {function}\b")).unwrap();
    while let Some(line) = lines.next() {
        if !start.is_match(line) {
            continue;
        }
        let indentation = &line[..line.len() - line.trim_start().len()];
        let end = [format!("{indentation}}}"), format!("{indentation}}});")];
        found += line;
        for line in lines.by_ref() {
            found += line;
            found.push('\n');
            if end.iter().any(|end| line == end) {
                break;
            }
        }
    }
    found
}

#[test]
fn every_file_and_function_of_a_journey_exists() {
    for Journey { title, steps } in journeys() {
        for Step { file, function, .. } in steps {
            // A script in Lua is one function, named after its file.
            assert!(
                file.ends_with(".lua") || !bodies(&text(&file), &function).is_empty(),
                "{title}: {file} has no function {function}"
            );
        }
    }
}

#[test]
fn an_earlier_step_of_a_journey_leads_to_each_step() {
    for Journey { title, steps } in journeys() {
        let mut passed: Vec<String> = Vec::new();
        for Step { file, function, by } in &steps {
            let name = Regex::new(&format!(r"\b{}\b", regex::escape(by))).unwrap();
            assert!(
                passed.is_empty() || passed.iter().any(|body| name.is_match(body)),
                "{title}: no step before {file} `{function}` names {by}"
            );
            let source = text(file);
            passed.push(if file.ends_with(".lua") { source } else { bodies(&source, function) });
        }
    }
}

#[test]
fn a_publication_crosses_few_files_from_the_api_to_the_socket() {
    let publish = journeys().into_iter().next().unwrap();
    let files: BTreeSet<String> = publish.steps.into_iter().map(|step| step.file).collect();
    assert!(files.len() <= PUBLISH_FILES, "{} files: {files:?}", files.len());
}

#[test]
fn the_architecture_tells_the_same_journeys_as_lists_of_files() {
    let page = text("services/gateway/docs/architecture.md");
    for Journey { title, steps } in journeys() {
        let mut files: Vec<&str> = steps
            .iter()
            .map(|step| step.file.strip_prefix(GATEWAY).unwrap_or(&step.file))
            .map(|file| file.strip_prefix("shared/broker/src/").unwrap_or(file))
            .collect();
        files.dedup();
        let told = files.iter().map(|file| format!("`{file}`")).collect::<Vec<_>>().join(" → ");
        let name = title.split_once(". ").map_or(&*title, |(_, name)| name);
        assert!(
            page.contains(&format!("**{name}**: {told}")),
            "architecture.md does not say: **{name}**: {told}"
        );
    }
}
