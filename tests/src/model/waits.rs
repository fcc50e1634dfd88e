//! How long a retry may have to wait: the bounds of every backoff (docs/retry-policies.md, "A wait").
//!
//! Owns the formulas, written anew from the document. Never draws anything.

use redrive_coordinator::engine::retry::policy::{Backoff, Jitter, Shape};

/// Rounding of what is computed in another order may be off by this. Milliseconds.
const SLACK_MS: f64 = 2.0;
/// Nothing waits longer: 3,650 days. Milliseconds.
const WAIT_MS_MAX: f64 = 3650.0 * 24.0 * 3600.0 * 1000.0;

/// The shortest and the longest wait. Milliseconds, both included.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Wait {
    pub(super) min: f64,
    pub(super) max: f64,
}

impl Wait {
    pub(super) const fn exactly(ms: u64) -> Self {
        let ms = float(ms);
        Self { min: ms, max: ms }
    }

    pub(super) const fn allows(&self, ms: u64) -> bool {
        self.min - SLACK_MS <= float(ms) && float(ms) <= self.max + SLACK_MS
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "3,650 days in milliseconds are far below 2^53"
)]
pub(super) const fn float(ms: u64) -> f64 {
    ms as f64
}

/// The bounds of the wait after n retries were made, where the one before waited so long.
pub(super) fn bounds(backoff: &Backoff, n: u32, previous_ms: Option<u64>) -> Wait {
    let n_ = f64::from(n);
    let (low, high) = match &backoff.shape {
        Shape::Exponential {
            initial_ms,
            multiplier,
            doublings_max,
            base_ms,
        } => {
            let base = float(*base_ms);
            let grown = grow(float(*initial_ms), *multiplier, *doublings_max, n);
            (base + grown, base + grown)
        }
        Shape::Fixed { delay_ms } => (float(*delay_ms), float(*delay_ms)),
        Shape::Linear {
            initial_ms,
            step_ms,
        } => {
            let ms = n_.mul_add(float(*step_ms), float(*initial_ms));
            (ms, ms)
        }
        Shape::Polynomial {
            base_ms,
            scale_ms,
            degree,
            offset,
        } => {
            let power = (n_ + f64::from(*offset)).powi(i32::try_from(*degree).unwrap_or(i32::MAX));
            let ms = float(*scale_ms).mul_add(power, float(*base_ms));
            (ms, ms)
        }
        Shape::Delays(delays) => {
            let at = usize::try_from(n).unwrap_or(usize::MAX);
            let delay = delays.get(at).or_else(|| delays.last());
            let ms = float(delay.copied().unwrap_or(0));
            (ms, ms)
        }
        Shape::Decorrelated { base_ms } => {
            let base = float(*base_ms);
            (base, 3.0 * previous_ms.map_or(base, float).max(base))
        }
    };
    let (floor, cap) = (
        float(backoff.min_ms),
        float(backoff.max_ms).min(WAIT_MS_MAX),
    );
    let cut = |ms: f64| ms.max(floor).min(cap);
    let (low, high) = (cut(low), cut(high));
    let (min, max) = match backoff.jitter {
        Jitter::None => (low, high),
        Jitter::Full => (0.0, high),
        Jitter::Equal => (low / 2.0, high),
        Jitter::Additive { ratio } => (low, high * (1.0 + ratio)),
        Jitter::Symmetric { ratio } => (low * (1.0 - ratio), high * (1.0 + ratio)),
        Jitter::PerAttempt { per_attempt_ms } => {
            (low, float(per_attempt_ms).mul_add(n_ + 1.0, high))
        }
        Jitter::Below { ratio } => (low * (1.0 - ratio), high),
    };
    let step = float(backoff.granularity_ms);
    let down = |ms: f64| (ms / step).floor() * step;
    Wait {
        min: down(min),
        max: down(max.min(WAIT_MS_MAX)),
    }
}

/// initial * multiplier^n, linear by the step reached after `doublings_max` multiplications.
fn grow(initial: f64, multiplier: f64, doublings_max: u32, n: u32) -> f64 {
    let power = |times: u32| initial * multiplier.powi(i32::try_from(times).unwrap_or(i32::MAX));
    if doublings_max == 0 || n <= doublings_max {
        return power(n);
    }
    // The example of RetryConfig of Google Cloud Tasks: 10, 20, 40, 80, 160, 240 ..
    let top = power(doublings_max);
    top * f64::from(n - doublings_max + 1)
}
