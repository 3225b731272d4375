//! The modules of one crate, and which file uses which.
//!
//! A path leads to the file that defines what it names: through modules, imports and re-exports, never to the file that only passes
//! a name on. So a parent that says `mod child; pub use child::Thing;` uses nothing of its child by that, and who takes `Thing` from
//! the parent uses the child. Methods are not seen: their names say nothing about the type they belong to.

use std::collections::{BTreeMap, HashMap};

use crate::source::Source;
use crate::syntax::{Definition, Import, Mention, Module};

/// How many imports one name may go through; more is a circle of imports that names nothing of ours.
const MAX_IMPORTS: usize = 16;

/// The directory of a crate's sources, and all that is under it.
pub(crate) struct Tree<'a> {
    /// From the top of the repository, without a `/` at the end.
    pub(crate) directory: &'a str,
    modules: Vec<Placed<'a>>,
    by_path: HashMap<Vec<String>, usize>,
}

/// A module and where it stands.
struct Placed<'a> {
    source: &'a Source,
    module: &'a Module,
    /// From the crate's top, which is empty.
    path: Vec<String>,
    /// Compiled for tests only, itself or a module around it.
    test: bool,
}

/// Something that one file uses of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Use {
    /// Where it is used; from 1.
    pub(crate) line: usize,
    /// As written there.
    pub(crate) what: String,
}

/// Using file → used file → the first use.
pub(crate) type Uses<'a> = BTreeMap<&'a str, BTreeMap<&'a str, Use>>;

impl<'a> Tree<'a> {
    /// The crate whose sources are under `directory`.
    pub(crate) fn new(directory: &'a str, sources: &'a [Source]) -> Self {
        let mut modules = Vec::new();
        let mut by_path = HashMap::new();
        for source in sources {
            let Some(file) = inside(directory, &source.path) else { continue };
            for module in &source.modules {
                let path: Vec<String> = file.iter().chain(&module.inside).cloned().collect();
                by_path.insert(path.clone(), modules.len());
                modules.push(Placed { source, module, path, test: module.test });
            }
        }
        let mut tree = Self { directory, modules, by_path };
        tree.mark_tests();
        tree
    }

    /// Marks the modules under one that is compiled for tests only.
    fn mark_tests(&mut self) {
        let declared = self
            .modules
            .iter()
            .flat_map(|placed| placed.module.test_children.iter().map(|child| joined(&placed.path, child)));
        let mut tests: Vec<Vec<String>> = declared.collect();
        tests.extend(self.modules.iter().filter(|placed| placed.test).map(|placed| placed.path.clone()));
        for placed in &mut self.modules {
            placed.test |= tests.iter().any(|test| placed.path.starts_with(test));
        }
    }

    /// All files of the crate.
    pub(crate) fn files(&self) -> impl Iterator<Item = &'a str> {
        let files = self.modules.iter().filter(|placed| placed.module.inside.is_empty());
        files.map(|placed| placed.source.path.as_str())
    }

    /// The modules that are not for tests only: the file of each, its path from the top, and itself.
    pub(crate) fn modules(&self) -> impl Iterator<Item = (&'a str, &[String], &'a Module)> {
        let outside = self.modules.iter().filter(|placed| !placed.test);
        outside.map(|placed| (placed.source.path.as_str(), placed.path.as_slice(), placed.module))
    }

    /// The definitions that are not for tests only, with their files.
    pub(crate) fn definitions(&self) -> impl Iterator<Item = (&'a str, &'a Definition)> {
        self.modules().flat_map(|(file, _, module)| {
            module.definitions.iter().filter(|definition| !definition.test).map(move |it| (file, it))
        })
    }

    /// Which file uses which outside tests.
    pub(crate) fn uses(&self) -> Uses<'a> {
        let mut uses = Uses::new();
        for (at, placed) in self.modules.iter().enumerate().filter(|(_, placed)| !placed.test) {
            let mentions = placed.module.mentions.iter().map(|mention| (mention, false));
            let imports = placed.module.imports.iter().map(|import| (&import.mention, import.exported));
            for (mention, exported) in mentions.chain(imports).filter(|(mention, _)| !mention.test) {
                let Some(used) = self.resolve(at, &mention.path, 0).and_then(|used| self.modules.get(used))
                else {
                    continue;
                };
                let passed_on = exported && used.path.starts_with(&placed.path);
                if used.source.path == placed.source.path || used.test || passed_on {
                    continue;
                }
                let entry = uses.entry(&placed.source.path).or_default().entry(&used.source.path);
                let new = Use { line: mention.line, what: mention.path.join("::") };
                entry
                    .and_modify(|known| {
                        if new.line < known.line {
                            known.clone_from(&new)
                        }
                    })
                    .or_insert(new);
            }
        }
        uses
    }

    /// The paths in all modules, tests too, that begin at the top of the crate: file, mention, and the names below the top.
    pub(crate) fn paths_from_top(&self) -> impl Iterator<Item = (&'a str, &'a Mention, Vec<String>)> {
        self.modules.iter().flat_map(move |placed| {
            let imports = placed.module.imports.iter().map(|import| &import.mention);
            placed.module.mentions.iter().chain(imports).filter_map(move |mention| {
                let names = match mention.path.first().map(String::as_str) {
                    Some("crate") => mention.path.get(1..).unwrap_or_default(),
                    Some("super") => {
                        let supers = mention.path.iter().take_while(|name| *name == "super").count();
                        mention.path.get(supers..).filter(|_| supers == placed.path.len())?
                    }
                    _ => return None,
                };
                Some((placed.source.path.as_str(), mention, names.to_vec()))
            })
        })
    }

    /// The module that defines what `path` names when the module `from` says it; `None` for what is not of this crate.
    fn resolve(&self, from: usize, path: &[String], imports: usize) -> Option<usize> {
        let (first, mut rest) = path.split_first()?;
        let mut at = match first.as_str() {
            "crate" => self.module_at(&[])?,
            "self" => from,
            "super" => self.parent(from)?,
            _ => return self.lookup(from, path, imports),
        };
        while rest.first().is_some_and(|name| name == "super") {
            at = self.parent(at)?;
            rest = rest.get(1..)?;
        }
        if rest.is_empty() { Some(at) } else { self.lookup(at, rest, imports).or(Some(at)) }
    }

    /// The same for a path whose first name is looked up in the module `at`.
    fn lookup(&self, at: usize, path: &[String], imports: usize) -> Option<usize> {
        let (first, rest) = path.split_first()?;
        let placed = self.modules.get(at)?;
        if let Some(child) = self.module_at(&joined(&placed.path, first)) {
            return if rest.is_empty() {
                Some(child)
            } else {
                self.lookup(child, rest, imports).or(Some(child))
            };
        }
        if placed.module.definitions.iter().any(|definition| definition.name == *first) {
            return Some(at);
        }
        if imports == MAX_IMPORTS {
            return None;
        }
        let through = |import: &Import, rest: &[String]| {
            let path: Vec<String> = import.mention.path.iter().chain(rest).cloned().collect();
            self.resolve(at, &path, imports + 1)
        };
        if let Some(import) = placed.module.imports.iter().find(|import| import.name == *first) {
            return through(import, rest);
        }
        placed.module.imports.iter().filter(|import| import.name == "*").find_map(|glob| {
            let module = through(glob, &[])?;
            if module == at { None } else { self.lookup(module, path, imports + 1) }
        })
    }

    fn module_at(&self, path: &[String]) -> Option<usize> {
        self.by_path.get(path).copied()
    }

    fn parent(&self, of: usize) -> Option<usize> {
        let (_, around) = self.modules.get(of)?.path.split_last()?;
        self.module_at(around)
    }
}

/// The path from the crate's top of the module that the file `path` holds; `None` outside `directory`.
pub(crate) fn inside(directory: &str, path: &str) -> Option<Vec<String>> {
    let inside = path.strip_prefix(directory)?.strip_prefix('/')?.strip_suffix(".rs")?;
    let names = inside.split('/').map(str::to_owned).collect();
    Some(if inside == "lib" { Vec::new() } else { names })
}

fn joined(path: &[String], name: &str) -> Vec<String> {
    path.iter().cloned().chain([name.to_owned()]).collect()
}
