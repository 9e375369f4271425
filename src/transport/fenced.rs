//! A probe that asks the node's fence, too: which cluster it belongs to, and how far its epochs have come.
//!
//! The fence is asked once the node has answered that it serves, within what is left of the probe's time, and over the kept
//! connection: a verdict of death waits for nobody, and a fence that says nothing takes nothing away from a node that
//! serves. What it says is passed on before the probe's answer is, so that nobody votes for a node whose report is not
//! known yet.

use super::{HealthProbe, Words};
use crate::core::{
    evidence::{Evidence, Misconfigured},
    ids::{ClusterId, NodeId},
    prober::Via,
    reports::{FenceReport, Reported},
};
use futures_util::future::BoxFuture;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

/// The fences of one cluster's nodes, as one supervisor hears of them.
#[derive(Debug, Clone)]
pub struct Fences {
    /// The cluster that they belong to.
    pub cluster: ClusterId,
    /// The highest epoch that any of them has accepted.
    pub highest: watch::Sender<Option<Reported>>,
}

/// A node's probe that asks its fence.
pub(crate) struct FencedProbe {
    node: NodeId,
    inner: Arc<dyn HealthProbe>,
    fences: Fences,
    /// Whether the fence is another cluster's, as it last said; `None`: it never said anything.
    foreign: watch::Sender<Option<bool>>,
}

impl Fences {
    /// A node's probe, which asks its fence from now on.
    pub(crate) fn around(&self, inner: Arc<dyn HealthProbe>, node: &NodeId) -> Arc<dyn HealthProbe> {
        let (node, fences, foreign) = (node.clone(), self.clone(), watch::Sender::new(None));
        Arc::new(FencedProbe { node, inner, fences, foreign })
    }

    /// Takes a report in, and answers whether it is another cluster's. What that one has accepted counts for nothing here.
    fn heard(&self, node: &NodeId, report: FenceReport) -> bool {
        if report.is_foreign(&self.cluster) {
            return true;
        }
        if let Some(epoch) = report.highest {
            let reported = Reported { node: node.clone(), epoch };
            self.highest.send_if_modified(|highest| {
                let exceeds = reported.exceeds(highest.as_ref());
                if exceeds {
                    *highest = Some(reported);
                }
                exceeds
            });
        }
        false
    }
}

impl HealthProbe for FencedProbe {
    fn check(&self, via: Via, limit: Duration) -> BoxFuture<'static, Evidence> {
        let (inner, fences, foreign) = (Arc::clone(&self.inner), self.fences.clone(), self.foreign.clone());
        let node = self.node.clone();
        Box::pin(async move {
            let began = Instant::now();
            let evidence = inner.check(via, limit).await;
            if evidence != Evidence::Serving {
                return evidence;
            }
            // A probe over a fresh connection is one that doubts the kept one, over which the fence would be asked.
            let known = *foreign.borrow();
            if via == Via::Kept || known.is_none() {
                // Half of what is left, so that the probe's own answer still comes in time.
                let left = limit.saturating_sub(began.elapsed()) / 2;
                if let Ok(Some(report)) = timeout(left, inner.report(left)).await {
                    foreign.send_replace(Some(fences.heard(&node, report)));
                }
            }
            let is_foreign = *foreign.borrow() == Some(true);
            if is_foreign { Evidence::Misconfigured(Misconfigured::ForeignFence) } else { evidence }
        })
    }
    fn reconnect(&self) {
        self.inner.reconnect();
    }
    fn watch(&self) -> Words {
        self.inner.watch()
    }
    fn host(&self) -> Option<String> {
        self.inner.host()
    }
    fn report(&self, limit: Duration) -> BoxFuture<'static, Option<FenceReport>> {
        self.inner.report(limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{
        epoch::{Epoch, Era},
        evidence::{Hard, Soft},
    };
    use tokio::time::sleep;

    const LIMIT: Duration = Duration::from_millis(300);

    /// A node that takes so long for each answer, and what it answers.
    #[derive(Clone)]
    struct Fake {
        health: (Duration, Evidence),
        fence: (Duration, Option<FenceReport>),
        asked: watch::Sender<u32>,
    }

    impl HealthProbe for Fake {
        fn check(&self, _: Via, timeout: Duration) -> BoxFuture<'static, Evidence> {
            let (takes, evidence) = self.health;
            Box::pin(async move {
                sleep(takes.min(timeout)).await;
                if takes < timeout { evidence } else { Evidence::Soft(Soft::Timeout) }
            })
        }
        fn report(&self, _: Duration) -> BoxFuture<'static, Option<FenceReport>> {
            self.asked.send_modify(|asked| *asked += 1);
            let (takes, report) = self.fence.clone();
            Box::pin(async move {
                sleep(takes).await;
                report
            })
        }
        fn reconnect(&self) {}
        fn watch(&self) -> Words {
            Words::none_offered()
        }
    }

    fn report(cluster: &str, number: i64) -> Option<FenceReport> {
        let highest = Epoch::new(Era(1), number).ok();
        Some(FenceReport { cluster: Some(cluster.parse().unwrap()), highest })
    }
    fn node() -> NodeId {
        NodeId::new("v".parse().unwrap(), "g1".parse().unwrap())
    }
    fn fences() -> Fences {
        Fences { cluster: "here".parse().unwrap(), highest: watch::Sender::new(None) }
    }
    fn fake(evidence: Evidence, takes: Duration, report: Option<FenceReport>) -> Fake {
        Fake { health: (Duration::from_millis(20), evidence), fence: (takes, report), asked: watch::Sender::new(0) }
    }

    #[tokio::test(start_paused = true)]
    async fn a_verdict_of_death_waits_for_no_fence() {
        for evidence in [Evidence::Hard(Hard::NotServing), Evidence::Hard(Hard::Refused)] {
            let node_of = fake(evidence, Duration::from_secs(60), report("here", 5));
            let probe = fences().around(Arc::new(node_of.clone()), &node());
            let began = Instant::now();
            assert_eq!(probe.check(Via::Kept, LIMIT).await, evidence);
            assert_eq!((began.elapsed(), *node_of.asked.borrow()), (Duration::from_millis(20), 0));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_fence_takes_nothing_from_a_node_that_serves_in_time() {
        let probe = fences().around(Arc::new(fake(Evidence::Serving, Duration::from_secs(60), None)), &node());
        let began = Instant::now();
        assert_eq!(probe.check(Via::Kept, LIMIT).await, Evidence::Serving);
        assert!(began.elapsed() < LIMIT, "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_report_is_there_before_the_answer_and_only_the_highest_is_kept() {
        let fences = fences();
        for (number, highest) in [(5, 5), (3, 5), (7, 7)] {
            let fake = fake(Evidence::Serving, Duration::from_millis(1), report("here", number));
            assert_eq!(fences.around(Arc::new(fake), &node()).check(Via::Kept, LIMIT).await, Evidence::Serving);
            let known = fences.highest.borrow().clone().unwrap();
            assert_eq!((known.node, known.epoch.number()), (node(), highest));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn another_clusters_fence_is_misconfigured_over_any_connection_and_its_epochs_count_for_nothing() {
        let fences = fences();
        let fake = fake(Evidence::Serving, Duration::from_millis(1), report("elsewhere", 99));
        let probe = fences.around(Arc::new(fake.clone()), &node());
        for via in [Via::Fresh, Via::Kept, Via::Fresh] {
            assert_eq!(probe.check(via, LIMIT).await, Evidence::Misconfigured(Misconfigured::ForeignFence), "{via:?}");
        }
        assert_eq!(
            (*fake.asked.borrow(), fences.highest.borrow().clone()),
            (2, None),
            "fresh ones ask while nothing is known"
        );
    }
}
