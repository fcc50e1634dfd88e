//! The named policies that ship with the product.
//!
//! Owns the numbers of other systems, so that whoever comes from one finds its schedule under its
//! name. Never changes at run time: a name means the same for as long as the process lives.
//! Invariant: every preset passes [`Policy::check`], and is told apart from what it is named after
//! in its description wherever the two differ.
//!
//! In the formulas n is the number of retries already made, 0 at the first failure. Where the other
//! system leaves the number of attempts or a delay to its user, the preset takes Redrive's own
//! default of 6 attempts or the example of that system's manual, and says so.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use super::policy::{Backoff, Jitter, Policy, Shape};
use super::recommended::recommended;

/// Milliseconds of a second, a minute, an hour and a day.
const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

static NAMED: LazyLock<BTreeMap<Arc<str>, Arc<Policy>>> = LazyLock::new(|| {
    let celery = [celery_default(), celery_autoretry(), celery_production()];
    let ruby_and_go = [sidekiq(), faktory(), asynq(), river()];
    let postgres = [oban(), graphile(), pg_boss()];
    let workflow = [temporal(), restate(), hatchet()];
    let brokers = [
        bullmq(),
        dramatiq(),
        cloud_tasks(),
        rabbitmq(),
        aws_decorrelated(),
    ];
    let own = [recommended(), immediate(), never()];
    let all = celery
        .into_iter()
        .chain(ruby_and_go)
        .chain(postgres)
        .chain(workflow);
    all.chain(brokers)
        .chain(own)
        .map(|policy| (policy.name.clone(), Arc::new(policy)))
        .collect()
});

/// The policy of this name, built once; `None` where there is none, see [`all`].
#[must_use]
pub fn named(name: &str) -> Option<Arc<Policy>> {
    NAMED.get(name).cloned()
}

/// All named policies, sorted by name.
#[must_use]
pub fn all() -> Vec<Arc<Policy>> {
    NAMED.values().cloned().collect()
}

fn preset(name: &str, max_attempts: u32, backoff: Backoff, description: &str) -> Policy {
    Policy {
        name: name.into(),
        description: description.into(),
        max_attempts,
        backoff,
        ..Policy::default()
    }
}

fn plain(shape: Shape) -> Backoff {
    Backoff {
        jitter: Jitter::None,
        ..Backoff::of(shape)
    }
}

fn celery_default() -> Policy {
    let backoff = plain(Shape::Fixed {
        delay_ms: 180 * SECOND,
    });
    preset(
        "celery-default",
        4,
        backoff,
        "180 s, without jitter. 4 attempts: max_retries=3. What self.retry() does in Celery without \
         countdown or eta (default_retry_delay, celery/app/task.py).",
    )
}

fn celery_autoretry() -> Policy {
    preset(
        "celery-autoretry",
        4,
        celery_backoff(),
        "Whole seconds, uniform in 0 ..= min(600, 2^n), so that a retry can be immediate. 4 \
         attempts: max_retries=3. Celery's autoretry_for with retry_backoff=True and the default \
         retry_backoff_max and retry_jitter (celery/utils/time.py). Celery retries only what \
         autoretry_for names; this retries every failure.",
    )
}

fn celery_production() -> Policy {
    preset(
        "celery-production",
        6,
        celery_backoff(),
        "Whole seconds, uniform in 0 ..= min(600, 2^n). 6 attempts: max_retries=5. The block that \
         Celery guides call a production configuration: retry_backoff=True, retry_backoff_max=600, \
         retry_jitter=True, max_retries=5. It gives up after at most 31 s, 15.5 s in the mean, and \
         never reaches its cap. Celery redelivers after a lost worker without end \
         (reject_on_worker_lost); here the third crash quarantines the task.",
    )
}

fn celery_backoff() -> Backoff {
    Backoff {
        granularity_ms: SECOND,
        ..Backoff::default()
    }
}

fn temporal() -> Policy {
    let backoff = Backoff {
        max_ms: 100 * SECOND,
        ..plain(Shape::doubling(SECOND))
    };
    preset(
        "temporal",
        0,
        backoff,
        "min(100, 2^n) s, without jitter, never giving up. Temporal's default activity retry policy \
         (initial_interval 1 s, backoff_coefficient 2, maximum_interval 100 times that).",
    )
}

fn fourth_power(jitter_ms: u64) -> Backoff {
    let shape = Shape::Polynomial {
        base_ms: 15 * SECOND,
        scale_ms: SECOND,
        degree: 4,
        offset: 0,
    };
    Backoff {
        jitter: Jitter::PerAttempt {
            per_attempt_ms: jitter_ms,
        },
        granularity_ms: SECOND,
        ..Backoff::of(shape)
    }
}

fn sidekiq() -> Policy {
    preset(
        "sidekiq",
        26,
        fourth_power(10 * SECOND),
        "n^4 + 15 + rand(10 * (n + 1)) s, in whole seconds. 26 attempts: 25 retries over about 20 \
         days (lib/sidekiq/job_retry.rb).",
    )
}

fn faktory() -> Policy {
    preset(
        "faktory",
        26,
        fourth_power(30 * SECOND),
        "n^4 + 15 + rand(30) * (n + 1) s. 26 attempts: 25 retries (manager/retry.go). Faktory's \
         jitter moves in steps of n + 1 s up to 29 * (n + 1); here every whole second below 30 * \
         (n + 1) can be drawn, n / 2 s more in the mean.",
    )
}

fn asynq() -> Policy {
    preset(
        "asynq",
        26,
        fourth_power(30 * SECOND),
        "n^4 + 15 + rand(30) * (n + 1) s. 26 attempts: 25 retries (server.go, \
         DefaultRetryDelayFunc). Asynq's jitter moves in steps of n + 1 s up to 29 * (n + 1); here \
         every whole second below 30 * (n + 1) can be drawn, n / 2 s more in the mean.",
    )
}

fn river() -> Policy {
    let shape = Shape::Polynomial {
        base_ms: 0,
        scale_ms: SECOND,
        degree: 4,
        offset: 1,
    };
    let backoff = Backoff {
        jitter: Jitter::Symmetric { ratio: 0.1 },
        ..Backoff::of(shape)
    };
    preset(
        "river",
        25,
        backoff,
        "(n + 1)^4 s, 10 % more or less. 25 attempts (internal/retrypolicy/default.go).",
    )
}

fn oban() -> Policy {
    let shape = Shape::Exponential {
        initial_ms: 2 * SECOND,
        multiplier: 2.0,
        doublings_max: 0,
        base_ms: 15 * SECOND,
    };
    let backoff = Backoff {
        max_ms: 15 * SECOND + (1 << 20) * SECOND,
        jitter: Jitter::Additive { ratio: 0.1 },
        granularity_ms: SECOND,
        ..Backoff::of(shape)
    };
    preset(
        "oban",
        20,
        backoff,
        "15 + 2^(n + 1) s and up to 10 % more, in whole seconds. 20 attempts (lib/oban/worker.ex). \
         Of a job with more than 20 attempts Oban stretches the same curve over all of them; here \
         such a task follows it for 20 and then stays at 15 + 2^20 s.",
    )
}

fn bullmq() -> Policy {
    preset(
        "bullmq",
        6,
        plain(Shape::doubling(SECOND)),
        "d * 2^n with d = 1 s, without jitter: type 'exponential', delay 1000, as in BullMQ's guide \
         (src/classes/backoffs.ts). BullMQ makes 1 attempt unless told otherwise; this makes 6. Its \
         jitter option j is jitter BELOW with ratio j.",
    )
}

fn dramatiq() -> Policy {
    let backoff = Backoff {
        max_ms: 7 * DAY,
        jitter: Jitter::Equal,
        ..Backoff::of(Shape::doubling(30 * SECOND))
    };
    preset(
        "dramatiq",
        21,
        backoff,
        "15 * 2^n * uniform(1, 2) s; where 30 * 2^n is above 7 days, uniform(0.5, 1) * 7 days. 21 \
         attempts: max_retries=20 (dramatiq/common.py, min_backoff 15 s, max_backoff 7 days).",
    )
}

fn graphile() -> Policy {
    // e^1 to e^10 s, in whole milliseconds.
    let delays = [
        2_718, 7_389, 20_086, 54_598, 148_413, 403_429, 1_096_633, 2_980_958, 8_103_084, 22_026_466,
    ];
    preset(
        "graphile",
        25,
        plain(Shape::Delays(Arc::from(delays))),
        "e^min(n + 1, 10) s, from 2.7 s to 6.1 h, without jitter. 25 attempts (Graphile Worker, \
         src/sql/failJobs.ts).",
    )
}

fn pg_boss() -> Policy {
    let backoff = Backoff {
        max_ms: (1 << 16) * SECOND,
        jitter: Jitter::Equal,
        ..Backoff::of(Shape::doubling(2 * SECOND))
    };
    preset(
        "pg-boss",
        3,
        backoff,
        "2^k / 2 + rand * 2^k / 2 s, k = min(16, n + 1): retryBackoff on, with the default \
         retryDelay (src/plans.ts). 3 attempts: retryLimit 2. Without retryBackoff pg-boss retries \
         at once.",
    )
}

fn restate() -> Policy {
    let backoff = Backoff {
        max_ms: 60 * SECOND,
        ..plain(Shape::doubling(500))
    };
    preset(
        "restate",
        70,
        backoff,
        "min(60, 0.5 * 2^n) s, without jitter. 70 attempts (crates/types/src/config/invocation.rs). \
         Restate then pauses the invocation; here the task becomes a dead letter, which can be \
         redriven.",
    )
}

fn hatchet() -> Policy {
    let backoff = Backoff {
        max_ms: DAY,
        ..plain(Shape::doubling(SECOND))
    };
    preset(
        "hatchet",
        6,
        backoff,
        "min(f^n, 86,400) s with f = 2, without jitter (sql/schema/v1-core.sql). Hatchet makes 1 \
         attempt, and retries at once, unless told otherwise; this makes 6, and waits.",
    )
}

fn cloud_tasks() -> Policy {
    let shape = Shape::Exponential {
        initial_ms: 10 * SECOND,
        multiplier: 2.0,
        doublings_max: 3,
        base_ms: 0,
    };
    let backoff = Backoff {
        max_ms: 300 * SECOND,
        ..plain(shape)
    };
    preset(
        "cloud-tasks",
        100,
        backoff,
        "10 * 2^n s for n <= 3, then 80 s more each time, at most 300 s, without jitter: the example \
         of Google Cloud Tasks' RetryConfig (min_backoff 10 s, max_backoff 300 s, max_doublings 3). \
         100 attempts. Cloud Tasks then deletes the task; here it becomes a dead letter.",
    )
}

fn rabbitmq() -> Policy {
    let shape = Shape::Linear {
        initial_ms: SECOND,
        step_ms: SECOND,
    };
    let backoff = Backoff {
        max_ms: MINUTE,
        ..plain(shape)
    };
    preset(
        "rabbitmq-4.3",
        21,
        backoff,
        "min(m * (n + 1), M), without jitter: the delayed retry of RabbitMQ 4.3's quorum queues, \
         which has no default for its delayed-retry-min m and delayed-retry-max M; here 1 s and 60 \
         s. 21 attempts: delivery-limit 20, the redeliveries.",
    )
}

fn aws_decorrelated() -> Policy {
    let shape = Shape::Decorrelated { base_ms: SECOND };
    let backoff = Backoff {
        max_ms: 600 * SECOND,
        ..Backoff::of(shape)
    };
    preset(
        "aws-decorrelated",
        6,
        backoff,
        "min(600, uniform(1, 3 * previous)) s, the previous delay of the first retry being 1 s: \
         \"decorrelated jitter\" of the AWS architecture blog, which leaves base, cap and attempts \
         open; here 1 s, 600 s and 6.",
    )
}

fn immediate() -> Policy {
    preset(
        "immediate",
        4,
        plain(Shape::Fixed { delay_ms: 0 }),
        "At once, without jitter. 4 attempts. What Celery's manual says of retry_backoff=False, \
         which in truth waits 180 s. Only for failures that the next attempt cannot meet again.",
    )
}

fn never() -> Policy {
    let policy = preset(
        "never",
        1,
        plain(Shape::Fixed { delay_ms: 0 }),
        "Never again: the first failure, and the first lost worker, makes a dead letter. What was \
         deferred, released or never begun is no failure and runs later.",
    );
    Policy {
        max_crashes: 1,
        ..policy
    }
}
