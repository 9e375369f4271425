//! A new primary tells its replicas, so that they refuse the old one before the first write reaches them.
//!
//! Best effort: a replica that is not reached learns the epoch with its first write, and until then is simply not among
//! the acknowledged. So an announcement is bounded twice, in calls under way and in time, and never an error.

use super::{
    generated::{AnnounceRequest, fence_client::FenceClient},
    metadata::{Claim, MissingEpoch},
    refusal::FenceRefusal,
};
use crate::core::{election::Primary, epoch::Epoch, ids::Storage};
use futures_util::{StreamExt, stream};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tokio::time::{Instant, timeout_at};
use tonic::{Request, body::Body, client::GrpcService};

/// Bounds of an announcement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnnounceOptions {
    /// The most calls under way at once; 0 counts as 1. Default 16: replication factors are far below.
    pub max_in_flight: usize,
    /// When the whole announcement ends. Default 1 s.
    pub deadline: Duration,
}

impl Default for AnnounceOptions {
    fn default() -> Self {
        Self { max_in_flight: 16, deadline: Duration::from_secs(1) }
    }
}

/// Who heard an announcement.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Announced {
    /// Those who accepted the epoch.
    pub reached: BTreeMap<Storage, Reached>,
    /// Those who refused it: whoever announces is no longer primary, or was misled.
    pub refused: BTreeMap<Storage, FenceRefusal>,
    /// Those who did not answer, or not as a fence.
    pub missed: BTreeSet<Storage>,
}

/// What a replica answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reached {
    /// The highest epoch that it knows of the repository.
    pub epoch: Epoch,
    /// Whether it has yet to adopt the primary's state.
    pub adoption_due: bool,
}

enum Outcome {
    Reached(Reached),
    Refused(FenceRefusal),
    Missed,
}

/// Announces a primary's epoch to its replicas, over any channel of tonic's kind. Fails only if it has no
/// epoch.
pub async fn announce<C: GrpcService<Body, ResponseBody = Body>>(
    primary: &Primary,
    replicas: impl IntoIterator<Item = (Storage, C)>,
    options: AnnounceOptions,
) -> Result<Announced, MissingEpoch> {
    let claim = Claim::of(primary)?;
    let deadline = Instant::now() + options.deadline;
    let calls: Vec<_> = replicas
        .into_iter()
        .map(|(storage, channel)| {
            let claim = &claim;
            async move {
                let outcome = timeout_at(deadline, one(claim, channel)).await.unwrap_or(Outcome::Missed);
                (storage, outcome)
            }
        })
        .collect();
    let mut calls = stream::iter(calls).buffer_unordered(options.max_in_flight.max(1));
    let mut announced = Announced::default();
    while let Some((storage, outcome)) = calls.next().await {
        match outcome {
            Outcome::Reached(reached) => {
                announced.reached.insert(storage, reached);
            }
            Outcome::Refused(refusal) => {
                announced.refused.insert(storage, refusal);
            }
            Outcome::Missed => {
                announced.missed.insert(storage);
            }
        }
    }
    Ok(announced)
}

async fn one<C: GrpcService<Body, ResponseBody = Body>>(claim: &Claim, channel: C) -> Outcome {
    let mut request = Request::new(AnnounceRequest {});
    claim.attach(request.metadata_mut());
    match FenceClient::new(channel).announce(request).await {
        Ok(reply) => {
            let reply = reply.into_inner();
            match reply.epoch.parse() {
                Ok(epoch) => Outcome::Reached(Reached { epoch, adoption_due: reply.adoption_due }),
                Err(_) => Outcome::Missed,
            }
        }
        Err(status) => FenceRefusal::from_status(&status).map_or(Outcome::Missed, Outcome::Refused),
    }
}
