"""A worker without an SDK. Usage: python worker.py 127.0.0.1:7480 worker-1 examples

It keeps every report until it is acknowledged. A stream that breaks ends nothing: it connects again
with its session id and the leases it holds. A Cancel asks a handler to stop, or says that its lease
is gone: then nothing is reported. Drained, it finishes what it holds, says Goodbye and exits.
"""
import queue
import random
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
from redrive.v1 import common_pb2 as common, heartbeat_pb2, worker_service_pb2 as pb
from redrive.v1.worker_service_pb2_grpc import WorkerServiceStub

from handlers import HANDLERS, fails

SLOTS = 4
ASKS = (pb.CANCEL_REASON_REQUESTED, pb.CANCEL_REASON_SOFT_TIMEOUT)  # the others take the lease


class Worker:
    def __init__(self, address, worker_id, queue_name):
        self.stub = WorkerServiceStub(grpc.insecure_channel(address))
        queues = [pb.QueueSubscription(queue=queue_name)]
        self.info = pb.WorkerInfo(worker_id=worker_id, queues=queues, kinds=HANDLERS)
        self.pool, self.lock = ThreadPoolExecutor(SLOTS), threading.Lock()
        self.held = {}  # lease token -> the event while it runs, its report until acknowledged
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
        for token in welcome.lost:
            self.stop(token, lost=True)
        with self.lock:
            self.connected = True
            reports = [held for held in self.held.values() if isinstance(held, pb.Report)]
            if reports:
                self.send(reports=pb.ReportBatch(reports=reports))
        if welcome.resumed:
            self.resumed.set()

    def on_deliveries(self, batch):
        for task in batch.deliveries:
            stop = self.held[task.lease_token] = threading.Event()
            self.pool.submit(self.handle, task, stop)
        self.send(receipt=pb.Receipt(received_through=batch.deliveries[-1].sequence))

    def handle(self, task, stop):
        try:
            outcome = HANDLERS[task.kind](self, task, stop)
        except Exception as error:  # whatever a handler raises is a failure of its task
            outcome = fails(common.FAILURE_CLASS_INTERNAL, repr(error))
        print(f"ran {task.kind}: {next(iter(outcome))}", flush=True)
        report = pb.Report(lease_token=task.lease_token, **outcome)
        with self.lock:
            if task.lease_token in self.held:  # else the lease was lost meanwhile
                self.held[task.lease_token] = report
                if self.connected:
                    self.send(reports=pb.ReportBatch(reports=[report]))

    def beat(self, task, progress, checkpoint):
        """Tells how far a run is, and what the next one is handed should this one be lost."""
        beat = heartbeat_pb2.Heartbeat(lease_token=task.lease_token, progress=progress,
                                       checkpoint=checkpoint)
        with self.lock:
            if self.connected:
                self.send(heartbeats=heartbeat_pb2.HeartbeatBatch(heartbeats=[beat]))

    def stop(self, token, lost):
        """Asks a handler to stop; where the lease is lost, what it will say is dropped."""
        with self.lock:
            if isinstance(self.held.get(token), threading.Event):  # a report is still answered
                self.held[token].set()
                if lost:
                    del self.held[token]
        self.leave_if_done()

    def on_cancels(self, batch):
        for cancel in batch.cancels:
            self.stop(cancel.lease_token, lost=cancel.reason not in ASKS)

    def on_heartbeat_acks(self, batch):
        for ack in batch.acks:
            if not ack.held:
                self.stop(ack.lease_token, lost=True)

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
        if self.capacity.draining and not self.held and not self.gone:
            self.gone = True
            self.send(goodbye=pb.Goodbye(reason="drained"))
            self.outgoing.put(None)  # half-close

    def on_ping(self, ping):
        self.send(pong=pb.Pong(nonce=ping.nonce))

    def on_reconnect(self, _reconnect):
        self.call.cancel()

    on_timeouts = on_refusal = lambda self, message: print(message, flush=True)


if __name__ == "__main__":
    Worker(*sys.argv[1:4]).run()
