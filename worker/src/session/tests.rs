//! Scripts of a session: what comes in, what must be done, what is sent.

use std::time::Duration;

use redrive_proto::v1::{
    Cancel, CancelBatch, CancelReason, Complete, Delivery, DeliveryBatch, Drain, Fail,
    FailureClass, Hello, Ping, Receipt, Refusal, Report, ReportAck, ReportAckBatch, ReportStatus,
    TimeoutsBatch, TimeoutsChange, Welcome, WorkerInfo, report, work_request,
    work_response::Message,
};

use super::*;

/// A session and its clock; everything that touches the API is here.
struct Script {
    session: Session,
    now_ms: u64,
}

impl Script {
    fn new(slots: u32, prefetch: u32) -> Self {
        let session = Session::new(SessionConfig {
            namespace: "default".to_owned(),
            worker: WorkerInfo {
                worker_id: "w1".to_owned(),
                ..WorkerInfo::default()
            },
            slots,
            prefetch,
            bytes_max: 0,
        });
        Self { session, now_ms: 0 }
    }

    /// A session that has been welcomed at 0.
    fn welcomed(slots: u32, prefetch: u32) -> Self {
        let mut script = Self::new(slots, prefetch);
        script.greet();
        assert_eq!(script.welcome("s1", false, &[]), []);
        script
    }

    fn greet(&mut self) -> Hello {
        let request = self.session.hello(self.now_ms);
        let Some(work_request::Message::Hello(hello)) = request.message else {
            panic!("no hello: {request:?}")
        };
        hello
    }

    fn welcome(&mut self, id: &str, resumed: bool, lost: &[&'static str]) -> Vec<Action> {
        self.hear(Message::Welcome(Welcome {
            session_id: id.to_owned(),
            resumed,
            lost: lost
                .iter()
                .map(|token| Bytes::from_static(token.as_bytes()))
                .collect(),
            ..Welcome::default()
        }))
    }

    fn at(&mut self, ms: u64) -> &mut Self {
        self.now_ms = ms;
        self
    }

    fn input(&mut self, input: Input) -> Vec<Action> {
        let mut actions = Vec::new();
        self.session.step(self.now_ms, input, &mut actions);
        actions
    }

    fn hear(&mut self, message: Message) -> Vec<Action> {
        self.input(Input::Received(Box::new(message)))
    }

    fn deliver(&mut self, deliveries: &[Delivery]) -> Vec<Action> {
        self.hear(Message::Deliveries(DeliveryBatch {
            deliveries: deliveries.to_vec(),
        }))
    }

    fn complete(&mut self, run: u64) -> Vec<Action> {
        let outcome = Some(Box::new(Outcome::complete(Complete::default())));
        self.input(Input::Ended {
            run: RunId(run),
            outcome,
        })
    }

    fn ack(&mut self, token: &'static str, status: ReportStatus) -> Vec<Action> {
        let refusal = (status == ReportStatus::Invalid).then(|| Refusal {
            message: "too long".to_owned(),
            ..Refusal::default()
        });
        let ack = ReportAck {
            lease_token: token.into(),
            status: status.into(),
            refusal,
            ..ReportAck::default()
        };
        self.hear(Message::ReportAcks(ReportAckBatch { acks: vec![ack] }))
    }

    fn cancel(&mut self, token: &'static str, reason: CancelReason) -> Vec<Action> {
        let cancel = Cancel {
            lease_token: token.into(),
            reason: reason.into(),
            ..Cancel::default()
        };
        self.hear(Message::Cancels(CancelBatch {
            cancels: vec![cancel],
        }))
    }

    fn sent(&mut self) -> Vec<work_request::Message> {
        let mut sent = Vec::new();
        while let Some(request) = self.session.next_request() {
            sent.extend(request.message);
        }
        assert!(!self.session.wants_to_send());
        sent
    }

    fn reports(&mut self) -> Vec<Report> {
        self.sent()
            .into_iter()
            .filter_map(|message| match message {
                work_request::Message::Reports(batch) => Some(batch.reports),
                work_request::Message::Hello(_)
                | work_request::Message::Capacity(_)
                | work_request::Message::Receipt(_)
                | work_request::Message::Pong(_)
                | work_request::Message::Goodbye(_) => None,
            })
            .flatten()
            .collect()
    }
}

fn delivery(sequence: u64, token: &'static str) -> Delivery {
    Delivery {
        sequence,
        lease_token: token.into(),
        kind: "k".to_owned(),
        ..Delivery::default()
    }
}

fn limited(token: &'static str, soft_ms: u64, hard_ms: u64) -> Delivery {
    let wire = |ms| Some(Duration::from_millis(ms).try_into().unwrap());
    Delivery {
        soft_timeout: wire(soft_ms),
        hard_timeout: wire(hard_ms),
        ..delivery(1, token)
    }
}

fn started(actions: &[Action]) -> Vec<u64> {
    actions
        .iter()
        .filter_map(|action| match action {
            Action::Start { run, .. } => Some(run.0),
            Action::Signal { .. }
            | Action::Abort { .. }
            | Action::Limits { .. }
            | Action::Disconnect { .. }
            | Action::Refused(_)
            | Action::Note { .. } => None,
        })
        .collect()
}

fn failure_class(report: &Report) -> FailureClass {
    let Some(report::Outcome::Fail(Fail {
        failure: Some(failure),
        ..
    })) = &report.outcome
    else {
        panic!("no failure: {report:?}")
    };
    failure.class()
}

fn is_release(report: &Report) -> bool {
    matches!(report.outcome, Some(report::Outcome::Release(_)))
}

fn receipt(received_through: u64, buffered: &[u64]) -> work_request::Message {
    work_request::Message::Receipt(Receipt {
        received_through,
        buffered: buffered.to_vec(),
    })
}

fn capacity(tasks_max: u32, draining: bool) -> work_request::Message {
    work_request::Message::Capacity(Capacity {
        tasks_max,
        bytes_max: 0,
        draining,
    })
}

fn abort(run: u64, reason: StopReason) -> Action {
    Action::Abort {
        run: RunId(run),
        reason,
    }
}

fn signal(run: u64, reason: StopReason) -> Action {
    Action::Signal {
        run: RunId(run),
        reason,
    }
}

#[test]
fn nothing_is_sent_between_hello_and_welcome() {
    let mut script = Script::new(4, 0);
    let hello = script.greet();
    assert_eq!(hello.session_id, "");
    assert_eq!(hello.capacity.unwrap().tasks_max, 4);
    assert_eq!(script.sent(), []);
}

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
            | work_request::Message::Goodbye(_) => None,
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
            soft_at_ms: None,
            hard_at_ms: Some(1_000)
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
fn what_a_resumed_session_lost_is_stopped_and_forgotten() {
    let mut script = Script::welcomed(3, 0);
    script.deliver(&[delivery(1, "a"), delivery(2, "b"), delivery(3, "c")]);
    script.complete(3);
    script.input(Input::Closed);
    script.greet();
    assert_eq!(
        script.welcome("s1", true, &["a", "c"]),
        [abort(1, StopReason::LeaseLost)]
    );
    assert_eq!(script.reports(), []);
    script.complete(2);
    assert_eq!(script.reports()[0].lease_token, "b");
}

#[test]
fn a_new_session_stops_what_ran_but_still_delivers_results() {
    let mut script = Script::welcomed(2, 0);
    script.deliver(&[delivery(1, "a"), delivery(2, "b")]);
    script.complete(2);
    script.input(Input::Closed);
    script.greet();
    assert_eq!(
        script.welcome("s2", false, &[]),
        [abort(1, StopReason::LeaseLost)]
    );
    assert_eq!(script.reports()[0].lease_token, "b");
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
    assert_eq!(script.sent(), [receipt(2, &[]), capacity(2, false)]);
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
        [signal(1, StopReason::Requested)]
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
    assert!(
        matches!(&sent[0], work_request::Message::Reports(batch) if is_release(&batch.reports[0]))
    );
    assert_eq!(sent[1..], [receipt(2, &[]), capacity(0, true)]);

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
