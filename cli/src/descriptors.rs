//! How many files and connections this process may have open.
//!
//! Owns raising the soft limit, which many systems set to 1,024, to the hard one: a coordinator has a
//! connection for each worker. Never fails: with fewer it serves fewer. Only for verbs that start
//! no programs of others: these would inherit it, and some take a high limit badly.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Raises the limit as far as the system lets anybody.
pub(crate) fn raise_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_is_the_hard_one() {
        raise_limit();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }
}
