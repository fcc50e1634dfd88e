//! Equal names share memory, whatever lies between, and sharing never changes what is read.

use std::sync::Arc;

use super::encoded;
use super::values::{full_task, plain_task, policy};
use crate::codec::Decoder;
use crate::engine::event::{Event, Recorded};
use crate::engine::ids::{QueueName, ShardId};
use crate::engine::ledger::task::{Own, Task};
use crate::engine::retry::{Policy, PolicyRef};

fn decoded(decoder: &mut Decoder, task: Task) -> Task {
    let record = Recorded {
        shard: ShardId(0),
        seq: 1,
        event: Event::TaskEnqueued { task: task.into() },
    };
    let decoded = decoder.decode(&encoded(&record)).unwrap();
    let Event::TaskEnqueued { task } = decoded.event else {
        panic!("{decoded:?}");
    };
    *task
}

fn policy_of(task: &Task) -> &Arc<Policy> {
    task.policy().map(PolicyRef::policy).unwrap()
}

#[test]
fn equal_texts_names_and_policies_share_memory() {
    let mut decoder = Decoder::new();
    let first = decoded(&mut decoder, full_task());
    for number in 0..20_000 {
        let name = format!("label-{number}");
        let noise = Task {
            kind: name.as_str().into(),
            queue: QueueName::new("noise", &name).unwrap(),
            ..plain_task()
        };
        assert_eq!(*decoded(&mut decoder, noise).kind, *name);
        if number % 100 == 0 {
            decoded(&mut decoder, full_task());
        }
    }
    let second = decoded(&mut decoder, full_task());
    assert_eq!(first, second);
    assert!(Arc::ptr_eq(&first.kind, &second.kind));
    assert!(std::ptr::eq(first.queue.as_str(), second.queue.as_str()));
    assert!(Arc::ptr_eq(policy_of(&first), policy_of(&second)));
    let types = [&first, &second].map(|task| task.payload.content_type.clone().unwrap());
    assert!(Arc::ptr_eq(&types[0], &types[1]));
    let workers = [&first, &second].map(|task| task.lease().unwrap().worker.clone());
    assert!(Arc::ptr_eq(&workers[0], &workers[1]));
}

#[test]
fn a_policy_is_shared_by_what_it_says_and_not_by_its_name() {
    let mut decoder = Decoder::new();
    let with = |max_attempts| {
        let policy = Policy {
            max_attempts,
            ..policy()
        };
        Task {
            own: Own {
                policy: Some(PolicyRef::Named(policy.into())),
                ..Own::default()
            }
            .said(),
            ..plain_task()
        }
    };
    for max_attempts in [1, 2, 1, 2, 3] {
        let task = decoded(&mut decoder, with(max_attempts));
        assert_eq!(policy_of(&task).max_attempts, max_attempts);
    }
}
