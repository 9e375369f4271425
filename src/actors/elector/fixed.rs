//! The first configured node of each virtual storage, whatever happens (`failover.enabled = false`).
//!
//! It elects nobody, but it does look: while the primary is down it says so, and when it is up again it answers it. In
//! Praefect the health of such nodes is never looked at again after the start (defect B).

use super::{
    super::LocalView,
    asked::{ConfiguredNodes, MAILBOX, Named, Places, nodes_of},
    known::KnownPrimaries,
};
use crate::{
    core::{
        ids::{ClusterId, NodeId, VirtualStorage},
        shard::Shard,
    },
    error::Error,
    messages::election::{GetPrimary, GetShard, PrimaryAnswer},
    store::ElectionStore,
};
use actix::prelude::*;
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;

/// What a [`FixedElector`] is built from, as often as need be.
#[derive(Clone)]
pub struct FixedElectorConfig {
    /// Where a repository that is named by its number is looked up; asked for nothing else.
    pub store: Arc<dyn ElectionStore>,
    /// The cluster that an answer names.
    pub cluster: ClusterId,
    /// The configured nodes; the first of each virtual storage is its primary.
    pub nodes: ConfiguredNodes,
    /// Who is up, published by the HealthManager.
    pub local: watch::Receiver<LocalView>,
    /// Whom the gauge shows: it is told at the start, and when a reload puts another node first.
    pub primaries: KnownPrimaries,
    /// How long one lookup may take.
    pub timeout: Duration,
}

/// The actor: no elections, no epochs.
pub struct FixedElector {
    config: Arc<FixedElectorConfig>,
    places: Places,
}

impl FixedElector {
    /// An elector without any state of its own.
    #[must_use]
    pub fn new(config: FixedElectorConfig) -> Self {
        Self { config: Arc::new(config), places: Places::new() }
    }
}

impl Actor for FixedElector {
    type Context = Context<Self>;
    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(MAILBOX);
        for (virtual_storage, nodes) in self.config.nodes.names() {
            self.config.primaries.hear(&virtual_storage, &nodes, nodes.first(), None);
        }
    }
}

impl Handler<GetShard> for FixedElector {
    type Result = Result<Shard, Error>;
    fn handle(&mut self, GetShard(virtual_storage): GetShard, _: &mut Context<Self>) -> Self::Result {
        self.config.shard(&virtual_storage)
    }
}

impl Handler<GetPrimary> for FixedElector {
    type Result = ResponseFuture<Result<PrimaryAnswer, Error>>;
    fn handle(&mut self, GetPrimary { target, .. }: GetPrimary, _: &mut Context<Self>) -> Self::Result {
        let (config, places) = (Arc::clone(&self.config), self.places.clone());
        let lookup = async move {
            let lookup = async {
                let named = Named::find(&target, &*config.store).await?;
                let shard = config.shard(&named.virtual_storage)?;
                Ok(PrimaryAnswer::fresh(named.primary(config.cluster.clone(), shard)))
            };
            places.run(config.timeout, lookup).await
        };
        Box::pin(lookup)
    }
}

impl FixedElectorConfig {
    fn shard(&self, virtual_storage: &VirtualStorage) -> Result<Shard, Error> {
        let nodes = nodes_of(&self.nodes, virtual_storage)?;
        let storage = nodes.first().cloned().ok_or(Error::NoPrimary)?;
        self.primaries.hear(virtual_storage, &nodes, Some(&storage), None);
        let is_up = self.local.borrow().contains(&NodeId::new(virtual_storage.clone(), storage.clone()));
        if !is_up {
            return Err(Error::PrimaryNotHealthy { storage, epoch: None });
        }
        Ok(Shard::new(virtual_storage.clone(), storage, nodes, None))
    }
}

impl std::fmt::Debug for FixedElector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FixedElector").field("nodes", &self.config.nodes).finish_non_exhaustive()
    }
}
impl std::fmt::Debug for FixedElectorConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FixedElectorConfig").field("nodes", &self.nodes).finish_non_exhaustive()
    }
}
