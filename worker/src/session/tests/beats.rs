//! Claims about heartbeats: how often, what is said again, and questions for other limits.

use super::*;

fn progress(done: u64) -> Said {
    Said {
        progress: Some(Progress {
            done,
            ..Progress::default()
        }),
        ..Said::default()
    }
}

fn checkpoint(data: &'static str) -> Said {
    Said {
        checkpoint: Some(payload(data)),
        ..Said::default()
    }
}

fn payload(data: &'static str) -> Payload {
    Payload {
        data: data.into(),
        content_type: String::new(),
    }
}

fn extend(number: u64, hard_ms: u64) -> Said {
    let wanted = timeouts(None, Some(hard_ms));
    Said {
        extend: Some(Extend { number, wanted }),
        ..Said::default()
    }
}

fn timeouts(soft_ms: Option<u64>, hard_ms: Option<u64>) -> Timeouts {
    Timeouts {
        soft: soft_ms.map(Duration::from_millis),
        hard: hard_ms.map(Duration::from_millis),
    }
}

fn on_wire(soft_ms: u64, hard_ms: u64) -> redrive_proto::v1::Timeouts {
    redrive_proto::v1::Timeouts {
        soft: Some(wire::of(Duration::from_millis(soft_ms))),
        hard: Some(wire::of(Duration::from_millis(hard_ms))),
        extend_max: None,
    }
}

/// The question for this hard limit, as it is sent: the soft one is not asked about.
fn asking(hard_ms: u64) -> redrive_proto::v1::Timeouts {
    redrive_proto::v1::Timeouts {
        soft: None,
        ..on_wire(0, hard_ms)
    }
}

fn held(timeouts: Option<redrive_proto::v1::Timeouts>) -> HeartbeatAck {
    HeartbeatAck {
        lease_token: "a".into(),
        held: true,
        timeouts,
        ..HeartbeatAck::default()
    }
}

fn extended(number: u64, answer: Result<Timeouts, Refusal>) -> Action {
    Action::Extended {
        run: RunId(1),
        number,
        answer,
    }
}

/// A run of the lease "a" that has just begun.
fn running() -> Script {
    let mut script = Script::welcomed(1, 0);
    script.deliver(&[limited("a", 200, 300)]);
    script.sent();
    script
}

fn dones(beats: &[Heartbeat]) -> Vec<u64> {
    let done = |beat: &Heartbeat| beat.progress.as_ref().map(|progress| progress.done);
    beats.iter().filter_map(done).collect()
}

#[test]
fn the_first_word_is_sent_at_once_and_the_latest_of_the_next_after_the_interval() {
    let mut script = Script::welcomed(1, 0);
    script.deliver(&[delivery(1, "a")]);
    script.sent();
    assert_eq!(script.speak(1, progress(1)), []);
    assert_eq!(dones(&script.beats()), [1]);

    assert_eq!(script.at(10).speak(1, progress(2)), []);
    assert_eq!(script.beats(), [], "too soon");
    assert_eq!(script.session.next_deadline(), Some(HEARTBEAT_INTERVAL_MS));
    let due = script.at(HEARTBEAT_INTERVAL_MS).input(Input::Tick);
    assert_eq!(script.collect(due, progress(9)), []);
    assert_eq!(dones(&script.beats()), [9]);
}

#[test]
fn what_is_said_faster_than_it_can_be_sent_is_one_heartbeat_with_the_latest_of_each() {
    let mut script = running();
    script.speak(1, checkpoint("old"));
    let due = script.at(199).speak(1, progress(1));
    assert_eq!(due, []);
    let due = script.at(200).input(Input::Tick);
    let both = Said {
        checkpoint: Some(payload("new")),
        ..progress(2)
    };
    script.collect(due, both);
    let [beat] = &script.beats()[..] else {
        panic!("not one heartbeat")
    };
    assert_eq!(beat.progress.as_ref().unwrap().done, 2);
    assert_eq!(beat.checkpoint, Some(payload("new")));
}

#[test]
fn a_checkpoint_is_sent_once_and_not_with_every_progress() {
    let mut script = running();
    script.speak(1, checkpoint("c"));
    assert_eq!(script.beats()[0].checkpoint, Some(payload("c")));
    script.at(200).speak(1, progress(1));
    assert_eq!(script.beats()[0].checkpoint, None);
}

#[test]
fn a_checkpoint_that_the_stream_may_have_lost_is_sent_again_and_nobody_is_asked_meanwhile() {
    let mut script = running();
    script.speak(1, checkpoint("c"));
    script.sent();
    script.input(Input::Closed);
    assert_eq!(script.at(250).speak(1, progress(1)), []);
    script.greet();
    let due = script.welcome("s1", true, &[]);
    assert_eq!(due, [Action::Collect { run: RunId(1) }]);
    script.collect(due, progress(1));
    let beats = script.beats();
    assert_eq!(beats[0].checkpoint, Some(payload("c")));
    assert_eq!(dones(&beats), [1]);
}

#[test]
fn a_checkpoint_above_the_coordinators_limit_is_not_sent_but_the_progress_is() {
    let mut script = running();
    let large = Said {
        checkpoint: Some(Payload {
            data: vec![0; 262_145].into(),
            content_type: String::new(),
        }),
        ..progress(1)
    };
    let actions = script.speak(1, large);
    assert!(matches!(&actions[..], [Action::Note { .. }]), "{actions:?}");
    let beats = script.beats();
    assert_eq!((dones(&beats), &beats[0].checkpoint), (vec![1], &None));
}

#[test]
fn an_extension_goes_out_at_once_and_moves_the_clock_when_it_is_granted() {
    let mut script = running();
    script.speak(1, progress(1));
    script.sent();
    assert_eq!(script.at(50).speak(1, extend(1, 900)), []);
    let beats = script.beats();
    assert_eq!(beats[0].timeouts, Some(asking(900)), "no word of the other");

    let limits = Limits {
        soft: Some(200),
        hard: Some(900),
        deadline: None,
    };
    assert_eq!(
        script.answer_beat(held(Some(on_wire(200, 900)))),
        [
            Action::Limits {
                run: RunId(1),
                limits
            },
            extended(1, Ok(timeouts(Some(200), Some(900))))
        ]
    );
    assert_eq!(
        script.at(300).input(Input::Tick),
        [signal(1, StopReason::SoftTimeout)]
    );
    assert_eq!(
        script.at(900).input(Input::Tick),
        [abort(1, StopReason::HardTimeout)]
    );
}

#[test]
fn a_refused_extension_says_why_and_leaves_the_limits() {
    let mut script = running();
    script.speak(1, extend(1, 9_000));
    script.sent();
    let refusal = Refusal {
        reason: "OUT_OF_RANGE".to_owned(),
        message: "at most 1200 ms".to_owned(),
        ..Refusal::default()
    };
    let ack = HeartbeatAck {
        refusal: Some(refusal.clone()),
        ..held(Some(on_wire(200, 300)))
    };
    assert_eq!(script.answer_beat(ack), [extended(1, Err(refusal))]);
    let actions = script.at(300).input(Input::Tick);
    assert_eq!(actions[1], abort(1, StopReason::HardTimeout));
}

#[test]
fn an_extension_is_asked_again_on_a_new_stream_until_it_is_answered() {
    let mut script = running();
    script.speak(1, extend(1, 900));
    script.sent();
    script.input(Input::Closed);
    script.greet();
    assert_eq!(script.welcome("s1", true, &[]), []);
    assert_eq!(script.beats()[0].timeouts, Some(asking(900)));
    script.answer_beat(held(Some(on_wire(200, 900))));

    script.input(Input::Closed);
    script.greet();
    script.welcome("s1", true, &[]);
    assert_eq!(script.beats(), [], "it was answered");
}

#[test]
fn an_answer_is_not_taken_for_that_of_a_later_question() {
    let mut script = running();
    script.speak(1, extend(1, 600));
    assert_eq!(script.beats().len(), 1);
    script.speak(1, extend(2, 700));
    script.speak(1, extend(3, 900));
    assert_eq!(script.beats(), [], "one question at a time");
    let actions = script.answer_beat(held(Some(on_wire(200, 600))));
    assert_eq!(actions[1], extended(1, Ok(timeouts(Some(200), Some(600)))));
    assert_eq!(
        script.beats()[0].timeouts,
        Some(asking(900)),
        "the latest of those that waited"
    );
    let actions = script.answer_beat(held(Some(on_wire(200, 900))));
    assert_eq!(actions[1], extended(3, Ok(timeouts(Some(200), Some(900)))));
}

#[test]
fn an_answer_that_the_lease_is_gone_stops_the_run_and_reports_nothing() {
    let mut script = running();
    script.speak(1, extend(1, 900));
    script.sent();
    let gone = HeartbeatAck {
        held: false,
        ..held(None)
    };
    assert_eq!(script.answer_beat(gone), [abort(1, StopReason::LeaseLost)]);
    script.complete(1);
    assert_eq!(script.sent(), []);
    assert!(!script.session.holds_leases());
}

#[test]
fn an_answer_that_the_lease_is_gone_does_not_drop_a_result_that_is_on_its_way() {
    let mut script = running();
    script.speak(1, progress(1));
    script.complete(1);
    let gone = HeartbeatAck {
        held: false,
        ..held(None)
    };
    assert_eq!(script.answer_beat(gone), []);
    assert_eq!(script.reports().len(), 1);
}

#[test]
fn a_run_that_is_over_says_nothing_more() {
    let mut script = running();
    script.speak(1, progress(1));
    script.complete(1);
    assert_eq!(script.beats(), []);
    assert_eq!(script.at(500).speak(1, progress(2)), []);
    assert_eq!(script.beats(), []);
}

#[test]
fn a_word_that_was_refused_is_noted() {
    let mut script = running();
    script.speak(1, progress(1));
    script.sent();
    let ack = HeartbeatAck {
        refusal: Some(Refusal::default()),
        ..held(None)
    };
    let actions = script.answer_beat(ack);
    assert!(matches!(&actions[..], [Action::Note { .. }]), "{actions:?}");
}

#[test]
fn the_refusal_of_an_earlier_word_is_not_taken_for_the_answer_to_a_question() {
    let mut script = running();
    script.speak(1, checkpoint("c"));
    script.sent();
    script.at(300).speak(1, extend(1, 900));
    assert_eq!(script.beats()[0].timeouts, Some(asking(900)));
    let earlier = HeartbeatAck {
        refusal: Some(Refusal {
            reason: "FIELD_INVALID".to_owned(),
            field: "checkpoint.content_type".to_owned(),
            ..Refusal::default()
        }),
        ..held(None)
    };
    let actions = script.answer_beat(earlier);
    assert!(matches!(&actions[..], [Action::Note { .. }]), "{actions:?}");
    let actions = script.answer_beat(held(Some(on_wire(200, 900))));
    assert_eq!(actions[1], extended(1, Ok(timeouts(Some(200), Some(900)))));
}

#[test]
fn limits_that_cannot_be_limits_are_answered_as_such() {
    let mut script = running();
    script.speak(1, extend(1, 900));
    script.sent();
    let refusal = Refusal {
        reason: "FIELD_INVALID".to_owned(),
        field: "timeouts.hard".to_owned(),
        ..Refusal::default()
    };
    let ack = HeartbeatAck {
        refusal: Some(refusal.clone()),
        ..held(None)
    };
    assert_eq!(script.answer_beat(ack), [extended(1, Err(refusal))]);
}

#[test]
fn a_question_goes_alone_so_that_nothing_else_can_refuse_it() {
    let mut script = running();
    let all = Said {
        extend: extend(1, 900).extend,
        checkpoint: Some(payload("c")),
        ..progress(1)
    };
    script.speak(1, all);
    let [question, rest] = &script.beats()[..] else {
        panic!("not two heartbeats")
    };
    assert_eq!(question.timeouts, Some(asking(900)));
    assert!(question.progress.is_none() && question.checkpoint.is_none());
    assert!(rest.progress.is_some() && rest.checkpoint.is_some());
}

#[test]
fn a_checkpoint_whose_content_type_the_coordinator_refuses_is_not_sent_but_the_progress_is() {
    for bad in ["x".repeat(129), "caf\u{e9}".to_owned(), "a\nb".to_owned()] {
        let mut script = running();
        let said = Said {
            checkpoint: Some(Payload {
                content_type: bad,
                ..payload("c")
            }),
            ..progress(1)
        };
        let actions = script.speak(1, said);
        assert!(matches!(&actions[..], [Action::Note { .. }]), "{actions:?}");
        let beats = script.beats();
        assert_eq!((dones(&beats), &beats[0].checkpoint), (vec![1], &None));
    }
}
