//! The filter language: comparisons joined by AND, for example
//! `kind = "mail.*" AND attempts >= 3`. Written down in `docs/protocol.md`, "Filters".
//!
//! Owns the grammar and the words of its refusals, which name the position, what was found and what
//! is allowed. Never looks at a task: the engine's [`Filter`] does.

mod parse;
mod token;

use crate::engine::filter::{Clause, Filter};
use crate::engine::ids::Timestamp;

pub(crate) use parse::parse;

/// A parsed filter, whose ages ("-1h") are still to be counted back from an instant.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Query {
    clauses: Vec<Timed>,
}

/// A comparison, and how many milliseconds before now its instant lies where it was given as an age.
#[derive(Clone, Debug, PartialEq)]
struct Timed {
    clause: Clause,
    age_ms: Option<u64>,
}

impl Query {
    /// Whether the filter speaks of ages.
    pub(crate) fn needs_clock(&self) -> bool {
        self.clauses.iter().any(|timed| timed.age_ms.is_some())
    }

    /// The filter as it is at this instant.
    pub(crate) fn at(self, now: Timestamp) -> Filter {
        Filter {
            clauses: self
                .clauses
                .into_iter()
                .map(|timed| timed.at(now))
                .collect(),
        }
    }
}

impl Timed {
    fn at(self, now: Timestamp) -> Clause {
        let Some(age_ms) = self.age_ms else {
            return self.clause;
        };
        let then = Timestamp(now.0.saturating_sub(age_ms));
        match self.clause {
            Clause::EnqueueTime(order, _) => Clause::EnqueueTime(order, then),
            Clause::EndTime(order, _) => Clause::EndTime(order, then),
            timeless @ (Clause::State(..)
            | Clause::Kind(..)
            | Clause::Priority(..)
            | Clause::Reason(..)
            | Clause::Class(..)
            | Clause::ErrorType(..)
            | Clause::Label(..)
            | Clause::OutcomeLabel(..)
            | Clause::Attempts(..)
            | Clause::Crashes(..)) => timeless,
        }
    }
}

/// Why a text is no filter. The text continues "the filter ...".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FilterError {
    /// It is too long.
    #[error("has {bytes} bytes, at most {max} are allowed")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// It has too many comparisons.
    #[error("has more than {0} comparisons")]
    TooMany(usize),
    /// Something else stands where something was expected.
    #[error("has {found} at character {at}, where {wanted} is expected")]
    Found {
        /// The position, from 1.
        at: usize,
        /// What stands there.
        found: String,
        /// What may stand there.
        wanted: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::failure::FailureClass;
    use crate::engine::filter::{Equality, Order};
    use crate::engine::ledger::task::{Finished, Outcome, Priority, State, TaskState};
    use crate::engine::retry::DeadReason;
    use crate::server::convert::view::tests::full_view;

    const NOW: Timestamp = Timestamp(1_000_000_000);

    fn clauses(text: &str) -> Vec<Clause> {
        parse(text)
            .unwrap_or_else(|error| panic!("{text}: {error}"))
            .at(NOW)
            .clauses
    }

    fn one(text: &str) -> Clause {
        let mut found = clauses(text);
        assert_eq!(found.len(), 1, "{text}");
        found.remove(0)
    }

    fn refused(text: &str) -> String {
        parse(text).expect_err(text).to_string()
    }

    #[test]
    fn nothing_matches_everything() {
        assert!(clauses("").is_empty());
        assert!(clauses(" \t\n ").is_empty());
    }

    #[test]
    fn every_field_has_its_comparison() {
        use Equality::{Is, IsNot};
        let cases = [
            ("state = DEAD", Clause::State(Is, TaskState::Dead)),
            ("state != ready", Clause::State(IsNot, TaskState::Ready)),
            ("kind = \"mail\"", Clause::Kind(Is, "mail".into())),
            ("kind != mail.*", Clause::Kind(IsNot, "mail.*".into())),
            (
                "priority = HIGHEST",
                Clause::Priority(Is, Priority::Highest),
            ),
            ("reason = RULE", Clause::Reason(Is, DeadReason::Rule)),
            (
                "class = RATE_LIMITED",
                Clause::Class(Is, FailureClass::RateLimited),
            ),
            (
                "error_type = \"py:*\"",
                Clause::ErrorType(Is, "py:*".into()),
            ),
            (
                "labels.team-a.x != \"b c\"",
                Clause::Label(IsNot, "team-a.x".into(), "b c".into()),
            ),
            (
                "outcome_label = insufficient_*",
                Clause::OutcomeLabel(Is, "insufficient_*".into()),
            ),
            ("attempts >= 3", Clause::Attempts(Order::AtLeast, 3)),
            ("crashes = 0", Clause::Crashes(Order::Equal, 0)),
            (
                "enqueue_time < -1h",
                Clause::EnqueueTime(Order::Less, Timestamp(996_400_000)),
            ),
            (
                "end_time > \"1970-01-02T00:00:00Z\"",
                Clause::EndTime(Order::Greater, Timestamp(86_400_000)),
            ),
        ];
        for (text, clause) in cases {
            assert_eq!(one(text), clause, "{text}");
        }
    }

    #[test]
    fn every_order_can_be_said() {
        let orders = [
            ("<", Order::Less),
            ("<=", Order::AtMost),
            ("=", Order::Equal),
            ("!=", Order::NotEqual),
            (">=", Order::AtLeast),
            (">", Order::Greater),
        ];
        for (sign, order) in orders {
            assert_eq!(one(&format!("attempts{sign}7")), Clause::Attempts(order, 7));
        }
    }

    #[test]
    fn every_state_class_reason_and_priority_can_be_named_in_any_case() {
        for class in FailureClass::ALL {
            let text = format!("class = {}", class.name().to_lowercase());
            assert_eq!(one(&text), Clause::Class(Equality::Is, class));
        }
        for reason in DeadReason::ALL {
            let text = format!("reason = \"{}\"", reason.name());
            assert_eq!(one(&text), Clause::Reason(Equality::Is, reason));
        }
        let routed = TaskState::Finished(Outcome::Routed);
        for state in [
            TaskState::Scheduled,
            TaskState::Running,
            TaskState::Retrying,
            routed,
        ] {
            let text = format!("state = {}", state.name());
            assert_eq!(one(&text), Clause::State(Equality::Is, state));
        }
        for name in ["LOWEST", "LOW", "NORMAL", "HIGH", "HIGHEST"] {
            assert!(matches!(
                one(&format!("priority = {name}")),
                Clause::Priority(..)
            ));
        }
    }

    #[test]
    fn comparisons_are_joined_by_and_however_it_is_written() {
        assert_eq!(clauses("kind=a AND attempts>1 and state=DEAD").len(), 3);
    }

    #[test]
    fn a_quoted_text_may_hold_anything() {
        let kind = |text: &str| Clause::Kind(Equality::Is, text.into());
        assert_eq!(
            one(r#"kind = "a \"b\" \\ AND = c""#),
            kind(r#"a "b" \ AND = c"#)
        );
        assert_eq!(one("kind = \"größe\""), kind("größe"));
    }

    #[test]
    fn ages_count_back_from_now_in_every_unit() {
        let ages = [
            ("-90s", 90_000),
            ("-15m", 900_000),
            ("-2h", 7_200_000),
            ("-3d", 259_200_000),
        ];
        for (text, ms) in ages {
            let query = parse(&format!("end_time >= {text}")).unwrap();
            assert!(query.needs_clock());
            let then = Timestamp(NOW.0 - ms);
            assert_eq!(
                query.at(NOW).clauses,
                [Clause::EndTime(Order::AtLeast, then)]
            );
        }
        let query = parse("end_time > -99999999d").unwrap();
        assert_eq!(
            query.at(NOW).clauses,
            [Clause::EndTime(Order::Greater, Timestamp(0))]
        );
        assert!(
            !parse("enqueue_time > 2026-01-01T00:00:00+02:00")
                .unwrap()
                .needs_clock()
        );
    }

    #[test]
    fn a_refusal_names_the_place_what_stands_there_and_what_may() {
        let cases = [
            (
                "kinds = a",
                "\"kinds\" at character 1, where one of the fields state, kind, priority",
            ),
            ("kind", "nothing at character 5, where = or != is expected"),
            ("kind =", "nothing at character 7, where a value"),
            ("kind > a", "> at character 6, where = or != is expected"),
            ("attempts ! 3", "\"!\" at character 10"),
            (
                "attempts = x",
                "\"x\" at character 12, where a number from 0 to 4294967295",
            ),
            ("attempts = -1", "\"-1\" at character 12"),
            ("attempts = 99999999999", "\"99999999999\" at character 12"),
            (
                "state = DED",
                "\"DED\" at character 9, where one of SCHEDULED, READY, LEASED",
            ),
            ("class = FOO", "where one of NETWORK, RATE_LIMITED"),
            ("reason = FOO", "where one of ATTEMPTS_EXHAUSTED"),
            (
                "priority = FOO",
                "where one of HIGHEST, HIGH, NORMAL, LOW, LOWEST",
            ),
            (
                "end_time > yesterday",
                "where an instant such as \"2026-01-31T12:00:00Z\", or an age",
            ),
            ("end_time > -1w", "\"-1w\" at character 12"),
            ("end_time > -h", "\"-h\" at character 12"),
            (
                "kind = a OR kind = b",
                "\"OR\" at character 10, where AND or the end is expected",
            ),
            ("kind = a kind = b", "\"kind\" at character 10, where AND"),
            (
                "kind = a AND",
                "nothing at character 13, where one of the fields",
            ),
            (
                "AND kind = a",
                "\"AND\" at character 1, where one of the fields",
            ),
            ("(kind = a)", "\"(\" at character 1"),
            ("kind == a", "= at character 7, where a value"),
            (
                "kind = \"a",
                "an unfinished text at character 8, where a closing quote",
            ),
            (
                "kind = \"a\\n\"",
                "\"n\" at character 11, where \\\" or \\\\ is expected",
            ),
            (
                "labels = a",
                "\"labels\" at character 1, where labels. and a key",
            ),
            (
                "labels. = a",
                "\"labels.\" at character 1, where labels. and a key",
            ),
            ("labels.a/b = c", "\"/\" at character 9"),
            ("größe = a", "\"gr\" at character 1"),
        ];
        for (text, says) in cases {
            let refusal = refused(text);
            assert!(refusal.contains(says), "{text}: {refusal}");
        }
    }

    #[test]
    fn positions_count_characters_not_bytes() {
        assert!(refused("kind = \"äöü\" x").contains("\"x\" at character 14"));
    }

    #[test]
    fn length_and_number_of_comparisons_are_bounded() {
        let long = format!("kind = \"{}\"", "x".repeat(2040));
        assert_eq!(refused(&long), "has 2049 bytes, at most 2048 are allowed");
        let many = vec!["attempts > 1"; 17].join(" AND ");
        assert_eq!(refused(&many), "has more than 16 comparisons");
        assert_eq!(clauses(&vec!["attempts > 1"; 16].join(" AND ")).len(), 16);
    }

    #[test]
    fn an_outcome_label_matches_whole_by_prefix_or_not_at_all() {
        let ended = |label: Option<&str>| {
            let finished = Finished {
                outcome: Outcome::Succeeded,
                at: Timestamp(5),
                result: None,
                label: label.map(Into::into),
                expires_at: None,
            };
            full_view(State::Finished(Box::new(finished))).task
        };
        let matches = |text: &str, task| parse(text).unwrap().at(NOW).matches(&task, NOW);
        let short = || ended(Some("insufficient_funds"));
        assert!(matches("outcome_label = insufficient_funds", short()));
        assert!(matches("outcome_label = \"insufficient*\"", short()));
        assert!(!matches("outcome_label = fine", short()));
        assert!(!matches("outcome_label = fine", ended(None)));
        assert!(matches("outcome_label != fine", ended(None)));
        assert!(refused("outcome_label > a").contains("= or !="));
    }
}
