//! Scripts of every way a task can end, and of what follows each.
//!
//! Owns the table of ends. Each is told with one shard and with several, and then with a death of
//! the coordinator after every turn: what follows an end is there once, as soon as the end is (I15).

use super::world::follow::{followed, followers_in, for_every_end, named};
use super::world::{
    World, cancel, cancel_as, complete, fail, fail_with, failure, new_task, plain_policy, redrive,
};
use crate::engine::command::{CancelMode, FromWorker, NewTask, QueueChange, ReportOutcome, Start};
use crate::engine::event::{Event, Recorded};
use crate::engine::failure::{Failure, FailureClass};
use crate::engine::ids::TaskId;
use crate::engine::ledger::task::Timeouts;
use crate::engine::ledger::terms::{DeliveryMode, Terms, Transition};
use crate::engine::limits;
use crate::engine::retry::policy::{ExhaustAction, Match, Rule, RuleAction};
use crate::engine::retry::{Policy, PolicyRef};

use Transition::{Cancelled, Exhausted, Failure as Failed, Success};

/// How many shards the ends are told with.
const SHARDS: [u16; 2] = [1, 16];

/// A task in the queue "mail" under this policy and with these terms, begun by a worker, with
/// something to follow every end.
fn begun(shards: u16, policy: Policy, terms: Terms) -> World {
    let mut world = waiting(shards, policy, terms);
    world.hello("w1", &["mail"], 1);
    world.begin("w1");
    world
}

/// The same, and no worker.
fn waiting(shards: u16, policy: Policy, terms: Terms) -> World {
    let mut world = World::with(|config| config.shard_count = shards);
    let change = QueueChange {
        policy: Some(Some(PolicyRef::Inline(policy.into()))),
        terms: Some(Some(Box::new(followed(for_every_end("then"))))),
        ..QueueChange::default()
    };
    world.configure("mail", change);
    let task = NewTask {
        terms: Some(Box::new(terms)),
        ..new_task("mail")
    };
    world.enqueue_as("t1", task);
    world
}

fn plain(shards: u16) -> World {
    begun(shards, plain_policy(1), Terms::default())
}

fn ruled(shards: u16, action: RuleAction) -> World {
    let rules = vec![Rule::new("rule", Match::default(), action)];
    let policy = Policy {
        rules,
        ..plain_policy(3)
    };
    begun(shards, policy, Terms::default())
}

fn once() -> Terms {
    Terms {
        delivery: Some(DeliveryMode::AtMostOnce),
        ..Terms::default()
    }
}

fn hard_limit(world: &mut World) {
    let timeouts = Timeouts {
        hard_ms: Some(5000),
        ..Timeouts::default()
    };
    let id = world.id("t1");
    world.call(super::world::update(id, timeouts)).unwrap();
    world.wait_alive_ms(15_000, &["w1"]);
}

/// The end was this one, and this followed; and so it is wherever a turn was the last.
#[track_caller]
fn ends(mut world: World, state: &str, expected: &[Transition]) {
    assert_eq!(world.state("t1"), state);
    check_ends(&world, "t1", expected);
}

#[track_caller]
fn check_ends(world: &World, task: &str, expected: &[Transition]) {
    let kind = |transition: &Transition| match transition {
        Success => "then-success",
        Failed => "then-failure",
        Exhausted => "then-exhausted",
        Cancelled => "then-cancelled",
        Transition::Then => unreachable!("no chain here"),
    };
    let expected: Vec<_> = expected.iter().map(|t| (*t, kind(t).to_owned())).collect();
    assert_eq!(world.fired(task), expected);
    let id = world.id(task);
    assert!(has_ended(world.journal(), id), "the story has an end");
    world.at_every_cut(|log, engine, all_arrived| {
        let due = if has_ended(log, id) {
            expected.len()
        } else {
            0
        };
        let followers = followers_in(engine, id, None);
        let mut ends: Vec<_> = followers
            .iter()
            .filter_map(|task| task.more()?.cause)
            .map(|cause| cause.transition)
            .collect();
        assert!(ends.len() <= due, "{followers:?}");
        assert!(!all_arrived || ends.len() == due, "{followers:?}");
        ends.sort();
        ends.dedup();
        assert_eq!(ends.len(), followers.len(), "once for each end");
        let queue = named("after");
        assert!(followers.iter().all(|follower| follower.queue == queue));
    });
}

fn has_ended(log: &[Recorded], id: TaskId) -> bool {
    let ends = |recorded: &Recorded| {
        matches!(&recorded.event, Event::TaskFinished { id: of, .. }
            | Event::TaskDied { id: of, .. }
            | Event::TaskExpired { id: of, .. } if *of == id)
    };
    log.iter().any(ends)
}

#[test]
fn a_success_is_followed() {
    for shards in SHARDS {
        let mut world = plain(shards);
        world.report("w1", ("t1", 1), complete());
        ends(world, "SUCCEEDED", &[Success]);
    }
}

#[test]
fn spent_attempts_are_a_failure_and_an_exhaustion() {
    for shards in SHARDS {
        let mut world = begun(shards, plain_policy(2), Terms::default());
        world.report("w1", ("t1", 1), fail());
        assert_eq!(world.fired("t1"), []);
        world.wait_alive_ms(10_000, &["w1"]);
        world.report("w1", ("t1", 2), fail());
        ends(world, "DEAD", &[Failed, Exhausted]);
    }
}

#[test]
fn what_a_rule_ends_is_no_exhaustion() {
    for shards in SHARDS {
        let endings = [
            (RuleAction::Fail, "FAILED", &[Failed][..]),
            (RuleAction::DeadLetter, "DEAD", &[Failed]),
            (RuleAction::Discard, "DISCARDED", &[]),
        ];
        for (action, state, expected) in endings {
            let mut world = ruled(shards, action);
            world.report("w1", ("t1", 1), fail());
            ends(world, state, expected);
        }
    }
}

#[test]
fn what_cannot_be_helped_by_trying_again_is_no_exhaustion() {
    for shards in SHARDS {
        let mut world = begun(shards, plain_policy(3), Terms::default());
        let outcome = ReportOutcome::Fail {
            failure: failure(),
            not_retryable: true,
            retry_after_ms: None,
        };
        world.report("w1", ("t1", 1), outcome);
        ends(world, "DEAD", &[Failed]);
    }
}

#[test]
fn a_poison_task_whose_worker_is_gone_is_followed_by_what_others_run() {
    for shards in SHARDS {
        let policy = Policy {
            max_crashes: 1,
            ..plain_policy(3)
        };
        let mut world = begun(shards, policy, Terms::default());
        world.cut("w1");
        world.wait_ms(30_000);
        ends(world, "DEAD", &[Failed, Exhausted]);
    }
}

#[test]
fn a_run_that_the_coordinator_ends_at_its_hard_limit_is_followed() {
    for shards in SHARDS {
        let mut world = plain(shards);
        hard_limit(&mut world);
        ends(world, "DEAD", &[Failed, Exhausted]);
    }
}

#[test]
fn a_unary_lease_that_lapses_is_followed() {
    for shards in SHARDS {
        let policy = Policy {
            max_crashes: 1,
            ..plain_policy(3)
        };
        let mut world = waiting(shards, policy, Terms::default());
        let request = world.lease("cron", "mail", 1, 0);
        assert_eq!(world.leased(request), ["t1#1"]);
        world.wait_ms(30_000);
        ends(world, "DEAD", &[Failed, Exhausted]);
    }
}

#[test]
fn a_task_that_waited_too_long_is_followed() {
    for shards in SHARDS {
        let terms = Terms {
            ttl_ms: Some(5000),
            ..Terms::default()
        };
        let mut world = waiting(shards, plain_policy(3), terms);
        world.wait_ms(5000);
        ends(world, "DEAD", &[Failed, Exhausted]);
    }
}

#[test]
fn a_task_that_lived_too_long_is_followed_whether_it_waits_or_runs() {
    let terms = || Terms {
        deadline_ms: Some(5000),
        ..Terms::default()
    };
    for shards in SHARDS {
        let mut world = waiting(shards, plain_policy(3), terms());
        world.wait_ms(5000);
        ends(world, "DEAD", &[Failed, Exhausted]);
        let mut world = begun(shards, plain_policy(3), terms());
        world.wait_alive_ms(5000, &["w1"]);
        ends(world, "DEAD", &[Failed, Exhausted]);
        let mut world = begun(shards, plain_policy(3), terms());
        world.report("w1", ("t1", 1), fail());
        ends(world, "DEAD", &[Failed, Exhausted]);
    }
}

#[test]
fn a_retry_that_would_come_too_late_is_an_exhaustion() {
    for shards in SHARDS {
        let policy = Policy {
            max_retry_duration_ms: Some(5000),
            ..plain_policy(3)
        };
        let mut world = begun(shards, policy, Terms::default());
        world.report("w1", ("t1", 1), fail());
        ends(world, "DEAD", &[Failed, Exhausted]);
    }
}

#[test]
fn spent_deferrals_are_an_exhaustion() {
    for shards in SHARDS {
        let policy = Policy {
            max_deferrals: 1,
            ..plain_policy(3)
        };
        let mut world = begun(shards, policy, Terms::default());
        let outcome = ReportOutcome::Defer {
            delay_ms: 1000,
            reason: "not now".into(),
            payload: None,
        };
        world.report("w1", ("t1", 1), outcome);
        ends(world, "DEAD", &[Failed, Exhausted]);
    }
}

#[test]
fn a_task_that_nobody_can_be_given_is_followed() {
    for shards in SHARDS {
        let mut world = waiting(shards, plain_policy(3), Terms::default());
        for run in 1..=limits::UNSTARTED_IN_ROW_MAX {
            let worker = format!("w{run}");
            world.hello(&worker, &["mail"], 1);
            world.cut(&worker);
            world.wait_ms(30_000 + limits::UNSTARTED_BACKOFF_MS_MAX);
        }
        ends(world, "DEAD", &[Failed, Exhausted]);
    }
}

#[test]
fn a_lost_lease_of_a_task_that_must_not_run_twice_is_followed() {
    for shards in SHARDS {
        let mut world = begun(shards, plain_policy(3), once());
        world.cut("w1");
        world.wait_ms(30_000);
        ends(world, "DEAD", &[Failed, Exhausted]);
        let mut world = waiting(shards, plain_policy(3), once());
        world.hello("w1", &["mail"], 1);
        world.cut("w1");
        world.wait_ms(30_000);
        ends(world, "DEAD", &[Failed, Exhausted]);
        let mut world = begun(shards, plain_policy(3), once());
        hard_limit(&mut world);
        ends(world, "DEAD", &[Failed, Exhausted]);
    }
}

#[test]
fn a_cancel_is_followed_once_the_task_is_cancelled() {
    for shards in SHARDS {
        let mut world = waiting(shards, plain_policy(3), Terms::default());
        let id = world.id("t1");
        world.call(cancel(id, "no")).unwrap();
        ends(world, "CANCELLED", &[Cancelled]);

        let mut world = plain(shards);
        let id = world.id("t1");
        world.call(cancel(id, "no")).unwrap();
        assert_eq!(world.fired("t1"), []);
        world.report("w1", ("t1", 1), fail());
        ends(world, "CANCELLED", &[Cancelled]);

        let mut world = plain(shards);
        let id = world.id("t1");
        world.call(cancel(id, "no")).unwrap();
        world.report("w1", ("t1", 1), complete());
        ends(world, "SUCCEEDED", &[Success]);
    }
}

#[test]
fn a_lease_that_is_taken_away_by_a_cancel_is_followed() {
    for shards in SHARDS {
        let mut world = plain(shards);
        let id = world.id("t1");
        world.call(cancel_as(id, "no", CancelMode::Force)).unwrap();
        ends(world, "CANCELLED", &[Cancelled]);

        let mut world = plain(shards);
        let id = world.id("t1");
        let grace_ms = Some(3000);
        let mode = CancelMode::Cooperative { grace_ms };
        world.call(cancel_as(id, "no", mode)).unwrap();
        world.wait_ms(3000);
        ends(world, "CANCELLED", &[Cancelled]);

        let mut world = plain(shards);
        let id = world.id("t1");
        world.call(cancel(id, "no")).unwrap();
        world.cut("w1");
        world.wait_ms(30_000);
        ends(world, "CANCELLED", &[Cancelled]);
    }
}

#[test]
fn what_a_policy_makes_of_exhaustion_decides_what_follows() {
    let policy = |on_exhausted| Policy {
        on_exhausted,
        ..plain_policy(1)
    };
    let endings = [
        (ExhaustAction::Fail, "FAILED", &[Failed, Exhausted][..]),
        (ExhaustAction::Discard, "DISCARDED", &[]),
    ];
    for shards in SHARDS {
        for (action, state, expected) in endings {
            let mut world = begun(shards, policy(action), Terms::default());
            world.report("w1", ("t1", 1), fail());
            ends(world, state, expected);
            let terms = Terms {
                ttl_ms: Some(5000),
                ..Terms::default()
            };
            let mut world = waiting(shards, policy(action), terms);
            world.wait_ms(5000);
            ends(world, state, expected);
        }
    }
}

#[test]
fn nothing_follows_what_is_discarded() {
    for shards in SHARDS {
        let mut world = plain(shards);
        let reason = "stale".into();
        world.report("w1", ("t1", 1), ReportOutcome::Discard { reason });
        ends(world, "DISCARDED", &[]);

        let mut world = plain(shards);
        world.report("w1", ("t1", 1), fail());
        let id = world.id("t1");
        world.call(super::world::discard(id)).unwrap();
        ends(world, "DISCARDED", &[Failed, Exhausted]);
    }
}

#[test]
fn a_routed_task_has_failed_where_it_was_and_what_goes_on_is_no_follow_up() {
    for shards in SHARDS {
        let mut world = plain(shards);
        let change = QueueChange {
            dead_letter_queue: Some(Some(named("graveyard"))),
            ..QueueChange::default()
        };
        world.configure("mail", change);
        let invalid = Failure::new(FailureClass::Invalid, "no");
        world.report("w1", ("t1", 1), fail_with(invalid));
        ends(world, "ROUTED", &[Failed, Exhausted]);
    }
}

#[test]
fn a_redriven_task_that_dies_again_is_followed_again() {
    for shards in SHARDS {
        let mut world = plain(shards);
        world.report("w1", ("t1", 1), fail());
        let id = world.id("t1");
        world.call(redrive(id, 0)).unwrap();
        world.report("w1", ("t1", 2), fail());
        for transition in [Failed, Exhausted] {
            assert_eq!(world.followers("t1", transition).len(), 2);
        }
        world.at_every_cut(|log, engine, all_arrived| {
            let died = |recorded: &&Recorded| matches!(&recorded.event, Event::TaskDied { .. });
            let deaths = log.iter().filter(died).count();
            for transition in [Failed, Exhausted] {
                let followers = followers_in(engine, id, Some(transition)).len();
                assert!(followers <= deaths && (!all_arrived || followers == deaths));
            }
        });
        world.call(redrive(id, 0)).unwrap();
        world.report("w1", ("t1", 3), complete());
        assert_eq!(world.followers("t1", Success).len(), 1);
    }
}

/// I15, of what follows an end.
#[test]
fn transfers_that_are_lost_are_sent_again_and_arrive_once() {
    let mut world = World::with(|config| config.shard_count = 16);
    let change = QueueChange {
        policy: Some(Some(PolicyRef::Inline(plain_policy(1).into()))),
        terms: Some(Some(Box::new(followed(for_every_end("then"))))),
        ..QueueChange::default()
    };
    world.configure("mail", change);
    world.hello("w1", &["mail"], 9);
    world.lose_transfers(true);
    let names: Vec<String> = (0..5).map(|index| format!("t{index}")).collect();
    for name in &names {
        world.enqueue(name, "mail");
        world.report("w1", (name, 1), fail());
        assert_eq!(world.fired(name), []);
    }
    world.lose_transfers(false);
    // The next one shows the gap; all before it come again, in their order.
    world.enqueue_as(
        "last",
        NewTask {
            start: Start::After { delay_ms: 1 },
            ..new_task("mail")
        },
    );
    world.wait_ms(1);
    world.report("w1", ("last", 1), fail());
    world.say("w1", FromWorker::Pong);
    for name in &names {
        check_ends(&world, name, &[Failed, Exhausted]);
    }
}
