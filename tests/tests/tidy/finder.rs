//! Walks the items of a Rust source and notes what the rules ask for.
//!
//! Owns the visitor behind [`Rust`]. Never judges, and sees nothing inside macros.

use proc_macro2::{Span, TokenTree};
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};

use crate::rust::{Exception, Function, Module, Name, Rust};

/// What was noted so far.
#[derive(Default)]
pub(crate) struct Finder {
    pub(crate) found: Rust,
    depth: usize,
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

/// The value of a constant, where it is a whole number that can be told from the text.
fn number(expression: &syn::Expr, known: &Rust) -> Option<u128> {
    let value = |inner: &syn::Expr| number(inner, known);
    match expression {
        syn::Expr::Lit(it) => match &it.lit {
            syn::Lit::Int(number) => number.base10_parse().ok(),
            _ => None,
        },
        syn::Expr::Paren(it) => value(&it.expr),
        syn::Expr::Cast(it) => value(&it.expr),
        syn::Expr::Path(it) => {
            let name = &it.path.segments.last()?.ident;
            known.numbers.get(&name.to_string()).copied()
        }
        syn::Expr::Binary(it) => {
            let (left, right) = (value(&it.left)?, value(&it.right)?);
            match it.op {
                syn::BinOp::Add(_) => left.checked_add(right),
                syn::BinOp::Sub(_) => left.checked_sub(right),
                syn::BinOp::Mul(_) => left.checked_mul(right),
                syn::BinOp::Div(_) => left.checked_div(right),
                syn::BinOp::Shl(_) => left.checked_shl(u32::try_from(right).ok()?),
                _ => None,
            }
        }
        syn::Expr::Call(it) => {
            let syn::Expr::Path(function) = &*it.func else {
                return None;
            };
            let unit_ms = match function.path.segments.last()?.ident.to_string().as_str() {
                "from_millis" => 1,
                "from_secs" => 1000,
                "from_mins" => 60_000,
                "from_hours" => 3_600_000,
                _ => return None,
            };
            value(it.args.first()?)?.checked_mul(unit_ms)
        }
        _ => None,
    }
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

    fn note(&mut self, visibility: &syn::Visibility, ident: &syn::Ident) {
        if matches!(visibility, syn::Visibility::Public(_)) {
            self.publish(ident);
        }
    }

    fn publish(&mut self, ident: &syn::Ident) {
        self.found.public.push(Name {
            name: ident.to_string(),
            line: line_of(ident.span()),
        });
    }

    /// Attributes and visibility of an item.
    fn note_item(&mut self, item: &syn::Item) {
        let (attributes, named) = match item {
            syn::Item::Const(it) => (&it.attrs, Some((&it.vis, &it.ident))),
            syn::Item::Enum(it) => (&it.attrs, Some((&it.vis, &it.ident))),
            syn::Item::Fn(it) => (&it.attrs, Some((&it.vis, &it.sig.ident))),
            syn::Item::Impl(it) => (&it.attrs, None),
            syn::Item::Mod(it) => (&it.attrs, Some((&it.vis, &it.ident))),
            syn::Item::Static(it) => (&it.attrs, Some((&it.vis, &it.ident))),
            syn::Item::Struct(it) => (&it.attrs, Some((&it.vis, &it.ident))),
            syn::Item::Trait(it) => (&it.attrs, Some((&it.vis, &it.ident))),
            syn::Item::Type(it) => (&it.attrs, Some((&it.vis, &it.ident))),
            syn::Item::Use(it) => (&it.attrs, None),
            _ => return,
        };
        if only_for_tests(attributes) {
            let span = item.span();
            self.found.test_lines.push(line_of(span)..=span.end().line);
        } else if let Some((visibility, ident)) = named {
            self.note(visibility, ident);
        }
    }
}

impl<'ast> Visit<'ast> for Finder {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        self.note_item(item);
        visit::visit_item(self, item);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if self.depth == 0 {
            self.found.modules.push(Module {
                name: item.ident.to_string(),
                line: line_of(item.ident.span()),
                inline: item.content.is_some(),
                test: only_for_tests(&item.attrs),
            });
        }
        self.depth += 1;
        visit::visit_item_mod(self, item);
        self.depth -= 1;
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        let public = matches!(item.vis, syn::Visibility::Public(_));
        let mut variants = Vec::new();
        for variant in &item.variants {
            if public {
                self.publish(&variant.ident);
            }
            variants.push(Name {
                name: variant.ident.to_string(),
                line: line_of(variant.ident.span()),
            });
        }
        self.found.enums.push((item.ident.to_string(), variants));
        visit::visit_item_enum(self, item);
    }

    fn visit_item_const(&mut self, item: &'ast syn::ItemConst) {
        if let Some(value) = number(&item.expr, &self.found) {
            self.found.numbers.insert(item.ident.to_string(), value);
        }
        visit::visit_item_const(self, item);
    }

    fn visit_field(&mut self, field: &'ast syn::Field) {
        if let Some(ident) = &field.ident {
            self.note(&field.vis, ident);
        }
        visit::visit_field(self, field);
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.add(&item.sig, &item.block, &item.attrs);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.note(&item.vis, &item.sig.ident);
        self.add(&item.sig, &item.block, &item.attrs);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.add(&item.sig, block, &item.attrs);
        }
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        let path = attribute.path();
        if let syn::Meta::List(list) = &attribute.meta
            && (path.is_ident("expect") || path.is_ident("allow"))
        {
            let mut words = list.tokens.clone().into_iter();
            self.found.exceptions.push(Exception {
                line: line_of(attribute.span()),
                reason: words.any(|word| matches!(word, TokenTree::Ident(it) if it == "reason")),
            });
        }
    }
}
