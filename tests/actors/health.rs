//! Node actors and the HealthManager, told things by hand.

use crate::world::{LIMIT, World, ms, name, node, storage, verdict, vs};
use actix::Actor;
use quorate::{
    actors::{Cells, HealthManager, HealthManagerConfig, NodeActor, NodeCell, NodeSpec, Relay, WatchedNode},
    core::{
        consensus::Opinion,
        epoch::Revision,
        evidence::{Evidence, Hard, Ours, Soft},
        ids::NodeId,
        monitor::SettingsInForce,
        prober::Via,
        quorum::Verdict,
        settings::{Profile, Settings},
        window::Thresholds,
    },
    messages::{
        consensus::GetHealthConsensus,
        health::{GetHealthyNodes, GetNodeHealth, NodeReport, ProbeNow, RoundReport, RunRound, Tick},
    },
    store::{StoreErrorKind, StoreOp, memory::MemoryStore, memory::StoredVote},
    testing::{inbox::Inbox, probe::ScriptedNode, wait},
    transport::TrafficErrors,
};
use std::sync::Arc;

fn spec(probe: &ScriptedNode, reports: Relay<NodeReport>, rounds: Relay<RoundReport>) -> NodeSpec {
    NodeSpec {
        node: node("g1"),
        probe: Arc::new(probe.clone()),
        thresholds: Thresholds { fall: 3, rise: 3, first: 1, window: 10 },
        patience: ms(300).into(),
        interval: None,
        bootstrap_interval: ms(100),
        watch: false,
        reports,
        rounds,
        errors: None,
        traffic: TrafficErrors::default(),
        latency: Arc::new(()),
        cell: NodeCell::default(),
    }
}

#[actix::test]
async fn a_node_actor_reports_what_each_tick_found() {
    tokio::time::pause();
    let (inbox, reports) = Inbox::<NodeReport>::start();
    let probe = ScriptedNode::default();
    let actor = NodeActor::new(spec(&probe, Relay::to(&inbox), Relay::vacant())).start();
    actor.send(ProbeNow).await.unwrap();
    wait::until("a report", LIMIT, || reports.count() == 1).await;
    assert_eq!(reports.last().unwrap().opinion, Opinion::Up);

    probe.answers(Evidence::Hard(Hard::Refused));
    actor.send(ProbeNow).await.unwrap();
    wait::until("a second report", LIMIT, || reports.count() == 2).await;
    assert_eq!(reports.last().unwrap().opinion, Opinion::Down);
    assert_eq!(probe.probes(), vec![Via::Kept, Via::Kept, Via::Fresh], "confirmed once, on a fresh connection");
    let health = actor.send(GetNodeHealth).await.unwrap();
    assert_eq!(health.window, vec![true, false]);
}

#[actix::test]
async fn a_connection_that_broke_while_the_node_serves_moves_nothing() {
    tokio::time::pause();
    let (inbox, reports) = Inbox::<NodeReport>::start();
    let probe = ScriptedNode::default();
    let actor = NodeActor::new(spec(&probe, Relay::to(&inbox), Relay::vacant())).start();
    probe.answers_on_kept(Evidence::Hard(Hard::Reset));
    actor.send(ProbeNow).await.unwrap();
    wait::until("a report", LIMIT, || reports.count() == 1).await;
    assert_eq!(reports.last().unwrap().opinion, Opinion::Up);
}

#[actix::test]
async fn a_silent_node_is_probed_thrice_and_gets_a_new_connection() {
    tokio::time::pause();
    let (inbox, reports) = Inbox::<NodeReport>::start();
    let probe = ScriptedNode::default();
    let actor = NodeActor::new(spec(&probe, Relay::to(&inbox), Relay::vacant())).start();
    probe.takes(LIMIT);
    let began = tokio::time::Instant::now();
    actor.send(ProbeNow).await.unwrap();
    (0..5).for_each(|_| drop(actor.try_send(ProbeNow)));
    wait::until("down", LIMIT, || reports.last().is_some_and(|report| report.opinion == Opinion::Down)).await;
    assert!(began.elapsed() < ms(950), "three timeouts, not three intervals: {:?}", began.elapsed());
    assert_eq!(probe.probes().len(), 3, "one probe in flight at most");
    assert_eq!(probe.reconnects(), 1);
}

#[actix::test]
async fn a_round_that_finds_the_last_one_open_is_not_answered_twice() {
    tokio::time::pause();
    let (inbox, rounds) = Inbox::<RoundReport>::start();
    let probe = ScriptedNode::default();
    let actor = NodeActor::new(spec(&probe, Relay::vacant(), Relay::to(&inbox))).start();
    probe.takes(ms(200));
    actor.send(RunRound { round: 1 }).await.unwrap();
    actor.send(RunRound { round: 2 }).await.unwrap();
    tokio::time::sleep(ms(500)).await;
    assert_eq!(rounds.all(), vec![seen(1, "g1")]);
}

/// A HealthManager without node actors: the test is its nodes and its timer.
struct Alone {
    store: Arc<MemoryStore>,
    cells: Arc<Cells>,
    manager: actix::Addr<HealthManager>,
}

fn alone(profile: Profile) -> Alone {
    alone_with(profile, ["g1", "g2"].map(node).to_vec())
}

fn alone_with(profile: Profile, nodes: Vec<NodeId>) -> Alone {
    let watched = |node| WatchedNode { node, probe: Relay::vacant(), round: Relay::vacant() };
    tokio::time::pause();
    let store = Arc::new(MemoryStore::default());
    let cells = Cells::new(SettingsInForce { revision: Revision(1), settings: Settings::of(profile) });
    let manager = HealthManager::new(HealthManagerConfig {
        recusal: quorate::core::recusal::Limits::default(),
        name: name("s1"),
        address: None,
        heartbeat: None,
        store_timeout: ms(2_000),
        round_timeout: ms(1_000),
        store: store.clone(),
        cells: cells.clone(),
        nodes: nodes.into_iter().map(watched).collect(),
    });
    Alone { store, cells, manager: manager.start() }
}

impl Alone {
    async fn registered(profile: Profile) -> Alone {
        let alone = alone(profile);
        alone.manager.send(Tick).await.unwrap();
        let cells = alone.cells.clone();
        wait::until("registered", LIMIT, || cells.voter.borrow().is_some()).await;
        alone
    }
    async fn report(&self, about: &str, opinion: Opinion) {
        let evidence = if opinion == Opinion::Up { Evidence::Serving } else { Evidence::Soft(Soft::Timeout) };
        self.manager.send(NodeReport { node: node(about), opinion, evidence, host: None }).await.unwrap();
    }
    async fn verdict(&self, about: &str, verdict: Verdict) {
        let cells = self.cells.clone();
        let holds = || cells.consensus.borrow().as_ref().is_some_and(|known| known.verdict(&node(about)) == verdict);
        wait::until(&format!("{about} {verdict:?}"), LIMIT, holds).await;
    }
}

#[actix::test]
async fn injected_reports_become_votes_and_a_consensus() {
    let alone = Alone::registered(Profile::Default).await;
    alone.report("g1", Opinion::Up).await;
    alone.report("g2", Opinion::Down).await;
    alone.verdict("g1", Verdict::Healthy).await;
    alone.verdict("g2", Verdict::Unhealthy).await;
    let healthy = alone.manager.send(GetHealthyNodes).await.unwrap();
    assert_eq!(healthy.0, [(vs(), vec![storage("g1")])].into());
    let consensus = alone.manager.send(GetHealthConsensus).await.unwrap().unwrap();
    assert_eq!(consensus.healthy(), [(vs(), [storage("g1")].into())].into());
}

#[actix::test]
async fn ten_thousand_nodes_may_report_in_one_burst() {
    let nodes: Vec<NodeId> = (0..10_000).map(|number| node(&format!("n{number}"))).collect();
    let alone = alone_with(Profile::Default, nodes.clone());
    // A mailbox has its size once its actor runs.
    alone.manager.send(GetHealthyNodes).await.unwrap();
    for node in &nodes {
        let report = NodeReport { node: node.clone(), opinion: Opinion::Up, evidence: Evidence::Serving, host: None };
        alone.manager.try_send(report).unwrap_or_else(|error| panic!("{node}: {error}"));
    }
    let healthy = alone.manager.send(GetHealthyNodes).await.unwrap();
    assert_eq!(healthy.0[&vs()].len(), nodes.len());
}

#[actix::test]
async fn a_report_about_a_node_that_nobody_watches_changes_nothing() {
    let alone = Alone::registered(Profile::Default).await;
    alone.report("g9", Opinion::Up).await;
    alone.report("g1", Opinion::Up).await;
    alone.verdict("g1", Verdict::Healthy).await;
    assert!(!alone.store.stored_votes().iter().any(|vote| vote.node == node("g9")));
}

#[actix::test]
async fn a_cluster_at_rest_writes_nothing_but_heartbeats() {
    let alone = Alone::registered(Profile::Default).await;
    alone.report("g1", Opinion::Up).await;
    alone.verdict("g1", Verdict::Healthy).await;
    let votes = |alone: &Alone| alone.store.activity().get(&StoreOp::VotesWrite).map_or(0, |activity| activity.calls);
    let before = votes(&alone);
    for _ in 0..30 {
        alone.report("g1", Opinion::Up).await;
        alone.manager.send(Tick).await.unwrap();
        tokio::time::sleep(ms(500)).await;
    }
    assert_eq!(votes(&alone), before);
}

/// Praefect counts whoever tried within a minute and saw within ten seconds: nothing may stand still while it reads along.
#[actix::test]
async fn while_a_praefect_votes_every_heartbeat_stamps_every_row_and_then_no_more() {
    let alone = Alone::registered(Profile::Default).await;
    alone.report("g1", Opinion::Up).await;
    alone.report("g2", Opinion::Down).await;
    alone.verdict("g2", Verdict::Unhealthy).await;
    let beat = async |praefect: bool| {
        if praefect {
            alone.store.foreign_vote(&name("p1"), &node("g1"), Some(ms(0)), Some(ms(0)));
        }
        alone.report("g1", Opinion::Up).await;
        alone.report("g2", Opinion::Down).await;
        alone.manager.send(Tick).await.unwrap();
        tokio::time::sleep(ms(1_000)).await;
    };
    let rows = || alone.store.activity()[&StoreOp::VotesWrite].rows;
    let before = rows();
    beat(true).await;
    assert_eq!(rows(), before, "known from the next read on");
    for beats in 1..=12 {
        beat(true).await;
        assert_eq!(rows(), before + 2 * beats, "two rows a heartbeat");
        let young = |vote: &StoredVote| vote.contact_age.is_some_and(|age| age.is_within(ms(1_500)));
        let votes = alone.store.stored_votes();
        assert!(votes.iter().filter(|vote| vote.supervisor == name("s1")).all(young), "{votes:?}");
    }
    // It is counted for a minute after it was last heard of.
    for _ in 0..61 {
        beat(false).await;
    }
    let after = rows();
    for _ in 0..12 {
        beat(false).await;
    }
    assert_eq!(rows(), after, "at rest nothing but heartbeats is written");
}

#[actix::test]
async fn in_profile_praefect_every_round_stamps_every_row_whoever_else_votes() {
    let world = World::new(Profile::Praefect);
    let one = world.supervisor("s1").await;
    verdict(&one, "g1", Verdict::Healthy).await;
    let young = |vote: &StoredVote| vote.contact_age.is_some_and(|age| age.is_within(ms(3_000)));
    for _ in 0..5 {
        tokio::time::sleep(ms(4_000)).await;
        let votes = world.store.stored_votes();
        assert!(!votes.is_empty() && votes.iter().all(young), "{votes:?}");
    }
}

/// The same name, which was a Praefect's: its rows are ours from the registration on, and no reason to stamp anything.
#[actix::test]
async fn a_praefect_that_was_replaced_under_its_name_is_no_foreign_voter() {
    let alone = alone(Profile::Default);
    alone.store.foreign_vote(&name("s1"), &node("g1"), Some(ms(0)), Some(ms(0)));
    alone.manager.send(Tick).await.unwrap();
    let cells = alone.cells.clone();
    wait::until("a first consensus", LIMIT, || cells.consensus.borrow().is_some()).await;
    let known = alone.cells.consensus.borrow().clone().unwrap();
    assert_eq!(known.verdict(&node("g1")), Verdict::Undecided, "what it saw is nothing that we have seen");
    alone.report("g2", Opinion::Up).await;
    alone.verdict("g2", Verdict::Healthy).await;
    let rows = || alone.store.activity()[&StoreOp::VotesWrite].rows;
    let before = rows();
    for _ in 0..4 {
        alone.manager.send(Tick).await.unwrap();
        tokio::time::sleep(ms(1_000)).await;
    }
    assert_eq!(rows(), before);
}

#[actix::test]
async fn a_failing_store_keeps_the_local_view_and_the_last_consensus() {
    let alone = Alone::registered(Profile::Default).await;
    alone.report("g1", Opinion::Up).await;
    alone.verdict("g1", Verdict::Healthy).await;
    let revision = alone.cells.revision();
    alone.store.fail(None, StoreErrorKind::Unreachable);
    alone.report("g1", Opinion::Down).await;
    alone.report("g2", Opinion::Up).await;
    for _ in 0..3 {
        alone.manager.send(Tick).await.unwrap();
        tokio::time::sleep(ms(200)).await;
    }
    let healthy = alone.manager.send(GetHealthyNodes).await.unwrap();
    assert_eq!(healthy.0, [(vs(), vec![storage("g2")])].into(), "local health does not wait for the database");
    assert_eq!(alone.cells.revision(), revision, "no verdict without the database");
    assert!(alone.cells.complaint.borrow().as_ref().is_some_and(|text| text.contains("cannot be reached")));

    alone.store.heal();
    alone.manager.send(Tick).await.unwrap();
    alone.verdict("g1", Verdict::Unhealthy).await;
    alone.verdict("g2", Verdict::Healthy).await;
    assert_eq!(*alone.cells.complaint.borrow(), None);
}

#[actix::test]
async fn a_slow_store_is_given_up_and_the_latest_opinion_is_written_in_the_end() {
    let alone = Alone::registered(Profile::Default).await;
    alone.store.delay(ms(60_000));
    alone.report("g1", Opinion::Up).await;
    tokio::time::sleep(ms(2_100)).await;
    assert!(alone.cells.complaint.borrow().as_ref().is_some_and(|text| text.contains("no answer within 2s")));
    alone.report("g1", Opinion::Down).await;
    alone.store.delay(ms(0));
    for _ in 0..40 {
        alone.report("g1", Opinion::Down).await;
        alone.manager.send(Tick).await.unwrap();
        tokio::time::sleep(ms(500)).await;
    }
    alone.verdict("g1", Verdict::Unhealthy).await;
}

#[actix::test]
async fn a_late_answer_to_an_old_incarnation_is_dropped() {
    let alone = Alone::registered(Profile::Default).await;
    let first = alone.cells.voter.borrow().clone().unwrap();
    alone.store.hold(StoreOp::VotesWrite);
    alone.report("g1", Opinion::Up).await;
    let store = alone.store.clone();
    wait::until("the write is under way", LIMIT, || store.held(StoreOp::VotesWrite) == 1).await;
    // The row is removed under it: the next heartbeat registers anew.
    use quorate::store::HealthStore;
    assert!(alone.store.supervisor_remove(&first).await.unwrap());
    alone.manager.send(Tick).await.unwrap();
    let cells = alone.cells.clone();
    wait::until("a new incarnation", LIMIT, || {
        cells.voter.borrow().as_ref().is_some_and(|voter| voter.incarnation > first.incarnation)
    })
    .await;
    alone.store.release(StoreOp::VotesWrite);
    tokio::time::sleep(ms(100)).await;
    let stored = alone.store.stored_votes();
    let vote = stored.iter().find(|vote| vote.node == node("g1")).unwrap();
    assert_ne!((vote.opinion, vote.incarnation), (Some(Opinion::Up), Some(first.incarnation)));
    alone.report("g1", Opinion::Down).await;
    alone.verdict("g1", Verdict::Unhealthy).await;
}

#[actix::test]
async fn our_own_trouble_moves_no_vote_but_lets_it_lapse() {
    let alone = Alone::registered(Profile::Default).await;
    alone.report("g1", Opinion::Up).await;
    alone.verdict("g1", Verdict::Healthy).await;
    for _ in 0..6 {
        tokio::time::sleep(ms(900)).await;
        let evidence = Evidence::Ours(Ours::NoDescriptors);
        alone.manager.send(NodeReport { node: node("g1"), opinion: Opinion::Up, evidence, host: None }).await.unwrap();
        alone.manager.send(Tick).await.unwrap();
    }
    alone.verdict("g1", Verdict::Undecided).await;
}

fn seen(round: u64, about: &str) -> RoundReport {
    RoundReport { round, node: node(about), opinion: Opinion::Up, evidence: Evidence::Serving }
}

#[actix::test]
async fn a_round_counts_late_and_missing_reports_as_not_seen() {
    let alone = alone(Profile::Praefect);
    alone.manager.send(Tick).await.unwrap();
    alone.manager.send(seen(1, "g1")).await.unwrap();
    alone.manager.send(seen(7, "g2")).await.unwrap();
    let cells = alone.cells.clone();
    wait::until("the round is over", LIMIT, || cells.consensus.borrow().is_some()).await;
    let consensus = alone.cells.consensus.borrow().clone().unwrap();
    assert_eq!(consensus.healthy(), [(vs(), [storage("g1")].into())].into());
    alone.manager.send(seen(1, "g2")).await.unwrap();
    assert_eq!(alone.manager.send(GetHealthyNodes).await.unwrap().0, [(vs(), vec![storage("g1")])].into());
}

#[actix::test]
async fn stored_settings_are_followed_by_a_running_supervisor() {
    let world = World::new(Profile::Default);
    let (one, two) = (world.supervisor("s1").await, world.supervisor("s2").await);
    let mut settings = one.settings();
    settings.voter_ttl = ms(7_000);
    one.settings_update(&settings).await.unwrap();
    wait::until("followed", LIMIT, || two.settings().voter_ttl == ms(7_000)).await;
    verdict(&two, "g1", Verdict::Healthy).await;
    settings.profile = Profile::Praefect;
    let error = one.settings_update(&settings).await.unwrap_err();
    assert!(error.to_string().contains("settings.profile"), "{error}");
}

/// The database registers it three times over, and every answer is lost: each registration takes the name from the one
/// before, which nobody beats for.
#[actix::test]
async fn a_registration_whose_answer_is_lost_is_not_taken_for_another_process() {
    let world = World::new(Profile::Default);
    for _ in 0..2 {
        world.store.lose_answer(Some(StoreOp::SupervisorRegister));
    }
    let mut config = world.config("s1");
    config.start_timeout = ms(30_000);
    let one = world.assemble(config).await.unwrap();
    verdict(&one, "g1", Verdict::Healthy).await;
    assert!(one.voter().is_some());
}

#[actix::test]
async fn a_health_manager_rebuilt_after_its_end_takes_no_name_back() {
    let alone = Alone::registered(Profile::Default).await;
    alone
        .cells
        .ended
        .send_replace(Some(quorate::core::monitor::Worry::Superseded { by: quorate::core::ids::Incarnation(99) }));
    let rebuilt = HealthManager::new(HealthManagerConfig {
        recusal: quorate::core::recusal::Limits::default(),
        name: name("s1"),
        address: None,
        heartbeat: None,
        store_timeout: ms(2_000),
        round_timeout: ms(1_000),
        store: alone.store.clone(),
        cells: alone.cells.clone(),
        nodes: Vec::new(),
    })
    .start();
    let registrations = |alone: &Alone| alone.store.activity()[&StoreOp::SupervisorRegister].calls;
    let before = registrations(&alone);
    for _ in 0..5 {
        rebuilt.send(Tick).await.unwrap();
        tokio::time::sleep(ms(500)).await;
    }
    assert_eq!(registrations(&alone), before);
}
