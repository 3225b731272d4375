//! References in code, comments and pages: each leads to a page, a rule, a record, a heading or a file that exists.
//!
//! A page is named by its path from `services/gateway` or from the top of the repository, a rule behind it: `docs/protocols/http.md` §3.2, §4 to
//! §6. A record is named by its number: record 31. Pages link to one another by relative paths.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use gorani_tests::binary;
use regex::Regex;

/// Where paths that begin with `docs/` are.
const GATEWAY: &str = "services/gateway";
const RECORDS: &str = "services/gateway/docs/adr";
/// Folders whose content is made by programs or by others, or is as of its date.
const PASSED_OVER: [&str; 8] =
    [".git", "target", "node_modules", ".venv", "__pycache__", "results", "corpus", "artifacts"];
/// What people write: names without a dot (`Makefile`) count, too.
const KINDS: [&str; 15] =
    ["rs", "md", "toml", "lua", "js", "mjs", "py", "sh", "java", "html", "css", "yml", "yaml", "conf", "cfg"];
/// Names of files that only a run makes.
const MADE: [&str; 1] = ["deploy/.env"];
/// What no reader of the repository has. Lower case.
const ELSEWHERE: [&str; 3] = [concat!("design", " §"), concat!("design", ".md"), concat!("specs", "/")];

/// A page, with the rules that follow it.
static PAGE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"((?-u:[\w./-])*docs/(?-u:[\w./-])*?\.md)`?((?:[,:]? (?:and |to )?§\d+(?:\.\d+)?)*)").unwrap()
});
/// A number behind `§`.
static SECTION: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"§(\d+(?:\.\d+)?)").unwrap());
/// A number that a page gives: of a section, of a rule.
static NUMBERED: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?m)^(?:#{2,3} (\d+(?:\.\d+)?)\.? |- \*\*(\d+\.\d+)\*\* )").unwrap());
/// Rules of the page on which they are named.
static OWN_RULES: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\b[Rr]ules? (\d+\.\d+(?:(?:, | and | to )\d+\.\d+)*)").unwrap());
/// One record, or several.
static RECORD: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"\b(?:[Rr]ecord|ADR) (\d{1,4})\b|\b(?:[Rr]ecords|ADRs) (\d{1,4}(?:(?:, | and | to )\d{1,4})*)\b|\badr/(\d{4})").unwrap()
});
static NUMBER: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\d+(?:\.\d+)?").unwrap());
/// The target of a Markdown link.
static LINK: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\]\(([^()\s]+)\)").unwrap());
static HEADING: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"(?m)^#{1,6} (.+)$").unwrap());
/// A path from the top of the repository, in backticks; a test behind it.
static PATH: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"`((?:services|shared|tests|deploy)/[\w./-]+)(?:::(\w+))?`").unwrap());

/// All that people wrote.
static TEXTS: LazyLock<Vec<Text>> = LazyLock::new(|| {
    let mut texts = Vec::new();
    collect(Path::new(""), &mut texts);
    assert!(texts.len() > 500, "the repository has its files");
    texts
});

/// A text of the repository.
struct Text {
    /// From the top of the repository.
    path: PathBuf,
    content: String,
    /// In one line, without the marks of comments: references go over the ends of lines.
    flat: String,
}

impl Text {
    fn new(path: PathBuf, content: String) -> Self {
        let bare = |line: &str| {
            let line = line.trim();
            let mark = ["//!", "///", "//", "--", "#"].into_iter().find_map(|mark| line.strip_prefix(mark));
            mark.unwrap_or(line).trim().to_owned()
        };
        let flat = content.lines().map(bare).collect::<Vec<_>>().join(" ");
        Self { path, content, flat }
    }

    /// Where a path that stands in this text leads, from the top of the repository.
    fn resolve(&self, path: &str) -> PathBuf {
        if path.starts_with("docs/") {
            return Path::new(GATEWAY).join(path);
        }
        if !path.starts_with("..") && !path.starts_with("./") {
            return path.into();
        }
        self.beside(path)
    }

    /// Where a relative path leads.
    fn beside(&self, path: &str) -> PathBuf {
        let mut resolved = self.path.parent().unwrap_or(Path::new("")).to_owned();
        for part in path.split('/') {
            match part {
                "." | "" => {}
                ".." => _ = resolved.pop(),
                part => resolved.push(part),
            }
        }
        resolved
    }
}

fn is_there(path: &Path) -> bool {
    binary::workspace().join(path).exists()
}

fn read(path: &Path) -> String {
    fs::read_to_string(binary::workspace().join(path)).unwrap_or_default()
}

fn collect(directory: &Path, into: &mut Vec<Text>) {
    for entry in fs::read_dir(binary::workspace().join(directory)).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = directory.join(&name);
        let kind = entry.file_type().unwrap();
        if kind.is_dir() && !PASSED_OVER.contains(&&*name) {
            collect(&path, into);
        }
        let extension = path.extension().map(|extension| extension.to_string_lossy());
        let is_text = extension.is_none_or(|extension| KINDS.contains(&&*extension));
        if kind.is_file()
            && is_text
            && !name.contains(".min.")
            && let Ok(content) = fs::read_to_string(entry.path())
        {
            into.push(Text::new(path, content));
        }
    }
}

/// The numbers of a page's sections and rules, as often as each is given.
fn numbers(page: &str) -> BTreeMap<String, usize> {
    let mut numbers = BTreeMap::new();
    for found in NUMBERED.captures_iter(page) {
        if let Some(number) = found.get(1).or_else(|| found.get(2)) {
            *numbers.entry(number.as_str().to_owned()).or_default() += 1;
        }
    }
    numbers
}

fn pages() -> impl Iterator<Item = &'static Text> {
    TEXTS.iter().filter(|text| text.path.extension().is_some_and(|extension| extension == "md"))
}

/// The pages whose sections have numbers.
fn numbered_pages() -> impl Iterator<Item = &'static Text> {
    let pages = pages()
        .filter(|text| text.path.starts_with("services/gateway/docs") && !text.path.starts_with(RECORDS));
    pages.filter(|text| !numbers(&text.content).is_empty())
}

/// The anchor that GitHub gives a heading.
fn anchor(heading: &str) -> String {
    let heading = heading.trim().to_lowercase();
    let kept = heading.chars().filter(|letter| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_'));
    kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect()
}

/// Nothing is wrong, or all of it is said.
fn expect_none(wrong: &[String]) {
    assert!(wrong.is_empty(), "{} references lead nowhere:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_page_that_is_named_is_there_and_has_the_rules_that_are_named() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for text in TEXTS.iter().filter(|text| text.flat.contains("docs/")) {
        for found in PAGE.captures_iter(&text.flat) {
            let (path, rules) = (&found[1], &found[2]);
            if path.starts_with('/') {
                // Of another site.
                continue;
            }
            count += 1;
            let page = text.resolve(path);
            let numbers = numbers(&read(&page));
            let missing = SECTION.captures_iter(rules).find(|rule| !numbers.contains_key(&rule[1]));
            if !is_there(&page) {
                wrong.push(format!("{}: there is no page {path}", text.path.display()));
            } else if let Some(rule) = missing {
                wrong.push(format!("{}: {path} has no §{}", text.path.display(), &rule[1]));
            }
        }
    }
    assert!(count > 20, "pages are named");
    expect_none(&wrong);
}

#[test]
fn every_record_that_is_named_is_there_and_in_the_list_of_all() {
    let list = read(&Path::new(RECORDS).join("README.md"));
    let mut wrong = Vec::new();
    let mut records = BTreeSet::new();
    for entry in fs::read_dir(binary::workspace().join(RECORDS)).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(number) = name.split_once('-').and_then(|(number, _)| number.parse::<u32>().ok()) else {
            continue;
        };
        records.insert(number);
        let listed = list
            .lines()
            .any(|line| line.starts_with(&format!("{number}. ")) && line.contains(&format!("({name})")));
        if !listed {
            wrong.push(format!("{RECORDS}/README.md does not list {name} as {number}"));
        }
    }
    assert!(records.len() > 30, "the records are there");
    let may_name_one = |text: &&Text| ["ecord", "ADR", "adr/"].iter().any(|mark| text.flat.contains(mark));
    for text in TEXTS.iter().filter(may_name_one) {
        for found in RECORD.captures_iter(&text.flat) {
            let named = found.iter().skip(1).flatten().flat_map(|numbers| NUMBER.find_iter(numbers.as_str()));
            for number in named.map(|number| number.as_str().parse::<u32>().unwrap()) {
                if !records.contains(&number) {
                    wrong.push(format!(
                        "{}: there is no record {number}: {}",
                        text.path.display(),
                        &found[0]
                    ));
                }
            }
        }
    }
    expect_none(&wrong);
}

#[test]
fn every_link_of_a_page_leads_to_a_file_and_to_a_heading_of_it() {
    let mut wrong = Vec::new();
    for text in pages() {
        for found in LINK.captures_iter(&text.content) {
            let link = &found[1];
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { text.path.clone() } else { text.beside(file) };
            let is_heading = heading.is_empty()
                || HEADING.captures_iter(&read(&target)).any(|found| anchor(&found[1]) == heading);
            if !is_there(&target) || !is_heading {
                wrong.push(format!("{}: {link}", text.path.display()));
            }
        }
    }
    expect_none(&wrong);
}

#[test]
fn every_file_and_test_that_a_page_names_is_there() {
    let mut wrong = Vec::new();
    for text in pages() {
        for found in PATH.captures_iter(&text.content) {
            let path = Path::new(&found[1]);
            let has_test = found.get(2).is_none_or(|test| {
                let heads = [format!("fn {}(", test.as_str()), format!("fn {}<", test.as_str())];
                heads.iter().any(|head| read(path).contains(head))
            });
            if !MADE.contains(&&found[1]) && (!is_there(path) || !has_test) {
                wrong.push(format!("{}: {}", text.path.display(), &found[0]));
            }
        }
    }
    expect_none(&wrong);
}

#[test]
fn every_rule_has_a_number_of_its_own_in_the_section_that_it_is_of() {
    let mut wrong = Vec::new();
    for page in numbered_pages() {
        let path = page.path.display();
        let twice = numbers(&page.content).into_iter().filter(|(_, times)| *times > 1);
        wrong.extend(twice.map(|(number, _)| format!("{path}: {number} is there twice")));
        let mut section = String::new();
        let mut last = 0;
        for found in NUMBERED.captures_iter(&page.content) {
            let number = found.get(1).or_else(|| found.get(2)).map_or("", |number| number.as_str());
            match number.split_once('.') {
                None => (section, last) = (number.to_owned(), 0),
                Some((of, rule)) => {
                    let rule: u32 = rule.parse().unwrap();
                    if of != section || rule != last + 1 {
                        wrong.push(format!("{path}: {number} does not follow {section}.{last}"));
                    }
                    last = rule;
                }
            }
        }
    }
    expect_none(&wrong);
}

#[test]
fn every_rule_that_a_page_names_of_itself_is_on_it() {
    let mut wrong = Vec::new();
    for page in numbered_pages() {
        let numbers = numbers(&page.content);
        let named =
            OWN_RULES.captures_iter(&page.flat).map(|found| found.get(1).map_or("", |rules| rules.as_str()));
        let missing = named
            .flat_map(|rules| NUMBER.find_iter(rules))
            .filter(|rule| !numbers.contains_key(rule.as_str()));
        wrong.extend(
            missing.map(|rule| format!("{}: there is no rule {}", page.path.display(), rule.as_str())),
        );
    }
    expect_none(&wrong);
}

#[test]
fn nothing_refers_to_a_page_that_no_reader_of_the_repository_has() {
    let mut wrong = Vec::new();
    for text in TEXTS.iter() {
        let flat = text.flat.to_lowercase();
        let found = ELSEWHERE.iter().filter(|elsewhere| flat.contains(**elsewhere));
        wrong.extend(found.map(|elsewhere| format!("{}: {elsewhere}", text.path.display())));
    }
    expect_none(&wrong);
}
