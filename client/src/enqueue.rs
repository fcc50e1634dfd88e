//! Enqueueing by call: one task, or many.
//!
//! Owns how many tasks become calls that keep the limits. Streams are in `enqueue_stream.rs`.

use prost::Message as _;
use redrive_proto::v1::{self, task_service_client::TaskServiceClient};

use crate::{
    call::call,
    check_life::check_request_id,
    client::Client,
    error::Error,
    limits::{BATCH_BYTES_MAX, BATCH_TASKS_MAX},
    task::NewTask,
};

/// A task that the coordinator has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// Its id.
    pub task_id: String,
    /// What the enqueue did: created it, or found or changed one that was there.
    pub effect: v1::EnqueueEffect,
}

impl Client {
    /// Enqueues one task. When this returns, the task is as durable as the answer says; its `effect`
    /// tells whether it is new, or an earlier one answers for it.
    ///
    /// # Errors
    /// [`Error::Invalid`] before anything is sent; [`Error::OutcomeUnknown`] where no answer came
    /// until the deadline: the task may be there.
    pub async fn enqueue(&self, task: NewTask) -> Result<v1::EnqueueTaskResponse, Error> {
        let request = v1::EnqueueTaskRequest {
            namespace: self.namespace.clone(),
            task: Some(task.build()?),
            ..Default::default()
        };
        call!(self, change TaskServiceClient::enqueue_task, request)
    }

    /// Enqueues many tasks, in calls of at most 1,000 tasks and 3 MiB, one after the other. The
    /// answer has one entry for each task, in order: its id, or why it was not accepted. After a
    /// call that failed as a whole the rest is not sent ([`Error::NotSent`]). A request id that the
    /// user set is the first call's; those after it have `/2`, `/3` and so on behind it.
    pub async fn enqueue_many(
        &self,
        tasks: impl IntoIterator<Item = NewTask>,
    ) -> Vec<Result<String, Error>> {
        let answers = self.enqueue_each(tasks).await.into_iter();
        answers
            .map(|answer| answer.map(|accepted| accepted.task_id))
            .collect()
    }

    /// The same, and the answer tells of each task what its enqueue did.
    pub async fn enqueue_each(
        &self,
        tasks: impl IntoIterator<Item = NewTask>,
    ) -> Vec<Result<Accepted, Error>> {
        let mut results = Vec::new();
        let mut valid = Vec::new();
        for (index, task) in tasks.into_iter().enumerate() {
            let spec = task.build();
            results.push(Err(Error::NotSent {
                problem: "not reached".to_owned(),
            }));
            match spec {
                Ok(spec) => valid.push((index, spec)),
                Err(error) => results[index] = Err(error),
            }
        }
        let mut failed = None;
        for (number, chunk) in chunks(valid).into_iter().enumerate() {
            let (indices, specs): (Vec<usize>, Vec<v1::TaskSpec>) = chunk.into_iter().unzip();
            let answers = match &failed {
                Some(error) => vec![Err(Error::not_sent(error)); indices.len()],
                None => match self.enqueue_chunk(number, specs).await {
                    Ok(answers) => answers,
                    Err(error) => {
                        let answers = vec![Err(error.clone()); indices.len()];
                        failed = Some(error);
                        answers
                    }
                },
            };
            for (index, answer) in indices.into_iter().zip(answers) {
                results[index] = answer;
            }
        }
        results
    }

    async fn enqueue_chunk(
        &self,
        number: usize,
        tasks: Vec<v1::TaskSpec>,
    ) -> Result<Vec<Result<Accepted, Error>>, Error> {
        let mut client = self.clone();
        if let Some(id) = client.caller.request.id.as_mut().filter(|_| number > 0) {
            id.push_str(&format!("/{}", number + 1));
            check_request_id(id)?;
        }
        let count = tasks.len();
        let request = v1::EnqueueTasksRequest {
            namespace: self.namespace.clone(),
            tasks,
            ..Default::default()
        };
        let answer = call!(client, change TaskServiceClient::enqueue_tasks, request)?;
        if answer.results.len() != count {
            return Err(Error::Incomplete {
                missing: "result for each task",
            });
        }
        Ok(answer
            .results
            .into_iter()
            .map(|result| match result.result {
                Some(v1::enqueue_result::Result::TaskId(ref id)) => Ok(Accepted {
                    task_id: id.clone(),
                    effect: result.effect(),
                }),
                Some(v1::enqueue_result::Result::Refusal(refusal)) => Err(refusal.into()),
                None => Err(Error::Incomplete { missing: "result" }),
            })
            .collect())
    }
}

/// Cuts tasks into calls that keep both limits, in order.
fn chunks(tasks: Vec<(usize, v1::TaskSpec)>) -> Vec<Vec<(usize, v1::TaskSpec)>> {
    let mut chunks: Vec<Vec<(usize, v1::TaskSpec)>> = Vec::new();
    let mut bytes = 0_usize;
    for (index, task) in tasks {
        let len = framed_len(&task);
        match chunks.last_mut() {
            Some(last) if last.len() < BATCH_TASKS_MAX && bytes + len <= BATCH_BYTES_MAX => {
                bytes += len;
                last.push((index, task));
            }
            Some(_) | None => {
                bytes = len;
                chunks.push(vec![(index, task)]);
            }
        }
    }
    chunks
}

/// The bytes that a task takes in a batch, its tag, length and sequence included.
pub(crate) fn framed_len(task: &v1::TaskSpec) -> usize {
    const FRAME: usize = 24;
    task.encoded_len() + FRAME
}
