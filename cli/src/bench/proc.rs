//! What the operating system knows of a process: CPU time and resident set, from `/proc`.
//!
//! Reads only. Where there is no `/proc` (another system, a process that is gone) there is no
//! figure, never a wrong one.

use std::{collections::BTreeMap, fs, time::Duration};

/// What threads of a coordinator do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// The one that decides.
    Engine,
    /// Those that encode, write and sync, and let go what waited for that.
    Journal,
    /// Those that speak gRPC.
    Grpc,
}

impl Role {
    /// The role of a thread by its name; `None` for those that are asked now and then.
    fn of(thread: &str) -> Option<Self> {
        match thread {
            "redrive-engine" => Some(Self::Engine),
            "tokio-rt-worker" => Some(Self::Grpc),
            name if name.starts_with("journal-") => Some(Self::Journal),
            _ => None,
        }
    }
}

/// The CPU time, user and system, of all threads that a process has or had; `None` where it cannot
/// be read. Counted in ticks, mostly of 10 ms.
pub(crate) fn cpu(pid: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    cpu_of(&stat, rustix::param::clock_ticks_per_second())
}

/// The CPU time of the threads that a process has, by what they do; empty where it cannot be read.
/// Counted in nanoseconds by the scheduler.
pub(crate) fn cpu_by_role(pid: u32) -> BTreeMap<Role, Duration> {
    let mut roles = BTreeMap::new();
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return roles;
    };
    for thread in threads.flatten() {
        let read = |file: &str| fs::read_to_string(thread.path().join(file)).ok();
        let role = read("comm").and_then(|name| Role::of(name.trim_end()));
        let spent = read("schedstat").and_then(|text| {
            let nanoseconds = text.split_ascii_whitespace().next()?.parse().ok()?;
            Some(Duration::from_nanos(nanoseconds))
        });
        if let Some((role, spent)) = role.zip(spent) {
            *roles.entry(role).or_default() += spent;
        }
    }
    roles
}

/// The bytes of a process that are in memory.
pub(crate) fn rss_bytes(pid: u32) -> Option<u64> {
    status_bytes(
        &fs::read_to_string(format!("/proc/{pid}/status")).ok()?,
        "VmRSS:",
    )
}

/// The bytes of memory that the machine could still give.
pub(crate) fn available_bytes() -> Option<u64> {
    status_bytes(&fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:")
}

/// Fields 14 and 15 of `/proc/PID/stat`. The name before them may hold anything, even brackets.
fn cpu_of(stat: &str, ticks_per_second: u64) -> Option<Duration> {
    let (_name, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    let total = ticks()?.checked_add(ticks()?)?;
    let micros = total
        .checked_mul(1_000_000)?
        .checked_div(ticks_per_second)?;
    Some(Duration::from_micros(micros))
}

/// The value of a line such as `VmRSS:     1234 kB`.
fn status_bytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read_past_any_name() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 8 0 9 1 2";
        assert_eq!(cpu_of(stat, 100), Some(Duration::from_secs(3)));
        assert_eq!(cpu_of(stat, 0), None);
        assert_eq!(cpu_of("7 (a) S 1", 100), None);
    }

    #[test]
    fn threads_have_roles_by_their_names() {
        assert_eq!(Role::of("redrive-engine"), Some(Role::Engine));
        assert_eq!(Role::of("journal-spares"), Some(Role::Journal));
        assert_eq!(Role::of("tokio-rt-worker"), Some(Role::Grpc));
        assert_eq!(Role::of("redrive"), None);
        let thread = std::thread::Builder::new().name("journal-write".to_owned());
        let looked = thread.spawn(|| cpu_by_role(std::process::id()));
        assert!(looked.unwrap().join().unwrap().contains_key(&Role::Journal));
        assert!(cpu_by_role(0).is_empty());
    }

    #[test]
    fn sizes_are_read_in_kibibytes() {
        let text = "VmPeak:\t   99 kB\nVmRSS:\t    1234 kB\n";
        assert_eq!(status_bytes(text, "VmRSS:"), Some(1234 * 1024));
        assert_eq!(status_bytes(text, "VmSwap:"), None);
    }

    #[test]
    fn the_own_process_has_both() {
        let pid = std::process::id();
        assert!(cpu(pid).is_some() && rss_bytes(pid).is_some_and(|bytes| bytes > 0));
        assert!(cpu(0).is_none() && available_bytes().is_some_and(|bytes| bytes > 0));
    }
}
