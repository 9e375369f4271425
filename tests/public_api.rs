//! Every public path, once: moving one breaks somebody, so it must break this first.
#![allow(unused_imports, reason = "naming is the test")]

use quorate::{
    Config, ConfigError, Error, Ports, Supervisor,
    actors::{
        BehindCell, Beliefs, Cells, ChildSpec, ConfiguredNodes, ElectorConfig, EraKeeper, EraKeeperConfig,
        FixedElector, FixedElectorConfig, Guardian, HealthManager, HealthManagerConfig, KnownPrimaries, LocalElector,
        LocalElectorConfig, LocalView, NodeActor, NodeCell, NodeHandle, NodeSpec, Notifier, PerRepositoryElector,
        PrimaryTable, Relay, Reply, SUBSCRIBERS_MAX, Subscribers, VirtualStorageElector, VirtualStorageElectorConfig,
        WatchedNode,
    },
    config::{
        DatabaseConfig, DatabaseUrl, ElectionStrategy, FailoverConfig, HealthConfig, NodeConfig, Problem, Secret,
        VirtualStorageConfig,
    },
    core::{
        assignment::{InvalidReplicationFactor, plan},
        consensus::{
            Consensus, HealthFacts, MemberRow, NodeConsensus, Opinion, SupervisorRow, VoteRow, differs, tally,
        },
        election::{
            Decision, Election, ElectionFacts, Fence, Lags, NoCandidate, Primary, Reason, RecordedShard, Refusal,
            ReplicaFacts, ShardDecision, ShardElection, ShardFacts, StorageAttributes, Target, WaitReason,
            candidates_of, choose_local, decide, decide_shard, follow, refusals, shard_refusals, standing,
            stands_alone, verdicts,
        },
        epoch::{EPOCH_NUMBER_MAX, ERA_MAX, Epoch, Era, FactsVersion, Generation, Given, InvalidEpoch, Revision},
        error_tracker::{ErrorLimits, ErrorTracker, THRESHOLD_MAX, Traffic, TrafficHealth, Trips},
        evidence::{Evidence, Hard, Misconfigured, Ours, Soft},
        flights::{Boarding, Flight, Flights},
        ids::{
            ClusterId, DecisionId, Incarnation, InvalidName, NodeId, RelativePath, RepositoryId, Storage,
            SupervisorName, VirtualStorage, Voter,
        },
        lookup::{Freshness, Source, Trust},
        monitor::{HeartbeatReply, Monitor, RegisterReply, SettingsInForce, Suspicion, Worry, WrittenBatch},
        patience::{Patience, RESTART_PACE},
        penalty::Penalties,
        prober::{Effect, Input, Prober, Via},
        quorum::{QuorumPolicy, Tally, Verdict},
        recusal::{Distrust, Hold, Limits, Recusal},
        reports::{Behind, FenceReport, Next, Reported, Reports},
        round_trips::RoundTrips,
        settings::{Profile, Settings, WithoutCandidate},
        shard::Shard,
        time::{Age, DatabaseTime, Timestamp},
        watching::{Watching, Word},
        window::{HealthWindow, Thresholds},
    },
    error::GrpcCode,
    fencing::{
        AnnounceOptions, Announced, Claim, EpochGuard, EpochStore, FenceLayer, FenceMode, FenceRefusal, FileEpochStore,
        MemoryEpochStore, announce, attach, report,
    },
    messages::{
        consensus::{ConsensusChanged, GetHealthConsensus, Subscribe},
        control::{GetRestarts, Leave, StopAll},
        election::{GetPrimary, GetShard, PrimaryAnswer},
        health::{
            CheckHealth, GetHealthyNodes, GetNodeHealth, HealthyNodes, NodeHealth, NodeReport, ProbeNow, RoundReport,
            RunRound, Suspected, Tick,
        },
    },
    store::{
        CasOutcome, CensusStore, Created, Current, Deleted, ElectionSnapshot, ElectionStore, Expected, HealthSnapshot,
        HealthStore, Heartbeat, NewRepository, Outcome, PrimaryChange, Proposal, Refused, Registered, Registration,
        RepositoriesCount, RepositoryStore, ShardExpected, ShardProposal, ShardSnapshot, ShardStore, StorageChange,
        Store, StoreError, StoreErrorKind, StoreOp, StoredSettings, VoteBatch, VotesWritten,
        memory::{ManualClock, MemoryStore},
        postgres::{PostgresOptions, PostgresStore},
        sqlite::{SqliteOptions, SqliteStore},
    },
    testing::{
        histories::run_history,
        inbox::{Inbox, Received},
        probe::{ScriptedNode, ScriptedTransport},
        store_suite, wait,
    },
    transport::{
        ByName, DialError, DialOptions, Fences, FileProblem, HealthProbe, InvalidAddress, LatencyRecorder, Link,
        MethodClassifier, NodeAddress, Place, TlsIdentity, TrafficErrors, Transport, Words,
        grpc::{
            BytesCodec, BytesDecoder, BytesEncoder, CORRELATION_ID_KEY, Call, CallHook, Connection, GrpcTransport,
            NodeChannel, Propagate, Resolver, SystemResolver, TraceParent, TrackErrors, Tracked, TrackedBody,
            auth::{AuthError, Verifier, WINDOW, WallClock, system_clock},
            dial,
            ping::{PingError, PingOptions, PingProblem, PingReport, Served, ServedStorage, ping, ping_with},
            relay,
        },
    },
};

#[test]
fn a_handle_goes_to_any_thread() {
    fn sent<T: Send + Sync + Clone>() {}
    sent::<Supervisor>();
    sent::<NodeHandle<u64>>();
}
