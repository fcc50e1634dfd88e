//! Claims about single leases: starts, limits, results, cancels.

use super::*;

#[test]
fn a_delivery_starts_at_once_and_its_receipt_buffers_nothing() {
    let mut script = Script::welcomed(2, 0);
    let actions = script.deliver(&[delivery(1, "a"), delivery(2, "b")]);
    assert_eq!(started(&actions), [1, 2]);
    assert_eq!(script.sent(), [receipt(2, &[])]);
}

#[test]
fn a_prefetched_delivery_waits_for_a_slot_and_its_start_is_told() {
    let mut script = Script::welcomed(1, 2);
    let actions = script.deliver(&[delivery(1, "a"), delivery(2, "b"), delivery(3, "c")]);
    assert_eq!(started(&actions), [1]);
    assert_eq!(script.sent(), [receipt(3, &[2, 3])]);

    assert_eq!(started(&script.complete(1)), [2]);
    let sent = script.sent();
    assert!(matches!(&sent[0], work_request::Message::Reports(batch) if batch.reports.len() == 1));
    assert_eq!(sent[1], receipt(3, &[3]));
}

#[test]
fn a_lease_that_is_delivered_twice_runs_once() {
    let mut script = Script::welcomed(2, 0);
    assert_eq!(started(&script.deliver(&[delivery(1, "a")])), [1]);
    assert_eq!(
        started(&script.deliver(&[delivery(2, "a")])),
        [] as [u64; 0]
    );
}

#[test]
fn results_that_are_ready_together_leave_in_one_message() {
    let mut script = Script::welcomed(3, 0);
    script.deliver(&[delivery(1, "a"), delivery(2, "b"), delivery(3, "c")]);
    script.sent();
    for run in 1..=3 {
        script.complete(run);
    }
    let sent = script.sent();
    assert!(
        matches!(&sent[..], [work_request::Message::Reports(batch)] if batch.reports.len() == 3),
        "{sent:?}"
    );
}

#[test]
fn a_batch_of_reports_stays_within_its_bytes() {
    let mut script = Script::welcomed(8, 0);
    let tokens = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let deliveries: Vec<_> = (1..)
        .zip(tokens)
        .map(|(sequence, token)| delivery(sequence, token))
        .collect();
    script.deliver(&deliveries);
    for run in 1..=8 {
        let data = vec![0; 262_144].into();
        let result = Some(Payload {
            data,
            content_type: String::new(),
        });
        let complete = Complete {
            result,
            ..Complete::default()
        };
        let outcome = Some(Box::new(Outcome::complete(complete)));
        script.input(Input::Ended {
            run: RunId(run),
            outcome,
        });
    }
    let sizes: Vec<usize> = script
        .sent()
        .iter()
        .filter_map(|message| match message {
            work_request::Message::Reports(batch) => Some(batch.reports.len()),
            work_request::Message::Hello(_)
            | work_request::Message::Capacity(_)
            | work_request::Message::Receipt(_)
            | work_request::Message::Pong(_)
            | work_request::Message::Goodbye(_)
            | work_request::Message::Heartbeats(_) => None,
        })
        .collect();
    assert_eq!(sizes, [3, 3, 2]);
}

#[test]
fn a_ping_is_answered_with_its_nonce() {
    let mut script = Script::welcomed(1, 0);
    script.hear(Message::Ping(Ping { nonce: 7 }));
    let [work_request::Message::Pong(pong)] = &script.sent()[..] else {
        panic!("no pong")
    };
    assert_eq!(pong.nonce, 7);
}

#[test]
fn every_answer_but_invalid_lets_the_result_go() {
    for status in [
        ReportStatus::Recorded,
        ReportStatus::Duplicate,
        ReportStatus::Superseded,
        ReportStatus::Gone,
    ] {
        let mut script = Script::welcomed(1, 0);
        script.deliver(&[delivery(1, "a")]);
        script.complete(1);
        script.sent();
        script.ack("a", status);
        assert!(!script.session.holds_leases(), "{status:?}");
    }
}

#[test]
fn a_refused_report_is_replaced_by_a_plain_failure_once() {
    let mut script = Script::welcomed(1, 0);
    script.deliver(&[delivery(1, "a")]);
    script.complete(1);
    script.sent();

    script.ack("a", ReportStatus::Invalid);
    let reports = script.reports();
    assert_eq!(failure_class(&reports[0]), FailureClass::Internal);
    script.ack("a", ReportStatus::Invalid);
    assert!(!script.session.holds_leases());
}

#[test]
fn a_result_above_the_coordinators_limit_becomes_a_failure_that_names_the_limit() {
    let mut script = Script::welcomed(1, 0);
    script.deliver(&[delivery(1, "a")]);
    let payload = Payload {
        data: vec![0; 262_145].into(),
        content_type: String::new(),
    };
    let complete = Complete {
        result: Some(payload),
        ..Complete::default()
    };
    let outcome = Some(Box::new(Outcome::complete(complete)));
    script.input(Input::Ended {
        run: RunId(1),
        outcome,
    });
    let reports = script.reports();
    assert_eq!(failure_class(&reports[0]), FailureClass::Internal);
    let Some(report::Outcome::Fail(fail)) = &reports[0].outcome else {
        panic!("no failure")
    };
    assert!(fail.failure.as_ref().unwrap().message.contains("262144"));
}

#[test]
fn limits_count_from_the_start_and_the_hard_one_reports_a_timeout() {
    let mut script = Script::welcomed(1, 0);
    script.at(1_000).deliver(&[limited("a", 200, 300)]);
    script.sent();
    assert_eq!(script.session.next_deadline(), Some(1_200));
    assert_eq!(
        script.at(1_200).input(Input::Tick),
        [signal(1, StopReason::SoftTimeout)]
    );
    assert_eq!(script.session.next_deadline(), Some(1_300));
    assert_eq!(
        script.at(1_300).input(Input::Tick),
        [abort(1, StopReason::HardTimeout)]
    );
    assert_eq!(failure_class(&script.reports()[0]), FailureClass::Timeout);

    script.input(Input::Ended {
        run: RunId(1),
        outcome: None,
    });
    assert_eq!(script.sent(), [], "its late end reports nothing more");
}

#[test]
fn limits_also_hold_while_cut_off() {
    let mut script = Script::welcomed(1, 0);
    script.deliver(&[limited("a", 200, 300)]);
    script.input(Input::Closed);
    assert_eq!(
        script.at(300).input(Input::Tick),
        [
            signal(1, StopReason::SoftTimeout),
            abort(1, StopReason::HardTimeout)
        ]
    );
    assert!(
        script.session.holds_leases(),
        "the report waits for the next stream"
    );
}

#[test]
fn new_limits_replace_the_old_ones() {
    let mut script = Script::welcomed(1, 0);
    script.deliver(&[limited("a", 200, 300)]);
    let change = TimeoutsChange {
        lease_token: "a".into(),
        soft_timeout: None,
        hard_timeout: Some(prost_types::Duration {
            seconds: 1,
            nanos: 0,
        }),
    };
    let actions = script.hear(Message::Timeouts(TimeoutsBatch {
        changes: vec![change],
    }));
    assert_eq!(
        actions,
        [Action::Limits {
            run: RunId(1),
            limits: Limits {
                hard: Some(1_000),
                ..Limits::default()
            }
        }]
    );
    assert_eq!(script.at(999).input(Input::Tick), []);
    assert_eq!(
        script.at(1_000).input(Input::Tick),
        [abort(1, StopReason::HardTimeout)]
    );
}

#[test]
fn a_checkpoint_saved_before_the_hard_limit_travels_with_the_report() {
    let mut script = Script::welcomed(1, 0);
    script.deliver(&[limited("a", 200, 300)]);
    script.at(300).input(Input::Tick);
    let checkpoint = Payload {
        data: "17".into(),
        content_type: String::new(),
    };
    script.input(Input::Saved {
        run: RunId(1),
        checkpoint: checkpoint.clone(),
    });
    assert_eq!(script.reports()[0].checkpoint, Some(checkpoint));
}

#[test]
fn a_handler_that_does_not_stop_keeps_its_slot_and_lowers_the_capacity_until_it_ends() {
    let mut script = Script::welcomed(1, 1);
    script.deliver(&[limited("a", 100, 100)]);
    script.at(100).input(Input::Tick);
    script.sent();
    assert_eq!(
        started(&script.deliver(&[delivery(2, "b")])),
        [] as [u64; 0]
    );
    script.sent();

    script.at(1_100).input(Input::Tick);
    assert_eq!(script.sent(), [capacity(1, false)]);
    let ended = script.at(9_000).input(Input::Ended {
        run: RunId(1),
        outcome: None,
    });
    assert_eq!(started(&ended), [2]);
    assert_eq!(script.sent(), [capacity(2, false), receipt(2, &[])]);
}

#[test]
fn a_result_that_arrives_as_the_run_is_stopped_wins_over_what_was_settled() {
    let mut script = Script::welcomed(1, 0);
    script.deliver(&[limited("a", 100, 100)]);
    script.at(100).input(Input::Tick);
    script.complete(1);
    assert!(matches!(
        script.reports()[0].outcome,
        Some(report::Outcome::Complete(_))
    ));
}

#[test]
fn a_cancel_signals_what_runs_and_gives_back_what_waits() {
    let mut script = Script::welcomed(1, 1);
    script.deliver(&[delivery(1, "a"), delivery(2, "b")]);
    script.sent();
    assert_eq!(
        script.cancel("a", CancelReason::Requested),
        [cancel(1, None)]
    );
    assert_eq!(script.cancel("b", CancelReason::Requested), []);
    let reports = script.reports();
    assert_eq!(
        (reports[0].lease_token.as_ref(), is_release(&reports[0])),
        (&b"b"[..], true)
    );
}

#[test]
fn a_cancel_for_a_lost_lease_stops_the_run_and_reports_nothing() {
    for reason in [CancelReason::LeaseLost, CancelReason::HardTimeout] {
        let mut script = Script::welcomed(1, 0);
        script.deliver(&[delivery(1, "a")]);
        script.sent();
        assert_eq!(
            script.cancel("a", reason),
            [abort(1, StopReason::LeaseLost)]
        );
        script.input(Input::Ended {
            run: RunId(1),
            outcome: None,
        });
        assert_eq!(script.sent(), []);
        assert!(!script.session.holds_leases());
    }
}
