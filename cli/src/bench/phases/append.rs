//! The journal beside the disk's own rate: records appended to a real journal, without a
//! coordinator around it.
//!
//! One record in flight waits for its release before the next is appended; pipelined ones only wait
//! for the queue of the writer. Belongs to the phase `sync`.

use std::{
    path::Path,
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    time::Duration,
};

use anyhow::Context as _;
use redrive_coordinator::journal::{
    self, DirStorage, Encode, Frame, Journal, JournalError, LocalJournal, Options, Sink,
};

use crate::bench::{
    check,
    figure::{Figure, Latencies, Metric, float},
    meter::{Timeline, nanoseconds},
};

/// Bytes of one record: an enqueued task with a payload of 100 bytes is as large.
const RECORD_BYTES: usize = 170;
/// Reserve files of a journal that has settled.
const SPARES_READY: u64 = 2;
/// Records of one appended frame where they are pipelined: a turn of a busy coordinator.
const RECORDS_PER_FRAME: usize = 256;
/// Frames that may be appended and not released where they are pipelined.
const FRAMES_IN_FLIGHT: usize = 64;
/// Frames that are appended pipelined at most: 170 MB.
const FRAMES_MAX: u64 = 4_000;

/// Records that are bytes already.
struct AsIs;

impl Encode<Arc<[u8]>> for AsIs {
    fn encode(&self, record: &Arc<[u8]>, out: &mut Vec<u8>) {
        out.extend_from_slice(record);
    }
}

/// Tells when a frame was released.
struct Told(SyncSender<Result<(), JournalError>>);

impl Sink<()> for Told {
    fn release(&mut self, (): ()) {
        // Nobody waits any more once the measurement has failed.
        self.0.send(Ok(())).unwrap_or_default();
    }

    fn failed(&mut self, error: JournalError) {
        self.0.try_send(Err(error)).unwrap_or_default();
    }
}

/// Appends `wanted` records one by one, and then as many frames pipelined, but at most 4,000; each
/// for `span_max` at most. The figures count what was done.
pub(super) fn measure(
    dir: &Path,
    (wanted, span_max): (u64, Duration),
    timeline: Timeline,
) -> anyhow::Result<Vec<Figure>> {
    let (tell, told) = sync_channel(FRAMES_IN_FLIGHT + 1);
    let storage = Arc::new(DirStorage::create(&dir.join("journal"))?);
    let recovered = journal::open(storage, Options::new(timeline.ns(), 1))?;
    let mut journal: LocalJournal<Arc<[u8]>, ()> =
        recovered.start(Box::new(AsIs), Box::new(Told(tell)))?;
    let record: Arc<[u8]> = vec![0x5a; RECORD_BYTES].into();
    append(&mut journal, vec![record.clone()], true)?;
    released(&told)?;
    // Filling reserve files ahead is the start's work, not an append's.
    let files = journal.files();
    while files.stats().numbers().spares_ready < SPARES_READY {
        append(&mut journal, vec![record.clone()], false)?;
        released(&told)?;
    }

    let one = one_by_one(&mut journal, &told, (&record, wanted, span_max), timeline)?;
    let frames = wanted.min(FRAMES_MAX);
    let many = pipelined(&mut journal, &told, (&record, frames, span_max), timeline)?;
    journal.close()?;
    Ok(vec![one, many])
}

fn one_by_one(
    journal: &mut LocalJournal<Arc<[u8]>, ()>,
    told: &Receiver<Result<(), JournalError>>,
    (record, wanted, span_max): (&Arc<[u8]>, u64, Duration),
    timeline: Timeline,
) -> anyhow::Result<Figure> {
    let mut spans = Latencies::new()?;
    let began = timeline.ns();
    let until = began.saturating_add(nanoseconds(span_max));
    let (mut count, mut now) = (0, began);
    while count < wanted && now < until {
        let before = timeline.ns();
        append(journal, vec![record.clone()], false)?;
        released(told)?;
        now = timeline.ns();
        spans.record(now.saturating_sub(before));
        count += 1;
    }
    let took = now.saturating_sub(began).max(1);
    Ok(
        Figure::new("append_1", "journal, one record in flight", count)
            .with(Metric::Rate, float(count) * 1e9 / float(took))
            .with_latencies(&spans, &[Metric::P50, Metric::P99, Metric::Max]),
    )
}

fn pipelined(
    journal: &mut LocalJournal<Arc<[u8]>, ()>,
    told: &Receiver<Result<(), JournalError>>,
    (record, wanted, span_max): (&Arc<[u8]>, u64, Duration),
    timeline: Timeline,
) -> anyhow::Result<Figure> {
    let began = timeline.ns();
    let until = began.saturating_add(nanoseconds(span_max));
    let (mut frames, mut in_flight) = (0_u64, 0);
    while frames < wanted && timeline.ns() < until {
        // A bench has no engine to ask: a journal that wants another segment gets it.
        let opens = journal.asks().opener;
        append(journal, vec![record.clone(); RECORDS_PER_FRAME], opens)?;
        frames += 1;
        in_flight += 1;
        if in_flight == FRAMES_IN_FLIGHT {
            released(told)?;
            in_flight -= 1;
        }
    }
    for _ in 0..in_flight {
        released(told)?;
    }
    let took = timeline.ns().saturating_sub(began).max(1);
    let records = frames.saturating_mul(check::count(RECORDS_PER_FRAME));
    let rate = float(records) * 1e9 / float(took);
    Ok(
        Figure::new("append_256", "journal, 256 a frame, pipelined", records)
            .with(Metric::Rate, rate),
    )
}

fn append(
    journal: &mut LocalJournal<Arc<[u8]>, ()>,
    records: Vec<Arc<[u8]>>,
    opens_segment: bool,
) -> Result<(), JournalError> {
    let opens_segment = opens_segment || journal.asks().opener;
    journal.append(Frame {
        records,
        release: (),
        opens_segment,
    })
}

fn released(told: &Receiver<Result<(), JournalError>>) -> anyhow::Result<()> {
    told.recv().context("the journal ended")??;
    Ok(())
}
