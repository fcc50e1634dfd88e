//! Scripts of kinds: what operators say of them, and what workers propose.

use super::world::follow::{followed, for_every_end, named};
use super::world::{World, info, new_task, plain_policy};
use crate::engine::command::{Call, Command, Entity, LeaseTasks, NewTask, Refresh, RefreshWhich};
use crate::engine::command::{Enqueue, WorkerInfo};
use crate::engine::effect::Answer;
use crate::engine::event::Event;
use crate::engine::ids::ShardId;
use crate::engine::ledger::kind::{Kind, KindName, KindSettings};
use crate::engine::limits;
use crate::engine::rejection::Rejection;
use crate::engine::retry::PolicyRef;

fn kind(name: &str) -> KindName {
    KindName::new("default", name).unwrap()
}

fn attempts(max_attempts: u32) -> KindSettings {
    KindSettings {
        max_attempts: Some(max_attempts),
        ..KindSettings::default()
    }
}

/// Settings that say something of everything.
fn full() -> KindSettings {
    KindSettings {
        queue: Some(named("mail")),
        policy: Some(PolicyRef::Inline(plain_policy(4).into())),
        timeouts: Some(super::levels::hard(9000)),
        max_attempts: Some(0),
        dead_letter_queue: Some(named("graveyard")),
        terms: Some(Box::new(followed(for_every_end("kind")))),
    }
}

fn get(world: &mut World, name: &str) -> Result<Kind, Rejection> {
    let answer = world.call(Call::GetKind(kind(name)))?;
    let Answer::Kind(kind) = answer else {
        panic!("no kind: {answer:?}")
    };
    Ok(*kind)
}

fn delete(world: &mut World, name: &str) -> Result<(), Rejection> {
    world.call(Call::DeleteKind(kind(name))).map(drop)
}

/// The names of a page, and whether there are more.
fn list(world: &mut World, after: Option<&str>, count_max: usize) -> (Vec<String>, bool) {
    let call = Call::ListKinds {
        namespace: "default".into(),
        after: after.map(kind),
        count_max,
    };
    match world.call(call) {
        Ok(Answer::Kinds { kinds, more }) => {
            let names = kinds.iter().map(|kind| kind.name.queue().to_owned());
            (names.collect(), more)
        }
        other => panic!("no kinds: {other:?}"),
    }
}

/// A worker that proposes this for the kind "work".
fn proposing(worker: &str, settings: &KindSettings) -> WorkerInfo {
    WorkerInfo {
        proposals: vec![("work".into(), Box::new(settings.clone()))],
        ..info(worker, &["mail"], &["work"])
    }
}

/// Every shard says the same of kinds.
#[track_caller]
fn check_copies(world: &World) {
    let kinds = |shard: u16| -> Vec<Kind> {
        let kinds = world.ledger(shard).kinds_from(std::ops::Bound::Unbounded);
        let unplaced = |kind: &Kind| Kind {
            recorded_at: 0,
            ..kind.clone()
        };
        kinds.map(unplaced).collect()
    };
    for shard in 1..16 {
        assert_eq!(kinds(shard), kinds(0));
    }
}

fn sharded() -> World {
    World::with(|config| config.shard_count = 16)
}

/// How many events of kinds there were.
fn events(world: &World) -> usize {
    let journal = world.journal().iter();
    let of_kinds = journal.filter(|recorded| {
        matches!(
            recorded.event,
            Event::KindConfigured { .. } | Event::KindRemoved { .. }
        )
    });
    of_kinds.count()
}

#[test]
fn a_kind_is_set_replaced_as_a_whole_and_deleted_in_every_shard() {
    let mut world = sharded();
    let unknown = Rejection::KindNotFound(kind("work"));
    assert_eq!(get(&mut world, "work"), Err(unknown.clone()));
    assert_eq!(delete(&mut world, "work"), Err(unknown.clone()));
    let first = world.set_kind_of("work", full()).unwrap();
    assert_eq!((first.revision, first.at), (1, world.now));
    assert_eq!((&first.settings, &first.proposed_by), (&full(), &None));
    check_copies(&world);
    world.wait_ms(5);
    let second = world.set_kind_of("work", attempts(3)).unwrap();
    assert_eq!((second.revision, second.at), (2, world.now));
    assert_eq!(get(&mut world, "work"), Ok(second.clone()));
    assert_eq!(second.settings, attempts(3));
    check_copies(&world);
    delete(&mut world, "work").unwrap();
    assert_eq!(get(&mut world, "work"), Err(unknown));
    check_copies(&world);
    assert_eq!(world.ledger(9).kind_count(), 0);
}

#[test]
fn kinds_are_the_same_after_a_restart() {
    let mut world = sharded();
    world.set_kind_of("work", full()).unwrap();
    world.set_kind_of("gone", attempts(1)).unwrap();
    let kept = world.set_kind_of("work", full()).unwrap();
    delete(&mut world, "gone").unwrap();
    world.restart();
    assert_eq!(get(&mut world, "work"), Ok(kept));
    assert_eq!(list(&mut world, None, 10).0, ["work"]);
    check_copies(&world);
}

#[test]
fn kinds_are_the_same_in_a_journal_that_was_cleaned() {
    let mut world = sharded();
    world.set_kind_of("work", full()).unwrap();
    world.set_kind_of("gone", attempts(1)).unwrap();
    world.set_kind_of("late", attempts(1)).unwrap();
    let from = world.journal().len();
    world.give(Command::OpenSegment);
    delete(&mut world, "gone").unwrap();
    world.set_kind_of("late", attempts(2)).unwrap();
    let openers = world.journal()[from..from + 16].to_vec();
    for opener in openers {
        assert!(matches!(opener.event, Event::SegmentOpened { .. }));
        let entities = ["work", "gone", "late"].map(|name| Entity::Kind(kind(name)));
        let before = events(&world);
        let refresh = Refresh {
            shard: opener.shard,
            below: opener.seq,
            which: RefreshWhich::Entities(entities.to_vec()),
        };
        world.call(Call::Refresh(refresh)).unwrap();
        assert_eq!(events(&world) - before, 1, "only what is old and there");
    }
    world.call(Call::SegmentsCleaned { below: 2 }).unwrap();
    let cleaned = world.cleaned(from);
    for shard in (0..16).map(ShardId) {
        assert_eq!(cleaned.ledger(shard), world.engine.ledger(shard));
    }
    assert_eq!(list(&mut world, None, 10).0, ["late", "work"]);
}

#[test]
fn kinds_are_listed_by_name_and_page_by_page_within_their_namespace() {
    let mut world = sharded();
    for name in ["d", "a", "c", "b"] {
        world.set_kind_of(name, attempts(1)).unwrap();
    }
    for namespace in ["aaa", "default-2", "zzz"] {
        let call = Call::SetKind {
            name: KindName::new(namespace, "other").unwrap(),
            settings: Box::default(),
        };
        world.call(call).unwrap();
    }
    let (first, more) = list(&mut world, None, 3);
    assert_eq!((first.join(""), more), ("abc".to_owned(), true));
    let (rest, more) = list(&mut world, Some("c"), 3);
    assert_eq!((rest.join(""), more), ("d".to_owned(), false));
    let (exactly, more) = list(&mut world, None, 4);
    assert_eq!((exactly.join(""), more), ("abcd".to_owned(), false));
}

#[test]
fn a_proposal_holds_until_an_operator_says_something() {
    let mut world = sharded();
    world.hello_as("w1", proposing("w1", &attempts(2)), 1, &[]);
    let proposed = get(&mut world, "work").unwrap();
    assert_eq!(proposed.proposed_by.as_deref(), Some("w1"));
    assert_eq!((proposed.revision, proposed.settings), (1, attempts(2)));
    check_copies(&world);
    world.hello_as("w2", proposing("w2", &attempts(5)), 1, &[]);
    let replaced = get(&mut world, "work").unwrap();
    assert_eq!(replaced.proposed_by.as_deref(), Some("w2"));
    assert_eq!((replaced.revision, replaced.settings), (2, attempts(5)));
    world.set_kind_of("work", attempts(7)).unwrap();
    world.hello_as("w3", proposing("w3", &attempts(9)), 1, &[]);
    let set = get(&mut world, "work").unwrap();
    assert_eq!((set.revision, set.settings), (3, attempts(7)));
    assert_eq!(set.proposed_by, None);
    delete(&mut world, "work").unwrap();
    world.hello_as("w3", proposing("w3", &attempts(9)), 1, &[]);
    assert_eq!(get(&mut world, "work").unwrap().settings, attempts(9));
    check_copies(&world);
}

#[test]
fn what_was_proposed_before_is_not_recorded_again() {
    let mut world = sharded();
    world.hello_as("w1", proposing("w1", &full()), 1, &[]);
    let recorded = events(&world);
    assert_eq!(recorded, 16);
    world.hello_as("w1", proposing("w1", &full()), 1, &[]);
    world.hello_as("w2", proposing("w2", &full()), 1, &[]);
    world.restart();
    world.hello_as("w3", proposing("w3", &full()), 1, &[]);
    assert_eq!(events(&world), recorded);
    let by = get(&mut world, "work").unwrap().proposed_by;
    assert_eq!(by.as_deref(), Some("w1"));
}

#[test]
fn an_operator_who_says_the_same_makes_it_hold() {
    let mut world = sharded();
    world.hello_as("w1", proposing("w1", &attempts(2)), 1, &[]);
    world.set_kind_of("work", attempts(2)).unwrap();
    world.hello_as("w2", proposing("w2", &attempts(3)), 1, &[]);
    let kind = get(&mut world, "work").unwrap();
    assert_eq!((kind.settings, kind.proposed_by), (attempts(2), None));
}

#[test]
fn a_worker_without_a_stream_proposes_too() {
    let mut world = sharded();
    let lease = |worker| {
        Call::LeaseTasks(LeaseTasks {
            worker,
            count_max: 1,
            wait_ms: 0,
            ttl_ms: 30_000,
        })
    };
    for _ in 0..3 {
        world.call(lease(proposing("cron", &attempts(2)))).unwrap();
    }
    let kind = get(&mut world, "work").unwrap();
    assert_eq!((kind.revision, kind.settings), (1, attempts(2)));
    assert_eq!(kind.proposed_by.as_deref(), Some("cron"));
}

#[test]
fn the_limit_of_kinds_refuses_an_operator_and_never_a_worker() {
    let mut world = World::new();
    for index in 0..limits::KIND_SETTINGS_MAX {
        world
            .set_kind_of(&format!("k{index}"), attempts(1))
            .unwrap();
    }
    let refused = world.set_kind_of("work", attempts(1)).unwrap_err();
    let limit = limits::KIND_SETTINGS_MAX as u64;
    let Rejection::LimitReached { limit: named, .. } = refused else {
        panic!("refused otherwise: {refused}")
    };
    assert_eq!(named, limit);
    world.set_kind_of("k77", attempts(2)).unwrap();
    world.enqueue("t1", "mail");
    world.quiet();
    world.hello_as("w1", proposing("w1", &attempts(2)), 1, &[]);
    world.expect(&["w1 gets t1#1"]);
    assert_eq!(world.ledger(0).kind_count(), limits::KIND_SETTINGS_MAX);
}

#[test]
fn a_task_that_names_no_queue_goes_where_its_kind_says_or_is_refused() {
    let mut world = sharded();
    let nowhere = || NewTask {
        queue: None,
        ..new_task("mail")
    };
    let enqueue = |world: &mut World, namespace: &str| {
        let call = Call::Enqueue(Enqueue {
            namespace: namespace.into(),
            tasks: vec![nowhere(), new_task("mail")],
            producer: None,
        });
        let Ok(Answer::Enqueued(results)) = world.call(call) else {
            panic!("not answered item by item")
        };
        assert!(results[1].is_ok(), "one bad item fails alone");
        results[0].clone().map(|accepted| accepted.id)
    };
    let refused = enqueue(&mut world, "default").unwrap_err();
    let Rejection::Invalid { field, problem } = refused else {
        panic!("refused otherwise")
    };
    assert_eq!(field, "queue");
    assert!(problem.contains("kind work") && problem.contains("name one"));
    world.set_kind_of("work", attempts(1)).unwrap();
    assert!(enqueue(&mut world, "default").is_err());
    world.set_kind_of("work", full()).unwrap();
    let id = enqueue(&mut world, "default").unwrap();
    let shard = named("mail").shard(16);
    assert_eq!(id.shard(), shard);
    let task = world.ledger(shard.0).task(id).unwrap();
    assert_eq!(task.queue, named("mail"));
    assert!(enqueue(&mut world, "elsewhere").is_err());
}
