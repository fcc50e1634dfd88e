//! From tokens to comparisons. Never compares anything: the engine does.

use std::str::FromStr as _;
use std::sync::Arc;

use super::token::{Token, TokenKind, Tokens};
use super::{FilterError, Query, Timed};
use crate::engine::failure::FailureClass;
use crate::engine::filter::{Clause, Equality, Order};
use crate::engine::ids::{Timestamp, check_name};
use crate::engine::ledger::task::{Outcome, Priority, TaskState};
use crate::engine::limits;
use crate::engine::retry::DeadReason;
use crate::server::convert::field::{At, instant, quoted};

const FIELDS: &str = "state, kind, priority, reason, class, error_type, labels.KEY, \
                      outcome_label, attempts, crashes, enqueue_time, end_time";
const AND: &str = "AND";

const STATES: [TaskState; 11] = [
    TaskState::Scheduled,
    TaskState::Ready,
    TaskState::Leased,
    TaskState::Running,
    TaskState::Retrying,
    TaskState::Dead,
    TaskState::Finished(Outcome::Succeeded),
    TaskState::Finished(Outcome::Failed),
    TaskState::Finished(Outcome::Cancelled),
    TaskState::Finished(Outcome::Discarded),
    TaskState::Finished(Outcome::Routed),
];

const PRIORITIES: [(Priority, &str); 5] = [
    (Priority::Highest, "HIGHEST"),
    (Priority::High, "HIGH"),
    (Priority::Normal, "NORMAL"),
    (Priority::Low, "LOW"),
    (Priority::Lowest, "LOWEST"),
];

/// What a comparison speaks of.
enum Field {
    State,
    Kind,
    Priority,
    Reason,
    Class,
    ErrorType,
    Label(Arc<str>),
    OutcomeLabel,
    Attempts,
    Crashes,
    EnqueueTime,
    EndTime,
}

/// Parses a filter; empty matches everything.
pub(crate) fn parse(text: &str) -> Result<Query, FilterError> {
    if text.len() > limits::FILTER_BYTES_MAX {
        let max = limits::FILTER_BYTES_MAX;
        return Err(FilterError::TooLong {
            bytes: text.len(),
            max,
        });
    }
    let mut tokens = Tokens::new(text);
    let mut token = tokens.next()?;
    let mut clauses = Vec::new();
    if token.kind == TokenKind::End {
        return Ok(Query { clauses });
    }
    loop {
        if clauses.len() == limits::FILTER_CLAUSES_MAX {
            return Err(FilterError::TooMany(limits::FILTER_CLAUSES_MAX));
        }
        clauses.push(comparison(token, &mut tokens)?);
        let joint = tokens.next()?;
        match &joint.kind {
            TokenKind::End => return Ok(Query { clauses }),
            TokenKind::Word(word) if word.eq_ignore_ascii_case(AND) => token = tokens.next()?,
            TokenKind::Word(_) | TokenKind::Text(_) | TokenKind::Sign(_) => {
                return Err(found(&joint, "AND or the end"));
            }
        }
    }
}

fn found(token: &Token, wanted: impl Into<String>) -> FilterError {
    FilterError::Found {
        at: token.at,
        found: token.kind.shown(),
        wanted: wanted.into(),
    }
}

fn comparison(first: Token, tokens: &mut Tokens<'_>) -> Result<Timed, FilterError> {
    let field = field(&first)?;
    let sign = tokens.next()?;
    let order = match sign.kind {
        TokenKind::Sign(order) => Some(order),
        TokenKind::Word(_) | TokenKind::Text(_) | TokenKind::End => None,
    };
    let equality = || match order {
        Some(Order::Equal) => Ok(Equality::Is),
        Some(Order::NotEqual) => Ok(Equality::IsNot),
        Some(Order::Less | Order::AtMost | Order::AtLeast | Order::Greater) | None => {
            Err(found(&sign, "= or !="))
        }
    };
    let any_order = || order.ok_or_else(|| found(&sign, "one of = != < <= > >="));
    let clause = match field {
        Field::State => {
            let equality = equality()?;
            Clause::State(
                equality,
                named(tokens, &STATES.map(|state| (state, state.name())))?,
            )
        }
        Field::Kind => Clause::Kind(equality()?, value(tokens)?.1.into()),
        Field::Priority => Clause::Priority(equality()?, named(tokens, &PRIORITIES)?),
        Field::Reason => {
            let equality = equality()?;
            let all = DeadReason::ALL.map(|reason| (reason, reason.name()));
            Clause::Reason(equality, named(tokens, &all)?)
        }
        Field::Class => {
            let equality = equality()?;
            let all = FailureClass::ALL.map(|class| (class, class.name()));
            Clause::Class(equality, named(tokens, &all)?)
        }
        Field::ErrorType => Clause::ErrorType(equality()?, value(tokens)?.1.into()),
        Field::Label(key) => Clause::Label(equality()?, key, value(tokens)?.1.into()),
        Field::OutcomeLabel => Clause::OutcomeLabel(equality()?, value(tokens)?.1.into()),
        Field::Attempts => Clause::Attempts(any_order()?, number(tokens)?),
        Field::Crashes => Clause::Crashes(any_order()?, number(tokens)?),
        Field::EnqueueTime => {
            let order = any_order()?;
            return Ok(when(tokens)?.into_clause(|at| Clause::EnqueueTime(order, at)));
        }
        Field::EndTime => {
            let order = any_order()?;
            return Ok(when(tokens)?.into_clause(|at| Clause::EndTime(order, at)));
        }
    };
    Ok(Timed {
        clause,
        age_ms: None,
    })
}

fn field(token: &Token) -> Result<Field, FilterError> {
    let wanted = || found(token, format!("one of the fields {FIELDS}"));
    let word = match &token.kind {
        TokenKind::Word(word) => word.as_str(),
        TokenKind::Text(_) | TokenKind::Sign(_) | TokenKind::End => return Err(wanted()),
    };
    Ok(match word {
        "state" => Field::State,
        "kind" => Field::Kind,
        "priority" => Field::Priority,
        "reason" => Field::Reason,
        "class" => Field::Class,
        "error_type" => Field::ErrorType,
        "outcome_label" => Field::OutcomeLabel,
        "attempts" => Field::Attempts,
        "crashes" => Field::Crashes,
        "enqueue_time" => Field::EnqueueTime,
        "end_time" => Field::EndTime,
        _ => {
            let Some(key) = word.strip_prefix("labels") else {
                return Err(wanted());
            };
            let key = key.strip_prefix('.').filter(|key| check_name(key).is_ok());
            let key = key.ok_or_else(|| found(token, "labels. and a key, such as labels.team,"));
            Field::Label(key?.into())
        }
    })
}

/// A value, quoted or not, and its token's position.
fn value(tokens: &mut Tokens<'_>) -> Result<(usize, String), FilterError> {
    let token = tokens.next()?;
    match token.kind {
        TokenKind::Word(text) | TokenKind::Text(text) => Ok((token.at, text)),
        TokenKind::Sign(_) | TokenKind::End => Err(found(&token, "a value")),
    }
}

fn misfit(at: usize, text: &str, wanted: impl Into<String>) -> FilterError {
    FilterError::Found {
        at,
        found: quoted(text),
        wanted: wanted.into(),
    }
}

/// One of these names, in any case.
fn named<T: Copy>(tokens: &mut Tokens<'_>, all: &[(T, &'static str)]) -> Result<T, FilterError> {
    let (at, text) = value(tokens)?;
    let hit = all
        .iter()
        .find(|(_, name)| name.eq_ignore_ascii_case(&text));
    hit.map(|(value, _)| *value).ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(|(_, name)| *name).collect();
        misfit(at, &text, format!("one of {}", names.join(", ")))
    })
}

fn number(tokens: &mut Tokens<'_>) -> Result<u32, FilterError> {
    let (at, text) = value(tokens)?;
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = if digits { text.parse().ok() } else { None };
    number.ok_or_else(|| misfit(at, &text, format!("a number from 0 to {}", u32::MAX)))
}

/// An instant, or how long ago it was.
enum When {
    At(Timestamp),
    Ago(u64),
}

impl When {
    fn into_clause(self, clause: impl FnOnce(Timestamp) -> Clause) -> Timed {
        match self {
            Self::At(at) => Timed {
                clause: clause(at),
                age_ms: None,
            },
            Self::Ago(ms) => Timed {
                clause: clause(Timestamp(0)),
                age_ms: Some(ms),
            },
        }
    }
}

fn when(tokens: &mut Tokens<'_>) -> Result<When, FilterError> {
    let (at, text) = value(tokens)?;
    let parsed = match text.strip_prefix('-') {
        Some(age) => age_ms(age).map(When::Ago),
        None => prost_types::Timestamp::from_str(&text)
            .ok()
            .and_then(|stamp| instant(&stamp, At::Root).ok())
            .map(When::At),
    };
    parsed.ok_or_else(|| {
        misfit(
            at,
            &text,
            "an instant such as \"2026-01-31T12:00:00Z\", or an age such as -90s, -15m, -2h or -7d,",
        )
    })
}

fn age_ms(text: &str) -> Option<u64> {
    let (unit, unit_ms) = [
        ('s', 1000),
        ('m', 60_000),
        ('h', 3_600_000),
        ('d', 86_400_000),
    ]
    .into_iter()
    .find(|(unit, _)| text.ends_with(*unit))?;
    let digits = text.strip_suffix(unit)?;
    let count: u64 = if digits.bytes().all(|b| b.is_ascii_digit()) {
        digits.parse().ok()?
    } else {
        return None;
    };
    Some(count.saturating_mul(unit_ms))
}
