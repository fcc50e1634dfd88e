//! The phases: their names, what each measures, and how much it does unless told otherwise. Owns
//! the list alone; what a phase does is in `phases`.

use std::collections::BTreeSet;

use clap::ValueEnum;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Phase {
    /// Syncs a second of this file system, and what the journal makes of them
    Sync,
    /// The same messages with a bare gRPC server behind them: what the machine could do
    Baseline,
    /// Enqueueing: unary at 1, 64 and 256 in flight, batches, streams
    Enqueue,
    /// Tasks that wait already, to workers that do nothing
    Drain,
    /// Producers and workers at once
    Steady,
    /// From the enqueue call to the handler, and to the recorded end, at a fixed rate
    Latency,
    /// Every task fails some times before it succeeds
    Retries,
    /// Many tasks due at the same instant, and another queue meanwhile
    Timers,
    /// Enqueueing and draining beside, and behind, many tasks that wait
    Backlog,
    /// Memory of the coordinator for each waiting task
    Memory,
    /// Workers that are connected and get no work
    Idle,
    /// SIGKILL with tasks waiting: how long until they can be worked on again
    Recovery,
}

/// What is measured unless phases are named; takes less than a minute.
pub(crate) const DEFAULT: [Phase; 6] = [
    Phase::Sync,
    Phase::Baseline,
    Phase::Enqueue,
    Phase::Drain,
    Phase::Steady,
    Phase::Latency,
];

impl Phase {
    /// Its name on the command line and in JSON.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Baseline => "baseline",
            Self::Enqueue => "enqueue",
            Self::Drain => "drain",
            Self::Steady => "steady",
            Self::Latency => "latency",
            Self::Retries => "retries",
            Self::Timers => "timers",
            Self::Backlog => "backlog",
            Self::Memory => "memory",
            Self::Idle => "idle",
            Self::Recovery => "recovery",
        }
    }

    /// How many tasks (or syncs, or idle workers) it takes unless `--tasks` says otherwise.
    pub(crate) fn tasks_default(self) -> u64 {
        match self {
            Self::Sync => 2_000,
            Self::Baseline | Self::Enqueue | Self::Drain | Self::Steady => 100_000,
            Self::Latency => 0,
            Self::Idle => 10_000,
            Self::Retries | Self::Backlog => 20_000,
            Self::Timers => 50_000,
            Self::Memory | Self::Recovery => 200_000,
        }
    }

    /// True where the coordinator's process must be the bench's own.
    pub(crate) fn needs_own_coordinator(self) -> bool {
        match self {
            Self::Memory | Self::Idle | Self::Recovery => true,
            Self::Sync
            | Self::Baseline
            | Self::Enqueue
            | Self::Drain
            | Self::Steady
            | Self::Latency
            | Self::Retries
            | Self::Timers
            | Self::Backlog => false,
        }
    }

    /// True where a coordinator is asked at all.
    pub(crate) fn needs_coordinator(self) -> bool {
        self != Self::Sync && self != Self::Baseline
    }
}

/// The phases named, each once, in the order in which they were; the default ones where none is.
pub(crate) fn chosen(named: &[Phase]) -> Vec<Phase> {
    if named.is_empty() {
        return DEFAULT.to_vec();
    }
    let mut seen = BTreeSet::new();
    let once = named.iter().filter(|phase| seen.insert(**phase));
    once.copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_command_line() {
        for phase in Phase::value_variants() {
            assert_eq!(phase.to_possible_value().unwrap().get_name(), phase.name());
        }
    }

    #[test]
    fn a_phase_named_twice_is_measured_once() {
        let (drain, sync) = (Phase::Drain, Phase::Sync);
        assert_eq!(chosen(&[drain, sync, drain]), [drain, sync]);
        assert_eq!(chosen(&[]), DEFAULT);
    }
}
