//! Clients that take all they can get: streams that nobody reads, connections and calls by the
//! hundred, the largest payloads until there is no room for more, messages that are never finished.
//!
//! Owns the course, and how much memory a coordinator may have had at the end of it. Others are served
//! meanwhile, and when the flood is over everything that was accepted finishes.

use super::{Report, Settings};
use crate::{
    Dice,
    history::{Enqueued, Recorder},
    load::{Context, Load, huge, look, rude},
    process::{Folder, Setup},
    wait::within,
};

/// What tasks may take.
const MEMORY_LIMIT: &str = "96MiB";
/// Most memory that the coordinator may have had, in bytes: twice what it takes for the tasks, for
/// [`HALVES`] of the largest message and for everybody's buffers.
pub const MEMORY_MAX_BYTES: u64 = 448 << 20;
/// Streams of events and of work that nobody reads, of each.
const READERS: u64 = 24;
/// Connections that say a word and no more.
const CONNECTIONS: u64 = 1500;
/// Streams of one connection: as many as it may have.
const STREAMS: u32 = 256;
/// Calls that stop just before the end of the largest message. Each takes what it has sent: nothing but
/// the numbers of connections and of streams bounds them together, so there are few.
const HALVES: u64 = 16;
/// Sends of the largest payload, at the most.
const SENDS_MAX: u32 = 400;

/// Plays it. The settings' faults are not asked.
///
/// # Panics
/// Where something ends that must not, or does not end that must, or where nobody else is served.
pub async fn episode(settings: &Settings) -> Report {
    let mut dice = Dice::new(settings.seed);
    let folder = Folder::new(&settings.folder, "flood");
    let setup = Setup::new(&settings.program, folder.path())
        .with(&["--ping-interval", "200ms", "--grace", "1s"])
        .with(&["--memory-limit", MEMORY_LIMIT, "--log", "warn"]);
    let mut coordinator = setup.start().await;
    let context = Context::new(setup.address(), Recorder::new());

    let mut kept = Vec::new();
    for number in 0..READERS {
        kept.extend(rude::watch_deafly(&context).await);
        kept.extend(rude::work_deafly(&context, number).await);
    }
    for _ in 0..CONNECTIONS {
        kept.extend(rude::stop_halfway(&context).await);
    }
    kept.extend(rude::watch_at_once(&context, STREAMS).await);
    for _ in 0..HALVES {
        kept.push(rude::half_a_message(&context));
    }
    assert_eq!(kept.len() as u64, 2 * READERS + CONNECTIONS + 1 + HALVES);
    let mut refused = false;
    for _ in 0..SENDS_MAX {
        refused = huge::largest(&context, &mut dice).await == Enqueued::Refused;
        if refused {
            break;
        }
    }
    assert!(
        refused,
        "{SENDS_MAX} MiB were taken, the limit is {MEMORY_LIMIT}"
    );
    // Who reads nothing is cut off, and what it held comes back.
    within("others are served", look::at_queues(setup.address())).await;

    kept.clear();
    let load = Load::workers(&context, &[setup.address()], &mut dice);
    load.only_completes();
    look::until_all_ended(setup.address()).await;
    load.end().await;
    assert!(coordinator.ended().is_none(), "{}", setup.last_words());
    let memory_peak_bytes = coordinator.memory_peak_bytes().unwrap_or(0);
    look::at_everything(setup.address(), &context.history).await;
    coordinator.kill();
    let faults = [
        ("readers that read nothing", 2 * READERS),
        ("connections that say a word", CONNECTIONS),
        ("streams of one connection", STREAMS.into()),
        ("messages that are never finished", HALVES),
    ];
    let faults = faults.map(|(name, count)| (name, u32::try_from(count).unwrap()));
    let entries = context.history.entries();
    Report::of(&entries, settings.seed, faults, (memory_peak_bytes, &setup))
}
