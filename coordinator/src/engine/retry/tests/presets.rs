//! Every preset against the formula of what it is named after.

use super::super::window;
use super::*;

fn name_list() -> Vec<String> {
    named_presets::all()
        .iter()
        .map(|policy| policy.name.to_string())
        .collect()
}

/// The windows of the first retries, as (shortest, longest) seconds.
fn windows_s(name: &str, count: u32) -> Vec<(u64, u64)> {
    let backoff = &preset(name).backoff;
    (0..count)
        .map(|n| window(backoff, n, None))
        .map(|wait| (wait.min_ms / 1000, wait.max_ms / 1000))
        .collect()
}

fn ends(name: &str, attempts: usize) {
    let (delays, end) = seconds(&preset(name), 0.5, 1000);
    assert_eq!((delays.len() + 1, end), (attempts, EXHAUSTED), "{name}");
}

/// Checks drawn delays against a formula that gives seconds for u: ends, quartiles and mean, to 2 %
/// of the width and the granularity.
fn follows(name: &str, n: u32, formula: impl Fn(f64) -> f64) {
    let backoff = &preset(name).backoff;
    let found = drawn(backoff, n, None);
    let width = (formula(1.0) - formula(0.0)) * 1000.0;
    let scale = width + 50.0 * backoff.granularity_ms as f64;
    for (index, u) in [
        (0, 0.0),
        (DRAWS / 4, 0.25),
        (DRAWS / 2, 0.5),
        (DRAWS * 3 / 4, 0.75),
        (DRAWS - 1, 1.0),
    ] {
        assert_near(found[index] as f64, formula(u) * 1000.0, 0.02, scale);
    }
    assert_near(mean(&found), formula(0.5) * 1000.0, 0.02, scale);
}

#[test]
fn all_presets_are_there_sorted_and_built_once() {
    assert_eq!(
        name_list(),
        [
            "asynq",
            "aws-decorrelated",
            "bullmq",
            "celery-autoretry",
            "celery-default",
            "celery-production",
            "cloud-tasks",
            "dramatiq",
            "faktory",
            "graphile",
            "hatchet",
            "immediate",
            "never",
            "oban",
            "pg-boss",
            "rabbitmq-4.3",
            "recommended",
            "restate",
            "river",
            "sidekiq",
            "temporal"
        ]
    );
    assert!(Arc::ptr_eq(&preset("oban"), &preset("oban")));
    assert_eq!(named_presets::named("Oban"), None);
    for policy in named_presets::all() {
        assert!(
            policy.description.len() > 40,
            "{} says what it is",
            policy.name
        );
    }
}

#[test]
fn celery_default_waits_180_s_for_4_attempts() {
    assert_eq!(
        seconds(&preset("celery-default"), 0.5, 9),
        (vec![180; 3], EXHAUSTED)
    );
}

#[test]
fn celery_autoretry_draws_whole_seconds_below_the_doubling() {
    let ceilings: Vec<u64> = (0..12).map(|n| 600.min(1 << n)).collect();
    let expected: Vec<(u64, u64)> = ceilings.into_iter().map(|ceiling| (0, ceiling)).collect();
    assert_eq!(windows_s("celery-autoretry", 12), expected);
    follows("celery-autoretry", 9, |u| 512.0 * u);
    ends("celery-autoretry", 4);
    ends("celery-production", 6);
}

#[test]
fn temporal_doubles_to_100_s_and_never_gives_up() {
    let (delays, end) = seconds(&preset("temporal"), 0.5, 9);
    assert_eq!(
        (delays, end),
        (vec![1, 2, 4, 8, 16, 32, 64, 100, 100], None)
    );
}

#[test]
fn sidekiq_waits_the_fourth_power_and_a_random_part() {
    let expected: Vec<(u64, u64)> = (0..25)
        .map(|n: u64| (n.pow(4) + 15, n.pow(4) + 15 + 10 * (n + 1) - 1))
        .collect();
    assert_eq!(windows_s("sidekiq", 25), expected);
    follows("sidekiq", 24, |u| 24_f64.powi(4) + 15.0 + u * 250.0);
    assert!(
        drawn(&preset("sidekiq").backoff, 3, None)
            .iter()
            .all(|one| one % 1000 == 0)
    );
    ends("sidekiq", 26);
    let total: u64 = seconds(&preset("sidekiq"), 0.5, 100).0.iter().sum();
    assert_eq!(total / 86_400, 20, "about 20 days");
}

#[test]
fn faktory_and_asynq_wait_the_fourth_power_and_thirty_seconds_an_attempt() {
    for name in ["faktory", "asynq"] {
        let expected: Vec<(u64, u64)> = (0..25)
            .map(|n: u64| (n.pow(4) + 15, n.pow(4) + 15 + 30 * (n + 1) - 1))
            .collect();
        assert_eq!(windows_s(name, 25), expected);
        follows(name, 20, |u| 160_000.0 + 15.0 + u * 630.0);
        ends(name, 26);
    }
}

#[test]
fn river_waits_the_fourth_power_of_the_attempt_and_a_tenth_either_way() {
    for n in [0, 5, 23] {
        let power = f64::from(n + 1).powi(4);
        follows("river", n, |u| power * (0.9 + 0.2 * u));
        assert_eq!(
            window(&preset("river").backoff, n, None).base_ms as f64,
            power * 1000.0
        );
    }
    ends("river", 25);
}

#[test]
fn oban_waits_15_s_and_a_power_of_two_and_up_to_a_tenth() {
    for n in [0, 3, 18] {
        let base = 15.0 + 2_f64.powi(n + 1);
        let n = u32::try_from(n).unwrap();
        follows("oban", n, |u| base * (1.0 + 0.1 * u));
        assert_eq!(
            window(&preset("oban").backoff, n, None).min_ms as f64,
            base * 1000.0
        );
    }
    assert_eq!(
        window(&preset("oban").backoff, 900, None).base_ms,
        (15 + (1 << 20)) * 1000
    );
    ends("oban", 20);
}

#[test]
fn bullmq_doubles_from_a_second() {
    assert_eq!(
        seconds(&preset("bullmq"), 0.5, 99),
        (vec![1, 2, 4, 8, 16], EXHAUSTED)
    );
}

#[test]
fn dramatiq_waits_once_to_twice_the_doubling_and_half_of_seven_days_at_the_cap() {
    for n in [0, 4, 13] {
        let base = 15.0 * 2_f64.powi(n);
        follows("dramatiq", u32::try_from(n).unwrap(), |u| base * (1.0 + u));
    }
    let week = 7.0 * 86_400.0;
    for n in [15, 19] {
        follows("dramatiq", n, |u| week * (0.5 + 0.5 * u));
    }
    ends("dramatiq", 21);
}

#[test]
fn graphile_waits_a_power_of_e() {
    let (delays, end) = life(
        &preset("graphile"),
        &failure(FailureClass::Internal),
        0.5,
        99,
    );
    assert_eq!((delays.len(), end), (24, EXHAUSTED));
    for (attempt, delay_ms) in (1_u8..).zip(delays) {
        let formula_ms = f64::from(attempt.min(10)).exp() * 1000.0;
        assert!(
            (delay_ms as f64 - formula_ms).abs() <= 0.5,
            "attempt {attempt}: {delay_ms}"
        );
    }
}

#[test]
fn pg_boss_waits_the_upper_half_of_the_doubling() {
    for n in [0, 1, 15, 40] {
        let full = 2_f64.powi((n + 1).min(16));
        let n = u32::try_from(n).unwrap();
        follows("pg-boss", n, |u| full / 2.0 + full / 2.0 * u);
    }
    ends("pg-boss", 3);
}

#[test]
fn restate_doubles_from_half_a_second_to_a_minute() {
    let (delays, end) = life(
        &preset("restate"),
        &failure(FailureClass::Internal),
        0.5,
        999,
    );
    assert_eq!(
        delays[..9],
        [500, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]
    );
    assert_eq!((delays.len(), end), (69, EXHAUSTED));
}

#[test]
fn hatchet_takes_the_powers_of_its_factor_up_to_a_day() {
    assert_eq!(
        seconds(&preset("hatchet"), 0.5, 99),
        (vec![1, 2, 4, 8, 16], EXHAUSTED)
    );
    let base = |n| window(&preset("hatchet").backoff, n, None).base_ms;
    assert_eq!((base(16), base(17)), (65_536_000, 86_400_000));
}

#[test]
fn cloud_tasks_doubles_three_times_and_then_goes_on_in_steps() {
    let (delays, _) = seconds(&preset("cloud-tasks"), 0.5, 8);
    assert_eq!(delays, [10, 20, 40, 80, 160, 240, 300, 300]);
    ends("cloud-tasks", 100);
}

#[test]
fn rabbitmq_waits_in_steps_of_its_minimum() {
    let (delays, end) = seconds(&preset("rabbitmq-4.3"), 0.5, 999);
    assert_eq!((delays, end), ((1..=20).collect(), EXHAUSTED));
    assert_eq!(
        window(&preset("rabbitmq-4.3").backoff, 99, None).base_ms,
        60_000
    );
}

#[test]
fn aws_decorrelated_draws_up_to_three_times_what_it_drew_before() {
    let backoff = &preset("aws-decorrelated").backoff;
    for (previous_s, top_s) in [(1, 3), (7, 21), (150, 450), (400, 600)] {
        let found = drawn(backoff, 1, Some(previous_s * 1000));
        let width = (top_s * 1000 - 1000) as f64;
        assert_near(found[0] as f64, 1000.0, 0.01, width);
        assert_near(found[DRAWS - 1] as f64, (top_s * 1000) as f64, 0.01, width);
    }
    follows("aws-decorrelated", 0, |u| 1.0 + 2.0 * u);
    ends("aws-decorrelated", 6);
}

#[test]
fn never_gives_neither_a_failure_nor_a_crash_another_run() {
    let policy = preset("never");
    ends("never", 1);
    let lost = failure(FailureClass::WorkerLost);
    let verdict = Task::new(&policy).ends(&Ending::Crashed { failure: &lost }, 0.5);
    assert_eq!(verdict.next, Next::Dead(DeadReason::CrashesExhausted));
    assert_eq!(
        delay_ms(&Task::new(&policy).ends(&Ending::Released, 0.5)),
        0
    );
}
