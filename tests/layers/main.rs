//! `make layers`: does every part use only what stands below it (`docs/architecture.md` §2.2)? Exit code 1, and one line for each place that does not.
//!
//! - [`crates`]: the packages of the workspace, asked of `cargo metadata`.
//! - [`rooms`]: the top-level modules of the gateway; [`arrows`]: the modules inside its large rooms.
//! - [`circles`]: files that use one another. [`tree`] says which file uses which.
//! - [`double_names`]: type names that are defined more than once.
//! - [`glossary`]: words that names do not use.
//! - [`files`]: what every Rust file must look like.
//!
//! What is wrong today and tolerated stands in [`lists`] beside this program.

mod arrows;
mod circles;
mod crates;
mod double_names;
mod files;
mod glossary;
mod lists;
mod rooms;
mod source;
mod syntax;
mod tree;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

use crate::glossary::Glossary;
use crate::lists::{Found, List};
use crate::tree::{Tree, Uses};

/// The rooms of the gateway from the top to the bottom: a room may use rooms of later lines only, so those of one line know nothing
/// of one another. A new room gets its place here.
const ROOMS: &[&[&str]] = &[
    &["main", "cli", "lib", "simulation"],
    &["server", "conformance"],
    &["endpoints", "api", "admin", "page", "health"],
    &["receive", "sockjs"],
    &["forward"],
    &["http"],
    &["http_session"],
    &["connection"],
    &["endpoint"],
    &["drain", "explain"],
    &["node"],
    &["hub"],
    &["proxy", "hooks"],
    &["session", "outbox", "telemetry"],
    &["format"],
    &["backend"],
    &["settings", "metrics", "session_command", "proxy_call"],
    &["disconnect", "event_log"],
    &["memory"],
    &["clock", "random", "refusal_log", "tasks"],
];

/// The sources of the gateway, from the top of the repository.
const GATEWAY: &str = "services/gateway/src";

/// The sources whose files and names are looked at, and their rooms whose second level is.
const CRATES: &[(&str, &[&str])] = &[
    (
        GATEWAY,
        &[
            "session",
            "hub",
            "node",
            "connection",
            "http_session",
            "receive",
            "sockjs",
            "forward",
            "http",
            "endpoints",
        ],
    ),
    ("shared/auth/src", &[]),
    ("shared/broker/src", &["redis"]),
    ("shared/protocol/src", &[]),
];

/// Directories whose Rust files are looked at.
const SOURCE_DIRECTORIES: &[&str] = &["services", "shared", "tests"];

#[derive(Parser)]
#[command(about = "Checks the direction of dependencies, circles of files, and names")]
struct Options {
    /// Writes the lists of exceptions anew from what occurs now
    #[arg(long)]
    write: bool,
    /// Tells where each exception comes from, and each use inside a circle of files
    #[arg(long)]
    explain: bool,
    /// The repository; the one this program was built in by default
    top: Option<PathBuf>,
}

/// What one rule with a list of exceptions found.
struct Rule {
    list: List,
    found: Found,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let mut out = std::io::stdout().lock();
    match run(&options, &mut out) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(out, "layers: cannot look: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The top of the repository that this program was built in.
fn repository() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_path_buf()
}

/// Does what the options say and returns the number of violations.
fn run(options: &Options, out: &mut impl Write) -> std::io::Result<usize> {
    let top = options.top.clone().unwrap_or_else(repository);
    let directories: Vec<&str> = CRATES.iter().map(|(directory, _)| *directory).collect();
    let sources = source::read(&top, SOURCE_DIRECTORIES, &directories)?;
    let trees: Vec<Tree<'_>> = directories.iter().map(|directory| Tree::new(directory, &sources)).collect();
    let uses: Uses<'_> = trees.iter().flat_map(Tree::uses).collect();
    let glossary = Glossary::parse(&std::fs::read_to_string(top.join(glossary::FILE))?);
    let rules = rules(&trees, &uses, &glossary);
    if options.explain {
        explain(&rules, &uses, out)?;
    }
    let mut violations = crates::check(&crates::metadata(&top)?);
    for tree in trees.iter().filter(|tree| tree.directory == GATEWAY) {
        violations.extend(rooms::check(ROOMS, tree));
    }
    violations.extend(files::check(&sources));
    violations.extend(glossary.idle_exceptions(&trees));
    violations.extend(glossary.violations);
    for Rule { list, found } in &rules {
        let allowed = list.read(&top)?;
        if options.write {
            list.write(&top, found, &allowed)?;
            let new = found
                .iter()
                .filter(|(entry, (count, _))| allowed.get(*entry).is_none_or(|(known, _)| known < count));
            let (before, now, new) = (allowed.len(), found.len(), new.count());
            writeln!(out, "layers: {}: {before} entries before, {now} now, {new} new or larger", list.file)?;
        } else if list.file == circles::LIST.file {
            violations.extend(circles::check(&uses, found, &allowed));
        } else {
            violations.extend(list.check(found, &allowed));
        }
    }
    for violation in &violations {
        writeln!(out, "layers: {violation}")?;
    }
    if violations.is_empty() {
        writeln!(out, "layers: every part uses only what stands below it")?;
    }
    Ok(violations.len())
}

fn rules(trees: &[Tree<'_>], uses: &Uses<'_>, glossary: &Glossary) -> Vec<Rule> {
    let arrows = CRATES.iter().flat_map(|(directory, rooms)| arrows::find(uses, directory, rooms)).collect();
    vec![
        Rule { list: circles::LIST, found: circles::find(uses) },
        Rule { list: arrows::LIST, found: arrows },
        Rule { list: double_names::LIST, found: double_names::find(trees) },
        Rule { list: glossary::LIST, found: glossary.find(trees) },
    ]
}

/// Says where each exception comes from, and after a circle each use inside it.
fn explain(rules: &[Rule], uses: &Uses<'_>, out: &mut impl Write) -> std::io::Result<()> {
    for Rule { list, found, .. } in rules {
        for (entry, (_, places)) in found {
            writeln!(out, "{}: {entry}: {places}", list.file)?;
            let files: Vec<&str> = entry.split(' ').collect();
            for (from, used) in uses.iter().filter(|(from, _)| files.contains(from)) {
                for (to, using) in used.iter().filter(|(to, _)| files.contains(to)) {
                    writeln!(out, "    {from}:{} -> {to} `{}`", using.line, using.what)?;
                }
            }
        }
    }
    Ok(())
}
