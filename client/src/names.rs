//! Names for what may be sent more than once: request ids and producers.
//!
//! Owns the ids that the client makes: 128 bits of the operating system's randomness for each
//! client, and a number that its clones share, so that no id is made twice. Invariant: a producer is
//! lent to one stream at a time, so that what the coordinator remembers of it covers all that the
//! stream may send again.

use std::{
    mem,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use redrive_proto::v1;

use crate::{
    check::span,
    connect::os_seed,
    error::Error,
    limits::{MEMORY_MIN, REQUEST_TTL_MARGIN, REQUEST_TTL_MAX},
};

/// Makes names. Clones make different ones.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    prefix: Arc<str>,
    next: Arc<AtomicU64>,
    /// Producers that no stream uses now. The coordinator remembers few, so they are used again.
    idle: Arc<Mutex<Vec<Producer>>>,
}

impl Names {
    /// # Errors
    /// [`Error::Invalid`] where the operating system has no randomness to give.
    pub(crate) fn new() -> Result<Self, Error> {
        let prefix = format!("{:016x}{:016x}", os_seed()?, os_seed()?);
        Ok(Self {
            prefix: prefix.into(),
            next: Arc::default(),
            idle: Arc::default(),
        })
    }

    fn make(&self) -> String {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        format!("{}-{number}", self.prefix)
    }

    /// Lends a producer to a stream.
    pub(crate) fn lend(&self) -> Lent {
        let idle = self.idle.lock();
        let used = idle.unwrap_or_else(PoisonError::into_inner).pop();
        let producer = used.unwrap_or_else(|| Producer {
            id: self.make(),
            next: 1,
        });
        Lent {
            producer,
            back_to: Some(Arc::clone(&self.idle)),
        }
    }
}

/// A producer of an enqueue stream: its id, and the sequence that its next item gets.
#[derive(Debug, Default)]
pub(crate) struct Producer {
    /// The id.
    pub(crate) id: String,
    /// The next item's sequence.
    pub(crate) next: u64,
}

/// A producer while a stream uses it.
#[derive(Debug)]
pub(crate) struct Lent {
    /// The producer.
    pub(crate) producer: Producer,
    back_to: Option<Arc<Mutex<Vec<Producer>>>>,
}

impl Lent {
    /// A producer that the user named.
    pub(crate) fn named(id: &str, next: u64) -> Self {
        let id = id.to_owned();
        Self {
            producer: Producer { id, next },
            back_to: None,
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(idle) = self.back_to.take() {
            let producer = mem::take(&mut self.producer);
            idle.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(producer);
        }
    }
}

/// What the user calls the next changes.
#[derive(Debug, Clone, Default)]
pub(crate) struct RequestName {
    /// The id; `None`: one is made for each call.
    pub(crate) id: Option<String>,
    /// How long it is remembered; `None`: as long as the coordinator says.
    pub(crate) ttl: Option<prost_types::Duration>,
}

impl RequestName {
    /// The id and its ttl for one call. An id that was made is remembered for as long as this call
    /// may be sent again, and a little longer: nobody else can send it.
    pub(crate) fn or_made(
        &self,
        names: &Names,
        deadline: Duration,
    ) -> (String, Option<prost_types::Duration>) {
        if let Some(id) = &self.id {
            return (id.clone(), self.ttl);
        }
        let ttl = deadline
            .saturating_add(REQUEST_TTL_MARGIN)
            .clamp(MEMORY_MIN, REQUEST_TTL_MAX);
        (names.make(), Some(self.ttl.unwrap_or_else(|| span(ttl))))
    }
}

/// A request that can carry a request id.
pub(crate) trait Named {
    /// Gives it one.
    fn name(&mut self, id: String, ttl: Option<prost_types::Duration>);
}

macro_rules! named {
    ($($request:ident),* $(,)?) => {
        $(impl Named for v1::$request {
            fn name(&mut self, id: String, ttl: Option<prost_types::Duration>) {
                self.request_id = id;
                self.request_ttl = ttl;
            }
        })*
    };
}

named![
    CancelTaskRequest,
    DeleteKindRequest,
    DiscardTaskRequest,
    DrainWorkersRequest,
    EnqueueTaskRequest,
    EnqueueTasksRequest,
    PauseQueueRequest,
    RedriveTaskRequest,
    ResumeQueueRequest,
    SetKindRequest,
    UpdateQueueRequest,
    UpdateTaskRequest,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_is_made_twice_and_every_one_is_a_name_of_the_protocol() {
        let names = Names::new().unwrap();
        let (clone, others) = (names.clone(), Names::new().unwrap());
        let made = [names.make(), clone.make(), others.make(), names.make()];
        let all: std::collections::BTreeSet<&String> = made.iter().collect();
        assert_eq!(all.len(), made.len());
        for name in made {
            crate::check::check_name("producer_id", &name).unwrap();
            crate::check_life::check_request_id(&name).unwrap();
        }
    }

    #[test]
    fn a_producer_is_lent_to_one_stream_at_a_time_and_goes_on_where_it_was() {
        let names = Names::new().unwrap();
        let mut first = names.lend();
        let second = names.lend();
        assert_ne!(first.producer.id, second.producer.id);
        first.producer.next = 17;
        let id = first.producer.id.clone();
        drop(first);
        let again = names.lend();
        assert_eq!((again.producer.id.clone(), again.producer.next), (id, 17));
    }

    #[test]
    fn an_id_that_was_made_is_remembered_as_long_as_its_call_may_last() {
        let names = Names::new().unwrap();
        let ttl = |deadline| {
            let name = RequestName::default().or_made(&names, deadline);
            name.1.unwrap().seconds
        };
        assert_eq!(ttl(Duration::from_secs(10)), 15);
        assert_eq!(ttl(Duration::MAX), 86_400);
    }
}
