//! Scripts of a session: what comes in, what must be done, what is sent.
//!
//! Here is all that touches the API; the claims are below.

mod beats;
mod ends;
mod leases;
mod streams;

use std::time::Duration;

use redrive_proto::v1::{
    Cancel, CancelBatch, CancelReason, Complete, Delivery, DeliveryBatch, Drain, Fail,
    FailureClass, Heartbeat, HeartbeatAck, HeartbeatAckBatch, Hello, Payload, Ping, Progress,
    Receipt, Refusal, Report, ReportAck, ReportAckBatch, ReportStatus, TimeoutsBatch,
    TimeoutsChange, Welcome, WorkerInfo, report, work_request, work_response::Message,
};

use super::*;
use crate::{context::Timeouts, report::Outcome};

/// A session and its clock; everything that touches the API is here.
struct Script {
    session: Session,
    now_ms: u64,
}

impl Script {
    fn new(slots: u32, prefetch: u32) -> Self {
        let session = Session::new(SessionConfig {
            namespace: "default".to_owned(),
            worker: WorkerInfo {
                worker_id: "w1".to_owned(),
                ..WorkerInfo::default()
            },
            slots,
            prefetch,
            bytes_max: 0,
        });
        Self { session, now_ms: 0 }
    }

    /// A session that has been welcomed at 0.
    fn welcomed(slots: u32, prefetch: u32) -> Self {
        let mut script = Self::new(slots, prefetch);
        script.greet();
        assert_eq!(script.welcome("s1", false, &[]), []);
        script
    }

    fn greet(&mut self) -> Hello {
        let request = self.session.hello(self.now_ms);
        let Some(work_request::Message::Hello(hello)) = request.message else {
            panic!("no hello: {request:?}")
        };
        hello
    }

    fn welcome(&mut self, id: &str, resumed: bool, lost: &[&'static str]) -> Vec<Action> {
        self.hear(Message::Welcome(Welcome {
            session_id: id.to_owned(),
            resumed,
            lost: lost
                .iter()
                .map(|token| Bytes::from_static(token.as_bytes()))
                .collect(),
            ..Welcome::default()
        }))
    }

    fn at(&mut self, ms: u64) -> &mut Self {
        self.now_ms = ms;
        self
    }

    fn input(&mut self, input: Input) -> Vec<Action> {
        let mut actions = Vec::new();
        self.session.step(self.now_ms, input, &mut actions);
        actions
    }

    fn hear(&mut self, message: Message) -> Vec<Action> {
        self.input(Input::Received(Box::new(message)))
    }

    /// The coordinator speaks again: the stream is left once, and the next one says what is held.
    fn hears_of_loss(&mut self, message: Message) {
        let actions = self.hear(message);
        assert!(
            matches!(&actions[..], [Action::Disconnect { after: None, .. }]),
            "the coordinator is never told: {actions:?}"
        );
        assert_eq!(self.sent(), [], "nothing more is said on that stream");
        assert_eq!(self.greet().held, [""; 0]);
        assert_eq!(self.welcome("s1", true, &[]), [], "told once");
    }

    fn deliver(&mut self, deliveries: &[Delivery]) -> Vec<Action> {
        self.hear(Message::Deliveries(DeliveryBatch {
            deliveries: deliveries.to_vec(),
        }))
    }

    fn complete(&mut self, run: u64) -> Vec<Action> {
        let outcome = Some(Box::new(Outcome::complete(Complete::default())));
        self.input(Input::Ended {
            run: RunId(run),
            outcome,
        })
    }

    fn ack(&mut self, token: &'static str, status: ReportStatus) -> Vec<Action> {
        let refusal = (status == ReportStatus::Invalid).then(|| Refusal {
            message: "too long".to_owned(),
            ..Refusal::default()
        });
        let ack = ReportAck {
            lease_token: token.into(),
            status: status.into(),
            refusal,
            ..ReportAck::default()
        };
        self.hear(Message::ReportAcks(ReportAckBatch { acks: vec![ack] }))
    }

    fn cancel(&mut self, token: &'static str, reason: CancelReason) -> Vec<Action> {
        self.cancel_within(token, reason, None)
    }

    fn cancel_within(
        &mut self,
        token: &'static str,
        reason: CancelReason,
        grace_ms: Option<u64>,
    ) -> Vec<Action> {
        let cancel = Cancel {
            lease_token: token.into(),
            reason: reason.into(),
            grace: grace_ms.map(|ms| wire::of(Duration::from_millis(ms))),
            detail: "why".to_owned(),
        };
        self.hear(Message::Cancels(CancelBatch {
            cancels: vec![cancel],
        }))
    }

    /// The handler of a run speaks, and is asked for what it says where that is due.
    fn speak(&mut self, run: u64, said: Said) -> Vec<Action> {
        let run = RunId(run);
        let urgent = said.extend.is_some();
        let actions = self.input(Input::Spoke { run, urgent });
        self.collect(actions, said)
    }

    /// Answers the session's question for what a handler says.
    fn collect(&mut self, mut actions: Vec<Action>, said: Said) -> Vec<Action> {
        let asked = |action: &Action| match action {
            Action::Collect { run } => Some(*run),
            Action::Start { .. }
            | Action::Signal { .. }
            | Action::Cancel { .. }
            | Action::Abort { .. }
            | Action::Limits { .. }
            | Action::Extended { .. }
            | Action::Disconnect { .. }
            | Action::Refused(_)
            | Action::Note { .. } => None,
        };
        if let Some(at) = actions.iter().position(|action| asked(action).is_some())
            && let Some(run) = asked(&actions.remove(at))
        {
            let said = Box::new(said);
            actions.extend(self.input(Input::Said { run, said }));
        }
        actions
    }

    fn answer_beat(&mut self, ack: HeartbeatAck) -> Vec<Action> {
        self.hear(Message::HeartbeatAcks(HeartbeatAckBatch {
            acks: vec![ack],
        }))
    }

    fn beats(&mut self) -> Vec<Heartbeat> {
        self.sent()
            .into_iter()
            .filter_map(|message| match message {
                work_request::Message::Heartbeats(batch) => Some(batch.heartbeats),
                work_request::Message::Hello(_)
                | work_request::Message::Capacity(_)
                | work_request::Message::Receipt(_)
                | work_request::Message::Pong(_)
                | work_request::Message::Goodbye(_)
                | work_request::Message::Reports(_) => None,
            })
            .flatten()
            .collect()
    }

    fn sent(&mut self) -> Vec<work_request::Message> {
        let mut sent = Vec::new();
        while let Some(request) = self.session.next_request() {
            sent.extend(request.message);
        }
        assert!(!self.session.wants_to_send());
        sent
    }

    fn reports(&mut self) -> Vec<Report> {
        self.sent()
            .into_iter()
            .filter_map(|message| match message {
                work_request::Message::Reports(batch) => Some(batch.reports),
                work_request::Message::Hello(_)
                | work_request::Message::Capacity(_)
                | work_request::Message::Receipt(_)
                | work_request::Message::Pong(_)
                | work_request::Message::Goodbye(_)
                | work_request::Message::Heartbeats(_) => None,
            })
            .flatten()
            .collect()
    }
}

fn delivery(sequence: u64, token: &'static str) -> Delivery {
    Delivery {
        sequence,
        lease_token: token.into(),
        kind: "k".to_owned(),
        ..Delivery::default()
    }
}

fn limited(token: &'static str, soft_ms: u64, hard_ms: u64) -> Delivery {
    let wire = |ms| Some(Duration::from_millis(ms).try_into().unwrap());
    Delivery {
        soft_timeout: wire(soft_ms),
        hard_timeout: wire(hard_ms),
        ..delivery(1, token)
    }
}

fn started(actions: &[Action]) -> Vec<u64> {
    actions
        .iter()
        .filter_map(|action| match action {
            Action::Start { run, .. } => Some(run.0),
            Action::Signal { .. }
            | Action::Cancel { .. }
            | Action::Collect { .. }
            | Action::Extended { .. }
            | Action::Abort { .. }
            | Action::Limits { .. }
            | Action::Disconnect { .. }
            | Action::Refused(_)
            | Action::Note { .. } => None,
        })
        .collect()
}

fn failure_class(report: &Report) -> FailureClass {
    let Some(report::Outcome::Fail(Fail {
        failure: Some(failure),
        ..
    })) = &report.outcome
    else {
        panic!("no failure: {report:?}")
    };
    failure.failure_class()
}

fn is_release(report: &Report) -> bool {
    matches!(report.outcome, Some(report::Outcome::Release(_)))
}

fn receipt(received_through: u64, buffered: &[u64]) -> work_request::Message {
    work_request::Message::Receipt(Receipt {
        received_through,
        buffered: buffered.to_vec(),
    })
}

fn capacity(tasks_max: u32, draining: bool) -> work_request::Message {
    work_request::Message::Capacity(Capacity {
        tasks_max,
        bytes_max: 0,
        draining,
    })
}

fn abort(run: u64, reason: StopReason) -> Action {
    Action::Abort {
        run: RunId(run),
        reason,
    }
}

fn signal(run: u64, reason: StopReason) -> Action {
    Action::Signal {
        run: RunId(run),
        reason,
    }
}

fn cancel(run: u64, until_ms: Option<u64>) -> Action {
    Action::Cancel {
        run: RunId(run),
        until_ms,
        detail: "why".to_owned(),
    }
}
