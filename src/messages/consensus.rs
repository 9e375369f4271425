//! How nodes are, as the quorum sees it.

use crate::core::consensus::Consensus;
use actix::{Message, Recipient};
use std::sync::Arc;

/// To the HealthManager: the last published consensus; `None` before the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Message)]
#[rtype(result = "Option<Arc<Consensus>>")]
pub struct GetHealthConsensus;

/// To the notifier: tell this recipient of every change from now on, and of the last one at once. Answers `false` if
/// there are too many subscribers. A recipient whose actor died is forgotten.
#[derive(Clone, Message)]
#[rtype(result = "bool")]
pub struct Subscribe(pub Recipient<ConsensusChanged>);

impl std::fmt::Debug for Subscribe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Subscribe").finish_non_exhaustive()
    }
}

/// The quorum's view changed. The whole view, with its revision: whoever missed one is healed by the next, and an
/// older revision than the last seen is never sent. Intermediate ones may be missed, the last one never.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct ConsensusChanged(pub Arc<Consensus>);
