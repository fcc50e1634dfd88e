//! Where the coordinator is, how a channel to it is made, and how long to wait between tries.
//!
//! Never retries by itself and holds no connection. Randomness enters here only: `os_seed` reads
//! the operating system's, everything else is seeded by its caller.

use std::{fmt, str::FromStr, time::Duration};

use rand::{
    RngExt as _, SeedableRng as _, TryRng as _,
    rngs::{SmallRng, SysRng},
};
use tonic::transport::{Channel, Endpoint, Uri};

use crate::error::{Error, chain};

/// How long one attempt to connect may take.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How often a connection is probed by an HTTP/2 ping, in use or idle.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// How long the answer to a ping may take before the connection counts as broken.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// The window of the first wait; it doubles with each further one.
pub const BACKOFF_FIRST: Duration = Duration::from_millis(100);

/// No wait is longer.
pub const BACKOFF_MAX: Duration = Duration::from_secs(10);

/// The address of a coordinator, checked: `host:port` or `http://host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    uri: Uri,
}

impl FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |problem: &str| {
            Error::invalid(
                "address",
                format!(
                    "{text:?} {problem}; write host:port or http://host:port, for example \
                     127.0.0.1:7480"
                ),
            )
        };
        let full = if text.contains("://") {
            text.to_owned()
        } else {
            format!("http://{text}")
        };
        let uri =
            Uri::try_from(full).map_err(|error| wrong(&format!("is no address ({error})")))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => return Err(wrong("asks for TLS, which is not supported yet")),
            Some(_) | None => return Err(wrong("has a scheme other than http")),
        }
        if uri.port_u16().is_none() {
            return Err(wrong("has no port"));
        }
        if uri.host().is_none_or(str::is_empty) {
            return Err(wrong("has no host"));
        }
        if !matches!(
            uri.path_and_query().map(|rest| rest.as_str()),
            None | Some("/")
        ) {
            return Err(wrong("has a path"));
        }
        Ok(Self { uri })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.uri.authority() {
            Some(authority) => write!(f, "{authority}"),
            None => write!(f, "{}", self.uri),
        }
    }
}

/// The settings of every connection to a coordinator: [`CONNECT_TIMEOUT`], pings, no Nagle delay.
#[must_use]
pub fn endpoint(address: &Address) -> Endpoint {
    Endpoint::from(address.uri.clone())
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true)
}

/// Connects now, in one attempt. The channel reconnects by itself when a later call needs it.
///
/// # Errors
/// [`Error::Connect`] where nobody answers within [`CONNECT_TIMEOUT`].
pub async fn connect(address: &Address) -> Result<Channel, Error> {
    endpoint(address)
        .connect()
        .await
        .map_err(|error| Error::Connect {
            address: address.to_string(),
            problem: chain(&error),
        })
}

/// A channel that connects when its first call needs it.
#[must_use]
pub fn connect_lazy(address: &Address) -> Channel {
    endpoint(address).connect_lazy()
}

/// A seed from the operating system's randomness.
///
/// # Errors
/// [`Error::Invalid`] where the operating system has none to give.
pub fn os_seed() -> Result<u64, Error> {
    SysRng.try_next_u64().map_err(|error| {
        Error::invalid(
            "seed",
            format!("the operating system gives no randomness: {error}"),
        )
    })
}

/// How long to wait before the next attempt to reach the coordinator: exponential from
/// [`BACKOFF_FIRST`] to [`BACKOFF_MAX`], each wait drawn evenly from zero up to that (full jitter),
/// so that many who lost the coordinator together do not come back together.
#[derive(Debug, Clone)]
pub struct ReconnectBackoff {
    random: SmallRng,
    window: Duration,
}

impl ReconnectBackoff {
    /// A fresh backoff; the same seed draws the same waits.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            random: SmallRng::seed_from_u64(seed),
            window: BACKOFF_FIRST,
        }
    }

    /// Draws the next wait and doubles the window.
    #[expect(
        clippy::should_implement_trait,
        reason = "it never ends, so there is no Option"
    )]
    pub fn next(&mut self) -> Duration {
        let wait = self.random.random_range(Duration::ZERO..=self.window);
        self.window = self.window.saturating_mul(2).min(BACKOFF_MAX);
        wait
    }

    /// Starts over from [`BACKOFF_FIRST`]: the coordinator was reached.
    pub fn reset(&mut self) {
        self.window = BACKOFF_FIRST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_accepted_with_and_without_its_scheme() {
        for (text, shown) in [
            ("127.0.0.1:7480", "127.0.0.1:7480"),
            ("http://127.0.0.1:7480", "127.0.0.1:7480"),
            ("http://coordinator.internal:80/", "coordinator.internal:80"),
            ("[::1]:7480", "[::1]:7480"),
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn an_address_that_cannot_work_is_refused_with_its_fault_and_the_remedy() {
        for (text, fault) in [
            ("localhost", "has no port"),
            ("https://localhost:7480", "TLS"),
            ("ftp://localhost:7480", "scheme"),
            ("localhost:7480/api", "has a path"),
            ("", "is no address"),
            ("a b:1", "is no address"),
        ] {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(
                error.contains(fault) && error.contains("127.0.0.1:7480"),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn waits_stay_in_a_window_that_doubles_up_to_its_cap() {
        let mut windows = vec![];
        for seed in 0..50 {
            let mut backoff = ReconnectBackoff::new(seed);
            windows = (0..9)
                .map(|n| (BACKOFF_FIRST * (1 << n)).min(BACKOFF_MAX))
                .collect();
            for window in &windows {
                assert!(backoff.next() <= *window);
            }
        }
        assert_eq!(windows.last(), Some(&BACKOFF_MAX));
    }

    #[test]
    fn waits_are_spread_and_repeat_with_their_seed() {
        let draw = |seed| {
            let mut backoff = ReconnectBackoff::new(seed);
            (0..6).map(|_| backoff.next()).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn a_reset_backoff_begins_with_its_first_window() {
        let mut backoff = ReconnectBackoff::new(1);
        for _ in 0..20 {
            backoff.next();
        }
        backoff.reset();
        assert!((0..100).all(|_| {
            let within = backoff.next() <= BACKOFF_FIRST;
            backoff.reset();
            within
        }));
    }
}
