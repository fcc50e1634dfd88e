//! Claims about previews: what they say is what the judge does.

use super::super::preview::{End, GiveUp, Preview, preview};
use super::*;

fn internal(policy: &Policy, most: u32) -> Preview {
    preview(policy, &failure(FailureClass::Internal), None, most)
}

#[test]
fn p1_the_production_block_gives_up_after_at_most_31_s_and_15_5_in_the_mean() {
    let preview = internal(&preset("celery-production"), 30);
    assert_eq!(
        preview.give_up,
        Some(GiveUp {
            min_ms: 0,
            mean_ms: 15_500,
            max_ms: 31_000
        })
    );
    assert_eq!(preview.steps.len(), 6);
    let ceilings: Vec<Option<u64>> = preview
        .steps
        .iter()
        .map(|step| step.wait.map(|wait| wait.max_ms))
        .collect();
    assert_eq!(
        ceilings,
        [
            Some(1000),
            Some(2000),
            Some(4000),
            Some(8000),
            Some(16_000),
            None
        ]
    );
    assert_eq!(preview.ends_as.map(End::name), Some("ATTEMPTS_EXHAUSTED"));
}

#[test]
fn a_policy_without_an_end_shows_as_many_steps_as_asked() {
    let shown = internal(&preset("temporal"), 40);
    assert_eq!(
        (shown.steps.len(), shown.give_up, shown.ends_as),
        (40, None, None)
    );
    assert_eq!(internal(&preset("temporal"), 0).steps.len(), 1);
    assert_eq!(internal(&preset("temporal"), u32::MAX).steps.len(), 1000);
}

#[test]
fn a_rule_that_ends_the_task_gives_up_at_once() {
    let policy = preset("recommended");
    for (class, end, rule) in [
        (FailureClass::Invalid, "RULE", "invalid"),
        (FailureClass::NotFound, "FAILED", "not-found"),
    ] {
        let shown = preview(&policy, &failure(class), None, 30);
        assert_eq!(
            shown.give_up,
            Some(GiveUp {
                min_ms: 0,
                mean_ms: 0,
                max_ms: 0
            })
        );
        assert_eq!(shown.ends_as.map(End::name), Some(end));
        assert_eq!(shown.steps[0].rule.as_deref(), Some(rule));
    }
    let discards = Policy {
        on_exhausted: super::super::policy::ExhaustAction::Discard,
        ..(*preset("never")).clone()
    };
    assert_eq!(
        internal(&discards, 30).ends_as.map(End::name),
        Some("DISCARDED")
    );
}

#[test]
fn a_lost_worker_is_previewed_as_a_crash() {
    let policy = preset("recommended");
    let shown = preview(&policy, &failure(FailureClass::WorkerLost), None, 30);
    assert_eq!(shown.steps.len(), 3);
    assert_eq!(shown.ends_as, Some(End::Dead(DeadReason::CrashesExhausted)));
}

#[test]
fn retry_after_takes_the_place_of_every_wait_of_a_rate_limit() {
    let limited = failure(FailureClass::RateLimited);
    for (asked_ms, mean_ms, max_ms) in [(600_000, 630_000, 659_999), (5000, 5250, 5499)] {
        let shown = preview(&preset("recommended"), &limited, Some(asked_ms), 3);
        assert_eq!(shown.steps.len(), 3);
        let expected = super::super::Window {
            base_ms: asked_ms,
            min_ms: asked_ms,
            mean_ms,
            max_ms,
        };
        assert!(shown.steps.iter().all(|step| step.wait == Some(expected)));
    }
}

#[test]
fn retry_after_raises_every_wait_where_it_is_a_floor() {
    let network = failure(FailureClass::Network);
    let shown = preview(&preset("recommended"), &network, Some(600_000), 3);
    let wait = shown.steps[0].wait.unwrap();
    assert_eq!(
        (wait.base_ms, wait.min_ms, wait.max_ms),
        (600_000, 600_000, 659_999)
    );
    assert_eq!(wait.mean_ms, 630_000);
}

#[test]
fn the_mean_of_two_competing_delays_is_the_mean_of_what_is_drawn() {
    let policy = Policy {
        backoff: Backoff::of(Shape::Fixed { delay_ms: 20_000 }),
        ..Policy::default()
    };
    let internal = failure(FailureClass::Internal);
    let wait = preview(&policy, &internal, Some(10_000), 2).steps[0]
        .wait
        .unwrap();
    let asked = Ending::Failed {
        failure: &internal,
        not_retryable: false,
        retry_after_ms: Some(10_000),
    };
    let mut rng = StdRng::seed_from_u64(5);
    let delays: Vec<u64> = (0..DRAWS)
        .map(|_| delay_ms(&Task::new(&policy).ends(&asked, rng.random())))
        .collect();
    assert_near(mean(&delays), wait.mean_ms as f64, 0.01, 10_000.0);
}

#[test]
fn a_retry_duration_ends_the_walk_where_nobody_can_go_on() {
    let steady = Policy {
        max_attempts: 0,
        max_retry_duration_ms: Some(3500),
        backoff: fixed(1000),
        ..Policy::default()
    };
    let shown = internal(&steady, 30);
    assert_eq!(shown.steps.len(), 4);
    assert_eq!(
        shown.give_up,
        Some(GiveUp {
            min_ms: 3000,
            mean_ms: 3000,
            max_ms: 3000
        })
    );
    assert_eq!(
        shown.ends_as.map(End::name),
        Some("RETRY_DURATION_EXCEEDED")
    );
}

/// Many tasks of each policy, each with its own luck.
#[test]
fn no_task_of_any_policy_leaves_what_its_preview_shows() {
    let mut rng = StdRng::seed_from_u64(17);
    let mut policies: Vec<Policy> = named_presets::all()
        .iter()
        .map(|policy| (**policy).clone())
        .collect();
    for duration_ms in [0, 7000, 60_000, 3_000_000] {
        let timed = named_presets::all();
        let timed = timed.iter().map(|policy| Policy {
            max_retry_duration_ms: Some(duration_ms),
            ..(**policy).clone()
        });
        policies.extend(timed);
    }
    for policy in &policies {
        for class in [
            FailureClass::Internal,
            FailureClass::RateLimited,
            FailureClass::Network,
        ] {
            let failure = failure(class);
            let shown = preview(policy, &failure, None, 120);
            for _ in 0..40 {
                let mut task = Task::new(policy);
                let mut ended = None;
                for step in &shown.steps {
                    let before = task.now;
                    let verdict = task.fails(&failure, rng.random());
                    let Next::Retry { delay_ms, .. } = verdict.next else {
                        ended = Some(before.0);
                        break;
                    };
                    let wait = step.wait.expect("a preview never ends before the task");
                    assert!(
                        wait.contains(delay_ms),
                        "{} {step:?} {delay_ms}",
                        policy.name
                    );
                    assert_eq!(step.rule, verdict.rule);
                }
                if let (Some(at_ms), Some(give_up)) = (ended, shown.give_up) {
                    let range = give_up.min_ms..=give_up.max_ms;
                    assert!(
                        range.contains(&at_ms),
                        "{} {at_ms} {give_up:?}",
                        policy.name
                    );
                }
                assert!(
                    ended.is_some() || shown.give_up.is_none(),
                    "{}",
                    policy.name
                );
            }
        }
    }
}
