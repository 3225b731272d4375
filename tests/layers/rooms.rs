//! The direction between the rooms of the gateway: a room is a top-level module, and uses only rooms below its own.
//!
//! Read from the paths that begin with `crate::`, or with enough `super::` to reach the top, tests included. What a room uses of the
//! rooms below it, it names by their path, so a name that `lib.rs` exports again is a violation too: it would hide the room it comes
//! from.

use crate::syntax::Mention;
use crate::tree::{Tree, inside};

/// Everything that is wrong between the rooms of `tree`, whose order from the top to the bottom is `table`.
pub(crate) fn check(table: &[&[&str]], tree: &Tree<'_>) -> Vec<String> {
    let rank = |room: &str| table.iter().position(|rooms| rooms.contains(&room));
    // The file of the top is called by its own name here.
    let room_of = |file: &str| {
        let path = inside(tree.directory, file).unwrap_or_default();
        path.into_iter().next().unwrap_or_else(|| "lib".to_owned())
    };
    let mut violations = Vec::new();
    for file in tree.files() {
        let room = room_of(file);
        if rank(&room).is_none() {
            violations.push(format!("{file}: the room `{room}` has no place in the table ROOMS"));
        }
    }
    for (file, Mention { line, .. }, names) in tree.paths_from_top() {
        let room = room_of(file);
        let (Some(own), Some(name)) = (rank(&room), names.first()) else { continue };
        // The top joins the rooms: it may use all of them, and exports what embedders need.
        if own == 0 || *name == room {
            continue;
        }
        match rank(name) {
            Some(used) if used > own => {}
            Some(_) => {
                violations.push(format!("{file}:{line}: `{room}` uses `{name}`, which is not below it"))
            }
            None => {
                violations
                    .push(format!("{file}:{line}: `crate::{name}` is no room: name it by its room's path"));
            }
        }
    }
    // A group of imports may name a room several times on one line.
    violations.dedup();
    violations
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::source::sources;
    use crate::tree::Tree;

    const TABLE: &[&[&str]] = &[&["main", "lib"], &["server"], &["api", "page"], &["hub"], &["settings"]];

    fn violations(path: &str, text: &str) -> Vec<String> {
        check(TABLE, &Tree::new("src", &sources(&[(path, text)])))
    }

    #[test]
    fn a_room_may_use_those_below_it_and_itself() {
        let text = "use crate::hub::Hub;\nuse crate::{hub::{Hub, api}, settings};\nuse crate::api::guard;";
        assert_eq!(violations("src/api/publish.rs", text), Vec::<String>::new());
    }

    #[test]
    fn a_use_of_a_room_above_is_told_with_its_line() {
        let found = violations("src/hub/fanout.rs", "use bytes::Bytes;\nfn f() { crate::server::run(); }");
        assert_eq!(found, ["src/hub/fanout.rs:2: `hub` uses `server`, which is not below it"]);
    }

    #[test]
    fn a_use_inside_a_group_is_told() {
        assert_eq!(
            violations("src/hub.rs", "use crate::{\n    settings::Settings,\n    api::{self, Guard},\n};")
                .len(),
            1
        );
    }

    #[test]
    fn rooms_side_by_side_do_not_know_one_another() {
        assert_eq!(violations("src/api.rs", "use crate::page;").len(), 1);
    }

    #[test]
    fn supers_that_reach_the_top_are_followed() {
        assert_eq!(violations("src/hub/fanout.rs", "use super::super::server::Server;").len(), 1);
        assert_eq!(violations("src/hub.rs", "use super::server::Server;").len(), 1);
        assert_eq!(violations("src/hub/fanout.rs", "use super::server;").len(), 0);
    }

    #[test]
    fn a_name_exported_by_the_top_hides_its_room_and_is_told() {
        assert_eq!(violations("src/hub.rs", "use crate::Settings;").len(), 1);
    }

    #[test]
    fn a_room_without_a_place_in_the_table_is_told() {
        assert_eq!(violations("src/cellar.rs", "//! New.").len(), 1);
    }

    #[test]
    fn comments_strings_and_the_top_itself_are_free() {
        assert!(
            violations("src/hub.rs", "//! See [`crate::server`].\nconst A: &str = \"crate::server\";")
                .is_empty()
        );
        assert!(violations("src/lib.rs", "pub use crate::server::Server;").is_empty());
        assert!(violations("other/hub.rs", "use crate::server;").is_empty());
    }
}
