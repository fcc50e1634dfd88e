//! Claims about deadlines, and cancels with a grace or by force.

use super::*;

/// A delivery whose task has so long to live.
fn mortal(sequence: u64, token: &'static str, ms: u64) -> Delivery {
    Delivery {
        deadline: Some(wire::of(Duration::from_millis(ms))),
        ..delivery(sequence, token)
    }
}

#[test]
fn a_deadline_before_the_hard_limit_ends_the_run() {
    let mut script = Script::welcomed(1, 0);
    let delivery = Delivery {
        hard_timeout: Some(wire::of(Duration::from_secs(10))),
        ..mortal(1, "a", 300)
    };
    let actions = script.at(1_000).deliver(&[delivery]);
    let [Action::Start { limits, .. }] = &actions[..] else {
        panic!("{actions:?}")
    };
    assert_eq!((limits.end(), limits.deadline), (Some(1_300), Some(1_300)));
    assert_eq!(script.at(1_299).input(Input::Tick), []);
    assert_eq!(
        script.at(1_300).input(Input::Tick),
        [abort(1, StopReason::Deadline)]
    );
    let reports = script.reports();
    assert_eq!(failure_class(&reports[0]), FailureClass::Timeout);
}

#[test]
fn the_deadline_counts_from_the_delivery_and_not_from_the_start() {
    let mut script = Script::welcomed(1, 1);
    script.deliver(&[delivery(1, "a"), mortal(2, "b", 300)]);
    let actions = script.at(200).complete(1);
    assert_eq!(started(&actions), [2]);
    assert_eq!(
        script.at(300).input(Input::Tick),
        [abort(2, StopReason::Deadline)]
    );
}

#[test]
fn a_delivery_whose_deadline_came_while_it_waited_is_not_begun() {
    let mut script = Script::welcomed(1, 1);
    script.deliver(&[delivery(1, "a"), mortal(2, "b", 300)]);
    assert_eq!(started(&script.at(300).complete(1)), [] as [u64; 0]);
    let reports = script.reports();
    assert!(is_release(&reports[1]), "{reports:?}");
}

#[test]
fn new_limits_do_not_move_the_deadline() {
    let mut script = Script::welcomed(1, 0);
    script.deliver(&[mortal(1, "a", 300)]);
    let change = TimeoutsChange {
        lease_token: "a".into(),
        soft_timeout: None,
        hard_timeout: Some(wire::of(Duration::from_secs(1))),
    };
    script.hear(Message::Timeouts(TimeoutsBatch {
        changes: vec![change],
    }));
    assert_eq!(
        script.at(300).input(Input::Tick),
        [abort(1, StopReason::Deadline)]
    );
}

#[test]
fn a_cancel_gives_the_handler_its_grace_and_stops_it_then_even_while_cut_off() {
    let mut script = Script::welcomed(1, 0);
    script.at(100).deliver(&[delivery(1, "a")]);
    let actions = script.cancel_within("a", CancelReason::Requested, Some(500));
    assert_eq!(actions, [cancel(1, Some(600))]);
    script.input(Input::Closed);
    assert_eq!(script.at(599).input(Input::Tick), []);
    assert_eq!(
        script.at(600).input(Input::Tick),
        [abort(1, StopReason::Revoked)]
    );
    assert!(script.session.holds_leases(), "its report waits");
}

#[test]
fn a_later_cancel_replaces_the_grace_of_an_earlier_one() {
    let mut script = Script::welcomed(1, 0);
    script.deliver(&[delivery(1, "a")]);
    script.cancel_within("a", CancelReason::Requested, Some(500));
    let actions = script.cancel_within("a", CancelReason::Requested, None);
    assert_eq!(actions, [cancel(1, None)]);
    assert_eq!(script.at(500).input(Input::Tick), []);
}

#[test]
fn a_handler_that_ends_within_its_grace_reports_as_always() {
    let mut script = Script::welcomed(1, 0);
    script.deliver(&[delivery(1, "a")]);
    script.cancel_within("a", CancelReason::Requested, Some(500));
    script.at(499).complete(1);
    assert_eq!(script.reports().len(), 1);
    assert_eq!(script.at(500).input(Input::Tick), []);
}

#[test]
fn a_lease_that_a_deadline_or_force_has_voided_stops_the_run_with_that_reason() {
    for (reason, told) in [
        (CancelReason::Deadline, StopReason::Deadline),
        (CancelReason::Revoked, StopReason::Revoked),
    ] {
        let mut script = Script::welcomed(1, 1);
        script.deliver(&[delivery(1, "a"), delivery(2, "b")]);
        script.sent();
        assert_eq!(script.cancel("a", reason), [abort(1, told)]);
        assert_eq!(script.cancel("b", reason), []);
        assert_eq!(script.sent(), [receipt(2, &[])], "nothing is reported");
        assert!(!script.session.holds_leases());
    }
}
