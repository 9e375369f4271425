//! One primary for each virtual storage, in the memory of one supervisor (Praefect's `local` elector).
//!
//! For a supervisor that is alone: two of them would not agree, and nothing would tell. It rests on this supervisor's own
//! view, asks no database, and gives no epoch. It looks when it is asked, not on a timer: a node that was down and is up
//! again before anybody asked has harmed nobody.

use super::{
    super::LocalView,
    asked::{ConfiguredNodes, MAILBOX, Named, Places, nodes_of},
    known::KnownPrimaries,
};
use crate::{
    core::{
        election::choose_local,
        ids::{ClusterId, NodeId, Storage, VirtualStorage},
        shard::Shard,
    },
    error::Error,
    messages::election::{GetPrimary, GetShard, PrimaryAnswer},
    store::ElectionStore,
};
use actix::prelude::*;
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;

/// What a [`LocalElector`] is built from, as often as need be.
#[derive(Clone)]
pub struct LocalElectorConfig {
    /// Where a repository that is named by its number is looked up; asked for nothing else.
    pub store: Arc<dyn ElectionStore>,
    /// The cluster that an answer names.
    pub cluster: ClusterId,
    /// The configured nodes; the first of each virtual storage is primary from the start.
    pub nodes: ConfiguredNodes,
    /// Who is up, published by the HealthManager.
    pub local: watch::Receiver<LocalView>,
    /// Who is primary.
    pub primaries: KnownPrimaries,
    /// How long one lookup may take.
    pub timeout: Duration,
}

/// The actor: the primary stays while it is up; there is no way back.
pub struct LocalElector {
    config: Arc<LocalElectorConfig>,
    places: Places,
}

impl LocalElector {
    /// An elector on these primaries.
    #[must_use]
    pub fn new(config: LocalElectorConfig) -> Self {
        Self { config: Arc::new(config), places: Places::new() }
    }
}

impl Actor for LocalElector {
    type Context = Context<Self>;
    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(MAILBOX);
    }
}

impl Handler<GetShard> for LocalElector {
    type Result = Result<Shard, Error>;
    fn handle(&mut self, GetShard(virtual_storage): GetShard, _: &mut Context<Self>) -> Self::Result {
        self.config.shard(&virtual_storage)
    }
}

impl Handler<GetPrimary> for LocalElector {
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

impl LocalElectorConfig {
    fn shard(&self, virtual_storage: &VirtualStorage) -> Result<Shard, Error> {
        let nodes = nodes_of(&self.nodes, virtual_storage)?;
        let up = Arc::clone(&self.local.borrow());
        let is_up = |storage: &Storage| up.contains(&NodeId::new(virtual_storage.clone(), storage.clone()));
        let recorded = self.primaries.of(virtual_storage);
        let chosen = choose_local(recorded.as_ref(), &nodes, is_up);
        // Who is down and has no successor stays, and says so.
        let storage = chosen.clone().or(recorded).or_else(|| nodes.first().cloned()).ok_or(Error::NoPrimary)?;
        self.primaries.hear(virtual_storage, &nodes, Some(&storage), None);
        if chosen.is_none() {
            return Err(Error::PrimaryNotHealthy { storage, epoch: None });
        }
        Ok(Shard::new(virtual_storage.clone(), storage, nodes.clone(), None))
    }
}

impl std::fmt::Debug for LocalElector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalElector").field("primaries", &self.config.primaries).finish_non_exhaustive()
    }
}
impl std::fmt::Debug for LocalElectorConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalElectorConfig").field("nodes", &self.nodes).finish_non_exhaustive()
    }
}
