//! A coordinator that sleeps (SIGSTOP) for longer than it bears the silence of workers, while these are
//! well: when it wakes up it blames nobody.
//!
//! Owns the course. Nobody stumbles here and no network is bad, so that each run that is taken for lost
//! is the coordinator's fault. Workers sleep too, for less than the grace: that is to be borne.

use std::time::Duration;

use super::{Report, Settings, prepared};
use crate::{
    Dice,
    history::{Fact, Recorder},
    load::{self, Context, Load, Manners, look, site::Site},
    process::{Folder, Setup},
    wait::{eventually, lasting},
    worker_process::WorkerSetup,
};

/// How long a worker may be silent: much, so that a busy machine is no reason.
const GRACE: Duration = Duration::from_secs(3);
/// How long the coordinator sleeps.
const SLEEP: Duration = Duration::from_millis(4200);
/// How long a worker's process sleeps.
const NAP: Duration = Duration::from_millis(700);
/// How often.
const TIMES: u32 = 3;
/// Things seen between two sleeps.
const SEEN: usize = 400;

/// Plays it. The seed is that of the load; the settings' faults are not asked.
///
/// # Panics
/// Where something ends that must not, or does not end that must.
pub async fn episode(settings: &Settings) -> Report {
    assert!(SLEEP > GRACE);
    let mut dice = Dice::new(settings.seed);
    let folder = Folder::new(&settings.folder, "sleep");
    let setup = Setup::new(&settings.program, folder.path())
        .with(&["--ping-interval", "500ms", "--grace", "3s"])
        .with(&["--log", "warn"]);
    let mut coordinator = setup.start().await;
    let context = Context::new(setup.address(), Recorder::new()).with(Manners::Perfect);
    // From here on all troubles are told: there are none.
    context.history.note(Fact::Trouble {
        from_ms: 0,
        until_ms: 0,
    });
    let kinds = prepared(&context).await;
    let mut load = Load::begin(&context, &[setup.address()], &mut dice);
    let site = Site::open(&context, &mut load, &mut dice).await;
    let queues = load::site_queues().collect();
    let worker = WorkerSetup::new(&settings.program, setup.address(), queues, folder.path());
    let mut worker = worker.start();

    for _ in 0..TIMES {
        until_more(&context).await;
        coordinator.stop_short();
        lasting(SLEEP).await;
        coordinator.go_on();
        until_more(&context).await;
        worker.stop_short();
        lasting(NAP).await;
        worker.go_on();
    }
    load.drain().await;
    look::until_all_ended(setup.address()).await;
    load.end().await;
    assert!(coordinator.ended().is_none() && !worker.has_ended());
    look::at_everything(setup.address(), &context.history).await;
    load::assert_kept(&context, kinds).await;
    let memory_peak_bytes = coordinator.memory_peak_bytes().unwrap_or(0);
    drop((worker, site));
    coordinator.kill();
    let faults = [("coordinator slept", TIMES), ("worker slept", TIMES)];
    let entries = context.history.entries();
    Report::of(&entries, settings.seed, faults, (memory_peak_bytes, &setup))
}

async fn until_more(context: &Context) {
    let target = context.history.len() + SEEN;
    eventually("work goes on", async || {
        (context.history.len() >= target).then_some(())
    })
    .await;
}
