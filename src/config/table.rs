//! Every key there is. The parser, the checks, the rules of a reload and the reference page are all this table.

use super::{
    Config, ElectionStrategy, Secret,
    database::Place,
    failover::Errors,
    key::{
        Key,
        Slot::{Choice, File, Flag, MaybeNumber, MaybeTime, Number, Secret as Hidden, Text, Time},
    },
};
use crate::core::{
    error_tracker::THRESHOLD_MAX,
    settings::{Profile, WithoutCandidate},
};

const SECOND: u64 = 1_000;
const HOUR: u64 = 3_600 * SECOND;

/// The profiles, in the order of the page's columns.
pub(super) const PROFILES: [Profile; 3] = [Profile::Default, Profile::Lan, Profile::Praefect];

/// The strategies, likewise.
const STRATEGIES: [ElectionStrategy; 3] =
    [ElectionStrategy::PerRepository, ElectionStrategy::Sql, ElectionStrategy::Local];

/// A configuration while it is read: some keys make one value together.
pub(super) struct Draft {
    pub(super) config: Config,
    pub(super) name: Option<String>,
    pub(super) database: Place,
    pub(super) session_pooled: Place,
    pub(super) errors: Errors,
}

/// A virtual storage while it is read.
#[derive(Default)]
pub(super) struct ClusterDraft {
    pub(super) name: Option<String>,
    pub(super) default_replication_factor: u32,
}

/// A node while it is read.
#[derive(Default)]
pub(super) struct NodeDraft {
    pub(super) storage: Option<String>,
    pub(super) address: Option<String>,
    pub(super) token: Option<Secret>,
}

impl Draft {
    pub(super) fn of(config: Config) -> Self {
        let name = config.name.as_ref().map(ToString::to_string);
        let url = Some(Secret::new(config.database.url.expose())).filter(|url| !url.expose().is_empty());
        let session = config.database.session_pooled.as_ref().map(|url| Secret::new(url.expose()));
        let database = Place { url, ..Place::default() };
        let session_pooled = Place { url: session, ..Place::default() };
        let errors = Errors::of(config.health.errors);
        Draft { config, name, database, session_pooled, errors }
    }
}

// Aliases, for a constructor's closures need to know what they look into.
type Whole = Key<Draft>;
type Cluster = Key<ClusterDraft>;
type Node = Key<NodeDraft>;

/// The keys of the file as a whole. `profile` is read first: it sets the defaults of all others.
pub(super) const FILE: &[Key<Draft>] = &[
    Whole::new(
        "profile",
        Choice(
            &["default", "lan", "praefect"],
            |draft, place| draft.config.settings.profile = PROFILES.get(place).copied().unwrap_or_default(),
            |draft| PROFILES.iter().position(|profile| *profile == draft.config.settings.profile).unwrap_or(0),
        ),
        "Which family of rules, and the defaults of all other keys: `lan` probes faster, `praefect` follows Praefect's \
         rules to the letter. The first start stores it; a cluster keeps it.",
    ),
    Whole::new(
        "name",
        Text(|draft| &mut draft.name),
        "The supervisor's stable name, by which it votes. A host name that changes with every start would leave a dead \
         voter behind each time: name it then.",
    )
    .otherwise("`host:listen`"),
    Whole::new(
        "listen",
        Text(|draft| &mut draft.config.listen),
        "Where this process listens, as others know it. It names the supervisor and stands in its row; nothing is opened. \
         Required if `name` is missing.",
    ),
    Whole::new(
        "heartbeat",
        Time(|draft| &mut draft.config.heartbeat, 10, HOUR),
        "How often this supervisor says that it lives. Three must fit into `consensus.voter_ttl`.",
    )
    .live()
    .not_in_rounds(),
    Whole::new(
        "start_timeout",
        Time(|draft| &mut draft.config.start_timeout, 10, HOUR),
        "How long a start may take until the first consensus.",
    ),
    Whole::new(
        "request_timeout",
        Time(|draft| &mut draft.config.request_timeout, 10, HOUR),
        "How long one lookup or operation may take, retries included.",
    ),
    Whole::new(
        "graceful_stop_timeout",
        Time(|draft| &mut draft.config.graceful_stop_timeout, 10, HOUR),
        "How long a stop may wait for lookups under way, before it takes the supervisor's row and votes away.",
    )
    .live(),
    Whole::new(
        "database.url",
        Hidden(|draft| &mut draft.database.url),
        "The database that all supervisors share: `sqlite:PATH` (one machine) or `postgres://user@host/name`. Either this \
         or `host` and its neighbours.",
    )
    .otherwise("required"),
    Whole::new(
        "database.host",
        Text(|draft| &mut draft.database.host),
        "PostgreSQL's host, or the folder of its unix socket. Several, separated by commas, are tried in turn.",
    ),
    Whole::new("database.port", MaybeNumber(|draft| &mut draft.database.port, 1, 65_535), "PostgreSQL's port.")
        .otherwise("5432"),
    Whole::new("database.user", Text(|draft| &mut draft.database.user), "PostgreSQL's user; required with `host`."),
    Whole::new(
        "database.password",
        Hidden(|draft| &mut draft.database.password),
        "The password, also for a `url` that has none. Never shown. Better in `password_file`, or in the environment as \
         `QUORATE_DATABASE__PASSWORD`.",
    ),
    Whole::new(
        "database.password_file",
        File(|draft| &mut draft.database.password_file),
        "A file that holds the password and nothing else, read at start; a line's end after it is dropped.",
    ),
    Whole::new(
        "database.dbname",
        Text(|draft| &mut draft.database.dbname),
        "The database's name; required with `host`.",
    ),
    Whole::new(
        "database.migrate",
        Flag(|draft| &mut draft.config.database.migrate),
        "Whether outstanding migrations are run at start. If not, an outdated schema is an error.",
    ),
    Whole::new(
        "database.pool_size",
        Number(|draft| &mut draft.config.database.pool_size, 1, 1_000),
        "The most connections. More do not make one database faster.",
    ),
    Whole::new(
        "database.session_pooled.url",
        Hidden(|draft| &mut draft.session_pooled.url),
        "A way to the same PostgreSQL database that keeps a session to itself, if `database` leads through a pooler that \
         works by transactions: migrations hold a lock that belongs to a session.",
    )
    .otherwise("`database`'s"),
    Whole::new(
        "database.session_pooled.host",
        Text(|draft| &mut draft.session_pooled.host),
        "Like `database.host`; what is missing here is taken from `database`, key by key.",
    )
    .otherwise("`database`'s"),
    Whole::new(
        "database.session_pooled.port",
        MaybeNumber(|draft| &mut draft.session_pooled.port, 1, 65_535),
        "Like `database.port`.",
    )
    .otherwise("`database`'s"),
    Whole::new(
        "database.session_pooled.user",
        Text(|draft| &mut draft.session_pooled.user),
        "Like `database.user`.",
    )
    .otherwise("`database`'s"),
    Whole::new(
        "database.session_pooled.password",
        Hidden(|draft| &mut draft.session_pooled.password),
        "Like `database.password`.",
    )
    .otherwise("`database`'s"),
    Whole::new(
        "database.session_pooled.password_file",
        File(|draft| &mut draft.session_pooled.password_file),
        "Like `database.password_file`.",
    )
    .otherwise("`database`'s"),
    Whole::new(
        "database.session_pooled.dbname",
        Text(|draft| &mut draft.session_pooled.dbname),
        "Like `database.dbname`, for a pooler that gives databases other names.",
    )
    .otherwise("`database`'s"),
    Whole::new(
        "health.interval",
        Time(|draft| &mut draft.config.health.interval, 1, HOUR),
        "Time between two probes of a node, jittered by a tenth; in profile `praefect` between two rounds.",
    )
    .live(),
    Whole::new(
        "health.bootstrap_interval",
        Time(|draft| &mut draft.config.health.bootstrap_interval, 1, HOUR),
        "Time between two probes of a node about which nothing is known yet, so that a start need not wait for a whole \
         interval because the first probe told nothing (a name that did not resolve yet).",
    )
    .live()
    .not_in_rounds(),
    Whole::new(
        "health.timeout",
        Time(|draft| &mut draft.config.health.timeout, 1, HOUR),
        "How long one probe may take; in profile `praefect` all probes of a round together.",
    )
    .live(),
    Whole::new(
        "health.timeout_floor",
        MaybeTime(|draft| &mut draft.config.health.timeout_floor, 1, HOUR),
        "The shortest time that the first look at a node is given, however fast it has answered so far: twice what is usual \
         for it, between this and `timeout`. A miss is then noticed and told sooner; what follows it always has the whole \
         `timeout`. Each pause of a node that is longer becomes a miss, and below some 250ms each lost packet does.",
    )
    .otherwise("`timeout`: nothing adapts")
    .live()
    .not_in_rounds(),
    Whole::new(
        "health.restart_grace",
        Time(|draft| &mut draft.config.health.restart_grace, 0, HOUR),
        "How long a node whose port is closed may take to come back before it is voted down, for those who restart nodes \
         without draining them; a real death is acted on that much later. One that says that it does not serve, or whose \
         real traffic fails too often, is not waited for. Below `consensus.voter_ttl`.",
    )
    .otherwise("`0s`: it is down at once")
    .live()
    .not_in_rounds(),
    Whole::new(
        "health.fall",
        Number(|draft| &mut draft.config.health.thresholds.fall, 1, 1_000),
        "Misses in a row that make a node down. A refused connection needs no second one.",
    )
    .live(),
    Whole::new(
        "health.rise",
        Number(|draft| &mut draft.config.health.thresholds.rise, 1, 1_000),
        "Successes in a row that bring a node back that was down.",
    )
    .live(),
    Whole::new(
        "health.first",
        Number(|draft| &mut draft.config.health.thresholds.first, 1, 1_000),
        "Successes in a row that a node about which nothing is known yet needs. With `fall = 1`, `rise = 3`, `first = 3`, \
         `window = 3` a node is up as in Praefect's old manager: after three good checks, and down after one bad one.",
    )
    .live(),
    Whole::new(
        "health.window",
        Number(|draft| &mut draft.config.health.thresholds.window, 1, 1_000),
        "How many outcomes are remembered for those who ask; the three above fit into it.",
    )
    .live(),
    Whole::new(
        "health.watch",
        Flag(|draft| &mut draft.config.health.watch),
        "Whether a node that offers a `grpc.health.v1/Watch` is listened to, so that its death, or that it does not serve, is \
         noticed as it happens and not by the next probe. It costs one open stream per node on the connection that is kept \
         anyway.",
    )
    .live()
    .not_in_rounds(),
    Whole::new(
        "health.stall_limit",
        Time(|draft| &mut draft.config.health.stall_limit, 10, HOUR),
        "How long this supervisor's own event loop may stand still before it abstains for a round: what it saw meanwhile is \
         nothing to vote on.",
    )
    .live()
    .not_in_rounds(),
    Whole::new(
        "health.connect_timeout",
        Time(|draft| &mut draft.config.health.connect_timeout, 1, HOUR),
        "How long a connection to a node may take to be made.",
    ),
    Whole::new(
        "health.keepalive",
        Time(|draft| &mut draft.config.health.keepalive, 100, HOUR),
        "HTTP/2 keepalive of node connections. Servers made with grpc-go refuse faster pings than 20 s.",
    ),
    Whole::new(
        "health.keepalive_timeout",
        Time(|draft| &mut draft.config.health.keepalive_timeout, 10, HOUR),
        "How long a keepalive may stay unanswered before the connection is given up.",
    ),
    Whole::new(
        "health.reconnect_pause_max",
        Time(|draft| &mut draft.config.health.reconnect_pause_max, 1, HOUR),
        "The longest pause between two attempts to connect to a node that is away. Real traffic fails at once meanwhile; \
         probes do not wait for it.",
    ),
    Whole::new(
        "health.dns_refresh",
        Time(|draft| &mut draft.config.health.dns_refresh, 100, HOUR),
        "How old a name server's answer for a `dns:` address may become before it is asked again.",
    ),
    Whole::new(
        "health.tls_ca",
        File(|draft| &mut draft.config.health.tls_ca),
        "The certificate authority of `tls://` nodes, a PEM file.",
    )
    .otherwise("the system's"),
    Whole::new(
        "health.tls_cert",
        File(|draft| &mut draft.config.health.tls_cert),
        "The certificate that `tls://` nodes are shown, a PEM file. Needs `tls_key`.",
    ),
    Whole::new(
        "health.tls_key",
        File(|draft| &mut draft.config.health.tls_key),
        "The key of `tls_cert`, a PEM file.",
    ),
    Whole::new(
        "health.tls_server_name",
        Text(|draft| &mut draft.config.health.tls_server_name),
        "The name that the certificates of `tls://` nodes must carry.",
    )
    .otherwise("the address's host"),
    Whole::new(
        "failover.enabled",
        Flag(|draft| &mut draft.config.failover.enabled),
        "Whether a primary may be replaced. Without it no strategy elects: `per_repository` answers the recorded primary \
         while it is fit, `sql` and `local` the first configured node while it is up.",
    ),
    Whole::new(
        "failover.election_strategy",
        Choice(
            &["per_repository", "sql", "local"],
            |draft, place| {
                draft.config.failover.election_strategy = STRATEGIES.get(place).copied().unwrap_or_default();
            },
            |draft| {
                let chosen = draft.config.failover.election_strategy;
                STRATEGIES.iter().position(|strategy| *strategy == chosen).unwrap_or(0)
            },
        ),
        "What has a primary, and where it is recorded: each repository, in the database; each virtual storage as a whole, \
         in the database (`sql`) or in the memory of a supervisor that is alone (`local`). The same for all supervisors.",
    ),
    Whole::new(
        "failover.settle_batch",
        Number(|draft| &mut draft.config.failover.settle_batch, 0, 10_000),
        "The most repositories of a dead node that get another primary in one transaction before anybody asks for them, \
         under `per_repository`. 0: each waits until somebody asks.",
    )
    .not_in_rounds(),
    Whole::new(
        "failover.settle_pause",
        Time(|draft| &mut draft.config.failover.settle_pause, 0, HOUR),
        "The pause between two such transactions, so that lookups and writes get their turn; an eighth of what the last one \
         took, at most 1 s, if that is longer.",
    )
    .not_in_rounds(),
    Whole::new(
        "failover.error_threshold_window",
        Time(|draft| &mut draft.errors.window, 0, HOUR),
        "How long a failed call of real traffic counts. A node whose reads or writes fail so often within it is out until \
         it serves again after a cool-down, whatever its probes say. All three or none; 0 is none. At least 100ms.",
    )
    .live(),
    Whole::new(
        "failover.read_error_threshold_count",
        Number(|draft| &mut draft.errors.reads, 0, THRESHOLD_MAX),
        "So many failed reads within the window are too many.",
    )
    .live(),
    Whole::new(
        "failover.write_error_threshold_count",
        Number(|draft| &mut draft.errors.writes, 0, THRESHOLD_MAX),
        "So many failed writes within the window are too many.",
    )
    .live(),
    Whole::new(
        "failover.error_cool_down",
        MaybeTime(|draft| &mut draft.errors.cool_down, 100, HOUR),
        "How long a node that failed too many calls stays out at least. A reload that changes any of the four counts afresh.",
    )
    .otherwise("the window")
    .live(),
    Whole::new(
        "feed.ttl",
        Time(|draft| &mut draft.config.feed.ttl, 10, HOUR),
        "What is in memory is believed for so long after the last sign that changes are heard of.",
    ),
    Whole::new(
        "feed.check",
        Time(|draft| &mut draft.config.feed.check, 1, HOUR),
        "Time between two checks that the database is heard still. Two must fit into `ttl`.",
    ),
    Whole::new(
        "feed.poll",
        Time(|draft| &mut draft.config.feed.poll, 1, HOUR),
        "Time between two polls where nobody can be listened to (a pooler, or until PostgreSQL or the reader of SQLite's file \
         is heard again), and so the age of what is answered from memory there. Two must fit into `ttl`.",
    ),
    Whole::new(
        "feed.listen",
        Flag(|draft| &mut draft.config.feed.listen),
        "Whether PostgreSQL is asked to notify. Behind a pooler that hands out transactions nobody would hear it, unless \
         `database.session_pooled` leads past it: changes are polled then.",
    ),
    Whole::new(
        "feed.entries",
        Number(|draft| &mut draft.config.feed.entries, 0, 10_000_000),
        "The most repositories whose up-to-date storages are kept in memory, at some 200 bytes each, and the most whose \
         primaries are, at some 400. 0 keeps none, and nothing is listened to either.",
    ),
    Whole::new(
        "feed.failsafe_ttl",
        Time(|draft| &mut draft.config.feed.failsafe_ttl, 10, HOUR),
        "While the database is down, primaries are answered from memory for so long after the last sign of it, and said \
         to be what was last known. At least `ttl`.",
    ),
    Whole::new(
        "consensus.expected_supervisors",
        MaybeNumber(|draft| &mut draft.config.settings.expected_supervisors, 1, 1_000),
        "The least size of an electorate, so that a lone survivor does not rule.",
    )
    .otherwise("the live ones"),
    Whole::new(
        "consensus.voter_ttl",
        Time(|draft| &mut draft.config.settings.voter_ttl, 10, HOUR),
        "A supervisor that is silent for longer is dead, and its votes with it.",
    ),
    Whole::new(
        "consensus.vote_ttl",
        Time(|draft| &mut draft.config.settings.vote_ttl, 10, HOUR),
        "The vote on a node that nobody could look at for longer is withdrawn.",
    ),
    Whole::new(
        "consensus.decision_ttl",
        Time(|draft| &mut draft.config.settings.decision_ttl, 10, HOUR),
        "The oldest facts that an election may rest on.",
    ),
    Whole::new(
        "consensus.without_candidate",
        Choice(
            &["keep", "demote"],
            |draft, place| {
                let demote = place == 1;
                let chosen = if demote { WithoutCandidate::Demote } else { WithoutCandidate::Keep };
                draft.config.settings.without_candidate = chosen;
            },
            |draft| usize::from(draft.config.settings.without_candidate == WithoutCandidate::Demote),
        ),
        "What becomes of a primary that may not stay when nobody can take its place: its row stays, or is emptied.",
    ),
    Whole::new(
        "consensus.praefect_notifications",
        Flag(|draft| &mut draft.config.settings.praefect_notifications),
        "Whether Praefect's own notification channels are fed.",
    ),
];

/// The keys of one `[[virtual_storage]]`.
pub(super) const CLUSTER: &[Key<ClusterDraft>] = &[
    Cluster::new("name", Text(|draft| &mut draft.name), "The name under which clients know this cluster of storages.")
        .otherwise("required"),
    Cluster::new(
        "default_replication_factor",
        Number(|draft| &mut draft.default_replication_factor, 0, 1_000),
        "How many storages a new repository is assigned to; 0: all of them, and nothing is stored. At most as many as \
         there are nodes.",
    )
    .live(),
];

/// The keys of one `[[virtual_storage.node]]`.
pub(super) const NODE: &[Key<NodeDraft>] = &[
    Node::new("storage", Text(|draft| &mut draft.storage), "The node's name, unique within its virtual storage.")
        .otherwise("required")
        .live(),
    Node::new(
        "address",
        Text(|draft| &mut draft.address),
        "Where it listens: `tcp://host:port`, `tls://host:port`, `unix:/path` or `dns:host:port`.",
    )
    .otherwise("required")
    .live(),
    Node::new("token", Hidden(|draft| &mut draft.token), "The secret that proves to the node who calls. Never shown.")
        .otherwise("none: calls carry no proof")
        .live(),
];
