//! Claims about enqueue streams: batches, bounds, cuts, and what is sent again after them.

use super::*;
use crate::{
    DEADLINE_DEFAULT, EnqueueTotals,
    fake::Opened,
    limits::{ACK_SILENCE_MAX, PAYLOAD_BYTES_MAX, UNACKNOWLEDGED_MAX},
};

#[tokio::test(start_paused = true)]
async fn a_lone_streamed_task_leaves_alone_and_a_flood_leaves_in_full_messages() {
    let (_fake, client, mut streams) = Fake::start();
    let stream = client.enqueue_stream();
    let lone = stream.send(task()).await.unwrap();
    let mut opened = streams.recv().await.unwrap();
    let items = opened.items().await;
    assert_eq!(items.len(), 1);
    opened.accept(&items).await;
    assert_eq!(lone.await.unwrap(), "task-1");

    // Without a pause in which the transport could take what is there.
    let flood = tokio::task::unconstrained(async {
        for _ in 0..2_500 {
            drop(stream.send(task()).await.unwrap());
        }
    });
    flood.await;
    let mut messages = Vec::new();
    while messages.iter().sum::<usize>() < 2_500 {
        let items = opened.items().await;
        opened.accept(&items).await;
        messages.push(items.len());
    }
    assert_eq!(messages, [1_000, 1_000, 500]);
    let (totals, ()) = tokio::join!(stream.finish(), async {
        assert!(opened.items().await.is_empty());
        drop(opened);
    });
    assert_eq!(
        totals.unwrap(),
        EnqueueTotals {
            accepted: 2_501,
            ..Default::default()
        }
    );
}

#[tokio::test(start_paused = true)]
async fn a_refused_item_is_told_on_its_own_ticket_only() {
    let (_fake, client, mut streams) = Fake::start();
    let stream = client.enqueue_stream();
    let first = stream.send(task()).await.unwrap();
    let second = stream.send(task()).await.unwrap();
    let mut opened = streams.recv().await.unwrap();
    let items = opened.items().await;
    let refusal = v1::Refusal {
        code: 8,
        reason: "MEMORY_FULL".to_owned(),
        ..Default::default()
    };
    let result = Some(v1::enqueue_ack::Result::Refusal(refusal));
    opened
        .acknowledge(vec![v1::EnqueueAck {
            sequence: items[0].sequence,
            result,
            ..Default::default()
        }])
        .await;
    opened.accept(&items[1..]).await;
    assert_eq!(first.await.unwrap_err().reason(), Some("MEMORY_FULL"));
    assert_eq!(second.await.unwrap(), "task-2");
    drop(opened);
    assert_eq!(
        stream.finish().await.unwrap(),
        EnqueueTotals {
            accepted: 1,
            refused: 1,
            existing: 0
        }
    );
}

#[tokio::test(start_paused = true)]
async fn sending_waits_while_the_most_items_are_unacknowledged() {
    let (_fake, client, mut streams) = Fake::start();
    let stream = client.enqueue_stream();
    for _ in 0..UNACKNOWLEDGED_MAX {
        drop(stream.send(task()).await.unwrap());
    }
    let mut one_more = Box::pin(stream.send(task()));
    assert!(futures::poll!(&mut one_more).is_pending());
    let mut opened = streams.recv().await.unwrap();
    let items = opened.items().await;
    assert!(futures::poll!(&mut one_more).is_pending());
    opened.accept(&items[..1]).await;
    drop(one_more.await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn sending_waits_while_the_most_bytes_are_unacknowledged() {
    let (_fake, client, _streams) = Fake::start();
    let stream = client.enqueue_stream();
    let large = task().bytes(vec![0; PAYLOAD_BYTES_MAX], "");
    for _ in 0..63 {
        drop(stream.send(large.clone()).await.unwrap());
    }
    let mut one_more = Box::pin(stream.send(large));
    assert!(futures::poll!(&mut one_more).is_pending());
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_cannot_connect_has_sent_nothing() {
    let (fake, client, _streams) = Fake::start();
    fake.state().refused_connections = usize::MAX;
    let stream = client.enqueue_stream();
    let error = stream.send(task()).await.unwrap().await.unwrap_err();
    assert!(matches!(error, Error::Connect { .. }), "{error}");
    assert!(stream.finish().await.unwrap_err().is_retryable());
}

#[tokio::test(start_paused = true)]
async fn a_dropped_stream_leaves_no_ticket_waiting() {
    let (_fake, client, mut streams) = Fake::start();
    let stream = client.enqueue_stream();
    let ticket = stream.send(task()).await.unwrap();
    let mut opened = streams.recv().await.unwrap();
    assert_eq!(opened.items().await.len(), 1);
    drop(stream);
    assert!(ticket.await.unwrap_err().is_outcome_unknown());
}

#[tokio::test(start_paused = true)]
async fn what_a_cut_leaves_unacknowledged_is_sent_again_under_the_same_names() {
    let (fake, client, mut streams) = Fake::start();
    let stream = client.enqueue_stream();
    let first = stream.send(task()).await.unwrap();
    let mut opened = streams.recv().await.unwrap();
    let (producer, sequences) = opened.named().await;
    assert!(!producer.is_empty());
    assert_eq!(sequences, [1]);
    let acked = [v1::EnqueueItem {
        sequence: 1,
        task: None,
    }];
    opened.accept(&acked).await;
    assert_eq!(first.await.unwrap(), "task-1");

    let second = stream.send(task()).await.unwrap();
    let third = stream.send(task()).await.unwrap();
    assert_eq!(opened.named().await, (producer.clone(), vec![2, 3]));
    fake.state().refused_connections = 2;
    fake.cut();
    let fourth = stream.send(task()).await.unwrap();
    let mut opened = streams.recv().await.unwrap();
    assert_eq!(opened.named().await, (producer, vec![2, 3, 4]));
    let existing = |sequence| v1::EnqueueAck {
        effect: v1::EnqueueEffect::Existing.into(),
        ..ack(sequence)
    };
    opened
        .acknowledge(vec![existing(2), existing(3), ack(4)])
        .await;
    assert_eq!(second.await.unwrap(), "task-2");
    let third = third.accepted().await.unwrap();
    assert_eq!(third.effect, v1::EnqueueEffect::Existing);
    assert_eq!(
        (fourth.sequence(), fourth.await.unwrap().as_str()),
        (4, "task-4")
    );
    drop(opened);
    let totals = EnqueueTotals {
        accepted: 4,
        existing: 2,
        refused: 0,
    };
    assert_eq!(stream.finish().await.unwrap(), totals);
}

fn ack(sequence: u64) -> v1::EnqueueAck {
    v1::EnqueueAck {
        sequence,
        result: Some(v1::enqueue_ack::Result::TaskId(format!("task-{sequence}"))),
        effect: v1::EnqueueEffect::Created.into(),
    }
}

/// Accepts everything of a stream until it half-closes or breaks.
async fn accept_all(mut opened: Opened) -> Vec<u64> {
    let mut seen = Vec::new();
    while let Ok(Some(request)) = opened.requests.message().await {
        seen.extend(request.items.iter().map(|item| item.sequence));
        opened.accept(&request.items).await;
    }
    seen
}

#[tokio::test(start_paused = true)]
async fn nothing_is_lost_or_doubled_over_many_cuts() {
    const TASKS: u64 = 500;
    let (fake, client, mut streams) = Fake::start();
    let stream = client.enqueue_stream();
    let mut accepted = std::collections::BTreeSet::new();
    let mut tickets = Vec::new();
    for sent in 1..=TASKS {
        tickets.push(stream.send(task()).await.unwrap());
        if sent % 50 == 0 {
            // The coordinator accepts what arrives, and is gone before it has said so of all.
            let mut opened = streams.recv().await.unwrap();
            let items = opened.items().await;
            accepted.extend(items.iter().map(|item| item.sequence));
            opened.accept(&items[..items.len() / 2]).await;
            clock::pause(SECOND).await;
            fake.cut();
        }
    }
    let (seen, totals) = tokio::join!(
        async { accept_all(streams.recv().await.unwrap()).await },
        stream.finish()
    );
    assert_eq!(totals.unwrap().accepted, TASKS);
    accepted.extend(seen);
    assert_eq!(accepted, (1..=TASKS).collect());
    for (sequence, ticket) in (1..).zip(tickets) {
        assert_eq!(ticket.await.unwrap(), format!("task-{sequence}"));
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_stream_outlives_a_coordinator_that_is_away_for_long() {
    let (fake, client, mut streams) = Fake::start();
    let stream = client.enqueue_stream();
    let ticket = stream.send(task()).await.unwrap();
    let mut opened = streams.recv().await.unwrap();
    let items = opened.items().await;
    opened.accept(&items).await;
    ticket.await.unwrap();
    fake.state().refused_connections = usize::MAX;
    fake.cut();
    clock::pause(3_600 * SECOND).await;
    fake.state().refused_connections = 0;
    let ticket = stream.send(task()).await.unwrap();
    let (seen, answer, ()) = tokio::join!(
        async { accept_all(streams.recv().await.unwrap()).await },
        ticket,
        async { assert_eq!(stream.finish().await.unwrap().accepted, 2) }
    );
    assert_eq!((seen, answer.unwrap()), (vec![2], "task-2".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_coordinator_that_stays_away_leaves_open_what_was_sent_and_only_that() {
    let (fake, client, mut streams) = Fake::start();
    let stream = client.enqueue_stream();
    let left = stream.send(task()).await.unwrap();
    let mut opened = streams.recv().await.unwrap();
    assert_eq!(opened.items().await.len(), 1);
    fake.state().refused_connections = usize::MAX;
    fake.cut();
    clock::pause(SECOND).await;
    let begin = start();
    let stayed = stream.send(task()).await.unwrap();
    let error = left.await.unwrap_err();
    assert!(
        error.is_outcome_unknown() && !error.is_retryable(),
        "{error}"
    );
    let error = stayed.await.unwrap_err();
    assert!(matches!(error, Error::Connect { .. }), "{error}");
    assert!(passed(begin) <= DEADLINE_DEFAULT);
    assert!(stream.send(task()).await.unwrap_err().is_retryable());
    assert!(stream.finish().await.unwrap_err().is_outcome_unknown());
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_ends_well_without_all_acknowledgements_goes_on() {
    let (_fake, client, mut streams) = Fake::start();
    let stream = client.enqueue_stream();
    let ticket = stream.send(task()).await.unwrap();
    let mut opened = streams.recv().await.unwrap();
    assert_eq!(opened.items().await.len(), 1);
    drop(opened);
    let mut opened = streams.recv().await.unwrap();
    let items = opened.items().await;
    opened.accept(&items).await;
    assert_eq!(ticket.await.unwrap(), "task-1");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_falls_silent_counts_as_cut_but_an_idle_one_does_not() {
    let (_fake, client, mut streams) = Fake::start();
    let stream = client.enqueue_stream();
    clock::pause(600 * SECOND).await;
    let ticket = stream.send(task()).await.unwrap();
    let begin = start();
    let opened = streams.recv().await.unwrap();
    let again = streams.recv().await.unwrap();
    assert!(passed(begin) <= 2 * ACK_SILENCE_MAX);
    assert!(ticket.await.unwrap_err().is_outcome_unknown());
    assert!(passed(begin) <= 2 * ACK_SILENCE_MAX + DEADLINE_DEFAULT);
    drop((opened, again));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_for_good_ends_the_stream_at_once() {
    let (_fake, client, mut streams) = Fake::start();
    let stream = client.enqueue_stream();
    let ticket = stream.send(task()).await.unwrap();
    let opened = streams.recv().await.unwrap();
    let refusal = Status::new(Code::InvalidArgument, "no producer");
    opened.answers.send(Err(refusal)).await.unwrap();
    assert!(ticket.await.unwrap_err().is_outcome_unknown());
    let error = stream.finish().await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
}

#[tokio::test(start_paused = true)]
async fn unacknowledged_sequences_lie_within_what_the_coordinator_remembers() {
    let (_fake, client, mut streams) = Fake::start();
    let stream = client.enqueue_stream();
    for _ in 0..UNACKNOWLEDGED_MAX {
        drop(stream.send(task()).await.unwrap());
    }
    let mut one_more = Box::pin(stream.send(task()));
    let mut opened = streams.recv().await.unwrap();
    let items = opened.items().await;
    opened.accept(&items[1..]).await;
    clock::pause(SECOND).await;
    assert!(
        futures::poll!(&mut one_more).is_pending(),
        "the first one is not acknowledged"
    );
    opened.accept(&items[..1]).await;
    drop(one_more.await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_producer_that_the_user_names_goes_on_where_the_user_says() {
    let (_fake, client, mut streams) = Fake::start();
    let client = client.with_actor("ada@build7").unwrap();
    let stream = client.enqueue_stream_as("importer", 17).unwrap();
    drop(stream.send(task()).await.unwrap());
    let mut opened = streams.recv().await.unwrap();
    assert_eq!(opened.named().await, ("importer".to_owned(), vec![17]));
    assert!(client.enqueue_stream_as("no name", 1).is_err());
}

#[tokio::test(start_paused = true)]
async fn streams_one_after_the_other_are_one_producer_and_at_once_are_two() {
    let (_fake, client, mut streams) = Fake::start();
    let mut producers = Vec::new();
    let (a, b) = (client.enqueue_stream(), client.clone().enqueue_stream());
    for stream in [&a, &b] {
        drop(stream.send(task()).await.unwrap());
        producers.push(streams.recv().await.unwrap().named().await);
    }
    assert_ne!(producers[0].0, producers[1].0);
    drop((a, b));
    clock::pause(SECOND).await;
    let stream = client.enqueue_stream();
    drop(stream.send(task()).await.unwrap());
    let (producer, sequences) = streams.recv().await.unwrap().named().await;
    assert!(producers.iter().any(|(known, _)| *known == producer));
    assert_eq!(sequences, [2]);
}

/// The acknowledgement of a coordinator that goes away.
fn going_away(sequence: u64, reason: &str) -> v1::EnqueueAck {
    let refusal = v1::Refusal {
        code: Code::Unavailable.into(),
        reason: reason.to_owned(),
        message: "so it is".to_owned(),
        retry_after: Some(prost_types::Duration {
            seconds: 1,
            nanos: 0,
        }),
        ..Default::default()
    };
    v1::EnqueueAck {
        sequence,
        result: Some(v1::enqueue_ack::Result::Refusal(refusal)),
        ..Default::default()
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_coordinator_refuses_as_it_goes_away_is_sent_again_to_the_next_one() {
    for reason in ["SHUTTING_DOWN", "STOPPED"] {
        let (_fake, client, mut streams) = Fake::start();
        let stream = client.enqueue_stream();
        let begin = start();
        let first = stream.send(task()).await.unwrap();
        let second = stream.send(task()).await.unwrap();
        let mut opened = streams.recv().await.unwrap();
        let (producer, sequences) = opened.named().await;
        assert_eq!(sequences, [1, 2]);
        let acks = vec![going_away(1, reason), ack(2)];
        opened.acknowledge(acks).await;
        assert_eq!(second.await.unwrap(), "task-2");

        let again = tokio::time::timeout(DEADLINE_DEFAULT, streams.recv());
        let mut opened = again.await.expect("a stream is opened again").unwrap();
        assert_eq!(opened.named().await, (producer, vec![1]));
        assert!(passed(begin) >= SECOND, "no earlier than it asked");
        opened.acknowledge(vec![ack(1)]).await;
        assert_eq!(first.await.unwrap(), "task-1");
        drop(opened);
        let totals = stream.finish().await.unwrap();
        assert_eq!((totals.accepted, totals.refused), (2, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_coordinator_that_goes_away_for_ever_is_waited_for_no_longer_than_one_that_is_gone() {
    let (_fake, client, mut streams) = Fake::start();
    let stream = client.enqueue_stream();
    let begin = start();
    let ticket = stream.send(task()).await.unwrap();
    let refuse = async {
        while let Some(mut opened) = streams.recv().await {
            let items = opened.items().await;
            let refused = items.iter().map(|it| going_away(it.sequence, "STOPPED"));
            opened.acknowledge(refused.collect()).await;
        }
    };
    let error = tokio::select! {
        answer = ticket => answer.unwrap_err(),
        () = refuse => panic!("the client opens streams"),
    };
    assert!(error.is_outcome_unknown(), "{error}");
    assert!(passed(begin) <= DEADLINE_DEFAULT);
}
