//! Which handler runs which kind.
//!
//! Owns the handlers, with the worker's state inside each, and what the coordinator is told of the
//! kinds. Never runs one: the pool does.

use std::{
    collections::BTreeMap,
    fmt,
    ops::{Bound, RangeBounds},
    sync::Arc,
};

use redrive_proto::v1::{FailureClass, KindDeclaration};

use crate::{
    context::TaskContext,
    handler::{BlockingHandler, BoxFuture, Handler},
    kinds::KindDefaults,
    report::{Outcome, failure},
};

/// One run, ready to be started.
pub(crate) enum Work {
    Async(BoxFuture<Outcome>),
    Blocking(Box<dyn FnOnce() -> Outcome + Send>),
}

/// Begins a run of the handler that it holds.
pub(crate) type Begin = Arc<dyn Fn(TaskContext) -> Work + Send + Sync>;

/// Versions of a payload's format, both ends included. 0 is a task that states none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Versions {
    min: u32,
    max: u32,
}

impl Versions {
    /// Every version, and none.
    pub(crate) const EVERY: Self = Self {
        min: 0,
        max: u32::MAX,
    };

    /// A range; `None` where nothing is in it.
    pub(crate) fn of(range: &impl RangeBounds<u32>) -> Option<Self> {
        let min = match range.start_bound() {
            Bound::Included(min) => *min,
            Bound::Excluded(below) => below.checked_add(1)?,
            Bound::Unbounded => 0,
        };
        let max = match range.end_bound() {
            Bound::Included(max) => *max,
            Bound::Excluded(above) => above.checked_sub(1)?,
            Bound::Unbounded => u32::MAX,
        };
        (min <= max).then_some(Self { min, max })
    }

    fn has(self, version: u32) -> bool {
        (self.min..=self.max).contains(&version)
    }

    fn overlaps(self, other: Self) -> bool {
        self.min <= other.max && other.min <= self.max
    }
}

/// The handlers of one kind, of the lowest versions first, and what is proposed for it.
#[derive(Clone, Default)]
struct Kind {
    handlers: Vec<(Versions, Begin)>,
    defaults: Option<KindDefaults>,
}

/// The handlers of a worker, by kind.
#[derive(Clone, Default)]
pub(crate) struct Registry {
    kinds: BTreeMap<String, Kind>,
    fallback: Option<Begin>,
}

/// What the coordinator is told of the kinds.
#[derive(Debug, Default)]
pub(crate) struct Declared {
    /// Kinds of every version. None here and below: every kind.
    pub(crate) kinds: Vec<String>,
    /// Kinds of some versions, or with proposals.
    pub(crate) declared_kinds: Vec<KindDeclaration>,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds: Vec<_> = self.kinds.keys().collect();
        f.debug_struct("Registry")
            .field("kinds", &kinds)
            .finish_non_exhaustive()
    }
}

pub(crate) fn asynchronous<S, A, H>(handler: H, state: S) -> Begin
where
    S: Clone + Send + Sync + 'static,
    H: Handler<S, A>,
{
    Arc::new(move |task| Work::Async(handler.call(task, &state)))
}

pub(crate) fn blocking<S, A, H>(handler: H, state: S) -> Begin
where
    S: Clone + Send + Sync + 'static,
    H: BlockingHandler<S, A>,
{
    let handler = Arc::new(handler);
    Arc::new(move |task| {
        let (handler, state) = (Arc::clone(&handler), state.clone());
        Work::Blocking(Box::new(move || handler.call(task, &state)))
    })
}

impl Kind {
    fn handler_of(&self, version: u32) -> Option<&Begin> {
        let has = |(versions, _): &&(Versions, Begin)| versions.has(version);
        self.handlers.iter().find(has).map(|(_, begin)| begin)
    }

    /// All versions that it has handlers for, as the one range that the coordinator can be told.
    fn versions(&self, name: &str) -> Result<Option<Versions>, (&'static str, String)> {
        let mut all: Option<Versions> = None;
        for (versions, _) in &self.handlers {
            if let Some(before) = all
                && before.max.checked_add(1) != Some(versions.min)
            {
                let problem = format!(
                    "kind {name:?} has handlers up to version {} and from version {}; leave no gap",
                    before.max, versions.min
                );
                return Err(("task_versions", problem));
            }
            let min = all.map_or(versions.min, |before| before.min);
            let max = versions.max;
            all = Some(Versions { min, max });
        }
        if all.is_some_and(|all| all.max == 0) {
            let problem = format!(
                "kind {name:?} has a handler only for tasks that state no version; take later ones, \
                 too, and fail them"
            );
            return Err(("task_versions", problem));
        }
        Ok(all)
    }
}

impl Registry {
    /// Adds a handler. False where the kind has one already for a version of these.
    pub(crate) fn add(&mut self, kind: String, versions: Versions, begin: Begin) -> bool {
        let handlers = &mut self.kinds.entry(kind).or_default().handlers;
        let taken = handlers.iter().any(|(other, _)| other.overlaps(versions));
        if !taken {
            handlers.push((versions, begin));
            handlers.sort_by_key(|(versions, _)| *versions);
        }
        !taken
    }

    /// Proposes settings for a kind. False where some were proposed already.
    pub(crate) fn propose(&mut self, kind: String, defaults: KindDefaults) -> bool {
        let known = &mut self.kinds.entry(kind).or_default().defaults;
        known.replace(defaults).is_none()
    }

    /// Sets the handler of every kind that has none of its own.
    pub(crate) fn set_fallback(&mut self, begin: Begin) {
        self.fallback = Some(begin);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.kinds.is_empty() && self.fallback.is_none()
    }

    /// How many kinds are named.
    pub(crate) fn len(&self) -> usize {
        self.kinds.len()
    }

    /// What to tell the coordinator.
    ///
    /// # Errors
    ///
    /// The method of the builder and the problem, where this cannot be told in its words.
    pub(crate) fn declare(&self) -> Result<Declared, (&'static str, String)> {
        let mut declared = Declared::default();
        for (name, kind) in &self.kinds {
            let Some(versions) = kind.versions(name)? else {
                let problem = format!("kind {name:?} has no handler; add one, or leave it out");
                return Err(("kind_defaults", problem));
            };
            if versions == Versions::EVERY && kind.defaults.is_none() {
                declared.kinds.push(name.clone());
                continue;
            }
            let defaults = kind.defaults.clone().map(KindDefaults::into_settings);
            declared.declared_kinds.push(KindDeclaration {
                kind: name.clone(),
                version_min: versions.min,
                version_max: if versions.max == u32::MAX {
                    0
                } else {
                    versions.max
                },
                defaults,
            });
        }
        if self.fallback.is_none() {
            return Ok(declared);
        }
        match declared.declared_kinds.first() {
            // Only a worker that names no kind at all takes every kind.
            None => Ok(Declared::default()),
            Some(KindDeclaration { kind, .. }) => {
                let problem = format!(
                    "a worker with a fallback takes every kind in every version and proposes \
                     nothing, yet {kind:?} has versions or defaults; run two workers"
                );
                Err(("fallback", problem))
            }
        }
    }

    /// One run of the task, not started. A kind without a handler fails with class UNKNOWN_KIND.
    pub(crate) fn begin(&self, task: TaskContext) -> Work {
        let version = task.schema_version().unwrap_or(0);
        let kind = self.kinds.get(task.kind());
        let begin = kind.and_then(|kind| kind.handler_of(version));
        match begin.or(self.fallback.as_ref()) {
            Some(begin) => begin(task),
            None => {
                let what = match (kind, version) {
                    (None, _) | (Some(_), 0) => String::new(),
                    (Some(_), version) => format!(" in version {version}"),
                };
                let name = task.kind();
                let text = format!("this worker has no handler for kind {name:?}{what}");
                let unknown = failure(FailureClass::UnknownKind, UNKNOWN_KIND, &text);
                Work::Async(Box::pin(async move { Outcome::fail(unknown) }))
            }
        }
    }
}

const UNKNOWN_KIND: &str = "rust:redrive_worker::UnknownKind";
