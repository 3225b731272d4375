//! Circles of files: files that use one another, directly or through others. None of them can be understood, tested or moved alone.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::lists::{Allowed, Found, List, WRITE};
use crate::tree::Uses;

pub(crate) const LIST: List = List {
    file: "circles.txt",
    title: "Files that use one another, directly or through others. Entries only leave.",
    counted: false,
    hint: "turn one arrow round, or move what both use into a file below them",
};

/// Files that use one another, sorted.
type Circle<'a> = Vec<&'a str>;

/// Every circle of `uses`: its files, and a shortest way around.
pub(crate) fn find(uses: &Uses<'_>) -> Found {
    let circles = components(uses);
    circles.iter().map(|circle| (circle.join(" "), (1, way_around(uses, circle, circle)))).collect()
}

/// What `found` and the list do not share. Of a listed circle that lost or won files, only that is told.
pub(crate) fn check(uses: &Uses<'_>, found: &Found, allowed: &Allowed) -> Vec<String> {
    let (mut now, mut then) = (found.clone(), allowed.clone());
    let mut violations = Vec::new();
    for (name, (_, way)) in found.iter().filter(|(name, _)| !allowed.contains_key(*name)) {
        let circle: Circle<'_> = name.split(' ').collect();
        let shares = |listed: &&String| listed.split(' ').any(|file| circle.contains(&file));
        let listed: Vec<&String> = allowed.keys().filter(shares).collect();
        let known: BTreeSet<&str> = listed.iter().flat_map(|listed| listed.split(' ')).collect();
        let Some(first) = listed.first().and_then(|listed| listed.split(' ').next()) else { continue };
        let joined: Circle<'_> = circle.iter().copied().filter(|file| !known.contains(file)).collect();
        violations.push(if let Some(file) = joined.first() {
            let way = way_around(uses, &circle, &joined);
            format!("{file} joins the circle of {first}: {way}: {}", LIST.hint)
        } else if listed.len() > 1 {
            format!("the circles of {first} and others become one: {way}: {}", LIST.hint)
        } else {
            format!("the circle of {first} lost files: take them from {} with {WRITE}", LIST.file)
        });
        now.remove(name);
        listed.iter().for_each(|listed| drop(then.remove(*listed)));
    }
    violations.extend(LIST.check(&now, &then));
    violations
}

/// The strongly connected components of more than one file.
fn components<'a>(uses: &Uses<'a>) -> Vec<Circle<'a>> {
    let reached: BTreeMap<&str, BTreeSet<&str>> =
        uses.keys().map(|from| (*from, paths(uses, from, |_| true).into_keys().collect())).collect();
    let uses_back = |from: &str, to: &str| reached.get(from).is_some_and(|files| files.contains(to));
    let mut circles: Vec<Circle<'a>> = Vec::new();
    for (&file, files) in &reached {
        if !circles.iter().any(|circle| circle.contains(&file)) {
            circles.push(files.iter().copied().filter(|other| uses_back(other, file)).collect());
        }
    }
    circles.retain(|circle| circle.len() > 1);
    circles
}

/// A shortest way around in `circle` through one of `some`, as `a.rs:12 uses b::B, b.rs:3 uses a::A`.
fn way_around(uses: &Uses<'_>, circle: &[&str], some: &[&str]) -> String {
    let ways = some.iter().filter_map(|&start| {
        let before = paths(uses, start, |file| circle.contains(&file));
        let mut steps = Vec::new();
        let mut at = start;
        loop {
            let from = before.get(at)?;
            let used = uses.get(from)?.get(at)?;
            steps.push(format!("{from}:{} uses `{}`", used.line, used.what));
            at = from;
            if at == start {
                steps.reverse();
                return Some(steps);
            }
        }
    });
    ways.min_by_key(Vec::len).unwrap_or_default().join(", ")
}

/// The files reached from `start` through those that are `allowed`, each with the one before it on a shortest way.
fn paths<'a>(uses: &Uses<'a>, start: &str, allowed: impl Fn(&str) -> bool) -> BTreeMap<&'a str, &'a str> {
    let mut before = BTreeMap::new();
    let mut waiting: VecDeque<&str> = uses.get_key_value(start).map(|(file, _)| *file).into_iter().collect();
    while let Some(from) = waiting.pop_front() {
        // The keys of the map live as long as the sources; what waits may be one of them only.
        let Some((&from, used)) = uses.get_key_value(from) else { continue };
        for &to in used.keys().filter(|to| allowed(to)) {
            if !before.contains_key(to) {
                before.insert(to, from);
                waiting.push_back(to);
            }
        }
    }
    before
}

#[cfg(test)]
mod tests {
    use super::{LIST, check, find};
    use crate::lists::{Allowed, Found};
    use crate::source::sources;
    use crate::tree::Tree;

    fn circles(files: &[(&str, &str)]) -> Found {
        let sources = sources(&[&[("src/lib.rs", "")], files].concat());
        find(&Tree::new("src", &sources).uses())
    }

    fn listed(circles: &[&str]) -> Allowed {
        circles.iter().map(|circle| ((*circle).to_owned(), (1, String::new()))).collect()
    }

    #[test]
    fn files_that_use_one_another_through_a_third_are_a_circle_with_a_way_around() {
        let found = circles(&[
            ("src/a.rs", "use crate::b::B; pub struct A;"),
            ("src/b.rs", "use super::c::C;\npub struct B;"),
            ("src/c.rs", "pub struct C(Vec<crate::a::A>);"),
            ("src/d.rs", "use crate::a::A;"),
        ]);
        let way =
            "src/a.rs:1 uses `crate::b::B`, src/b.rs:1 uses `super::c::C`, src/c.rs:1 uses `crate::a::A`";
        assert_eq!(found, Found::from([("src/a.rs src/b.rs src/c.rs".to_owned(), (1, way.to_owned()))]));
    }

    #[test]
    fn a_parent_that_declares_and_passes_on_is_no_circle_with_its_child() {
        let files = [
            (
                "src/hub.rs",
                "mod channel; pub struct Hub; pub use channel::Channel; pub(crate) use self::channel::{State, open};",
            ),
            (
                "src/hub/channel.rs",
                "use super::Hub; impl Hub {} pub struct Channel; pub struct State; pub fn open() {}",
            ),
            ("src/api.rs", "use crate::hub::{Channel, Hub};"),
        ];
        assert_eq!(circles(&files), Found::new());
    }

    #[test]
    fn a_parent_and_a_child_that_use_items_of_one_another_are_a_circle() {
        for parent in [
            "mod channel; use channel::Channel; pub struct Hub(Channel);",
            "mod channel; pub use channel::Channel; pub struct Hub(Channel);",
            "mod channel; pub struct Hub; fn f() { channel::open() }",
            "mod channel; pub struct Hub { #[serde(with = \"channel::open\")] a: u8 }",
            "mod channel; use channel::*; pub struct Hub; fn f(_: Channel) {}",
            "mod channel; pub struct Hub; fn f() { use channel::open as f; f() }",
            "mod channel; pub struct Hub; fn f() { select! { a = x.y(&channel::Channel) => {} } }",
        ] {
            let child = "use super::Hub; pub struct Channel; pub fn open() {}";
            assert_eq!(
                circles(&[("src/hub.rs", parent), ("src/hub/channel.rs", child)]).len(),
                1,
                "{parent}"
            );
        }
    }

    #[test]
    fn neighbours_that_take_names_from_their_parent_use_the_file_that_defines_them() {
        let files = [
            ("src/hub.rs", "mod a; mod b; pub use a::A; pub use b::*;"),
            ("src/hub/a.rs", "use super::B; pub struct A;"),
            ("src/hub/b.rs", "use super::A; pub struct B;"),
        ];
        let found = circles(&files);
        assert_eq!(found.keys().collect::<Vec<_>>(), ["src/hub/a.rs src/hub/b.rs"]);
    }

    #[test]
    fn tests_make_no_circle_in_whichever_way_they_are_marked() {
        let files = [
            (
                "src/a.rs",
                "pub struct A; #[cfg(test)] mod tests { use crate::b::B; } #[cfg(test)] use crate::b::B; #[cfg(test)] mod slow;",
            ),
            ("src/a/slow.rs", "use crate::b::B;"),
            (
                "src/b.rs",
                "use crate::a::A; pub struct B; impl B { #[cfg(all(test, unix))] fn f() { crate::a::slow::g() } }",
            ),
        ];
        assert_eq!(circles(&files), Found::new());
    }

    #[test]
    fn methods_fields_comments_and_visibility_use_nothing() {
        let files = [
            (
                "src/hub.rs",
                "mod channel; pub struct Hub; fn f() { x!(self.channel.channel(a.b::<u8>())) } /* channel::X */",
            ),
            ("src/hub/channel.rs", "use super::Hub; pub(super) struct X; pub(in crate::hub) struct Y;"),
        ];
        assert_eq!(circles(&files), Found::new());
    }

    #[test]
    fn a_circle_that_lost_or_won_a_file_or_joined_another_is_told_once() {
        let files = [
            ("src/lib.rs", ""),
            ("src/a.rs", "use crate::b::B; pub struct A;"),
            ("src/b.rs", "use crate::a::A; use crate::c::C; pub struct B;"),
            ("src/c.rs", "use crate::b::B; pub struct C;"),
        ];
        let sources = sources(&files);
        let uses = Tree::new("src", &sources).uses();
        let found = find(&uses);
        let told = |circles: &[&str], part: &str| {
            let told = check(&uses, &found, &listed(circles));
            assert!(told.len() == 1 && told[0].contains(part), "{told:?}");
        };
        assert_eq!(check(&uses, &found, &listed(&["src/a.rs src/b.rs src/c.rs"])), [""; 0]);
        told(&[], LIST.hint);
        told(&["src/a.rs src/b.rs src/c.rs src/d.rs"], "lost files");
        told(
            &["src/a.rs src/b.rs"],
            "src/c.rs joins the circle of src/a.rs: src/c.rs:1 uses `crate::b::B`, src/b.rs:1 uses",
        );
        told(&["src/a.rs src/b.rs", "src/c.rs src/d.rs"], "become one");
    }
}
