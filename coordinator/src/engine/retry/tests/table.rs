//! Policy, attempt and draw against the delay, as a table.

use super::*;

/// Shape and jitter, then for n = 0, 1, 2, 3 the delays of u = 0, 1/2 and almost 1.
type Row = (Shape, Jitter, [[u64; 3]; 4]);

fn doubling(initial_ms: u64) -> Shape {
    Shape::doubling(initial_ms)
}

fn jitters() -> Vec<Row> {
    vec![
        (
            doubling(1000),
            Jitter::None,
            [[1000; 3], [2000; 3], [4000; 3], [8000; 3]],
        ),
        (
            doubling(1000),
            Jitter::Full,
            [
                [0, 500, 1000],
                [0, 1000, 2000],
                [0, 2000, 4000],
                [0, 4000, 8000],
            ],
        ),
        (
            doubling(1000),
            Jitter::Equal,
            [
                [500, 750, 999],
                [1000, 1500, 1999],
                [2000, 3000, 3999],
                [4000, 6000, 7999],
            ],
        ),
        (
            doubling(1000),
            Jitter::Additive { ratio: 0.1 },
            [
                [1000, 1050, 1099],
                [2000, 2100, 2199],
                [4000, 4200, 4399],
                [8000, 8400, 8799],
            ],
        ),
        (
            doubling(1000),
            Jitter::Symmetric { ratio: 0.25 },
            [
                [750, 1000, 1249],
                [1500, 2000, 2499],
                [3000, 4000, 4999],
                [6000, 8000, 9999],
            ],
        ),
        (
            doubling(1000),
            Jitter::PerAttempt {
                per_attempt_ms: 100,
            },
            [
                [1000, 1050, 1099],
                [2000, 2100, 2199],
                [4000, 4150, 4299],
                [8000, 8200, 8399],
            ],
        ),
        (
            doubling(1000),
            Jitter::Below { ratio: 0.5 },
            [
                [1000, 750, 501],
                [2000, 1500, 1001],
                [4000, 3000, 2001],
                [8000, 6000, 4001],
            ],
        ),
    ]
}

fn shapes() -> Vec<Row> {
    vec![
        (
            Shape::Fixed { delay_ms: 60 },
            Jitter::Full,
            [[0, 30, 60], [0, 30, 60], [0, 30, 60], [0, 30, 60]],
        ),
        (
            Shape::Linear {
                initial_ms: 5,
                step_ms: 10,
            },
            Jitter::None,
            [[5; 3], [15; 3], [25; 3], [35; 3]],
        ),
        (
            Shape::Polynomial {
                base_ms: 7,
                scale_ms: 2,
                degree: 3,
                offset: 1,
            },
            Jitter::None,
            [[9; 3], [23; 3], [61; 3], [135; 3]],
        ),
        (
            Shape::Delays(Arc::from([3, 1, 4])),
            Jitter::None,
            [[3; 3], [1; 3], [4; 3], [4; 3]],
        ),
        (
            Shape::Exponential {
                initial_ms: 10,
                multiplier: 3.0,
                doublings_max: 1,
                base_ms: 100,
            },
            Jitter::None,
            [[110; 3], [130; 3], [160; 3], [190; 3]],
        ),
    ]
}

#[test]
fn every_shape_and_jitter_gives_the_delays_of_the_table() {
    for (shape, jitter, expected) in jitters().into_iter().chain(shapes()) {
        let backoff = Backoff {
            jitter,
            ..Backoff::of(shape)
        };
        let policy = Policy {
            backoff,
            max_attempts: 0,
            ..Policy::default()
        };
        for (n, expected) in (0_u32..).zip(expected) {
            let found = [0.0, 0.5, ALMOST_ONE].map(|u| {
                let mut task = Task::new(&policy);
                task.failures = n;
                delay_ms(&task.fails(&failure(FailureClass::Internal), u))
            });
            assert_eq!(found, expected, "{:?}, n = {n}", policy.backoff);
        }
    }
}

#[test]
fn decorrelated_delays_grow_from_the_one_drawn_before() {
    let shape = Shape::Decorrelated { base_ms: 1000 };
    let backoff = Backoff {
        max_ms: 20_000,
        ..Backoff::of(shape)
    };
    let policy = Policy {
        backoff,
        max_attempts: 0,
        ..Policy::default()
    };
    let delays = |u| life(&policy, &failure(FailureClass::Internal), u, 5).0;
    assert_eq!(delays(0.0), [1000; 5]);
    assert_eq!(delays(0.5), [2000, 3500, 5750, 9125, 14_187]);
    assert_eq!(delays(ALMOST_ONE), [2999, 8996, 20_000, 20_000, 20_000]);
}

#[test]
fn the_base_delay_is_recorded_beside_the_one_drawn() {
    let policy = Policy::default();
    let verdict = Task::new(&policy).fails(&failure(FailureClass::Internal), 0.25);
    assert_eq!(
        verdict.next,
        Next::Retry {
            base_ms: 1000,
            delay_ms: 250
        }
    );
}
