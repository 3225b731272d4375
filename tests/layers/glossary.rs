//! The glossary: the words that the code uses, and those that it does not.
//!
//! One line a word. `- **hub** — meaning.` is a word to use; `- ~~ear~~ → pub/sub` is one to replace, which may end with the names
//! where it says something else: ``(but: `year_end`)``. A word is refused as a part of the name of a type, a module, a file or a
//! function, also in the plural; names that a foreign trait dictates and those of tests are free.

use std::collections::{BTreeMap, BTreeSet};

use crate::lists::{Found, List};
use crate::syntax::Kind;
use crate::tree::Tree;

/// Where the glossary is, from the top of the repository.
pub(crate) const FILE: &str = "services/gateway/docs/glossary.md";

pub(crate) const LIST: List = List {
    file: "old_words.txt",
    title: "Words that the glossary replaces, and in how many names they still stand. Entries only leave.",
    counted: true,
    hint: "services/gateway/docs/glossary.md has the words",
};

/// The section whose words nobody else uses, and how many they may be.
const OWN: &str = "Words of our own";
const MAX_OWN: usize = 8;
/// How many names a violation shows.
const SHOWN: usize = 5;

/// The glossary as read.
#[derive(Default)]
pub(crate) struct Glossary {
    /// Word → what to say instead, and the names where it may stand.
    refused: BTreeMap<String, (String, BTreeSet<String>)>,
    /// What is wrong with the page itself.
    pub(crate) violations: Vec<String>,
}

impl Glossary {
    pub(crate) fn parse(text: &str) -> Self {
        let mut glossary = Self::default();
        let mut words = BTreeSet::new();
        let mut own = 0;
        let (mut section, mut before) = ("", String::new());
        for (line, text) in (1..).zip(text.lines()) {
            let mut refuse = |what: &str| glossary.violations.push(format!("{FILE}:{line}: {what}"));
            if let Some(title) = text.strip_prefix("## ") {
                (section, before) = (title.trim(), String::new());
                continue;
            }
            let Some(item) = text.strip_prefix("- ") else { continue };
            let Some((word, meaning, known)) = word_of(item) else {
                refuse("a line of the glossary is `- **word** — meaning.` or `- ~~word~~ → word to use`");
                continue;
            };
            let word = word.to_lowercase();
            if !words.insert(word.clone()) {
                refuse(&format!("`{word}` stands here twice: join the two lines"));
            }
            if word < before {
                refuse(&format!("`{word}` stands behind `{before}`: sort the section"));
            }
            own += usize::from(known && section == OWN);
            if own > MAX_OWN {
                refuse(&format!("{own} words of our own, the most is {MAX_OWN}: take the field's word"));
            }
            if !known {
                let (instead, names) = meaning.split_once(" (but: ").unwrap_or((meaning, ""));
                let names = names.split('`').skip(1).step_by(2).map(str::to_owned).collect();
                glossary.refused.insert(word.clone(), (instead.to_owned(), names));
            }
            before = word;
        }
        glossary
    }

    /// The names where a line permits its word, and that are gone.
    pub(crate) fn idle_exceptions(&self, trees: &[Tree<'_>]) -> Vec<String> {
        let names: BTreeSet<&str> = trees.iter().flat_map(names).map(|(name, _)| name).collect();
        let exceptions =
            self.refused.iter().flat_map(|(word, (_, names))| names.iter().map(move |name| (word, name)));
        exceptions
            .filter(|(_, name)| !names.contains(name.as_str()))
            .map(|(word, name)| format!("{FILE}: no `{name}` is left: take it from the line of `{word}`"))
            .collect()
    }

    /// The refused words that still stand in names: how often, and where.
    pub(crate) fn find(&self, trees: &[Tree<'_>]) -> Found {
        let mut places: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (name, place) in trees.iter().flat_map(names) {
            let parts = parts(name);
            for (word, (_, exceptions)) in &self.refused {
                if !exceptions.contains(name) && stands_in(word, &parts) {
                    places.entry(word).or_default().push(format!("`{name}` {place}"));
                }
            }
        }
        let shown = |word: &str, places: &[String]| {
            let instead = self.refused.get(word).map_or("", |(instead, _)| instead);
            let more = if places.len() > SHOWN { ", …" } else { "" };
            let places = places.get(..SHOWN).unwrap_or(places).join(", ");
            format!("say {instead}, not this word in {places}{more}")
        };
        places.into_iter().map(|(word, at)| (word.to_owned(), (at.len(), shown(word, &at)))).collect()
    }
}

/// The word of an item, what the item says of it, and whether it is one to use.
fn word_of(item: &str) -> Option<(&str, &str, bool)> {
    let known = || item.strip_prefix("**")?.split_once("** — ");
    let refused = || item.strip_prefix("~~")?.split_once("~~ → ");
    let (word, rest, known) = match (known(), refused()) {
        (Some((word, rest)), _) => (word, rest, true),
        (_, Some((word, rest))) => (word, rest, false),
        _ => return None,
    };
    (!word.trim().is_empty() && !rest.trim().is_empty()).then_some((word, rest, known))
}

/// Every name of a type, a module, a file and a function outside tests, and where it is.
fn names<'a>(tree: &'a Tree<'_>) -> impl Iterator<Item = (&'a str, String)> {
    let modules = tree.modules().filter_map(|(file, path, _)| Some((path.last()?.as_str(), file.to_owned())));
    let definitions = tree.definitions().filter(|(_, definition)| definition.kind != Kind::Value);
    modules.chain(definitions.map(|(file, it)| (it.name.as_str(), format!("{file}:{}", it.line))))
}

/// The words in a name, in small letters: `open_HTTPSession2` gives open, http and session2.
fn parts(name: &str) -> Vec<String> {
    let letters: Vec<char> = name.chars().collect();
    let mut parts = vec![String::new()];
    for (at, letter) in letters.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|at| letters.get(at)).is_some_and(|c| !c.is_uppercase());
        let behind = letters.get(at + 1).is_some_and(|c| c.is_lowercase());
        if *letter == '_' || (letter.is_uppercase() && (before || behind)) {
            parts.push(String::new());
        }
        if let Some(part) = parts.last_mut().filter(|_| *letter != '_') {
            part.extend(letter.to_lowercase());
        }
    }
    parts.retain(|part| !part.is_empty());
    parts
}

/// Whether the words of `word` follow one another in `parts`, the last one perhaps in the plural.
fn stands_in(word: &str, parts: &[String]) -> bool {
    let words: Vec<&str> = word.split(' ').collect();
    let same = |(at, (part, word)): (usize, (&String, &&str))| {
        let singular = part.strip_prefix(*word).unwrap_or("?");
        singular.is_empty() || (at + 1 == words.len() && matches!(singular, "s" | "es"))
    };
    parts.windows(words.len()).any(|parts| parts.iter().zip(&words).enumerate().all(same))
}

#[cfg(test)]
mod tests {
    use super::{Glossary, MAX_OWN, OWN, parts, stands_in};
    use crate::source::sources;
    use crate::tree::Tree;

    fn words(glossary: &str, files: &[(&str, &str)]) -> Vec<(String, usize)> {
        let sources = sources(files);
        let found = Glossary::parse(glossary).find(&[Tree::new("src", &sources)]);
        found.into_iter().map(|(word, (count, _))| (word, count)).collect()
    }

    #[test]
    fn a_refused_word_is_found_in_types_modules_files_and_functions() {
        let files = [
            ("src/ear.rs", "//! a"),
            (
                "src/redis/link.rs",
                "struct RedisEars; mod left_ear { fn hear() {} } impl A { fn ear_of(&self) {} }",
            ),
            ("src/year.rs", "trait Early { fn year(); } const EAR: u8 = 0;"),
        ];
        assert_eq!(words("- ~~ear~~ → pub/sub", &files), [("ear".to_owned(), 4)]);
    }

    #[test]
    fn names_of_tests_foreign_traits_and_exceptions_are_free() {
        let files = [(
            "src/a.rs",
            "impl Iterator for A { fn ear() {} } fn inner_ear() {} #[cfg(test)] mod tests { fn an_ear() {} }",
        )];
        assert_eq!(words("- ~~ear~~ → pub/sub (but: `inner_ear`)", &files), []);
    }

    #[test]
    fn an_exception_that_is_gone_must_leave_the_page() {
        let sources = sources(&[("src/a.rs", "fn inner_ear() {}")]);
        let glossary = Glossary::parse("- ~~ear~~ → pub/sub (but: `inner_ear`, `ear_ring`)");
        let gone = glossary.idle_exceptions(&[Tree::new("src", &sources)]);
        assert!(gone.len() == 1 && gone[0].contains("`ear_ring`"), "{gone:?}");
    }

    #[test]
    fn a_word_of_two_parts_is_found_only_where_they_follow_one_another() {
        let files = [("src/a.rs", "struct LastWords; struct LastGoodWord;")];
        assert_eq!(words("- ~~last word~~ → close message", &files), [("last word".to_owned(), 1)]);
    }

    #[test]
    fn names_are_split_where_a_reader_splits_them() {
        assert_eq!(parts("open_HTTPSession2"), ["open", "http", "session2"]);
        assert_eq!(parts("SockJsFrame"), ["sock", "js", "frame"]);
        assert!(stands_in("address", &parts("Addresses")) && !stands_in("ear", &parts("Early")));
    }

    #[test]
    fn a_word_that_stands_twice_or_out_of_order_is_told() {
        let page = "## Words\n- **hub** — a.\n- **node** — b.\n## More\n- ~~Hub~~ → c\n- ~~ear~~ → d\n";
        let found = Glossary::parse(page).violations;
        assert!(found.len() == 2 && found[0].contains(":5:") && found[1].contains(":6:"), "{found:?}");
    }

    #[test]
    fn a_line_without_a_meaning_is_told() {
        for line in ["- hub", "- **hub**", "- **hub** — ", "- ~~ear~~", "- ~~ ~~ → x"] {
            assert_eq!(Glossary::parse(line).violations.len(), 1, "{line}");
        }
        assert_eq!(Glossary::parse("A sentence.\n\n- **hub** — One a worker.").violations, [""; 0]);
    }

    #[test]
    fn one_word_of_our_own_too_many_is_told() {
        let page =
            |count: u8| (0..count).fold(format!("## {OWN}\n"), |page, n| format!("{page}- **w{n}** — a.\n"));
        assert_eq!(Glossary::parse(&page(MAX_OWN as u8)).violations, [""; 0]);
        assert_eq!(Glossary::parse(&page(MAX_OWN as u8 + 1)).violations.len(), 1);
    }
}
