"""A worker without an SDK. Usage: python worker.py 127.0.0.1:7480 worker-1 examples

It keeps every report until it is acknowledged. A stream that breaks ends nothing: it connects again
with its session id and the leases it holds. Drained, it finishes those, says Goodbye and exits.
"""
import queue
import random
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
from google.protobuf.duration_pb2 import Duration
from redrive.v1 import common_pb2 as common, worker_service_pb2 as pb
from redrive.v1.worker_service_pb2_grpc import WorkerServiceStub

SLOTS = 4


def fails(failure_class, message, **more):
    failure = common.Failure(failure_class=failure_class, type="python:Error", message=message)
    return {"fail": pb.Fail(failure=failure, **more)}


def completes(data):
    return {"complete": pb.Complete(result=common.Payload(data=data))}


def hello(worker, task):
    """Completes at once."""
    return completes(b"hello, " + task.payload.data)


def flaky(worker, task):
    """Fails once; the coordinator decides when it runs again."""
    first = fails(common.FAILURE_CLASS_NETWORK, "connection reset")
    return first if task.attempt == 1 else completes(b"second time lucky")


def limited(worker, task):
    """Is told by another service to come back in two seconds, as by an HTTP 429."""
    later = fails(common.FAILURE_CLASS_RATE_LIMITED, "429", retry_after=Duration(seconds=2))
    return later if task.attempt == 1 else completes(b"let in")


def slow(worker, task):
    """Is running when the worker is drained."""
    time.sleep(1)
    return completes(b"done in spite of the drain")


def cut(worker, task):
    """Loses its stream in the middle of a run, and completes once the session is resumed."""
    worker.resumed.clear()
    worker.call.cancel()
    return completes(b"resumed" if worker.resumed.wait(timeout=20) else b"not resumed")


HANDLERS = {f.__name__: f for f in (hello, flaky, limited, slow, cut)}


class Worker:
    def __init__(self, address, worker_id, queue_name):
        self.stub = WorkerServiceStub(grpc.insecure_channel(address))
        queues = [pb.QueueSubscription(queue=queue_name)]
        self.info = pb.WorkerInfo(worker_id=worker_id, queues=queues, kinds=HANDLERS)
        self.pool, self.lock = ThreadPoolExecutor(SLOTS), threading.Lock()
        self.held = {}  # lease token -> None while it runs, then its report until acknowledged
        self.session_id, self.connected, self.gone = "", False, False
        self.capacity = pb.Capacity(tasks_max=SLOTS)
        self.resumed = threading.Event()

    def send(self, **message):
        self.outgoing.put(pb.WorkRequest(**message))

    def run(self):
        while not self.gone:
            self.outgoing = queue.Queue()
            self.send(hello=pb.Hello(worker=self.info, session_id=self.session_id,
                                     held=list(self.held), capacity=self.capacity))
            self.call = self.stub.Work(iter(self.outgoing.get, None))
            try:
                for message in self.call:
                    kind = message.WhichOneof("message")
                    getattr(self, "on_" + kind)(getattr(message, kind))
            except grpc.RpcError as error:
                print(f"stream ended: {error.code().name}", flush=True)
            self.connected = False
            self.outgoing.put(None)
            time.sleep(0 if self.gone else random.uniform(0.1, 1))

    def on_welcome(self, welcome):
        self.session_id = welcome.session_id
        with self.lock:
            self.held = {k: v for k, v in self.held.items() if k not in welcome.lost}
            self.connected = True
            for report in filter(None, self.held.values()):
                self.send(reports=pb.ReportBatch(reports=[report]))
        if welcome.resumed:
            self.resumed.set()

    def on_deliveries(self, batch):
        for task in batch.deliveries:
            self.held[task.lease_token] = None
            self.pool.submit(self.handle, task)
        self.send(receipt=pb.Receipt(received_through=batch.deliveries[-1].sequence))

    def handle(self, task):
        try:
            outcome = HANDLERS[task.kind](self, task)
        except Exception as error:  # whatever a handler raises is a failure of its task
            outcome = fails(common.FAILURE_CLASS_INTERNAL, repr(error))
        print(f"ran {task.kind}: {next(iter(outcome))}", flush=True)
        report = pb.Report(lease_token=task.lease_token, **outcome)
        with self.lock:
            if task.lease_token in self.held:  # else the lease was lost meanwhile
                self.held[task.lease_token] = report
                if self.connected:
                    self.send(reports=pb.ReportBatch(reports=[report]))

    def on_report_acks(self, batch):
        for ack in batch.acks:
            print(f"report: {pb.ReportStatus.Name(ack.status)}", flush=True)
            self.held.pop(ack.lease_token, None)
        self.leave_if_done()

    def on_drain(self, _drain):
        self.capacity = pb.Capacity(tasks_max=0, draining=True)
        self.send(capacity=self.capacity)
        self.leave_if_done()

    def leave_if_done(self):
        if self.capacity.draining and not self.held:
            self.gone = True
            self.send(goodbye=pb.Goodbye(reason="drained"))
            self.outgoing.put(None)  # half-close

    def on_ping(self, ping):
        self.send(pong=pb.Pong(nonce=ping.nonce))

    def on_reconnect(self, _reconnect):
        self.call.cancel()

    on_cancels = on_timeouts = on_refusal = lambda self, message: print(message, flush=True)


if __name__ == "__main__":
    Worker(*sys.argv[1:4]).run()
