//! A disk that is really full: a small file system of its own, filled by somebody else.
//!
//! Owns the mount, for as long as its test runs.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use redrive_client::{CallFailure, Client, NewTask, v1 as pb};
use redrive_tests::{
    eventually, make,
    process::{Folder, Setup},
};
use tonic::Code;

use crate::{
    producer::{self, Answer},
    setup, skipped,
};

/// The size of the disk: the journal's files, and a little.
const DISK_BYTES: u64 = 8 << 20;
/// How long a call may take, refusals included: the client itself tries again what is refused.
const DEADLINE: Duration = Duration::from_millis(300);

/// A mounted file system; gone with this value.
struct Disk(PathBuf);

impl Disk {
    /// Mounts an empty one at `path`.
    fn mount(path: &Path) -> Result<Self, String> {
        fs::create_dir_all(path).map_err(|error| error.to_string())?;
        let size = format!("size={DISK_BYTES}");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "redrive-test"])
            .arg(path)
            .output();
        match mounted {
            Ok(output) if output.status.success() => Ok(Self(path.to_owned())),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr)
                .trim_end()
                .to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Somebody else takes all the room that there is.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("somebody-elses");
        // Ends with "no space left", which is what it is for.
        drop(fs::write(
            &path,
            vec![1; usize::try_from(DISK_BYTES).unwrap()],
        ));
        path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Whatever still has a file open there keeps it until it ends.
        drop(Command::new("umount").arg("--lazy").arg(&self.0).status());
    }
}

#[tokio::test]
async fn a_full_disk_refuses_what_grows_takes_what_shrinks_and_recovers_by_itself() {
    let folder = Folder::new(env!("CARGO_TARGET_TMPDIR"), "full");
    let disk = match Disk::mount(&folder.path().join("disk")) {
        Ok(disk) => disk,
        Err(why) => return skipped(&format!("no file system can be mounted: {why}")),
    };
    let setup = setup(&folder).on(&disk.0.join("data"));
    let mut coordinator = setup.start().await;
    let client = Client::connect(&setup.address().to_string()).await.unwrap();
    let accepted = producer::send(&setup, &mut coordinator, 4).await;
    assert_eq!(crate::accepted(&accepted).len(), 4, "{accepted:?}");
    let leased = lease(&client, 2).await;

    let others = disk.fill();
    let refusal = until_refused(&client).await;
    assert_eq!(refusal.code, Code::ResourceExhausted, "{refusal:?}");
    assert_eq!(refusal.reason, "DISK_FULL", "{refusal:?}");
    assert!(refusal.retry_after.is_some(), "{refusal:?}");
    shrink(&client, &leased, &crate::accepted(&accepted)).await;
    assert!(coordinator.ended().is_none(), "{}", setup.last_words());

    fs::remove_file(others).unwrap();
    eventually("tasks are accepted again", async || {
        let sent = producer::send_one(&client, DEADLINE).await?;
        matches!(sent.answer, Answer::Accepted(_)).then_some(())
    })
    .await;
    kept(setup, coordinator, &leased).await;
}

/// Sends tasks until one is refused.
async fn until_refused(client: &Client) -> CallFailure {
    eventually("a task is refused", async || {
        let sent = producer::send_one(client, DEADLINE).await?;
        match sent.answer {
            Answer::Refused(failure) => Some(*failure),
            Answer::Accepted(_) | Answer::Unknown => None,
        }
    })
    .await
}

async fn lease(client: &Client, tasks_max: u32) -> Vec<pb::Delivery> {
    let mut workers = pb::worker_service_client::WorkerServiceClient::new(client.channel());
    let request = pb::LeaseTasksRequest {
        worker: Some(make::worker_info("w", "faults")),
        tasks_max,
        lease_ttl: Some(make::ms(600_000)),
        ..Default::default()
    };
    let deliveries = workers
        .lease_tasks(request)
        .await
        .unwrap()
        .into_inner()
        .deliveries;
    assert_eq!(deliveries.len(), 2, "{deliveries:?}");
    deliveries
}

/// A completion and a cancel are taken although nothing that grows is.
async fn shrink(
    client: &Client,
    leased: &[pb::Delivery],
    accepted: &std::collections::BTreeSet<String>,
) {
    let mut workers = pb::worker_service_client::WorkerServiceClient::new(client.channel());
    let reports = leased.iter().map(make::complete).collect();
    let answer = workers
        .report_tasks(pb::ReportTasksRequest { reports })
        .await;
    for ack in answer.unwrap().into_inner().acks {
        assert_eq!(ack.status(), pb::ReportStatus::Recorded, "{ack:?}");
    }
    let waiting = accepted
        .iter()
        .find(|id| leased.iter().all(|one| one.task_id != **id));
    let cancelled = client
        .cancel(waiting.unwrap(), "the disk is full")
        .await
        .unwrap();
    assert_eq!(cancelled.state(), pb::TaskState::Cancelled);
    let client = client.clone().with_deadline(DEADLINE);
    let refused = client.enqueue(NewTask::new("faults", "work")).await;
    assert!(refused.is_err(), "still full");
}

/// What was taken meanwhile is still there after a SIGKILL.
async fn kept(
    setup: Setup,
    coordinator: redrive_tests::process::Coordinator,
    leased: &[pb::Delivery],
) {
    coordinator.kill();
    let coordinator = setup.start().await;
    let client = Client::connect(&setup.address().to_string()).await.unwrap();
    for delivery in leased {
        let task = client.get(&delivery.task_id).await.unwrap();
        assert_eq!(task.state(), pb::TaskState::Succeeded, "{task:?}");
    }
    coordinator.kill();
}
