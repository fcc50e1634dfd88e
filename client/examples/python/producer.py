"""A producer without an SDK: enqueues tasks, waits for their ends, and checks how they went.

    python producer.py 127.0.0.1:7480 worker-1 examples

Needs worker.py beside it, under that worker id and on that queue; drains it in the end.
"""
import sys
import time

import grpc
from google.protobuf.duration_pb2 import Duration
from redrive.v1 import common_pb2 as common, retry_policy_pb2 as retry, task_pb2 as task
from redrive.v1 import task_service_pb2 as tasks, worker_service_pb2 as workers
from redrive.v1.task_service_pb2_grpc import TaskServiceStub
from redrive.v1.worker_service_pb2_grpc import WorkerServiceStub

DEADLINE = 10  # seconds for a call; without one, gRPC waits for ever


def fixed(milliseconds):
    """A policy that always waits the same, so that the examples can say what to expect."""
    delay = Duration(nanos=milliseconds * 1_000_000)
    return retry.RetryPolicy(
        name="example", max_attempts=3,
        backoff=retry.Backoff(fixed=retry.Fixed(delay=delay),
                              jitter=retry.Jitter(mode=retry.JITTER_MODE_NONE)))


class Producer:
    def __init__(self, address, queue):
        channel = grpc.insecure_channel(address)
        self.tasks, self.workers = TaskServiceStub(channel), WorkerServiceStub(channel)
        self.queue = queue

    def enqueue(self, kind, data=b"", policy=None, key=""):
        """With a key, enqueueing the same again answers with the first task's id."""
        spec = task.TaskSpec(queue=self.queue, kind=kind, inline_retry_policy=policy,
                             payload=common.Payload(data=data, content_type="text/plain"),
                             idempotency_key=key)
        request = tasks.EnqueueTaskRequest(task=spec)
        # Until the coordinator listens, wait_for_ready holds the call back instead of failing it.
        answer = self.tasks.EnqueueTask(request, timeout=DEADLINE, wait_for_ready=True)
        return answer.task_id

    def end_of(self, task_id):
        """The task when it has ended. The call waits there: no polling."""
        request = tasks.WaitTaskRequest(task_id=task_id, timeout=Duration(seconds=30))
        answer = self.tasks.WaitTask(request, timeout=30 + DEADLINE)
        assert answer.ended, f"{answer.task.spec.kind} did not end within 30 s"
        return answer.task

    def run(self, kind, data=b"", policy=None):
        return self.end_of(self.enqueue(kind, data, policy))

    def until_held(self, task_id):
        """Waits until a worker holds the task."""
        for _ in range(DEADLINE * 20):
            request = tasks.GetTaskRequest(task_id=task_id)
            answer = self.tasks.GetTask(request, timeout=DEADLINE).task
            if answer.state in (task.TASK_STATE_LEASED, task.TASK_STATE_RUNNING):
                return
            time.sleep(0.05)
        raise AssertionError(f"no worker took {task_id}")

    def cancel(self, task_id, reason, grace):
        """Asks the handler to stop; after so many seconds its lease is revoked."""
        request = tasks.CancelTaskRequest(
            task_id=task_id, reason=reason, grace=Duration(seconds=grace))
        return self.tasks.CancelTask(request, timeout=DEADLINE).disposition

    def drain(self, worker_id):
        request = workers.DrainWorkersRequest(worker_ids=[worker_id], reason="the example is over")
        return list(self.workers.DrainWorkers(request, timeout=DEADLINE).worker_ids)


def expect(ended, result, runs):
    name = task.TaskState.Name(ended.state)
    assert ended.state == task.TASK_STATE_SUCCEEDED, f"{ended.spec.kind} ended as {name}: {ended}"
    assert ended.result.data == result, f"{ended.spec.kind} answered {ended.result.data}"
    assert ended.runs == runs, f"{ended.spec.kind} ran {ended.runs} times, not {runs}"
    print(f"ok: {ended.spec.kind} {name} after {ended.runs} run(s)", flush=True)


def main(address, worker_id, queue):
    producer = Producer(address, queue)

    # Complete: it runs once and answers. Enqueued again with its key, it is still the same task.
    task_id = producer.enqueue("hello", b"ada", key="order-7")
    assert producer.enqueue("hello", b"ada", key="order-7") == task_id
    expect(producer.end_of(task_id), b"hello, ada of order-7", runs=1)

    # Retry: it fails once, and goes on from its checkpoint when the policy says.
    ended = producer.run("flaky", policy=fixed(100))
    expect(ended, b"resumed at page 3", runs=2)
    assert ended.history[0].outcome == task.RUN_OUTCOME_FAILED
    assert ended.history[0].failure.message == "connection reset"
    assert [run.attempt for run in ended.history] == [1, 2]

    # Retry-After: the policy would wait 100 ms, but the other side asked for two seconds.
    ended = producer.run("limited", policy=fixed(100))
    expect(ended, b"let in", runs=2)
    first, second = ended.history
    waited = second.lease_time.ToMilliseconds() - first.end_time.ToMilliseconds()
    assert waited >= 2_000, f"ran again after {waited} ms although asked to wait 2000"

    # Cut stream: the worker loses its stream in the middle, resumes, and reports: one run only.
    ended = producer.run("cut")
    expect(ended, b"resumed", runs=1)
    assert ended.budgets.crashes == 0

    # Cancel: the handler is asked to stop and gives the task back, which ends a cancelled one.
    task_id = producer.enqueue("endless")
    producer.until_held(task_id)
    disposition = producer.cancel(task_id, "the order was withdrawn", grace=10)
    assert disposition == tasks.CANCEL_DISPOSITION_CANCELLING
    ended = producer.end_of(task_id)
    assert ended.state == task.TASK_STATE_CANCELLED, ended
    print("ok: endless was cancelled", flush=True)

    # Drain: the worker finishes what it holds, and leaves.
    task_id = producer.enqueue("slow")
    producer.until_held(task_id)
    assert producer.drain(worker_id) == [worker_id]
    expect(producer.end_of(task_id), b"done in spite of the drain", runs=1)


if __name__ == "__main__":
    main(*sys.argv[1:4])
