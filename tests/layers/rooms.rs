//! The direction between the rooms of the gateway: a room is a top-level module, and uses only rooms below its own.
//!
//! Read from the sources: paths that begin with `crate::`, or with enough `super::` to reach the top. What a room uses of the rooms
//! below it, it names by their path, so a name that `lib.rs` exports again is a violation too: it would hide the room it comes from.

use crate::source::{Source, code_of, is_name};

/// Everything that is wrong between the rooms under `directory`, whose order from the top to the bottom is `table`.
pub(crate) fn check(table: &[&[&str]], directory: &str, sources: &[Source]) -> Vec<String> {
    let rank = |room: &str| table.iter().position(|rooms| rooms.contains(&room));
    let mut violations = Vec::new();
    for Source { path, text } in sources {
        let Some(inside) = path.strip_prefix(directory).and_then(|rest| rest.strip_prefix('/')) else {
            continue;
        };
        let modules: Vec<&str> = inside.trim_end_matches(".rs").split('/').collect();
        let Some(&room) = modules.first() else { continue };
        let Some(own) = rank(room) else {
            violations.push(format!("{path}: the room `{room}` has no place in the table ROOMS"));
            continue;
        };
        // The top joins the rooms: it may use all of them, and exports what embedders need.
        if own == 0 {
            continue;
        }
        for Use { line, name, certain } in uses(&code_of(text), modules.len()) {
            if name == room {
                continue;
            }
            match rank(&name) {
                Some(used) if used > own => {}
                Some(_) => {
                    violations.push(format!("{path}:{line}: `{room}` uses `{name}`, which is not below it"))
                }
                None if certain => {
                    violations.push(format!(
                        "{path}:{line}: `crate::{name}` is no room: name it by its room's path"
                    ));
                }
                None => {}
            }
        }
    }
    violations
}

/// One use of something at the top of the crate.
struct Use {
    /// From 1.
    line: usize,
    /// The first name below the top.
    name: String,
    /// Whether the path surely starts at the top: `super` counts from a module inside the file that this scan does not see.
    certain: bool,
}

/// What `code` names at the top of the crate; the file stands `depth` modules deep.
fn uses(code: &str, depth: usize) -> Vec<Use> {
    let mut found = Vec::new();
    let mut before = ' ';
    for (start, c) in code.char_indices() {
        let starts_name = is_name(c) && !is_name(before) && before != '$';
        before = c;
        if !starts_name {
            continue;
        }
        let rest = code.get(start..).unwrap_or_default();
        let (behind, certain) = match behind_crate(rest) {
            Some(behind) => (behind, true),
            None => match behind_supers(rest, depth) {
                Some(behind) => (behind, false),
                None => continue,
            },
        };
        let line = code.get(..start).unwrap_or_default().matches('\n').count() + 1;
        found.extend(names(behind).into_iter().map(|name| Use { line, name, certain }));
    }
    found
}

/// What follows `word` and `::` at the start of `code`.
fn behind_word<'a>(code: &'a str, word: &str) -> Option<&'a str> {
    code.strip_prefix(word)?.trim_start().strip_prefix("::").map(str::trim_start)
}

fn behind_crate(code: &str) -> Option<&str> {
    behind_word(code, "crate")
}

/// What follows so many `super::` that the top of the crate is reached from a file `depth` modules deep.
fn behind_supers(code: &str, depth: usize) -> Option<&str> {
    let mut rest = code;
    for _ in 0..depth {
        rest = behind_word(rest, "super")?;
    }
    Some(rest)
}

/// The first names of a path or of a group of paths: `a::b` gives a, `{a::b, c}` gives a and c.
fn names(code: &str) -> Vec<String> {
    let name_at = |text: &str| text.chars().take_while(|&c| is_name(c)).collect::<String>();
    let Some(group) = code.strip_prefix('{') else {
        return Some(name_at(code)).filter(|name| !name.is_empty()).into_iter().collect();
    };
    let mut found = Vec::new();
    let mut depth = 0_usize;
    let mut expect = true;
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => expect = true,
            c if expect && is_name(c) => {
                found.push(name_at(group.get(at..).unwrap_or_default()));
                expect = false;
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::source::Source;

    const TABLE: &[&[&str]] = &[&["main", "lib"], &["server"], &["api", "page"], &["hub"], &["settings"]];

    fn violations(path: &str, text: &str) -> Vec<String> {
        check(TABLE, "src", &[Source { path: path.to_owned(), text: text.to_owned() }])
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
