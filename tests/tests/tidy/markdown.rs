//! Reads a page: headings with their anchors, links, tables and texts in code.
//!
//! Owns as much of Markdown as our pages use. Never judges; fenced blocks are not read as prose.

/// A link, as it stands behind `](`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) target: String,
    pub(crate) line: usize,
}

/// A table: under which heading, its head, and its rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) heading: String,
    pub(crate) line: usize,
    pub(crate) head: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
}

/// Lines of prose with their numbers: what is not in a fenced block.
pub(crate) fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    (1..).zip(text.lines()).filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fence && !fenced
    })
}

fn heading(line: &str) -> Option<&str> {
    let rest = line.trim_start_matches('#');
    (rest.len() < line.len())
        .then(|| rest.strip_prefix(' '))
        .flatten()
}

/// The anchors of a page's headings, made as GitHub makes them.
pub(crate) fn anchors(text: &str) -> Vec<String> {
    let mut anchors: Vec<String> = Vec::new();
    for title in prose(text).filter_map(|(_, line)| heading(line)) {
        let kept = title
            .chars()
            .filter(|it| it.is_alphanumeric() || matches!(it, ' ' | '-' | '_'));
        let slug: String = kept.map(|it| if it == ' ' { '-' } else { it }).collect();
        let slug = slug.to_lowercase();
        let again = anchors.iter().filter(|it| **it == slug).count();
        anchors.push(if again == 0 {
            slug
        } else {
            format!("{slug}-{again}")
        });
    }
    anchors
}

pub(crate) fn links(text: &str) -> Vec<Link> {
    let mut links = Vec::new();
    for (line, text) in prose(text) {
        // What stands in `code` is no link: every second part is.
        let plain: String = text.split('`').step_by(2).collect::<Vec<_>>().join("`");
        for rest in plain.split("](").skip(1) {
            let target = rest.split([')', ' ']).next().unwrap_or_default();
            links.push(Link {
                target: target.to_owned(),
                line,
            });
        }
    }
    links
}

fn cells(line: &str) -> Option<Vec<String>> {
    let inside = line.strip_prefix('|')?.trim_end().strip_suffix('|')?;
    Some(
        inside
            .split('|')
            .map(|cell| cell.trim().to_owned())
            .collect(),
    )
}

pub(crate) fn tables(text: &str) -> Vec<Table> {
    let mut tables: Vec<Table> = Vec::new();
    let (mut title, mut inside) = (String::new(), false);
    for (line, text) in prose(text) {
        if let Some(heading) = heading(text) {
            heading.clone_into(&mut title);
        }
        let Some(cells) = cells(text) else {
            inside = false;
            continue;
        };
        let rule = cells
            .iter()
            .all(|cell| !cell.is_empty() && cell.chars().all(|it| it == '-'));
        match tables.last_mut().filter(|_| inside) {
            Some(_) if rule => {}
            Some(table) => table.rows.push(cells),
            None => tables.push(Table {
                heading: title.clone(),
                line,
                head: cells,
                rows: Vec::new(),
            }),
        }
        inside = true;
    }
    tables
}

/// What stands between backquotes in a text of one line.
pub(crate) fn code(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# A `b`: c's\n\nsee [x](y.md#z) and `[no](no)`\n```\n# no\n[no](no)\n```\n## D\n\
                        | a | b |\n| --- | --- |\n| `c` | d |\n\n| e |\n|---|\n# A b cs\n";

    #[test]
    fn headings_become_anchors_as_on_github() {
        assert_eq!(anchors(PAGE), ["a-b-cs", "d", "a-b-cs-1"]);
    }

    #[test]
    fn links_are_read_where_they_are_links() {
        let target = "y.md#z".to_owned();
        assert_eq!(links(PAGE), [Link { target, line: 3 }]);
    }

    #[test]
    fn tables_have_a_head_and_rows_and_stand_below_a_heading() {
        let [first, second] = &tables(PAGE)[..] else {
            panic!("{:?}", tables(PAGE))
        };
        assert_eq!(
            (&*first.heading, first.line, &first.head[..]),
            ("D", 9, &["a".to_owned(), "b".to_owned()][..])
        );
        assert_eq!(first.rows, [["`c`", "d"]]);
        assert_eq!((second.line, second.rows.len()), (13, 0));
        assert_eq!(code("a `b` c `d`"), ["b", "d"]);
    }
}
