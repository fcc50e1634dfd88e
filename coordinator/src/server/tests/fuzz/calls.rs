//! Every call that a stranger can make, by number, with its request as bytes.
//!
//! Owns the numbers, which the corpus is written in: new calls come behind. Owns the short words for
//! what the coordinator made: `#3` is the third task that there is, a token of one byte one of the
//! leases held now, the session `@` the last one; everything else is taken as it comes.

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use prost::Message as _;
use redrive_proto::v1 as pb;
use redrive_proto::v1::dead_letter_service_server::DeadLetterService as _;
use redrive_proto::v1::kind_service_server::KindService as _;
use redrive_proto::v1::queue_service_server::QueueService as _;
use redrive_proto::v1::retry_policy_service_server::RetryPolicyService as _;
use redrive_proto::v1::task_service_server::TaskService as _;
use redrive_proto::v1::worker_service_server::WorkerService as _;
use tonic::Request;

use super::world::World;
use crate::server::RetryPolicies;
use crate::server::dead_letter_service::DeadLetters;
use crate::server::enqueue_stream::EnqueueStream;
use crate::server::kind_service::Kinds;
use crate::server::queue_service::Queues;
use crate::server::task_service::Tasks;
use crate::server::worker_service::Workers;

/// Messages of a stream of answers that are read, at most.
const ANSWERS_MAX: usize = 16;

/// A worker says something on its stream.
pub(super) const SAY: u8 = 31;
/// Its stream breaks.
pub(super) const HANG_UP: u8 = 32;
/// Time passes: as many milliseconds as the bytes say, little-endian.
pub(super) const WAIT: u8 = 33;
/// How many numbers there are.
const NUMBERS: u8 = 34;

/// Which task a word means.
fn task(word: &mut String, world: &World) {
    let number = word.strip_prefix('#').and_then(|n| n.parse::<usize>().ok());
    if let Some(id) = number.and_then(|number| world.tasks().get(number).copied()) {
        *word = id.to_string();
    }
}

/// Which lease a byte means.
fn lease(token: &mut Bytes, world: &World) {
    let tokens = world.tokens();
    if let ([number], false) = (token.as_ref(), tokens.is_empty()) {
        let chosen = tokens[usize::from(*number) % tokens.len()];
        *token = Bytes::copy_from_slice(&chosen.to_bytes());
    }
}

fn said(message: &mut pb::WorkRequest, world: &World) {
    use pb::work_request::Message as M;
    match &mut message.message {
        Some(M::Hello(hello)) => {
            if hello.session_id == "@" {
                world.session().clone_into(&mut hello.session_id);
            }
            hello.held.iter_mut().for_each(|token| lease(token, world));
            for buffered in &mut hello.buffered {
                lease(&mut buffered.lease_token, world);
            }
        }
        Some(M::Reports(batch)) => {
            for report in &mut batch.reports {
                lease(&mut report.lease_token, world);
            }
        }
        Some(M::Heartbeats(batch)) => {
            for beat in &mut batch.heartbeats {
                lease(&mut beat.lease_token, world);
            }
        }
        Some(M::Capacity(_) | M::Receipt(_) | M::Pong(_) | M::Goodbye(_)) | None => {}
    }
}

/// Makes one call: decodes its request, fills the words in, and serves it.
macro_rules! call {
    ($world:ident, $bytes:ident, $service:expr, $method:ident) => {
        if let Ok(message) = prost::Message::decode($bytes) {
            let service = $service;
            let answered = async move {
                drop(service.$method(Request::new(message)).await);
            };
            $world.serve(answered).await;
        }
    };
    ($world:ident, $bytes:ident, $service:expr, $method:ident, |$request:ident: $type:ident| $fill:expr) => {
        if let Ok(mut message) = pb::$type::decode($bytes) {
            {
                let $request = &mut message;
                $fill
            }
            let service = $service;
            let answered = async move {
                drop(service.$method(Request::new(message)).await);
            };
            $world.serve(answered).await;
        }
    };
}

/// The same where the answer is a stream.
macro_rules! call_streaming {
    ($world:ident, $bytes:ident, $service:expr, $method:ident) => {
        if let Ok(message) = prost::Message::decode($bytes) {
            let service = $service;
            let answered = async move {
                if let Ok(answers) = service.$method(Request::new(message)).await {
                    let answers = answers.into_inner().take(ANSWERS_MAX);
                    answers.for_each(async |answer| drop(answer)).await;
                }
            };
            $world.serve(answered).await;
        }
    };
}

/// Makes the call of this number with these bytes.
pub(super) async fn make(number: u8, bytes: &[u8], world: &mut World) {
    match number % NUMBERS {
        0..=8 => of_tasks(number % NUMBERS, bytes, world).await,
        9..=13 => of_workers(number % NUMBERS, bytes, world).await,
        14..=22 => of_queues(number % NUMBERS, bytes, world).await,
        23..=30 => of_the_dead(number % NUMBERS, bytes, world).await,
        SAY => {
            if let Ok(mut message) = pb::WorkRequest::decode(bytes) {
                said(&mut message, world);
                world.say(message).await;
            }
        }
        HANG_UP => world.hang_up().await,
        _ => {
            let ms = bytes.iter().take(4).rev();
            let ms = ms.fold(0, |ms, byte| ms << 8 | u64::from(*byte));
            world.wait_ms(ms).await;
        }
    }
}

async fn of_tasks(number: u8, bytes: &[u8], world: &mut World) {
    let service = Tasks {
        edge: world.edge.clone(),
        shutdown: world.shutdown.clone(),
    };
    match number {
        0 => call!(world, bytes, service, enqueue_task),
        1 => call!(world, bytes, service, enqueue_tasks),
        2 => enqueue_stream(bytes, world).await,
        3 => call!(world, bytes, service, get_task, |it: GetTaskRequest| task(
            &mut it.task_id,
            world
        )),
        4 => call!(world, bytes, service, list_tasks),
        5 => call!(
            world,
            bytes,
            service,
            wait_task,
            |it: WaitTaskRequest| task(&mut it.task_id, world)
        ),
        6 => call!(
            world,
            bytes,
            service,
            cancel_task,
            |it: CancelTaskRequest| task(&mut it.task_id, world)
        ),
        7 => call_streaming!(world, bytes, service, cancel_tasks),
        _ => call!(
            world,
            bytes,
            service,
            update_task,
            |it: UpdateTaskRequest| task(&mut it.task_id, world)
        ),
    }
}

/// One message, twice: the second time it is said again.
async fn enqueue_stream(bytes: &[u8], world: &mut World) {
    if let Ok(message) = pb::EnqueueStreamRequest::decode(bytes) {
        let messages = stream::iter([Ok(message.clone()), Ok(message)]);
        let (edge, shutdown) = (world.edge.clone(), world.shutdown.clone());
        let acks = EnqueueStream::new(edge, "kim".into(), messages, shutdown).acks();
        world.serve(acks.for_each(async |ack| drop(ack))).await;
    }
}

async fn of_workers(number: u8, bytes: &[u8], world: &mut World) {
    let service = Workers {
        edge: world.edge.clone(),
        shutdown: world.shutdown.clone(),
        readers: world.readers.clone(),
    };
    match number {
        9 => call!(world, bytes, service, lease_tasks),
        10 => call!(
            world,
            bytes,
            service,
            report_tasks,
            |it: ReportTasksRequest| {
                for report in &mut it.reports {
                    lease(&mut report.lease_token, world);
                }
            }
        ),
        11 => call!(
            world,
            bytes,
            service,
            extend_leases,
            |it: ExtendLeasesRequest| {
                it.lease_tokens
                    .iter_mut()
                    .for_each(|token| lease(token, world));
                for beat in &mut it.heartbeats {
                    lease(&mut beat.lease_token, world);
                }
            }
        ),
        12 => call!(world, bytes, service, list_workers),
        _ => call!(world, bytes, service, drain_workers),
    }
}

async fn of_queues(number: u8, bytes: &[u8], world: &mut World) {
    let queues = Queues::new(world.edge.clone());
    let kinds = Kinds {
        edge: world.edge.clone(),
    };
    match number {
        14 => call!(world, bytes, queues, get_queue),
        15 => call!(world, bytes, queues, list_queues),
        16 => call!(world, bytes, queues, update_queue),
        17 => call!(world, bytes, queues, pause_queue),
        18 => call!(world, bytes, queues, resume_queue),
        19 => call!(world, bytes, kinds, set_kind),
        20 => call!(world, bytes, kinds, get_kind),
        21 => call!(world, bytes, kinds, list_kinds),
        _ => call!(world, bytes, kinds, delete_kind),
    }
}

async fn of_the_dead(number: u8, bytes: &[u8], world: &mut World) {
    let dead = DeadLetters {
        edge: world.edge.clone(),
        shutdown: world.shutdown.clone(),
    };
    match number {
        23 => call!(world, bytes, dead, list_dead_letters),
        24 => call!(
            world,
            bytes,
            dead,
            get_dead_letter,
            |it: GetDeadLetterRequest| task(&mut it.task_id, world)
        ),
        25 => call!(
            world,
            bytes,
            dead,
            redrive_task,
            |it: RedriveTaskRequest| task(&mut it.task_id, world)
        ),
        26 => call!(
            world,
            bytes,
            dead,
            discard_task,
            |it: DiscardTaskRequest| task(&mut it.task_id, world)
        ),
        27 => call_streaming!(world, bytes, dead, redrive_dead_letters),
        28 => call_streaming!(world, bytes, dead, discard_dead_letters),
        29 => call!(world, bytes, RetryPolicies::default(), preview_retry_policy),
        _ => call!(world, bytes, RetryPolicies::default(), get_retry_policy),
    }
}
