//! A promise that was not kept, by whatever rules.
//!
//! Owns how it is told. The rules are the judges': of histories ([`crate::history::check`]), and of a
//! simulated world ([`crate::model`]).

use std::fmt;

/// A promise that was not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation<Rule> {
    /// Which.
    pub rule: Rule,
    /// How.
    pub says: String,
}

impl<Rule: fmt::Debug> fmt::Display for Violation<Rule> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.rule, self.says)
    }
}
