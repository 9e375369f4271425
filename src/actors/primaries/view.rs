//! What a supervisor believes of its nodes and of itself, as lookups need it.
//!
//! A lookup asks the cells themselves whether they have changed, and brings this up to date before it answers. Nobody has to
//! be told first: a question that was waiting in a mailbox while the consensus changed is answered by the new one (D18).

use super::super::cells::{Cells, LocalView};
use crate::core::{
    consensus::Consensus,
    election::Primary,
    ids::{Incarnation, NodeId, Storage, VirtualStorage, Voter},
    quorum::Verdict,
    reports::Behind,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use tokio::sync::watch;

/// The cells that decide whether a remembered primary may be answered.
#[derive(Debug, Clone)]
pub struct Beliefs {
    /// The last published consensus: nobody who is unhealthy by it is answered.
    pub consensus: watch::Receiver<Option<Arc<Consensus>>>,
    /// The registration that may act. When it changes everything is forgotten; without one nothing is believed.
    pub voter: watch::Receiver<Option<Voter>>,
    /// Who is up, as this supervisor itself sees it: what counts while the database is down.
    pub local: watch::Receiver<LocalView>,
    /// What nodes know that the database does not: nothing is remembered, and nothing believed, while there is anything.
    pub behind: watch::Receiver<Option<Behind>>,
}

impl Beliefs {
    /// Those of one supervisor.
    #[must_use]
    pub fn of(cells: &Cells) -> Beliefs {
        Beliefs {
            consensus: cells.consensus.subscribe(),
            voter: cells.voter.subscribe(),
            local: cells.local.subscribe(),
            behind: cells.behind.subscribe(),
        }
    }
}

/// What stood in the cells when they were last looked at.
pub(super) struct View {
    cells: Beliefs,
    pub(super) registered: Option<Incarnation>,
    pub(super) behind: bool,
    unhealthy: BTreeMap<VirtualStorage, BTreeSet<Storage>>,
}

impl View {
    pub(super) fn of(mut cells: Beliefs) -> View {
        let registered = cells.voter.borrow_and_update().as_ref().map(|voter| voter.incarnation);
        let behind = cells.behind.borrow_and_update().is_some();
        let known = cells.consensus.borrow_and_update().clone();
        let mut unhealthy = BTreeMap::<_, BTreeSet<_>>::new();
        for (node, known) in known.iter().flat_map(|known| &known.nodes) {
            if known.verdict == Verdict::Unhealthy {
                unhealthy.entry(node.virtual_storage.clone()).or_default().insert(node.storage.clone());
            }
        }
        View { cells, registered, behind, unhealthy }
    }

    /// What stands in the cells now.
    pub(super) fn renewed(&self) -> View {
        View::of(self.cells.clone())
    }

    /// Whether the cells have changed since. Cells without a writer change no more.
    pub(super) fn is_outdated(&self) -> bool {
        self.cells.voter.has_changed().unwrap_or(false)
            || self.cells.consensus.has_changed().unwrap_or(false)
            || self.cells.behind.has_changed().unwrap_or(false)
    }

    /// Whether there is a registration, and somebody who would say if that ended, on a database that is not behind.
    pub(super) fn may_believe(&self) -> bool {
        self.registered.is_some() && !self.behind && self.cells.voter.has_changed().is_ok()
    }

    pub(super) fn holds_unhealthy(&self, primary: &Primary) -> bool {
        // Almost always nobody is.
        !self.unhealthy.is_empty()
            && self.unhealthy.get(&primary.virtual_storage).is_some_and(|here| here.contains(&primary.storage))
    }

    pub(super) fn sees_up(&self, primary: &Primary) -> bool {
        let node = NodeId::new(primary.virtual_storage.clone(), primary.storage.clone());
        self.cells.local.borrow().contains(&node)
    }
}
