//! Claims that what the user says of tasks, kinds and queues arrives.

use super::*;
use crate::{Cancel, TaskRef, TaskUpdate};

fn seconds(span: Option<prost_types::Duration>) -> Option<i64> {
    span.map(|span| span.seconds)
}

fn field(error: Error) -> String {
    let Error::Invalid { field, .. } = error else {
        panic!("{error}")
    };
    field
}

#[tokio::test(start_paused = true)]
async fn every_call_on_a_task_names_it_by_id_or_by_key() {
    let (fake, client, _streams) = Fake::start();
    let client = client.with_namespace("acme").unwrap();
    let by_key = TaskRef::key("mail", "welcome:1");
    for task in [TaskRef::id("a"), by_key] {
        client.get(&task).await.unwrap();
        drop(client.wait(&task, SECOND).await.unwrap());
        client.cancel_with(&task, Cancel::force()).await.unwrap();
        let update = TaskUpdate::new().priority(v1::Priority::High);
        client.update(&task, update).await.unwrap();
        client.redrive(&task, SECOND, "").await.unwrap();
        client.discard(&task, "").await.unwrap();
    }
    let key = v1::TaskKey {
        namespace: "acme".to_owned(),
        queue: "mail".to_owned(),
        idempotency_key: "welcome:1".to_owned(),
    };
    let mut wanted = vec![("a".to_owned(), None); 6];
    wanted.extend(vec![(String::new(), Some(key)); 6]);
    assert_eq!(fake.state().named, wanted);
    for (wrong, at) in [
        (TaskRef::id(""), "task_id"),
        (TaskRef::key("", "k"), "task_key.queue"),
        (TaskRef::key("q", ""), "task_key.idempotency_key"),
    ] {
        assert_eq!(field(client.get(wrong).await.unwrap_err()), at);
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancel_says_how_far_it_may_go() {
    let (fake, client, _streams) = Fake::start();
    let patient = Cancel::cooperative().grace(30 * SECOND).reason("too late");
    let answer = client.cancel_with("a", patient).await.unwrap();
    assert_eq!(answer.disposition(), v1::CancelDisposition::Cancelling);
    client.cancel_with("a", Cancel::if_waiting()).await.unwrap();
    let cancels = fake.state().cancels.clone();
    assert_eq!(cancels[0].mode(), v1::CancelMode::Cooperative);
    assert_eq!(seconds(cancels[0].grace), Some(30));
    assert_eq!(cancels[0].reason, "too late");
    assert_eq!(cancels[1].mode(), v1::CancelMode::IfWaiting);
    for wrong in [
        Cancel::force().grace(SECOND),
        Cancel::cooperative().grace(25 * 3_600 * SECOND),
    ] {
        let error = client.cancel_with("a", wrong).await.unwrap_err();
        assert_eq!(field(error), "grace");
    }
}

#[tokio::test(start_paused = true)]
async fn many_are_cancelled_by_filter_in_the_clients_namespace() {
    let (_fake, client, _streams) = Fake::start();
    let client = client.with_namespace("acme").unwrap();
    let mut request = v1::CancelTasksRequest {
        expected_count: Some(3),
        mode: v1::CancelMode::IfWaiting.into(),
        ..Default::default()
    };
    let progress = client.cancel_many(request.clone()).await.unwrap();
    let steps: Vec<_> = progress.try_collect().await.unwrap();
    assert_eq!(
        (steps[0].matched, steps[0].cancelled, steps[0].done),
        (3, 1, true)
    );
    request.grace = Some(prost_types::Duration::default());
    assert_eq!(
        field(client.cancel_many(request).await.err().unwrap()),
        "grace"
    );
}

#[tokio::test(start_paused = true)]
async fn an_update_sends_what_it_changes_and_nothing_else() {
    let (fake, client, _streams) = Fake::start();
    let update = TaskUpdate::new()
        .timeouts(Some(SECOND), Some(2 * SECOND))
        .extend_max(3 * SECOND)
        .json(&7)
        .unwrap()
        .priority(v1::Priority::Low)
        .delay(Duration::ZERO)
        .max_attempts(0)
        .reason("slow provider");
    client.update("a", update).await.unwrap();
    client
        .update_timeouts("a", None, Some(SECOND))
        .await
        .unwrap();
    let updates = fake.state().updates.clone();
    let timeouts = updates[0].timeouts.unwrap();
    assert_eq!(
        (seconds(timeouts.soft), seconds(timeouts.hard)),
        (Some(1), Some(2))
    );
    assert_eq!(seconds(timeouts.extend_max), Some(3));
    assert_eq!(updates[0].payload.as_ref().unwrap().data, "7");
    assert_eq!(updates[0].priority(), v1::Priority::Low);
    assert!(matches!(
        updates[0].start,
        Some(v1::update_task_request::Start::Delay(_))
    ));
    assert_eq!(
        (updates[0].max_attempts, &*updates[0].reason),
        (Some(0), "slow provider")
    );
    assert!(updates[1].payload.is_none() && updates[1].start.is_none());
    let nothing = client.update("a", TaskUpdate::new().reason("none")).await;
    assert_eq!(field(nothing.unwrap_err()), "update");
}

#[tokio::test(start_paused = true)]
async fn kinds_are_set_whole_read_and_listed() {
    let (fake, client, _streams) = Fake::start();
    let settings = v1::KindSettings {
        queue: "mail".to_owned(),
        max_attempts: Some(3),
        ..Default::default()
    };
    let kind = client.set_kind("send", settings.clone()).await.unwrap();
    assert_eq!(kind.kind, "send");
    assert_eq!(fake.state().kinds, [settings]);
    assert_eq!(client.kind("send").await.unwrap().kind, "send");
    let kinds: Vec<v1::Kind> = client.kinds().try_collect().await.unwrap();
    assert_eq!(kinds.iter().map(|it| &*it.kind).collect::<String>(), "ab");
    let wrong = v1::KindSettings {
        dead_letter_queue: "no name".to_owned(),
        ..Default::default()
    };
    let error = client.set_kind("send", wrong).await.unwrap_err();
    assert_eq!(field(error), "settings.dead_letter_queue");
}

#[tokio::test(start_paused = true)]
async fn a_queues_new_settings_arrive_with_their_mask() {
    let (fake, client, _streams) = Fake::start();
    let settings = v1::QueueSettings {
        finished_max: Some(10),
        ..Default::default()
    };
    let fields = ["finished_max", "terms.ttl"];
    client.update_queue("q", settings, &fields).await.unwrap();
    let sent = fake.state().queues[0].clone();
    assert_eq!(sent.settings.unwrap().finished_max, Some(10));
    assert_eq!(sent.update_mask.unwrap().paths, fields);
    let wrong = v1::QueueSettings {
        finished_max: Some(100_001),
        ..Default::default()
    };
    let error = client.update_queue("q", wrong, &["finished_max"]).await;
    assert_eq!(field(error.unwrap_err()), "settings.finished_max");
}
