//! Workers in processes of their own: the ready-made HTTP worker, to be stopped, killed and started
//! again.
//!
//! Owns the process and its log. Never asks it to leave in good order. Invariant: dropping it kills it,
//! stopped or not.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;

use crate::process::{search_path, signal};

/// How a worker is started, the same each time.
#[derive(Clone, Debug)]
pub struct WorkerSetup {
    program: PathBuf,
    address: SocketAddr,
    queues: Vec<String>,
    slots: u32,
    log: PathBuf,
}

/// A worker's process.
#[derive(Debug)]
pub struct WorkerProcess {
    child: Child,
    setup: WorkerSetup,
}

impl WorkerSetup {
    /// `program` as a worker of the coordinator at `address`, for these queues, logging into `folder`.
    #[must_use]
    pub fn new(program: &str, address: SocketAddr, queues: Vec<String>, folder: &Path) -> Self {
        Self {
            program: program.into(),
            address,
            queues,
            slots: 8,
            log: folder.join("worker.log"),
        }
    }

    /// Starts it.
    #[must_use]
    pub fn start(&self) -> WorkerProcess {
        let log = File::options().create(true).append(true).open(&self.log);
        let queues = self.queues.iter().flat_map(|queue| ["--queue", queue]);
        let child = Command::new(&self.program)
            .env_clear()
            .envs(search_path())
            .args(["worker", "http", "--address", &self.address.to_string()])
            .args(["--log", "warn", "--slots", &self.slots.to_string()])
            .args(queues)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.unwrap())
            .spawn();
        WorkerProcess {
            child: child.unwrap(),
            setup: self.clone(),
        }
    }
}

impl WorkerProcess {
    /// Stops it in its tracks (SIGSTOP), until [`WorkerProcess::go_on`].
    pub fn stop_short(&self) {
        signal(&self.child, Signal::STOP);
    }

    /// Lets it go on (SIGCONT).
    pub fn go_on(&self) {
        signal(&self.child, Signal::CONT);
    }

    /// Kills it with SIGKILL and starts another one in its place, which knows nothing.
    pub fn replace(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let setup = self.setup.clone();
        *self = setup.start();
    }

    /// True where it has ended by itself, which it must not.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        // Where it has ended already, there is nothing to kill.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
