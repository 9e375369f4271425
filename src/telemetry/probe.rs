//! A probe that is measured: whoever probes a node, and in whichever profile, it is told.

use super::Meter;
use crate::{
    core::{evidence::Evidence, ids::NodeId, prober::Via, reports::FenceReport},
    transport::{HealthProbe, Words},
};
use futures_util::future::BoxFuture;
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// A node's probe with a meter around it.
pub(crate) struct MeteredProbe {
    node: NodeId,
    inner: Arc<dyn HealthProbe>,
    meter: Meter,
}

impl MeteredProbe {
    /// The probe itself if nobody hears the meter.
    pub(crate) fn around(inner: Arc<dyn HealthProbe>, node: &NodeId, meter: &Meter) -> Arc<dyn HealthProbe> {
        if !meter.is_on() {
            return inner;
        }
        Arc::new(Self { node: node.clone(), inner, meter: meter.clone() })
    }
}

impl HealthProbe for MeteredProbe {
    fn check(&self, via: Via, timeout: Duration) -> BoxFuture<'static, Evidence> {
        let (answer, node, meter) = (self.inner.check(via, timeout), self.node.clone(), self.meter.clone());
        Box::pin(async move {
            let began = Instant::now();
            let evidence = answer.await;
            meter.probed(&node, evidence, began.elapsed());
            evidence
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
