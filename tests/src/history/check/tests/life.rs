//! What became of whole lives: follow-ups, chains, keys, cancels, redrives, pauses. A good history of
//! all of these, and for each promise one that breaks it.

use super::made::{Made, counted_of, delivered, found, marker, run};
use super::*;
use crate::history::{Asks, Cancelled, Follows, Made as MadeBy, Origin, Reported};

const FAIL: Option<Says> = Some(Says::Fail);
const DONE: Option<Says> = Some(Says::Complete);
const BACK: Option<Says> = Some(Says::Release);

/// A task that the end of another one made, with what its payload tells.
fn origin(by: &str, follows: Follows) -> Origin {
    let told = (follows != Follows::Link).then(|| (by.to_owned(), follows));
    Origin::Made(MadeBy {
        by: by.to_owned(),
        follows,
        told,
    })
}

fn asks(change: impl FnOnce(&mut Asks)) -> Asks {
    let mut asks = Asks::default();
    change(&mut asks);
    asks
}

/// A task that was accepted with these wishes.
fn accept(made: &mut Made, task_id: &str, asks: Asks) {
    made.asked(task_id, asks);
    made.ended(task_id, Enqueued::Accepted(task_id.to_owned()));
}

/// A task made by an end, that was run once and is done. A link's payload is the result before it.
fn follow(made: &mut Made, task_id: &str, by: &str, follows: Follows) -> Found {
    let digest = if follows == Follows::Link { 5 } else { 9 };
    let origin = origin(by, follows);
    made.add(Fact::Delivered(Delivered {
        origin: origin.clone(),
        digest,
        ..delivered(task_id, 1, 1)
    }));
    made.reported((task_id, 1, Says::Complete), Answer::Recorded);
    Found {
        origin,
        digest,
        ..found(task_id, Stands::Succeeded, vec![run(1, 1, DONE)])
    }
}

/// "s" has a key, is sent again after an answer that was lost, and succeeds: "s1" follows.
fn keyed(made: &mut Made) -> Vec<Found> {
    let wishes = asks(|asks| (asks.keyed, asks.on_success) = (true, true));
    made.asked("s", wishes).ended("s", Enqueued::Unknown);
    accept(made, "s", wishes);
    accept(made, "s", wishes);
    made.delivered("s", 1, 1);
    made.reported(("s", 1, Says::Complete), Answer::Recorded);
    let done = found("s", Stands::Succeeded, vec![run(1, 1, DONE)]);
    vec![done, follow(made, "s1", "s", Follows::Success)]
}

/// "x" dies, is redriven and dies again: "x1" and "x2" follow.
fn redriven(made: &mut Made) -> Vec<Found> {
    accept(made, "x", asks(|asks| asks.on_exhausted = true));
    made.delivered("x", 1, 1);
    made.reported(("x", 1, Says::Fail), Answer::Recorded);
    let task_id = || "x".to_owned();
    made.add(Fact::RedriveInvoked { task_id: task_id() });
    made.add(Fact::RedriveEnded {
        task_id: task_id(),
        done: Some(true),
    });
    made.delivered("x", 2, 1);
    made.reported(("x", 2, Says::Fail), Answer::Recorded);
    let dead = Found {
        failures: 1,
        redriven_ms: vec![6700],
        ..found("x", Stands::Dead, vec![run(1, 1, FAIL), run(2, 1, FAIL)])
    };
    vec![
        dead,
        follow(made, "x1", "x", Follows::Exhausted),
        follow(made, "x2", "x", Follows::Exhausted),
    ]
}

/// "c" fails, and is cancelled while it waits: "c1" follows. "h" is held, asked to stop, and says
/// that it failed.
fn cancelled(made: &mut Made) -> Vec<Found> {
    accept(made, "c", asks(|asks| asks.on_cancelled = true));
    made.delivered("c", 1, 1);
    made.reported(("c", 1, Says::Fail), Answer::Recorded);
    made.cancelled("c", Cancelled::Over { runs: 1 });
    accept(made, "h", Asks::default());
    made.delivered("h", 1, 1);
    made.cancelled("h", Cancelled::Asked { runs: 1 });
    made.reported(("h", 1, Says::Fail), Answer::Recorded);
    let mut stopped = run(1, 1, None);
    stopped.end = RunEnd::Cancelled;
    vec![
        found("c", Stands::Cancelled, vec![run(1, 1, FAIL)]),
        follow(made, "c1", "c", Follows::Cancelled),
        found("h", Stands::Cancelled, vec![stopped]),
    ]
}

/// "l" is a chain of two: "l1" goes on with its result, and "l2" follows the end of both.
fn chained(made: &mut Made) -> Vec<Found> {
    accept(
        made,
        "l",
        asks(|asks| (asks.links, asks.on_success) = (1, true)),
    );
    made.delivered("l", 1, 1);
    made.reported(("l", 1, Says::Complete), Answer::Recorded);
    vec![
        found("l", Stands::Succeeded, vec![run(1, 1, DONE)]),
        follow(made, "l1", "l", Follows::Link),
        follow(made, "l2", "l1", Follows::Success),
    ]
}

/// "o" is given back, then lost and dead. "p" never arrived the first time.
fn once(made: &mut Made) -> Vec<Found> {
    for task_id in ["o", "p"] {
        accept(made, task_id, asks(|asks| asks.at_most_once = true));
    }
    made.delivered("o", 1, 1);
    made.reported(("o", 1, Says::Release), Answer::Unknown);
    made.delivered("o", 2, 1).delivered("p", 2, 1);
    made.reported(("p", 2, Says::Complete), Answer::Recorded);
    vec![
        found("o", Stands::Dead, vec![run(1, 1, BACK), run(2, 1, None)]),
        found(
            "p",
            Stands::Succeeded,
            vec![run(1, 1, BACK), run(2, 1, DONE)],
        ),
    ]
}

fn life() -> (Made, Vec<Found>) {
    let mut made = Made::default();
    let mut ends = keyed(&mut made);
    ends.extend(redriven(&mut made));
    ends.extend(cancelled(&mut made));
    ends.extend(chained(&mut made));
    ends.extend(once(&mut made));
    // First runs are leased at 6,000, second ones at 7,000.
    let queue = || "q".to_owned();
    for (from_ms, until_ms) in [(6000, 7000), (7000, 7001)] {
        made.add(Fact::Paused {
            queue: queue(),
            at_ms: from_ms,
        });
        made.add(Fact::Resuming {
            queue: queue(),
            at_ms: until_ms,
        });
    }
    (made, ends)
}

fn whole((mut made, ends): (Made, Vec<Found>)) -> Made {
    let counted = counted_of(&ends);
    for found in ends {
        made.found(found);
    }
    made.add(Fact::Counted(counted));
    made
}

/// The life with a change breaks this rule, and no other.
#[track_caller]
fn assert_life_breaks(change: impl FnOnce(&mut Made, &mut Vec<Found>), rule: Rule, says: &str) {
    let (mut made, mut ends) = life();
    change(&mut made, &mut ends);
    assert_breaks(&whole((made, ends)), Drained::Yes, rule, says);
}

fn of<'a>(ends: &'a mut [Found], task_id: &str) -> &'a mut Found {
    let mut ends = ends.iter_mut();
    ends.find(|found| found.task_id == task_id).unwrap()
}

/// Nobody saw a task, in the end or before.
fn forget(made: &mut Made, ends: &mut Vec<Found>, task_id: &str) {
    ends.retain(|found| found.task_id != task_id);
    let about = |report: &Reported| report.task_id == task_id;
    made.0.retain(|entry| match &entry.fact {
        Fact::Delivered(one) => one.task_id != task_id,
        Fact::ReportInvoked(report) => !about(report),
        Fact::ReportEnded { report, .. } => !about(report),
        _ => true,
    });
}

#[test]
fn whole_lives_without_a_fault_break_nothing() {
    let (rules, said) = broken(&whole(life()), Drained::Yes);
    assert_eq!(rules, [], "{said}");
    let (rules, said) = broken(&life().0, Drained::No);
    assert_eq!(rules, [], "{said}");
}

#[test]
fn a_follow_up_or_a_link_that_is_missing_is_caught() {
    for (task_id, says) in [
        ("s1", "task s is Succeeded after 0 redrives: 1 tasks must"),
        ("x2", "task x is Dead after 1 redrives: 2 tasks must"),
        ("c1", "task c is Cancelled after 0 redrives: 1 tasks must"),
        ("l2", "task l1 is Succeeded after 0 redrives: 1 tasks must"),
    ] {
        let gone = |made: &mut Made, ends: &mut Vec<Found>| forget(made, ends, task_id);
        assert_life_breaks(gone, Rule::FollowUps, says);
    }
    let chain = |made: &mut Made, ends: &mut Vec<Found>| {
        forget(made, ends, "l1");
        forget(made, ends, "l2");
    };
    assert_life_breaks(chain, Rule::FollowUps, "must follow as Link, there are []");
}

#[test]
fn a_follow_up_that_is_there_twice_or_that_nobody_asked_for_is_caught() {
    let more = |by: &'static str, follows: Follows, says: &str| {
        let another = |made: &mut Made, ends: &mut Vec<Found>| {
            let found = follow(made, "more", by, follows);
            ends.push(found);
        };
        assert_life_breaks(another, Rule::FollowUps, says);
    };
    more("s", Follows::Success, "1 tasks must follow as Success");
    more("x", Follows::Exhausted, "2 tasks must follow as Exhausted");
    more("c", Follows::Cancelled, "1 tasks must follow as Cancelled");
    more("l", Follows::Link, "1 tasks must follow as Link");
    more("l", Follows::Success, "0 tasks must follow as Success");
    more("h", Follows::Cancelled, "0 tasks must follow as Cancelled");
    more("s1", Follows::Success, "0 tasks must follow as Success");
}

#[test]
fn a_follow_up_whose_payload_tells_of_another_end_is_caught() {
    let wrong = |made: &mut Made, ends: &mut Vec<Found>| {
        forget(made, ends, "s1");
        let mut other = follow(made, "s1", "s", Follows::Success);
        made.0.truncate(made.0.len() - 3);
        let Origin::Made(made_by) = &mut other.origin else {
            panic!("{other:?}")
        };
        made_by.told = Some(("x".to_owned(), Follows::Success));
        other.stands = Stands::Dead;
        (other.history, other.runs, other.fence) = (Vec::new(), 0, 0);
        ends.push(other);
    };
    assert_life_breaks(wrong, Rule::Bytes, "its payload tells otherwise");
    let unknown = |made: &mut Made, ends: &mut Vec<Found>| {
        let found = follow(made, "more", "nobody", Follows::Success);
        ends.push(found);
    };
    assert_life_breaks(unknown, Rule::NoInvention, "was made by nobody");
}

#[test]
fn a_link_or_a_result_that_is_not_what_was_reported_is_caught() {
    let link = |made: &mut Made, ends: &mut Vec<Found>| {
        of(ends, "l1").digest = 6;
        for entry in &mut made.0 {
            if let Fact::Delivered(one) = &mut entry.fact
                && one.task_id == "l1"
            {
                one.digest = 6;
            }
        }
    };
    assert_life_breaks(
        link,
        Rule::Bytes,
        "made by l as Link, and its payload tells",
    );
    let result = |_: &mut Made, ends: &mut Vec<Found>| of(ends, "s").result = 6;
    assert_life_breaks(result, Rule::Bytes, "its result is not the one");
}

#[test]
fn a_key_that_made_two_tasks_is_caught() {
    let another = |made: &mut Made, ends: &mut Vec<Found>| {
        made.ended("s", Enqueued::Accepted("t".to_owned()));
        let origin = Origin::Sent(marker("s"));
        made.add(Fact::Delivered(Delivered {
            origin: origin.clone(),
            ..delivered("t", 1, 1)
        }));
        made.reported(("t", 1, Says::Complete), Answer::Recorded);
        ends.push(Found {
            origin,
            ..found("t", Stands::Succeeded, vec![run(1, 1, DONE)])
        });
        ends.push(follow(made, "t1", "t", Follows::Success));
    };
    assert_life_breaks(another, Rule::OneTaskAKey, "became task s already");
    let told = |made: &mut Made, _: &mut Vec<Found>| {
        made.ended("s", Enqueued::Accepted("s1".to_owned()));
    };
    assert_life_breaks(told, Rule::OneTaskAKey, "was answered with");
}

#[test]
fn a_cancelled_task_that_runs_or_ends_otherwise_is_caught() {
    let runs = |made: &mut Made, _: &mut Vec<Found>| {
        made.delivered("c", 2, 2);
    };
    let (mut made, mut ends) = life();
    runs(&mut made, &mut ends);
    let says = "run 2 was delivered, Over { runs: 1 } was answered";
    assert_breaks(&made, Drained::No, Rule::Cancels, says);
    for task_id in ["c", "h"] {
        let (made, mut ends) = life();
        let found = of(&mut ends, task_id);
        (found.stands, found.spent) = (Stands::Dead, true);
        ends.retain(|found| found.task_id != "c1");
        let (rules, said) = broken(&whole((made, ends)), Drained::Yes);
        assert!(rules.contains(&Rule::Cancels), "{said}");
        assert!(said.contains("was answered, and it is Dead"), "{said}");
    }
    let nobody = |made: &mut Made, _: &mut Vec<Found>| {
        made.0.retain(|entry| {
            let (Fact::CancelInvoked { task_id } | Fact::CancelEnded { task_id, .. }) = &entry.fact
            else {
                return true;
            };
            task_id != "c"
        });
    };
    assert_life_breaks(nobody, Rule::Cancels, "nobody cancelled it");
}

#[test]
fn a_run_after_a_lost_one_of_an_at_most_once_task_is_caught() {
    let again = |made: &mut Made, _: &mut Vec<Found>| {
        made.delivered("o", 3, 1);
    };
    let (mut made, mut ends) = life();
    again(&mut made, &mut ends);
    let says = "run 3 was delivered although run 2 had arrived";
    assert_breaks(&made, Drained::No, Rule::AtMostOnce, says);
    // Somebody who decided so is no fault.
    made.add(Fact::RedriveInvoked {
        task_id: "o".to_owned(),
    });
    assert_eq!(broken(&made, Drained::No).0, []);
    // Nobody saw it, but the coordinator tells.
    let told = |_: &mut Made, ends: &mut Vec<Found>| {
        let o = of(ends, "o");
        o.history.push(run(3, 1, None));
        (o.runs, o.fence) = (3, 103);
    };
    assert_life_breaks(told, Rule::AtMostOnce, "run 3 followed although run 2 was");
    let alive = |_: &mut Made, ends: &mut Vec<Found>| of(ends, "o").stands = Stands::Otherwise;
    assert_life_breaks(alive, Rule::AtMostOnce, "its last run was lost, and it is");
}

#[test]
fn a_redrive_that_was_forgotten_or_done_twice_is_caught() {
    let twice = |made: &mut Made, ends: &mut Vec<Found>| {
        of(ends, "x").redriven_ms.push(6800);
        let found = follow(made, "x3", "x", Follows::Exhausted);
        ends.push(found);
    };
    assert_life_breaks(twice, Rule::Redrives, "it was redriven 2 times, 1 to 1");
    let never = |made: &mut Made, ends: &mut Vec<Found>| {
        let x = of(ends, "x");
        x.redriven_ms.clear();
        (x.history[1].attempt, x.failures) = (2, 2);
        forget(made, ends, "x2");
        for entry in &mut made.0 {
            if let Fact::Delivered(one) = &mut entry.fact
                && (&*one.task_id, one.run) == ("x", 2)
            {
                one.attempt = 2;
            }
        }
    };
    assert_life_breaks(never, Rule::Redrives, "it was redriven 0 times, 1 to 1");
}

#[test]
fn a_lease_of_a_paused_queue_is_caught() {
    let pause = |made: &mut Made, _: &mut Vec<Found>| {
        made.add(Fact::Paused {
            queue: "q".to_owned(),
            at_ms: 6990,
        });
    };
    assert_life_breaks(
        pause,
        Rule::Pauses,
        "leased 10 ms after its queue was paused",
    );
}
