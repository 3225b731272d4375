//! Lists of what is wrong today and tolerated: text files beside this program, one entry a line. They only shrink: what is not
//! listed is refused, and so is an entry that is no longer true.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// Where the lists are, from the top of the repository.
const DIRECTORY: &str = "tests/layers";
/// Stands between an entry and the reason for it.
const BEFORE_REASON: &str = " — ";
/// Begins a line that is not an entry.
const COMMENT: char = '#';
/// How to bring a list up to date.
pub(crate) const WRITE: &str = "`make layers LAYERS_ARGS=--write`";

/// One list.
pub(crate) struct List {
    pub(crate) file: &'static str,
    /// What the entries are, for the first line of the file.
    pub(crate) title: &'static str,
    /// Each entry ends with how often it occurs.
    pub(crate) counted: bool,
    /// What to do about something new.
    pub(crate) hint: &'static str,
}

/// What occurs now: entry → how often, and where.
pub(crate) type Found = BTreeMap<String, (usize, String)>;

/// What is tolerated: entry → how often, and why.
pub(crate) type Allowed = BTreeMap<String, (usize, String)>;

impl List {
    pub(crate) fn read(&self, top: &Path) -> io::Result<Allowed> {
        match std::fs::read_to_string(top.join(DIRECTORY).join(self.file)) {
            Ok(text) => Ok(self.parse(&text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Allowed::new()),
            Err(error) => Err(error),
        }
    }

    /// Replaces the file by what occurs now; reasons stay.
    pub(crate) fn write(&self, top: &Path, found: &Found, allowed: &Allowed) -> io::Result<()> {
        std::fs::write(top.join(DIRECTORY).join(self.file), self.format(found, allowed))
    }

    fn parse(&self, text: &str) -> Allowed {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with(COMMENT));
        lines
            .map(|line| {
                let (entry, reason) = line.split_once(BEFORE_REASON).unwrap_or((line, ""));
                let counted = entry.rsplit_once(' ').filter(|_| self.counted);
                let (entry, count) = counted
                    .and_then(|(entry, count)| Some((entry, count.parse().ok()?)))
                    .unwrap_or((entry, 1));
                (entry.to_owned(), (count, reason.to_owned()))
            })
            .collect()
    }

    fn format(&self, found: &Found, allowed: &Allowed) -> String {
        let mut text = format!("{COMMENT} {}\n", self.title);
        for (entry, (count, _)) in found {
            text.push_str(entry);
            if self.counted {
                text.push_str(&format!(" {count}"));
            }
            if let Some((_, reason)) = allowed.get(entry).filter(|(_, reason)| !reason.is_empty()) {
                text.push_str(BEFORE_REASON);
                text.push_str(reason);
            }
            text.push('\n');
        }
        text
    }

    /// What is found and not allowed, and what is allowed and not found.
    pub(crate) fn check(&self, found: &Found, allowed: &Allowed) -> Vec<String> {
        let mut violations = Vec::new();
        for (entry, (count, places)) in found {
            let known = allowed.get(entry).map_or(0, |(count, _)| *count);
            if *count > known {
                let listed = if known == 0 { String::new() } else { format!(" ({known} are listed)") };
                violations.push(format!("{entry}: {places}{listed}: {}", self.hint));
            }
        }
        for (entry, (known, _)) in allowed {
            let count = found.get(entry).map_or(0, |(count, _)| *count);
            if count < *known {
                let left = if count == 0 { "gone".to_owned() } else { format!("{count} now, not {known}") };
                violations.push(format!("{entry}: {left}: take it from {} with {WRITE}", self.file));
            }
        }
        violations
    }
}

#[cfg(test)]
mod tests {
    use super::{Allowed, Found, List};

    const LIST: List = List { file: "a.txt", title: "Things.", counted: true, hint: "do better" };

    fn found(entries: &[(&str, usize)]) -> Found {
        entries.iter().map(|(entry, count)| ((*entry).to_owned(), (*count, "here".to_owned()))).collect()
    }

    #[test]
    fn what_is_listed_as_often_as_it_occurs_is_tolerated() {
        assert_eq!(LIST.check(&found(&[("a", 2)]), &LIST.parse("# Things.\na 2 — old\n")), [""; 0]);
    }

    #[test]
    fn what_is_new_or_occurs_more_often_is_refused() {
        assert_eq!(LIST.check(&found(&[("a", 1)]), &Allowed::new()), ["a: here: do better"]);
        assert_eq!(
            LIST.check(&found(&[("a", 3)]), &LIST.parse("a 2")),
            ["a: here (2 are listed): do better"]
        );
    }

    #[test]
    fn an_entry_that_is_gone_or_occurs_less_often_must_leave_the_list() {
        assert_eq!(LIST.check(&found(&[]), &LIST.parse("a 2")).len(), 1);
        assert_eq!(LIST.check(&found(&[("a", 1)]), &LIST.parse("a 2")).len(), 1);
    }

    #[test]
    fn writing_keeps_the_reasons_of_what_is_still_there() {
        let allowed = LIST.parse("a 3 — said by a standard\nb 2 — gone\n");
        assert_eq!(
            LIST.format(&found(&[("a", 2), ("c d", 4)]), &allowed),
            "# Things.\na 2 — said by a standard\nc d 4\n"
        );
    }
}
