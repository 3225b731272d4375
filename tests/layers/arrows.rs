//! The second level: which modules inside a large room use which. Arrows from and to the file of the room are left out: it may use
//! what it is made of, and a circle with it is a circle of files.

use crate::lists::{Found, List};
use crate::tree::{Uses, inside};

pub(crate) const LIST: List = List {
    file: "arrows.txt",
    title: "Modules inside one room that use one another. Entries only leave.",
    counted: false,
    hint: "turn the arrow round, move the item below both, or merge the two",
};

/// The arrows inside `rooms` of the crate under `directory`: `room: from -> to`.
pub(crate) fn find(uses: &Uses<'_>, directory: &str, rooms: &[&str]) -> Found {
    let mut found = Found::new();
    for (from, used) in uses {
        for (to, using) in used {
            let (Some((room, module)), Some((other, target))) =
                (second_level(directory, from), second_level(directory, to))
            else {
                continue;
            };
            if room == other && module != target && rooms.contains(&room.as_str()) {
                let place = format!("{from}:{} uses `{}`", using.line, using.what);
                found.entry(format!("{room}: {module} -> {target}")).or_insert((1, place));
            }
        }
    }
    found
}

/// The room of a file and the module inside it; `None` for the file of the room itself.
fn second_level(directory: &str, file: &str) -> Option<(String, String)> {
    let mut path = inside(directory, file)?.into_iter();
    Some((path.next()?, path.next()?))
}

#[cfg(test)]
mod tests {
    use super::find;
    use crate::source::sources;
    use crate::tree::Tree;

    fn arrows(files: &[(&str, &str)]) -> Vec<String> {
        let sources = sources(&[&[("src/lib.rs", "")], files].concat());
        find(&Tree::new("src", &sources).uses(), "src", &["hub"]).into_keys().collect()
    }

    #[test]
    fn a_module_that_uses_its_neighbour_is_an_arrow_wherever_in_the_neighbour_it_is() {
        let files = [
            ("src/hub.rs", "mod channel; mod fanout;"),
            ("src/hub/channel.rs", "use super::fanout::cache::Cache;"),
            ("src/hub/fanout/cache.rs", "pub struct Cache;"),
            ("src/hub/fanout.rs", "mod cache;"),
        ];
        assert_eq!(arrows(&files), ["hub: channel -> fanout"]);
    }

    #[test]
    fn the_file_of_the_room_may_use_and_be_used() {
        let files = [
            ("src/hub.rs", "mod channel; pub struct Hub(channel::Channel);"),
            ("src/hub/channel.rs", "use super::Hub; pub struct Channel;"),
        ];
        assert_eq!(arrows(&files), [""; 0]);
    }

    #[test]
    fn other_rooms_tests_and_arrows_between_rooms_are_left_out() {
        let files = [
            ("src/api/publish.rs", "use super::error::Error; use crate::hub::channel::Channel;"),
            ("src/api/error.rs", "pub struct Error;"),
            ("src/hub/channel.rs", "pub struct Channel; #[cfg(test)] mod tests { use crate::hub::fanout; }"),
            ("src/hub/fanout.rs", ""),
        ];
        assert_eq!(arrows(&files), [""; 0]);
    }
}
