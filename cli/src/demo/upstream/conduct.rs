//! How the upstream answers one request: a pure function of the request, of how often this task
//! was seen before, and of the state of the world.
//!
//! Owns the eight behaviours. Never touches a socket, a clock or a count.

use serde_json::Value;

use super::super::behaviour::{Behaviour, Fails};

/// What every 429 asks for, in whole seconds as HTTP has it. Not scaled: it is the other side's
/// wish, not the policy's.
pub(in super::super) const RETRY_AFTER_SECONDS: u32 = 1;

/// What is known of a request, but for its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ask {
    /// How the upstream treats it.
    pub(super) behaviour: Behaviour,
    /// How often; `None` where the behaviour knows no such number.
    pub(super) fails: Option<Fails>,
    /// Requests for the same task before this one.
    pub(super) seen: u32,
}

impl Ask {
    /// Reads "/behaviour/fails/..." of a request's path; `None` where it is no delivery.
    pub(super) fn parse(path: &str, seen: u32) -> Option<Self> {
        let mut parts = path.strip_prefix('/')?.splitn(3, '/');
        let behaviour = parts.next()?.parse().ok()?;
        let fails = match parts.next()? {
            "-" => None,
            text => Some(text.parse().ok()?),
        };
        parts.next()?;
        Some(Self {
            behaviour,
            fails,
            seen,
        })
    }

    fn still_fails(&self, repaired: bool) -> bool {
        match self.fails {
            None => false,
            Some(Fails::UntilRepaired) => !repaired,
            Some(Fails::Times(times)) => self.seen < times && !repaired,
        }
    }
}

/// The state of the upstream as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct World {
    /// Whether the outage is over.
    pub(super) up: bool,
    /// Whether the pages, credentials and connections were put in order.
    pub(super) repaired: bool,
}

/// What the upstream does with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Takes it: 200.
    Accept,
    /// Says no.
    Refuse {
        /// The HTTP status.
        status: u16,
        /// What the body says.
        message: String,
        /// The Retry-After header.
        retry_after_seconds: Option<u32>,
    },
    /// Resets the connection without an answer.
    Reset,
    /// Never answers.
    Hang,
}

impl Answer {
    fn refuse(status: u16, message: impl Into<String>) -> Self {
        Self::Refuse {
            status,
            message: message.into(),
            retry_after_seconds: None,
        }
    }
}

/// Decides. Only bad data stays bad when the upstream is repaired: it is the data that is wrong.
pub(super) fn answer(ask: &Ask, body: &[u8], world: World) -> Answer {
    let fails = ask.still_fails(world.repaired);
    match ask.behaviour {
        Behaviour::Down if !world.up => {
            let (status, message) = match ask.seen % 3 {
                0 => (503, "down for maintenance"),
                1 => (502, "the backend does not answer"),
                _ => (504, "the backend is too slow"),
            };
            Answer::refuse(status, message)
        }
        Behaviour::Invalid => match fault(body) {
            Some(fault) => Answer::refuse(422, fault),
            None => Answer::Accept,
        },
        Behaviour::Network if fails => Answer::Reset,
        Behaviour::RateLimited if fails => Answer::Refuse {
            status: 429,
            message: "too many requests".to_owned(),
            retry_after_seconds: Some(RETRY_AFTER_SECONDS),
        },
        Behaviour::Conflict if fails && ask.seen.is_multiple_of(2) => {
            Answer::refuse(423, "the row is locked by another transaction")
        }
        Behaviour::Conflict if fails => Answer::refuse(409, "changed by somebody else meanwhile"),
        Behaviour::NotFound if fails => Answer::refuse(404, "there is no such page"),
        Behaviour::Auth if fails => Answer::refuse(401, "the signing secret is not known"),
        Behaviour::Timeout if fails => Answer::Hang,
        Behaviour::Network
        | Behaviour::RateLimited
        | Behaviour::Conflict
        | Behaviour::Down
        | Behaviour::NotFound
        | Behaviour::Auth
        | Behaviour::Timeout => Answer::Accept,
    }
}

/// What is wrong with a delivery's data: it needs an `object` with an `id` in text, and where there
/// is an `amount` it is a whole number of cents.
fn fault(body: &[u8]) -> Option<&'static str> {
    let Ok(body) = serde_json::from_slice::<Value>(body) else {
        return Some("the body is no JSON");
    };
    let Some(object) = body.get("object").filter(|object| object.is_object()) else {
        return Some("object: is missing or no object");
    };
    if object
        .get("id")
        .and_then(Value::as_str)
        .is_none_or(str::is_empty)
    {
        return Some("object.id: is missing or no text");
    }
    match object.get("amount") {
        Some(amount) if amount.as_u64().is_none() => {
            Some("object.amount: is no whole number of cents")
        }
        Some(_) | None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BROKEN: World = World {
        up: false,
        repaired: false,
    };
    const UP: World = World {
        up: true,
        repaired: false,
    };
    const REPAIRED: World = World {
        up: true,
        repaired: true,
    };

    fn ask(path: &str, seen: u32) -> Ask {
        Ask::parse(path, seen).unwrap()
    }

    fn status(path: &str, seen: u32, world: World) -> u16 {
        match answer(&ask(path, seen), b"{}", world) {
            Answer::Accept => 200,
            Answer::Refuse { status, .. } => status,
            Answer::Reset => 1,
            Answer::Hang => 2,
        }
    }

    #[test]
    fn a_delivery_fails_as_often_as_its_path_says_and_is_then_accepted() {
        for (path, failures, failing) in [
            ("/network/2/h", 2, [1, 1]),
            ("/rate-limited/2/h", 2, [429, 429]),
            ("/conflict/2/h", 2, [423, 409]),
            ("/timeout/2/h", 2, [2, 2]),
        ] {
            let seen: Vec<u16> = (0..=failures)
                .map(|seen| status(path, seen, BROKEN))
                .collect();
            assert_eq!(seen, [&failing[..], &[200]].concat(), "{path}");
        }
    }

    #[test]
    fn what_fails_always_is_accepted_once_the_upstream_is_repaired() {
        for (path, failing) in [
            ("/network/always/h", 1),
            ("/not-found/always/h", 404),
            ("/auth/always/h", 401),
            ("/timeout/always/h", 2),
        ] {
            assert_eq!(status(path, 1_000, UP), failing, "{path}");
            assert_eq!(status(path, 1_001, REPAIRED), 200, "{path}");
        }
    }

    #[test]
    fn an_outage_ends_for_all_at_once_however_often_they_asked() {
        let codes: Vec<u16> = (0..3)
            .map(|seen| status("/down/-/h", seen, BROKEN))
            .collect();
        assert_eq!(codes, [503, 502, 504]);
        assert_eq!(status("/down/-/h", 0, UP), 200);
    }

    #[test]
    fn bad_data_is_refused_with_its_fault_even_by_a_repaired_upstream() {
        let ask = ask("/invalid/-/h", 0);
        for (body, fault) in [
            ("nothing", "no JSON"),
            ("{}", "object"),
            (r#"{"object":{"amount":1}}"#, "object.id"),
            (
                r#"{"object":{"id":"in_1","amount":"12,90"}}"#,
                "object.amount",
            ),
            (r#"{"object":{"id":"in_1","amount":-1}}"#, "object.amount"),
        ] {
            let Answer::Refuse {
                status, message, ..
            } = answer(&ask, body.as_bytes(), REPAIRED)
            else {
                panic!("{body} was accepted");
            };
            assert!(
                status == 422 && message.contains(fault),
                "{body}: {message}"
            );
        }
        let good = br#"{"object":{"id":"in_1","amount":1290}}"#;
        assert_eq!(answer(&ask, good, BROKEN), Answer::Accept);
    }

    #[test]
    fn a_429_says_when_to_come_back() {
        let answer = answer(&ask("/rate-limited/1/h", 0), b"", UP);
        assert!(matches!(
            answer,
            Answer::Refuse {
                status: 429,
                retry_after_seconds: Some(RETRY_AFTER_SECONDS),
                ..
            }
        ));
    }

    #[test]
    fn a_path_that_names_no_behaviour_is_no_delivery() {
        for path in [
            "/",
            "/settle",
            "/teapot/1/h",
            "/network/many/h",
            "/network/1",
            "x",
        ] {
            assert_eq!(Ask::parse(path, 0), None, "{path}");
        }
    }
}
