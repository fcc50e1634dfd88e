//! Where an episode plays: a coordinator, networks to it, workers in processes of their own, and
//! everybody else who works.
//!
//! Owns all of them and what was seen. Never decides what happens. Invariants: at the end every network
//! is fair, every process runs, and who held on lets go, before anything is waited for; what is read at
//! the end is what a replay says.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    time::Duration,
};

use super::{Report, Settings, prepared};
use crate::{
    Dice, Proxy,
    history::Recorder,
    load::{self, Context, Load, look, rude::Kept, site::Site},
    process::{Coordinator, Folder, Setup},
    proxy::Weather,
    wait::{lasting, until},
    worker_process::{WorkerProcess, WorkerSetup},
};

/// Networks: everybody who works is behind one of them.
const NETWORKS: u64 = 4;
/// Workers in processes of their own.
const WORKERS: usize = 2;
/// What rude clients keep open at once.
const KEPT_MAX: usize = 24;
/// How long a worker may be silent.
pub(super) const GRACE: Duration = Duration::from_secs(1);
/// Flags of the coordinator, as [`GRACE`] has it.
const FLAGS: [&str; 10] = [
    "--ping-interval",
    "200ms",
    "--grace",
    "1s",
    "--segment-size",
    "4MiB",
    "--memory-limit",
    "512MiB",
    "--log",
    "warn",
];

/// See the module.
pub(super) struct Stage {
    pub(super) context: Context,
    pub(super) setup: Setup,
    pub(super) coordinator: Coordinator,
    pub(super) networks: Vec<Proxy>,
    pub(super) workers: Vec<WorkerProcess>,
    kept: VecDeque<Kept>,
    faults: BTreeMap<&'static str, u32>,
    memory_peak_bytes: u64,
    kinds: Vec<redrive_client::v1::Kind>,
    load: Load,
    seed: u64,
    // Dropped last: whoever is still there writes into it.
    _site: Site,
    _folder: Folder,
}

impl Stage {
    /// Everybody is there and works.
    pub(super) async fn set(settings: &Settings, dice: &mut Dice) -> Self {
        let folder = Folder::new(&settings.folder, "chaos");
        let setup = Setup::new(&settings.program, folder.path()).with(&FLAGS);
        let coordinator = setup.start().await;
        let context = Context::new(setup.address(), Recorder::new());
        let kinds = prepared(&context).await;
        let mut networks = Vec::new();
        for _ in 0..NETWORKS {
            networks.push(Proxy::seeded(setup.address(), dice.any()).await);
        }
        let routes: Vec<SocketAddr> = networks.iter().map(Proxy::address).collect();
        let mut load = Load::begin(&context, &routes, dice);
        let site = Site::open(&context.via(routes[0]), &mut load, dice).await;
        let workers = routes.iter().take(WORKERS).map(|route| {
            let queues = load::site_queues().collect();
            WorkerSetup::new(&settings.program, *route, queues, folder.path()).start()
        });
        Self {
            workers: workers.collect(),
            context,
            setup,
            coordinator,
            networks,
            kept: VecDeque::new(),
            faults: BTreeMap::new(),
            memory_peak_bytes: 0,
            kinds,
            load,
            seed: settings.seed,
            _site: site,
            _folder: folder,
        }
    }

    /// Counts a fault.
    pub(super) fn did(&mut self, fault: &'static str) {
        *self.faults.entry(fault).or_default() += 1;
    }

    /// Keeps what a rude client has open; the oldest of too many is let go.
    pub(super) fn keep(&mut self, kept: Option<Kept>) {
        self.kept.extend(kept);
        if self.kept.len() > KEPT_MAX {
            self.kept.pop_front();
        }
    }

    /// One more works until the load is over.
    pub(super) fn join(&mut self, somebody: impl Future<Output = ()> + Send + 'static) {
        self.load.join(somebody);
    }

    /// Until so many things more were seen, or for so long where nothing comes through.
    pub(super) async fn meanwhile(&mut self, more: u64, most: Duration) {
        let target = self.context.history.len() + usize::try_from(more).unwrap();
        let history = self.context.history.clone();
        tokio::select! {
            () = until(async || (history.len() >= target).then_some(())) => {}
            () = lasting(most) => {}
        }
        self.assert_alive();
    }

    /// Nobody has ended who must not.
    pub(super) fn assert_alive(&mut self) {
        if let Some(status) = self.coordinator.ended() {
            panic!(
                "it ended by itself ({status}):\n{}",
                self.setup.last_words()
            );
        }
        let ended = self.workers.iter_mut().any(WorkerProcess::has_ended);
        assert!(
            !ended,
            "a worker ended by itself: {:?}",
            self._folder.path()
        );
        let peak = self.coordinator.memory_peak_bytes().unwrap_or(0);
        self.memory_peak_bytes = self.memory_peak_bytes.max(peak);
    }

    /// Kills the coordinator; another one is to be started in its place, and ready or not.
    pub(super) fn replace_coordinator(&mut self) {
        self.assert_alive();
        self.coordinator.replace();
    }

    /// No more faults: everything finishes, and is judged.
    pub(super) async fn finish(mut self) -> Report {
        for network in &self.networks {
            network.set(Weather::FAIR);
        }
        self.kept.clear();
        self.coordinator.ready().await;
        self.load.drain().await;
        look::until_all_ended(self.setup.address()).await;
        self.assert_alive();
        self.load.end().await;
        drop(self.workers);
        self.coordinator.kill();
        let coordinator = self.setup.start().await;
        look::at_everything(self.setup.address(), &self.context.history).await;
        load::assert_kept(&self.context, self.kinds).await;
        coordinator.kill();
        let entries = self.context.history.entries();
        let at_last = (self.memory_peak_bytes, &self.setup);
        Report::of(&entries, self.seed, self.faults, at_last)
    }
}
