//! Claims about streams that break, silence, and leaving.

use super::*;

#[test]
fn nothing_is_sent_between_hello_and_welcome() {
    let mut script = Script::new(4, 0);
    let hello = script.greet();
    assert_eq!(hello.session_id, "");
    assert_eq!(hello.capacity.unwrap().tasks_max, 4);
    assert_eq!(script.sent(), []);
}

#[test]
fn a_result_is_kept_and_sent_again_until_it_is_acknowledged() {
    let mut script = Script::welcomed(2, 0);
    script.deliver(&[delivery(1, "a"), delivery(2, "b")]);
    script.complete(1);
    assert_eq!(script.reports().len(), 1);
    script.input(Input::Closed);

    let hello = script.greet();
    assert_eq!(hello.session_id, "s1");
    assert_eq!(hello.held, ["a", "b"]);
    assert_eq!(script.welcome("s1", true, &[]), []);
    assert_eq!(script.reports()[0].lease_token, "a");

    for status in [ReportStatus::Recorded, ReportStatus::Recorded] {
        script.ack("a", status);
    }
    assert_eq!(script.session.report().finished, 1);
    script.input(Input::Closed);
    assert_eq!(script.greet().held, ["b"]);
}

#[test]
fn a_returning_worker_says_which_of_its_leases_have_not_begun() {
    let mut script = Script::welcomed(1, 2);
    script.deliver(&[delivery(1, "a"), delivery(2, "b"), delivery(3, "c")]);
    script.complete(1);
    script.input(Input::Closed);
    let hello = script.greet();
    assert_eq!(hello.held, ["a", "b", "c"]);
    let buffered: Vec<(&[u8], u64)> = hello
        .buffered
        .iter()
        .map(|lease| (&lease.lease_token[..], lease.sequence))
        .collect();
    assert_eq!(buffered, [(&b"c"[..], 3)], "b has begun, a has a result");
}

#[test]
fn work_is_stopped_when_the_coordinator_was_silent_for_too_long() {
    let mut script = Script::welcomed(2, 0);
    script.deliver(&[delivery(1, "a"), delivery(2, "b")]);
    script.at(1_000).complete(2);
    let actions = script.at(15_000).input(Input::Tick);
    assert!(
        matches!(&actions[..], [Action::Disconnect { after: None, .. }]),
        "{actions:?}"
    );
    assert_eq!(script.at(24_999).input(Input::Tick), []);
    assert_eq!(
        script.at(25_000).input(Input::Tick),
        [abort(1, StopReason::LeaseLost)]
    );
    assert_eq!(
        script.greet().held,
        ["b"],
        "the result is kept, the lost run is not"
    );
}

#[test]
fn a_coordinator_that_speaks_again_hears_of_the_work_that_was_given_up() {
    // Both slept: the worker finds both limits overdue at once, and keeps its stream.
    let mut script = Script::welcomed(1, 0);
    script.deliver(&[delivery(1, "a")]);
    let actions = script.at(26_000).input(Input::Tick);
    assert_eq!(actions, [abort(1, StopReason::LeaseLost)]);
    script.hears_of_loss(Message::Ping(Ping { nonce: 7 }));
}

#[test]
fn a_hello_that_lists_work_given_up_since_then_is_said_again() {
    let mut script = Script::welcomed(1, 0);
    script.deliver(&[delivery(1, "a")]);
    script.at(15_000).input(Input::Tick);
    assert_eq!(script.at(20_000).greet().held, ["a"]);
    let actions = script.at(25_000).input(Input::Tick);
    assert_eq!(actions, [abort(1, StopReason::LeaseLost)]);
    script.hears_of_loss(Message::Welcome(Welcome {
        session_id: "s1".to_owned(),
        resumed: true,
        ..Welcome::default()
    }));
}

#[test]
fn any_message_is_a_sign_of_life() {
    let mut script = Script::welcomed(1, 0);
    script.deliver(&[delivery(1, "a")]);
    for second in 1..10 {
        assert_eq!(
            script
                .at(second * 10_000)
                .hear(Message::Ping(Ping { nonce: 0 })),
            []
        );
        assert_eq!(script.at(second * 10_000 + 9_000).input(Input::Tick), []);
    }
}

#[test]
fn what_a_resumed_session_lost_is_stopped_and_results_are_asked_about() {
    let mut script = Script::welcomed(3, 0);
    script.deliver(&[delivery(1, "a"), delivery(2, "b"), delivery(3, "c")]);
    script.complete(3);
    script.input(Input::Closed);
    script.greet();
    assert_eq!(
        script.welcome("s1", true, &["a", "c"]),
        [abort(1, StopReason::LeaseLost)]
    );
    assert_eq!(script.reports()[0].lease_token, "c");
    script.ack("c", ReportStatus::Duplicate);
    script.complete(2);
    assert_eq!(script.reports()[0].lease_token, "b");
    let report = script.session.report();
    assert_eq!((report.lost, report.finished), (1, 1));
}

#[test]
fn a_new_session_stops_what_ran_but_still_delivers_results() {
    let mut script = Script::welcomed(2, 0);
    script.deliver(&[delivery(1, "a"), delivery(2, "b")]);
    script.complete(2);
    script.input(Input::Closed);
    script.greet();
    assert_eq!(
        script.welcome("s2", false, &["a", "b"]),
        [abort(1, StopReason::LeaseLost)]
    );
    assert_eq!(script.reports()[0].lease_token, "b");
}

#[test]
fn a_drain_finishes_what_runs_gives_back_what_waits_and_says_goodbye_after_the_last_ack() {
    let mut script = Script::welcomed(1, 1);
    script.deliver(&[delivery(1, "a"), delivery(2, "b")]);
    script.sent();
    script.input(Input::Drain {
        reason: "bye".to_owned(),
        deadline: None,
    });
    let sent = script.sent();
    assert_eq!(sent[0], capacity(0, true), "before a slot is free");
    assert!(
        matches!(&sent[1], work_request::Message::Reports(batch) if is_release(&batch.reports[0]))
    );
    assert_eq!(sent[2..], [receipt(2, &[])]);

    script.complete(1);
    assert_eq!(script.reports().len(), 1);
    script.ack("a", ReportStatus::Recorded);
    assert_eq!(script.sent(), [], "one report is still open");
    script.ack("b", ReportStatus::Recorded);
    assert!(matches!(
        &script.sent()[..],
        [work_request::Message::Goodbye(_)]
    ));
    assert!(script.session.is_finished());
    let report = script.session.report();
    assert_eq!(
        (report.finished, report.released, report.unreported),
        (1, 1, 0)
    );
    assert_eq!(report.exit_code(), EXIT_CLEAN);
}

#[test]
fn a_drain_asked_for_by_the_coordinator_is_the_same() {
    let mut script = Script::welcomed(1, 0);
    script.deliver(&[delivery(1, "a")]);
    script.sent();
    let deadline = Some(prost_types::Duration {
        seconds: 1,
        nanos: 0,
    });
    script.hear(Message::Drain(Drain {
        reason: String::new(),
        deadline,
    }));
    assert_eq!(script.sent(), [capacity(0, true)]);
    assert_eq!(
        script.at(1_000).input(Input::Tick),
        [abort(1, StopReason::Leaving)]
    );
    assert!(is_release(&script.reports()[0]));
}

#[test]
fn a_second_stop_gives_everything_back_at_once() {
    let mut script = Script::welcomed(1, 0);
    script.deliver(&[delivery(1, "a")]);
    script.input(Input::Drain {
        reason: String::new(),
        deadline: Some(Duration::from_secs(30)),
    });
    let actions = script.at(5).input(Input::ReleaseAll {
        reason: String::new(),
    });
    assert_eq!(actions, [abort(1, StopReason::Leaving)]);
    assert!(is_release(&script.reports()[0]));
}

#[test]
fn a_delivery_that_crosses_the_drain_is_given_back_unstarted() {
    let mut script = Script::welcomed(1, 0);
    script.deliver(&[delivery(1, "a")]);
    script.input(Input::Drain {
        reason: String::new(),
        deadline: None,
    });
    assert_eq!(script.deliver(&[delivery(2, "b")]), []);
    assert!(
        script
            .reports()
            .iter()
            .any(|report| report.lease_token == "b" && is_release(report))
    );
}

#[test]
fn reports_that_nobody_acknowledges_are_waited_for_a_bounded_time_and_told_by_the_exit_code() {
    let mut script = Script::welcomed(1, 0);
    script.deliver(&[delivery(1, "a")]);
    script.input(Input::Closed);
    script.input(Input::Drain {
        reason: String::new(),
        deadline: None,
    });
    script.complete(1);
    assert!(!script.session.is_finished());
    let deadline = script.session.next_deadline().unwrap();
    script.at(deadline).input(Input::Tick);
    assert!(script.session.is_finished());
    assert_eq!(script.session.report().unreported, 1);
    assert_eq!(script.session.report().exit_code(), EXIT_UNREPORTED);
}

#[test]
fn a_worker_that_holds_nothing_and_has_no_stream_leaves_at_once() {
    let mut script = Script::new(1, 0);
    script.input(Input::Drain {
        reason: String::new(),
        deadline: None,
    });
    assert!(script.session.is_finished());
}

#[test]
fn a_hello_without_an_answer_is_given_up() {
    let mut script = Script::new(1, 0);
    script.greet();
    assert_eq!(script.session.next_deadline(), Some(WELCOME_WITHIN_MS));
    let actions = script.at(WELCOME_WITHIN_MS).input(Input::Tick);
    assert!(matches!(&actions[..], [Action::Disconnect { .. }]));
}

#[test]
fn a_coordinator_that_counts_deliveries_from_one_again_is_understood() {
    let mut script = Script::welcomed(1, 2);
    script.deliver(&[delivery(41, "a"), delivery(42, "b")]);
    script.input(Input::Closed);
    script.greet();
    script.welcome("s1", true, &[]);
    script.deliver(&[delivery(1, "c")]);
    assert_eq!(
        script.sent(),
        [receipt(1, &[1])],
        "a and b were counted by the one before"
    );
}

#[test]
fn no_deadline_is_ever_left_in_the_past_by_a_tick() {
    let mut script = Script::welcomed(2, 2);
    script.deliver(&[limited("a", 50, 100), delivery(2, "b"), delivery(3, "c")]);
    script.input(Input::Drain {
        reason: String::new(),
        deadline: Some(Duration::from_secs(60)),
    });
    for _ in 0..50 {
        let Some(deadline) = script.session.next_deadline() else {
            break;
        };
        if script.session.is_finished() {
            break;
        }
        let now = deadline.max(script.now_ms);
        script.at(now).input(Input::Tick);
        let next = script.session.next_deadline();
        assert!(
            script.session.is_finished() || next.is_none_or(|next| next > now),
            "at {now}: {next:?}"
        );
    }
    assert!(script.session.is_finished());
}
