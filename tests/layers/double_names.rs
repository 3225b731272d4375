//! Type names that are defined more than once in the gateway and the shared crates.
//!
//! Private types count too: whoever greps for a name, or reads it in a log, does not know which module may see it.

use std::collections::BTreeMap;

use crate::lists::{Found, List};
use crate::syntax::Kind;
use crate::tree::Tree;

pub(crate) const LIST: List = List {
    file: "double_names.txt",
    title: "Type names that are defined more than once, how often, and why. Entries only leave.",
    counted: true,
    hint: "name each after what it is",
};

/// The names of types that `trees` define more than once.
pub(crate) fn find(trees: &[Tree<'_>]) -> Found {
    let mut places: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (file, definition) in trees.iter().flat_map(Tree::definitions) {
        if definition.kind == Kind::Type {
            places.entry(&definition.name).or_default().push(format!("{file}:{}", definition.line));
        }
    }
    places.retain(|_, places| places.len() > 1);
    places
        .into_iter()
        .map(|(name, at)| (name.to_owned(), (at.len(), format!("defined in {}", at.join(", ")))))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::find;
    use crate::source::sources;
    use crate::tree::Tree;

    fn double(files: &[(&str, &str)]) -> Vec<(String, usize)> {
        let sources = sources(files);
        let trees = [Tree::new("a/src", &sources), Tree::new("b/src", &sources)];
        find(&trees).into_iter().map(|(name, (count, _))| (name, count)).collect()
    }

    #[test]
    fn a_type_is_told_whatever_its_kind_and_wherever_the_other_one_is() {
        let files = [
            ("a/src/hub.rs", "struct State; enum Entry {} fn f() { struct Inner; }"),
            ("a/src/hub/channel.rs", "trait State {} union Inner { a: u8 }"),
            ("b/src/redis.rs", "type State = u8; pub enum Entry {}"),
        ];
        let names = [("Entry".to_owned(), 2), ("Inner".to_owned(), 2), ("State".to_owned(), 3)];
        assert_eq!(double(&files), names);
    }

    #[test]
    fn associated_types_functions_and_tests_are_left_out() {
        let files = [
            ("a/src/hub.rs", "struct State; #[cfg(test)] mod tests { struct Bench; } #[cfg(test)] mod slow;"),
            ("a/src/hub/slow.rs", "struct Bench; struct State;"),
            ("b/src/redis.rs", "impl Actor for A { type State = u8; } fn State() {} trait T { type State; }"),
        ];
        assert_eq!(double(&files), []);
    }
}
