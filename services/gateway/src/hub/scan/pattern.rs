//! A pattern of channel names: `*` stands for any characters, `?` for one. Its literal beginning bounds what a scan looks at.

use wildmatch::WildMatch;

/// Both wildcards.
const WILDCARDS: [char; 2] = ['*', '?'];

/// A pattern that names are held against.
pub(super) struct Pattern {
    /// All of it up to the first wildcard.
    literal: String,
    /// There is no wildcard.
    is_name: bool,
    whole: WildMatch,
}

impl Pattern {
    /// Any text is a pattern.
    pub(super) fn new(text: String) -> Self {
        let whole = WildMatch::new(&text);
        let mut literal = text;
        let wildcard = literal.find(WILDCARDS);
        if let Some(wildcard) = wildcard {
            literal.truncate(wildcard);
        }
        Self { literal, is_name: wildcard.is_none(), whole }
    }

    /// The beginning of every name that matches.
    pub(super) fn literal(&self) -> &str {
        &self.literal
    }

    /// False once neither this name nor one after it can match. To be asked of names in order, from [`Pattern::literal`] on.
    pub(super) fn may_match_from(&self, name: &str) -> bool {
        if self.is_name { name == self.literal } else { name.starts_with(&self.literal) }
    }

    /// Holds a name against the whole pattern.
    pub(super) fn matches(&self, name: &str) -> bool {
        self.whole.matches(name)
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, ops::Bound};

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn names_within_the_bounds_of_a_pattern_are_all_that_match(
            pattern in "[ab*?]{0,6}",
            names in proptest::collection::btree_set("[abc]{1,5}", 0..40),
        ) {
            let pattern = Pattern::new(pattern);
            let names: BTreeSet<String> = names;
            let bounded: Vec<_> = names
                .range::<str, _>((Bound::Included(pattern.literal()), Bound::Unbounded))
                .take_while(|name| pattern.may_match_from(name))
                .filter(|name| pattern.matches(name))
                .collect();
            let all: Vec<_> = names.iter().filter(|name| pattern.matches(name)).collect();
            prop_assert_eq!(bounded, all);
        }
    }
}
