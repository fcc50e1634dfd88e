//! What several tests of the shell need. Never in a product.

use std::sync::Arc;

use super::clock::{Clock, Readings, TimeSource};
use super::desk::Desk;
use super::driver::{Decides, Driver, Parts, Signals};
use super::inbox::Facts;
use super::outbox::Outbox;
use crate::engine::effect::{Answer, Effect, Notice, NoticeKind, ServerFacts};
use crate::engine::ids::{QueueName, RequestId, ShardId, TaskId, Timestamp};
use crate::journal::{Durability, MemoryJournal};
use crate::telemetry::Telemetry;

/// A desk of a coordinator whose durability is "always".
pub(crate) fn desk() -> Arc<Desk> {
    let facts = Facts {
        durability: Durability::Always,
        default_policy: "recommended".into(),
        shard_count: 4,
        start_time: Timestamp(1),
        incarnation: 42,
    };
    Arc::new(Desk::new(facts, Arc::new(Telemetry::new("0.0.0").unwrap())))
}

/// A notice of something that happened at this time.
pub(crate) fn notice(at: u64) -> Notice {
    Notice {
        kind: NoticeKind::Enqueued,
        at: Timestamp(at),
        task: TaskId::new(Timestamp(at), ShardId(0), at),
        queue: QueueName::new("default", "mail").unwrap(),
        task_kind: "send".into(),
        attempt: 1,
        worker: None,
        failure: None,
        next_attempt_at: None,
        reason: None,
        run_ms: None,
        waited_ms: None,
        delay_ms: None,
        outcome_label: None,
    }
}

/// An answer to a call.
pub(crate) fn reply_effect(request: RequestId) -> Effect {
    Effect::Reply {
        request,
        reply: Ok(Answer::Server(ServerFacts::default())),
    }
}

/// Tokio's clock, which tests simulate, as both clocks of a machine; the wall clock began at
/// [`WALL_MS`].
pub(crate) struct SimulatedTime {
    began: tokio::time::Instant,
}

/// What the wall clock said when the simulation began. Milliseconds since the Unix epoch.
pub(crate) const WALL_MS: u64 = 1_800_000_000_000;

impl SimulatedTime {
    #[expect(clippy::disallowed_methods, reason = "simulated time enters here")]
    pub(crate) fn new() -> Self {
        Self {
            began: tokio::time::Instant::now(),
        }
    }
}

impl TimeSource for SimulatedTime {
    fn read(&mut self) -> Readings {
        let boot_ns = u64::try_from(self.began.elapsed().as_nanos()).unwrap();
        Readings {
            wall_ns: WALL_MS * 1_000_000 + boot_ns,
            boot_ns,
        }
    }
}

/// A driver in simulated time that remembers nothing.
pub(crate) fn memory_driver<E: Decides>(
    engine: E,
    desk: &Arc<Desk>,
    signals: Signals,
) -> Driver<E> {
    let (outbox, failed) = Outbox::new(Arc::clone(desk));
    let journal = Box::new(MemoryJournal::new(outbox));
    let clock = Clock::new(Box::new(SimulatedTime::new()), Timestamp(0));
    let desk = Arc::clone(desk);
    Driver::new(
        Parts {
            engine,
            journal,
            clock,
            desk,
            failed,
        },
        signals,
    )
}
