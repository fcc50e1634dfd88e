//! The child processes of the demo and of the bench: the same binary as coordinators and workers.
//!
//! Owns them: whatever ends the parent's work, its children are killed with it, and the last lines
//! that each wrote are kept to be shown where one fails. They stand in process groups of their own,
//! so that Ctrl-C reaches the parent alone, which then ends them in its own order.

use std::{
    collections::VecDeque,
    fs,
    net::{Ipv4Addr, SocketAddr},
    ops::RangeInclusive,
    path::Path,
    process::Stdio,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, bail};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    process::{Child, Command},
    task::JoinSet,
};

use crate::clock;

/// How many of its last lines are kept of a process.
const LINES_KEPT: usize = 12;
/// The most bytes of a line that are kept.
const LINE_BYTES_KEPT: u64 = 512;
/// How long a process may take to be ready.
const READY_MAX: Duration = Duration::from_secs(15);
/// The first port that is taken for child processes.
const PORT_MIN: u16 = 10_000;
/// Ports to choose from, at the least.
const PORTS_MIN: usize = 1_000;
/// The first and the last port that a machine gives to clients that does not say.
const CLIENT_PORTS: (u16, u16) = (32_768, 60_999);
/// Where it says.
const CLIENT_PORTS_FILE: &str = "/proc/sys/net/ipv4/ip_local_port_range";
/// How often it is looked at until then.
const READY_POLL: Duration = Duration::from_millis(50);

/// A running child process; dropping it kills it.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    lines: Arc<Mutex<VecDeque<String>>>,
    _readers: JoinSet<()>,
}

impl Process {
    /// Starts `program` with these arguments.
    ///
    /// # Errors
    /// Where the operating system cannot start it.
    pub(crate) fn start(program: &Path, name: &str, args: &[String]) -> anyhow::Result<Self> {
        let mut child = Command::new(program)
            .args(args)
            // Flags are given in full: the REDRIVE_ variables of the shell are for other runs.
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {name} ({})", program.display()))?;
        let lines = Arc::new(Mutex::new(VecDeque::with_capacity(LINES_KEPT)));
        let mut readers = JoinSet::new();
        if let Some(pipe) = child.stdout.take() {
            readers.spawn(keep_lines(pipe, Arc::clone(&lines)));
        }
        if let Some(pipe) = child.stderr.take() {
            readers.spawn(keep_lines(pipe, Arc::clone(&lines)));
        }
        Ok(Self {
            name: name.to_owned(),
            child,
            lines,
            _readers: readers,
        })
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Its process id; 0 once it has ended.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id().unwrap_or(0)
    }

    /// Fails where it has ended by itself.
    ///
    /// # Errors
    /// Tells how it ended and the last lines that it wrote.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        let Some(status) = self.child.try_wait()? else {
            return Ok(());
        };
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let said = lines
            .iter()
            .map(|line| format!("\n  {line}"))
            .collect::<String>();
        bail!(
            "{} ended unexpectedly ({status}); its last words were:{said}",
            self.name
        )
    }

    /// Whether these words are among the last lines that it wrote.
    pub(crate) fn has_said(&self, words: &str) -> bool {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().any(|line| line.contains(words))
    }

    /// Kills it with SIGKILL and waits until it is gone.
    ///
    /// # Errors
    /// Where the operating system cannot.
    pub(crate) async fn kill(&mut self) -> anyhow::Result<()> {
        self.child
            .kill()
            .await
            .with_context(|| format!("cannot kill {}", self.name))
    }
}

async fn keep_lines(pipe: impl AsyncRead + Unpin, lines: Arc<Mutex<VecDeque<String>>>) {
    let mut reader = BufReader::new(pipe);
    let mut line = Vec::new();
    // A line that is too long is kept in parts: the reader never holds more than one part.
    while let Ok(1..) = (&mut reader)
        .take(LINE_BYTES_KEPT)
        .read_until(b'\n', &mut line)
        .await
    {
        let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == LINES_KEPT {
            lines.pop_front();
        }
        lines.push_back(String::from_utf8_lossy(&line).trim_end().to_owned());
        line.clear();
    }
}

/// A port of this machine that was free a moment ago, and that stays free while nobody listens
/// there: it is one of the [`quiet_ports`], so that no client takes it, or even connects to itself
/// there, while its owner is started again. Where the machine leaves no such port, it is any that
/// was free a moment ago.
///
/// Tests have the same in `tests/src/process.rs`, which this binary does not depend on.
///
/// # Errors
/// Where the operating system has none.
pub(crate) async fn quiet_address() -> anyhow::Result<SocketAddr> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let range = fs::read_to_string(CLIENT_PORTS_FILE);
    if let Some(ports) = quiet_ports(&range.unwrap_or_default()) {
        // Processes that run side by side begin at different places.
        let begin = std::process::id().wrapping_mul(61);
        for _ in ports.clone() {
            let next = begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed).into());
            let offset = usize::try_from(next)?.checked_rem(ports.len());
            let Some(port) = offset.and_then(|offset| ports.clone().nth(offset)) else {
                break;
            };
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            if TcpListener::bind(address).await.is_ok() {
                return Ok(address);
            }
        }
    }
    let any = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
    let any = any.context("no port of this machine is free")?;
    Ok(any.local_addr()?)
}

/// Ports that the machine gives to no client, where `range` says which it gives them: those below it
/// from 10,000 up, or else those above it; `None` where neither are a thousand.
///
/// The same as in `tests/src/process.rs`; a test below compares the two.
fn quiet_ports(range: &str) -> Option<RangeInclusive<u16>> {
    let mut ends = range.split_whitespace().map_while(|end| end.parse().ok());
    let (first, last) = ends.next().zip(ends.next()).unwrap_or(CLIENT_PORTS);
    let below = PORT_MIN..=first.saturating_sub(1);
    let above = last.saturating_add(1).max(PORT_MIN)..=u16::MAX;
    [below, above]
        .into_iter()
        .find(|ports| ports.len() >= PORTS_MIN)
}

/// Waits until `GET /readyz` at this address answers 200.
///
/// # Errors
/// Where the process ends first, or 15 s pass.
pub(crate) async fn ready(process: &mut Process, address: SocketAddr) -> anyhow::Result<()> {
    let deadline = clock::monotonic() + READY_MAX;
    while !answers_ready(address).await {
        process.check()?;
        if clock::monotonic() >= deadline {
            bail!(
                "{} is not ready after {READY_MAX:?} (http://{address}/readyz)",
                process.name()
            );
        }
        clock::pause(READY_POLL).await;
    }
    Ok(())
}

async fn answers_ready(address: SocketAddr) -> bool {
    let asked = async {
        let mut stream = TcpStream::connect(address).await?;
        let request =
            format!("GET /readyz HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut status = [0; 12];
        stream.read_exact(&mut status).await?;
        std::io::Result::Ok(status)
    };
    let answer = tokio::time::timeout(Duration::from_secs(1), asked).await;
    matches!(answer, Ok(Ok(status)) if status.ends_with(b" 200"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Process {
        let args = ["-c".to_owned(), script.to_owned()];
        Process::start(Path::new("/bin/sh"), "worker", &args).unwrap()
    }

    async fn until_ended(process: &mut Process) -> String {
        loop {
            if let Err(error) = process.check() {
                return error.to_string();
            }
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_process_that_ends_by_itself_is_told_with_its_status_and_last_words() {
        let mut process = shell("seq 1 20; echo no such queue >&2; exec >&- 2>&-; exit 7");
        while let Some(ended) = process._readers.join_next().await {
            ended.unwrap();
        }
        let error = until_ended(&mut process).await;
        assert!(
            error.contains("exit status: 7") && error.contains("no such queue"),
            "{error}"
        );
        assert!(
            error.contains("\n  20") && !error.contains("\n  3\n"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_killed_process_is_gone() {
        let mut process = shell("exec sleep 1000");
        assert!(process.pid() > 0);
        process.check().unwrap();
        process.kill().await.unwrap();
        assert_eq!(process.pid(), 0);
    }

    #[tokio::test]
    async fn a_dropped_process_is_killed() {
        let process = shell("echo up; exec sleep 1000");
        let pid = process.pid();
        drop(process);
        let gone = || {
            let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            status.is_empty() || status.contains(") Z")
        };
        while !gone() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn no_client_is_ever_given_a_quiet_port() {
        let (one, two) = (
            quiet_address().await.unwrap(),
            quiet_address().await.unwrap(),
        );
        let range = fs::read_to_string(CLIENT_PORTS_FILE).unwrap_or_default();
        // Where the machine leaves no such port, any will do.
        let Some(ports) = quiet_ports(&range) else {
            return;
        };
        assert_ne!(one, two);
        assert!(
            ports.contains(&one.port()) && ports.contains(&two.port()),
            "{one} and {two} are not in {ports:?}"
        );
    }

    #[test]
    fn quiet_ports_lie_below_those_of_clients_or_else_above() {
        for (range, ports) in [
            ("32768\t60999\n", Some(10_000..=32_767)),
            ("", Some(10_000..=32_767)),
            ("no range", Some(10_000..=32_767)),
            ("11000 65535", Some(10_000..=10_999)),
            ("10999 65535", None),
            ("1024 60999", Some(61_000..=65_535)),
            ("1024 5000", Some(10_000..=65_535)),
            ("1024 64535", Some(64_536..=65_535)),
            ("1024 64536", None),
            ("1024 65535", None),
            ("0 65535", None),
        ] {
            assert_eq!(quiet_ports(range), ports, "{range}");
            // The copy that tests use.
            assert_eq!(redrive_tests::process::quiet_ports(range), ports, "{range}");
        }
    }

    #[tokio::test]
    async fn readiness_is_refused_where_the_process_has_ended() {
        let mut process = shell("exit 3");
        let nobody = quiet_address().await.unwrap();
        let error = ready(&mut process, nobody).await.unwrap_err().to_string();
        assert!(error.contains("exit status: 3"), "{error}");
    }
}
