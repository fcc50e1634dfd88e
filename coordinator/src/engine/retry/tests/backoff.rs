//! Claims about what can be drawn: windows, distributions, extremes.

use super::super::backoff::{Window, window};
use super::super::grown_timeout_ms;
use super::*;
use crate::engine::limits::{DELAY_MS_MAX, TIMEOUT_MS_MAX};

fn every_jitter() -> [Jitter; 7] {
    [
        Jitter::None,
        Jitter::Full,
        Jitter::Equal,
        Jitter::Additive { ratio: 0.1 },
        Jitter::Symmetric { ratio: 0.3 },
        Jitter::PerAttempt {
            per_attempt_ms: 777,
        },
        Jitter::Below { ratio: 0.9 },
    ]
}

fn every_shape() -> Vec<Shape> {
    vec![
        Shape::doubling(1001),
        Shape::Exponential {
            initial_ms: 3,
            multiplier: 1.7,
            doublings_max: 4,
            base_ms: 11,
        },
        Shape::Fixed { delay_ms: 4999 },
        Shape::Linear {
            initial_ms: 0,
            step_ms: 333,
        },
        Shape::Polynomial {
            base_ms: 15,
            scale_ms: 3,
            degree: 4,
            offset: 1,
        },
        Shape::Delays(Arc::from([0, 1, 60_000])),
    ]
}

#[test]
fn what_is_drawn_fills_its_window_and_has_its_mean() {
    for shape in every_shape() {
        for jitter in every_jitter() {
            for granularity_ms in [1, 1000] {
                let shape = shape.clone();
                let backoff = Backoff {
                    jitter,
                    granularity_ms,
                    ..Backoff::of(shape)
                };
                let expected = window(&backoff, 2, None);
                let found = drawn(&backoff, 2, None);
                let (first, last) = (found[0], found[DRAWS - 1]);
                assert!(
                    expected.contains(first) && expected.contains(last),
                    "{backoff:?}"
                );
                let width = (expected.max_ms - expected.min_ms) as f64;
                let share = if granularity_ms == 1 { 0.002 } else { 0.0 };
                assert_near(first as f64, expected.min_ms as f64, share, width);
                assert_near(last as f64, expected.max_ms as f64, share, width);
                assert_near(mean(&found), expected.mean_ms as f64, 0.02, width);
            }
        }
    }
}

#[test]
fn a_decorrelated_window_is_cut_where_the_delay_is() {
    let shape = Shape::Decorrelated { base_ms: 1000 };
    for (min_ms, max_ms) in [(0, 600_000), (2000, 5000), (0, 500), (40_000, 50_000)] {
        let backoff = Backoff {
            min_ms,
            max_ms,
            ..Backoff::of(shape.clone())
        };
        let expected = window(&backoff, 1, Some(3000));
        let found = drawn(&backoff, 1, Some(3000));
        assert_eq!(found[0] / 10, expected.min_ms / 10);
        assert!(found[DRAWS - 1].abs_diff(expected.max_ms) < 10);
        assert_near(mean(&found), expected.mean_ms as f64, 0.01, 8000.0);
    }
}

#[test]
fn full_jitter_draws_every_granule_alike_and_the_base_itself() {
    let backoff = Backoff {
        granularity_ms: 1000,
        ..Backoff::of(Shape::Fixed { delay_ms: 4000 })
    };
    let found = drawn(&backoff, 0, None);
    for granule in [0, 1000, 2000, 3000, 4000] {
        let count = found.iter().filter(|one| **one == granule).count();
        assert_near(count as f64, DRAWS as f64 / 5.0, 0.02, DRAWS as f64);
    }
    assert_eq!(
        window(&backoff, 0, None),
        Window {
            base_ms: 4000,
            min_ms: 0,
            mean_ms: 2000,
            max_ms: 4000
        }
    );
}

#[test]
fn floor_then_cap_then_jitter_then_granularity() {
    let backoff = Backoff {
        min_ms: 300,
        max_ms: 1000,
        jitter: Jitter::Additive { ratio: 0.5 },
        granularity_ms: 100,
        ..Backoff::of(Shape::doubling(10))
    };
    // Raised to the floor; jitter may go above the cap, and survives there.
    assert_eq!(window(&backoff, 0, None).min_ms, 300);
    let capped = window(&backoff, 30, None);
    assert_eq!(
        (capped.base_ms, capped.min_ms, capped.max_ms),
        (1000, 1000, 1400)
    );
    assert_eq!(capped.mean_ms, 1200);
}

#[test]
fn no_n_overflows_and_no_delay_is_above_ten_years() {
    let huge = [
        Shape::Exponential {
            initial_ms: u64::MAX,
            multiplier: 100.0,
            doublings_max: 0,
            base_ms: u64::MAX,
        },
        Shape::Exponential {
            initial_ms: 1,
            multiplier: 100.0,
            doublings_max: 5,
            base_ms: 0,
        },
        Shape::Exponential {
            initial_ms: 1,
            multiplier: f64::INFINITY,
            doublings_max: 0,
            base_ms: 0,
        },
        Shape::Linear {
            initial_ms: u64::MAX,
            step_ms: u64::MAX,
        },
        Shape::Polynomial {
            base_ms: u64::MAX,
            scale_ms: u64::MAX,
            degree: 8,
            offset: 1000,
        },
        Shape::Delays(Arc::from([u64::MAX])),
    ];
    for shape in huge {
        for jitter in every_jitter() {
            let backoff = Backoff {
                jitter,
                max_ms: u64::MAX,
                ..Backoff::of(shape.clone())
            };
            for n in [0, 1, u32::MAX - 1, u32::MAX] {
                let window = window(&backoff, n, Some(u64::MAX));
                assert!(window.max_ms <= DELAY_MS_MAX, "{backoff:?} {window:?}");
                assert!(window.contains(window.mean_ms), "{backoff:?} {window:?}");
            }
            assert_eq!(window(&backoff, u32::MAX, None).base_ms, DELAY_MS_MAX);
        }
    }
    let steady = Shape::Exponential {
        initial_ms: 5,
        multiplier: 1.0,
        doublings_max: 0,
        base_ms: 0,
    };
    assert_eq!(window(&Backoff::of(steady), u32::MAX, None).base_ms, 5);
}

#[test]
fn zero_and_nonsense_give_no_delay_rather_than_a_panic() {
    let zero = [
        Shape::Fixed { delay_ms: 0 },
        Shape::Delays(Arc::from([])),
        Shape::Exponential {
            initial_ms: 0,
            multiplier: 100.0,
            doublings_max: 0,
            base_ms: 0,
        },
        Shape::Exponential {
            initial_ms: 1,
            multiplier: f64::NAN,
            doublings_max: 0,
            base_ms: 0,
        },
        Shape::Exponential {
            initial_ms: 1,
            multiplier: -1e300,
            doublings_max: 0,
            base_ms: 0,
        },
        Shape::Decorrelated { base_ms: 0 },
    ];
    for shape in zero {
        let nonsense = Jitter::Symmetric { ratio: f64::NAN };
        let backoff = Backoff {
            jitter: nonsense,
            granularity_ms: 0,
            ..Backoff::of(shape)
        };
        assert_eq!(
            window(&backoff, 1001, None),
            Window::exactly(0),
            "{backoff:?}"
        );
    }
}

#[test]
fn a_draw_outside_of_0_to_1_counts_as_the_nearest_inside() {
    let policy = Policy::default();
    let internal = failure(FailureClass::Internal);
    for (u, expected) in [
        (-1.0, 0),
        (f64::NAN, 0),
        (1.0, 1000),
        (f64::INFINITY, 1000),
        (f64::NEG_INFINITY, 0),
    ] {
        assert_eq!(delay_ms(&Task::new(&policy).fails(&internal, u)), expected);
    }
}

#[test]
fn b8_timeouts_grow_by_half_up_to_four_times() {
    let policy = preset("recommended");
    let grown: Vec<u64> = (0..6)
        .map(|n| grown_timeout_ms(&policy, 30_000, n))
        .collect();
    assert_eq!(grown, [30_000, 45_000, 67_500, 101_250, 120_000, 120_000]);
}

#[test]
fn timeouts_never_shrink_and_never_exceed_thirty_days() {
    let policy = preset("recommended");
    assert_eq!(grown_timeout_ms(&policy, TIMEOUT_MS_MAX, 1), TIMEOUT_MS_MAX);
    assert_eq!(
        grown_timeout_ms(&policy, u64::MAX, u32::MAX),
        TIMEOUT_MS_MAX
    );
    assert_eq!(grown_timeout_ms(&policy, 0, u32::MAX), 0);
    for growth in [0.0, 1.0, 0.5, f64::NAN, f64::NEG_INFINITY] {
        let policy = Policy {
            timeout_growth: growth,
            ..Policy::default()
        };
        assert_eq!(grown_timeout_ms(&policy, 30_000, 9), 30_000);
        let policy = Policy {
            timeout_growth: 2.0,
            timeout_growth_max: growth,
            ..Policy::default()
        };
        assert_eq!(grown_timeout_ms(&policy, 30_000, 9), 30_000);
    }
}
