//! Enqueue streams that are cut: nothing is lost, nothing is there twice.

use std::collections::BTreeSet;

use redrive_client::{Client, EnqueueStream, NewTask, Ticket};
use redrive_proto::v1::{self as pb, EnqueueEffect};
use redrive_tests::harness::End;
use redrive_tests::refusal::Expected;
use redrive_tests::{Harness, Proxy, eventually, make, within};

use super::{all, folder};

/// Tasks of a stream, in more than one message, and more than what may be on its way.
const TASKS: u32 = 5000;

async fn enqueued(harness: &Harness) -> u64 {
    let queue = harness.client().queue("q").await;
    queue.map_or(0, |queue| queue.counts.unwrap().enqueued_total)
}

async fn send(stream: &EnqueueStream, numbers: std::ops::Range<u32>) -> Vec<Ticket> {
    let mut tickets = Vec::new();
    for number in numbers {
        let task = NewTask::new("q", "k").label("number", number.to_string());
        tickets.push(stream.send(task).await.unwrap());
    }
    tickets
}

/// The ids that tickets were answered with; each is another one.
async fn ids(tickets: Vec<Ticket>) -> BTreeSet<String> {
    let count = tickets.len();
    let mut ids = BTreeSet::new();
    for ticket in tickets {
        ids.insert(ticket.await.unwrap());
    }
    assert_eq!(ids.len(), count, "one task for each ticket");
    ids
}

#[tokio::test]
async fn a_stream_over_a_network_that_breaks_loses_nothing_and_doubles_nothing() {
    let harness = Harness::start().await;
    let proxy = Proxy::start(harness.address()).await;
    let client = Client::connect(&proxy.address().to_string()).await.unwrap();
    let stream = client.enqueue_stream();
    let mut tickets = Vec::new();
    for part in 0..4 {
        let (from, to) = (part * TASKS / 4, (part + 1) * TASKS / 4);
        // What arrives now is accepted, and nobody is told: it is sent again after the cut.
        let before = enqueued(&harness).await;
        proxy.hold_answers();
        tickets.extend(send(&stream, from..to).await);
        eventually("something arrives", async || {
            (enqueued(&harness).await > before).then_some(())
        })
        .await;
        proxy.cut_and_clear();
        let last = tickets.pop().unwrap();
        assert!(
            !within("the last acknowledgement", last)
                .await
                .unwrap()
                .is_empty()
        );
    }
    let totals = within("the acknowledgements", stream.finish())
        .await
        .unwrap();
    assert_eq!((totals.accepted, totals.refused), (TASKS.into(), 0));
    assert!(totals.existing > 0, "some were sent again");
    ids(tickets).await;
    assert_eq!(enqueued(&harness).await, u64::from(TASKS));
}

/// A stream whose coordinator ends in the middle and is started again.
async fn goes_on_over(end: End) {
    let folder = folder();
    let harness = Harness::on(folder.path()).await;
    let client = harness.client().clone();
    let stream = client.enqueue_stream();
    let mut tickets = send(&stream, 0..TASKS / 2).await;
    let (harness, more) = tokio::join!(harness.again(end), send(&stream, TASKS / 2..TASKS));
    tickets.extend(more);
    let totals = within("the acknowledgements", stream.finish()).await;
    let totals = totals.unwrap();
    assert_eq!((totals.accepted, totals.refused), (TASKS.into(), 0));
    ids(tickets).await;
    assert_eq!(enqueued(&harness).await, u64::from(TASKS));
}

#[tokio::test]
async fn a_stream_goes_on_over_a_coordinator_that_stops_in_good_order() {
    goes_on_over(End::Stopped).await;
}

#[tokio::test]
async fn a_stream_goes_on_over_a_coordinator_that_ends_without_a_word() {
    goes_on_over(End::Dropped).await;
}

#[tokio::test]
async fn a_producer_that_was_restarted_sends_again_and_is_answered_with_what_there_is() {
    let folder = folder();
    let mut harness = Harness::on(folder.path()).await;
    let mut before = BTreeSet::new();
    for (to, existing) in [(300, 0), (500, 300), (500, 500)] {
        let stream = harness.client().enqueue_stream_as("import-7", 1).unwrap();
        let tickets = send(&stream, 0..to).await;
        let totals = within("the acknowledgements", stream.finish()).await;
        let totals = totals.unwrap();
        assert_eq!(
            (totals.accepted, totals.existing),
            (u64::from(to), existing)
        );
        let ids = ids(tickets).await;
        assert!(ids.is_superset(&before), "the same ids");
        before = ids;
        assert_eq!(enqueued(&harness).await, u64::from(to));
        harness = harness.crash().await;
    }
}

fn message(producer_id: &str, tasks: Vec<(u64, pb::TaskSpec)>) -> pb::EnqueueStreamRequest {
    let item = |(sequence, task)| {
        let task = Some(task);
        pb::EnqueueItem { sequence, task }
    };
    pb::EnqueueStreamRequest {
        items: tasks.into_iter().map(item).collect(),
        producer_id: producer_id.to_owned(),
        ..Default::default()
    }
}

fn good(sequence: u64) -> (u64, pb::TaskSpec) {
    (sequence, make::spec("q", "k"))
}

#[tokio::test]
async fn a_refused_item_is_not_remembered_and_the_others_are() {
    let harness = Harness::start().await;
    let send = async |messages: Vec<pb::EnqueueStreamRequest>| {
        let outgoing = tokio_stream::iter(messages);
        let answers = all(harness.tasks().enqueue_stream(outgoing).await).await;
        let acks = answers.unwrap().into_iter().flat_map(|answer| answer.acks);
        let mut acks: Vec<_> = acks.map(|ack| (ack.sequence, ack.effect())).collect();
        acks.sort_unstable();
        acks
    };
    use EnqueueEffect::{Created, Existing, Unspecified};
    let bad = (2, make::spec("q", "a b"));
    let first = send(vec![
        message("p", vec![good(1), bad]),
        message("", vec![good(3)]),
    ]);
    assert_eq!(first.await, [(1, Created), (2, Unspecified), (3, Created)]);
    let again = send(vec![message("p", vec![good(1), good(2), good(3)])]);
    assert_eq!(again.await, [(1, Existing), (2, Created), (3, Existing)]);
    let other = send(vec![message("other", vec![good(1)])]);
    assert_eq!(other.await, [(1, Created)], "of another producer");
    let nobody = send(vec![message("", vec![good(1)]), message("", vec![good(1)])]);
    assert_eq!(nobody.await, [(1, Created), (1, Created)]);
}

#[tokio::test]
async fn a_producer_that_cannot_be_ends_the_stream_after_what_was_read_is_acknowledged() {
    let harness = Harness::start().await;
    let cases = [
        (
            vec![message("a b", vec![good(1)])],
            0,
            Expected::field("producer_id", &["' '", "use letters"]),
        ),
        (
            vec![message("p", vec![good(1)]), message("o", vec![good(2)])],
            1,
            Expected::field("producer_id", &["\"o\"", "is p", "open another stream"]),
        ),
        (
            vec![message("", vec![good(1)]), message("p", vec![good(2)])],
            1,
            Expected::field(
                "producer_id",
                &["\"p\"", "named no producer", "open another"],
            ),
        ),
    ];
    for (messages, acks, expected) in cases {
        let outgoing = tokio_stream::iter(messages);
        let call = harness.tasks().enqueue_stream(outgoing).await;
        let mut answers = call.unwrap().into_inner();
        for _ in 0..acks {
            let answer = within("an acknowledgement", answers.message()).await;
            assert_eq!(answer.unwrap().unwrap().acks.len(), 1);
        }
        let end = within("the end", answers.message()).await;
        expected.check_status("producer_id", end);
    }
    assert_eq!(enqueued(&harness).await, 2);
    harness.still_serves().await;
}
