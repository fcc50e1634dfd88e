//! Lists that come in pages: up to a limit as one answer, or all of them as a stream of lines.
//!
//! Never holds more than [`LISTED_MAX`] entries.

use redrive_client::Error;

use crate::{
    commands::PageArgs,
    context::Context,
    exit,
    output::{self, Format, ProtoJson},
};

/// The most entries of one answer; more come as lines.
pub(crate) const LISTED_MAX: u32 = 10_000;

/// The most entries of one page, as the protocol has it.
const PAGE_MAX: u32 = 1_000;

/// Fetches pages (`page` is given a size and a token) up to the limit, and answers the entries and
/// the token to go on with. `None` where everything was printed as lines already.
///
/// # Errors
/// What `page` fails with; a usage error for a limit that does not fit the format.
pub(crate) async fn run<T: ProtoJson>(
    context: &Context,
    args: &PageArgs,
    page: impl AsyncFn(u32, String) -> Result<(Vec<T>, String), Error>,
) -> anyhow::Result<Option<(Vec<T>, String)>> {
    let lines = context.out.format == Format::Jsonl;
    check_limit(args.limit, lines)?;
    let mut token = args.page_token.clone();
    let mut entries = Vec::new();
    let mut left = if args.limit == 0 {
        u32::MAX
    } else {
        args.limit
    };
    loop {
        let (mut found, next) = page(left.min(PAGE_MAX), token).await?;
        left = left.saturating_sub(u32::try_from(found.len()).unwrap_or(u32::MAX));
        token = next;
        if lines {
            context.out.items(&found)?;
        } else {
            entries.append(&mut found);
        }
        if token.is_empty() || left == 0 {
            break;
        }
    }
    if lines {
        note_more(context, &token);
        return Ok(None);
    }
    Ok(Some((entries, token)))
}

/// Says how to go on where a list ended at its limit; in JSON the answer says so itself.
pub(crate) fn note_more(context: &Context, token: &str) {
    if !token.is_empty() && context.out.format != Format::Json {
        output::note(&format!(
            "there may be more: raise --limit, or go on with --page-token {token}"
        ));
    }
}

fn check_limit(limit: u32, lines: bool) -> anyhow::Result<()> {
    if lines || (1..=LISTED_MAX).contains(&limit) {
        return Ok(());
    }
    Err(exit::usage(format!(
        "--limit {limit} is outside 1 to {LISTED_MAX}; -o jsonl lists any number, and all with \
         --limit 0"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lines_may_be_without_a_limit() {
        assert!(check_limit(0, true).is_ok() && check_limit(1_000_000, true).is_ok());
        assert!(check_limit(1, false).is_ok() && check_limit(LISTED_MAX, false).is_ok());
        for limit in [0, LISTED_MAX + 1] {
            let error = check_limit(limit, false).unwrap_err();
            assert!(error.to_string().contains("-o jsonl"));
            assert_eq!(exit::code(&error), exit::USAGE);
        }
    }
}
