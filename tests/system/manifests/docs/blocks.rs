//! The pages, and the blocks of code in them.

use std::{fs, path::Path};

use gorani_tests::binary;

/// A block between two fences.
pub(super) struct Block {
    /// From the top of the repository.
    pub page: String,
    /// Of its first fence, from 1.
    pub line: usize,
    /// The heading of the second level above it; empty before the first.
    pub section: String,
    pub language: String,
    /// The word behind the language: a file's name, `run`, `terminal`, `output`. Empty: it is only shown.
    pub word: String,
    pub text: String,
}

impl Block {
    /// The place of the block, for messages.
    pub(super) fn place(&self) -> String {
        format!("{}:{}", self.page, self.line)
    }

    /// True if a reader saves it as a file.
    pub(super) fn is_file(&self) -> bool {
        self.word.contains('.')
    }
}

/// Every page for users, from the top of the repository: without the decision records, which are as of their date.
pub(super) fn pages() -> Vec<String> {
    let mut pages = vec!["README.md".to_owned(), "deploy/README.md".to_owned()];
    for directory in ["services/gateway/docs", "services/gateway/docs/protocols"] {
        for entry in fs::read_dir(binary::workspace().join(directory)).unwrap().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if Path::new(&name).extension().is_some_and(|extension| extension == "md") {
                pages.push(format!("{directory}/{name}"));
            }
        }
    }
    pages.extend(applications());
    pages.sort();
    assert!(pages.len() > 10, "{pages:?}");
    pages
}

/// The pages of applications beside the node. They have paths of their own.
pub(super) fn applications() -> Vec<String> {
    let entries = fs::read_dir(binary::workspace().join("services")).unwrap().flatten();
    let pages = entries.map(|entry| format!("services/{}/README.md", entry.file_name().to_string_lossy()));
    pages.filter(|page| binary::workspace().join(page).is_file()).collect()
}

/// The text of a page.
pub(super) fn text(page: &str) -> String {
    fs::read_to_string(binary::workspace().join(page)).unwrap_or_else(|error| panic!("{page}: {error}"))
}

/// The blocks of one page, in its order.
pub(super) fn blocks_of(page: &str) -> Vec<Block> {
    let text = text(page);
    let mut blocks = Vec::new();
    let mut section = String::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        if let Some(heading) = line.strip_prefix("## ") {
            heading.clone_into(&mut section);
        }
        let Some(info) = line.trim_start().strip_prefix("```") else { continue };
        let indentation = line.len() - line.trim_start().len();
        let (language, word) = info.split_once(' ').unwrap_or((info, ""));
        let mut text = String::new();
        for (_, line) in lines.by_ref() {
            if line.trim_start().starts_with("```") {
                break;
            }
            text.push_str(line.get(indentation..).unwrap_or_default());
            text.push('\n');
        }
        blocks.push(Block {
            page: page.to_owned(),
            line: number + 1,
            section: section.clone(),
            language: language.to_owned(),
            word: word.to_owned(),
            text,
        });
    }
    blocks
}

/// The blocks of all pages.
pub(super) fn all() -> Vec<Block> {
    let blocks: Vec<Block> = pages().iter().flat_map(|page| blocks_of(page)).collect();
    assert!(blocks.len() > 20, "the pages have their blocks");
    blocks
}

/// The text of a page without its blocks.
pub(super) fn prose(page: &str) -> String {
    let mut is_code = false;
    let text = text(page);
    let kept = text.lines().filter(|line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    });
    kept.collect::<Vec<_>>().join("\n")
}
