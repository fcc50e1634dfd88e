//! Makes calls of a process fail, by `strace`, and tells when one did.
//!
//! Owns the tracer's words and its log. Never decides what must follow.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime},
};

use redrive_tests::process::{Coordinator, Folder, Setup, search_path};

/// A rename, by the names that it has: not every architecture has all of them.
pub(crate) const RENAME: &str = "?rename,?renameat,?renameat2";

/// A call that fails.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    call: &'static str,
    error: &'static str,
    when: u32,
}

impl Fault {
    /// The call that is each thread's number `when` of this name fails with this error.
    pub(crate) const fn new(call: &'static str, error: &'static str, when: u32) -> Self {
        Self { call, error, when }
    }

    /// What the machine calls it.
    pub(crate) fn says(&self) -> &'static str {
        match self.error {
            "ENOSPC" => "No space left on device",
            _ => "Input/output error",
        }
    }

    /// True where syncs of data fail, which every acknowledgement needs one of.
    pub(crate) fn is_sync(&self) -> bool {
        self.call == "fdatasync"
    }
}

/// A traced coordinator's log.
#[derive(Debug)]
pub(crate) struct Traced(PathBuf);

/// The words that run a program so that its call fails, and write down what was seen.
fn words(fault: &Fault, log: &Path) -> [String; 10] {
    let Fault { call, error, when } = fault;
    [
        "strace".to_owned(),
        "-f".to_owned(),
        "-qq".to_owned(),
        "--seccomp-bpf".to_owned(),
        "--absolute-timestamps=format:unix,precision:us".to_owned(),
        "--signal=none".to_owned(),
        "--decode-fds=path".to_owned(),
        format!("--output={}", log.display()),
        format!("--trace={call}"),
        format!("--inject={call}:error={error}:when={when}"),
    ]
}

/// Why nobody can be traced here, where nobody can: tried with the words of the tests and their
/// environment, because an older strace may not know one of them.
pub(crate) fn possible(fault: &Fault) -> Result<(), String> {
    let folder = Folder::new(env!("CARGO_TARGET_TMPDIR"), "probe");
    let [strace, flags @ ..] = words(fault, &folder.path().join("calls"));
    let tried = Command::new(strace)
        .args(flags)
        .arg("true")
        .env_clear()
        .envs(search_path())
        .output();
    match tried {
        Err(error) => Err(format!("strace cannot be run: {error}")),
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(format!("strace cannot trace: {}", said.trim_end()))
        }
    }
}

impl Traced {
    /// Starts a coordinator whose call will fail. It may never be ready.
    pub(crate) fn start(setup: &Setup, folder: &Folder, fault: &Fault) -> (Self, Coordinator) {
        let log = folder.path().join("calls");
        let setup = setup.clone().under(&words(fault, &log));
        (Self(log), setup.spawn())
    }

    /// When the call failed that it cannot survive, where one did: the first one, or the last one
    /// where room was missing, because whoever fills files ahead tries again.
    pub(crate) fn failed_at(&self, fault: &Fault) -> Option<SystemTime> {
        let log = self.log();
        let mut failed = log.lines().filter(|line| line.contains("(INJECTED)"));
        let line = match fault.error {
            "ENOSPC" => failed.next_back(),
            _ => failed.next(),
        }?;
        // "1234 1700000000.123456 fdatasync(5) = -1 EIO (Input/output error) (INJECTED)"
        line.split_whitespace().nth(1).and_then(instant)
    }

    /// When each call on a segment of the journal that went well was begun.
    pub(crate) fn succeeded_on_segments(&self) -> Vec<SystemTime> {
        let mut begun: BTreeMap<String, (SystemTime, bool)> = BTreeMap::new();
        let mut succeeded = Vec::new();
        for line in self.log().lines() {
            let mut words = line.split_whitespace();
            let (Some(thread), Some(at)) = (words.next(), words.next().and_then(instant)) else {
                continue;
            };
            // A call that another thread's comes in between of is told on two lines.
            if !line.contains(" resumed>") {
                begun.insert(thread.to_owned(), (at, line.contains("/segment-")));
            }
            if let Some((at, true)) = begun.get(thread)
                && line.ends_with("= 0")
            {
                succeeded.push(*at);
            }
        }
        succeeded
    }

    fn log(&self) -> String {
        let path: &Path = &self.0;
        fs::read_to_string(path).unwrap_or_default()
    }
}

/// An instant of the log, in seconds since the epoch.
fn instant(word: &str) -> Option<SystemTime> {
    let seconds = word.parse().ok()?;
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs_f64(seconds))
}
