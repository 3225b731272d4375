//! Every block is of its language: read by the node, or by the program that a reader gives it to. Java is parsed by `tests/spring`.

use std::{
    collections::BTreeMap,
    io::Write,
    process::{Command, Stdio},
};

use regex::Regex;
use serde_json::Value;

use super::{
    super::check,
    blocks::{Block, all},
};

/// The program that reads a file of a language, and what it is told before the file's name.
const READERS: [(&str, &str, &[&str]); 5] = [
    ("sh", "bash", &["-n"]),
    ("js", "node", &["--check"]),
    ("python", "python3", &["-c", "import ast, sys; ast.parse(open(sys.argv[1]).read())"]),
    ("php", "php", &["-l"]),
    ("xml", "python3", &["-c", "import sys, xml.dom.minidom; xml.dom.minidom.parse(sys.argv[1])"]),
];

/// Runs the reader of a language; what it says against the text.
fn read_by_program(language: &str, text: &str) -> Result<(), String> {
    let (_, program, arguments) =
        READERS.into_iter().find(|(known, ..)| *known == language).ok_or("no reader")?;
    // Node takes `import` from a file of this name alone.
    let mut file = tempfile::Builder::new().suffix(".mjs").tempfile().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    let command = Command::new(program).args(arguments).arg(file.path()).stdin(Stdio::null()).output();
    let output = command.unwrap_or_else(|error| panic!("{program}, which `make test` installs: {error}"));
    let said = [output.stdout, output.stderr].concat();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&said).into_owned()) }
}

/// The scripts in a page of HTML are JavaScript.
fn scripts(html: &str) -> Result<(), String> {
    let script = Regex::new(r"(?s)<script[^>]*>(.*?)</script>").unwrap();
    script.captures_iter(html).try_for_each(|found| read_by_program("js", &found[1]))
}

/// The mistake in a block, by the reader of its language.
fn problem(block: &Block) -> Result<(), String> {
    match &*block.language {
        "toml" => check(&block.text, &[]),
        "json" => serde_json::Deserializer::from_str(&block.text)
            .into_iter::<Value>()
            .try_for_each(|value| value.map(|_| ()).map_err(|error| error.to_string())),
        "html" => scripts(&block.text),
        "rust" => syn::parse_file(&block.text).map(|_| ()).map_err(|error| error.to_string()),
        "text" | "java" => Ok(()),
        language => read_by_program(language, &block.text),
    }
}

/// The blocks of a page that are one file of settings: each alone may need the others.
fn settings_files(blocks: &[Block]) -> BTreeMap<(&str, &str), String> {
    let mut files: BTreeMap<_, String> = BTreeMap::new();
    for block in blocks.iter().filter(|block| block.language == "toml" && block.is_file()) {
        files.entry((&*block.page, &*block.word)).or_default().push_str(&block.text);
    }
    files
}

#[test]
fn every_block_of_a_page_is_read_by_what_a_reader_gives_it_to() {
    let blocks = all();
    let files = settings_files(&blocks).into_iter();
    let mut wrong: Vec<String> = files
        .filter_map(|((page, file), text)| Some(format!("{page} ({file}): {}", check(&text, &[]).err()?)))
        .collect();
    let alone = blocks.iter().filter(|block| block.language != "toml" || !block.is_file());
    wrong.extend(alone.filter_map(|block| {
        Some(format!("{} ({}): {}", block.place(), block.language, problem(block).err()?))
    }));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
