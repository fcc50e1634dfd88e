//! The engine's clock: the only place of the coordinator where time enters.
//!
//! Owns the rule by which engine time follows the machine's clocks (`DESIGN.md`, rule 10). Never
//! decides anything by time: it hands out instants. Invariants: engine time never goes back (I8),
//! is never behind the wall clock, and never stands still while the machine's time passes.

use crate::mutants::{self, Mutant};
use std::time::{Duration, SystemTime};

use crate::engine::ids::Timestamp;

/// Engine time more than this ahead of the wall clock, or a step of more than this, is worth a
/// warning. Milliseconds.
pub const SKEW_WARNING_MS: u64 = 500;

/// Of ten nanoseconds that pass while the engine is ahead of the wall clock, it counts so many.
const SLOWED_TENTHS: u64 = 9;

const NANOS_PER_MS: u64 = 1_000_000;

/// What the machine's clocks say at one moment. Nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readings {
    /// Since the Unix epoch, as the machine believes; may jump either way.
    pub wall_ns: u64,
    /// Since the machine's boot, sleep included; never goes back.
    pub boot_ns: u64,
}

/// Where readings come from.
pub trait TimeSource: Send {
    /// Reads both clocks.
    fn read(&mut self) -> Readings;
}

/// The machine's own clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemTimeSource;

impl TimeSource for SystemTimeSource {
    #[expect(clippy::disallowed_methods, reason = "the one place where time enters")]
    fn read(&mut self) -> Readings {
        let wall = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        Readings {
            wall_ns: nanos(wall),
            boot_ns: nanos(Self::since_boot()),
        }
    }
}

impl SystemTimeSource {
    /// The boot-time clock alone, for what is measured and not decided by.
    pub(crate) fn since_boot() -> Duration {
        let boot = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        Duration::try_from(boot).unwrap_or_default()
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// One reading of the engine's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instant {
    /// Engine time.
    pub now: Timestamp,
    /// The boot-time clock, for measuring: unlike engine time it is neither slowed nor stepped.
    pub elapsed: Duration,
}

/// The engine's clock.
pub struct Clock {
    source: Box<dyn TimeSource>,
    engine_ns: u64,
    boot_ns: u64,
    skew_ns: u64,
    warned: bool,
}

impl Clock {
    /// A clock that begins at the wall clock, or at `not_before` (the newest time that the journal
    /// holds) where that is later.
    #[must_use]
    pub fn new(mut source: Box<dyn TimeSource>, not_before: Timestamp) -> Self {
        let readings = source.read();
        let floored = u64::from(!mutants::is(Mutant::ClockUnfloored));
        let floor = not_before.0.saturating_mul(NANOS_PER_MS * floored);
        let engine_ns = readings.wall_ns.max(floor);
        let skew_ns = engine_ns - readings.wall_ns;
        let mut clock = Self {
            source,
            engine_ns,
            boot_ns: readings.boot_ns,
            skew_ns,
            warned: false,
        };
        clock.warn_of_skew();
        clock
    }

    /// What time it is for the engine.
    pub fn read(&mut self) -> Instant {
        let readings = self.source.read();
        let passed_ns = readings.boot_ns.saturating_sub(self.boot_ns);
        self.boot_ns = self.boot_ns.max(readings.boot_ns);
        let natural_ns = self.engine_ns.saturating_add(passed_ns);
        self.engine_ns = advanced(self.engine_ns, passed_ns, readings.wall_ns);
        self.skew_ns = self.engine_ns - readings.wall_ns.min(self.engine_ns);

        let stepped_ms = self.engine_ns.saturating_sub(natural_ns) / NANOS_PER_MS;
        if stepped_ms > SKEW_WARNING_MS {
            tracing::warn!(
                stepped_ms,
                "the wall clock jumped ahead and engine time followed"
            );
        }
        self.warn_of_skew();
        Instant {
            now: Timestamp(self.engine_ns / NANOS_PER_MS),
            elapsed: Duration::from_nanos(self.boot_ns),
        }
    }

    /// How far engine time is ahead of the wall clock, as of the last reading.
    #[must_use]
    pub const fn skew(&self) -> Duration {
        Duration::from_nanos(self.skew_ns)
    }

    /// Warns once each time that the skew grows beyond what is usual.
    fn warn_of_skew(&mut self) {
        let skewed = self.skew_ns / NANOS_PER_MS > SKEW_WARNING_MS;
        if skewed && !self.warned {
            tracing::warn!(
                skew_ms = self.skew_ns / NANOS_PER_MS,
                "the wall clock is behind engine time, which runs at 90 % until they agree; \
                 check the machine's time synchronisation",
            );
        }
        self.warned = skewed;
    }
}

/// Engine time after `passed_ns` of the boot-time clock: the wall clock where that is ahead, else
/// onwards at 90 %.
fn advanced(engine_ns: u64, passed_ns: u64, wall_ns: u64) -> u64 {
    let slowed_ns = passed_ns / 10 * SLOWED_TENTHS + passed_ns % 10 * SLOWED_TENTHS / 10;
    wall_ns.max(engine_ns.saturating_add(slowed_ns))
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Clock")
            .field("engine_ns", &self.engine_ns)
            .field("skew_ns", &self.skew_ns)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    struct Script(VecDeque<Readings>);

    impl TimeSource for Script {
        fn read(&mut self) -> Readings {
            self.0.pop_front().expect("the script has another reading")
        }
    }

    fn ms(wall: u64, boot: u64) -> Readings {
        Readings {
            wall_ns: wall * NANOS_PER_MS,
            boot_ns: boot * NANOS_PER_MS,
        }
    }

    /// Engine time and skew after the start and after each further reading.
    fn told(not_before: u64, readings: &[(u64, u64)]) -> Vec<(u64, u128)> {
        let script = readings
            .iter()
            .map(|&(wall, boot)| ms(wall, boot))
            .collect();
        let mut clock = Clock::new(Box::new(Script(script)), Timestamp(not_before));
        let first = (clock.engine_ns / NANOS_PER_MS, clock.skew().as_millis());
        let rest = readings[1..].iter().map(|_| {
            let now = clock.read().now.0;
            (now, clock.skew().as_millis())
        });
        std::iter::once(first).chain(rest).collect()
    }

    #[test]
    fn engine_time_is_the_wall_clock_while_that_is_well_behaved() {
        let told = told(
            0,
            &[(10_000, 5), (10_100, 105), (10_100, 105), (11_100, 1_105)],
        );
        assert_eq!(told, [(10_000, 0), (10_100, 0), (10_100, 0), (11_100, 0)]);
    }

    #[test]
    fn engine_time_steps_forward_with_the_wall_clock() {
        let told = told(0, &[(10_000, 0), (3_610_000, 1_000), (3_611_000, 2_000)]);
        assert_eq!(told, [(10_000, 0), (3_610_000, 0), (3_611_000, 0)]);
    }

    #[test]
    fn engine_time_runs_at_nine_tenths_until_a_wall_clock_set_back_has_caught_up() {
        let readings = [
            (100_000, 0),
            (99_000, 0),     // set back by one second: engine time does not follow
            (100_000, 1000), // 1,000 ms later engine time has counted 900
            (108_000, 9000), // 9 s later: 100,900 + 7,200
            (109_000, 10_000),
            (110_000, 11_000),
        ];
        assert_eq!(
            told(0, &readings),
            [
                (100_000, 0),
                (100_000, 1000),
                (100_900, 900),
                (108_100, 100),
                (109_000, 0),
                (110_000, 0),
            ]
        );
    }

    #[test]
    fn engine_time_begins_no_earlier_than_the_newest_time_of_the_journal() {
        let told = told(50_000, &[(40_000, 7), (41_000, 1007), (240_000, 200_007)]);
        assert_eq!(told, [(50_000, 10_000), (50_900, 9_900), (240_000, 0)]);
    }

    #[test]
    fn engine_time_never_goes_back_and_never_stands_still() {
        // Every pair of a step of the wall clock and a lapse of the boot clock, one after another.
        let mut readings = vec![(1_000_000_u64, 0_u64)];
        for step in [-900_000_i64, -700, -1, 0, 1, 700, 900_000] {
            for lapse in [0_u64, 1, 10, 1000, 100_000] {
                let (wall, boot) = readings[readings.len() - 1];
                let wall = wall.saturating_add(lapse).saturating_add_signed(step);
                readings.push((wall, boot + lapse));
            }
        }
        let told = told(0, &readings);
        for (index, pair) in told.windows(2).enumerate() {
            let lapse = readings[index + 1].1 - readings[index].1;
            assert!(pair[1].0 >= pair[0].0, "went back at {index}");
            assert!(
                pair[1].0 - pair[0].0 >= lapse * 9 / 10,
                "stood still at {index}"
            );
            assert!(
                pair[1].0 >= readings[index + 1].0,
                "behind the wall clock at {index}"
            );
        }
    }

    #[test]
    fn a_boot_clock_that_goes_back_does_not_move_engine_time() {
        assert_eq!(
            told(0, &[(1000, 500), (900, 400)]),
            [(1000, 0), (1000, 100)]
        );
    }

    #[test]
    fn the_machine_has_both_clocks() {
        let first = SystemTimeSource.read();
        let second = SystemTimeSource.read();
        assert!(first.wall_ns > 1_600_000_000 * 1_000_000_000);
        assert!(first.boot_ns > 0 && second.boot_ns >= first.boot_ns);
    }
}
