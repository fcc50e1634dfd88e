//! The eight ways in which the demo's upstream treats a delivery, and how they are called.
//!
//! Owns the names, the queues and the meaning of `fails`. How each is answered is
//! `upstream::conduct`'s business, what the scheduler makes of it the retry policy's.

use std::{fmt, str::FromStr};

use serde::{Serialize, Serializer};

/// The most times that a delivery may be made to fail by a number.
pub(super) const FAILS_MAX: u32 = 20;

/// A way of treating deliveries, one for each row of the best-practice table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Behaviour {
    /// Resets the connection.
    Network,
    /// Answers 429 with Retry-After.
    RateLimited,
    /// Is locked: 423 or 409.
    Conflict,
    /// Is down for a while: 503, 502 or 504.
    Down,
    /// Rejects data that it cannot use: 422.
    Invalid,
    /// Has no such page: 404.
    NotFound,
    /// Refuses the credentials: 401.
    Auth,
    /// Hangs until the caller gives up.
    Timeout,
}

impl Behaviour {
    /// All of them, in the order of the table.
    pub(super) const ALL: [Self; 8] = [
        Self::Network,
        Self::RateLimited,
        Self::Conflict,
        Self::Down,
        Self::Invalid,
        Self::NotFound,
        Self::Auth,
        Self::Timeout,
    ];

    /// Its name in input files, paths and tables.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::RateLimited => "rate-limited",
            Self::Conflict => "conflict",
            Self::Down => "down",
            Self::Invalid => "invalid",
            Self::NotFound => "not-found",
            Self::Auth => "auth",
            Self::Timeout => "timeout",
        }
    }

    /// What the upstream does, for the screen.
    pub(super) const fn says(self) -> &'static str {
        match self {
            Self::Network => "resets connections",
            Self::RateLimited => "answers 429 with Retry-After",
            Self::Conflict => "is locked",
            Self::Down => "is down for a while",
            Self::Invalid => "rejects bad data",
            Self::NotFound => "has no such page",
            Self::Auth => "refuses credentials",
            Self::Timeout => "hangs",
        }
    }

    /// How often a delivery fails that does not say so itself; `None` where `fails` means nothing:
    /// there the clock (down) or the data (invalid) decides.
    pub(super) const fn default_fails(self) -> Option<Fails> {
        match self {
            Self::Network | Self::Conflict => Some(Fails::Times(2)),
            Self::RateLimited | Self::Timeout => Some(Fails::Times(1)),
            Self::NotFound | Self::Auth => Some(Fails::UntilRepaired),
            Self::Down | Self::Invalid => None,
        }
    }

    /// Its queue number `part`, from 0. A queue takes no more tasks than the coordinator keeps
    /// after their end, so a long input needs several.
    pub(super) fn queue(self, part: usize) -> String {
        match part {
            0 => format!("webhooks.{}", self.name()),
            _ => format!("webhooks.{}-{}", self.name(), part.saturating_add(1)),
        }
    }
}

impl fmt::Display for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Behaviour {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|behaviour| behaviour.name() == text)
            .ok_or_else(|| {
                let names = Self::ALL.map(Self::name).join(", ");
                format!("behaviour: {text:?} is none of {names}")
            })
    }
}

impl Serialize for Behaviour {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// How often the upstream misbehaves towards one delivery before it accepts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fails {
    /// The first so many times.
    Times(u32),
    /// Until the upstream is repaired.
    UntilRepaired,
}

impl fmt::Display for Fails {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Times(times) => write!(f, "{times}"),
            Self::UntilRepaired => f.write_str("always"),
        }
    }
}

impl FromStr for Fails {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "always" {
            return Ok(Self::UntilRepaired);
        }
        match text.parse() {
            Ok(times) if times <= FAILS_MAX => Ok(Self::Times(times)),
            Ok(_) | Err(_) => Err(format!(
                "fails: {text} is neither 0 to {FAILS_MAX} nor \"always\""
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back_as_its_behaviour() {
        for behaviour in Behaviour::ALL {
            assert_eq!(behaviour.name().parse(), Ok(behaviour));
        }
        let error = "teapot".parse::<Behaviour>().unwrap_err();
        assert!(
            error.contains("rate-limited") && error.contains("teapot"),
            "{error}"
        );
    }

    #[test]
    fn fails_is_a_number_within_its_bound_or_always() {
        for fails in [
            Fails::Times(0),
            Fails::Times(FAILS_MAX),
            Fails::UntilRepaired,
        ] {
            assert_eq!(fails.to_string().parse(), Ok(fails));
        }
        for wrong in ["21", "-1", "never", ""] {
            assert!(wrong.parse::<Fails>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn further_queues_of_a_behaviour_are_numbered_from_two() {
        assert_eq!(Behaviour::Auth.queue(0), "webhooks.auth");
        assert_eq!(Behaviour::Auth.queue(1), "webhooks.auth-2");
    }
}
