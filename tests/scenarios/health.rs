//! The table of the HealthManager: who sees what, what the quorum makes of it, and whether anybody is told.

use crate::lab::{Kind, LIMIT, Lab, PROFILES, node, on_both, supervisor};
use actix::{Actor, Addr};
use quorate::{
    Config,
    actors::{
        Cells, HealthManager, HealthManagerConfig, NodeActor, NodeCell, NodeSpec, Notifier, Relay, Subscribers,
        WatchedNode,
    },
    core::{
        consensus::Opinion,
        epoch::Revision,
        evidence::{Evidence, Hard},
        ids::NodeId,
        monitor::SettingsInForce,
        settings::{Profile, Settings},
    },
    messages::{
        consensus::{ConsensusChanged, Subscribe},
        health::{CheckHealth, GetHealthyNodes, Tick},
    },
    store::{HealthStore, VoteBatch},
    testing::{
        inbox::{Inbox, Received},
        probe::ScriptedNode,
        wait,
    },
    transport::TrafficErrors,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// A node and whether it answers SERVING to this supervisor.
type View = &'static [(&'static str, &'static str, bool)];
/// The healthy nodes, by virtual storage.
type Healthy = &'static [(&'static str, &'static [&'static str])];

struct Step {
    /// Shift all stamps this many seconds into the past first.
    shift: u64,
    who: &'static str,
    view: View,
    /// The consensus and whether `ConsensusChanged` is broadcast, as in the original.
    praefect: (Healthy, bool),
    /// The same under the default profile and `lan`.
    ours: (Healthy, bool),
}

const fn same(shift: u64, who: &'static str, view: View, healthy: Healthy, signal: bool) -> Step {
    Step { shift, who, view, praefect: (healthy, signal), ours: (healthy, signal) }
}

/// One supervisor: real actors, scripted nodes, its ticks injected.
struct Peer {
    cells: Arc<Cells>,
    manager: Addr<HealthManager>,
    nodes: BTreeMap<NodeId, (ScriptedNode, Addr<NodeActor>)>,
    told: Received<ConsensusChanged>,
    heard: usize,
}

async fn peer(lab: &Lab, name: &str, settings: &Settings, watched: BTreeSet<NodeId>) -> Peer {
    let cells = Cells::new(SettingsInForce { revision: Revision(1), settings: settings.clone() });
    let (reports, rounds) = (Relay::vacant(), Relay::vacant());
    let (mut nodes, mut watching) = (BTreeMap::new(), Vec::new());
    for node in watched {
        let script = ScriptedNode::default();
        let actor = NodeActor::new(NodeSpec {
            node: node.clone(),
            probe: Arc::new(script.clone()),
            thresholds: Config::new(settings.profile, "sqlite:unused").health.thresholds,
            patience: Duration::from_secs(1).into(),
            interval: None,
            bootstrap_interval: Duration::from_millis(100),
            watch: false,
            reports: reports.clone(),
            rounds: rounds.clone(),
            errors: None,
            traffic: TrafficErrors::default(),
            latency: Arc::new(()),
            cell: NodeCell::default(),
        })
        .start();
        watching.push(WatchedNode { node: node.clone(), probe: Relay::to(&actor), round: Relay::to(&actor) });
        nodes.insert(node, (script, actor));
    }
    let manager = HealthManager::new(HealthManagerConfig {
        recusal: quorate::core::recusal::Limits::default(),
        name: supervisor(name),
        address: None,
        heartbeat: None,
        store_timeout: LIMIT,
        round_timeout: Duration::from_secs(1),
        store: lab.store.clone(),
        cells: cells.clone(),
        nodes: watching,
    })
    .start();
    reports.set(manager.clone().recipient());
    rounds.set(manager.clone().recipient());
    let (inbox, told) = Inbox::<ConsensusChanged>::start();
    let notifier = Notifier::new(cells.clone(), Subscribers::default()).start();
    assert!(notifier.send(Subscribe(inbox.recipient())).await.unwrap());
    Peer { cells, manager, nodes, told, heard: 0 }
}

fn up(view: View) -> BTreeMap<String, Vec<String>> {
    let mut by_vs = BTreeMap::<String, Vec<String>>::new();
    for (vs, name, _) in view.iter().filter(|(_, _, up)| *up) {
        by_vs.entry((*vs).to_owned()).or_default().push((*name).to_owned());
    }
    by_vs
}

fn named(healthy: Healthy) -> BTreeMap<String, Vec<String>> {
    healthy.iter().map(|(vs, names)| ((*vs).to_owned(), names.iter().map(|n| (*n).to_owned()).collect())).collect()
}

impl Peer {
    /// The consensus as this supervisor published it last.
    fn consensus(&self) -> BTreeMap<String, Vec<String>> {
        let known = self.cells.consensus.borrow().clone();
        let healthy = known.map(|known| known.healthy()).unwrap_or_default();
        healthy
            .into_iter()
            .map(|(vs, names)| (vs.to_string(), names.iter().map(ToString::to_string).collect()))
            .collect()
    }

    /// Exactly one round: every node asked, the votes stored, everybody's read back.
    async fn round(&mut self, lab: &Lab, profile: Profile, view: View, what: &str) {
        for (vs, name, up) in view {
            let evidence = if *up { Evidence::Serving } else { Evidence::Hard(Hard::NotServing) };
            self.nodes[&node(vs, name)].0.answers(evidence);
        }
        let reads = lab.store.reads();
        self.manager.send(Tick).await.unwrap();
        if profile == Profile::Praefect {
            return wait::until(&format!("{what}: read back"), LIMIT, || lab.store.reads() > reads).await;
        }
        let registered = || self.cells.voter.borrow().is_some();
        wait::until(&format!("{what}: registered"), LIMIT, registered).await;
        // Whoever was silent registers anew first, and looks before it votes. A return takes `rise` successes.
        wait::until(&format!("{what}: the heartbeat was answered"), LIMIT, || lab.store.reads() > reads).await;
        for _ in 0..3 {
            for (_, actor) in self.nodes.values() {
                // Waits for the outcome: a probe that finds another under way would count for nothing.
                actor.send(CheckHealth).await.unwrap();
            }
        }
        let (me, wanted) = (self.cells.voter.borrow().clone(), view);
        wait::until_async(&format!("{what}: voted"), LIMIT, async || {
            let stored = lab.store.inner.health_facts().await.unwrap().facts.votes;
            let now = self.cells.voter.borrow().clone();
            wanted.iter().all(|(vs, name, up)| {
                let opinion = if *up { Opinion::Up } else { Opinion::Down };
                stored.iter().any(|vote| {
                    Some(&vote.supervisor) == me.as_ref().map(|me| &me.name)
                        && vote.incarnation == now.as_ref().map(|now| now.incarnation)
                        && vote.node == node(vs, name)
                        && vote.opinion == Some(opinion)
                })
            })
        })
        .await;
        let reads = lab.store.reads();
        self.manager.send(Tick).await.unwrap();
        wait::until(&format!("{what}: read back"), LIMIT, || lab.store.reads() > reads).await;
    }
}

async fn play(kind: Kind, steps: &'static [Step]) {
    for profile in PROFILES {
        let settings = Settings::of(profile);
        let lab = Lab::new(kind, &settings).await;
        let mut peers: BTreeMap<&str, Peer> = BTreeMap::new();
        for (number, step) in steps.iter().enumerate() {
            let what = format!("{kind:?} {profile:?} step {}", number + 1);
            if step.shift > 0 {
                lab.shift(step.shift).await;
            }
            if !peers.contains_key(step.who) {
                let watched = step.view.iter().map(|(vs, name, _)| node(vs, name)).collect();
                peers.insert(step.who, peer(&lab, step.who, &settings, watched).await);
            }
            let peer = peers.get_mut(step.who).unwrap();
            peer.round(&lab, profile, step.view, &what).await;
            let (healthy, signal) = if profile == Profile::Praefect { step.praefect } else { step.ours };
            let expected = named(healthy);
            wait::until(&format!("{what}: {expected:?}, known is {:?}", peer.consensus()), LIMIT, || {
                peer.consensus() == expected
            })
            .await;
            let local = peer.manager.send(GetHealthyNodes).await.unwrap().0;
            let local: BTreeMap<String, Vec<String>> = local
                .into_iter()
                .map(|(vs, names)| (vs.to_string(), names.iter().map(ToString::to_string).collect()))
                .collect();
            assert_eq!(local, up(step.view), "{what}: the local view");
            let last = peer.cells.consensus.borrow().as_ref().map(|known| known.revision);
            wait::until(&format!("{what}: subscribers have the last one"), LIMIT, || {
                peer.told.last().map(|told| told.0.revision) == last
            })
            .await;
            assert_eq!(peer.told.count() > peer.heard, signal, "{what}: told {:?}", peer.told.all());
            if profile == Profile::Praefect {
                assert!(peer.told.count() - peer.heard <= 1, "{what}: at most one signal a round");
            }
            peer.heard = peer.told.count();
        }
    }
}

macro_rules! tables {
    ($($name:ident: $steps:expr;)*) => {
        $(on_both!($name, |kind| super::play(kind, { use super::*; const STEPS: &[Step] = $steps; STEPS }));)*
    };
}

const G1_UP: View = &[("v1", "g1", true)];
const G1_DOWN: View = &[("v1", "g1", false)];
const G1: Healthy = &[("v1", &["g1"])];
const NOBODY: Healthy = &[];

tables! {
    single_voter_basics: &[same(0, "p1",
        &[("v1", "g1", true), ("v1", "g2", true), ("v2", "g1", true), ("v2", "g2", false), ("v3", "g1", false), ("v3", "g2", false)],
        &[("v1", &["g1", "g2"]), ("v2", &["g1"])], true)];
    own_vote_turns_healthy: &[same(0, "p1", G1_DOWN, NOBODY, true), same(0, "p1", G1_UP, G1, true)];
    // A vote against counts at once under the default profile; in the original a failed check leaves the last success
    // to age for ten seconds.
    own_healthy_vote_still_counts_before_timeout: &[
        same(0, "p1", G1_UP, G1, true),
        Step { shift: 0, who: "p1", view: G1_DOWN, praefect: (G1, false), ours: (NOBODY, true) }];
    own_healthy_vote_discounted_after_timeout: &[same(0, "p1", G1_UP, G1, true), same(10, "p1", G1_DOWN, NOBODY, true)];
    inactive_praefects_leave_the_quorum: &[
        same(0, "p1", G1_DOWN, NOBODY, true), same(0, "p2", G1_DOWN, NOBODY, true), same(61, "p3", G1_UP, G1, true)];
    // Who does not watch a node does not weigh on it; in the original silence about it is a vote against (defect G).
    unconfigured_node_in_minority: &[
        same(0, "p1", &[("v1", "configured", true)], &[("v1", &["configured"])], true),
        same(0, "p2", &[("v1", "configured", true)], &[("v1", &["configured"])], true),
        Step { shift: 0, who: "p3", view: &[("v1", "configured", true), ("v1", "unconfigured", true)],
            praefect: (&[("v1", &["configured"])], true), ours: (&[("v1", &["configured", "unconfigured"])], true) }];
    // One of two is no majority; in the original it is enough (defect E).
    majority_healthy: &[
        same(0, "p1", G1_DOWN, NOBODY, true),
        Step { shift: 0, who: "p2", view: G1_UP, praefect: (G1, true), ours: (NOBODY, true) },
        same(0, "p3", G1_UP, G1, true)];
    majority_unhealthy: &[
        same(0, "p1", G1_UP, G1, true),
        Step { shift: 0, who: "p2", view: G1_DOWN, praefect: (G1, true), ours: (NOBODY, true) },
        same(0, "p3", G1_DOWN, NOBODY, true)];
    first_check_signals_even_if_all_down: &[same(0, "p1", G1_DOWN, NOBODY, true), same(0, "p1", G1_DOWN, NOBODY, false)];
    node_becoming_healthy: &[
        same(0, "p1", &[("v1", "g1", true), ("v1", "g2", false)], G1, true),
        same(0, "p1", &[("v1", "g1", true), ("v1", "g2", true)], &[("v1", &["g1", "g2"])], true)];
    same_set_does_not_signal: &[same(0, "p1", G1_UP, G1, true), same(0, "p1", G1_UP, G1, false)];
}

/// A round whose write is stuck behind somebody's lock is given up, said so, and the next one goes on.
async fn database_timeout(kind: Kind) {
    let settings = Settings::of(Profile::Praefect);
    let lab = Lab::new(kind, &settings).await;
    let mut p1 = peer(&lab, "p1", &settings, [node("v1", "g1")].into()).await;
    p1.round(&lab, Profile::Praefect, G1_UP, "the first round").await;
    let lock = lab.lock_votes().await;
    p1.manager.send(Tick).await.unwrap();
    wait::until("the write is given up", LIMIT, || p1.cells.complaint.borrow().is_some()).await;
    let complaint = p1.cells.complaint.borrow().clone().unwrap();
    assert!(complaint.contains("locked"), "{complaint}");
    lock.release().await;
    // The heartbeat may have been the one to complain, while the write still waits: then a later tick writes again.
    let reads = lab.store.reads();
    wait::until_async("a later round is read back", LIMIT, async || {
        p1.manager.send(Tick).await.unwrap();
        lab.store.reads() > reads
    })
    .await;
    assert_eq!(p1.consensus(), named(G1));
}
on_both!(database_timeout_is_an_error_and_not_the_end, super::database_timeout);

/// Two writes of one supervisor in opposite order, many times over: no deadlock (F23).
async fn ordered_writes(kind: Kind) {
    let settings = Settings::of(Profile::Praefect);
    let lab = Lab::new(kind, &settings).await;
    let mut p1 = peer(&lab, "p1", &settings, [node("v1", "g1"), node("v1", "g2")].into()).await;
    p1.round(&lab, Profile::Praefect, &[("v1", "g1", true), ("v1", "g2", true)], "the first round").await;
    let voter = p1.cells.voter.borrow().clone().unwrap();
    let both = [(node("v1", "g1"), Opinion::Up), (node("v1", "g2"), Opinion::Up)];
    let batches: Vec<VoteBatch> = (0..400)
        .map(|number| {
            let mut votes = both.to_vec();
            if number % 2 == 0 {
                votes.reverse();
            }
            VoteBatch { number: 100 + number, votes }
        })
        .collect();
    // Few run at once, so it takes many until two would meet.
    for wave in batches.chunks(40) {
        let written =
            futures_util::future::join_all(wave.iter().map(|batch| lab.store.votes_write(&voter, batch))).await;
        assert!(written.iter().all(Result::is_ok), "{written:?}");
    }
}
on_both!(ordered_writes_do_not_deadlock, super::ordered_writes);

/// A Praefect counts whoever tried within a minute and saw within ten seconds: while one votes, nothing of ours may stand
/// still, and when it has gone nothing is written for it any more.
async fn beside_a_praefect(kind: Kind) {
    let patient = Duration::from_secs(60);
    let settings = Settings { voter_ttl: patient, vote_ttl: patient, ..Settings::of(Profile::Default) };
    let lab = Lab::new(kind, &settings).await;
    let mut s1 = peer(&lab, "s1", &settings, [node("v", "g1"), node("v", "g2")].into()).await;
    s1.round(&lab, Profile::Default, &[("v", "g1", true), ("v", "g2", false)], "the first round").await;
    let tick = async || {
        let reads = lab.store.reads();
        s1.manager.send(Tick).await.unwrap();
        wait::until("read back", LIMIT, || lab.store.reads() > reads).await;
    };
    // How many of the two rows were written within the last quarter of a minute: tried, and the one that is up seen.
    let young = async || {
        let votes = lab.store.inner.health_facts().await.unwrap().facts.votes;
        let is_young = |age: Option<quorate::core::time::Age>| age.is_some_and(|age| age.is_within(patient / 4));
        let mine = votes.iter().filter(|vote| vote.supervisor == supervisor("s1"));
        mine.filter(|vote| is_young(vote.contact_age) && (vote.opinion != Some(Opinion::Up) || is_young(vote.seen_age)))
            .count()
    };
    for praefect_votes in [false, true, true, true, false] {
        if praefect_votes {
            lab.foreign_probe("g1", true).await;
        } else {
            lab.sql("DELETE FROM node_status WHERE praefect_name = 'praefect'").await;
        }
        tick().await;
        tick().await;
        for column in ["last_contact_attempt_at", "last_seen_active_at"] {
            lab.age("node_status", column, 30, "praefect_name = 's1'").await;
        }
        for _ in 0..3 {
            tick().await;
        }
        if praefect_votes {
            wait::until_async("both rows are stamped", LIMIT, async || young().await == 2).await;
        } else {
            assert_eq!(young().await, 0, "at rest nothing is written");
        }
    }
}
on_both!(while_a_praefect_votes_every_round_stamps_every_row, super::beside_a_praefect);
