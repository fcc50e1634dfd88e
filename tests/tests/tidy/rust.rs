//! Reads a Rust source: its tokens, the paths that it names, its functions and its tests.
//!
//! Owns the way from a text to facts with lines; comments and string literals are not code. Never
//! judges. What stands under `#[cfg(test)]` is told apart, by its lines.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::visit::Visit as _;

use crate::finder::Finder;
use crate::tree::Source;

/// A word of the code, or a sign, and its line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) line: usize,
}

/// A path that is named, for example `crate::engine::ids::TaskId`, and its line. Groups of a `use`
/// are written out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) path: Vec<String>,
    pub(crate) line: usize,
    /// It stands behind `in`, as in `pub(in crate::engine)`.
    pub(crate) after_in: bool,
    /// The modules of the same file that it stands in.
    pub(crate) within: Vec<String>,
}

/// A function.
#[derive(Clone, Debug)]
pub(crate) struct Function {
    pub(crate) name: String,
    /// Of its name.
    pub(crate) line: usize,
    /// From its `{` to its `}`.
    pub(crate) body: RangeInclusive<usize>,
    /// With `self`.
    pub(crate) arguments: usize,
    /// It is run as a test.
    pub(crate) test: bool,
    /// Its documentation.
    pub(crate) doc: String,
}

/// A name that something is known by, and where it is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) name: String,
    pub(crate) line: usize,
}

/// What is in a source.
#[derive(Default)]
pub(crate) struct Rust {
    pub(crate) tokens: Vec<Token>,
    pub(crate) paths: Vec<Named>,
    pub(crate) functions: Vec<Function>,
    /// Each with its variants.
    pub(crate) enums: Vec<(String, Vec<Name>)>,
    pub(crate) test_lines: Vec<RangeInclusive<usize>>,
}

impl Rust {
    /// What is in this source; each text is read once, whichever rule asks.
    ///
    /// # Panics
    /// Where the text is no Rust; cargo would have said so before.
    pub(crate) fn of(source: &Source) -> Arc<Self> {
        static READ: Mutex<BTreeMap<String, Arc<OnceLock<Arc<Rust>>>>> =
            Mutex::new(BTreeMap::new());
        let mut read = READ.lock().unwrap_or_else(PoisonError::into_inner);
        let place = Arc::clone(read.entry(source.text.clone()).or_default());
        drop(read);
        Arc::clone(place.get_or_init(|| Arc::new(Self::read(source))))
    }

    fn read(source: &Source) -> Self {
        let file = syn::parse_file(&source.text);
        let file = file.unwrap_or_else(|error| panic!("{}: {error}", source.path));
        let stream: TokenStream = source.text.parse().unwrap();
        let mut finder = Finder::default();
        finder.visit_file(&file);
        let mut rust = finder.found;
        flatten(stream.clone(), &mut rust.tokens);
        name_paths(stream, &[], &[], &mut rust.paths);
        rust
    }

    /// The line is of code that only tests have.
    pub(crate) fn in_test(&self, line: usize) -> bool {
        self.test_lines.iter().any(|range| range.contains(&line))
    }

    /// The lines where these words stand one after another, without signs between them being left
    /// out: `["thread", "::", "sleep"]`.
    pub(crate) fn lines_of(&self, words: &[&str]) -> Vec<usize> {
        let windows = self.tokens.windows(words.len());
        let same =
            windows.filter(|window| window.iter().zip(words).all(|(it, word)| it.text == *word));
        same.map(|window| window[0].line).collect()
    }
}

fn flatten(stream: TokenStream, tokens: &mut Vec<Token>) {
    let mut trees = stream.into_iter().peekable();
    while let Some(tree) = trees.next() {
        let line = tree.span().start().line;
        let text = match tree {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::None => ("", ""),
                };
                tokens.push(Token {
                    text: open.to_owned(),
                    line,
                });
                flatten(group.stream(), tokens);
                tokens.push(Token {
                    text: close.to_owned(),
                    line: group.span_close().start().line,
                });
                continue;
            }
            TokenTree::Punct(sign) if sign.as_char() == ':' => {
                let twice =
                    matches!(trees.peek(), Some(TokenTree::Punct(it)) if it.as_char() == ':');
                if twice {
                    trees.next();
                }
                if twice { "::" } else { ":" }.to_owned()
            }
            TokenTree::Ident(_) | TokenTree::Punct(_) => tree.to_string(),
            // What a text says is not code.
            TokenTree::Literal(_) => "\"\"".to_owned(),
        };
        tokens.push(Token { text, line });
    }
}

/// Adds the paths of a stream that stands in these modules, those of groups after `before`.
fn name_paths(stream: TokenStream, before: &[String], within: &[String], paths: &mut Vec<Named>) {
    let mut path: Vec<String> = before.to_vec();
    let (mut line, mut colons) = (0, 2);
    let end = |path: &mut Vec<String>, line, paths: &mut Vec<Named>| {
        if path.len() > before.len() {
            let after_in = paths.last().is_some_and(|it: &Named| it.path == ["in"]);
            paths.push(Named {
                path: path.clone(),
                line,
                after_in,
                within: within.to_vec(),
            });
        }
        path.truncate(before.len());
    };
    let mut groups = Vec::new();
    for tree in stream {
        match tree {
            TokenTree::Ident(word) => {
                if colons < 2 {
                    end(&mut path, line, paths);
                }
                line = word.span().start().line;
                path.push(word.to_string());
                colons = 0;
            }
            TokenTree::Punct(sign) if sign.as_char() == ':' => colons += 1,
            TokenTree::Punct(sign) if sign.as_char() == '*' && colons == 2 && line > 0 => {
                path.push("*".to_owned());
                end(&mut path, line, paths);
            }
            TokenTree::Group(group) => {
                if colons == 2 && path.len() > before.len() && group.delimiter() == Delimiter::Brace
                {
                    groups.push((group.stream(), path.clone(), within.to_vec()));
                    path.truncate(before.len());
                } else {
                    end(&mut path, line, paths);
                    let module = module_before(paths);
                    let module = module.filter(|_| group.delimiter() == Delimiter::Brace);
                    let within = within.iter().cloned().chain(module).collect();
                    groups.push((group.stream(), Vec::new(), within));
                }
                colons = 2;
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => {
                end(&mut path, line, paths);
                colons = 2;
            }
        }
    }
    end(&mut path, line, paths);
    for (stream, before, within) in groups {
        name_paths(stream, &before, &within, paths);
    }
}

/// `a`, where the last words were `mod a`.
fn module_before(paths: &[Named]) -> Option<String> {
    let [.., word, name] = paths else { return None };
    (word.path == ["mod"] && name.path.len() == 1).then(|| name.path[0].clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rust(text: &str) -> Arc<Rust> {
        Rust::of(&Source::new("a.rs", text))
    }

    fn paths(text: &str) -> Vec<String> {
        rust(text)
            .paths
            .iter()
            .map(|named| named.path.join("::"))
            .collect()
    }

    #[test]
    fn groups_of_a_use_are_written_out() {
        let found = paths("use crate::a::{self, b::{C, d}, e};\nfn f() { super::g::h(); }");
        for path in [
            "crate::a::self",
            "crate::a::b::C",
            "crate::a::b::d",
            "crate::a::e",
            "super::g::h",
        ] {
            assert!(found.contains(&path.to_owned()), "{path}: {found:?}");
        }
    }

    #[test]
    fn paths_are_found_in_macros_and_types_but_not_in_texts_and_comments() {
        let found = paths("// crate::no\nfn f(a: crate::a::A) { m!(crate::b::B, \"crate::no\"); }");
        assert!(
            found.contains(&"crate::a::A".to_owned()) && found.contains(&"crate::b::B".to_owned())
        );
        assert!(!found.iter().any(|path| path.contains("no")), "{found:?}");
    }

    #[test]
    fn functions_have_lines_arguments_and_docs() {
        let found =
            rust("/// Why.\n#[tokio::test]\nasync fn a() {\n}\nimpl B { fn c(&self, d: u8) {} }");
        let [a, c] = &found.functions[..] else {
            panic!("{:?}", found.functions)
        };
        assert_eq!(
            (&*a.name, a.line, a.body.clone(), a.test),
            ("a", 3, 3..=4, true)
        );
        assert_eq!((a.doc.trim(), a.arguments), ("Why.", 0));
        assert_eq!((&*c.name, c.arguments, c.test), ("c", 2, false));
    }

    #[test]
    fn what_only_tests_have_is_told_apart() {
        let found = rust("fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\n");
        assert!(found.in_test(4) && !found.in_test(1));
    }

    #[test]
    fn words_are_found_one_after_another() {
        assert_eq!(
            rust("fn f() {\n    thread::sleep(1);\n}").lines_of(&["thread", "::", "sleep"]),
            [2]
        );
    }
}
