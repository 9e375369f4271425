//! What a ping found, as values and as Praefect's lines.

use crate::{
    core::ids::{Storage, VirtualStorage},
    transport::InvalidAddress,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// What was found at one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PingReport {
    /// The address, as configured.
    pub address: String,
    /// The storages that are configured there, with the virtual storages that they belong to.
    pub storages: BTreeMap<Storage, BTreeSet<VirtualStorage>>,
    /// Whether a connection was made.
    pub dialed: bool,
    /// Whether it says that it serves.
    pub healthy: bool,
    /// What it says about its storages.
    pub served: Served,
    /// What is wrong; nothing for a node that is well.
    pub problems: Vec<PingProblem>,
    /// How long it all took.
    pub took: Duration,
}

/// What a node says about its storages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Served {
    /// It was not asked, or did not answer: `problems` says why.
    Unknown,
    /// It offers no `ServerInfo`, so nothing is known of its disks. No problem in itself.
    NotOffered,
    /// What it reports, by storage name; storages that are not configured here too.
    Reported(BTreeMap<String, ServedStorage>),
}

/// What a node says about one storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServedStorage {
    /// Whether it can read there.
    pub readable: bool,
    /// Whether it can write there.
    pub writable: bool,
}

/// One thing that is wrong with a node. Its text is Praefect's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PingProblem {
    /// The address is none.
    #[error("dialing failed: {0}")]
    Address(InvalidAddress),
    /// No connection: why, with all causes.
    #[error("dialing failed: {0}")]
    Dial(String),
    /// The health check had no answer: why.
    #[error("unable to request health check: {0}")]
    Health(String),
    /// It answered, and does not serve.
    #[error("health check did not report serving, instead reported: {0}")]
    NotServing(&'static str),
    /// `ServerInfo` had no answer: why.
    #[error("failed to receive state from the remote: {0}")]
    Info(String),
    /// It has no storage at all.
    #[error("remote has no configured storages")]
    NoStorages,
    /// It reports a storage of ours twice, so that neither report can be trusted.
    #[error("remote has duplicated storage: {:?}", .0.as_str())]
    Duplicated(Storage),
    /// It cannot use the storage.
    #[error("storage {:?} is not readable or writable", .0.as_str())]
    NotAccessible(Storage),
    /// It does not have the storage, or not in order.
    #[error("configured storage was not reported by remote: {:?}", .0.as_str())]
    NotReported(Storage),
}

/// Some nodes are not well.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the following nodes are not healthy: {}", addresses.join(", "))]
pub struct PingError {
    /// Their addresses, in order.
    pub addresses: Vec<String>,
}

impl PingError {
    /// What to answer to somebody who wants to know whether all is well.
    pub fn of(reports: &[PingReport]) -> Result<(), PingError> {
        let unwell = reports.iter().filter(|report| !report.is_ok()).map(|report| report.address.clone());
        let addresses: Vec<String> = unwell.collect();
        if addresses.is_empty() { Ok(()) } else { Err(PingError { addresses }) }
    }
}

impl PingReport {
    pub(super) fn new(address: String, storages: BTreeMap<Storage, BTreeSet<VirtualStorage>>) -> Self {
        Self {
            address,
            storages,
            dialed: false,
            healthy: false,
            served: Served::Unknown,
            problems: Vec::new(),
            took: Duration::ZERO,
        }
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.problems.is_empty()
    }

    /// The configured storages that the node serves, readable and writable, reported once.
    pub fn confirmed(&self) -> impl Iterator<Item = (&Storage, &BTreeSet<VirtualStorage>)> {
        self.storages.iter().filter(|(storage, _)| match &self.served {
            Served::Unknown | Served::NotOffered => false,
            Served::Reported(reported) => {
                let usable = reported.get(storage.as_str()).is_some_and(|served| served.readable && served.writable);
                usable && !self.problems.contains(&PingProblem::Duplicated((*storage).clone()))
            }
        })
    }

    /// Holds what the node reports against what is configured.
    pub(super) fn compare(&mut self, answer: impl Iterator<Item = (String, ServedStorage)>) {
        let (mut reported, mut duplicated) = (BTreeMap::new(), BTreeSet::new());
        for (name, served) in answer {
            if reported.insert(name.clone(), served).is_some() {
                duplicated.insert(name);
            }
        }
        if reported.is_empty() {
            self.problems.push(PingProblem::NoStorages);
        }
        for storage in self.storages.keys() {
            let problem = match reported.get(storage.as_str()) {
                _ if duplicated.contains(storage.as_str()) => PingProblem::Duplicated(storage.clone()),
                Some(ServedStorage { readable: true, writable: true }) => continue,
                Some(_) => PingProblem::NotAccessible(storage.clone()),
                None => PingProblem::NotReported(storage.clone()),
            };
            self.problems.push(problem);
        }
        self.served = Served::Reported(reported);
    }

    /// What Praefect's `dial-nodes` prints about a node, line by line.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec!["dialing...".to_owned()];
        if self.dialed {
            lines.push("dialed successfully!".to_owned());
            lines.push("checking health...".to_owned());
        }
        if self.healthy {
            lines.push("SUCCESS: node is healthy!".to_owned());
            lines.push("checking consistency...".to_owned());
        }
        for (storage, clusters) in self.confirmed() {
            let clusters: Vec<&str> = clusters.iter().map(VirtualStorage::as_str).collect();
            lines.push(format!(
                "SUCCESS: confirmed Gitaly storage {:?} in virtual storages [{}] is served",
                storage.as_str(),
                clusters.join(" ")
            ));
        }
        lines.extend(self.problems.iter().map(|problem| format!("ERROR: {problem}")));
        if self.healthy {
            lines.push(match (&self.served, self.is_ok()) {
                (Served::NotOffered, _) => "the node offers no ServerInfo: its storages were not checked".to_owned(),
                (_, true) => "SUCCESS: node configuration is consistent!".to_owned(),
                (_, false) => "ERROR: consistency check failed".to_owned(),
            });
        }
        lines.into_iter().map(|line| format!("[{}]: {line}", self.address)).collect()
    }
}
