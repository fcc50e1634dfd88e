//! What may be said of a task on every level, and the tasks that follow its end; both ways.

use redrive_proto::v1 as pb;

use super::field::{At, Parsed, bounded_ms, duration, name, optional_ms, optional_queue, payload};
use super::field::{payload_view, variant};
use super::task::{labels, labels_view, priority};
use super::view::{Detail, priority_view};
use crate::engine::ids::QueueName;
use crate::engine::ledger::terms::{DeliveryMode, FollowUps, Source, Template, Terms, Transition};
use crate::engine::limits;

/// Terms of a task, kind or queue of an already checked namespace; `None` where they say nothing.
pub(crate) fn optional_terms(
    namespace: &str,
    value: Option<pb::Terms>,
    at: At<'_>,
) -> Parsed<Option<Box<Terms>>> {
    let parsed = value.map(|given| terms(namespace, given, at)).transpose()?;
    Ok(parsed.filter(|terms| !terms.is_empty()).map(Box::new))
}

/// Terms, whether they say anything or not.
pub(crate) fn terms(namespace: &str, value: pb::Terms, at: At<'_>) -> Parsed<Terms> {
    let limit = |value: Option<&prost_types::Duration>, name: &'static str| {
        let at = at.field(name);
        match optional_ms(value, limits::DELAY_MS_MAX, at)? {
            Some(0) => Err(at.refuse("is 0, at least 1 ms is needed; leave it unset for no limit")),
            other => Ok(other),
        }
    };
    let result_ttl = value.result_ttl.as_ref();
    let follow_ups = value.follow_ups.map(|given| *given).unwrap_or_default();
    Ok(Terms {
        ttl_ms: limit(value.ttl.as_ref(), "ttl")?,
        deadline_ms: limit(value.deadline.as_ref(), "deadline")?,
        result_ttl_ms: bounded_ms(
            result_ttl,
            (0, limits::RESULT_TTL_MS_MAX),
            at.field("result_ttl"),
        )?,
        delivery: delivery(value.delivery, at.field("delivery"))?,
        follow_ups: follow_ups_of(namespace, follow_ups, at.field("follow_ups"))?,
    })
}

fn delivery(number: i32, at: At<'_>) -> Parsed<Option<DeliveryMode>> {
    Ok(match variant(number, at)? {
        pb::DeliveryMode::Unspecified => None,
        pb::DeliveryMode::AtLeastOnce => Some(DeliveryMode::AtLeastOnce),
        pb::DeliveryMode::AtMostOnce => Some(DeliveryMode::AtMostOnce),
    })
}

fn follow_ups_of(namespace: &str, value: pb::FollowUps, at: At<'_>) -> Parsed<FollowUps> {
    let one = |given: Option<pb::TaskTemplate>, name: &'static str| {
        let parsed = given.map(|given| follow_up(namespace, given, at.field(name)));
        Ok(parsed.transpose()?.map(Box::new))
    };
    Ok(FollowUps {
        on_success: one(value.on_success, "on_success")?,
        on_failure: one(value.on_failure, "on_failure")?,
        on_exhausted: one(value.on_exhausted, "on_exhausted")?,
        on_cancelled: one(value.on_cancelled, "on_cancelled")?,
    })
}

fn follow_up(namespace: &str, mut value: pb::TaskTemplate, at: At<'_>) -> Parsed<Template> {
    let given = value.payload.take().unwrap_or_default();
    let argument = payload(
        given,
        limits::TEMPLATE_PAYLOAD_BYTES_MAX,
        at.field("payload"),
    )?;
    Ok(Template {
        payload: argument,
        ..template(namespace, value, at)?
    })
}

/// The rest of a chain.
pub(crate) fn chain(
    namespace: &str,
    value: Vec<pb::TaskTemplate>,
    at: At<'_>,
) -> Parsed<Vec<Template>> {
    if value.len() > limits::CHAIN_MAX {
        let (count, max) = (value.len(), limits::CHAIN_MAX);
        return Err(at.refuse(format_args!(
            "has {count} tasks, at most {max} are allowed: let the last one begin another chain"
        )));
    }
    let links = value.into_iter().enumerate();
    let link = |(index, given): (usize, pb::TaskTemplate)| {
        let at = at.index(index);
        let says = |payload: &pb::Payload| *payload != pb::Payload::default();
        if given.payload.as_ref().is_some_and(says) {
            return Err(at.field("payload").refuse(
                "is set, but in a chain the payload is the result of the task before: leave it \
                 unset",
            ));
        }
        template(namespace, given, at)
    };
    links.map(link).collect()
}

/// A template without its payload.
fn template(namespace: &str, value: pb::TaskTemplate, at: At<'_>) -> Parsed<Template> {
    let delay = value.delay.as_ref();
    Ok(Template {
        queue: optional_queue(namespace, &value.queue, at.field("queue"))?,
        kind: name(&value.kind, at.field("kind"))?,
        payload: Default::default(),
        priority: priority(value.priority, at.field("priority"))?,
        delay_ms: optional_ms(delay, limits::DELAY_MS_MAX, at.field("delay"))?.unwrap_or(0),
        version: value.schema_version,
        labels: labels(value.labels, at.field("labels"))?,
    })
}

/// Terms as the wire has them. A list leaves out the payloads of what follows.
pub(crate) fn terms_view(terms: &Terms, detail: Detail) -> pb::Terms {
    let follow_ups = &terms.follow_ups;
    let one = |given: &Option<Box<Template>>| {
        let given = given.as_deref();
        given.map(|template| template_view(template, detail))
    };
    let shown = pb::FollowUps {
        on_success: one(&follow_ups.on_success),
        on_failure: one(&follow_ups.on_failure),
        on_exhausted: one(&follow_ups.on_exhausted),
        on_cancelled: one(&follow_ups.on_cancelled),
    };
    pb::Terms {
        ttl: terms.ttl_ms.map(duration),
        deadline: terms.deadline_ms.map(duration),
        result_ttl: terms.result_ttl_ms.map(duration),
        delivery: terms
            .delivery
            .map_or(pb::DeliveryMode::Unspecified, delivery_mode_view)
            .into(),
        follow_ups: (*follow_ups != FollowUps::default()).then(|| Box::new(shown)),
    }
}

/// A task that is made later, as the wire has it.
pub(crate) fn template_view(template: &Template, detail: Detail) -> pb::TaskTemplate {
    let says = template.payload != Default::default();
    let whole = detail == Detail::Whole;
    pb::TaskTemplate {
        queue: queue_text(template.queue.as_ref()),
        kind: template.kind.to_string(),
        payload: (says && whole).then(|| payload_view(&template.payload)),
        priority: priority_view(template.priority).into(),
        delay: (template.delay_ms > 0).then(|| duration(template.delay_ms)),
        schema_version: template.version,
        labels: labels_view(&template.labels),
    }
}

/// The name of a queue within its namespace; empty where there is none.
pub(crate) fn queue_text(queue: Option<&QueueName>) -> String {
    queue
        .map(|queue| queue.queue().to_owned())
        .unwrap_or_default()
}

/// The number that a delivery mode has on the wire.
pub(crate) const fn delivery_mode_view(mode: DeliveryMode) -> pb::DeliveryMode {
    match mode {
        DeliveryMode::AtLeastOnce => pb::DeliveryMode::AtLeastOnce,
        DeliveryMode::AtMostOnce => pb::DeliveryMode::AtMostOnce,
    }
}

/// The number that a source has on the wire.
pub(crate) const fn source_view(source: Source) -> pb::Source {
    match source {
        Source::Task => pb::Source::Task,
        Source::Kind => pb::Source::Kind,
        Source::Queue => pb::Source::Queue,
        Source::Server => pb::Source::Server,
    }
}

/// The number that a transition has on the wire.
pub(crate) const fn transition_view(transition: Transition) -> pb::Transition {
    match transition {
        Transition::Success => pb::Transition::Succeeded,
        Transition::Failure => pb::Transition::Failed,
        Transition::Exhausted => pb::Transition::Exhausted,
        Transition::Cancelled => pb::Transition::Cancelled,
        Transition::Then => pb::Transition::Chained,
    }
}

#[cfg(test)]
mod tests {
    use prost_types::Duration;

    use super::*;
    use crate::engine::ledger::task::Priority;

    fn parse(value: pb::Terms) -> Parsed<Terms> {
        let root = At::Root;
        terms("default", value, root.field("terms"))
    }

    const fn secs(seconds: i64) -> Duration {
        Duration { seconds, nanos: 0 }
    }

    fn to(kind: &str) -> pb::TaskTemplate {
        pb::TaskTemplate {
            kind: kind.into(),
            ..Default::default()
        }
    }

    fn bytes(count: usize) -> pb::Payload {
        pb::Payload {
            data: vec![7; count].into(),
            content_type: String::new(),
        }
    }

    fn all() -> pb::Terms {
        let whole = pb::TaskTemplate {
            queue: "alarms".into(),
            payload: Some(bytes(16_384)),
            priority: pb::Priority::High.into(),
            delay: Some(secs(5)),
            schema_version: 3,
            labels: [("team".into(), "a".into())].into(),
            ..to("page")
        };
        let plain = |kind| {
            Some(pb::TaskTemplate {
                priority: pb::Priority::Normal.into(),
                ..to(kind)
            })
        };
        pb::Terms {
            ttl: Some(secs(1)),
            deadline: Some(secs(2)),
            result_ttl: Some(secs(0)),
            delivery: pb::DeliveryMode::AtMostOnce.into(),
            follow_ups: Some(Box::new(pb::FollowUps {
                on_success: plain("thank"),
                on_failure: plain("note"),
                on_exhausted: Some(whole),
                on_cancelled: plain("undo"),
            })),
        }
    }

    #[test]
    fn terms_come_back_as_they_went() {
        let parsed = parse(all()).unwrap();
        assert_eq!(
            (parsed.ttl_ms, parsed.deadline_ms),
            (Some(1000), Some(2000))
        );
        assert_eq!(parsed.result_ttl_ms, Some(0));
        assert_eq!(parsed.delivery, Some(DeliveryMode::AtMostOnce));
        let exhausted = parsed.follow_ups.on_exhausted.as_ref().unwrap();
        let queue = exhausted.queue.as_ref().unwrap();
        assert_eq!(queue.as_str(), "default/alarms");
        assert_eq!(exhausted.priority, Priority::High);
        assert_eq!((exhausted.delay_ms, exhausted.version), (5000, 3));
        assert_eq!(terms_view(&parsed, Detail::Whole), all());
        let listed = terms_view(&parsed, Detail::Listed).follow_ups.unwrap();
        assert_eq!(listed.on_exhausted.unwrap().payload, None);
    }

    #[test]
    fn terms_that_say_nothing_are_none() {
        let optional = |value| optional_terms("default", value, At::Root).unwrap();
        assert_eq!(optional(None), None);
        let empty = pb::Terms {
            follow_ups: Some(Box::default()),
            ..Default::default()
        };
        assert_eq!(optional(Some(empty)), None);
        assert_eq!(
            terms_view(&Terms::default(), Detail::Whole),
            pb::Terms::default()
        );
    }

    /// The field that the refusal names, what it says, and what was sent.
    type BadTerms = (&'static str, &'static str, fn(&mut pb::Terms));

    fn on_success(terms: &mut pb::Terms, change: fn(&mut pb::TaskTemplate)) {
        let mut template = to("thank");
        change(&mut template);
        terms.follow_ups = Some(Box::new(pb::FollowUps {
            on_success: Some(template),
            ..Default::default()
        }));
    }

    const BAD: &[BadTerms] = &[
        ("ttl", "at least 1 ms", |t| t.ttl = Some(secs(0))),
        ("ttl", "at most 3650 days", |t| {
            t.ttl = Some(secs(3651 * 86_400))
        }),
        ("deadline", "at least 1 ms", |t| t.deadline = Some(secs(0))),
        ("deadline", "negative", |t| t.deadline = Some(secs(-1))),
        ("result_ttl", "at most 30 days", |t| {
            t.result_ttl = Some(secs(31 * 86_400))
        }),
        ("delivery", "is 3", |t| t.delivery = 3),
        ("follow_ups.on_success.kind", "is required", |t| {
            on_success(t, |s| s.kind.clear())
        }),
        ("follow_ups.on_success.queue", "use letters", |t| {
            on_success(t, |s| s.queue = "a b".into())
        }),
        ("follow_ups.on_success.payload.data", "at most 16384", |t| {
            on_success(t, |s| s.payload = Some(bytes(16_385)))
        }),
        ("follow_ups.on_success.priority", "is 9", |t| {
            on_success(t, |s| s.priority = 9)
        }),
        ("follow_ups.on_success.delay", "negative", |t| {
            on_success(t, |s| s.delay = Some(secs(-1)))
        }),
        ("follow_ups.on_success.labels", "at most 16", |t| {
            on_success(t, |s| {
                s.labels = (0..17).map(|i| (format!("k{i}"), String::new())).collect();
            });
        }),
    ];

    #[test]
    fn what_is_wrong_in_terms_is_refused_with_its_field_its_limit_and_the_remedy() {
        for (field, says, spoil) in BAD {
            let mut sent = pb::Terms::default();
            spoil(&mut sent);
            let refused = parse(sent).unwrap_err();
            assert_eq!(refused.field, format!("terms.{field}"), "{refused}");
            assert!(refused.problem.contains(says), "{refused}");
        }
    }

    #[test]
    fn a_chain_is_bounded_and_has_no_payloads_of_its_own() {
        let parse = |value| chain("default", value, At::Root.field("then"));
        assert_eq!(parse(vec![to("a"); 32]).unwrap().len(), 32);
        let refused = parse(vec![to("a"); 33]).unwrap_err();
        assert_eq!(refused.field, "then");
        assert!(refused.problem.contains("at most 32"));
        let with = |payload| {
            let link = pb::TaskTemplate { payload, ..to("b") };
            parse(vec![to("a"), link])
        };
        assert_eq!(with(Some(bytes(1))).unwrap_err().field, "then[1].payload");
        assert!(
            with(Some(pb::Payload::default())).is_ok(),
            "it says nothing"
        );
        assert_eq!(parse(vec![to("")]).unwrap_err().field, "then[0].kind");
    }

    #[test]
    fn transitions_have_the_names_that_contexts_use() {
        for transition in [
            Transition::Success,
            Transition::Failure,
            Transition::Exhausted,
            Transition::Cancelled,
            Transition::Then,
        ] {
            let name = transition_view(transition).as_str_name();
            assert_eq!(name, format!("TRANSITION_{}", transition.name()));
        }
    }
}
