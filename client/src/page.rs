//! Lists as streams: one page after the other, asked for when it is needed.
//!
//! Holds one page at a time. Invariant: ends at the first error or at the page that has no next
//! one; an empty page with a next one is no end.

use std::future::Future;

use futures::{
    StreamExt as _, TryStreamExt as _,
    stream::{self, BoxStream},
};

use crate::error::Error;

/// The entries of all pages; `fetch` is given a page token and answers entries and the next token.
pub(crate) fn pages<T, F, Fut>(mut fetch: F) -> BoxStream<'static, Result<T, Error>>
where
    T: Send + 'static,
    F: FnMut(String) -> Fut + Send + 'static,
    Fut: Future<Output = Result<(Vec<T>, String), Error>> + Send + 'static,
{
    stream::try_unfold(Some(String::new()), move |token| {
        let page = token.map(&mut fetch);
        async move {
            let Some(page) = page else {
                return Ok::<_, Error>(None);
            };
            let (entries, next) = page.await?;
            let next = Some(next).filter(|next| !next.is_empty());
            Ok(Some((stream::iter(entries.into_iter().map(Ok)), next)))
        }
    })
    .try_flatten()
    .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(answers: &'static [(&'static [u8], &'static str)]) -> (Vec<u8>, Vec<String>) {
        let (asked, log) = std::sync::mpsc::channel();
        let mut answers = answers.iter();
        let entries = pages(move |token| {
            asked.send(token).unwrap();
            let (entries, next) = *answers.next().unwrap();
            async move { Ok((entries.to_vec(), next.to_owned())) }
        });
        (
            entries.try_collect().await.unwrap(),
            log.try_iter().collect(),
        )
    }

    #[tokio::test]
    async fn a_page_that_is_empty_but_has_a_next_one_does_not_end_the_list() {
        let (entries, asked) = read(&[(b"ab", "t1"), (b"", "t2"), (b"c", "")]).await;
        assert_eq!(entries, b"abc");
        assert_eq!(asked, ["", "t1", "t2"]);
    }

    #[tokio::test]
    async fn an_error_ends_the_list() {
        let mut entries =
            pages(|_| async { Err::<(Vec<u8>, String), _>(Error::Incomplete { missing: "page" }) });
        assert!(entries.try_next().await.is_err());
        assert!(entries.try_next().await.unwrap().is_none());
    }
}
