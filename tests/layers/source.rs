//! The Rust files that `make layers` looks at.

use std::io;
use std::path::Path;
use std::sync::Mutex;

use crate::syntax::{self, Module};

/// Directories that hold no sources of ours.
const SKIPPED: &[&str] = &["target", "node_modules", "corpus", "artifacts"];

/// One Rust file.
pub(crate) struct Source {
    /// From the top of the repository, with `/`.
    pub(crate) path: String,
    /// The whole text.
    pub(crate) text: String,
    /// The file's own module first, then those inside it; none where only the text matters.
    pub(crate) modules: Vec<Module>,
}

impl Source {
    fn parse(&mut self) -> io::Result<()> {
        self.modules = syntax::read(&self.text).map_err(|error| {
            let line = error.span().start().line;
            io::Error::new(io::ErrorKind::InvalidData, format!("{}:{line}: {error}", self.path))
        })?;
        Ok(())
    }
}

/// Every `.rs` file under `directories` of `top`, by path. Those under `parsed` have modules.
pub(crate) fn read(top: &Path, directories: &[&str], parsed: &[&str]) -> io::Result<Vec<Source>> {
    let mut found = Vec::new();
    for directory in directories {
        walk(top, &top.join(directory), &mut found)?;
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    parse(
        found.iter_mut().filter(|source| parsed.iter().any(|directory| source.path.starts_with(directory))),
    )?;
    Ok(found)
}

/// Parses with all processors: in a build without optimisation it takes one of them several seconds.
fn parse<'a>(sources: impl Iterator<Item = &'a mut Source>) -> io::Result<()> {
    let waiting = Mutex::new(sources.collect::<Vec<_>>());
    let next = || waiting.lock().ok().and_then(|mut waiting| waiting.pop());
    let work = || std::iter::from_fn(next).try_for_each(Source::parse);
    std::thread::scope(|scope| {
        let others: Vec<_> =
            (1..std::thread::available_parallelism()?.get()).map(|_| scope.spawn(work)).collect();
        let mut result = work();
        for other in others {
            let other = other.join().map_err(|_| io::Error::other("the parser panicked"))?;
            result = result.and(other);
        }
        result
    })
}

fn walk(top: &Path, directory: &Path, found: &mut Vec<Source>) -> io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let path = entry.path();
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if entry.file_type()?.is_dir() {
            if !SKIPPED.contains(&name.as_ref()) && !name.starts_with('.') {
                walk(top, &path, found)?;
            }
        } else if name.ends_with(".rs") {
            let shown = path.strip_prefix(top).unwrap_or(&path).to_string_lossy().replace('\\', "/");
            let text = std::fs::read_to_string(&path)?;
            found.push(Source { path: shown, text, modules: Vec::new() });
        }
    }
    Ok(())
}

/// The files of a test: path and text.
#[cfg(test)]
#[allow(clippy::expect_used, reason = "tests")]
pub(crate) fn sources(files: &[(&str, &str)]) -> Vec<Source> {
    let new = |(path, text): &(&str, &str)| Source {
        path: (*path).to_owned(),
        text: (*text).to_owned(),
        modules: Vec::new(),
    };
    let mut sources: Vec<Source> = files.iter().map(new).collect();
    parse(sources.iter_mut()).expect("valid Rust");
    sources
}
