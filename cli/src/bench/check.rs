//! The self-check: was every task that was enqueued done exactly once, counted by its id?
//!
//! Pure. Ids are kept as numbers, 16 bytes each, so that millions fit.

use anyhow::Context as _;

/// A task that a worker has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Done {
    /// Its id.
    pub(crate) id: u128,
    /// When the handler began, in nanoseconds of the bench's clock.
    pub(crate) started: u64,
    /// When the coordinator said that the completion is recorded.
    pub(crate) recorded: u64,
}

/// What was counted, and what was wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SelfCheck {
    /// Tasks that the coordinator accepted.
    pub(crate) enqueued: u64,
    /// Tasks that workers did, each time counted.
    pub(crate) done: u64,
    /// What does not fit. Empty: all is well.
    pub(crate) problems: Vec<String>,
}

impl SelfCheck {
    /// True where nothing was wrong.
    pub(crate) fn ok(&self) -> bool {
        self.problems.is_empty()
    }

    /// Adds what another check found.
    pub(crate) fn add(&mut self, other: Self) {
        self.enqueued += other.enqueued;
        self.done += other.done;
        self.problems.extend(other.problems);
    }

    /// Notes a problem where two counts differ.
    pub(crate) fn same(&mut self, what: &str, found: u64, wanted: u64) {
        if found != wanted {
            self.problems
                .push(format!("{what}: {found} instead of {wanted}"));
        }
    }
}

/// Whether all of a set of tasks was to be done, or any part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Share {
    /// Every task, once.
    All,
    /// No task more than once.
    Part,
}

/// Compares the ids that were answered to producers with those that workers completed.
pub(crate) fn compare(enqueued: &[u128], done: &[Done], share: Share) -> SelfCheck {
    let mut check = SelfCheck {
        enqueued: count(enqueued.len()),
        done: count(done.len()),
        problems: Vec::new(),
    };
    let mut accepted = enqueued.to_vec();
    accepted.sort_unstable();
    let given_twice = drop_repeats(&mut accepted);
    let mut completed: Vec<u128> = done.iter().map(|done| done.id).collect();
    completed.sort_unstable();
    let done_again = drop_repeats(&mut completed);
    let missing = outside(&accepted, &completed);
    let unknown = outside(&completed, &accepted);
    let mut tell = |ids: &[u128], what: &str| {
        if let Some(first) = ids.first() {
            let text = format!("{} {what}, the first is {}", ids.len(), id_text(*first));
            check.problems.push(text);
        }
    };
    tell(&given_twice, "ids were given to more than one task");
    tell(
        &done_again,
        "times a task was done that had been done before",
    );
    tell(&unknown, "tasks were done that nobody enqueued");
    if share == Share::All {
        tell(&missing, "tasks were never done");
    }
    check
}

/// A number of things as it is counted here.
pub(crate) fn count(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// Takes all but the first of equal neighbours out, and answers them.
fn drop_repeats(sorted: &mut Vec<u128>) -> Vec<u128> {
    let pairs = sorted.iter().zip(sorted.iter().skip(1));
    let repeats = pairs
        .filter(|(left, right)| left == right)
        .map(|(_, right)| *right)
        .collect();
    sorted.dedup();
    repeats
}

/// What is in one sorted list and not in the other.
fn outside(these: &[u128], others: &[u128]) -> Vec<u128> {
    let mut others = others.iter().peekable();
    let missing = |id: &&u128| {
        while others.next_if(|other| other < id).is_some() {}
        others.next_if(|other| other == id).is_none()
    };
    these.iter().filter(missing).copied().collect()
}

/// A task id as a number.
///
/// # Errors
/// Where it is no UUID.
pub(crate) fn id(text: &str) -> anyhow::Result<u128> {
    let mut number = 0_u128;
    let mut digits = 0_u32;
    for byte in text.bytes().filter(|byte| *byte != b'-') {
        let digit = char::from(byte).to_digit(16);
        let digit = digit.with_context(|| format!("{text:?} is no task id"))?;
        number = number << 4 | u128::from(digit);
        digits += 1;
    }
    anyhow::ensure!(digits == 32, "{text:?} is no task id");
    Ok(number)
}

/// A task id as it is written.
pub(crate) fn id_text(id: u128) -> String {
    let hex = format!("{id:032x}");
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32];
    parts
        .map(|part| hex.get(part).unwrap_or_default().to_owned())
        .join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(ids: &[u128]) -> Vec<Done> {
        let done = |&id| Done {
            id,
            started: 0,
            recorded: 0,
        };
        ids.iter().map(done).collect()
    }

    #[test]
    fn tasks_that_were_all_done_once_in_any_order_are_well() {
        let check = compare(&[3, 1, 2], &done(&[2, 3, 1]), Share::All);
        assert!(check.ok(), "{check:?}");
        assert_eq!((check.enqueued, check.done), (3, 3));
    }

    #[test]
    fn whatever_does_not_fit_is_told_with_its_count_and_an_id() {
        let check = compare(&[1, 2, 3, 4, 4], &done(&[1, 1, 1, 2, 9]), Share::All);
        let told = check.problems.join("\n");
        for part in [
            "1 ids were given",
            "2 times a task was done that had been done before, the first is 00000000-0000-0000",
            "1 tasks were done that nobody enqueued",
            "2 tasks were never done, the first is 00000000-0000-0000-0000-000000000003",
        ] {
            assert!(told.contains(part), "{told}");
        }
    }

    #[test]
    fn a_part_may_leave_tasks_undone_but_do_none_twice() {
        assert!(compare(&[1, 2, 3], &done(&[2]), Share::Part).ok());
        assert!(!compare(&[1, 2, 3], &done(&[2, 2]), Share::Part).ok());
        assert!(!compare(&[1, 2, 3], &done(&[4]), Share::Part).ok());
    }

    #[test]
    fn ids_are_read_as_they_are_written() {
        let text = "01890a5d-ac96-774b-bcce-b302099a8057";
        assert_eq!(id_text(id(text).unwrap()), text);
        for wrong in ["", "01890a5d", "z1890a5d-ac96-774b-bcce-b302099a8057"] {
            assert!(id(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn counts_that_differ_are_a_problem() {
        let mut check = SelfCheck::default();
        check.same("ready", 2, 2);
        assert!(check.ok());
        check.same("ready", 1, 2);
        assert_eq!(check.problems, ["ready: 1 instead of 2"]);
    }
}
