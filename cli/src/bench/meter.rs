//! The bench's clock, and what a stretch of work cost: time, and CPU on both sides. Never decides
//! what is measured: phases do.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{
    figure::{Figure, Metric, float},
    proc::{self, Role},
    target::Target,
};
use crate::clock;

/// Nanoseconds since the bench began; the same for producers and workers, which share a process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timeline {
    began: Instant,
}

impl Timeline {
    /// One that begins now.
    pub(crate) fn begin() -> Self {
        Self {
            began: clock::monotonic(),
        }
    }

    /// Now.
    pub(crate) fn ns(self) -> u64 {
        nanoseconds(clock::monotonic().duration_since(self.began))
    }
}

/// A span in nanoseconds.
pub(crate) fn nanoseconds(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// A stretch of work under way.
#[derive(Debug)]
pub(crate) struct Meter {
    began: Instant,
    server: Option<Duration>,
    roles: BTreeMap<Role, Duration>,
    client: Option<Duration>,
}

/// What it cost.
#[derive(Debug, Clone)]
pub(crate) struct Cost {
    /// How long it took.
    pub(crate) span: Duration,
    server: Option<Duration>,
    roles: BTreeMap<Role, Duration>,
    client: Option<Duration>,
}

impl Meter {
    /// Begins to measure.
    pub(crate) fn start(target: &Target) -> Self {
        Self {
            server: target.cpu(),
            roles: target.cpu_by_role(),
            client: proc::cpu(std::process::id()),
            began: clock::monotonic(),
        }
    }

    /// Ends it.
    pub(crate) fn stop(self, target: &Target) -> Cost {
        let span = clock::monotonic().duration_since(self.began);
        let spent = |before: Option<Duration>, after: Option<Duration>| {
            Some(after?.saturating_sub(before?))
        };
        let mut roles = target.cpu_by_role();
        for (role, spent) in &mut roles {
            *spent = spent.saturating_sub(self.roles.get(role).copied().unwrap_or_default());
        }
        Cost {
            span,
            roles,
            server: spent(self.server, target.cpu()),
            client: spent(self.client, proc::cpu(std::process::id())),
        }
    }
}

impl Cost {
    /// So many things a second.
    pub(crate) fn rate(&self, count: u64) -> f64 {
        let seconds = self.span.as_secs_f64();
        if seconds > 0.0 {
            float(count) / seconds
        } else {
            0.0
        }
    }

    /// A figure of that many things: their rate, and the CPU time of each on both sides.
    pub(crate) fn figure(&self, key: &str, title: impl Into<String>, count: u64) -> Figure {
        let figure = Figure::new(key, title, count).with(Metric::Rate, self.rate(count));
        self.with_cpu(figure)
    }

    /// Adds the CPU time of each thing of a figure, on both sides.
    pub(crate) fn with_cpu(&self, figure: Figure) -> Figure {
        let items = float(figure.count.max(1));
        let each = |spent: Option<Duration>| Some(spent?.as_secs_f64() * 1_000_000.0 / items);
        figure
            .with_some(Metric::ServerCpu, each(self.server))
            .with_some(Metric::ClientCpu, each(self.client))
            .with_some(Metric::EngineCpu, each(self.of(Role::Engine)))
            .with_some(Metric::JournalCpu, each(self.of(Role::Journal)))
            .with_some(Metric::GrpcCpu, each(self.of(Role::Grpc)))
    }

    /// The share of one core that the server took; 0 of no time.
    pub(crate) fn core_share(&self) -> Option<f64> {
        let span = self.span.as_secs_f64().max(f64::MIN_POSITIVE);
        Some(self.server?.as_secs_f64() / span)
    }

    fn of(&self, role: Role) -> Option<Duration> {
        self.roles.get(&role).copied()
    }
}
