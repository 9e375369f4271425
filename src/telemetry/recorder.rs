//! The facade: what is measured, told to whoever wants to hear it.

use super::{
    failover::Failing,
    metrics::{self, Metric},
};
use crate::{
    core::{
        consensus::{Consensus, NodeConsensus},
        evidence::Evidence,
        ids::{NodeId, Storage, VirtualStorage},
        lookup::Source,
        penalty::Penalties,
        quorum::{QuorumPolicy, Verdict},
        recusal::Distrust,
        synced::Counts,
    },
    store::{RepositoriesCount, StoreErrorKind, StoreOp},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::Duration,
};

/// Takes every metric. Implement it for an exporter of your own.
///
/// It is called from the supervisor's own arbiter, often, and must not block. `labels` are the values of
/// [`Metric::labels`], in that order.
///
/// ```
/// use quorate::telemetry::{Meter, Recorder, metrics::Metric};
/// use std::time::Duration;
///
/// struct Printing;
///
/// impl Recorder for Printing {
///     fn count(&self, metric: &'static Metric, labels: &[&str], by: u64) {
///         println!("{}{labels:?} += {by}", metric.name);
///     }
///     fn set(&self, metric: &'static Metric, labels: &[&str], value: f64) {
///         println!("{}{labels:?} = {value}", metric.name);
///     }
///     fn forget(&self, metric: &'static Metric, labels: &[&str]) {
///         println!("{}{labels:?} is gone", metric.name);
///     }
///     fn observe(&self, metric: &'static Metric, labels: &[&str], took: Duration) {
///         println!("{}{labels:?}: {took:?}", metric.name);
///     }
/// }
///
/// let meter = Meter::new(Printing);
/// # let _ = meter;
/// ```
pub trait Recorder: Send + Sync {
    /// Adds to a counter.
    fn count(&self, metric: &'static Metric, labels: &[&str], by: u64);
    /// Sets a gauge.
    fn set(&self, metric: &'static Metric, labels: &[&str], value: f64);
    /// Takes a gauge away: what it was about is gone.
    fn forget(&self, metric: &'static Metric, labels: &[&str]);
    /// Adds one duration to a histogram.
    fn observe(&self, metric: &'static Metric, labels: &[&str], took: Duration);
}

/// Who hears the metrics of one supervisor: a cheap clone. Default: nobody, which costs nothing.
#[derive(Clone, Default)]
pub struct Meter(Option<Arc<Heard>>);

struct Heard {
    recorder: Box<dyn Recorder>,
    failing: Failing,
}

impl Meter {
    /// Everything goes to this recorder.
    #[must_use]
    pub fn new(recorder: impl Recorder + 'static) -> Self {
        Self(Some(Arc::new(Heard { recorder: Box::new(recorder), failing: Failing::default() })))
    }

    fn to(&self) -> Option<&dyn Recorder> {
        self.0.as_deref().map(|heard| &*heard.recorder)
    }

    /// Whether anybody hears it.
    pub(crate) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    pub(crate) fn probed(&self, node: &NodeId, evidence: Evidence, took: Duration) {
        let Some(Heard { recorder: to, failing }) = self.0.as_deref() else { return };
        failing.probed(node, evidence);
        let names = names(node);
        to.observe(&metrics::NODE_LATENCY, &names, took);
        to.count(&metrics::PROBES, &[names[0], names[1], evidence.as_str()], 1);
        if !matches!(evidence, Evidence::Ours(_)) {
            to.set(&metrics::NODE_LAST_HEALTHCHECK_UP, &names, flag(evidence == Evidence::Serving));
        }
    }

    /// Tells what differs from the consensus before; nodes that nobody votes on any more are taken away.
    pub(crate) fn consensus(&self, before: Option<&Consensus>, now: &Consensus, policy: QuorumPolicy) {
        let Some(to) = self.to() else { return };
        // Exact up to 2⁵³, which no revision comes near.
        to.set(&metrics::CONSENSUS_REVISION, &[], now.revision.0 as f64);
        for (node, known) in &now.nodes {
            if before.and_then(|before| before.nodes.get(node)) != Some(known) {
                node_gauges(node, known, policy, |metric, labels, value| to.set(metric, labels, value));
            }
        }
        for (node, known) in before.iter().flat_map(|before| &before.nodes) {
            if !now.nodes.contains_key(node) {
                node_gauges(node, known, policy, |metric, labels, _| to.forget(metric, labels));
            }
        }
    }

    pub(crate) fn recused(&self, now: Option<Distrust>) {
        let Some(to) = self.to() else { return };
        for reason in Distrust::ALL {
            to.set(&metrics::RECUSED, &[reason.as_str()], flag(now == Some(reason)));
        }
    }

    pub(crate) fn database_behind(&self, now: bool) {
        let Some(to) = self.to() else { return };
        to.set(&metrics::DATABASE_BEHIND, &[], flag(now));
    }

    pub(crate) fn penalties(&self, read: &Penalties) {
        let Some(to) = self.to() else { return };
        let left = read.left();
        for node in read.last.keys() {
            let lasting = left.get(node).map_or(0.0, Duration::as_secs_f64);
            to.set(&metrics::NODE_PENALTY, &names(node), lasting);
        }
    }

    pub(crate) fn round(&self, took: Duration) {
        let Some(to) = self.to() else { return };
        to.observe(&metrics::ROUND, &[], took);
    }

    pub(crate) fn lookup(&self, outcome: &'static str, took: Duration) {
        let Some(to) = self.to() else { return };
        to.observe(&metrics::LOOKUP, &[outcome], took);
    }

    pub(crate) fn answered(&self, from: Source) {
        let Some(to) = self.to() else { return };
        to.count(&metrics::ANSWERS, &[from.as_str()], 1);
    }

    pub(crate) fn election(&self, virtual_storage: &VirtualStorage, outcome: &'static str, why: &str) {
        self.elections(virtual_storage, outcome, why, 1);
    }

    pub(crate) fn elections(&self, of: &VirtualStorage, outcome: &'static str, why: &str, how_many: usize) {
        let Some(to) = self.to().filter(|_| how_many > 0) else { return };
        to.count(&metrics::ELECTIONS, &[of.as_str(), outcome, why], u64::try_from(how_many).unwrap_or(u64::MAX));
    }

    /// A batch of what a dead node led was committed.
    pub(crate) fn settled(&self, of: &VirtualStorage, how_many: usize) {
        let Some(to) = self.to() else { return };
        to.count(&metrics::SETTLED, &[of.as_str()], u64::try_from(how_many).unwrap_or(u64::MAX));
    }

    pub(crate) fn settle_batch(&self, took: Duration) {
        let Some(to) = self.to() else { return };
        to.observe(&metrics::SETTLE_BATCH, &[], took);
    }

    /// Which nodes' repositories are being settled; `known` are the virtual storages that were told of before.
    pub(crate) fn settling(
        &self,
        nodes: impl Iterator<Item = VirtualStorage>,
        known: &mut BTreeMap<VirtualStorage, u32>,
    ) {
        let mut now: BTreeMap<VirtualStorage, u32> = known.keys().map(|of| (of.clone(), 0)).collect();
        for of in nodes {
            let count = now.entry(of).or_default();
            *count = count.saturating_add(1);
        }
        for (of, count) in now.iter().filter(|(of, count)| known.get(of) != Some(count)) {
            if let Some(to) = self.to() {
                to.set(&metrics::SETTLING, &[of.as_str()], f64::from(*count));
            }
        }
        *known = now;
    }

    /// An unhealthy node lost a repository to another.
    pub(crate) fn failed_over(&self, from: &NodeId) {
        let Some(Heard { recorder: to, failing }) = self.0.as_deref() else { return };
        if let Some(took) = failing.succeeded(from) {
            to.observe(&metrics::FAILOVER, &[from.virtual_storage.as_str()], took);
        }
    }

    /// Who leads a whole virtual storage; nodes that are configured no more are taken away.
    pub(crate) fn shard_primary<'a>(
        &self,
        of: &VirtualStorage,
        nodes: &[Storage],
        gone: impl Iterator<Item = &'a Storage>,
        primary: Option<&Storage>,
    ) {
        let Some(to) = self.to() else { return };
        gone.for_each(|node| to.forget(&metrics::PRIMARIES, &[of.as_str(), node.as_str()]));
        for node in nodes {
            to.set(&metrics::PRIMARIES, &[of.as_str(), node.as_str()], flag(primary == Some(node)));
        }
    }

    /// A node is not watched any more: what is known of it alone is taken away. What the quorum says of it goes with the
    /// last vote.
    pub(crate) fn watched_no_more(&self, node: &NodeId) {
        let Some(Heard { recorder: to, failing }) = self.0.as_deref() else { return };
        failing.forget(node);
        to.forget(&metrics::NODE_LAST_HEALTHCHECK_UP, &names(node));
        to.forget(&metrics::PRIMARIES, &names(node));
    }

    pub(crate) fn read_routed(&self, node: &NodeId) {
        let Some(to) = self.to() else { return };
        to.count(&metrics::READ_DISTRIBUTION, &names(node), 1);
    }

    /// What was counted, about every node that is configured; without an answer the old numbers are taken away. Who leads
    /// how many is told only where each repository has a primary: elsewhere the gauge is [`Meter::shard_primary`]'s.
    pub(crate) fn repositories<'a>(
        &self,
        nodes: impl IntoIterator<Item = &'a NodeId>,
        counts: Option<&[RepositoriesCount]>,
        each_has_a_primary: bool,
    ) {
        let Some(to) = self.to() else { return };
        // Exact up to 2⁵³.
        let tell = |metric: &'static Metric, labels: &[&str], number: u64| match counts {
            Some(_) => to.set(metric, labels, number as f64),
            None => to.forget(metric, labels),
        };
        let (mut led, mut unavailable) = (BTreeMap::new(), BTreeMap::<&str, u64>::new());
        for count in counts.unwrap_or_default() {
            let virtual_storage = count.virtual_storage.as_str();
            *unavailable.entry(virtual_storage).or_default() += count.unavailable;
            if let Some(primary) = &count.primary {
                led.insert([virtual_storage, primary.as_str()], count.repositories);
            }
        }
        let mut virtual_storages = BTreeSet::new();
        for names in nodes.into_iter().map(names) {
            if each_has_a_primary {
                tell(&metrics::PRIMARIES, &names, led.get(&names).copied().unwrap_or(0));
            }
            virtual_storages.insert(names[0]);
        }
        for named in virtual_storages {
            tell(&metrics::UNAVAILABLE_REPOSITORIES, &[named], unavailable.get(named).copied().unwrap_or(0));
        }
    }

    /// What became of lookups of who is up to date.
    pub(crate) fn synced_accesses(&self, virtual_storage: &VirtualStorage, more: Counts) {
        let Some(to) = self.to() else { return };
        let Counts { hit, miss, populate, evict } = more;
        for (kind, by) in [("hit", hit), ("miss", miss), ("populate", populate), ("evict", evict)] {
            if by > 0 {
                to.count(&metrics::SYNCED_ACCESS, &[virtual_storage.as_str(), kind], by);
            }
        }
    }

    /// The listener's connection: `connected` or `disconnected`.
    pub(crate) fn listener(&self, state: &'static str) {
        let Some(to) = self.to() else { return };
        to.count(&metrics::LISTENER_RECONNECTS, &[state], 1);
    }

    pub(crate) fn store_answered(&self, op: StoreOp, took: Duration, error: Option<&StoreErrorKind>) {
        let Some(to) = self.to() else { return };
        to.observe(&metrics::STORE_OPERATION, &[op.as_str()], took);
        if let Some(kind) = error {
            to.count(&metrics::STORE_ERRORS, &[op.as_str(), kind.as_str()], 1);
        }
    }

    pub(crate) fn actor_restarted(&self, actor: &str) {
        let Some(to) = self.to() else { return };
        to.count(&metrics::ACTOR_RESTARTS, &[actor], 1);
    }

    pub(crate) fn revisions_skipped(&self, skipped: u64) {
        let Some(to) = self.to() else { return };
        to.count(&metrics::SKIPPED_REVISIONS, &[], skipped);
    }
}

fn names(node: &NodeId) -> [&str; 2] {
    [node.virtual_storage.as_str(), node.storage.as_str()]
}

/// Every gauge about one node: what is set while it is known is what is taken away when it is gone.
fn node_gauges(
    node: &NodeId,
    known: &NodeConsensus,
    policy: QuorumPolicy,
    mut each: impl FnMut(&'static Metric, &[&str], f64),
) {
    let [virtual_storage, storage] = names(node);
    for verdict in [Verdict::Healthy, Verdict::Unhealthy, Verdict::Undecided] {
        let value = flag(known.verdict == verdict);
        each(&metrics::NODE_VERDICT, &[virtual_storage, storage, verdict.as_str()], value);
    }
    let tally = known.tally;
    let spoken = tally.up.saturating_add(tally.down).saturating_add(tally.misconfigured);
    let votes = [
        ("up", tally.up),
        ("down", tally.down),
        ("misconfigured", tally.misconfigured),
        ("none", tally.electorate.saturating_sub(spoken)),
    ];
    for (vote, count) in votes {
        each(&metrics::NODE_VOTES, &[virtual_storage, storage, vote], f64::from(count));
    }
    each(&metrics::QUORUM_SIZE, &[virtual_storage, storage], f64::from(policy.votes_needed(tally.electorate)));
}

fn flag(set: bool) -> f64 {
    if set { 1.0 } else { 0.0 }
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Meter").field(&self.is_on()).finish()
    }
}
