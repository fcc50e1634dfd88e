//! Every link of the pages leads somewhere, and every page can be found.
//!
//! Owns the rules for relative links, their anchors and the sources that a page names; never asks the network for others.

use std::collections::{BTreeMap, BTreeSet};

use crate::markdown::{anchors, code, links, prose};
use crate::tree::{Finding, Source, assert_finds, assert_none, pages, root, sources};

/// Where a reader begins.
const DOORS: [&str; 3] = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"];

/// A path without its `.` and `..`, or nothing where it leaves the tree.
fn plain(path: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            _ => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// The relative links of a page, resolved: target path, anchor, line.
fn resolved(page: &Source) -> Vec<(Option<String>, Option<String>, usize)> {
    let folder = page.path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let ours = links(&page.text)
        .into_iter()
        .filter(|link| !link.target.contains("://"));
    let resolve = |link: crate::markdown::Link| {
        let (path, anchor) = match link.target.split_once('#') {
            Some((path, anchor)) => (path, Some(anchor.to_owned())),
            None => (link.target.as_str(), None),
        };
        let path = if path.is_empty() {
            Some(page.path.clone())
        } else {
            plain(&format!("{folder}/{path}"))
        };
        (path, anchor, link.line)
    };
    ours.map(resolve).collect()
}

fn dead_links(pages: &[Source], exists: impl Fn(&str) -> bool) -> Vec<Finding> {
    let anchors: BTreeMap<&str, Vec<String>> = pages
        .iter()
        .map(|page| (&*page.path, anchors(&page.text)))
        .collect();
    let mut found = Vec::new();
    for page in pages {
        for (target, anchor, line) in resolved(page) {
            let mut find = |says: String| found.push(Finding::new(&page.path, line, says));
            let Some(target) = target.filter(|target| exists(target)) else {
                find("the link leads nowhere: name a file that there is".to_owned());
                continue;
            };
            let Some(anchor) = anchor else { continue };
            if !anchors
                .get(&*target)
                .is_some_and(|all| all.contains(&anchor))
            {
                find(format!("{target} has no heading for #{anchor}"));
            }
        }
    }
    found
}

/// Pages that no chain of links reaches from the doors. A link to a folder is one to its README.md,
/// or, where it has none, to all pages in it.
fn hidden(pages: &[Source], doors: &[&str]) -> Vec<Finding> {
    let by_path: BTreeMap<&str, &Source> = pages.iter().map(|page| (&*page.path, page)).collect();
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let mut open: Vec<String> = doors.iter().map(|&door| door.to_owned()).collect();
    while let Some(path) = open.pop() {
        let Some(page) = by_path.get(&*path) else {
            let inside = format!("{path}/README.md");
            open.extend(by_path.contains_key(&*inside).then_some(inside));
            continue;
        };
        if seen.insert(path) {
            open.extend(resolved(page).into_iter().filter_map(|(target, ..)| target));
        }
    }
    let hidden = pages.iter().filter(|page| !seen.contains(&page.path));
    let find = |page: &Source| {
        Finding::new(
            &page.path,
            1,
            format!("no link leads here from {doors:?}: add one"),
        )
    };
    hidden.map(find).collect()
}

/// Sources that a page names in `code`, from any folder on, and that are not there.
fn lost_sources(pages: &[Source], sources: &[Source]) -> Vec<Finding> {
    let mut found = Vec::new();
    for page in pages {
        for (line, text) in prose(&page.text) {
            let names = code(text).into_iter();
            for name in names.filter(|it| it.ends_with(".rs") && !it.contains(' ')) {
                let end = format!("/{name}");
                if !sources
                    .iter()
                    .any(|it| it.path == name || it.path.ends_with(&end))
                {
                    let says = format!("there is no {name}: name the file as it is called now");
                    found.push(Finding::new(&page.path, line, says));
                }
            }
        }
    }
    found
}

#[test]
fn every_source_that_a_page_names_is_there() {
    assert_none(lost_sources(&pages(), &sources()));
}

#[test]
fn every_link_of_the_pages_leads_somewhere() {
    assert_none(dead_links(&pages(), |path| root().join(path).exists()));
}

#[test]
fn every_page_is_reached_from_the_doors() {
    assert_none(hidden(&pages(), &DOORS));
}

#[test]
fn a_link_that_leads_nowhere_is_found() {
    let pages = [
        Source::new(
            "README.md",
            "[a](docs/a.md#here)\n[b](docs/b.md)\n[c](docs/a.md#there)\n[d](../x)\n[e](#none)",
        ),
        Source::new(
            "docs/a.md",
            "# Here\n[up](../README.md) [far](https://example.org/x)\n",
        ),
    ];
    let found = dead_links(&pages, |path| pages.iter().any(|page| page.path == path));
    for (line, says) in [
        (2, "leads nowhere"),
        (3, "docs/a.md has no heading for #there"),
        (4, "leads nowhere"),
        (5, "#none"),
    ] {
        assert_finds(&found, line, says);
    }
    assert_eq!(found.len(), 4);
}

#[test]
fn a_source_that_is_not_there_any_more_is_found() {
    let page = Source::new("a.md", "\nsee `b/c.rs`, `c.rs`, `d.rs` and `a/b.rs`");
    let sources = ["a/b/c.rs", "d.rs", "x/b.rs"].map(|path| Source::new(path, ""));
    let found = lost_sources(&[page], &sources);
    assert_finds(&found, 2, "there is no a/b.rs");
    assert_eq!(found.len(), 1);
}

#[test]
fn a_page_that_nobody_finds_is_found() {
    let pages = [
        ("README.md", "[a](docs/a.md) [d](docs/d)"),
        ("docs/a.md", "[b](b.md)"),
        ("docs/b.md", ""),
        ("docs/lost.md", "[a](a.md)"),
        ("docs/d/README.md", ""),
        ("docs/d/1.md", ""),
    ];
    let found = hidden(
        &pages.map(|(path, text)| Source::new(path, text)),
        &["README.md"],
    );
    let paths: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(paths.len(), 2);
    assert!(
        paths[0].starts_with("docs/lost.md:1:") && paths[1].starts_with("docs/d/1.md:1:"),
        "{paths:?}"
    );
}
