//! Figures: what was measured, in one unit each, and the median of repeated runs.
//!
//! Pure. Values are kept unrounded; only what is shown is rounded.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use crate::output::human;

/// Nanoseconds of a microsecond.
const NS_PER_US: f64 = 1_000.0;
/// The longest latency that is told apart: an hour.
const LATENCY_NS_MAX: u64 = 3_600_000_000_000;
/// Digits that latencies are exact to.
const LATENCY_DIGITS: u8 = 3;

/// What a value is, and its unit. The order is that of the columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Metric {
    /// Things a second; the median over the runs.
    Rate,
    /// The slowest run's.
    RateMin,
    /// The fastest run's.
    RateMax,
    /// Tasks enqueued a second.
    EnqueueRate,
    /// Tasks drained a second.
    DrainRate,
    /// Half of them took at most so many microseconds.
    P50,
    /// Nine of ten.
    P90,
    /// 99 of a hundred.
    P99,
    /// 999 of a thousand.
    P999,
    /// The slowest one.
    Max,
    /// How long it took.
    Seconds,
    /// CPU microseconds of the coordinator for each.
    ServerCpu,
    /// CPU microseconds of this process for each.
    ClientCpu,
    /// Of the coordinator's: those of the engine's thread.
    EngineCpu,
    /// Those of the journal's threads.
    JournalCpu,
    /// Those of the threads that speak gRPC.
    GrpcCpu,
    /// The share of one core that the coordinator takes.
    CoreShare,
    /// The rate as a share of the bare server's.
    OfBare,
    /// Bytes of the coordinator's resident set.
    Rss,
    /// The growth of the resident set, for each task.
    RssPerTask,
    /// What the coordinator accounts for, for each task.
    AccountedPerTask,
    /// Bytes of the data directory, for each task.
    DiskPerTask,
}

impl Metric {
    /// Its name in JSON, with its unit.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Rate => "rate_per_second",
            Self::RateMin => "rate_per_second_min",
            Self::RateMax => "rate_per_second_max",
            Self::EnqueueRate => "enqueue_rate_per_second",
            Self::DrainRate => "drain_rate_per_second",
            Self::P50 => "p50_us",
            Self::P90 => "p90_us",
            Self::P99 => "p99_us",
            Self::P999 => "p99_9_us",
            Self::Max => "max_us",
            Self::Seconds => "seconds",
            Self::ServerCpu => "coordinator_cpu_us_per_item",
            Self::ClientCpu => "client_cpu_us_per_item",
            Self::EngineCpu => "engine_cpu_us_per_item",
            Self::JournalCpu => "journal_cpu_us_per_item",
            Self::GrpcCpu => "grpc_cpu_us_per_item",
            Self::CoreShare => "core_share",
            Self::OfBare => "share_of_bare",
            Self::Rss => "coordinator_rss_bytes",
            Self::RssPerTask => "rss_bytes_per_task",
            Self::AccountedPerTask => "accounted_bytes_per_task",
            Self::DiskPerTask => "disk_bytes_per_task",
        }
    }

    /// The head of its column; `None` where it is only in JSON.
    pub(crate) fn head(self) -> Option<&'static str> {
        match self {
            Self::Rate => Some("PER S"),
            Self::EnqueueRate => Some("ENQ /S"),
            Self::DrainRate => Some("DRAIN /S"),
            Self::P50 => Some("P50"),
            Self::P90 => Some("P90"),
            Self::P99 => Some("P99"),
            Self::P999 => Some("P99.9"),
            Self::Max => Some("MAX"),
            Self::Seconds => Some("SECONDS"),
            Self::ServerCpu => Some("SRV us"),
            Self::ClientCpu => Some("CLI us"),
            Self::EngineCpu => Some("ENG us"),
            Self::JournalCpu => Some("JNL us"),
            Self::GrpcCpu => Some("RPC us"),
            Self::CoreShare => Some("CORE"),
            Self::OfBare => Some("BARE"),
            Self::Rss => Some("RSS"),
            Self::RssPerTask => Some("RSS B"),
            Self::AccountedPerTask => Some("ACC B"),
            Self::DiskPerTask => Some("DISK B"),
            Self::RateMin | Self::RateMax => None,
        }
    }

    /// A value as people read it.
    pub(crate) fn show(self, value: f64) -> String {
        match self {
            Self::Rate
            | Self::RateMin
            | Self::RateMax
            | Self::EnqueueRate
            | Self::DrainRate
            | Self::RssPerTask
            | Self::AccountedPerTask
            | Self::DiskPerTask => grouped(value),
            Self::P50 | Self::P90 | Self::P99 | Self::P999 | Self::Max => latency(value),
            Self::Seconds => format!("{value:.3}"),
            Self::ServerCpu
            | Self::ClientCpu
            | Self::EngineCpu
            | Self::JournalCpu
            | Self::GrpcCpu => micros(value),
            Self::CoreShare => format!("{:.1}%", value * 100.0),
            Self::OfBare => format!("{:.0}%", value * 100.0),
            Self::Rss => human::size(whole(value)),
        }
    }
}

/// One thing that was measured.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Figure {
    /// Its name in JSON, unique in its phase.
    pub(crate) key: String,
    /// What it is, for people.
    pub(crate) title: String,
    /// How many things were done for it.
    pub(crate) count: u64,
    /// What came of it.
    pub(crate) values: BTreeMap<Metric, f64>,
}

impl Figure {
    pub(crate) fn new(key: impl Into<String>, title: impl Into<String>, count: u64) -> Self {
        Self {
            key: key.into(),
            title: title.into(),
            count,
            values: BTreeMap::new(),
        }
    }

    /// Adds a value.
    pub(crate) fn with(mut self, metric: Metric, value: f64) -> Self {
        self.values.insert(metric, value);
        self
    }

    /// Adds a value where there is one.
    pub(crate) fn with_some(self, metric: Metric, value: Option<f64>) -> Self {
        match value {
            Some(value) => self.with(metric, value),
            None => self,
        }
    }

    /// Adds quantiles of latencies.
    pub(crate) fn with_latencies(mut self, latencies: &Latencies, metrics: &[Metric]) -> Self {
        for &metric in metrics {
            if let Some(us) = latencies.us(metric) {
                self.values.insert(metric, us);
            }
        }
        self
    }

    /// A value, or none.
    pub(crate) fn get(&self, metric: Metric) -> Option<f64> {
        self.values.get(&metric).copied()
    }
}

/// The median of each value of each figure over runs of the same phase. Where there is more than
/// one run, the slowest and fastest rates stand beside it.
pub(crate) fn medians(runs: &[Vec<Figure>]) -> Vec<Figure> {
    let Some(first) = runs.first() else {
        return Vec::new();
    };
    first.iter().map(|figure| median_of(figure, runs)).collect()
}

fn median_of(figure: &Figure, runs: &[Vec<Figure>]) -> Figure {
    let same: Vec<&Figure> = runs
        .iter()
        .flatten()
        .filter(|other| other.key == figure.key)
        .collect();
    let mut result = Figure::new(figure.key.clone(), figure.title.clone(), figure.count);
    for &metric in figure.values.keys() {
        let mut values: Vec<f64> = same.iter().filter_map(|one| one.get(metric)).collect();
        values.sort_by(f64::total_cmp);
        result.values.insert(metric, median(&values));
        if metric == Metric::Rate
            && runs.len() > 1
            && let (Some(&least), Some(&most)) = (values.first(), values.last())
        {
            result.values.insert(Metric::RateMin, least);
            result.values.insert(Metric::RateMax, most);
        }
    }
    result
}

/// The middle one of sorted values, or the mean of the two in the middle; 0 where there are none.
fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    let at = |index: usize| sorted.get(index).copied().unwrap_or_default();
    if sorted.len().is_multiple_of(2) {
        f64::midpoint(at(middle.saturating_sub(1)), at(middle))
    } else {
        at(middle)
    }
}

/// Latencies, to three digits.
#[derive(Debug, Clone)]
pub(crate) struct Latencies {
    histogram: Histogram<u64>,
}

impl Latencies {
    /// None yet.
    ///
    /// # Errors
    /// Never: the bounds are constants that the histogram accepts.
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self {
            histogram: Histogram::new_with_bounds(1, LATENCY_NS_MAX, LATENCY_DIGITS)?,
        })
    }

    /// Records one latency in nanoseconds; what is longer than an hour counts as an hour.
    pub(crate) fn record(&mut self, ns: u64) {
        self.histogram.saturating_record(ns);
    }

    /// A quantile in microseconds, where the metric is one and anything was recorded.
    fn us(&self, metric: Metric) -> Option<f64> {
        if self.histogram.is_empty() {
            return None;
        }
        let quantile = match metric {
            Metric::P50 => 0.5,
            Metric::P90 => 0.9,
            Metric::P99 => 0.99,
            Metric::P999 => 0.999,
            Metric::Max => 1.0,
            Metric::Rate
            | Metric::RateMin
            | Metric::RateMax
            | Metric::EnqueueRate
            | Metric::DrainRate
            | Metric::Seconds
            | Metric::ServerCpu
            | Metric::ClientCpu
            | Metric::EngineCpu
            | Metric::JournalCpu
            | Metric::GrpcCpu
            | Metric::CoreShare
            | Metric::OfBare
            | Metric::Rss
            | Metric::RssPerTask
            | Metric::AccountedPerTask
            | Metric::DiskPerTask => return None,
        };
        Some(float(self.histogram.value_at_quantile(quantile)) / NS_PER_US)
    }
}

/// A count as a number to calculate with; exact below 2^53.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts and nanoseconds of a bench are far below 2^53"
)]
pub(crate) fn float(count: u64) -> f64 {
    count as f64
}

/// A number to the nearest whole one; negative ones read as zero.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` saturates at both ends, which is what is wanted of a figure"
)]
pub(crate) fn whole(value: f64) -> u64 {
    value.round() as u64
}

/// A whole number with a comma between thousands.
pub(crate) fn grouped(value: f64) -> String {
    let digits = whole(value).to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Microseconds of CPU time, to a tenth where there are few.
fn micros(value: f64) -> String {
    if value < 100.0 {
        format!("{value:.1}")
    } else {
        grouped(value)
    }
}

/// Microseconds to three digits, in the unit that suits them.
fn latency(us: f64) -> String {
    if us < 1_000.0 {
        return format!("{us:.0}us");
    }
    let (value, unit) = if us < 1_000_000.0 {
        (us / 1_000.0, "ms")
    } else {
        (us / 1_000_000.0, "s")
    };
    let digits = if value < 10.0 {
        2
    } else {
        usize::from(value < 100.0)
    };
    format!("{value:.digits$}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(value: f64) -> Vec<Figure> {
        vec![Figure::new("a", "A", 10).with(Metric::Rate, value)]
    }

    #[test]
    fn repeated_runs_are_told_by_their_median_and_their_range() {
        let figures = medians(&[rate(30.0), rate(10.0), rate(20.0)]);
        assert_eq!(figures[0].get(Metric::Rate), Some(20.0));
        assert_eq!(figures[0].get(Metric::RateMin), Some(10.0));
        assert_eq!(figures[0].get(Metric::RateMax), Some(30.0));
        let figures = medians(&[rate(30.0), rate(10.0)]);
        assert_eq!(figures[0].get(Metric::Rate), Some(20.0));
        assert_eq!(medians(&[rate(5.0)]), rate(5.0));
        assert!(medians(&[]).is_empty());
    }

    #[test]
    fn quantiles_are_exact_to_three_digits() {
        let mut latencies = Latencies::new().unwrap();
        (1..=1_000).for_each(|ms| latencies.record(ms * 1_000_000));
        let near = |metric, wanted: f64| {
            let us = latencies.us(metric).unwrap();
            assert!((us - wanted).abs() <= wanted / 1_000.0, "{us} {wanted}");
        };
        near(Metric::P50, 500_000.0);
        near(Metric::P99, 990_000.0);
        near(Metric::P999, 999_000.0);
        near(Metric::Max, 1_000_000.0);
        assert_eq!(latencies.us(Metric::Rate), None);
        assert_eq!(Latencies::new().unwrap().us(Metric::P50), None);
    }

    #[test]
    fn values_are_shown_in_units_that_suit_them() {
        assert_eq!(Metric::Rate.show(1_234_567.4), "1,234,567");
        assert_eq!(Metric::P50.show(999.4), "999us");
        assert_eq!(Metric::P50.show(1_234.0), "1.23ms");
        assert_eq!(Metric::P50.show(123_400.0), "123ms");
        assert_eq!(Metric::P50.show(12_340_000.0), "12.3s");
        assert_eq!(Metric::ServerCpu.show(12.34), "12.3");
        assert_eq!(Metric::ServerCpu.show(1_234.5), "1,235");
        assert_eq!(Metric::OfBare.show(0.534), "53%");
        assert_eq!(Metric::Rss.show(1_572_864.0), "1.5 MiB");
        assert_eq!(Metric::Rate.show(-1.0), "0");
    }
}
