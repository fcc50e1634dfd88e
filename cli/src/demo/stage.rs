//! Sets the demo up: upstream, coordinator, policy, queues and workers.
//!
//! Owns what runs where and with which flags. Never enqueues and never judges.

use std::{collections::BTreeMap, env, net::SocketAddr, path::Path, time::Duration};

use anyhow::{Context as _, bail};
use redrive_client::{
    Client,
    v1::{self, FailureClass},
};

use super::{
    behaviour::Behaviour,
    clock,
    coordinator::Coordinator,
    input::Delivery,
    policy::{self, Cause, PRESET, Windows},
    screen::Screen,
    text::span,
    upstream::{RETRY_AFTER_SECONDS, Upstream},
};
use crate::processes::Process;

/// Workers that are started.
const WORKERS: usize = 3;
/// The most tasks of one queue: the coordinator keeps the last 1,000 that ended of each, and the
/// demo wants to look at all of them.
const QUEUE_TASKS_MAX: usize = 900;
/// How long the upstream is down for those that find it down.
const OUTAGE: Duration = Duration::from_secs(6);
/// How long a worker waits for an answer; what hangs is cut there.
const REQUEST_TIMEOUT: &str = "2s";
/// How long the workers may take to connect.
const CONNECT_MAX: Duration = Duration::from_secs(15);
/// How often they are looked for until then.
const CONNECT_POLL: Duration = Duration::from_millis(50);
/// The most attempts that a window is asked for.
const PREVIEW_ATTEMPTS: u32 = 100;

/// Where each delivery goes.
#[derive(Debug)]
pub(super) struct Queues {
    /// The queue of each delivery, in their order.
    pub(super) of_delivery: Vec<String>,
    /// The behaviour behind each queue.
    pub(super) behaviours: BTreeMap<String, Behaviour>,
}

impl Queues {
    /// Spreads deliveries over one queue a behaviour, or more where they are many.
    pub(super) fn of(deliveries: &[Delivery]) -> Self {
        let mut counts: BTreeMap<Behaviour, usize> = BTreeMap::new();
        let mut behaviours = BTreeMap::new();
        let mut of_delivery = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            let count = counts.entry(delivery.behaviour).or_default();
            let queue = delivery
                .behaviour
                .queue(count.checked_div(QUEUE_TASKS_MAX).unwrap_or(0));
            *count = count.saturating_add(1);
            behaviours
                .entry(queue.clone())
                .or_insert(delivery.behaviour);
            of_delivery.push(queue);
        }
        Self {
            of_delivery,
            behaviours,
        }
    }
}

/// Everything that runs; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Stage {
    /// What is delivered to.
    pub(super) upstream: Upstream,
    /// The connection to the coordinator.
    pub(super) client: Client,
    /// The coordinator.
    pub(super) coordinator: Coordinator,
    /// The workers that were not killed.
    pub(super) workers: Vec<Process>,
    /// What the policy allows.
    pub(super) windows: Windows,
}

impl Stage {
    /// Starts everything and waits until the workers are connected.
    ///
    /// # Errors
    /// Where a process does not start, ends, or is not ready in time.
    pub(super) async fn start(
        screen: &Screen,
        queues: &Queues,
        slots: u16,
        scale: u32,
    ) -> anyhow::Result<Self> {
        let program = env::current_exe().context("cannot find the redrive binary itself")?;
        let upstream = Upstream::start(OUTAGE)
            .await
            .context("cannot start the upstream")?;
        screen.say(&format!(
            "upstream     http://{}, in this process",
            upstream.address()
        ));
        for (left, right) in Behaviour::ALL.iter().zip(Behaviour::ALL.iter().skip(4)) {
            let (does, does_right) = (left.says(), right.says());
            screen.say(&format!("  {left:<12} {does:<30}{right:<10} {does_right}"));
        }

        let coordinator = Coordinator::start(&program).await?;
        coordinator.introduce(screen);
        let address = coordinator.address();
        let client = Client::connect(&address.to_string()).await?;
        let preset = client.retry_policy(PRESET).await?;
        let windows = configure(&client, &policy::scale(&preset, scale), queues).await?;
        screen.say(&format!(
            "policy       {PRESET:?}, every duration divided by {scale}: a minute is {}",
            span(
                Duration::from_secs(60)
                    .checked_div(scale)
                    .unwrap_or_default()
            )
        ));
        screen.say(&format!(
            "             (not scaled: Retry-After {RETRY_AFTER_SECONDS} s, requests time out \
             after {REQUEST_TIMEOUT})"
        ));

        let mut workers = Vec::with_capacity(WORKERS);
        for number in 1..=WORKERS {
            let name = format!("demo-{number}");
            workers.push(start_worker(&program, &name, address, queues, slots)?);
        }
        let mut stage = Self {
            upstream,
            client,
            coordinator,
            workers,
            windows,
        };
        stage.connected().await?;
        for worker in &stage.workers {
            screen.say(&format!(
                "worker       {}, {slots} at a time, process {}",
                worker.name(),
                worker.pid()
            ));
        }
        Ok(stage)
    }

    /// Fails where a process ended that was not killed by the demo.
    ///
    /// # Errors
    /// Tells which, how, and its last words.
    pub(super) fn check(&mut self) -> anyhow::Result<()> {
        self.coordinator.check()?;
        self.workers.iter_mut().try_for_each(Process::check)
    }

    /// Kills the worker that holds most, unless none holds anything; answers its name, its process
    /// id and how much it held.
    ///
    /// # Errors
    /// Where the coordinator does not answer or the process cannot be killed.
    pub(super) async fn kill_busiest(&mut self) -> anyhow::Result<Option<(String, u32, u32)>> {
        let workers = self.client.workers("").await?;
        let busiest = workers
            .iter()
            .filter(|worker| worker.held > 0)
            .max_by_key(|w| w.held);
        let Some((worker, info)) = busiest.and_then(|w| Some((w, w.info.as_ref()?))) else {
            return Ok(None);
        };
        let Some(at) = self
            .workers
            .iter()
            .position(|process| process.name() == info.worker_id)
        else {
            return Ok(None);
        };
        let mut process = self.workers.swap_remove(at);
        let pid = process.pid();
        process.kill().await?;
        Ok(Some((info.worker_id.clone(), pid, worker.held)))
    }

    /// Ends the workers, then the coordinator.
    ///
    /// # Errors
    /// Where one cannot be killed.
    pub(super) async fn end(mut self) -> anyhow::Result<()> {
        for worker in &mut self.workers {
            worker.kill().await?;
        }
        self.coordinator.end().await
    }

    async fn connected(&mut self) -> anyhow::Result<()> {
        let deadline = clock::now() + CONNECT_MAX;
        loop {
            let connected = self.client.workers("").await?.len();
            if connected >= WORKERS {
                return Ok(());
            }
            self.check()?;
            if clock::now() >= deadline {
                bail!("{connected} of {WORKERS} workers are connected after {CONNECT_MAX:?}");
            }
            clock::pause(CONNECT_POLL).await;
        }
    }
}

fn start_worker(
    program: &Path,
    name: &str,
    address: SocketAddr,
    queues: &Queues,
    slots: u16,
) -> anyhow::Result<Process> {
    let mut args: Vec<String> = [
        "worker",
        "http",
        "--log",
        "warn",
        "--log-format",
        "text",
        "--address",
    ]
    .map(str::to_owned)
    .into();
    args.push(address.to_string());
    for queue in queues.behaviours.keys() {
        args.extend(["--queue".to_owned(), queue.clone()]);
    }
    let rest = [
        "--slots",
        &slots.to_string(),
        "--worker-id",
        name,
        "--timeout",
        REQUEST_TIMEOUT,
    ];
    args.extend(rest.map(str::to_owned));
    Process::start(program, name, &args)
}

/// Sets the policy on every queue and asks for its windows.
async fn configure(
    client: &Client,
    policy: &v1::RetryPolicy,
    queues: &Queues,
) -> anyhow::Result<Windows> {
    for queue in queues.behaviours.keys() {
        let retry = v1::queue_settings::Retry::InlineRetryPolicy(policy.clone());
        let settings = v1::QueueSettings {
            retry: Some(retry),
            ..Default::default()
        };
        client
            .update_queue(queue, settings, &["inline_retry_policy"])
            .await?;
    }
    let classes = (1..).map_while(|number| FailureClass::try_from(number).ok());
    let asked = Duration::from_secs(RETRY_AFTER_SECONDS.into());
    let causes = classes.map(|class| Cause::Failure(class, None)).chain([
        Cause::Failure(FailureClass::RateLimited, Some(asked)),
        Cause::Crash,
    ]);
    let mut windows = Windows::of(policy);
    for cause in causes {
        let mut question = policy::question(policy, cause);
        question.attempts_max = PREVIEW_ATTEMPTS;
        windows.learn(cause, &client.preview_retry_policy(question).await?.steps);
    }
    Ok(windows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::input;

    #[test]
    fn no_queue_gets_more_tasks_than_the_coordinator_remembers() {
        let line = "{\"kind\":\"k\",\"behaviour\":\"down\",\"url\":\"/hook\"}\n";
        let input = input::parse(&line.repeat(QUEUE_TASKS_MAX * 2 + 1));
        let queues = Queues::of(&input.deliveries);
        let names: Vec<&String> = queues.behaviours.keys().collect();
        assert_eq!(
            names,
            ["webhooks.down", "webhooks.down-2", "webhooks.down-3"]
        );
        for (name, tasks) in [("webhooks.down", QUEUE_TASKS_MAX), ("webhooks.down-3", 1)] {
            let found = queues
                .of_delivery
                .iter()
                .filter(|queue| *queue == name)
                .count();
            assert_eq!(found, tasks);
        }
    }

    #[test]
    fn the_sample_needs_one_queue_a_behaviour_and_a_worker_can_serve_them_all() {
        let queues = Queues::of(&input::parse(input::SAMPLE).deliveries);
        assert_eq!(queues.behaviours.len(), Behaviour::ALL.len());
        let most = input::DELIVERIES_MAX / QUEUE_TASKS_MAX + Behaviour::ALL.len();
        assert!(most <= 64, "{most}");
    }
}
