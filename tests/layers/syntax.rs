//! One Rust file as `make layers` sees it: its modules, what each imports, mentions and defines, read from the syntax tree of `syn`.
//!
//! Paths inside macro calls count as well; those in comments do not.

use proc_macro2::{Spacing, Span, TokenStream, TokenTree};
use syn::ext::IdentExt;
use syn::visit::{self, Visit};
use syn::{Attribute, ImplItem, Item, UseTree, Visibility};

/// A module: a file, or `mod x { … }` inside one.
pub(crate) struct Module {
    /// The modules around it inside its file, and itself; empty for the file.
    pub(crate) inside: Vec<String>,
    /// Compiled for tests only.
    pub(crate) test: bool,
    /// What `use` brings into it, also inside its functions.
    pub(crate) imports: Vec<Import>,
    /// Paths in its code.
    pub(crate) mentions: Vec<Mention>,
    /// Types and functions, also inside functions.
    pub(crate) definitions: Vec<Definition>,
    /// The modules of other files that it declares for tests only.
    pub(crate) test_children: Vec<String>,
}

/// One name that `use` brings in.
pub(crate) struct Import {
    /// How the module calls it; `*` for everything, `_` for nothing.
    pub(crate) name: String,
    pub(crate) mention: Mention,
    /// Other modules see it as well.
    pub(crate) exported: bool,
}

/// One path, as written.
pub(crate) struct Mention {
    pub(crate) path: Vec<String>,
    /// From 1.
    pub(crate) line: usize,
    /// Compiled for tests only.
    pub(crate) test: bool,
}

/// One definition with a name.
pub(crate) struct Definition {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    /// From 1.
    pub(crate) line: usize,
    /// Compiled for tests only.
    pub(crate) test: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A struct, an enum, a union, a trait or an alias.
    Type,
    /// A function, or a method whose name no trait dictates.
    Function,
    /// A constant, a static or a macro: something that a path may end with.
    Value,
}

/// The modules of `text`, the file itself first.
pub(crate) fn read(text: &str) -> syn::Result<Vec<Module>> {
    let file = syn::parse_file(text)?;
    let mut reader = Reader { modules: Vec::new(), current: 0, tests: 0 };
    reader.open(Vec::new());
    reader.visit_file(&file);
    Ok(reader.modules)
}

struct Reader {
    modules: Vec<Module>,
    /// The module that is being read.
    current: usize,
    /// How many items for tests only are around.
    tests: usize,
}

impl Reader {
    /// Begins a module and returns the one before.
    fn open(&mut self, inside: Vec<String>) -> usize {
        let test = self.tests > 0;
        self.modules.push(Module {
            inside,
            test,
            imports: Vec::new(),
            mentions: Vec::new(),
            definitions: Vec::new(),
            test_children: Vec::new(),
        });
        std::mem::replace(&mut self.current, self.modules.len() - 1)
    }

    fn module(&mut self) -> Option<&mut Module> {
        self.modules.get_mut(self.current)
    }

    fn define(&mut self, kind: Kind, name: &syn::Ident) {
        let test = self.tests > 0;
        let definition = Definition { kind, name: shown(name), line: line_of(name.span()), test };
        if let Some(module) = self.module() {
            module.definitions.push(definition);
        }
    }

    fn mention(&mut self, path: Vec<String>, line: usize) {
        let keyword = |name: &String| matches!(name.as_str(), "self" | "Self" | "super" | "crate");
        if path.is_empty() || path.iter().all(keyword) || path.first().is_some_and(|first| first == "Self") {
            return;
        }
        let test = self.tests > 0;
        if let Some(module) = self.module() {
            module.mentions.push(Mention { path, line, test });
        }
    }

    /// Runs `read`, inside tests if the attributes say so.
    fn under(&mut self, attributes: &[Attribute], read: impl FnOnce(&mut Self)) {
        let tests = usize::from(attributes.iter().any(for_tests));
        self.tests += tests;
        read(self);
        self.tests -= tests;
    }

    /// Takes in the names of one `use`; `path` is what stands before `tree`.
    fn import(&mut self, tree: &UseTree, path: &[String], exported: bool) {
        let with = |name: &syn::Ident| path.iter().cloned().chain([shown(name)]).collect::<Vec<_>>();
        let (name, path, line) = match tree {
            UseTree::Path(part) => return self.import(&part.tree, &with(&part.ident), exported),
            UseTree::Group(group) => {
                return group.items.iter().for_each(|tree| self.import(tree, path, exported));
            }
            UseTree::Name(name) if name.ident == "self" => {
                (path.last().cloned().unwrap_or_default(), path.to_vec(), line_of(name.ident.span()))
            }
            UseTree::Name(name) => (shown(&name.ident), with(&name.ident), line_of(name.ident.span())),
            UseTree::Rename(name) if name.ident == "self" => {
                (shown(&name.rename), path.to_vec(), line_of(name.ident.span()))
            }
            UseTree::Rename(name) => (shown(&name.rename), with(&name.ident), line_of(name.ident.span())),
            UseTree::Glob(glob) => ("*".to_owned(), path.to_vec(), line_of(glob.star_token.span)),
        };
        let mention = Mention { path, line, test: self.tests > 0 };
        if let Some(module) = self.module() {
            module.imports.push(Import { name, mention, exported });
        }
    }

    /// Takes a path in quotes for one, as in `#[serde(with = "crate::duration")]`.
    fn quoted(&mut self, literal: &str, line: usize) {
        let path = literal.trim_matches('"');
        let is_path =
            path.contains("::") && path.chars().all(|c| c.is_alphanumeric() || c == '_' || c == ':');
        if is_path {
            self.mention(path.split("::").map(str::to_owned).collect(), line);
        }
    }

    /// Finds the paths in the tokens of a macro call or an attribute.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path = Vec::new();
        let mut line = 0;
        // What the tokens before say: the path goes on, or a name that follows is a field or a method.
        let (mut joined, mut dotted) = (false, false);
        let mut tokens = tokens.into_iter().peekable();
        while let Some(token) = tokens.next() {
            match token {
                TokenTree::Ident(name) => {
                    if !joined {
                        self.mention(std::mem::take(&mut path), line);
                        line = line_of(name.span());
                    }
                    if !dotted {
                        path.push(shown(&name));
                    }
                    (joined, dotted) = (false, false);
                }
                TokenTree::Punct(first) if first.as_char() == ':' && first.spacing() == Spacing::Joint => {
                    joined = !path.is_empty()
                        && tokens
                            .next_if(|next| matches!(next, TokenTree::Punct(p) if p.as_char() == ':'))
                            .is_some();
                }
                TokenTree::Group(group) => {
                    (joined, dotted) = (false, false);
                    self.tokens(group.stream());
                }
                TokenTree::Punct(point) => (joined, dotted) = (false, point.as_char() == '.'),
                TokenTree::Literal(literal) => {
                    (joined, dotted) = (false, false);
                    self.quoted(&literal.to_string(), line_of(literal.span()));
                }
            }
        }
        self.mention(path, line);
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast Item) {
        self.under(attributes_of(item), |reader| visit::visit_item(reader, item));
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        let attributes: &[Attribute] = match item {
            ImplItem::Fn(method) => &method.attrs,
            ImplItem::Const(constant) => &constant.attrs,
            _ => &[],
        };
        self.under(attributes, |reader| visit::visit_impl_item(reader, item));
    }

    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        let name = shown(&module.ident);
        let Some((_, items)) = &module.content else {
            if self.tests > 0
                && let Some(parent) = self.module()
            {
                parent.test_children.push(name);
            }
            return;
        };
        let around = self.module().map(|parent| parent.inside.clone()).unwrap_or_default();
        let inside = around.into_iter().chain([name]).collect();
        let before = self.open(inside);
        items.iter().for_each(|item| self.visit_item(item));
        self.current = before;
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        // A path from the list of crates names nothing of ours.
        if item.leading_colon.is_none() {
            self.import(&item.tree, &[], !matches!(item.vis, Visibility::Inherited));
        }
    }

    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.define(Kind::Type, &item.ident);
        visit::visit_item_struct(self, item);
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.define(Kind::Type, &item.ident);
        visit::visit_item_enum(self, item);
    }

    fn visit_item_union(&mut self, item: &'ast syn::ItemUnion) {
        self.define(Kind::Type, &item.ident);
        visit::visit_item_union(self, item);
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.define(Kind::Type, &item.ident);
        visit::visit_item_trait(self, item);
    }

    fn visit_item_type(&mut self, item: &'ast syn::ItemType) {
        self.define(Kind::Type, &item.ident);
        visit::visit_item_type(self, item);
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.define(Kind::Function, &item.sig.ident);
        visit::visit_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        self.define(Kind::Function, &item.sig.ident);
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if item.trait_.is_none() {
            for method in &item.items {
                if let ImplItem::Fn(method) = method {
                    self.under(&method.attrs, |reader| reader.define(Kind::Function, &method.sig.ident));
                }
            }
        }
        visit::visit_item_impl(self, item);
    }

    fn visit_item_const(&mut self, item: &'ast syn::ItemConst) {
        self.define(Kind::Value, &item.ident);
        visit::visit_item_const(self, item);
    }

    fn visit_item_static(&mut self, item: &'ast syn::ItemStatic) {
        self.define(Kind::Value, &item.ident);
        visit::visit_item_static(self, item);
    }

    fn visit_item_macro(&mut self, item: &'ast syn::ItemMacro) {
        if let Some(name) = &item.ident {
            self.define(Kind::Value, name);
        }
        visit::visit_item_macro(self, item);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if let (None, Some(first)) = (&path.leading_colon, path.segments.first()) {
            let names = path.segments.iter().map(|segment| shown(&segment.ident)).collect();
            self.mention(names, line_of(first.ident.span()));
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.visit_path(&call.path);
        self.tokens(call.tokens.clone());
    }

    fn visit_meta_list(&mut self, list: &'ast syn::MetaList) {
        self.tokens(list.tokens.clone());
    }

    /// `pub(in some::path)` uses nothing.
    fn visit_visibility(&mut self, _: &'ast Visibility) {}
}

/// Without the `r#` of a raw name.
fn shown(name: &syn::Ident) -> String {
    name.unraw().to_string()
}

fn line_of(span: Span) -> usize {
    span.start().line
}

/// Whether an attribute leaves its item to tests: `#[test]`, `#[cfg(test)]`, and `#[cfg(any(test, feature = "…"))]`, which lends what
/// tests are made of to the tests of other crates.
fn for_tests(attribute: &Attribute) -> bool {
    fn names(tokens: TokenStream, found: &mut Vec<String>) {
        for token in tokens {
            match token {
                TokenTree::Ident(name) => found.push(shown(&name)),
                TokenTree::Group(group) => names(group.stream(), found),
                _ => {}
            }
        }
    }
    let mut found = Vec::new();
    if let syn::Meta::List(list) = &attribute.meta
        && list.path.is_ident("cfg")
    {
        names(list.tokens.clone(), &mut found);
    }
    let has = |name: &str| found.iter().any(|found| found == name);
    attribute.path().is_ident("test") || (has("test") && !has("not"))
}

fn attributes_of(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}
