//! A running supervisor becomes one of another configuration, without a restart.
//!
//! Everything that can fail comes first and changes nothing: the configuration as a whole, what may not change live, and
//! every address and link of the nodes that are new or have moved. What follows cannot fail half-way: actors are told,
//! and one that is being rebuilt just then is rebuilt from the new specs. It goes on in a task of its own, so that a
//! caller who gives up in the middle does not leave it there.
//!
//! No healthy node loses its votes. Those that stay keep their actor, window and vote, also under another address, until
//! something is seen there; the rows of those that come and go are changed under the same incarnation.

use super::{
    Inner, Supervisor, electing,
    nodes::{self, Opened, Wire},
    roster::Roster,
    too_slow_for,
    watchers::Watchers,
};
use crate::{
    actors::NodeNames,
    config::{Config, ConfigError},
    core::ids::NodeId,
    error::Error,
};
use std::{collections::BTreeMap, sync::Arc};
use tokio::sync::watch;

/// What a reload changes, and holds while it does.
pub(super) struct Wires<C> {
    pub(super) nodes: BTreeMap<NodeId, Wire<C>>,
    /// Whom the elector knows.
    pub(super) names: watch::Sender<NodeNames>,
    pub(super) watchers: Watchers,
}

impl<C: Clone + Send + Sync + 'static> Supervisor<C> {
    /// Follows another configuration: nodes are added, taken away, or found under another address or token; intervals,
    /// timeouts and thresholds change. An added node is probed at once; a removed one loses its votes; one that stays
    /// keeps its window and its votes. Which keys are live stands in `docs/configuration.md`.
    ///
    /// All or nothing: with [`Error::Config`], which tells every reason, nothing was changed. Other errors:
    /// [`Error::Stopped`], [`Error::Superseded`]. A reload that is under way is waited for.
    pub async fn reload(&self, config: Config) -> Result<(), Error> {
        config.validate()?;
        let inner = Arc::clone(&self.inner);
        tokio::spawn(async move { inner.reload(config).await }).await.map_err(|_| Error::Stopped)?
    }
}

impl<C: Clone + Send + Sync + 'static> Inner<C> {
    async fn reload(&self, config: Config) -> Result<(), Error> {
        let mut wires = self.wires.lock().await;
        if let Some(end) = *self.cells.ended.borrow() {
            return Err(super::ended_as(end));
        }
        let mut problems = self.config.borrow().not_live(&config);
        problems.extend(too_slow_for(config.heartbeat, &self.cells.settings.borrow().settings));
        let fresh =
            config.nodes().filter(|(node, config)| wires.nodes.get(node).is_none_or(|wire| wire.config != **config));
        let opened = match nodes::open(self.transport.as_ref(), fresh) {
            Ok(opened) => opened,
            Err(error) => {
                problems.extend(error.problems);
                Vec::new()
            }
        };
        if !problems.is_empty() {
            return Err(ConfigError { problems }.into());
        }
        self.apply(&mut wires, config, opened).await
    }

    async fn apply(&self, wires: &mut Wires<C>, config: Config, opened: Vec<Opened<C>>) -> Result<(), Error> {
        let order: Vec<NodeId> = config.nodes().map(|(node, _)| node).collect();
        let following = wires.watchers.follow(&config, &order, opened.iter().map(Opened::found).collect());
        let mut opened: BTreeMap<NodeId, _> = opened.into_iter().map(|one| (one.node.clone(), one)).collect();
        let mut before = std::mem::take(&mut wires.nodes);
        for node in &order {
            let wire = match (before.remove(node), opened.remove(node)) {
                (Some(mut wire), moved) => {
                    wire.change(&config, moved);
                    wire
                }
                (None, Some(added)) => Wire::new(added, &config, &self.cells, &wires.watchers),
                (None, None) => continue,
            };
            wires.nodes.insert(node.clone(), wire);
        }
        wires.names.send_replace(electing::names(&config));
        self.nodes.send_replace(Roster::new(&order, &wires.nodes));
        self.config.send_replace(Arc::new(config));
        following.tell(&self.guardian).await
    }
}
