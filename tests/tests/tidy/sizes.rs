//! Files, functions and lists of arguments stay small enough to be read.
//!
//! Owns the three bounds of STYLE.md. Counts what stands there, comments too, and never looks at
//! what the code does.

use crate::rust::Rust;
use crate::tree::{Finding, Source, assert_finds, assert_none, sources};

/// Lines of a source file.
const FILE_LINES_MAX: usize = 500;
/// Lines of a function's body that are not blank and no comment, as clippy counts them.
const FUNCTION_LINES_MAX: usize = 70;
/// Arguments of a function, `self` among them.
const ARGUMENTS_MAX: usize = 5;

fn long_file(source: &Source) -> Option<Finding> {
    let lines = source.text.lines().count();
    (lines > FILE_LINES_MAX).then(|| {
        let says = format!("{lines} lines, at most {FILE_LINES_MAX}: split it by duty");
        Finding::new(&source.path, lines, says)
    })
}

fn large_functions(source: &Source) -> Vec<Finding> {
    let lines: Vec<&str> = source.text.lines().map(str::trim).collect();
    let mut found = Vec::new();
    for function in &Rust::of(source).functions {
        let (first, last) = (*function.body.start(), *function.body.end());
        let body = lines.iter().take(last - 1).skip(first);
        let code = body.filter(|line| !line.is_empty() && !line.starts_with("//"));
        let (name, code) = (&function.name, code.count());
        if code > FUNCTION_LINES_MAX {
            let says =
                format!("{name} has {code} lines, at most {FUNCTION_LINES_MAX}: split it by duty");
            found.push(Finding::new(&source.path, function.line, says));
        }
        let arguments = function.arguments;
        if arguments > ARGUMENTS_MAX {
            let says = format!(
                "{name} has {arguments} arguments, at most {ARGUMENTS_MAX}: give them a type"
            );
            found.push(Finding::new(&source.path, function.line, says));
        }
    }
    found
}

#[test]
fn no_source_file_is_longer_than_500_lines() {
    assert_none(sources().iter().filter_map(long_file).collect());
}

#[test]
fn no_function_is_longer_than_70_lines_or_has_more_than_5_arguments() {
    assert_none(sources().iter().flat_map(large_functions).collect());
}

#[test]
fn what_is_too_large_is_found() {
    let source = |text: String| Source::new("a.rs", text);
    assert!(long_file(&source("a\n".repeat(501))).is_some());
    assert_eq!(long_file(&source("a\n".repeat(500))), None);
    let function = |lines: usize| format!("\nfn f() {{\n{}}}\n", "    g();\n".repeat(lines));
    assert_finds(&large_functions(&source(function(71))), 2, "f has 71 lines");
    assert_eq!(large_functions(&source(function(70))), []);
    assert_eq!(large_functions(&source("fn f() {}".to_owned())), []);
    let method = "impl A { fn f(&self, a: u8, b: u8, c: u8, d: u8, e: u8) {} }".to_owned();
    assert_finds(&large_functions(&source(method)), 1, "6 arguments");
}
