//! A running supervisor becomes one of another configuration, without a restart.
//!
//! Everything that can fail comes first and changes nothing: the configuration as a whole, what may not change live, and
//! every address and link of the nodes that are new or have moved. What follows cannot fail half-way: actors are told,
//! and one that is being rebuilt just then is rebuilt from the new specs. It goes on in a task of its own, so that a
//! caller who gives up in the middle does not leave it there.
//!
//! No healthy node loses its votes. Those that stay keep their actor, window and vote, also under another address, until
//! something is seen there; the rows of those that come and go are changed under the same incarnation.

use super::{Inner, Supervisor, electing, roster::Roster, too_slow_for, wiring};
use crate::{
    actors::{Change, HealthManagerConfig, NodeNames, Reconfigure, Relay},
    config::{Config, ConfigError},
    core::ids::NodeId,
    error::Error,
    supervisor::nodes::{self, Neighbours, Opened, Wire},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::{sync::watch, time::timeout};

/// How long one actor may take to hear of it. One that takes longer is being rebuilt, and hears of it then.
const PATIENCE: Duration = Duration::from_secs(1);

/// What a reload changes, and holds while it does.
pub(super) struct Wires<C> {
    pub(super) nodes: BTreeMap<NodeId, Wire<C>>,
    /// Whom the elector knows.
    pub(super) names: watch::Sender<NodeNames>,
    pub(super) neighbours: Neighbours,
    /// What the HealthManager is built from, as often as need be.
    pub(super) manager: watch::Sender<HealthManagerConfig>,
    pub(super) reconfigure: Relay<Reconfigure<HealthManagerConfig>>,
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
        let in_rounds = wires.neighbours.in_rounds;
        let (mut told, mut change) = (Vec::new(), Change { add: Vec::new(), remove: Vec::new() });
        let mut moved: BTreeMap<NodeId, Opened<C>> = BTreeMap::new();
        for opened in opened {
            if wires.nodes.contains_key(&opened.node) {
                moved.insert(opened.node.clone(), opened);
            } else {
                let (wire, child) = Wire::new(opened, &config, &self.cells, &wires.neighbours);
                wires.nodes.insert(wire.watched.node.clone(), wire);
                change.add.push(child);
            }
        }
        let wanted: Vec<NodeId> = config.nodes().map(|(node, _)| node).collect();
        let staying: BTreeSet<&NodeId> = wanted.iter().collect();
        wires.nodes.retain(|node, wire| {
            let stays = staying.contains(node);
            if !stays {
                change.remove.push(wire.child.clone());
            }
            stays
        });
        for (node, wire) in &mut wires.nodes {
            told.push(wire.change(&config, &wires.neighbours, moved.remove(node)));
        }
        let manager = wiring::followed(&wires.manager.borrow(), &config, in_rounds, &wanted, &wires.nodes);
        wires.manager.send_replace(manager.clone());
        wires.names.send_replace(electing::names(&config));
        self.nodes.send_replace(Roster::new(&wanted, &wires.nodes));
        self.config.send_replace(Arc::new(config));
        // The HealthManager first: it does not listen to actors whose node it does not watch yet.
        let _ = timeout(PATIENCE, wires.reconfigure.send(Reconfigure(manager))).await;
        for (actor, spec) in told {
            let _ = timeout(PATIENCE, actor.send(spec)).await;
        }
        self.guardian.send(change).await.map_err(|_| Error::Stopped)
    }
}
