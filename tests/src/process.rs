//! A coordinator in a process of its own, to be killed and started again on the same data directory.
//!
//! Owns the process, its addresses and its log. Never asks it to stop in good order: whoever wants
//! that sends a signal. Invariants: the addresses stay the same over restarts; dropping it kills it;
//! a directory of a test that failed stays, and its path is told.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::RangeInclusive;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::wait::eventually;

/// Lines of the log that are told where something failed.
const LOG_LINES_TOLD: usize = 20;
/// The first port that is taken for coordinators.
const PORT_MIN: u16 = 10_000;
/// Ports to choose from, at the least.
const PORTS_MIN: usize = 1_000;
/// The first and the last port that a machine gives to clients that does not say.
const CLIENT_PORTS: (u16, u16) = (32_768, 60_999);

/// A directory that is removed with this value, unless its test failed.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// Makes a directory below `parent`; `name` tells what it is for.
    #[must_use]
    pub fn new(parent: impl AsRef<Path>, name: &str) -> Self {
        static NUMBER: AtomicU16 = AtomicU16::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = parent
            .as_ref()
            .join(format!("{name}-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            drop(fs::remove_dir_all(&self.0));
        }
    }
}

/// How a coordinator is started, the same each time.
#[derive(Clone, Debug)]
pub struct Setup {
    program: PathBuf,
    before: Vec<String>,
    flags: Vec<String>,
    address: SocketAddr,
    http: SocketAddr,
    data_dir: PathBuf,
    log: PathBuf,
}

impl Setup {
    /// `program` as a coordinator on `folder/data`, logging to `folder/log`.
    #[must_use]
    pub fn new(program: &str, folder: &Path) -> Self {
        Self {
            program: program.into(),
            before: Vec::new(),
            flags: Vec::new(),
            address: quiet_address(),
            http: quiet_address(),
            data_dir: folder.join("data"),
            log: folder.join("log"),
        }
    }

    /// The same with these flags more.
    #[must_use]
    pub fn with(mut self, flags: &[&str]) -> Self {
        self.flags.extend(flags.iter().map(|&flag| flag.to_owned()));
        self
    }

    /// The same, but run by these words, for example a tracer and its flags.
    #[must_use]
    pub fn under(mut self, words: &[String]) -> Self {
        self.before = words.to_vec();
        self
    }

    /// The same with its data elsewhere.
    #[must_use]
    pub fn on(mut self, data_dir: &Path) -> Self {
        self.data_dir = data_dir.to_owned();
        self
    }

    /// Where gRPC is served.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where its journal lies.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// The last lines that it logged, over all its lives.
    #[must_use]
    pub fn last_words(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let skipped = log.lines().count().saturating_sub(LOG_LINES_TOLD);
        log.lines()
            .skip(skipped)
            .fold(String::new(), |all, line| all + line + "\n")
    }

    /// Starts it, and does not wait until it is ready.
    #[must_use]
    pub fn spawn(&self) -> Coordinator {
        let mut words = self.before.iter().map(String::as_str);
        let mut command = match words.next() {
            Some(first) => {
                let mut command = Command::new(first);
                command.args(words).arg(&self.program);
                command
            }
            None => Command::new(&self.program),
        };
        if !self.before.is_empty() {
            // So that what a tracer runs can be killed with it.
            command.process_group(0);
        }
        let log = File::options().create(true).append(true).open(&self.log);
        let child = command
            .env_clear()
            .envs(search_path())
            .args(["coordinator", "--listen", &self.address.to_string()])
            .args(["--http-listen", &self.http.to_string(), "--data-dir"])
            .arg(&self.data_dir)
            .args(&self.flags)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.unwrap())
            .spawn();
        Coordinator {
            child: child.unwrap(),
            setup: self.clone(),
        }
    }

    /// Starts it and waits until it is ready.
    pub async fn start(&self) -> Coordinator {
        let mut coordinator = self.spawn();
        coordinator.ready().await;
        coordinator
    }
}

/// A coordinator's process.
#[derive(Debug)]
pub struct Coordinator {
    child: Child,
    setup: Setup,
}

impl Coordinator {
    /// Waits until it is ready.
    pub async fn ready(&mut self) {
        let what = format!("the coordinator is ready (its log: {:?})", self.setup.log);
        eventually(&what, async || {
            if let Some(status) = self.ended() {
                panic!("it ended ({status}):\n{}", self.setup.last_words());
            }
            answers_ready(self.setup.http).await.then_some(())
        })
        .await;
    }

    /// How it ended, where it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits until it has ended by itself.
    pub async fn end(&mut self) -> ExitStatus {
        eventually("the coordinator ends", async || self.ended()).await
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Stops it in its tracks (SIGSTOP), until [`Coordinator::go_on`].
    pub fn stop_short(&self) {
        signal(&self.child, Signal::STOP);
    }

    /// Lets it go on (SIGCONT).
    pub fn go_on(&self) {
        signal(&self.child, Signal::CONT);
    }

    /// The most memory that it has had in its life, in bytes (`VmHWM` of Linux); `None` where the
    /// machine does not say, or it is gone.
    #[must_use]
    pub fn memory_peak_bytes(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))?;
        let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
        Some(kib * 1024)
    }

    /// Kills it with SIGKILL, waits until it is gone, and starts another one in its place, which is
    /// not waited for.
    pub fn replace(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let setup = self.setup.clone();
        *self = setup.spawn();
    }

    /// Kills it with SIGKILL and waits until it is gone.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        // Where it has ended already, there is nothing to kill.
        if !self.setup.before.is_empty() && self.child.try_wait().is_ok_and(|end| end.is_none()) {
            let group = format!("-{}", self.child.id());
            drop(Command::new("kill").args(["-KILL", "--", &group]).status());
        }
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Sends a signal to a child that was not waited for: its id is still its own.
pub(crate) fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

async fn answers_ready(address: SocketAddr) -> bool {
    let asked = async {
        let mut stream = TcpStream::connect(address).await?;
        let head = "GET /readyz HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n";
        stream.write_all(head.as_bytes()).await?;
        let mut status = [0; 12];
        stream.read_exact(&mut status).await?;
        io::Result::Ok(status)
    };
    matches!(asked.await, Ok(status) if status.ends_with(b" 200"))
}

/// All that a coordinator, or what it runs under, is given of the environment: where programs are.
#[must_use]
pub fn search_path() -> Option<(&'static str, OsString)> {
    std::env::var_os("PATH").map(|path| ("PATH", path))
}

/// A free address that nobody takes by chance while its coordinator is down: a client's port that
/// the machine chooses is none of the [`quiet_ports`], so no client ever connects to itself there.
/// Where the machine leaves no such port, it is any that was free a moment ago.
///
/// The binary has the same in `cli/src/processes.rs`, because it does not depend on its tests.
#[must_use]
pub fn quiet_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    if let Some(ports) = quiet_ports(&range.unwrap_or_default()) {
        // Processes that test side by side begin at different places.
        let begin = std::process::id().wrapping_mul(61);
        for _ in ports.clone() {
            let next = begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed).into());
            let offset = usize::try_from(next).unwrap() % ports.len();
            let port = ports.clone().nth(offset).unwrap();
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            if TcpListener::bind(address).is_ok() {
                return address;
            }
        }
    }
    let any = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    any.local_addr().unwrap()
}

/// Ports that the machine gives to no client, where `range` says which it gives them: those below it
/// from 10,000 up, or else those above it; `None` where neither are a thousand.
///
/// A test of the binary's own copy, in `cli/src/processes.rs`, compares the two.
#[must_use]
pub fn quiet_ports(range: &str) -> Option<RangeInclusive<u16>> {
    let mut ends = range.split_whitespace().map_while(|end| end.parse().ok());
    let (first, last) = ends.next().zip(ends.next()).unwrap_or(CLIENT_PORTS);
    let below = PORT_MIN..=first.saturating_sub(1);
    let above = last.saturating_add(1).max(PORT_MIN)..=u16::MAX;
    [below, above]
        .into_iter()
        .find(|ports| ports.len() >= PORTS_MIN)
}
