//! Single values: what is taken, what is refused, and in which words.

use super::*;

fn seconds(seconds: i64, nanos: i32) -> Duration {
    Duration { seconds, nanos }
}

#[test]
fn paths_read_like_the_request_is_written() {
    let root = At::Root;
    let tasks = root.field("tasks");
    let third = tasks.index(3);
    let labels = third.field("labels");
    assert_eq!(labels.key("team").to_string(), "tasks[3].labels[\"team\"]");
    assert_eq!(
        third.path("rules[0].id").to_string(),
        "tasks[3].rules[0].id"
    );
    assert_eq!(root.index(2).to_string(), "[2]");
}

#[test]
fn a_refused_value_is_repeated_in_part_only() {
    assert_eq!(quoted("a\n\"b"), r#""a\n\"b""#);
    let long = quoted(&"x".repeat(10_000));
    assert_eq!(long, format!("\"{}…\"", "x".repeat(QUOTE_CHARACTERS_MAX)));
}

#[test]
fn durations_are_exact_to_the_millisecond_and_round_up_below_it() {
    let parse = |d| duration_ms(&d, u64::MAX, At::Root);
    assert_eq!(parse(seconds(1, 500_000_000)), Ok(1500));
    assert_eq!(parse(seconds(0, 1)), Ok(1));
    assert_eq!(parse(seconds(0, 0)), Ok(0));
}

#[test]
fn malformed_negative_and_long_durations_are_refused_by_name() {
    let at = At::Root;
    let at = at.field("delay");
    let refused = |d| duration_ms(&d, 3_600_000, at).unwrap_err().to_string();
    assert!(refused(seconds(1, -1)).starts_with("delay is malformed"));
    assert!(refused(seconds(0, NANOS_PER_SECOND)).starts_with("delay is malformed"));
    assert!(refused(seconds(0, i32::MIN)).starts_with("delay is malformed"));
    assert_eq!(
        refused(seconds(-2, 0)),
        "delay is negative (-2 s), durations are at least 0"
    );
    assert!(refused(seconds(0, -5)).contains("negative"));
    assert_eq!(
        refused(seconds(7200, 0)),
        "delay is 2 h, at most 1 h is allowed"
    );
    assert!(refused(seconds(i64::MAX, 999_999_999)).contains("at most 1 h"));
}

#[test]
fn instants_before_1970_are_past_and_malformed_ones_are_refused() {
    const LAST: i64 = 253_402_300_799;
    let parse = |seconds, nanos| instant(&ProtoTimestamp { seconds, nanos }, At::Root);
    assert_eq!(parse(2, 1), Ok(Timestamp(2001)));
    assert_eq!(parse(-5, 999_999_999), Ok(Timestamp(0)));
    assert!(parse(0, -1).is_err());
    assert!(parse(0, NANOS_PER_SECOND).is_err());
    assert!(parse(LAST + 1, 0).is_err());
    // Rounded up, it would lie in the year 10000, which no answer can say.
    assert!(parse(LAST, 999_999_999).is_err());
    assert!(parse(LAST, 999_000_000).is_ok());
    assert!(parse(i64::MAX, 999_999_999).is_err());
}

#[test]
fn the_wire_forms_of_times_come_back_as_they_went() {
    for ms in [0, 1, 999, 1000, 1_700_000_000_123] {
        assert_eq!(duration_ms(&duration(ms), u64::MAX, At::Root), Ok(ms));
        assert_eq!(
            instant(&timestamp(Timestamp(ms)), At::Root),
            Ok(Timestamp(ms))
        );
    }
}

#[test]
fn no_payload_keeps_the_buffer_alive_that_it_was_received_in() {
    let received = Bytes::from(vec![7; limits::PAYLOAD_BYTES_MAX]);
    for bytes in [1, 100, 64 * 1024, limits::PAYLOAD_BYTES_MAX] {
        let value = pb::Payload {
            data: received.slice(..bytes),
            content_type: String::new(),
        };
        let kept = payload(value, limits::PAYLOAD_BYTES_MAX, At::Root).unwrap();
        assert_eq!(kept.data, received.slice(..bytes));
    }
    assert!(received.is_unique(), "nobody else holds it");
}

#[test]
fn s32_a_soft_limit_above_the_hard_one_is_refused_with_field_both_values_and_remedy() {
    let both = |soft, hard| {
        let value = pb::Timeouts {
            soft: Some(seconds(soft, 0)),
            hard: Some(seconds(hard, 0)),
            ..Default::default()
        };
        timeouts(&value, At::Root.field("timeouts"))
    };
    assert_eq!(
        both(5, 5),
        Ok(Timeouts {
            soft_ms: Some(5000),
            hard_ms: Some(5000),
            extend_max_ms: None,
        })
    );
    let refused = both(6, 5).unwrap_err();
    assert_eq!(refused.field, "timeouts.soft");
    assert_eq!(
        refused.to_string(),
        "timeouts.soft is 6 s, above the hard limit of 5 s: lower it, or raise the hard limit"
    );
    assert_eq!(both(0, 5).unwrap_err().field, "timeouts.soft");
    let days = both(1, 31 * 86_400).unwrap_err();
    assert_eq!(
        days.to_string(),
        "timeouts.hard is 31 days, at most 30 days is allowed"
    );
}

#[test]
fn s34_a_bound_of_extensions_below_the_hard_limit_is_refused() {
    let both = |hard, extend_max| {
        let value = pb::Timeouts {
            soft: None,
            hard,
            extend_max: Some(seconds(extend_max, 0)),
        };
        timeouts(&value, At::Root.field("timeouts"))
    };
    let hard = Some(seconds(9, 0));
    assert_eq!(both(hard, 9).unwrap().extend_max_ms, Some(9000));
    assert_eq!(both(None, 1).unwrap().extend_max_ms, Some(1000));
    let refused = both(hard, 8).unwrap_err();
    assert_eq!(refused.field, "timeouts.extend_max");
    assert!(refused.problem.contains("below the hard limit of 9 s"));
    assert!(both(hard, 31 * 86_400).is_err() && both(None, 0).is_err());
    let shown = timeouts_view(both(hard, 20).unwrap());
    assert_eq!(shown.extend_max, Some(seconds(20, 0)));
}

#[test]
fn keys_are_printable_and_bounded() {
    let at = At::Root;
    let at = at.field("key");
    assert_eq!(key("order 7 – ü", 256, at).as_deref(), Ok("order 7 – ü"));
    assert_eq!(optional_key("", 256, at), Ok(None));
    assert_eq!(key("", 256, at).unwrap_err().to_string(), "key is required");
    let refused = |text: &str| key(text, 4, at).unwrap_err().problem;
    assert_eq!(refused("12345"), "has 5 bytes, at most 4 are allowed");
    assert!(refused("a\u{7f}").contains("use printable characters"));
}
