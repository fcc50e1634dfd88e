//! Reads the segments in order and judges them, one ahead of whoever uses them.
//!
//! Owns the thread that reads ahead, which lives no longer than the call, and two buffers of a
//! segment each. Never hands out a frame that was not judged good.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use super::limits::READ_AHEAD_BYTES_MIN;
use super::recover::{Ending, Expect, Fault, FrameAt, Verdict, Why, scan};
use super::storage::Storage;
use super::survey::read_whole;

/// Buffers in use: one is handed out while the other one is filled.
const BUFFERS: usize = 2;

/// A segment to be read.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    pub(super) name: String,
    pub(super) number: u64,
    pub(super) bytes: u64,
    pub(super) expect: Expect,
    /// The last lsn and the chain that the next segment names.
    pub(super) next_says: Option<(u64, u64)>,
}

/// A segment that was read and judged.
#[derive(Debug)]
pub(super) struct Chunk {
    /// Which one of those planned.
    pub(super) index: usize,
    pub(super) bytes: Vec<u8>,
    pub(super) frames: Vec<FrameAt>,
    pub(super) verdict: Verdict,
}

/// Why the stream ended before the end of the log.
#[derive(Debug)]
pub(super) enum Stop {
    /// The machine refused to read this one of the planned segments.
    Io(usize, io::Error),
    /// This one is damaged.
    Corrupt(usize, Fault),
    /// Whoever uses the records refuses one, at this offset of this segment.
    Refused(usize, usize, String),
}

/// Uses one judged segment.
pub(super) type Use<'a> = dyn FnMut(&Chunk) -> Result<(), Stop> + 'a;

impl Chunk {
    const fn empty() -> Self {
        Self {
            index: 0,
            bytes: Vec::new(),
            frames: Vec::new(),
            verdict: Verdict {
                end: 0,
                last_lsn: 0,
                chain: 0,
                ending: Ending::Clean,
            },
        }
    }

    /// Reads and judges one of the planned segments into this chunk.
    fn fill(&mut self, storage: &dyn Storage, plan: &[Planned], index: usize) -> Result<(), Stop> {
        let Some(planned) = plan.get(index) else {
            return Ok(());
        };
        let mut expect = planned.expect;
        if index > 0 {
            expect.next_lsn = self.verdict.last_lsn + 1;
            expect.chain = self.verdict.chain;
        }
        let file = storage.open(&planned.name);
        let read = file.and_then(|file| read_whole(&*file, &mut self.bytes));
        read.map_err(|error| Stop::Io(index, error))?;
        self.index = index;
        self.verdict = scan(&self.bytes, &expect, &mut self.frames);
        if let Ending::Corrupt(fault) = self.verdict.ending {
            return Err(Stop::Corrupt(index, fault));
        }
        let reached = (self.verdict.last_lsn, self.verdict.chain);
        match planned.next_says {
            Some(says) if says != reached => {
                let fault = Fault {
                    why: if says.0 == reached.0 {
                        Why::Chain
                    } else {
                        Why::Header
                    },
                    offset: self.verdict.end,
                    lsn: reached.0 + 1,
                    last_lsn: says.0,
                    records: 0,
                };
                Err(Stop::Corrupt(index, fault))
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// Streams the planned segments in order through `use_chunk`.
pub(super) fn stream(
    storage: &dyn Storage,
    plan: &[Planned],
    use_chunk: &mut Use<'_>,
) -> Result<(), Stop> {
    let bytes: u64 = plan.iter().map(|planned| planned.bytes).sum();
    if bytes < READ_AHEAD_BYTES_MIN || plan.len() < 2 {
        let mut chunk = Chunk::empty();
        for index in 0..plan.len() {
            chunk.fill(storage, plan, index)?;
            use_chunk(&chunk)?;
        }
        return Ok(());
    }
    let (give_back, given_back) = sync_channel(BUFFERS);
    let (hand_out, handed_out) = sync_channel(BUFFERS);
    for _ in 0..BUFFERS {
        // There is room for all of them.
        give_back.send(Chunk::empty()).unwrap_or_default();
    }
    thread::scope(|scope| {
        let reader = thread::Builder::new().name("journal-read".to_owned());
        let spawned = reader.spawn_scoped(scope, move || {
            read_ahead(storage, plan, &given_back, &hand_out)
        });
        spawned.map_err(|error| Stop::Io(0, error))?;
        // Dropped at the latest here, which ends the reader.
        let (handed_out, give_back) = (handed_out, give_back);
        for chunk in &handed_out {
            let chunk = chunk?;
            use_chunk(&chunk)?;
            // The reader may have ended: then the buffer is not needed.
            give_back.send(chunk).unwrap_or_default();
        }
        Ok(())
    })
}

fn read_ahead(
    storage: &dyn Storage,
    plan: &[Planned],
    given_back: &Receiver<Chunk>,
    hand_out: &SyncSender<Result<Chunk, Stop>>,
) {
    let mut reached = Chunk::empty().verdict;
    for index in 0..plan.len() {
        let Ok(mut chunk) = given_back.recv() else {
            return;
        };
        chunk.verdict = reached;
        let filled = chunk.fill(storage, plan, index);
        reached = chunk.verdict;
        let ended = filled.is_err();
        if hand_out.send(filled.map(|()| chunk)).is_err() || ended {
            return;
        }
    }
}
