//! What a history is made of, for people.
//!
//! Pure; never judges.

use std::collections::BTreeMap;

use super::{Answer, Cancelled, Enqueued, Entry, Fact, Follows, Origin};

/// How many entries of each sort.
#[must_use]
pub fn summary(entries: &[Entry]) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for entry in entries {
        let sort = match &entry.fact {
            Fact::EnqueueInvoked { .. } => "enqueues",
            Fact::EnqueueEnded { outcome, .. } => match outcome {
                Enqueued::Accepted(_) => "accepted",
                Enqueued::Refused => "refused",
                Enqueued::Unknown => "unknown",
            },
            Fact::Delivered(_) => "deliveries",
            Fact::ReportInvoked(_) => "reports",
            Fact::ReportEnded { answer, .. } => match answer {
                Answer::Recorded => "reports recorded",
                Answer::Duplicate => "reports duplicate",
                Answer::Superseded => "reports superseded",
                Answer::Gone => "reports gone",
                Answer::Invalid => "reports invalid",
                Answer::Unknown => "reports unanswered",
            },
            Fact::Abandoned { .. } => "runs abandoned",
            Fact::Trouble { .. } => "troubles",
            Fact::CancelInvoked { .. } => "cancels",
            Fact::CancelEnded { answer, .. } => match answer {
                Cancelled::Over { .. } => "cancels over",
                Cancelled::Asked { .. } => "cancels asked",
                Cancelled::Refused => "cancels refused",
                Cancelled::Unknown => "cancels unanswered",
            },
            Fact::RedriveInvoked { .. } => "redrives",
            Fact::RedriveEnded { done, .. } => match done {
                Some(true) => "redrives done",
                Some(false) => "redrives refused",
                None => "redrives unanswered",
            },
            Fact::Paused { .. } => "pauses",
            Fact::Resuming { .. } => "resumes",
            Fact::Found(found) => match &found.origin {
                Origin::Sent(_) => "tasks found",
                Origin::Made(made) => match made.follows {
                    Follows::Success => "follow-ups of successes found",
                    Follows::Failure => "follow-ups of failures found",
                    Follows::Exhausted => "follow-ups of deaths found",
                    Follows::Cancelled => "follow-ups of cancels found",
                    Follows::Link => "links found",
                },
            },
            Fact::Counted(_) => "queues counted",
        };
        *counts.entry(sort).or_default() += 1;
    }
    counts
}
