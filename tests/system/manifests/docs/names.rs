//! Every setting, variable, code, metric, path, command, flag and target of `make` that a page names is there.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Command,
    sync::LazyLock,
};

use gorani_tests::{
    binary,
    node::{Node, Settings},
};
use regex::Regex;
use serde_json::Value;

use super::{
    super::{limits, numbers, paths},
    blocks::{all, applications, pages, prose, text},
};

/// The text between backticks, in one line.
static SPAN: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"`([^`\n]+)`").unwrap());
static DOTTED: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"^([a-z0-9_]+)(?:\.[a-z0-9_]+)+$").unwrap());
/// Endings of the names of files, behind the dot.
const EXTENSIONS: [&str; 13] =
    ["cfg", "rs", "md", "toml", "js", "mjs", "py", "lua", "yml", "yaml", "json", "proto", "java"];
static OPTION: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"^(?:allow|force|history)_[a-z_]+$").unwrap());
static VARIABLE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\bGORANI_[A-Z0-9_]*[A-Z0-9]\b").unwrap());
/// A code where it is called one, in a cell of its own, in parentheses or in a heading.
static CODE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?m)(?:\b(?:errors?|codes?|with|after) `?|^\| |\(|^#+ |`)([1-4]\d{2,3})\b(?:`| \||\)|\.|:|,? |$)",
    )
    .unwrap()
});
static CODE_ROW: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"(?m)^\| (\d{3,4}) \|").unwrap());
/// The files in which errors, ends of subscriptions and ends of connections have their codes.
const CODES: [std::ops::RangeInclusive<u16>; 3] = [102..=121, 2000..=2019, 2500..=2599];
const DISCONNECTS: std::ops::RangeInclusive<u16> = 3001..=3599;
static METRIC: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\bgorani_[a-z][a-z_]*[a-z]\b").unwrap());
/// Names of crates, which look like those of metrics.
const CRATES: [&str; 4] = ["gorani_auth", "gorani_broker", "gorani_protocol", "gorani_tests"];
static SERVED_PATH: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"(?:[`\s"'(]|:\d+|\.com)(/(?:connection|api|emulation|health|metrics|stomp)(?:/\w[\w.]*)*)"#)
        .unwrap()
});
static COMMAND: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?:^|[\s(])gorani ([a-z]+)((?: [^\n|)]*)?)").unwrap());
static FLAG: LazyLock<Regex> = LazyLock::new(|| Regex::new(r" (--[a-z][a-z-]*)").unwrap());
static TARGET: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?m)(?:^|[\s(])make ([a-z][a-z0-9-]*)").unwrap());

static PICTURE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r#"(?:src|srcset)="([^"]+)""#).unwrap());

/// The names that a page says: the spans of its text and the lines of its commands, with the page.
fn named() -> Vec<(String, String)> {
    let mut named = Vec::new();
    for page in pages() {
        let prose = prose(&page);
        named.extend(SPAN.captures_iter(&prose).map(|span| (page.clone(), span[1].to_owned())));
    }
    let commands = all().into_iter().filter(|block| block.language == "sh");
    named.extend(commands.flat_map(|block| {
        let lines: Vec<_> = block.text.replace("\\\n", " ").lines().map(str::to_owned).collect();
        lines.into_iter().map(move |line| (block.page.clone(), line))
    }));
    named
}

fn expect_none(wrong: &BTreeSet<String>) {
    assert!(
        wrong.is_empty(),
        "{} names lead nowhere:\n{}",
        wrong.len(),
        wrong.iter().cloned().collect::<Vec<_>>().join("\n")
    );
}

/// The settings that a proxy has wherever it stands; the file shows them once, in comments.
const PROXIES: [&str; 6] = [
    "client.proxy.connect",
    "client.proxy.refresh",
    "channel.proxy.subscribe",
    "channel.proxy.publish",
    "channel.proxy.sub_refresh",
    "rpc.proxy",
];

/// Every setting, those of each proxy included.
fn settings() -> BTreeMap<String, String> {
    let mut settings = limits::settings();
    let shown: Vec<_> = settings
        .iter()
        .filter_map(|(name, value)| Some((name.strip_prefix(PROXIES[0])?.to_owned(), value.clone())))
        .collect();
    for proxy in PROXIES {
        settings.extend(shown.iter().map(|(key, value)| (format!("{proxy}{key}"), value.clone())));
    }
    settings
}

#[test]
fn every_setting_and_variable_that_a_page_names_is_there() {
    let settings = settings();
    let sections: BTreeSet<&str> = settings.keys().filter_map(|key| key.split('.').next()).collect();
    let is_known = |name: &str| {
        settings
            .keys()
            .any(|key| key == name || key.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')))
    };
    let mut wrong = BTreeSet::new();
    for (page, name) in named() {
        let first = DOTTED.captures(&name).map(|found| found.get(1).unwrap().as_str());
        let is_file = EXTENSIONS.contains(&name.rsplit('.').next().unwrap_or_default());
        let is_wrong_setting =
            first.is_some_and(|first| sections.contains(first) && !is_file && !is_known(&name));
        let is_wrong_option = OPTION.is_match(&name)
            && name != "history_remove"
            && !is_known(&format!("channel.defaults.{name}"));
        if is_wrong_setting || is_wrong_option {
            wrong.insert(format!("{page}: {name}"));
        }
    }
    // Variables of other programs of the repository stand in what uses them.
    let users = [
        "Makefile",
        "deploy/docker-compose.yml",
        "tests/e2e/support/browser.js",
        "tests/src/binary.rs",
        "services/gateway/src/cli.rs",
        "services/gateway/src/cli/admin_client.rs",
        "tests/e2e/support/admin_cluster.js",
    ];
    let users: String = users.into_iter().map(text).collect();
    for page in pages() {
        for found in VARIABLE.find_iter(&text(&page)) {
            let name = found.as_str();
            let setting = name.strip_prefix("GORANI__").map(|name| name.to_lowercase().replace("__", "."));
            if !setting.map_or_else(|| users.contains(name), |setting| settings.contains_key(&setting)) {
                wrong.insert(format!("{page}: {name}"));
            }
        }
    }
    expect_none(&wrong);
}

/// The codes in rows of tables.
fn codes_of(text: &str) -> BTreeSet<u16> {
    CODE_ROW.captures_iter(text).map(|row| row[1].parse().unwrap()).collect()
}

#[test]
fn every_error_of_a_command_is_told_by_what_to_do_about_it() {
    let rules = text("services/gateway/docs/protocols/client.md");
    let (_, table) = rules.split_once("\n### 12.1 ").unwrap();
    let errors = codes_of(table.split_once("\n### ").unwrap().0);
    let told = codes_of(&text("services/gateway/docs/troubleshooting.md"));
    assert!(errors.len() > 10 && errors.is_subset(&told), "{:?}", errors.difference(&told));
}

#[test]
fn every_code_that_a_page_names_is_in_the_table_of_codes() {
    let rules = text("services/gateway/docs/protocols/client.md");
    let (_, table) = rules.split_once("\n## 12. Codes").unwrap();
    let known = codes_of(table);
    assert!(known.len() > 30, "{known:?}");
    let mut wrong = BTreeSet::new();
    for page in pages() {
        for found in CODE.captures_iter(&prose(&page)) {
            let code: u16 = found[1].parse().unwrap();
            let is_code = CODES.iter().any(|codes| codes.contains(&code)) || DISCONNECTS.contains(&code);
            if is_code && !known.contains(&code) {
                wrong.insert(format!("{page}: {code}"));
            }
        }
    }
    expect_none(&wrong);
}

#[tokio::test]
async fn every_metric_that_a_page_names_is_one_that_a_node_shows() {
    let shown = numbers::shown().await;
    // A family that has counted nothing yet is not shown.
    let families = ["clients", "hooks", "proxy"]
        .map(|file| text(&format!("services/gateway/src/metrics/{file}.rs")))
        .concat()
        .split_whitespace()
        .collect::<String>();
    let mut wrong = BTreeSet::new();
    for page in pages() {
        for found in METRIC.find_iter(&text(&page)) {
            let name = found.as_str();
            let base = name.trim_end_matches("_total");
            let is_shown = shown.lines().any(|line| line.starts_with(&format!("# TYPE {base} ")));
            let is_family =
                families.contains(&format!("register(\"{}\"", base.trim_start_matches("gorani_")));
            if !is_shown && !is_family && !CRATES.contains(&name) {
                wrong.insert(format!("{page}: {name}"));
            }
        }
    }
    expect_none(&wrong);
}

#[test]
fn every_path_that_a_page_names_is_served() {
    let node = Node::start(Settings::open());
    let (_, document) = node.api().get("/api/openapi.json");
    let document: Value = serde_json::from_str(&document).unwrap();
    let methods: BTreeSet<&String> = document["paths"].as_object().unwrap().keys().collect();
    let served = paths::served();
    let mut wrong = BTreeSet::new();
    let applications = applications();
    for page in pages().into_iter().filter(|page| !applications.contains(page)) {
        for found in SERVED_PATH.captures_iter(&text(&page)) {
            let path = found[1].trim_end_matches('.').to_owned();
            let is_served = match path.strip_prefix("/api/") {
                Some(_) => methods.contains(&path) || path == "/api/openapi.json",
                None => served.iter().any(|prefix| paths::is_below(&path, prefix)),
            };
            if !is_served {
                wrong.insert(format!("{page}: {path}"));
            }
        }
    }
    expect_none(&wrong);
}

#[test]
fn every_picture_that_a_page_shows_is_there() {
    let mut wrong = BTreeSet::new();
    let mut shown = 0;
    for page in pages() {
        let folder = binary::workspace().join(&page).parent().unwrap().to_owned();
        for found in PICTURE.captures_iter(&prose(&page)) {
            shown += 1;
            if !folder.join(&found[1]).is_file() {
                wrong.insert(format!("{page}: {}", &found[1]));
            }
        }
    }
    assert!(shown > 5, "the pages have pictures");
    expect_none(&wrong);
}

#[test]
fn every_command_flag_and_target_that_a_page_names_is_there() {
    let makefile = fs::read_to_string(binary::workspace().join("Makefile")).unwrap();
    let mut helps: BTreeMap<String, Option<String>> = BTreeMap::new();
    let mut wrong = BTreeSet::new();
    for (page, text) in named() {
        for found in COMMAND.captures_iter(&text) {
            let help = helps.entry(found[1].to_owned()).or_insert_with_key(|command| {
                let output = Command::new(binary::node()).args([command, "--help"]).output().unwrap();
                output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
            });
            let flags = FLAG.captures_iter(&found[2]).map(|flag| flag[1].to_owned());
            match help {
                None => _ = wrong.insert(format!("{page}: gorani {}", &found[1])),
                Some(help) => {
                    wrong.extend(
                        flags
                            .filter(|flag| !help.contains(&**flag))
                            .map(|flag| format!("{page}: gorani {} {flag}", &found[1])),
                    );
                }
            }
        }
        let targets = TARGET.captures_iter(&text).map(|found| found[1].to_owned());
        wrong.extend(
            targets
                .filter(|target| !makefile.contains(&format!("\n{target}:")))
                .map(|target| format!("{page}: make {target}")),
        );
    }
    assert!(helps.len() > 3, "the pages name commands: {helps:?}");
    expect_none(&wrong);
}
