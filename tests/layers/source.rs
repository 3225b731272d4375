//! The Rust files that `make layers` looks at, and their text without comments and literals.

use std::io;
use std::path::Path;

/// Directories that hold no sources of ours.
const SKIPPED: &[&str] = &["target", "node_modules", "corpus", "artifacts"];

/// One Rust file.
pub(crate) struct Source {
    /// From the top of the repository, with `/`.
    pub(crate) path: String,
    /// The whole text.
    pub(crate) text: String,
}

/// Every `.rs` file under `directories` of `top`, by path.
pub(crate) fn read(top: &Path, directories: &[&str]) -> io::Result<Vec<Source>> {
    let mut found = Vec::new();
    for directory in directories {
        walk(top, &top.join(directory), &mut found)?;
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
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
            found.push(Source { path: shown, text: std::fs::read_to_string(&path)? });
        }
    }
    Ok(())
}

/// `text` with comments and the insides of strings and characters blanked; line breaks stay, so that line numbers hold.
pub(crate) fn code_of(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let mut out = String::with_capacity(text.len());
    let mut i = 0;
    while i < chars.len() {
        let end = match (at(i), at(i + 1)) {
            ('/', '/') => (i..chars.len()).find(|&j| at(j) == '\n').unwrap_or(chars.len()),
            ('/', '*') => end_of_block(&chars, i),
            ('r', '"' | '#') if !is_name(if i == 0 { ' ' } else { at(i - 1) }) => {
                end_of_raw(&chars, i).unwrap_or(i + 1)
            }
            ('"', _) => end_of_quoted(&chars, i, '"'),
            ('\'', '\\') => end_of_quoted(&chars, i, '\''),
            ('\'', _) if at(i + 2) == '\'' => i + 3,
            _ => {
                out.push(at(i));
                i += 1;
                continue;
            }
        };
        if end == i + 1 && at(i) == 'r' {
            out.push('r');
        } else {
            out.extend((i..end).map(|j| if at(j) == '\n' { '\n' } else { ' ' }));
        }
        i = end;
    }
    out
}

/// Whether a character can stand in a name.
pub(crate) fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Behind the block comment that starts at `start`; they nest.
fn end_of_block(chars: &[char], start: usize) -> usize {
    let mut depth = 0_usize;
    let mut i = start;
    while i < chars.len() {
        match (chars.get(i), chars.get(i + 1)) {
            (Some('/'), Some('*')) => {
                depth += 1;
                i += 2;
            }
            (Some('*'), Some('/')) => {
                depth -= 1;
                i += 2;
                if depth == 0 {
                    return i;
                }
            }
            _ => i += 1,
        }
    }
    chars.len()
}

/// Behind the raw string that starts with the `r` at `start`; `None` where it is a raw name (`r#type`).
fn end_of_raw(chars: &[char], start: usize) -> Option<usize> {
    let hashes = chars.iter().skip(start + 1).take_while(|&&c| c == '#').count();
    let open = start + 1 + hashes;
    if chars.get(open) != Some(&'"') {
        return None;
    }
    let closes = |j: &usize| {
        chars.get(*j) == Some(&'"')
            && chars.iter().skip(j + 1).take(hashes).filter(|&&c| c == '#').count() == hashes
    };
    Some((open + 1..chars.len()).find(closes).map_or(chars.len(), |j| j + 1 + hashes))
}

/// Behind the literal that starts at `start` and ends at the next unescaped `quote`.
fn end_of_quoted(chars: &[char], start: usize, quote: char) -> usize {
    let mut i = start + 1;
    while let Some(&c) = chars.get(i) {
        i += if c == '\\' { 2 } else { 1 };
        if c == quote {
            return i;
        }
    }
    chars.len()
}

#[cfg(test)]
mod tests {
    use super::code_of;

    #[test]
    fn comments_and_literals_are_blanked_and_lines_stay() {
        let code = code_of(
            "use a; // crate::x\n/* crate::y /* z */\n*/ let s = \"crate::w \\\" crate::v\"; 'c' 'a: r#\"crate::u\"# r#type",
        );
        assert!(!code.contains("crate"), "{code}");
        assert_eq!(code.lines().count(), 3);
        assert!(code.contains("let s =") && code.contains("'a:") && code.contains("r#type"), "{code}");
    }
}
