//! What one source file names, outside of its tests: absolute paths, with aliases and `super` resolved.

use proc_macro2::{TokenStream, TokenTree};
use std::collections::{BTreeMap, BTreeSet};
use syn::{
    Attribute, ImplItem, Item, ItemMod, ItemStatic, ItemUse, Meta, UseTree,
    spanned::Spanned,
    visit::{self, Visit},
};

/// What was read.
#[derive(Default)]
pub(crate) struct Source {
    /// `crate::…` or `some_crate::…`; a glob import ends in `::*`.
    pub(crate) names: BTreeSet<String>,
    /// Lines, without those of `#[cfg(test)]` items, wherever these stand.
    pub(crate) lines: usize,
    /// Modules for tests that stand in a file of their own, by that file's stem.
    pub(crate) test_modules: Vec<String>,
    /// `static` items, by name.
    pub(crate) statics: Vec<String>,
}

/// Reads a file that is this module.
pub(crate) fn read(module: &[String], text: &str) -> syn::Result<Source> {
    let mut reader = Reader { module: module.to_vec(), ..Reader::default() };
    reader.visit_file(&syn::parse_file(text)?);
    let Reader { raw, aliases, mut source, test_lines, .. } = reader;
    for (module, path) in &raw {
        source.names.insert(absolute(module, path, &aliases, 0).join("::"));
    }
    source.lines = text.lines().count() - test_lines;
    Ok(source)
}

type Place = (Vec<String>, Vec<String>);

#[derive(Default)]
struct Reader {
    module: Vec<String>,
    raw: Vec<Place>,
    /// What a name that stands alone means in this file, with the module that said so.
    aliases: BTreeMap<String, Place>,
    source: Source,
    test_lines: usize,
}

fn absolute(module: &[String], path: &[String], aliases: &BTreeMap<String, Place>, depth: u8) -> Vec<String> {
    let root = || std::iter::once("crate".to_owned());
    let supers = path.iter().take_while(|part| *part == "super").count();
    match (path.first().map(String::as_str), path.first().and_then(|first| aliases.get(first))) {
        (Some("self"), _) => absolute(module, &[&["crate".to_owned()], module, &path[1..]].concat(), aliases, depth),
        (Some("super"), _) => {
            let base = &module[..module.len().saturating_sub(supers)];
            root().chain(base.iter().chain(&path[supers..]).cloned()).collect()
        }
        (_, Some((there, meaning))) if depth < 4 && meaning.first() != path.first() => {
            absolute(there, &[meaning.as_slice(), &path[1..]].concat(), aliases, depth + 1)
        }
        _ => path.to_vec(),
    }
}

impl Reader {
    fn name(&mut self, path: Vec<String>) {
        if path.len() > 1 {
            self.raw.push((self.module.clone(), path));
        }
    }

    fn import(&mut self, tree: &UseTree, mut path: Vec<String>) {
        let (last, alias) = match tree {
            UseTree::Path(inner) => {
                path.push(inner.ident.to_string());
                return self.import(&inner.tree, path);
            }
            UseTree::Group(group) => return group.items.iter().for_each(|inner| self.import(inner, path.clone())),
            UseTree::Name(leaf) => (leaf.ident.to_string(), leaf.ident.to_string()),
            UseTree::Rename(leaf) => (leaf.ident.to_string(), leaf.rename.to_string()),
            UseTree::Glob(_) => ("*".to_owned(), "*".to_owned()),
        };
        if last != "self" {
            path.push(last);
        }
        let alias = if alias == "self" { path.last().cloned().unwrap_or_default() } else { alias };
        self.aliases.insert(alias, (self.module.clone(), path.clone()));
        self.raw.push((self.module.clone(), path));
    }

    /// Paths inside macro calls and attributes, which are tokens and no syntax yet.
    fn tokens(&mut self, stream: TokenStream) {
        let (mut path, mut colons) = (Vec::new(), 0);
        for tree in stream {
            match tree {
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.name(std::mem::take(&mut path));
                    }
                    path.push(ident.to_string());
                    colons = 0;
                }
                other => {
                    self.name(std::mem::take(&mut path));
                    colons = 0;
                    if let TokenTree::Group(group) = other {
                        self.tokens(group.stream());
                    }
                }
            }
        }
        self.name(path);
    }

    /// Whether this is for tests alone; its lines are not counted then.
    fn passes_over(&mut self, attributes: &[Attribute], item: &impl Spanned) -> bool {
        let test = attributes.iter().any(|attribute| match &attribute.meta {
            Meta::List(list) if list.path.is_ident("cfg") => {
                let condition = list.tokens.to_string().replace(' ', "");
                condition == "test" || condition.starts_with("all(test,")
            }
            _ => false,
        });
        if test {
            let span = item.span();
            self.test_lines += span.end().line + 1 - span.start().line;
        }
        test
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes = match item {
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
            _ => return visit::visit_item(self, item),
        };
        if !self.passes_over(attributes, item) {
            return visit::visit_item(self, item);
        }
        if let Item::Mod(module) = item
            && module.content.is_none()
        {
            let named = module.attrs.iter().find_map(|attribute| match &attribute.meta {
                Meta::NameValue(pair) if pair.path.is_ident("path") => match &pair.value {
                    syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(file), .. }) => Some(file.value()),
                    _ => None,
                },
                _ => None,
            });
            let file = named.unwrap_or_else(|| module.ident.to_string());
            self.source.test_modules.push(file.trim_end_matches(".rs").to_owned());
        }
    }
    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        let is_test = matches!(item, ImplItem::Fn(function) if self.passes_over(&function.attrs, item));
        if !is_test {
            visit::visit_impl_item(self, item);
        }
    }
    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        let name = module.ident.to_string();
        self.aliases.insert(name.clone(), (self.module.clone(), vec!["self".to_owned(), name.clone()]));
        self.module.push(name);
        visit::visit_item_mod(self, module);
        self.module.pop();
    }
    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.import(&item.tree, Vec::new());
    }
    fn visit_item_static(&mut self, item: &'ast ItemStatic) {
        self.source.statics.push(item.ident.to_string());
        visit::visit_item_static(self, item);
    }
    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.name(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        visit::visit_path(self, path);
    }
    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.visit_path(&call.path);
        self.tokens(call.tokens.clone());
    }
    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        self.visit_path(attribute.path());
        if let Meta::List(list) = &attribute.meta {
            self.tokens(list.tokens.clone());
        }
    }
}
