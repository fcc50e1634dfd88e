//! What a coordinator is started with.
//!
//! Owns the settings, their defaults and what values they may have. Never reads flags or the
//! environment: the command line does. Invariant: a checked config starts unless the machine
//! refuses (an address in use, no threads left).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::IntErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use crate::engine::retry::presets;
use crate::journal::Durability;

/// Least and most shards: a task id names its shard with 12 bits.
pub const SHARDS_MAX: u16 = 4096;
/// The least memory limit that is accepted: below it not one large task fits.
pub const MEMORY_LIMIT_BYTES_MIN: u64 = 16 * 1024 * 1024;
/// The memory limit where the machine does not say how much it has.
pub const MEMORY_LIMIT_BYTES_UNKNOWN: u64 = 1024 * 1024 * 1024;
/// The shortest ping interval.
pub const PING_INTERVAL_MIN: Duration = Duration::from_millis(10);
/// The longest ping interval.
pub const PING_INTERVAL_MAX: Duration = Duration::from_secs(60);
/// The longest grace.
pub const GRACE_MAX: Duration = Duration::from_secs(3600);
/// The grace is more than so many ping intervals, so that a worker is suspected before it is lost.
pub const GRACE_PINGS_MIN: u32 = 3;
/// The shortest interval between syncs at level `interval`.
pub const SYNC_INTERVAL_MIN: Duration = Duration::from_millis(1);
/// The longest interval between syncs at level `interval`.
pub const SYNC_INTERVAL_MAX: Duration = Duration::from_secs(10);
/// The smallest segment of the journal.
pub const SEGMENT_BYTES_MIN: u64 = 1024 * 1024;
/// The largest segment of the journal.
pub const SEGMENT_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// The longest shutdown deadline.
pub const SHUTDOWN_DEADLINE_MAX: Duration = Duration::from_secs(3600);

/// What a coordinator is started with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where gRPC is served. Default 127.0.0.1:7480. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where health, readiness and metrics are served. Default 127.0.0.1:7481. Port 0 takes a free
    /// one.
    pub http_listen: SocketAddr,
    /// Serve on other than loopback addresses although anybody who reaches them may do anything.
    /// Default false.
    pub insecure: bool,
    /// Parts that the state is cut into, 1 to [`SHARDS_MAX`]. Default 16.
    pub shard_count: u16,
    /// Bytes that tasks may take, at least [`MEMORY_LIMIT_BYTES_MIN`]; enqueues are refused above
    /// 80 % of it. Default: half of the machine's memory or of the process's memory limit (cgroup
    /// v2), whichever is less; 1 GiB where neither is known.
    pub memory_limit_bytes: u64,
    /// How often a worker that holds work is pinged, 10 ms to 60 s. Default 5 s. A hard timeout is
    /// enforced by the coordinator two intervals after the worker should have done so.
    pub ping_interval: Duration,
    /// How long a worker's silence is borne before its tasks are given to others: more than
    /// [`GRACE_PINGS_MIN`] ping intervals, at most 1 h. Default 30 s. The worker stops what it runs
    /// after five sixths of it.
    pub grace: Duration,
    /// The name of the policy of tasks and queues that name none: a preset. Default "recommended".
    pub default_policy: String,
    /// How long a graceful stop may take, 1 ms to 1 h. Default 25 s.
    pub shutdown_deadline: Duration,
    /// The directory of the journal, made where it is missing; one coordinator at a time. Default
    /// none: everything is kept in memory and ends with the process.
    pub data_dir: Option<PathBuf>,
    /// What "accepted" means. Default: always where there is a data directory, else memory.
    pub durability: Option<Durability>,
    /// How often the journal is synced at level `interval`, 1 ms to 10 s. Default 10 ms.
    pub sync_interval: Duration,
    /// Bytes of one segment of the journal, 1 MiB to 1 GiB. Default 64 MiB. An empty journal takes
    /// three of them.
    pub segment_bytes: u64,
}

impl Default for Config {
    fn default() -> Self {
        let loopback = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        Self {
            listen: loopback(7480),
            http_listen: loopback(7481),
            insecure: false,
            shard_count: 16,
            memory_limit_bytes: default_memory_limit_bytes(),
            ping_interval: Duration::from_secs(5),
            grace: Duration::from_secs(30),
            default_policy: "recommended".to_owned(),
            shutdown_deadline: Duration::from_secs(25),
            data_dir: None,
            durability: None,
            sync_interval: Duration::from_millis(10),
            segment_bytes: 64 * 1024 * 1024,
        }
    }
}

/// A setting that cannot be. Fields are named as the command line's flags.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{flag}: {problem}")]
pub struct ConfigError {
    /// Which setting.
    pub flag: &'static str,
    /// What is wrong with it and what would be right.
    pub problem: String,
}

impl Config {
    /// Checks all settings.
    ///
    /// # Errors
    /// The first setting that cannot be.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.check_address("--listen", self.listen)?;
        self.check_address("--http-listen", self.http_listen)?;
        if self.listen == self.http_listen && self.listen.port() != 0 {
            let problem = format!(
                "{} is taken by --listen already; choose another port",
                self.listen
            );
            return Err(ConfigError {
                flag: "--http-listen",
                problem,
            });
        }
        if !(1..=SHARDS_MAX).contains(&self.shard_count) {
            let problem = format!("{} is not between 1 and {SHARDS_MAX}", self.shard_count);
            return Err(ConfigError {
                flag: "--shards",
                problem,
            });
        }
        if self.memory_limit_bytes < MEMORY_LIMIT_BYTES_MIN {
            let problem = format!(
                "{} bytes are too few; give at least {MEMORY_LIMIT_BYTES_MIN} (16 MiB)",
                self.memory_limit_bytes
            );
            return Err(ConfigError {
                flag: "--memory-limit",
                problem,
            });
        }
        self.check_durations()?;
        self.check_journal()?;
        if presets::named(&self.default_policy).is_none() {
            let all = presets::all();
            let names: Vec<&str> = all.iter().map(|policy| &*policy.name).collect();
            let problem = format!(
                "there is no policy {:?}; choose one of {}",
                self.default_policy,
                names.join(", ")
            );
            return Err(ConfigError {
                flag: "--default-policy",
                problem,
            });
        }
        Ok(())
    }

    fn check_address(&self, flag: &'static str, address: SocketAddr) -> Result<(), ConfigError> {
        if address.ip().is_loopback() || self.insecure {
            return Ok(());
        }
        let problem = format!(
            "{address} can be reached from other machines, and whoever reaches it may do anything: \
             there is no authentication yet; use a loopback address such as 127.0.0.1:{}, or add \
             --insecure where the network itself keeps strangers out",
            address.port()
        );
        Err(ConfigError { flag, problem })
    }

    /// What "accepted" means.
    #[must_use]
    pub fn durability(&self) -> Durability {
        self.durability.unwrap_or(match self.data_dir {
            Some(_) => Durability::Always,
            None => Durability::Memory,
        })
    }

    fn check_journal(&self) -> Result<(), ConfigError> {
        let refuse = |flag, problem| Err(ConfigError { flag, problem });
        match (self.durability(), &self.data_dir) {
            (Durability::Always | Durability::Interval, None) => {
                let problem = "is missing: say where the journal lies, or --durability memory \
                               where tasks may be gone when the coordinator ends";
                return refuse("--data-dir", problem.to_owned());
            }
            (Durability::Memory, Some(dir)) => {
                let problem = format!(
                    "memory writes nothing to {}; leave --data-dir out, or use always or interval",
                    dir.display()
                );
                return refuse("--durability", problem);
            }
            (Durability::Always | Durability::Interval, Some(_)) | (Durability::Memory, None) => {}
        }
        if !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&self.segment_bytes) {
            let problem = format!(
                "{} bytes are not between {SEGMENT_BYTES_MIN} (1 MiB) and {SEGMENT_BYTES_MAX} \
                 (1 GiB)",
                self.segment_bytes
            );
            return refuse("--segment-size", problem);
        }
        Ok(())
    }

    fn check_durations(&self) -> Result<(), ConfigError> {
        let check = |flag, value: Duration, least: Duration, most: Duration| {
            if (least..=most).contains(&value) {
                return Ok(());
            }
            let problem = format!("{value:?} is not between {least:?} and {most:?}");
            Err(ConfigError { flag, problem })
        };
        check(
            "--ping-interval",
            self.ping_interval,
            PING_INTERVAL_MIN,
            PING_INTERVAL_MAX,
        )?;
        check(
            "--sync-interval",
            self.sync_interval,
            SYNC_INTERVAL_MIN,
            SYNC_INTERVAL_MAX,
        )?;
        let least = Duration::from_millis(1);
        check(
            "--shutdown-deadline",
            self.shutdown_deadline,
            least,
            SHUTDOWN_DEADLINE_MAX,
        )?;
        let pings = self.ping_interval * GRACE_PINGS_MIN;
        if self.grace <= pings || self.grace > GRACE_MAX {
            let problem = format!(
                "{:?} is not more than {pings:?} (three ping intervals) and at most {GRACE_MAX:?}; \
                 change it, or --ping-interval",
                self.grace
            );
            return Err(ConfigError {
                flag: "--grace",
                problem,
            });
        }
        Ok(())
    }

    /// How long after a hard timeout the coordinator acts in the worker's place: two ping
    /// intervals, 10 s by default.
    #[must_use]
    pub fn hard_timeout_margin(&self) -> Duration {
        self.ping_interval * 2
    }
}

/// Half of the memory that this process can have.
fn default_memory_limit_bytes() -> u64 {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let machine = meminfo_total_bytes(&read("/proc/meminfo"));
    let allowed = cgroup_max_bytes(&read("/sys/fs/cgroup/memory.max"));
    half_of_the_least(machine, allowed)
}

fn half_of_the_least(machine: Option<u64>, allowed: Option<u64>) -> u64 {
    let least = machine.into_iter().chain(allowed).min();
    least.map_or(MEMORY_LIMIT_BYTES_UNKNOWN, |bytes| {
        (bytes / 2).max(MEMORY_LIMIT_BYTES_MIN)
    })
}

fn meminfo_total_bytes(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

fn cgroup_max_bytes(text: &str) -> Option<u64> {
    match text.trim().parse::<u64>() {
        Ok(bytes) => Some(bytes),
        // Anything but a number, such as "max", is no limit.
        Err(error) if *error.kind() == IntErrorKind::PosOverflow => Some(u64::MAX),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut Config)) -> String {
        let mut config = Config::default();
        change(&mut config);
        config.check().unwrap_err().to_string()
    }

    #[test]
    fn the_defaults_are_allowed_and_scale_as_documented() {
        let config = Config::default();
        assert_eq!(config.check(), Ok(()));
        assert_eq!(config.hard_timeout_margin(), Duration::from_secs(10));
        assert!(config.listen.ip().is_loopback() && config.http_listen.ip().is_loopback());
    }

    #[test]
    fn a_data_directory_means_always_unless_something_else_is_said() {
        let mut config = Config::default();
        assert_eq!(config.durability(), Durability::Memory);
        config.data_dir = Some("data".into());
        assert_eq!(config.durability(), Durability::Always);
        config.durability = Some(Durability::Interval);
        assert_eq!(
            (config.durability(), config.check()),
            (Durability::Interval, Ok(()))
        );
    }

    #[test]
    fn addresses_beyond_loopback_need_to_be_asked_for() {
        let open: SocketAddr = "0.0.0.0:7480".parse().unwrap();
        let text = refused(|config| config.listen = open);
        assert!(
            text.starts_with("--listen: 0.0.0.0:7480 can be reached"),
            "{text}"
        );
        assert!(
            text.contains("--insecure") && text.contains("127.0.0.1:7480"),
            "{text}"
        );
        let text = refused(|config| config.http_listen = "[::]:9".parse().unwrap());
        assert!(text.starts_with("--http-listen: [::]:9"), "{text}");
        let config = Config {
            listen: open,
            insecure: true,
            ..Config::default()
        };
        assert_eq!(config.check(), Ok(()));
        let six = "[::1]:7480".parse().unwrap();
        assert_eq!(
            Config {
                listen: six,
                ..Config::default()
            }
            .check(),
            Ok(())
        );
    }

    #[test]
    fn refusals_name_the_flag_the_limit_and_the_remedy() {
        let seconds = Duration::from_secs;
        let cases = [
            (
                refused(|config| config.shard_count = 0),
                "--shards: 0 is not between 1 and 4096",
            ),
            (
                refused(|config| config.shard_count = 4097),
                "--shards: 4097 is not between 1 and 4096",
            ),
            (
                refused(|config| config.memory_limit_bytes = 5),
                "--memory-limit: 5 bytes are too few; give at least 16777216 (16 MiB)",
            ),
            (
                refused(|config| config.ping_interval = Duration::ZERO),
                "--ping-interval: 0ns is not between 10ms and 60s",
            ),
            (
                refused(|config| config.grace = seconds(15)),
                "--grace: 15s is not more than 15s (three ping intervals) and at most 3600s; \
                 change it, or --ping-interval",
            ),
            (
                refused(|config| config.shutdown_deadline = seconds(3601)),
                "--shutdown-deadline: 3601s is not between 1ms and 3600s",
            ),
            (
                refused(|config| config.durability = Some(Durability::Always)),
                "--data-dir: is missing: say where the journal lies, or --durability memory where \
                 tasks may be gone when the coordinator ends",
            ),
            (
                refused(|config| {
                    config.data_dir = Some("data".into());
                    config.durability = Some(Durability::Memory);
                }),
                "--durability: memory writes nothing to data; leave --data-dir out, or use always \
                 or interval",
            ),
            (
                refused(|config| config.sync_interval = seconds(11)),
                "--sync-interval: 11s is not between 1ms and 10s",
            ),
            (
                refused(|config| config.segment_bytes = 1000),
                "--segment-size: 1000 bytes are not between 1048576 (1 MiB) and 1073741824 (1 GiB)",
            ),
            (
                refused(|config| config.http_listen = config.listen),
                "--http-listen: 127.0.0.1:7480 is taken by --listen already; choose another port",
            ),
        ];
        for (told, expected) in cases {
            assert_eq!(told, expected);
        }
        let text = refused(|config| config.default_policy = "best".to_owned());
        assert!(
            text.contains("\"best\"") && text.contains("recommended, "),
            "{text}"
        );
    }

    #[test]
    fn the_memory_limit_is_half_of_what_the_process_can_have() {
        let meminfo = "MemTotal:       16384 kB\nMemFree:  1 kB\n";
        assert_eq!(meminfo_total_bytes(meminfo), Some(16_777_216));
        assert_eq!(meminfo_total_bytes("MemFree: 1 kB\n"), None);
        assert_eq!(cgroup_max_bytes("536870912\n"), Some(536_870_912));
        assert_eq!(cgroup_max_bytes("max\n"), None);
        let gib = 1024 * 1024 * 1024;
        assert_eq!(half_of_the_least(Some(8 * gib), Some(2 * gib)), gib);
        assert_eq!(half_of_the_least(Some(8 * gib), None), 4 * gib);
        assert_eq!(half_of_the_least(None, None), MEMORY_LIMIT_BYTES_UNKNOWN);
        assert_eq!(half_of_the_least(Some(1), None), MEMORY_LIMIT_BYTES_MIN);
    }
}
