//! Every metric: its name, its labels, what it means. `docs/metrics.md` is this list as a page, and a test holds them
//! equal.
//!
//! A metric that Praefect has, and that means the same here, has Praefect's name and labels; `virtual_storage` was added
//! where the storage's name alone would mix up two nodes. Labels are bounded: names of nodes and virtual storages, and
//! words that stand in the code. No repository, no path, no address, no text of an error.

/// What one metric is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Metric {
    /// Its name, whole: an exporter adds nothing.
    pub name: &'static str,
    /// How its values are kept.
    pub kind: Kind,
    /// The names of its labels; values come in the same order.
    pub labels: &'static [&'static str],
    /// What it means, in one sentence without the full stop.
    pub help: &'static str,
}

/// How the values of a metric are kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It is what it was last set to.
    Gauge,
    /// Durations in seconds, counted by these upper bounds.
    Histogram(&'static [f64]),
}

impl Kind {
    /// The name, as exporters say it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        }
    }
}

/// From the fastest probe on one machine to the longest deadline: a round trip, a lookup and a round all lie between.
const SECONDS: &[f64] = &[0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// From a crash that announces itself to an outage in which nobody asked for a while.
const FAILOVER_SECONDS: &[f64] = &[0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0, 60.0, 300.0];

/// Praefect's; it was not set in the mode that everybody runs (defect D).
pub const NODE_LAST_HEALTHCHECK_UP: Metric = Metric {
    name: "gitaly_praefect_node_last_healthcheck_up",
    kind: Kind::Gauge,
    labels: &["virtual_storage", "gitaly_storage"],
    help: "1 if the last probe of the node was answered SERVING, else 0; trouble of our own leaves it as it was",
};
/// Praefect's; it was not observed in the mode that everybody runs (defect D).
pub const NODE_LATENCY: Metric = Metric {
    name: "gitaly_praefect_node_latency",
    kind: Kind::Histogram(SECONDS),
    labels: &["virtual_storage", "gitaly_storage"],
    help: "Seconds that a probe of the node took, whatever it said",
};
/// Praefect's. The name has no `_total`, as there.
pub const READ_DISTRIBUTION: Metric = Metric {
    name: "gitaly_praefect_read_distribution",
    kind: Kind::Counter,
    labels: &["virtual_storage", "storage"],
    help: "How often the node was picked to serve a read",
};
/// Praefect's; it was not set in the mode that everybody runs (defect D). One meaning for each strategy.
pub const PRIMARIES: Metric = Metric {
    name: "gitaly_praefect_primaries",
    kind: Kind::Gauge,
    labels: &["virtual_storage", "gitaly_storage"],
    help: "Where each repository has a primary, how many the storage leads, as last counted by `repositories_count`; \
           where a whole virtual storage has one (strategies sql and local), 1 for it and 0 for the others, as this \
           supervisor last heard",
};
/// Praefect's.
pub const UNAVAILABLE_REPOSITORIES: Metric = Metric {
    name: "gitaly_praefect_unavailable_repositories",
    kind: Kind::Gauge,
    labels: &["virtual_storage"],
    help: "Repositories without a replica that is healthy, up to date and not to be deleted, as last counted by \
           `repositories_count`; none if that failed",
};
/// Praefect's. A lookup that passes the memory by counts as a miss, and is not kept, as there.
pub const SYNCED_ACCESS: Metric = Metric {
    name: "gitaly_praefect_uptodate_storages_cache_access_total",
    kind: Kind::Counter,
    labels: &["virtual_storage", "type"],
    help: "Lookups of who is up to date in memory (hit, miss), answers that were kept (populate) and forgotten (evict)",
};
/// Praefect's, with the two states that its later versions tell.
pub const LISTENER_RECONNECTS: Metric = Metric {
    name: "gitaly_praefect_notifications_reconnects_total",
    kind: Kind::Counter,
    labels: &["state"],
    help: "How often the database began to be listened to for changes (connected) and ceased to be (disconnected)",
};
/// Probes by outcome: misconfigured nodes and trouble of our own show here.
pub const PROBES: Metric = Metric {
    name: "quorate_probes_total",
    kind: Kind::Counter,
    labels: &["virtual_storage", "storage", "evidence"],
    help: "Probes by what they said of the node, or of us",
};
/// The quorum's verdict.
pub const NODE_VERDICT: Metric = Metric {
    name: "quorate_node_verdict",
    kind: Kind::Gauge,
    labels: &["virtual_storage", "storage", "verdict"],
    help: "1 for the verdict that the quorum holds about the node (healthy, unhealthy, undecided), 0 for the others",
};
/// The votes behind the verdict.
pub const NODE_VOTES: Metric = Metric {
    name: "quorate_node_votes",
    kind: Kind::Gauge,
    labels: &["virtual_storage", "storage", "vote"],
    help: "Votes about the node as last read back: up, down, misconfigured, and none for those who abstain",
};
/// How many votes make a verdict.
pub const QUORUM_SIZE: Metric = Metric {
    name: "quorate_quorum_size",
    kind: Kind::Gauge,
    labels: &["virtual_storage", "storage"],
    help: "How many votes up it takes to hold the node healthy",
};
/// The published revision.
pub const CONSENSUS_REVISION: Metric = Metric {
    name: "quorate_consensus_revision",
    kind: Kind::Gauge,
    labels: &[],
    help: "Number of the last published consensus; it grows by one per change",
};
/// Who abstains.
pub const RECUSED: Metric = Metric {
    name: "quorate_recused",
    kind: Kind::Gauge,
    labels: &["reason"],
    help: "1 while this supervisor abstains because it does not trust itself, by reason (stalled, clock_jumped, blind), else 0",
};
/// Whether an older backup was restored.
pub const DATABASE_BEHIND: Metric = Metric {
    name: "quorate_database_behind",
    kind: Kind::Gauge,
    labels: &[],
    help: "1 while nodes report epochs that the database has not given (an older backup was restored), so that nothing is \
           elected or acknowledged until a repair, else 0",
};
/// Who was deposed lately.
pub const NODE_PENALTY: Metric = Metric {
    name: "quorate_node_penalty_seconds",
    kind: Kind::Gauge,
    labels: &["virtual_storage", "storage"],
    help: "How much longer a storage that was deposed is elected only if no other can be, as last read; 0 once that is over",
};
/// Rounds and heartbeats.
pub const ROUND: Metric = Metric {
    name: "quorate_round_seconds",
    kind: Kind::Histogram(SECONDS),
    labels: &[],
    help: "Seconds from a heartbeat (profile praefect: from the opening of a round) until all votes were read back",
};
/// Lookups, as their callers saw them.
pub const LOOKUP: Metric = Metric {
    name: "quorate_lookup_seconds",
    kind: Kind::Histogram(SECONDS),
    labels: &["outcome"],
    help: "Seconds that the question for a primary took, by outcome: ok, or the gRPC code that stands for the error",
};
/// Lookups that were answered, by where from.
pub const ANSWERS: Metric = Metric {
    name: "quorate_lookup_answers_total",
    kind: Kind::Counter,
    labels: &["source"],
    help: "Questions for a primary that were answered, by where from: fresh, memory, failsafe while the database is \
           down, or behind while an older backup stands in its place",
};
/// Elections, by reason.
pub const ELECTIONS: Metric = Metric {
    name: "quorate_elections_total",
    kind: Kind::Counter,
    labels: &["virtual_storage", "outcome", "reason"],
    help: "Changes of a primary that this supervisor proposed, by outcome (elected, demoted, lost, era_changed, failed) \
           and by why the recorded primary could not stay",
};
/// Failovers.
pub const FAILOVER: Metric = Metric {
    name: "quorate_failover_seconds",
    kind: Kind::Histogram(FAILOVER_SECONDS),
    labels: &["virtual_storage"],
    help: "Seconds from the first probe of this supervisor that found a node failing until it elected the first successor \
           in its place; once per node and outage",
};
/// What the settler did.
pub const SETTLED: Metric = Metric {
    name: "quorate_settled_total",
    kind: Kind::Counter,
    labels: &["virtual_storage"],
    help: "Repositories of dead nodes to which this supervisor gave another primary before anybody asked for it; each is \
           among the elections, too",
};
/// What the settler has before it.
pub const SETTLING: Metric = Metric {
    name: "quorate_settling",
    kind: Kind::Gauge,
    labels: &["virtual_storage"],
    help: "Dead nodes whose repositories this supervisor is settling, or waits to; 0 once nothing is left to settle",
};
/// How the settler gets on.
pub const SETTLE_BATCH: Metric = Metric {
    name: "quorate_settle_batch_seconds",
    kind: Kind::Histogram(SECONDS),
    labels: &[],
    help: "Seconds that one batch took to be read, decided and committed, while the next is read; those that changed nothing included",
};
/// Store operations.
pub const STORE_OPERATION: Metric = Metric {
    name: "quorate_store_operation_seconds",
    kind: Kind::Histogram(SECONDS),
    labels: &["operation"],
    help: "Seconds that an operation of the store took, failures included",
};
/// Store operations that failed.
pub const STORE_ERRORS: Metric = Metric {
    name: "quorate_store_errors_total",
    kind: Kind::Counter,
    labels: &["operation", "kind"],
    help: "Operations of the store that the database could not answer, by kind",
};
/// Actors that died.
pub const ACTOR_RESTARTS: Metric = Metric {
    name: "quorate_actor_restarts_total",
    kind: Kind::Counter,
    labels: &["actor"],
    help: "How often an actor ended and was rebuilt",
};
/// Slow subscribers.
pub const SKIPPED_REVISIONS: Metric = Metric {
    name: "quorate_skipped_revisions_total",
    kind: Kind::Counter,
    labels: &[],
    help: "Intermediate revisions that slow subscribers were not told",
};

/// All of them, in the order of the page.
pub const ALL: &[&Metric] = &[
    &NODE_LAST_HEALTHCHECK_UP,
    &NODE_LATENCY,
    &READ_DISTRIBUTION,
    &PRIMARIES,
    &UNAVAILABLE_REPOSITORIES,
    &SYNCED_ACCESS,
    &LISTENER_RECONNECTS,
    &PROBES,
    &NODE_VERDICT,
    &NODE_VOTES,
    &QUORUM_SIZE,
    &CONSENSUS_REVISION,
    &RECUSED,
    &DATABASE_BEHIND,
    &NODE_PENALTY,
    &ROUND,
    &LOOKUP,
    &ANSWERS,
    &ELECTIONS,
    &FAILOVER,
    &SETTLED,
    &SETTLING,
    &SETTLE_BATCH,
    &STORE_OPERATION,
    &STORE_ERRORS,
    &ACTOR_RESTARTS,
    &SKIPPED_REVISIONS,
];
