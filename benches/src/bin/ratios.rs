//! Measures what the design promises, in one run, and prints it as Markdown; with `--json` as JSON.
//!
//! `cargo run --release -p quorate-benches --bin ratios -- [--quick] [--json] [--only lookup|election|round]`

use quorate::core::{
    election::decide,
    ids::{Incarnation, SupervisorName, Voter},
    quorum::Verdict,
};
use quorate_benches::{
    Result,
    ground::{Elections, Kind},
    rounds::{self, RoundCost, Story},
    sample::{Samples, Summary, machine},
};
use serde::Serialize;
use std::{hint::black_box, time::Instant};

/// A lookup may take this many times a bare SELECT on PostgreSQL.
const LOOKUP_LIMIT: f64 = 2.0;
/// An election may take this many times a bare SELECT.
const ELECTION_LIMIT: f64 = 10.0;

struct Options {
    quick: bool,
    json: bool,
    only: Option<String>,
}

impl Options {
    fn parse() -> Result<Options> {
        let mut options = Options { quick: false, json: false, only: None };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            match word.as_str() {
                "--quick" => options.quick = true,
                "--json" => options.json = true,
                "--only" => {
                    let part = words.next().filter(|part| ["lookup", "election", "round"].contains(&part.as_str()));
                    options.only = Some(part.ok_or("--only takes lookup, election or round")?);
                }
                other => return Err(format!("unknown word {other}; allowed are --quick, --json, --only").into()),
            }
        }
        Ok(options)
    }

    fn wants(&self, part: &str) -> bool {
        self.only.as_deref().is_none_or(|only| only == part)
    }
}

/// A lookup and what it is compared with.
#[derive(Serialize)]
struct Lookup {
    database: Kind,
    nodes: usize,
    repositories: usize,
    bare: Summary,
    lookup: Summary,
    by_path: Summary,
    /// The facts by the store alone: without actor and decision.
    facts: Summary,
    /// `decide` alone.
    decide: Summary,
    ratio: f64,
    ratio_by_path: f64,
    machine: String,
}

/// An election and what it is compared with.
#[derive(Serialize)]
struct Election {
    database: Kind,
    repositories: usize,
    bare: Summary,
    /// The smallest durable commit of the same store, a heartbeat: what an election costs at the least, beside its facts.
    commit: Summary,
    election: Summary,
    ratio: f64,
    machine: String,
}

#[derive(Serialize)]
struct Report {
    command: String,
    began: String,
    ended: String,
    lookups: Vec<Lookup>,
    elections: Vec<Election>,
    rounds: Vec<RoundCost>,
}

async fn lookup(database: Kind, nodes: usize, repositories: usize, samples: usize) -> Result<Lookup> {
    let mut scene = Elections::at_rest(database, nodes, repositories).await?;
    for _ in 0..samples / 10 {
        let repository = scene.any();
        scene.bare(repository).await?;
        scene.lookup(repository).await?;
        scene.lookup_by_path(scene.after(repository)).await?;
    }
    let [mut bare, mut whole, mut by_path, mut facts, mut alone] = [(); 5].map(|()| Samples::default());
    for turn in 0..samples {
        let repository = scene.any();
        // Whoever comes second finds the pages warm, so they take turns.
        if turn % 2 == 0 {
            bare.time(scene.bare(repository)).await?;
            whole.time(scene.lookup(repository)).await?;
        } else {
            whole.time(scene.lookup(repository)).await?;
            bare.time(scene.bare(repository)).await?;
        }
        by_path.time(scene.lookup_by_path(scene.after(repository))).await?;
        let read = facts.time(scene.facts(repository)).await?;
        let proposer = Voter { name: SupervisorName::new("s1")?, incarnation: Incarnation(1) };
        let start = Instant::now();
        black_box(decide(black_box(&read.facts), &read.settings.settings, &proposer, 1));
        alone.push(start.elapsed());
        debug_assert!(
            quorate::core::election::verdicts(&read.facts, &read.settings.settings)
                .values()
                .all(|verdict| *verdict == Verdict::Healthy)
        );
    }
    let (bare, lookup, by_path) = (bare.summary(), whole.summary(), by_path.summary());
    let (facts, decide) = (facts.summary(), alone.summary());
    let (ratio, ratio_by_path) = (lookup.over(&bare), by_path.over(&bare));
    Ok(Lookup {
        database,
        nodes,
        repositories,
        bare,
        lookup,
        by_path,
        facts,
        decide,
        ratio,
        ratio_by_path,
        machine: machine(),
    })
}

async fn election(database: Kind, repositories: usize, samples: usize) -> Result<Election> {
    let mut scene = Elections::due(database, repositories).await?;
    for _ in 0..samples / 10 {
        let repository = scene.any_due().await?;
        scene.bare(repository).await?;
        scene.elect(repository).await?;
    }
    let [mut bare, mut commit, mut whole] = [(); 3].map(|()| Samples::default());
    for _ in 0..samples {
        let repository = scene.any_due().await?;
        bare.time(scene.bare(repository)).await?;
        commit.time(scene.commit()).await?;
        whole.time(scene.elect(repository)).await?;
    }
    let (bare, commit, election) = (bare.summary(), commit.summary(), whole.summary());
    Ok(Election { database, repositories, bare, commit, election, ratio: election.over(&bare), machine: machine() })
}

async fn measure(options: &Options) -> Result<Report> {
    let (repositories, samples) = if options.quick { (1_000, 300) } else { (10_000, 5_000) };
    let (mut lookups, mut elections, mut costs, began) = (Vec::new(), Vec::new(), Vec::new(), machine());
    for database in Kind::ALL {
        if options.wants("lookup") {
            for nodes in [3, 100] {
                lookups.push(lookup(database, nodes, repositories, samples).await?);
            }
        }
        if options.wants("election") {
            elections.push(election(database, repositories, samples).await?);
        }
        if options.wants("round") {
            for story in Story::ALL {
                for nodes in [10_usize, 100, 1_000] {
                    let rounds = if options.quick { 5 } else { u32::try_from(20_000 / nodes)?.clamp(40, 300) };
                    costs.push(rounds::measure(database, story, nodes, rounds).await?);
                }
            }
        }
    }
    let command = std::env::args().skip(1).collect::<Vec<_>>().join(" ");
    let command = format!("cargo run --release -p quorate-benches --bin ratios -- {command}").trim_end().to_owned();
    Ok(Report { command, began, ended: machine(), lookups, elections, rounds: costs })
}

fn verdict(ratio: f64, limit: f64) -> String {
    format!("{} (at most {limit:.1}x)", if ratio <= limit { "reached" } else { "missed" })
}

fn print(report: &Report) {
    println!("`{}`\n\nBegan: {}. Ended: {}.", report.command, report.began, report.ended);
    println!("Times are median / p99 in microseconds; each ratio is of two medians of the same run.");
    if !report.lookups.is_empty() {
        println!("\n### Lookup\n");
        println!(
            "| database | nodes | bare SELECT | lookup by id | ratio | target | by path | ratio | facts alone | decide alone | load |"
        );
        println!("|---|---|---|---|---|---|---|---|---|---|---|");
    }
    for row in &report.lookups {
        let target = match row.database {
            Kind::PostgreSQL => verdict(row.ratio, LOOKUP_LIMIT),
            Kind::SQLite => "none".to_owned(),
        };
        println!(
            "| {} | {} | {} | {} | **{:.2}x** | {target} | {} | {:.2}x | {} | {:.1} / {:.1} | {} |",
            row.database,
            row.nodes,
            row.bare,
            row.lookup,
            row.ratio,
            row.by_path,
            row.ratio_by_path,
            row.facts,
            row.decide.median_us,
            row.decide.p99_us,
            row.machine,
        );
    }
    if !report.elections.is_empty() {
        println!("\n### Election\n");
        println!("| database | bare SELECT | heartbeat | lookup that elects | ratio | target | load |");
        println!("|---|---|---|---|---|---|---|");
    }
    for row in &report.elections {
        let (ratio, target) = (row.ratio, verdict(row.ratio, ELECTION_LIMIT));
        println!(
            "| {} | {} | {} | {} | **{ratio:.2}x** | {target} | {} |",
            row.database, row.bare, row.commit, row.election, row.machine
        );
    }
    if !report.rounds.is_empty() {
        println!("\n### Health round of one supervisor of three\n");
        println!(
            "| database | round | nodes | time | calls | statements | rows written | bytes sent | bytes received | bytes of log |"
        );
        println!("|---|---|---|---|---|---|---|---|---|---|");
    }
    for row in &report.rounds {
        let told = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.1}"));
        println!(
            "| {} | {} | {} | {} | {:.1} | {} | {} | {} | {} | {:.0} |",
            row.database,
            row.story.name(),
            row.nodes,
            row.time,
            row.calls,
            told(row.statements),
            told(row.rows),
            told(row.sent),
            told(row.received),
            row.log,
        );
    }
}

fn main() -> Result<()> {
    let options = Options::parse()?;
    let report = actix_rt::System::new().block_on(measure(&options))?;
    if options.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print(&report);
    }
    Ok(())
}
