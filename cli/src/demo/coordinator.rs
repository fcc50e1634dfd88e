//! The demo's coordinator: a process with a journal, to be killed and started again on what it left.
//!
//! Owns its flags, its data directory and its address, which stay the same over restarts. Invariant:
//! the directory is removed with this value, whatever ends the demo.

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use tempfile::TempDir;

use super::{clock, screen::Screen};
use crate::processes::{self, Process};

/// How often the coordinator pings workers.
pub(super) const PING_INTERVAL: &str = "1s";
/// How long it waits for a lost worker before it takes its tasks away.
pub(super) const GRACE: &str = "5s";
/// How large a file of its journal is: small, so that files are filled and cleaned on the way.
const SEGMENT_SIZE: &str = "4MiB";
/// How long nobody starts it again: long enough for waits to end meanwhile, and shorter than the
/// grace.
const ABSENCE: Duration = Duration::from_secs(1);
/// How often a directory is tried to be removed: a process that was just killed may still end a
/// call that makes a file.
const REMOVALS_MAX: usize = 10;

/// The coordinator.
#[derive(Debug)]
pub(super) struct Coordinator {
    process: Process,
    program: PathBuf,
    args: Vec<String>,
    address: SocketAddr,
    http: SocketAddr,
    data: DataDir,
}

/// A time without a coordinator, on the machine's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Down {
    /// The process was gone.
    pub(super) from: SystemTime,
    /// The next one was started.
    pub(super) until: SystemTime,
    /// How long nobody was answered: from the kill until the next one was ready.
    pub(super) unanswered: Duration,
}

impl Coordinator {
    /// Starts it on an empty directory of its own, and waits until it is ready.
    ///
    /// # Errors
    /// Where there is no directory or port, or the process does not start.
    pub(super) async fn start(program: &Path) -> anyhow::Result<Self> {
        let data = DataDir::make().context("cannot make a data directory")?;
        let (address, http) = (
            processes::quiet_address().await?,
            processes::quiet_address().await?,
        );
        let args = [
            "coordinator",
            "--listen",
            &address.to_string(),
            "--http-listen",
            &http.to_string(),
            "--data-dir",
            &data.path().to_string_lossy(),
            "--durability",
            "always",
            "--segment-size",
            SEGMENT_SIZE,
            "--ping-interval",
            PING_INTERVAL,
            "--grace",
            GRACE,
            "--log",
            "warn",
            "--log-format",
            "text",
        ]
        .map(str::to_owned)
        .to_vec();
        let mut process = Process::start(program, "coordinator", &args)?;
        processes::ready(&mut process, http).await?;
        Ok(Self {
            process,
            program: program.to_owned(),
            args,
            address,
            http,
            data,
        })
    }

    /// Tells the screen what it is.
    pub(super) fn introduce(&self, screen: &Screen) {
        screen.say(&format!(
            "coordinator  {}, process {}\n             (journal in {}, every answer synced to disk \
             first;\n             pings workers every {PING_INTERVAL}, gives up on them after \
             {GRACE} of silence)",
            self.address,
            self.process.pid(),
            self.data.path().display()
        ));
    }

    /// Where it serves gRPC.
    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Fails where it has ended by itself.
    ///
    /// # Errors
    /// Tells how, and its last words.
    pub(super) fn check(&mut self) -> anyhow::Result<()> {
        self.process.check()
    }

    /// Kills it with SIGKILL and, after a while without one, starts it again on what it left, at the
    /// same address.
    ///
    /// # Errors
    /// Where it cannot be killed, or does not come back.
    pub(super) async fn kill_and_restart(&mut self) -> anyhow::Result<Down> {
        let killed_at = clock::now();
        self.process.kill().await?;
        let from = crate::clock::now();
        clock::pause(ABSENCE).await;
        let until = crate::clock::now();
        self.process = Process::start(&self.program, "coordinator", &self.args)?;
        processes::ready(&mut self.process, self.http).await?;
        Ok(Down {
            from,
            until,
            unanswered: clock::now().duration_since(killed_at),
        })
    }

    /// Ends it; its directory goes with it.
    ///
    /// # Errors
    /// Where it cannot be killed.
    pub(super) async fn end(mut self) -> anyhow::Result<()> {
        self.process.kill().await
    }
}

/// A directory that is removed with this value, also where a process still dies in it.
#[derive(Debug)]
struct DataDir(TempDir);

impl DataDir {
    fn make() -> io::Result<Self> {
        tempfile::Builder::new()
            .prefix("redrive-demo-")
            .tempdir()
            .map(Self)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        for _ in 0..REMOVALS_MAX {
            match fs::remove_dir_all(self.path()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {}
                Ok(()) | Err(_) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_directory_is_ones_own_and_goes_with_all_that_is_in_it() {
        let (one, two) = (DataDir::make().unwrap(), DataDir::make().unwrap());
        assert_ne!(one.path(), two.path());
        fs::create_dir(one.path().join("journal")).unwrap();
        fs::write(one.path().join("journal/1"), "facts").unwrap();
        let path = one.path().to_owned();
        drop(one);
        assert!(!path.exists() && two.path().exists());
    }
}
