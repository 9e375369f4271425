//! What is done to a cluster.

use crate::{
    cluster::{Failure, wire::Order, world::World},
    network::Network,
};
use quorate::core::ids::Storage;
use serde::Serialize;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Fault {
    /// SIGKILL of the primary.
    Kill,
    /// SIGSTOP of the primary: silence.
    Freeze,
    /// The primary says that it no longer serves.
    NotServing,
    /// The primary stops gracefully.
    Stop,
    /// Nothing that is sent to the primary arrives: silence of another kind.
    Drop,
    /// SIGKILL of a supervisor: nothing may move.
    Supervisor,
    /// The database crashes and is started again: nothing may move.
    Database,
}

impl Fault {
    pub(crate) const ALL: [Fault; 7] =
        [Fault::Kill, Fault::Freeze, Fault::NotServing, Fault::Stop, Fault::Drop, Fault::Supervisor, Fault::Database];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Fault::Kill => "kill",
            Fault::Freeze => "freeze",
            Fault::NotServing => "not-serving",
            Fault::Stop => "stop",
            Fault::Drop => "drop",
            Fault::Supervisor => "supervisor",
            Fault::Database => "database",
        }
    }

    /// Whether another primary is due after it.
    pub(crate) fn deposes(self) -> bool {
        !matches!(self, Fault::Supervisor | Fault::Database)
    }

    /// Does it to a node.
    pub(crate) async fn strike(
        self,
        world: &mut World,
        node: &Storage,
        network: Option<&Network>,
    ) -> Result<(), Failure> {
        let node = world.node_mut(node)?;
        match self {
            Fault::Kill => node.kill(),
            Fault::Freeze => node.freeze(),
            Fault::NotServing => node.tell(Order::Serve(false)).await,
            Fault::Stop => node.tell(Order::Stop).await,
            Fault::Drop => network.ok_or("there is no network to drop from")?.drop_to(node.spec.address.ip()),
            Fault::Supervisor | Fault::Database => Err("not a fault of a node".into()),
        }
    }

    /// Undoes it.
    pub(crate) async fn heal(
        self,
        world: &mut World,
        node: &Storage,
        network: Option<&Network>,
    ) -> Result<(), Failure> {
        let node = world.node_mut(node)?;
        match self {
            Fault::Kill | Fault::Stop => {
                node.gone().await?;
                node.restart().await
            }
            Fault::Freeze => node.thaw(),
            Fault::NotServing => node.tell(Order::Serve(true)).await,
            Fault::Drop => network.ok_or("there is no network to heal")?.heal(node.spec.address.ip()),
            Fault::Supervisor | Fault::Database => Err("not a fault of a node".into()),
        }
    }
}
