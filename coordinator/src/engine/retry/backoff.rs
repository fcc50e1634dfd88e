//! The wait between two runs: what a [`Backoff`] can draw, and drawing it.
//!
//! Owns the arithmetic of shapes, jitter and granularity, all of it saturating and in whole
//! milliseconds. Never draws randomness: the caller brings u. Invariant: `Spread::at` is the only
//! function that turns u into a delay, and it is monotone in u, so the window that a preview shows
//! and the delays that the judge draws cannot disagree.

use super::policy::{Backoff, Jitter, Shape};
use crate::engine::limits;
use crate::mutants::{self, Mutant};

/// The largest u that can be drawn: the last number below 1.
pub(super) const UNIT_MAX: f64 = 1.0 - f64::EPSILON / 2.0;

/// The delays that can be drawn, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The delay before jitter; of decorrelated backoff the longest.
    pub base_ms: u64,
    /// The shortest that can be drawn.
    pub min_ms: u64,
    /// The mean of all that can be drawn, to the nearest millisecond.
    pub mean_ms: u64,
    /// The longest that can be drawn.
    pub max_ms: u64,
}

impl Window {
    /// A delay that leaves nothing to chance.
    #[must_use]
    pub const fn exactly(delay_ms: u64) -> Self {
        Self {
            base_ms: delay_ms,
            min_ms: delay_ms,
            mean_ms: delay_ms,
            max_ms: delay_ms,
        }
    }

    /// Whether this delay could have been drawn.
    #[must_use]
    pub const fn contains(&self, delay_ms: u64) -> bool {
        self.min_ms <= delay_ms && delay_ms <= self.max_ms
    }
}

/// What a backoff can draw after `n` retries; `previous_ms` is the delay drawn for the last of
/// them, which only decorrelated backoff asks for.
#[must_use]
pub fn window(backoff: &Backoff, n: u32, previous_ms: Option<u64>) -> Window {
    Spread::of(backoff, n, previous_ms).window()
}

/// A delay that is yet to be drawn: uniform over `span_ms` whole milliseconds, cut to a floor and
/// a ceiling, then rounded down to the granularity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spread {
    base_ms: u64,
    /// Where the line begins, at u = 0.
    from_ms: u64,
    /// How many milliseconds it covers; 0 is a single point.
    span_ms: u64,
    /// Whether it goes down from `from_ms`.
    descends: bool,
    floor_ms: u64,
    ceiling_ms: u64,
    granularity_ms: u64,
}

impl Spread {
    /// What `backoff` can draw after `n` retries.
    pub(super) fn of(backoff: &Backoff, n: u32, previous_ms: Option<u64>) -> Self {
        let n = n.saturating_sub(u32::from(mutants::is(Mutant::BackoffLate)));
        let ceiling_ms = if mutants::is(Mutant::CapIgnored) {
            limits::DELAY_MS_MAX
        } else {
            backoff.max_ms.min(limits::DELAY_MS_MAX)
        };
        let floor_ms = backoff.min_ms.min(ceiling_ms);
        if let Shape::Decorrelated { base_ms } = backoff.shape {
            let previous_ms = previous_ms.unwrap_or(base_ms).min(limits::DELAY_MS_MAX);
            let top_ms = previous_ms.saturating_mul(3);
            return Self {
                base_ms: top_ms.max(base_ms).clamp(floor_ms, ceiling_ms),
                from_ms: base_ms.min(limits::DELAY_MS_MAX),
                span_ms: top_ms.saturating_sub(base_ms),
                descends: false,
                floor_ms,
                ceiling_ms,
                granularity_ms: backoff.granularity_ms.max(1),
            };
        }
        let base_ms = shape_ms(&backoff.shape, n).clamp(floor_ms, ceiling_ms);
        Self::jittered(base_ms, backoff.jitter, n, backoff.granularity_ms.max(1))
    }

    /// Uniform from `from_ms`, over `span_ms` whole milliseconds.
    pub(super) fn line(from_ms: u64, span_ms: u64) -> Self {
        Self {
            base_ms: from_ms.min(limits::DELAY_MS_MAX),
            from_ms: from_ms.min(limits::DELAY_MS_MAX),
            span_ms: span_ms.min(limits::DELAY_MS_MAX),
            descends: false,
            floor_ms: 0,
            ceiling_ms: limits::DELAY_MS_MAX,
            granularity_ms: 1,
        }
    }

    fn jittered(base_ms: u64, jitter: Jitter, n: u32, granularity_ms: u64) -> Self {
        let (from_ms, span_ms, descends) = match jitter {
            Jitter::None => (base_ms, 0, false),
            // One granule more than the base, so that the base itself can be drawn.
            Jitter::Full => {
                let granules = base_ms
                    .checked_div(granularity_ms)
                    .unwrap_or(0)
                    .saturating_add(1);
                (0, granules.saturating_mul(granularity_ms), false)
            }
            Jitter::Equal => {
                let half_ms = base_ms >> 1;
                (half_ms, base_ms.saturating_sub(half_ms), false)
            }
            Jitter::Additive { ratio } => (base_ms, share_ms(base_ms, ratio), false),
            Jitter::Symmetric { ratio } => {
                let part_ms = share_ms(base_ms, ratio);
                (
                    base_ms.saturating_sub(part_ms),
                    part_ms.saturating_mul(2),
                    false,
                )
            }
            Jitter::PerAttempt { per_attempt_ms } => (
                base_ms,
                per_attempt_ms.saturating_mul(u64::from(n).saturating_add(1)),
                false,
            ),
            Jitter::Below { ratio } => (base_ms, share_ms(base_ms, ratio), true),
        };
        Self {
            base_ms,
            descends,
            granularity_ms,
            ..Self::line(from_ms, span_ms)
        }
    }

    pub(super) const fn base_ms(&self) -> u64 {
        self.base_ms
    }

    pub(super) const fn descends(&self) -> bool {
        self.descends
    }

    /// The delay for this u, which is brought into [0, 1) whatever it is.
    pub(super) fn at(&self, u: f64) -> u64 {
        let offset_ms = floor(unit(u) * real(self.span_ms));
        let raw_ms = if self.descends {
            self.from_ms.saturating_sub(offset_ms)
        } else {
            self.from_ms.saturating_add(offset_ms)
        };
        self.cut(raw_ms)
    }

    /// What can be drawn. Bounds and mean are exact for every u that is a multiple of the span's
    /// reciprocal, which a drawn u approximates to 2^-53.
    pub(super) fn window(&self) -> Window {
        let (first_ms, last_ms) = (self.at(0.0), self.at(UNIT_MAX));
        Window {
            base_ms: self.base_ms,
            min_ms: first_ms.min(last_ms),
            mean_ms: self.mean_ms(),
            max_ms: first_ms.max(last_ms),
        }
    }

    fn cut(&self, raw_ms: u64) -> u64 {
        let cut_ms = raw_ms.clamp(self.floor_ms, self.ceiling_ms);
        cut_ms.saturating_sub(cut_ms.checked_rem(self.granularity_ms).unwrap_or(0))
    }

    /// The sum of all delays of the span over their number, each whole millisecond being as likely.
    fn mean_ms(&self) -> u64 {
        if self.span_ms == 0 {
            return self.cut(self.from_ms);
        }
        let reach_ms = self.span_ms.saturating_sub(1);
        let low_ms = if self.descends {
            self.from_ms.saturating_sub(reach_ms)
        } else {
            self.from_ms
        };
        let end_ms = low_ms.saturating_add(self.span_ms);
        // Below the floor and from the ceiling on every point counts as that; between them each
        // counts as its granule.
        let inner_low_ms = self.floor_ms.clamp(low_ms, end_ms);
        let inner_end_ms = self.ceiling_ms.clamp(inner_low_ms, end_ms);
        let below = wide(inner_low_ms.saturating_sub(low_ms));
        let above = wide(end_ms.saturating_sub(inner_end_ms));
        let inner = self
            .granules_below(inner_end_ms)
            .saturating_sub(self.granules_below(inner_low_ms));
        let sum = wide(self.cut(self.floor_ms))
            .saturating_mul(below)
            .saturating_add(inner)
            .saturating_add(wide(self.cut(self.ceiling_ms)).saturating_mul(above));
        let count = wide(self.span_ms);
        let mean = sum
            .saturating_add(count >> 1)
            .checked_div(count)
            .unwrap_or(0);
        u64::try_from(mean).unwrap_or(u64::MAX)
    }

    /// The sum of 0, 1, 2 .. `end_ms` - 1, each rounded down to the granularity.
    fn granules_below(&self, end_ms: u64) -> u128 {
        let (end, granule) = (wide(end_ms), wide(self.granularity_ms.max(1)));
        let whole = end.checked_div(granule).unwrap_or(0);
        let rest = end.checked_rem(granule).unwrap_or(0);
        let pairs = whole.saturating_mul(whole.saturating_sub(1)) >> 1;
        granule
            .saturating_mul(granule)
            .saturating_mul(pairs)
            .saturating_add(whole.saturating_mul(granule).saturating_mul(rest))
    }
}

/// The shape's delay, before floor and cap; at most [`limits::DELAY_MS_MAX`].
fn shape_ms(shape: &Shape, n: u32) -> u64 {
    let raw_ms = match shape {
        Shape::Exponential {
            initial_ms,
            multiplier,
            doublings_max,
            base_ms,
        } => {
            let bends_at = if *doublings_max == 0 {
                n
            } else {
                n.min(*doublings_max)
            };
            let step = real(*initial_ms) * power(*multiplier, bends_at);
            let steps = real(u64::from(n.saturating_sub(bends_at)).saturating_add(1));
            // Without an initial delay there is nothing to grow, however often it is multiplied.
            let grown_ms = if *initial_ms == 0 {
                0
            } else {
                nearest(step * steps)
            };
            grown_ms.saturating_add(*base_ms)
        }
        Shape::Fixed { delay_ms } => *delay_ms,
        Shape::Linear {
            initial_ms,
            step_ms,
        } => step_ms
            .saturating_mul(u64::from(n))
            .saturating_add(*initial_ms),
        Shape::Polynomial {
            base_ms,
            scale_ms,
            degree,
            offset,
        } => u64::from(n)
            .saturating_add(u64::from(*offset))
            .saturating_pow(*degree)
            .saturating_mul(*scale_ms)
            .saturating_add(*base_ms),
        Shape::Delays(delays) => {
            let index = usize::try_from(n).unwrap_or(usize::MAX);
            delays
                .get(index)
                .or_else(|| delays.last())
                .copied()
                .unwrap_or(0)
        }
        Shape::Decorrelated { base_ms } => *base_ms,
    };
    raw_ms.min(limits::DELAY_MS_MAX)
}

/// x^n by squaring: the same bits on every platform, and infinity rather than a panic.
pub(super) fn power(x: f64, n: u32) -> f64 {
    let (mut result, mut square, mut rest) = (1.0, x, n);
    while rest > 0 {
        if rest & 1 == 1 {
            result *= square;
        }
        square *= square;
        rest >>= 1;
    }
    result
}

/// `ratio` of a delay, to the nearest millisecond.
fn share_ms(delay_ms: u64, ratio: f64) -> u64 {
    nearest(real(delay_ms) * ratio)
}

/// u, brought into [0, 1).
fn unit(u: f64) -> f64 {
    if u.is_nan() {
        0.0
    } else {
        u.clamp(0.0, UNIT_MAX)
    }
}

const fn real(number: u64) -> f64 {
    number as f64
}

fn wide(number: u64) -> u128 {
    u128::from(number)
}

/// The nearest whole number; 0 for what is negative or no number, the most there is for what is
/// too large.
pub(super) fn nearest(number: f64) -> u64 {
    floor(number.round())
}

/// The whole number below; 0 for what is negative or no number, the most there is for what is too
/// large.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast of a float saturates, and makes 0 of what is no number"
)]
const fn floor(number: f64) -> u64 {
    number as u64
}
