//! What is measured: a coordinator of the bench's own, a running one, or the bare server.
//!
//! Owns the child process and its data directory: both are gone when this is dropped.

use std::{collections::BTreeMap, env, path::Path, time::Duration};

use anyhow::{Context as _, bail};
use redrive_client::{Address, Client, connect, v1};
use redrive_coordinator::journal::Durability;
use tempfile::TempDir;
use tonic::transport::Channel;

use super::{
    holder,
    proc::{self, Role},
    settings::Settings,
};
use crate::{
    clock,
    processes::{self, Process},
};

/// How long a process may take until it answers; a recovery reads its whole journal first.
const READY_MAX: Duration = Duration::from_secs(600);
/// How often it is asked until then.
const READY_POLL: Duration = Duration::from_millis(2);
/// How often it is looked whether all idle workers stand.
const HELD_POLL: Duration = Duration::from_millis(50);
/// How long a call may take: what is measured must not be cut off by the client.
const DEADLINE: Duration = Duration::from_secs(60);

/// What is measured.
#[derive(Debug)]
pub(crate) struct Target {
    /// A connection for questions that are not measured.
    pub(crate) client: Client,
    address: Address,
    namespace: String,
    process: Option<Process>,
    args: Vec<String>,
    dir: Option<TempDir>,
}

impl Target {
    /// A coordinator: the running one, or a fresh one that may hold so many waiting tasks.
    ///
    /// # Errors
    /// Where it does not start or does not answer.
    pub(crate) async fn coordinator(settings: &Settings, tasks: u64) -> anyhow::Result<Self> {
        if let Some(address) = &settings.address {
            return Self::at(address.clone(), settings, None).await;
        }
        let limit = settings.memory_limit(tasks);
        if let Some(available) = proc::available_bytes()
            && limit > available
        {
            bail!(
                "{tasks} waiting tasks of {} payload bytes need up to {}, and this machine has {} \
                 free; give fewer --tasks or a smaller --payload, or leave --full out",
                settings.payload_bytes(),
                crate::output::human::size(limit),
                crate::output::human::size(available)
            );
        }
        let dir = match settings.durability {
            None | Some(Durability::Memory) => None,
            Some(Durability::Always | Durability::Interval) => Some(own_dir(settings)?),
        };
        let listen = processes::quiet_address().await?;
        let http = processes::quiet_address().await?;
        let mut args = vec![
            "coordinator".to_owned(),
            format!("--listen={listen}"),
            format!("--http-listen={http}"),
            format!("--memory-limit={limit}"),
            "--log=warn".to_owned(),
        ];
        args.extend(durability_args(settings, dir.as_ref().map(TempDir::path)));
        Self::start(settings, &listen.to_string(), args, dir).await
    }

    /// The bare server: the same messages, and no scheduler.
    ///
    /// # Errors
    /// Where it does not start or does not answer.
    pub(crate) async fn bare(settings: &Settings) -> anyhow::Result<Self> {
        let listen = processes::quiet_address().await?;
        let args = vec![
            "bench".to_owned(),
            format!("--serve-bare={listen}"),
            format!("--payload={}", settings.payload_bytes()),
        ];
        Self::start(settings, &listen.to_string(), args, None).await
    }

    async fn start(
        settings: &Settings,
        address: &str,
        args: Vec<String>,
        dir: Option<TempDir>,
    ) -> anyhow::Result<Self> {
        let process = spawn(&args)?;
        let mut target = Self::at(address.parse()?, settings, Some(process)).await?;
        (target.args, target.dir) = (args, dir);
        target.ready().await?;
        Ok(target)
    }

    async fn at(
        address: Address,
        settings: &Settings,
        process: Option<Process>,
    ) -> anyhow::Result<Self> {
        let target = Self {
            client: client(&address, &settings.namespace)?,
            address,
            namespace: settings.namespace.clone(),
            process,
            args: Vec::new(),
            dir: None,
        };
        if target.process.is_none() {
            target.client.server_info().await?;
        }
        Ok(target)
    }

    /// Waits until it serves; the bare server knows no more than how to say that it has no such
    /// call.
    async fn ready(&mut self) -> anyhow::Result<()> {
        let deadline = clock::monotonic() + READY_MAX;
        let bare = self.args.first().is_some_and(|verb| verb == "bench");
        loop {
            let answer = match connect::connect(&self.address).await {
                Ok(_channel) if bare => return Ok(()),
                Ok(_channel) => self.client.server_info().await.map(|_info| ()),
                Err(error) => Err(error),
            };
            let Err(error) = answer else { return Ok(()) };
            if let Some(process) = &mut self.process {
                process.check()?;
            }
            if clock::monotonic() >= deadline {
                return Err(error).context("the child process is not ready in time");
            }
            clock::pause(READY_POLL).await;
        }
    }

    /// Kills the own coordinator with SIGKILL, starts it again on the same directory, and waits
    /// until it answers. Answers how long that took from the start on.
    ///
    /// # Errors
    /// Where it is not the bench's own, or does not come back.
    pub(crate) async fn crash(&mut self) -> anyhow::Result<Duration> {
        let process = self
            .process
            .as_mut()
            .context("not a process of the bench")?;
        process.kill().await?;
        let began = clock::monotonic();
        self.process = Some(spawn(&self.args)?);
        self.client = client(&self.address, &self.namespace)?;
        self.ready().await?;
        Ok(clock::monotonic().duration_since(began))
    }

    /// Ends the own process and waits until it is gone, so that its directory can be removed.
    ///
    /// # Errors
    /// Where it cannot be killed.
    pub(crate) async fn end(mut self) -> anyhow::Result<()> {
        if let Some(process) = &mut self.process {
            process.check()?;
            process.kill().await?;
        }
        Ok(())
    }

    /// What it says of itself.
    ///
    /// # Errors
    /// Where it does not answer.
    pub(crate) async fn info(&self) -> anyhow::Result<v1::GetServerInfoResponse> {
        Ok(self.client.server_info().await?)
    }

    /// Connections for producers.
    ///
    /// # Errors
    /// Where nobody answers.
    pub(crate) async fn clients(&self, count: usize) -> anyhow::Result<Vec<Client>> {
        let mut clients = Vec::with_capacity(count);
        for _ in 0..count {
            let channel = self.channel().await?;
            clients.push(with_channel(channel, &self.address, &self.namespace)?);
        }
        Ok(clients)
    }

    /// One connection.
    ///
    /// # Errors
    /// Where nobody answers.
    pub(crate) async fn channel(&self) -> anyhow::Result<Channel> {
        Ok(connect::connect(&self.address).await?)
    }

    /// The namespace of all tasks.
    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// CPU time of the own process so far.
    pub(crate) fn cpu(&self) -> Option<Duration> {
        proc::cpu(self.process.as_ref()?.pid())
    }

    /// The same by what its threads do.
    pub(crate) fn cpu_by_role(&self) -> BTreeMap<Role, Duration> {
        let process = self.process.as_ref();
        process.map_or_else(BTreeMap::new, |process| proc::cpu_by_role(process.pid()))
    }

    /// Bytes of the own process that are in memory.
    pub(crate) fn rss_bytes(&self) -> Option<u64> {
        proc::rss_bytes(self.process.as_ref()?.pid())
    }

    /// Bytes of the files in the own data directory.
    pub(crate) fn disk_bytes(&self) -> Option<u64> {
        files_bytes(self.dir.as_ref()?.path()).ok()
    }
}

/// Workers in a process of their own that hold a stream each; gone when this is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    process: Process,
}

impl Held {
    /// Connects so many workers with room for `room` tasks each, and returns when all stand.
    ///
    /// # Errors
    /// Where one is not welcome.
    pub(crate) async fn start(target: &Target, workers: u64, room: u32) -> anyhow::Result<Self> {
        let mut process = spawn(&[
            "bench".to_owned(),
            format!("--hold-idle={}", target.address),
            format!("--hold-room={room}"),
            format!("--tasks={workers}"),
            format!("--namespace={}", target.namespace),
        ])?;
        let deadline = clock::monotonic() + READY_MAX;
        while !process.has_said(holder::ALL_STAND) {
            process.check()?;
            if clock::monotonic() >= deadline {
                bail!("{workers} idle workers are not connected after {READY_MAX:?}");
            }
            clock::pause(HELD_POLL).await;
        }
        Ok(Self { process })
    }

    /// Ends it; an error where a worker was sent away meanwhile.
    ///
    /// # Errors
    /// Tells what it said.
    pub(crate) async fn end(&mut self) -> anyhow::Result<()> {
        self.process.check()?;
        self.process.kill().await
    }
}

/// The one place that says how a coordinator is told about durability.
fn durability_args(settings: &Settings, dir: Option<&Path>) -> Vec<String> {
    let mut args = Vec::new();
    if let Some(durability) = settings.durability {
        args.push(format!("--durability={}", durability.name()));
    }
    if let Some(dir) = dir {
        args.push(format!("--data-dir={}", dir.display()));
    }
    args
}

/// A directory of the bench's own, gone when it is dropped.
pub(crate) fn own_dir(settings: &Settings) -> anyhow::Result<TempDir> {
    tempfile::Builder::new()
        .prefix("redrive-bench-")
        .tempdir_in(&settings.data_dir)
        .with_context(|| {
            format!(
                "no directory can be made in --data-dir {}",
                settings.data_dir.display()
            )
        })
}

fn spawn(args: &[String]) -> anyhow::Result<Process> {
    let program = env::current_exe().context("cannot find the redrive binary itself")?;
    let name = args.first().map_or("child", String::as_str);
    Process::start(&program, name, args)
}

fn client(address: &Address, namespace: &str) -> anyhow::Result<Client> {
    with_channel(connect::connect_lazy(address), address, namespace)
}

fn with_channel(channel: Channel, address: &Address, namespace: &str) -> anyhow::Result<Client> {
    let client = Client::with_channel(channel, &address.to_string())?;
    Ok(client.with_namespace(namespace)?.with_deadline(DEADLINE))
}

fn files_bytes(dir: &Path) -> std::io::Result<u64> {
    let mut bytes = 0_u64;
    for entry in dir.read_dir()? {
        let entry = entry?;
        let meta = entry.metadata()?;
        bytes += if meta.is_dir() {
            files_bytes(&entry.path())?
        } else {
            meta.len()
        };
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::settings::tests::settings;

    #[test]
    fn durability_is_passed_on_where_it_is_given() {
        let mut settings = settings();
        assert!(durability_args(&settings, None).is_empty());
        settings.durability = Some(Durability::Always);
        assert_eq!(
            durability_args(&settings, Some(Path::new("/d"))),
            ["--durability=always", "--data-dir=/d"]
        );
    }

    #[test]
    fn the_files_of_a_directory_are_counted_to_its_leaves() {
        let mut settings = settings();
        settings.data_dir = env::temp_dir();
        let dir = own_dir(&settings).unwrap();
        std::fs::create_dir(dir.path().join("a")).unwrap();
        std::fs::write(dir.path().join("a/b"), [0; 10]).unwrap();
        std::fs::write(dir.path().join("c"), [0; 5]).unwrap();
        assert_eq!(files_bytes(dir.path()).unwrap(), 15);
        let path = dir.path().to_owned();
        drop(dir);
        assert!(!path.exists());
    }
}
