//! How long it takes until nothing is led by a dead node any more, and what lookups notice of it.
//!
//! Three supervisors, each with a store and a thread of its own, over one PostgreSQL database. One of three nodes dies;
//! from a second after that on lookups of repositories drawn at random are made through all supervisors, by path.

use crate::{
    Result,
    ground::{Ground, Kind, REPLICAS, SUPERVISORS, node, postgres_at},
    sample::{Samples, Summary, machine},
};
use actix::Arbiter;
use quorate::{
    Config, Ports, Supervisor,
    config::{NodeConfig, VirtualStorageConfig},
    core::{
        election::{Primary, Target},
        evidence::{Evidence, Hard},
        ids::{RelativePath, VirtualStorage},
        quorum::Verdict,
        settings::Profile,
        watching::Word,
    },
    testing::probe::ScriptedTransport,
};
use serde::Serialize;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

/// The longest that anything here may take.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long after the death the lookups begin.
const BLIND: Duration = Duration::from_secs(1);

/// What is measured.
#[derive(Debug, Clone, Copy)]
pub struct Order {
    /// Repositories that the dead node leads.
    pub led: usize,
    /// All repositories.
    pub repositories: usize,
    /// Repositories of a batch; 0 switches the settler off.
    pub batch: u32,
    /// Pause between two batches.
    pub pause: Duration,
    /// Lookups, over all tasks.
    pub lookups: usize,
    /// Tasks that look up.
    pub tasks: usize,
}

/// What was measured.
#[derive(Debug, Clone, Serialize)]
pub struct Settled {
    /// Repositories that the dead node led, and all.
    pub repositories: [usize; 2],
    /// Repositories of a batch, and the pause between two in milliseconds.
    pub pace: [u64; 2],
    /// Milliseconds from the death until a supervisor's consensus said so.
    pub noticed_ms: u128,
    /// Milliseconds from the death until the node led nothing any more.
    pub settled_ms: u128,
    /// Repositories that each supervisor settled.
    pub by: Vec<u64>,
    /// The successors' shares.
    pub shares: Vec<(String, i64)>,
    /// Lookups during that time.
    pub lookups: Summary,
    /// The longest of them, in microseconds.
    pub longest_us: u128,
    /// How many lookups found the dead node, failed, or answered what never was.
    pub wrong: usize,
    /// What the machine was doing.
    pub machine: String,
}

/// Measures one death.
///
/// # Errors
/// Whatever the database or a supervisor says; and if it takes too long.
pub async fn run(order: Order) -> Result<Settled> {
    let ground = Ground::new(Kind::PostgreSQL, Profile::Default).await?;
    // The first `led` are led by the first node, if not all are; else every third, as they would be.
    let primary = if order.led == order.repositories { "'g1'" } else { "'g' || ((i - 1) % 3 + 1)" };
    ground.fill(REPLICAS, order.repositories, primary).await?;
    let transport = ScriptedTransport::default();
    let (mut supervisors, mut arbiters) = (Vec::new(), Vec::new());
    for number in 1..=SUPERVISORS {
        let arbiter = Arbiter::new();
        supervisors.push(supervisor(&arbiter, number, &ground, &transport, order).await?);
        arbiters.push(arbiter);
    }
    let dead = node(0)?;
    // As a process that is killed: its port refuses, and the streams end that its supervisors listened to.
    transport.node("tcp://g1:1").answers(Evidence::Hard(Hard::Refused));
    transport.node("tcp://g1:1").says(Word::Ended(Evidence::Hard(Hard::Reset)));
    let died = Instant::now();
    let noticed = async {
        let mut consensus = supervisors[0].consensus();
        let down = |known: &Option<_>| {
            known.as_ref().is_some_and(|known: &Arc<quorate::core::consensus::Consensus>| {
                known.verdict(&dead) == Verdict::Unhealthy
            })
        };
        consensus.wait_for(down).await.map(|_| died.elapsed())
    };
    let asking = async {
        tokio::time::sleep_until((died + BLIND).into()).await;
        let share = order.lookups / order.tasks.max(1);
        let mut tasks = Vec::new();
        for task in 0..order.tasks {
            let supervisor = supervisors[task % SUPERVISORS].clone();
            tasks.push(tokio::spawn(ask(supervisor, order.repositories, share, task)));
        }
        let mut answers = Vec::new();
        for task in tasks {
            answers.extend(task.await?);
        }
        Result::Ok(answers)
    };
    let settled = async {
        let client = ground.raw().await;
        let left = "SELECT 1 FROM repositories WHERE virtual_storage = 'v' AND \"primary\" = 'g1' LIMIT 1";
        loop {
            // Without a settler nothing is waited for: what lookups take is asked.
            if order.batch == 0 {
                return Result::Ok(died.elapsed());
            }
            if client.query(left, &[]).await?.is_empty() {
                return Result::Ok(died.elapsed());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let all = async { tokio::join!(noticed, asking, settled) };
    let (noticed, answers, settled) = tokio::time::timeout(PATIENCE, all).await?;
    let (noticed, answers, settled) = (noticed?, answers?, settled?);
    let (times, mut wrong) = (samples(&answers), 0);
    let client = ground.raw().await;
    let elected = client.prepare("SELECT current FROM primary_changes WHERE epoch = $1 AND repository_id = $2").await?;
    for (_, answer) in &answers {
        let Ok(primary) = answer else {
            eprintln!("wrong: {answer:?}");
            wrong += 1;
            continue;
        };
        let (epoch, id) = (primary.epoch.map(|epoch| epoch.to_i64()), primary.repository.map(|id| id.0));
        let current = client.query_opt(&elected, &[&epoch, &id]).await?.and_then(|row| row.get::<_, Option<String>>(0));
        if current.as_deref() != Some(primary.storage.as_str()) || primary.storage == dead.storage {
            eprintln!("wrong: {primary:?}, recorded was {current:?}");
            wrong += 1;
        }
    }
    let shares =
        "SELECT current, count(*) FROM primary_changes WHERE previous = 'g1' GROUP BY current ORDER BY current";
    let shares = client.query(shares, &[]).await?;
    let by = supervisors.iter().map(|supervisor| {
        let known = supervisor.settling().borrow().clone();
        known.get(&dead).map_or(0, |progress| progress.settled)
    });
    Ok(Settled {
        repositories: [order.led, order.repositories],
        pace: [u64::from(order.batch), u64::try_from(order.pause.as_millis())?],
        noticed_ms: noticed.as_millis(),
        settled_ms: settled.as_millis(),
        by: by.collect(),
        shares: shares.iter().map(|row| (row.get(0), row.get(1))).collect(),
        lookups: times.summary(),
        longest_us: answers.iter().map(|(took, _)| took.as_micros()).max().unwrap_or(0),
        wrong,
        machine: machine(),
    })
}

type Answer = (Duration, std::result::Result<Primary, quorate::Error>);

async fn ask(supervisor: Supervisor<u64>, repositories: usize, lookups: usize, task: usize) -> Vec<Answer> {
    let mut answers = Vec::new();
    let mut lot = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(task as u64 + 1);
    for _ in 0..lookups {
        // xorshift: any repository, whatever came before.
        lot ^= lot << 13;
        lot ^= lot >> 7;
        lot ^= lot << 17;
        let number = lot % repositories as u64 + 1;
        let (Ok(of), Ok(path)) = (VirtualStorage::new("v"), RelativePath::new(format!("@hashed/{number}"))) else {
            continue;
        };
        let target = Target::Path(of, path);
        let began = Instant::now();
        let answer = supervisor.primary(&target).await;
        answers.push((began.elapsed(), answer));
    }
    answers
}

fn samples(answers: &[Answer]) -> Samples {
    let mut samples = Samples::default();
    answers.iter().for_each(|(took, _)| samples.push(*took));
    samples
}

/// A supervisor on a thread of its own.
async fn supervisor(
    arbiter: &Arbiter,
    number: usize,
    ground: &Ground,
    transport: &ScriptedTransport,
    order: Order,
) -> Result<Supervisor<u64>> {
    let mut config = Config::new(Profile::Default, "");
    config.name = Some(format!("s{number}").parse()?);
    config.failover.settle_batch = order.batch;
    config.failover.settle_pause = order.pause;
    let configured = |index| -> Result<NodeConfig> {
        let storage = node(index)?.storage;
        Ok(NodeConfig::new(storage.clone(), format!("tcp://{storage}:1")))
    };
    let nodes = (0..REPLICAS).map(configured).collect::<Result<_>>()?;
    config.virtual_storages =
        vec![VirtualStorageConfig { nodes, ..VirtualStorageConfig::new(VirtualStorage::new("v")?) }];
    let ports = Ports::new(Arc::new(postgres_at(ground.url()).await?), transport.clone());
    let (answer, started) = oneshot::channel();
    arbiter.spawn(async move {
        let _ = answer.send(Supervisor::assemble(config, ports).await);
    });
    Ok(started.await??)
}
