//! Beginning and end.

use actix::Message;
use std::collections::BTreeMap;

/// To the HealthManager: remove this supervisor's row and votes. Answers whether the row was still its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Message)]
#[rtype(result = "bool")]
pub struct Leave;

/// To the guardian: how often was each actor rebuilt?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Message)]
#[rtype(result = "BTreeMap<String, u64>")]
pub struct GetRestarts;

/// To the guardian: end all actors, and rebuild none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct StopAll;
