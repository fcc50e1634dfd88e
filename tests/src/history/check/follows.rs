//! The tasks that ends make: those that were asked for, each once for each end, and no others.
//!
//! Owns the rules about follow-ups and chains, judged by what is found after the end of all work.
//! Pure. Takes it that every death before a redrive was one by a spent budget: a history tells of
//! the last death alone, and no load of ours dies otherwise.

use std::collections::BTreeMap;

use super::{
    Rule, Wrong,
    book::{Book, made},
};
use crate::history::{Asks, Follows, Found, Stands};

/// All that a task can be to another.
const ALL: [Follows; 5] = [
    Follows::Success,
    Follows::Failure,
    Follows::Exhausted,
    Follows::Cancelled,
    Follows::Link,
];

pub(super) fn check(book: &Book<'_>, wrong: &mut Wrong) {
    let mut made_by: BTreeMap<(&str, Follows), Vec<&str>> = BTreeMap::new();
    for (task_id, task) in &book.tasks {
        if let Some(made) = task.origin().and_then(made) {
            let all = made_by.entry((&*made.by, made.follows)).or_default();
            all.push(task_id);
        }
    }
    for (task_id, task) in &book.tasks {
        let Some(found) = task.found.first() else {
            continue;
        };
        let Some(asks) = book.asks(&found.origin) else {
            let says = format!("task {task_id} goes on a chain that nobody asked for");
            wrong.add(Rule::FollowUps, says);
            continue;
        };
        for follows in ALL {
            let there = made_by.remove(&(*task_id, follows)).unwrap_or_default();
            let expected = expected(found, asks, follows);
            if there.len() != expected {
                let says = format!(
                    "task {task_id} is {:?} after {} redrives: {expected} tasks must follow as \
                     {follows:?}, there are {there:?}",
                    found.stands,
                    found.redriven_ms.len()
                );
                wrong.add(Rule::FollowUps, says);
            }
        }
    }
}

/// How many of a sort must be there.
fn expected(found: &Found, asks: Asks, follows: Follows) -> usize {
    let succeeded = found.stands == Stands::Succeeded;
    let asked_and_so = match follows {
        Follows::Link => asks.links > 0 && succeeded,
        Follows::Success => asks.on_success && asks.links == 0 && succeeded,
        Follows::Cancelled => asks.on_cancelled && found.stands == Stands::Cancelled,
        Follows::Failure => false,
        Follows::Exhausted => {
            let dead = found.stands == Stands::Dead && found.spent;
            let deaths = found.redriven_ms.len() + usize::from(dead);
            return if asks.on_exhausted { deaths } else { 0 };
        }
    };
    usize::from(asked_and_so)
}
