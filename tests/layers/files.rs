//! What every Rust file must look like (`docs/architecture.md` §9.1): an opening that says what it is, and a length that one can read.

use crate::source::Source;

/// Lines in one file, at most: past this it holds more than one noun.
const MAX_LINES: usize = 400;

/// Everything that is wrong with the files themselves.
pub(crate) fn check(sources: &[Source]) -> Vec<String> {
    let mut violations = Vec::new();
    for Source { path, text, .. } in sources {
        if !text.starts_with("//!") {
            violations.push(format!(
                "{path}:1: does not open with `//!`: what it is, and where it stands in the journey"
            ));
        }
        let lines = text.lines().count();
        if lines > MAX_LINES {
            violations.push(format!("{path}: {lines} lines, the most is {MAX_LINES}: one noun per file"));
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::{MAX_LINES, check};
    use crate::source::sources;

    fn violations(text: &str) -> usize {
        check(&sources(&[("shared/a.rs", text)])).len()
    }

    #[test]
    fn a_file_without_an_opening_is_told() {
        assert_eq!(violations("//! What it is.\nfn a() {}\n"), 0);
        assert_eq!(violations("fn a() {}\n/// Too late.\nfn b() {}\n"), 1);
    }

    #[test]
    fn a_file_that_is_one_line_too_long_is_told() {
        assert_eq!(violations(&"//! Long.\n".repeat(MAX_LINES)), 0);
        assert_eq!(violations(&"//! Long.\n".repeat(MAX_LINES + 1)), 1);
    }
}
