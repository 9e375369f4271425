//! A manager that answers as the test says, for code that is handed a [`Manager`].

use super::node::MockNode;
use crate::{
    actors::NodeHandle,
    core::{
        election::{Primary, Target},
        ids::VirtualStorage,
    },
    error::Error,
    manager::{Manager, Reply, Shard},
    messages::health::HealthyNodes,
};
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// What a [`MockManager`] was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// [`Manager::shard`].
    Shard(VirtualStorage),
    /// [`Manager::shard_of`].
    ShardOf(Target),
    /// [`Manager::primary`].
    Primary(Target),
    /// [`Manager::synced_node`].
    SyncedNode(Target),
    /// [`Manager::healthy_nodes`].
    HealthyNodes,
    /// [`Manager::nodes`].
    Nodes,
}

type Answers<A, T> = Box<dyn Fn(&A) -> Result<T, Error> + Send + Sync>;

/// A manager whose answers are functions of the question: errors are no values to be kept. What has no answer panics with
/// the question. It records what it was asked.
///
/// ```no_run
/// # use quorate::{Error, Manager, core::{election::Target, ids::NodeId}, testing::{manager::MockManager, node::MockNode}};
/// # async fn test(g1: NodeId, target: Target) {
/// let node = MockNode::start(g1, ());
/// let handle = node.handle();
/// let manager = MockManager::new([node]).on_synced_node(move |_| Ok(handle.clone())).on_primary(|_| Err(Error::NoPrimary));
/// let read_from = manager.synced_node(&target).await;
/// # }
/// ```
pub struct MockManager<C> {
    mocks: Vec<MockNode<C>>,
    calls: Mutex<Vec<Call>>,
    shard: Option<Answers<VirtualStorage, Shard<C>>>,
    shard_of: Option<Answers<Target, Shard<C>>>,
    primary: Option<Answers<Target, Primary>>,
    synced_node: Option<Answers<Target, NodeHandle<C>>>,
}

impl<C: Clone + Send + Sync + 'static> MockManager<C> {
    /// A manager of these nodes, in this order, without answers.
    #[must_use]
    pub fn new(nodes: impl IntoIterator<Item = MockNode<C>>) -> Self {
        Self {
            mocks: nodes.into_iter().collect(),
            calls: Mutex::default(),
            shard: None,
            shard_of: None,
            primary: None,
            synced_node: None,
        }
    }
    /// Answers [`Manager::shard`] so.
    #[must_use]
    pub fn on_shard(
        mut self,
        answer: impl Fn(&VirtualStorage) -> Result<Shard<C>, Error> + Send + Sync + 'static,
    ) -> Self {
        self.shard = Some(Box::new(answer));
        self
    }
    /// Answers [`Manager::shard_of`] so.
    #[must_use]
    pub fn on_shard_of(mut self, answer: impl Fn(&Target) -> Result<Shard<C>, Error> + Send + Sync + 'static) -> Self {
        self.shard_of = Some(Box::new(answer));
        self
    }
    /// Answers [`Manager::primary`] so.
    #[must_use]
    pub fn on_primary(mut self, answer: impl Fn(&Target) -> Result<Primary, Error> + Send + Sync + 'static) -> Self {
        self.primary = Some(Box::new(answer));
        self
    }
    /// Answers [`Manager::synced_node`] so.
    #[must_use]
    pub fn on_synced_node(
        mut self,
        answer: impl Fn(&Target) -> Result<NodeHandle<C>, Error> + Send + Sync + 'static,
    ) -> Self {
        self.synced_node = Some(Box::new(answer));
        self
    }

    /// The nodes, to change them.
    #[must_use]
    pub fn mocks(&self) -> &[MockNode<C>] {
        &self.mocks
    }
    /// What it was asked so far, in order.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.asked().clone()
    }

    fn asked(&self) -> MutexGuard<'_, Vec<Call>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer<'a, A, T: Send + 'a>(&self, call: Call, answers: Option<&Answers<A, T>>, asked: &A) -> Reply<'a, T> {
        let answer = match answers {
            Some(answer) => answer(asked),
            None => panic!("the mock manager has no answer to {call:?}: give it one with its `on_` method"),
        };
        self.asked().push(call);
        Box::pin(async { answer })
    }
}

impl<C: Clone + Send + Sync + 'static> Manager<C> for MockManager<C> {
    fn shard<'a>(&'a self, virtual_storage: &'a VirtualStorage) -> Reply<'a, Shard<C>> {
        self.answer(Call::Shard(virtual_storage.clone()), self.shard.as_ref(), virtual_storage)
    }
    fn shard_of<'a>(&'a self, target: &'a Target) -> Reply<'a, Shard<C>> {
        self.answer(Call::ShardOf(target.clone()), self.shard_of.as_ref(), target)
    }
    fn primary<'a>(&'a self, target: &'a Target) -> Reply<'a, Primary> {
        self.answer(Call::Primary(target.clone()), self.primary.as_ref(), target)
    }
    fn synced_node<'a>(&'a self, target: &'a Target) -> Reply<'a, NodeHandle<C>> {
        self.answer(Call::SyncedNode(target.clone()), self.synced_node.as_ref(), target)
    }
    fn healthy_nodes(&self) -> HealthyNodes {
        self.asked().push(Call::HealthyNodes);
        let mut all = BTreeMap::<_, Vec<_>>::new();
        for node in self.mocks.iter().map(MockNode::handle) {
            let here = all.entry(node.node().virtual_storage.clone()).or_default();
            here.extend(node.is_healthy().then(|| node.storage().clone()));
        }
        HealthyNodes(all)
    }
    fn nodes(&self) -> BTreeMap<VirtualStorage, Vec<NodeHandle<C>>> {
        self.asked().push(Call::Nodes);
        let mut all = BTreeMap::<_, Vec<_>>::new();
        for node in self.mocks.iter().map(MockNode::handle) {
            all.entry(node.node().virtual_storage.clone()).or_default().push(node);
        }
        all
    }
}

impl<C> std::fmt::Debug for MockManager<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MockManager").field("calls", &self.calls).finish_non_exhaustive()
    }
}
