//! The border between the wire and the engine: protos are parsed into the engine's types, and the
//! engine's answers are said in protos.
//!
//! Owns every rule that one message can break by itself: names, sizes, ranges, enum numbers,
//! durations. What comes out of here is well formed, so the engine checks none of it again. Never
//! asks the engine and never decides what depends on state.
//!
//! A refusal is an [`InvalidRequest`]: the full path of the field, what is wrong with it, and what
//! would be right. It never repeats more than a few characters of what was sent, and no payload.

pub(crate) mod beat;
pub(crate) mod change;
pub(crate) mod delivery;
pub(crate) mod failure;
pub(crate) mod field;
pub(crate) mod keys;
pub(crate) mod kind;
pub(crate) mod page;
pub(crate) mod policy;
pub(crate) mod policy_view;
pub(crate) mod queue;
pub(crate) mod report;
pub(crate) mod request;
pub(crate) mod task;
pub(crate) mod terms;
pub(crate) mod view;
pub(crate) mod worker;

pub(crate) use field::{At, InvalidRequest, Parsed};
