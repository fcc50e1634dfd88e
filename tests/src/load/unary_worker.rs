//! A worker without a stream: it leases, runs and reports by calls, lets leases lapse, and sends a
//! report again until it is answered.
//!
//! Owns what it holds. Never extends a lease: what it does not report in time is lost to it.

use std::time::Duration;

use crate::{Dice, make};
use redrive_client::v1::{self as pb, worker_service_client::WorkerServiceClient};
use tokio::{sync::watch, time::timeout};
use tonic::transport::Channel;

use super::{
    Context, Phase, now,
    work::{self, Held},
};

/// How long a call may take; a coordinator that was killed answers never.
const CALL_MAX: Duration = Duration::from_secs(2);

/// See the module.
pub(super) struct UnaryWorker {
    context: Context,
    number: u64,
    dice: Dice,
    unreported: Vec<Held>,
}

impl UnaryWorker {
    /// A worker that has not asked yet.
    pub(super) const fn new(context: Context, number: u64, dice: Dice) -> Self {
        Self {
            context,
            number,
            dice,
            unreported: Vec::new(),
        }
    }

    /// Works until the end.
    pub(super) async fn run(mut self, phase: watch::Receiver<Phase>) {
        let mut stub = WorkerServiceClient::new(self.context.channel());
        let mut beat = work::beat();
        while now(&phase) != Phase::End {
            self.lease(&mut stub, now(&phase)).await;
            self.report(&mut stub).await;
            beat.tick().await;
        }
    }

    async fn lease(&mut self, stub: &mut WorkerServiceClient<Channel>, phase: Phase) {
        let request = pb::LeaseTasksRequest {
            worker: Some(work::info(format!("unary-{}", self.number))),
            tasks_max: 8,
            wait: Some(make::ms(100)),
            lease_ttl: Some(make::ms(1000)),
            ..Default::default()
        };
        let leased = match timeout(CALL_MAX, stub.lease_tasks(request)).await {
            Ok(Ok(leased)) => leased,
            Ok(Err(_status)) => return,
            Err(_elapsed) => return *stub = WorkerServiceClient::new(self.context.channel()),
        };
        for delivery in leased.into_inner().deliveries {
            let mut held = Held::of(&self.context, delivery, &mut self.dice);
            // Sometimes a worker forgets what it holds.
            if self.context.stumbles(phase, &mut self.dice, 15) {
                held.abandon(&self.context);
                continue;
            }
            held.choose(phase, &mut self.dice);
            self.unreported.push(held);
        }
    }

    async fn report(&mut self, stub: &mut WorkerServiceClient<Channel>) {
        if self.unreported.is_empty() {
            return;
        }
        let held = self.unreported.iter();
        let reports: Vec<_> = held.filter_map(|held| held.send(&self.context)).collect();
        let request = pb::ReportTasksRequest { reports };
        let answer = match timeout(CALL_MAX, stub.report_tasks(request)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_status)) => return,
            // The next call makes a connection of its own: this one may be dead and not know it.
            Err(_elapsed) => return *stub = WorkerServiceClient::new(self.context.channel()),
        };
        let acks = answer.into_inner().acks;
        assert_eq!(acks.len(), self.unreported.len(), "one for each report");
        for (mut held, ack) in self.unreported.drain(..).zip(&acks) {
            assert_eq!(held.token, ack.lease_token, "in the order of the reports");
            held.answered(&self.context, ack);
        }
    }
}
