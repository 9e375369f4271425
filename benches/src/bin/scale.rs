//! Measures what grows: repositories up to a million, nodes up to ten thousand. Prints Markdown; with `--json` JSON.
//!
//! `cargo run --release -p quorate-benches --bin scale -- [--quick] [--json] [--only repositories|nodes]
//! [--database postgresql|sqlite]`

use quorate::testing::storage_node::StorageNode;
use quorate_benches::{
    Result,
    fleet::{self, Fleet, Order},
    ground::Kind,
    sample::machine,
    scale::{Cost, Pair},
};
use serde::Serialize;
use std::{process::Stdio, time::Duration};

/// The word that makes this program measure one fleet and say so on its standard output. It is not for people.
const ONE_FLEET: &str = "--one-fleet";

struct Options {
    quick: bool,
    json: bool,
    only: Option<String>,
    databases: Vec<Kind>,
}

impl Options {
    fn parse() -> Result<Options> {
        let mut options = Options { quick: false, json: false, only: None, databases: Kind::ALL.to_vec() };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            match word.as_str() {
                "--quick" => options.quick = true,
                "--json" => options.json = true,
                "--only" => {
                    let part = words.next().filter(|part| ["repositories", "nodes"].contains(&part.as_str()));
                    options.only = Some(part.ok_or("--only takes repositories or nodes")?);
                }
                "--database" => {
                    options.databases = match words.next().as_deref() {
                        Some("postgresql") => vec![Kind::PostgreSQL],
                        Some("sqlite") => vec![Kind::SQLite],
                        Some(_) | None => return Err("--database takes postgresql or sqlite".into()),
                    };
                }
                other => {
                    let what = format!("unknown word {other}; allowed are --quick, --json, --only, --database");
                    return Err(what.into());
                }
            }
        }
        Ok(options)
    }

    fn wants(&self, part: &str) -> bool {
        self.only.as_deref().is_none_or(|only| only == part)
    }
}

#[derive(Serialize)]
struct Report {
    command: String,
    began: String,
    ended: String,
    repositories: Vec<Cost>,
    fleets: Vec<Fleet>,
}

async fn repositories(database: Kind, quick: bool) -> Result<Vec<Cost>> {
    let (sizes, samples) = if quick { ([1_000, 10_000], 200) } else { ([10_000, 1_000_000], 3_000) };
    let began = std::time::Instant::now();
    let mut pair = Pair::new(database, sizes).await?;
    eprintln!("{database}: filled in {:?}", began.elapsed());
    let mut costs = pair.lookups(samples).await?;
    costs.extend(pair.factors(samples / 3).await?);
    // Last, for it may take so long that the database gives it up.
    match pair.counts(10).await {
        Ok(cost) => costs.push(cost),
        Err(error) => eprintln!("{database}: repositories_count: {error}"),
    }
    Ok(costs)
}

/// Measures each fleet in a process of its own.
async fn fleets(database: Kind, quick: bool) -> Result<Vec<Fleet>> {
    let real: Vec<StorageNode> = (0..3).map(|_| StorageNode::start()).collect();
    let addresses: Vec<String> = real.iter().map(|node| node.address().to_string()).collect();
    let at_rest = Duration::from_secs(if quick { 4 } else { 20 });
    let sizes: &[(usize, usize, bool)] = if quick {
        &[(1, 10, false), (10, 10, false), (10, 10, true)]
    } else {
        &[(1, 100, false), (10, 100, false), (100, 100, false), (1, 100, true), (10, 100, true)]
    };
    let mut measured = Vec::new();
    for &(virtual_storages, each, is_real) in sizes {
        let addresses = if is_real { addresses.clone() } else { Vec::new() };
        let order = Order { database, virtual_storages, each, addresses, at_rest };
        let child = tokio::process::Command::new(std::env::current_exe()?)
            .args([ONE_FLEET, &serde_json::to_string(&order)?])
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(Duration::from_secs(600), child).await??;
        match serde_json::from_slice(&output.stdout) {
            Ok(fleet) => measured.push(fleet),
            // What it could not do it has said on its standard error.
            Err(_) => eprintln!("{database}: {} nodes: {}", virtual_storages * each, output.status),
        }
    }
    Ok(measured)
}

async fn measure(options: &Options) -> Result<Report> {
    let (mut costs, mut measured, began) = (Vec::new(), Vec::new(), machine());
    for database in options.databases.iter().copied() {
        if options.wants("repositories") {
            costs.extend(repositories(database, options.quick).await?);
        }
        if options.wants("nodes") {
            measured.extend(fleets(database, options.quick).await?);
        }
    }
    let command = std::env::args().skip(1).collect::<Vec<_>>().join(" ");
    let command = format!("cargo run --release -p quorate-benches --bin scale -- {command}").trim_end().to_owned();
    Ok(Report { command, began, ended: machine(), repositories: costs, fleets: measured })
}

fn print(report: &Report) {
    println!("`{}`\n\nBegan: {}. Ended: {}.", report.command, report.began, report.ended);
    println!("Times are median / p99 in microseconds; each ratio is of two medians of the same run.");
    if !report.repositories.is_empty() {
        println!("\n| database | operation | repositories | time | repositories | time | ratio | load |");
        println!("|---|---|---|---|---|---|---|---|");
    }
    for cost in &report.repositories {
        let ([small, large], [few, many]) = (cost.times, cost.repositories);
        println!(
            "| {} | {} | {few} | {small} | {many} | {large} | **{:.2}** | {} |",
            cost.database, cost.operation, cost.ratio, cost.machine
        );
    }
    if !report.fleets.is_empty() {
        println!(
            "\n| database | nodes | network | answers after | all healthy after | memory | per node | round | busy | `healthy_nodes` | `node` | load |"
        );
        println!("|---|---|---|---|---|---|---|---|---|---|---|---|");
    }
    for fleet in &report.fleets {
        let order = &fleet.order;
        let (nodes, grown) = (order.virtual_storages * order.each, fleet.after_kib.saturating_sub(fleet.before_kib));
        println!(
            "| {} | {} × {} | {} | {} ms | {} ms | {:.1} MiB | {:.1} KiB | {} | {:.1} % | {} | {} | {} |",
            order.database,
            order.virtual_storages,
            order.each,
            if order.addresses.is_empty() { "none" } else { "gRPC" },
            fleet.start.as_millis(),
            fleet.healthy.as_millis(),
            grown as f64 / 1_024.0,
            grown as f64 / nodes.max(1) as f64,
            fleet.round,
            fleet.busy_percent,
            fleet.healthy_nodes,
            fleet.node,
            fleet.machine,
        );
    }
}

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().collect();
    if let [_, word, order] = words.as_slice()
        && word == ONE_FLEET
    {
        let order: Order = serde_json::from_str(order)?;
        let fleet = actix_rt::System::new().block_on(fleet::measure(order))?;
        println!("{}", serde_json::to_string(&fleet)?);
        return Ok(());
    }
    let options = Options::parse()?;
    let report = actix_rt::System::new().block_on(measure(&options))?;
    if options.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print(&report);
    }
    Ok(())
}
