//! A coordinator in this process, served over real sockets.
//!
//! Owns its life, over restarts where it has a data directory, and the stubs of its services. Never
//! reaches into it. Invariants: it listens on free ports of 127.0.0.1 only, the same ones over
//! restarts; dropping it ends it.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use redrive_client::{Client, NewTask, Waited};
use redrive_coordinator::config::Config;
use redrive_coordinator::run::{Running, StartError, start};
use redrive_coordinator::shell::shutdown::StopError;
use redrive_proto::v1::{
    self as pb, dead_letter_service_client::DeadLetterServiceClient,
    event_service_client::EventServiceClient, kind_service_client::KindServiceClient,
    queue_service_client::QueueServiceClient,
    retry_policy_service_client::RetryPolicyServiceClient,
    server_service_client::ServerServiceClient, task_service_client::TaskServiceClient,
    worker_service_client::WorkerServiceClient,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint};

use crate::process::quiet_address;
use crate::wait::{PATIENCE, eventually, within};

/// How a coordinator ends before it is started again.
#[derive(Clone, Copy, Debug)]
pub enum End {
    /// In good order.
    Stopped,
    /// Without a word.
    Dropped,
}

impl End {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Stopped, Self::Dropped];
}

/// A coordinator that lives as long as this value.
#[derive(Debug)]
pub struct Harness {
    config: Config,
    running: Running,
    client: Client,
}

/// The settings that tests start with: short pings, and a grace that a busy machine does not
/// overrun.
#[must_use]
pub fn config() -> Config {
    let free = SocketAddr::from(([127, 0, 0, 1], 0));
    Config {
        listen: free,
        http_listen: free,
        shard_count: 4,
        memory_limit_bytes: 256 * 1024 * 1024,
        ping_interval: Duration::from_millis(200),
        grace: Duration::from_secs(20),
        shutdown_deadline: Duration::from_secs(5),
        ..Config::default()
    }
}

/// The same settings with everything remembered in this directory, at addresses that stay free while
/// the coordinator is down.
pub fn keep(config: &mut Config, data_dir: &Path) {
    config.listen = quiet_address();
    config.http_listen = quiet_address();
    config.data_dir = Some(data_dir.to_owned());
    config.segment_bytes = 1024 * 1024;
}

impl Harness {
    /// Starts a coordinator with [`config`].
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// Starts a coordinator with some settings changed.
    pub async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = config();
        change(&mut config);
        Self::begin(config).await.unwrap()
    }

    /// Starts a coordinator that remembers everything in this directory.
    pub async fn on(data_dir: &Path) -> Self {
        Self::with(|config| keep(config, data_dir)).await
    }

    /// Starts a coordinator, where it can be.
    ///
    /// # Errors
    /// Why it cannot.
    pub async fn begin(config: Config) -> Result<Self, StartError> {
        let running = start(config.clone()).await?;
        let client = Client::connect(&running.grpc_addr().to_string()).await;
        Ok(Self {
            client: client.unwrap().with_deadline(PATIENCE),
            config,
            running,
        })
    }

    /// Stops it in good order and starts it again on its data directory, at the same addresses.
    #[must_use]
    pub async fn restart(self) -> Self {
        let config = self.config.clone();
        self.stop().await.unwrap();
        Self::begin(config).await.unwrap()
    }

    /// Ends it without a word to anybody and starts it again on its data directory, at the same
    /// addresses.
    #[must_use]
    pub async fn crash(self) -> Self {
        let config = self.config.clone();
        drop(self);
        // Its thread lets the directory go when it has noticed.
        eventually("the coordinator can be started again", async || {
            Self::begin(config.clone()).await.ok()
        })
        .await
    }

    /// Ends it like this and starts it again on its data directory, at the same addresses.
    #[must_use]
    pub async fn again(self, end: End) -> Self {
        match end {
            End::Stopped => self.restart().await,
            End::Dropped => self.crash().await,
        }
    }

    /// The same, with some settings changed.
    #[must_use]
    pub async fn again_with(mut self, end: End, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self.again(end).await
    }

    /// The Rust client of this coordinator.
    #[must_use]
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// Where gRPC is served.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.running.grpc_addr()
    }

    /// Where gRPC is served, as a URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Where health, readiness and metrics are served.
    #[must_use]
    pub const fn http_address(&self) -> SocketAddr {
        self.running.http_addr()
    }

    /// Stops it gracefully.
    ///
    /// # Errors
    /// What the coordinator says of its end.
    pub async fn stop(self) -> Result<(), StopError> {
        within("the coordinator's graceful stop", self.running.stop()).await
    }

    /// The generated stub, without any check of its own.
    #[must_use]
    pub fn tasks(&self) -> TaskServiceClient<Channel> {
        TaskServiceClient::new(self.client.channel())
    }

    /// The generated stub, without any check of its own.
    #[must_use]
    pub fn workers(&self) -> WorkerServiceClient<Channel> {
        WorkerServiceClient::new(self.client.channel())
    }

    /// The generated stub, without any check of its own.
    #[must_use]
    pub fn queues(&self) -> QueueServiceClient<Channel> {
        QueueServiceClient::new(self.client.channel())
    }

    /// The generated stub, without any check of its own.
    #[must_use]
    pub fn kinds(&self) -> KindServiceClient<Channel> {
        KindServiceClient::new(self.client.channel())
    }

    /// The generated stub, without any check of its own.
    #[must_use]
    pub fn dead_letters(&self) -> DeadLetterServiceClient<Channel> {
        DeadLetterServiceClient::new(self.client.channel())
    }

    /// The generated stub, without any check of its own.
    #[must_use]
    pub fn policies(&self) -> RetryPolicyServiceClient<Channel> {
        RetryPolicyServiceClient::new(self.client.channel())
    }

    /// The generated stub, without any check of its own.
    #[must_use]
    pub fn events(&self) -> EventServiceClient<Channel> {
        EventServiceClient::new(self.client.channel())
    }

    /// The generated stub, without any check of its own.
    #[must_use]
    pub fn server(&self) -> ServerServiceClient<Channel> {
        ServerServiceClient::new(self.client.channel())
    }

    /// Enqueues a task and answers its id.
    pub async fn enqueue(&self, task: NewTask) -> String {
        self.client.enqueue(task).await.unwrap().task_id
    }

    /// The task as it stands.
    pub async fn task(&self, task_id: &str) -> pb::Task {
        self.client.get(task_id).await.unwrap()
    }

    /// Waits for a task's end or death, without polling.
    pub async fn end_of(&self, task_id: &str) -> pb::Task {
        match self.client.wait(task_id, PATIENCE).await.unwrap() {
            Waited::Ended(task) => task,
            Waited::TimedOut(task) => panic!("did not end: {task:?}"),
        }
    }

    /// Waits until the task stands like this.
    pub async fn task_in(&self, task_id: &str, state: pb::TaskState) -> pb::Task {
        eventually(&format!("task {task_id} is {state:?}"), async || {
            let task = self.task(task_id).await;
            (task.state() == state).then_some(task)
        })
        .await
    }

    /// Shows that the coordinator still does its work: a task goes in, is handed out and ends.
    pub async fn still_serves(&self) {
        let queue = "still-serves";
        let task_id = self.enqueue(NewTask::new(queue, "probe")).await;
        let lease = pb::LeaseTasksRequest {
            worker: Some(crate::make::worker_info("probe", queue)),
            ..Default::default()
        };
        let leased = self.workers().lease_tasks(lease).await.unwrap();
        let delivery = leased.into_inner().deliveries.remove(0);
        assert_eq!(delivery.task_id, task_id);
        let reports = vec![crate::make::complete(&delivery)];
        let reports = pb::ReportTasksRequest { reports };
        self.workers().report_tasks(reports).await.unwrap();
        let ended = self.end_of(&task_id).await;
        assert_eq!(ended.state(), pb::TaskState::Succeeded);
    }

    /// The answer to a GET of the HTTP listener: the head and the body.
    pub async fn get(&self, path: &str) -> (String, String) {
        let exchange = async {
            let mut stream = TcpStream::connect(self.http_address()).await.unwrap();
            let head = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).await.unwrap();
            text
        };
        let text = within("an answer over HTTP", exchange).await;
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }

    /// The value of the first sample of a metric whose line begins like this; 0 where there is none.
    pub async fn metric(&self, begins: &str) -> f64 {
        let (_, body) = self.get("/metrics").await;
        let line = body.lines().find(|line| line.starts_with(begins));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok())
            .unwrap_or_default()
    }
}

/// A connection of its own.
pub async fn connect(address: SocketAddr) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    within("a connection", endpoint.connect()).await.unwrap()
}
