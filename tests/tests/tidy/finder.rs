//! Walks the items of a Rust source and notes what the rules ask for.
//!
//! Owns the visitor behind [`Rust`]. Never judges, and sees nothing inside macros.

use proc_macro2::Span;
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};

use crate::rust::{Function, Name, Rust};

/// What was noted so far.
#[derive(Default)]
pub(crate) struct Finder {
    pub(crate) found: Rust,
}

/// `#[cfg(test)]`, or any other condition that asks for tests.
fn only_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let syn::Meta::List(list) = &attribute.meta else {
            return false;
        };
        list.path.is_ident("cfg") && list.tokens.to_string() == "test"
    })
}

/// The text of `///` lines.
fn doc_of(attributes: &[syn::Attribute]) -> String {
    let lines = attributes.iter().filter_map(|attribute| {
        let syn::Meta::NameValue(pair) = &attribute.meta else {
            return None;
        };
        let syn::Expr::Lit(value) = &pair.value else {
            return None;
        };
        let syn::Lit::Str(text) = &value.lit else {
            return None;
        };
        attribute.path().is_ident("doc").then(|| text.value())
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn line_of(span: Span) -> usize {
    span.start().line
}

impl Finder {
    fn add(
        &mut self,
        signature: &syn::Signature,
        block: &syn::Block,
        attributes: &[syn::Attribute],
    ) {
        let test = attributes.iter().any(|attribute| {
            let last = attribute.path().segments.last();
            last.is_some_and(|segment| segment.ident == "test")
        });
        let braces = block.brace_token.span;
        self.found.functions.push(Function {
            name: signature.ident.to_string(),
            line: line_of(signature.ident.span()),
            body: line_of(braces.open())..=braces.close().end().line,
            arguments: signature.inputs.len(),
            test,
            doc: doc_of(attributes),
        });
    }

    /// Remembers the lines of an item that only tests have.
    fn note_item(&mut self, item: &syn::Item) {
        let attributes = match item {
            syn::Item::Const(it) => &it.attrs,
            syn::Item::Enum(it) => &it.attrs,
            syn::Item::Fn(it) => &it.attrs,
            syn::Item::Impl(it) => &it.attrs,
            syn::Item::Mod(it) => &it.attrs,
            syn::Item::Static(it) => &it.attrs,
            syn::Item::Struct(it) => &it.attrs,
            syn::Item::Trait(it) => &it.attrs,
            syn::Item::Type(it) => &it.attrs,
            syn::Item::Use(it) => &it.attrs,
            _ => return,
        };
        if only_for_tests(attributes) {
            let span = item.span();
            self.found.test_lines.push(line_of(span)..=span.end().line);
        }
    }
}

impl<'ast> Visit<'ast> for Finder {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        self.note_item(item);
        visit::visit_item(self, item);
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        let variants = item.variants.iter().map(|variant| Name {
            name: variant.ident.to_string(),
            line: line_of(variant.ident.span()),
        });
        let variants = variants.collect();
        self.found.enums.push((item.ident.to_string(), variants));
        visit::visit_item_enum(self, item);
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.add(&item.sig, &item.block, &item.attrs);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.add(&item.sig, &item.block, &item.attrs);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.add(&item.sig, block, &item.attrs);
        }
        visit::visit_trait_item_fn(self, item);
    }
}
