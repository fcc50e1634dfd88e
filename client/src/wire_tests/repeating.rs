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

/// The engine ended under the call: it may have been carried out.
fn stopped() -> Answer {
    let mut details = ErrorDetails::new();
    details.set_error_info("STOPPED", "redrive.dev", HashMap::new());
    details.set_retry_info(Some(SECOND));
    let text = "the engine has stopped";
    Answer::Fail(Status::with_error_details(Code::Unavailable, text, details))
}

#[tokio::test(start_paused = true)]
async fn a_change_that_a_stopping_coordinator_left_open_is_sent_again_under_its_id() {
    let (fake, client, _streams) = Fake::start();
    fake.answer_next([stopped()]);
    let begin = start();
    client.enqueue(task()).await.unwrap();
    let ids = ids(&fake);
    assert!(ids.len() == 2 && ids[0] == ids[1], "{ids:?}");
    assert!(passed(begin) >= SECOND, "no earlier than it asked");
}

#[tokio::test(start_paused = true)]
async fn a_change_that_a_stopping_coordinator_left_open_stays_open_where_none_comes_after_it() {
    let (fake, client, _streams) = Fake::start();
    fake.answer_next(std::iter::repeat_with(stopped).take(100));
    let error = client.enqueue(task()).await.unwrap_err();
    assert!(
        error.is_outcome_unknown() && !error.is_retryable(),
        "{error}"
    );

    let (fake, client, _streams) = Fake::start();
    fake.answer_next([stopped(), busy(60 * SECOND)]);
    let error = client.enqueue(task()).await.unwrap_err();
    assert!(error.is_outcome_unknown(), "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_act_on_many_is_not_made_again_where_a_stopping_coordinator_left_it_open() {
    let (fake, client, _streams) = Fake::start();
    fake.answer_next([stopped()]);
    let request = v1::CancelTasksRequest {
        expected_count: Some(1),
        ..Default::default()
    };
    let error = client.cancel_many(request).await.err().unwrap();
    assert!(error.is_outcome_unknown(), "{error}");
    assert_eq!(fake.state().calls, 1);
}
