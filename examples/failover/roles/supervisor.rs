//! The supervisor: the library in an actix system, asked and heard through standard input and output.

use super::{listen_to_parent, say, tell};
use crate::cluster::{
    Failure,
    clock::now_us,
    wire::{
        Answer, Change, Elected, Facts, Line, Moved, NodeSpec, Op, Outcome, Place, Polled, Refusal, Request,
        VIRTUAL_STORAGE, View, What,
    },
};
use actix::prelude::*;
use futures_util::{StreamExt, TryStreamExt};
use quorate::{
    Config, Error, Supervisor,
    config::{NodeConfig, VirtualStorageConfig},
    core::{
        election::Target,
        ids::{NodeId, RelativePath, RepositoryId, Storage, SupervisorName, VirtualStorage, Voter},
        settings::Profile,
    },
    messages::consensus::ConsensusChanged,
    store::{NewRepository, PrimaryChange, StorageChange},
};
use serde::Serialize;
use std::{collections::BTreeMap, time::Duration};

/// Between two attempts at what may take a while: a registration that may come back, a lock that may be let go of.
const PAUSE: Duration = Duration::from_millis(100);
/// Between two lookups of one that waits for another primary: what such a moment is known to.
const ASKED_EVERY: Duration = Duration::from_millis(1);
/// Repositories that are created at the same time.
const CREATES: usize = 8;
/// More changes than a run makes.
const HISTORY: u32 = 1_000;

/// What the supervisor is told on its command line.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) name: SupervisorName,
    pub(crate) database: String,
    pub(crate) profile: Profile,
    pub(crate) nodes: Vec<NodeSpec>,
}

/// Supervises until it is told to stop, or until the parent ends: then at once, for nobody is left to say goodbye to.
pub(crate) async fn run(settings: Settings) -> Result<(), Failure> {
    let mut parent = listen_to_parent()?;
    let mut config = Config::new(settings.profile, settings.database);
    config.name = Some(settings.name);
    let nodes = settings.nodes.iter();
    let nodes = nodes.map(|node| NodeConfig::new(node.storage.clone(), node.address())).collect();
    let cluster = VirtualStorageConfig::new(VirtualStorage::new(VIRTUAL_STORAGE)?);
    config.virtual_storages = vec![VirtualStorageConfig { nodes, ..cluster }];
    let supervisor = match Supervisor::start(config).await {
        Ok(supervisor) => supervisor,
        Err(error) => {
            tell(What::Ended { reason: kind(&error).into(), message: chain(&error) });
            return Err(error.into());
        }
    };
    supervisor.subscribe(Herald.start().recipient()).await?;
    tell(What::Ready);
    actix::spawn(watch_the_end(supervisor.clone()));
    while let Some(line) = parent.recv().await {
        let Request { id, op } = serde_json::from_str(&line)?;
        let supervisor = supervisor.clone();
        let stop = matches!(op, Op::Stop);
        let answered = actix::spawn(async move {
            let outcome = match perform(&supervisor, op).await {
                Ok(value) => Outcome::Ok(value),
                Err(refusal) => Outcome::Error(refusal),
            };
            say(&Line::Answer(Answer { id, at_us: now_us(), outcome }));
        });
        if stop {
            answered.await?;
            return Ok(());
        }
    }
    Ok(())
}

/// Hears of every change of the consensus, like any actor of an application would.
struct Herald;

impl Actor for Herald {
    type Context = Context<Self>;
}

impl Handler<ConsensusChanged> for Herald {
    type Result = ();
    fn handle(&mut self, ConsensusChanged(consensus): ConsensusChanged, _: &mut Context<Self>) {
        let nodes = consensus.nodes.iter();
        let nodes =
            nodes.map(|(node, known)| (node.storage.clone(), View { verdict: known.verdict, tally: known.tally }));
        tell(What::Consensus { revision: consensus.revision.0, nodes: nodes.collect() });
    }
}

/// Tells the parent when this supervisor has stopped voting for good.
async fn watch_the_end(supervisor: Supervisor) {
    loop {
        actix::clock::sleep(PAUSE).await;
        if supervisor.voter().is_some() {
            continue;
        }
        // Any lookup says so; this one finds nothing otherwise.
        if let Err(error @ (Error::Superseded { .. } | Error::NameInUse { .. })) =
            supervisor.primary(&Target::Id(RepositoryId(0))).await
        {
            return tell(What::Ended { reason: kind(&error).into(), message: chain(&error) });
        }
    }
}

async fn perform(supervisor: &Supervisor, op: Op) -> Result<serde_json::Value, Refusal> {
    let virtual_storage = VirtualStorage::new(VIRTUAL_STORAGE).map_err(|error| refused("bad_name", &error))?;
    let target = |path| Target::Path(virtual_storage.clone(), path);
    let answer = |result: Result<(), Error>| result.map_err(|error| refusal(&error)).and_then(|()| value(&()));
    match op {
        Op::Primary { path } => {
            let primary = supervisor.primary(&target(path)).await.map_err(|error| refusal(&error))?;
            let healthy = supervisor.healthy_nodes().0.remove(&virtual_storage).unwrap_or_default();
            value(&Elected { primary, healthy: healthy.into_iter().collect() })
        }
        Op::Moved { path, from, within_ms } => value(&moved(supervisor, target(path), from, within_ms).await?),
        Op::Poll { path, for_ms } => value(&poll(supervisor, target(path), for_ms).await),
        Op::RepositoriesCreate { prefix, count, replicas } => {
            let created = futures_util::stream::iter(0..count).map(Ok).try_for_each_concurrent(CREATES, |number| {
                let led_by = usize::try_from(number).ok().and_then(|at| at.checked_rem(replicas.len()));
                let primary = led_by.and_then(|at| replicas.get(at)).cloned();
                let (virtual_storage, replicas) = (virtual_storage.clone(), replicas.clone());
                let path = RelativePath::new(format!("{prefix}{number}.git"));
                async move {
                    let path = path.map_err(|error| refused("bad_name", &error))?;
                    let new = NewRepository { primary, ..NewRepository::new(virtual_storage, path, replicas) };
                    loop {
                        match supervisor.repository_create(&new).await {
                            // Nothing was changed, and trying again may help: a lock that was held for too long.
                            Err(error) if error.is_retryable() => actix::clock::sleep(PAUSE).await,
                            done => return done.map(|_| ()).map_err(|error| refusal(&error)),
                        }
                    }
                }
            });
            value(&created.await?)
        }
        Op::GenerationIncrement { repository, fence, acknowledged } => {
            let done = supervisor.generation_increment(repository, Some(&fence), &acknowledged).await;
            value(&done.map_err(|error| refusal(&error))?)
        }
        Op::GenerationSet { repository, fence, storage, generation } => {
            answer(supervisor.generation_set(repository, Some(&fence), &storage, generation).await)
        }
        Op::RepositoryCreate { path, replicas, primary } => {
            let new = NewRepository { primary, ..NewRepository::new(virtual_storage, path, replicas) };
            let created = supervisor.repository_create(&new).await.map_err(|error| refusal(&error))?;
            value(&created.repository)
        }
        Op::Repository { path } => {
            let read = supervisor.repository(&target(path)).await.map_err(|error| refusal(&error))?;
            let facts = read.facts;
            let replicas = facts.replicas.into_iter().map(|replica| (replica.storage, replica.generation));
            // One that abstains has no vote.
            let voters = facts.supervisors.into_iter().filter(|row| !row.recused);
            let voters: Vec<_> = voters.map(|row| Voter { name: row.name, incarnation: row.incarnation }).collect();
            let mut votes: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
            for vote in facts.votes {
                let current =
                    |voter: &Voter| voter.name == vote.supervisor && Some(voter.incarnation) == vote.incarnation;
                if let Some(opinion) = vote.opinion.filter(|_| voters.iter().any(current)) {
                    votes.entry(vote.node.storage).or_default().insert(vote.supervisor, opinion);
                }
            }
            value(&Facts {
                votes,
                repository: facts.repository,
                generation: facts.generation,
                primary: facts.primary,
                epoch: facts.epoch,
                replicas: replicas.collect(),
                voters,
            })
        }
        Op::SyncedNode { path } => {
            let handle = supervisor.synced_node(&target(path)).await.map_err(|error| refusal(&error))?;
            value(&Place { storage: handle.storage().clone() })
        }
        Op::History { repository } => {
            let changes = supervisor.primary_history(repository, HISTORY).await.map_err(|error| refusal(&error))?;
            value(&changes.into_iter().map(change).collect::<Vec<_>>())
        }
        Op::Priority { storage, priority } => {
            let change = StorageChange { priority: Some(priority), ..StorageChange::default() };
            answer(supervisor.storage_update(&NodeId::new(virtual_storage, storage), change).await)
        }
        Op::Voter => value(&supervisor.voter()),
        Op::Stop => {
            supervisor.stop().await;
            value(&())
        }
    }
}

/// Asks until another primary is answered.
async fn moved(supervisor: &Supervisor, target: Target, from: Storage, within_ms: u64) -> Result<Moved, Refusal> {
    let (mut lookups, mut failed, mut last_error) = (0, 0, None);
    let asking = async {
        loop {
            lookups += 1;
            match supervisor.primary(&target).await {
                Ok(primary) if primary.storage != from => return primary.storage,
                Ok(_) => {}
                Err(error) => {
                    failed += 1;
                    last_error = Some(chain(&error));
                }
            }
            actix::clock::sleep(ASKED_EVERY).await;
        }
    };
    match actix::clock::timeout(Duration::from_millis(within_ms), asking).await {
        Ok(to) => Ok(Moved { at_us: now_us(), to, lookups, failed, last_error }),
        Err(_) => {
            let message = format!("{from} was primary for {within_ms} ms; last: {last_error:?}");
            Err(Refusal { kind: "not_moved".into(), message, retryable: false })
        }
    }
}

/// Asks for a while.
async fn poll(supervisor: &Supervisor, target: Target, for_ms: u64) -> Polled {
    let end_us = now_us().saturating_add(for_ms.saturating_mul(1_000));
    let (mut last_us, mut told) = (now_us(), Polled::default());
    while last_us.max(now_us()) < end_us {
        told.lookups += 1;
        match supervisor.primary(&target).await {
            Ok(primary) => {
                told.longest_gap_us = told.longest_gap_us.max(now_us().saturating_sub(last_us));
                last_us = now_us();
                told.primaries.insert(primary.storage);
            }
            Err(error) => {
                told.failed += 1;
                told.last_error = Some(chain(&error));
            }
        }
        actix::clock::sleep(ASKED_EVERY).await;
    }
    told.longest_gap_us = told.longest_gap_us.max(now_us().saturating_sub(last_us));
    told
}

fn change(change: PrimaryChange) -> Change {
    let evidence = change.evidence.as_deref().and_then(|text| serde_json::from_str::<serde_json::Value>(text).ok());
    let votes = evidence.as_ref().and_then(|evidence| evidence["votes"].as_array()).into_iter().flatten();
    let about = change.previous.as_ref().map(|storage| storage.as_str());
    let votes = votes.filter(|vote| vote["node"]["storage"].as_str() == about).filter_map(|vote| {
        let name = SupervisorName::new(vote["supervisor"].as_str()?).ok()?;
        Some((name, vote["opinion"].as_str()?.to_owned()))
    });
    Change {
        votes: votes.collect(),
        epoch: change.epoch,
        previous: change.previous,
        current: change.current,
        why: change.why,
        supervisor: change.supervisor,
    }
}

fn value(of: &impl Serialize) -> Result<serde_json::Value, Refusal> {
    serde_json::to_value(of).map_err(|error| refused("json", &error))
}

fn refused(kind: &str, error: &dyn std::error::Error) -> Refusal {
    Refusal { kind: kind.into(), message: error.to_string(), retryable: false }
}

fn refusal(error: &Error) -> Refusal {
    Refusal { kind: kind(error).into(), message: chain(error), retryable: error.is_retryable() }
}

/// An error with everything beneath it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(beneath) = cause {
        text = format!("{text}: {beneath}");
        cause = beneath.source();
    }
    text
}

/// One word for those who act on it.
fn kind(error: &Error) -> &'static str {
    match error {
        Error::Config(_) => "config",
        Error::VirtualStorageNotFound(_) => "virtual_storage_not_found",
        Error::RepositoryNotFound => "repository_not_found",
        Error::NoPrimary => "no_primary",
        Error::PrimaryNotHealthy { .. } => "primary_not_healthy",
        Error::PrimaryOutdated { .. } => "primary_outdated",
        Error::ElectionPending(_) => "election_pending",
        Error::Contended => "contended",
        Error::StaleEpoch(_) => "stale_epoch",
        Error::Refused(_) => "refused",
        Error::StoreUnavailable(_) => "store_unavailable",
        Error::Superseded { .. } => "superseded",
        Error::NameInUse { .. } => "name_in_use",
        Error::NotReady { .. } => "not_ready",
        Error::Timeout(_) => "timeout",
        Error::Busy => "busy",
        Error::Stopped => "stopped",
        _ => "other",
    }
}
