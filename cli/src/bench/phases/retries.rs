//! `retries`: every task fails some times before it succeeds, with a policy that waits next to
//! nothing: what a run costs when the judge and a timer stand behind it. Owns the policy that it
//! runs under; never checks delays.

use redrive_client::v1;

use super::{Measured, checked, counts, duty, warm_up};
use crate::{
    bench::{
        check::Share,
        crew::{Crew, Duty},
        meter::Meter,
        producer,
        settings::Settings,
        target::Target,
    },
    values::proto_duration,
};

/// The wait after each failure.
const DELAY: std::time::Duration = std::time::Duration::from_millis(1);

pub(super) async fn run(
    target: &Target,
    settings: &Settings,
    tasks: u64,
) -> anyhow::Result<Measured> {
    let mut check = warm_up(target, settings, tasks).await?;
    let clients = target.clients(settings.connections).await?;
    let queues = settings.queue_names("retries", settings.queues);
    for queue in &queues {
        let retry = v1::queue_settings::Retry::InlineRetryPolicy(policy(settings.failures));
        let wanted = v1::QueueSettings {
            retry: Some(retry),
            ..Default::default()
        };
        let field = ["inline_retry_policy"];
        target.client.update_queue(queue, wanted, &field).await?;
    }
    let ids = producer::streams(&clients, tasks, &settings.maker(&queues)).await?;

    let failures = settings.failures;
    let duty = Duty {
        failures,
        ..duty("retries", &queues)
    };
    let meter = Meter::start(target);
    let mut crew = Crew::start(target, settings, &duty, settings.workers).await?;
    crew.until(tasks).await?;
    let cost = meter.stop(target);
    let deeds = crew.finish().await?;

    check.add(checked(target, &queues, (&ids, Share::All), &deeds).await?);
    let wanted = tasks.saturating_mul(u64::from(failures));
    check.same("runs reported as failed", deeds.failed, wanted);
    let counted = counts(target, &queues).await?.failures_total;
    check.same("the queues' failures_total", counted, wanted);
    let runs = wanted.saturating_add(tasks);
    let title = format!("runs, {failures} failures each");
    Ok(Measured {
        figures: vec![cost.figure("runs", title, runs)],
        check,
        coordinator: None,
    })
}

fn policy(failures: u32) -> v1::RetryPolicy {
    let fixed = v1::Fixed {
        delay: Some(proto_duration(DELAY)),
    };
    v1::RetryPolicy {
        name: "bench".to_owned(),
        max_attempts: Some(failures.saturating_add(1)),
        backoff: Some(v1::Backoff {
            shape: Some(v1::backoff::Shape::Fixed(fixed)),
            jitter: Some(v1::Jitter {
                mode: v1::JitterMode::None.into(),
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    }
}
