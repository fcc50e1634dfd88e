"""What the worker runs. A handler is given the worker, the delivery, and an event that is set when it
should stop; it returns the outcome of its Report."""
import time

from google.protobuf.duration_pb2 import Duration
from redrive.v1 import common_pb2 as common, task_pb2 as task, worker_service_pb2 as pb


def fails(failure_class, message, **more):
    failure = common.Failure(failure_class=failure_class, type="python:Error", message=message)
    return {"fail": pb.Fail(failure=failure, **more)}


def completes(data):
    return {"complete": pb.Complete(result=common.Payload(data=data))}


def hello(_worker, delivery, _stop):
    """Completes at once. The idempotency key is the producer's: hand it on to whom you call."""
    return completes(b"hello, %b of %b" % (
        delivery.payload.data, delivery.idempotency_key.encode()))


def flaky(worker, delivery, _stop):
    """Fails once; the coordinator decides when it runs again, and hands it its checkpoint then."""
    if delivery.attempt > 1:
        return completes(b"resumed at " + delivery.checkpoint.data)
    worker.beat(delivery, task.Progress(done=3, total=10), common.Payload(data=b"page 3"))
    return fails(common.FAILURE_CLASS_NETWORK, "connection reset")


def limited(_worker, delivery, _stop):
    """Is told by another service to come back in two seconds, as by an HTTP 429."""
    later = fails(common.FAILURE_CLASS_RATE_LIMITED, "429", retry_after=Duration(seconds=2))
    return later if delivery.attempt == 1 else completes(b"let in")


def endless(_worker, _delivery, stop):
    """Works until its task is cancelled: then every end but success makes it CANCELLED."""
    return {"release": pb.Release(reason="stopped" if stop.wait(timeout=20) else "tired")}


def slow(_worker, _delivery, _stop):
    """Is running when the worker is drained."""
    time.sleep(1)
    return completes(b"done in spite of the drain")


def cut(worker, _delivery, _stop):
    """Loses its stream in the middle of a run, and completes once the session is resumed."""
    worker.resumed.clear()
    worker.call.cancel()
    return completes(b"resumed" if worker.resumed.wait(timeout=20) else b"not resumed")


HANDLERS = {f.__name__: f for f in (hello, flaky, limited, endless, slow, cut)}
