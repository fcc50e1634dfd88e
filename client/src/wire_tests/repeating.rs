//! Claims about changes that are sent more than once, and about who they say makes them.

use super::*;
use crate::{Client, TaskUpdate, fake::Change};

/// The request ids of all changes that arrived.
fn ids(fake: &Fake) -> Vec<String> {
    let state = fake.state();
    let changes = state.changes.iter();
    changes.map(|change| change.request_id.clone()).collect()
}

#[tokio::test(start_paused = true)]
async fn an_enqueue_whose_answer_is_lost_is_sent_again_under_the_same_request_id() {
    let (fake, client, _streams) = Fake::start();
    fake.answer_next([Answer::Hang, code(Code::Unavailable)]);
    let (answer, ()) = tokio::join!(client.enqueue(task()), async {
        fake.hanging().await;
        fake.state().refused_connections = 2;
        fake.cut();
    });
    assert_eq!(answer.unwrap().effect(), v1::EnqueueEffect::Existing);
    let ids = ids(&fake);
    assert_eq!(ids.len(), 3);
    assert!(
        !ids[0].is_empty() && ids.iter().all(|id| *id == ids[0]),
        "{ids:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn two_calls_never_share_an_id_that_was_made_for_them() {
    let (fake, client, _streams) = Fake::start();
    client.enqueue(task()).await.unwrap();
    client.clone().enqueue(task()).await.unwrap();
    let ids = ids(&fake);
    assert_ne!(ids[0], ids[1]);
    let ttl_s = fake.state().changes[0].ttl_s;
    assert_eq!(ttl_s, Some(15), "the deadline, and what may be late");
}

#[tokio::test(start_paused = true)]
async fn what_may_have_been_performed_stays_open_where_the_coordinator_stays_away() {
    let (fake, client, _streams) = Fake::start();
    fake.answer_next([Answer::Hang]);
    let (answer, ()) = tokio::join!(client.enqueue(task()), async {
        fake.hanging().await;
        fake.state().refused_connections = usize::MAX;
        fake.cut();
    });
    let error = answer.unwrap_err();
    assert!(
        error.is_outcome_unknown() && !error.is_retryable(),
        "{error}"
    );

    let (fake, client, _streams) = Fake::start();
    fake.answer_next([code(Code::Unavailable), busy(60 * SECOND)]);
    assert!(
        client
            .enqueue(task())
            .await
            .unwrap_err()
            .is_outcome_unknown()
    );

    let (fake, client, _streams) = Fake::start();
    fake.answer_next([code(Code::Unavailable), code(Code::FailedPrecondition)]);
    let error = client.enqueue(task()).await.unwrap_err();
    assert!(matches!(error, Error::Refused(_)), "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_id_that_the_user_sets_is_sent_with_its_ttl() {
    let (fake, client, _streams) = Fake::start();
    let named = client.clone().with_request_id("import-7").unwrap();
    named.enqueue(task()).await.unwrap();
    let lasting = named.with_request_ttl(3_600 * SECOND).unwrap();
    lasting.enqueue(task()).await.unwrap();
    let change = |ttl_s| Change {
        request_id: "import-7".to_owned(),
        ttl_s,
        actor: None,
    };
    assert_eq!(fake.state().changes, [change(None), change(Some(3_600))]);
    for wrong in ["", "a\nb", &"x".repeat(129)] {
        let error = client.clone().with_request_id(wrong).unwrap_err();
        assert!(matches!(error, Error::Invalid { field, .. } if field == "request_id"));
    }
    for wrong in [SECOND / 2, 25 * 3_600 * SECOND] {
        assert!(client.clone().with_request_ttl(wrong).is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn each_call_of_many_has_an_id_of_its_own() {
    let (fake, client, _streams) = Fake::start();
    let named = client.with_request_id("import-7").unwrap();
    let answers = named.enqueue_each(vec![task(); 2_001]).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(ids(&fake), ["import-7", "import-7/2", "import-7/3"]);
}

#[tokio::test(start_paused = true)]
async fn every_change_is_named_and_says_who_makes_it() {
    let (fake, client, _streams) = Fake::start();
    let client = client.with_actor("ada@build7").unwrap();
    let client: &Client = &client;
    client.enqueue(task()).await.unwrap();
    assert!(client.enqueue_many([task()]).await[0].is_ok());
    drop(client.cancel("a", "").await);
    client
        .update("a", TaskUpdate::new().max_attempts(3))
        .await
        .unwrap();
    client.redrive("a", SECOND, "").await.unwrap();
    client.discard("a", "").await.unwrap();
    client
        .update_queue("q", v1::QueueSettings::default(), &[])
        .await
        .unwrap();
    client.pause_queue("q", "").await.unwrap();
    client.resume_queue("q").await.unwrap();
    client
        .set_kind("k", v1::KindSettings::default())
        .await
        .unwrap();
    client.delete_kind("k").await.unwrap();
    let changes = fake.state().changes.clone();
    assert_eq!(changes.len(), 11);
    for change in &changes {
        assert_eq!(change.actor.as_deref(), Some("ada@build7"));
        assert_eq!(change.ttl_s, Some(15));
    }
    let ids: std::collections::BTreeSet<_> = ids(&fake).into_iter().collect();
    assert_eq!(ids.len(), 11);
    for wrong in ["", "caf\u{e9}", "a\nb", &"x".repeat(129)] {
        assert!(client.clone().with_actor(wrong).is_err(), "{wrong}");
    }
}
