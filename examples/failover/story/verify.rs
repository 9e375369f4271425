//! The reckoning: what was acknowledged is there, everywhere, and was acknowledged under the epoch of its time.

use super::{
    report::Report,
    traffic::{Ledger, Reads, object},
};
use crate::cluster::{Failure, client::Acknowledged, until, wire::Change, world::World};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// How long the last replica may take to catch up once nobody writes any more.
const SETTLING: Duration = Duration::from_secs(10);

/// Holds the whole run to account.
pub(crate) async fn verify(world: &World, report: &mut Report, ledger: &Ledger, reads: &Reads) -> Result<(), Failure> {
    settle(world).await;
    let facts = world.client.facts().await?;
    let current = facts.current();
    let mut lost = BTreeSet::new();
    let mut copies = BTreeMap::new();
    for storage in &current {
        let copy = world.client.everything(storage).await?;
        let missing = ledger.acknowledged.iter().filter(|done| copy.get(&done.number) != Some(&object(done.number)));
        lost.extend(missing.map(|done| done.number));
        let foreign = copy.iter().find(|(number, data)| **data != object(**number));
        report.expect("replicas hold nothing but what was written", foreign.is_none(), || {
            format!("{storage} holds other bytes as object {:?}", foreign.map(|(number, _)| number))
        });
        copies.insert(storage.clone(), copy);
    }
    let all = world.nodes.len();
    report.expect("every replica is current again", current.len() == all, || format!("only {current:?} are"));
    report.expect("no acknowledged write is lost", lost.is_empty(), || format!("lost: {lost:?}"));
    let history = world.client.history().await?;
    let stale = stale(&ledger.acknowledged, &history);
    report.expect("no write is acknowledged under an epoch that was over", stale.is_empty(), || format!("{stale:?}"));
    report.expect("writes go on throughout", ledger.acknowledged.len() > 50, || {
        format!("only {}, the last error: {}", ledger.acknowledged.len(), ledger.last_error)
    });
    report.expect("what is read back is what was written", reads.wrong.is_empty(), || reads.wrong.join("; "));
    report.expect("something is read back", reads.verified > 0, || "no read came to an end".into());
    let refused = report.summary.stale_writes_refused;
    report.expect("stale writes are refused", refused > 0, || "none was".into());
    let summary = &mut report.summary;
    summary.writes_acknowledged = ledger.acknowledged.len();
    summary.writes_lost = lost.len();
    summary.stale_writes_acknowledged = stale.len();
    summary.reads_verified = reads.verified;
    summary.replicas_verified = copies.len();
    let what = format!(
        "{} objects compared byte for byte on {} replicas; {} attempts had to be repeated",
        ledger.acknowledged.len(),
        copies.len(),
        ledger.retried
    );
    report.say("story", what);
    Ok(())
}

/// The last write may have missed a replica: it is behind then, not lost, and catches up like any other. Who cannot is
/// told by the reckoning itself.
async fn settle(world: &World) {
    let settled = until(SETTLING, "every replica is current again", || async {
        let mut behind = None;
        for storage in world.nodes.keys() {
            if !world.client.facts().await?.current().contains(storage) {
                world.client.catch_up(storage).await?;
                behind = Some(storage);
            }
        }
        behind.map_or(Ok(()), |storage| Err(format!("{storage} was behind").into()))
    });
    drop(settled.await);
}

/// The numbers of writes that were acknowledged under an epoch that was over, or by whom it did not belong to. The
/// order is the database's own: each acknowledgement took the next generation.
fn stale(acknowledged: &[Acknowledged], history: &[Change]) -> Vec<u64> {
    let mut in_order: Vec<&Acknowledged> = acknowledged.iter().collect();
    in_order.sort_by_key(|done| done.generation);
    let mut highest = None;
    let mut stale = Vec::new();
    for done in in_order {
        let decided =
            history.iter().any(|change| change.epoch == done.epoch && change.current.as_ref() == Some(&done.primary));
        if !decided || highest > Some(done.epoch) {
            stale.push(done.number);
        }
        highest = highest.max(Some(done.epoch));
    }
    stale
}
