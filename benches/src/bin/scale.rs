//! Measures what grows: repositories up to a million, nodes up to ten thousand. Prints Markdown; with `--json` JSON.
//!
//! `cargo run --release -p quorate-benches --bin scale -- [--quick] [--json] [--only repositories|nodes|rest|synced]
//! [--database postgresql|sqlite]`

use quorate::{core::settings::Profile, testing::storage_node::StorageNode};
use quorate_benches::{
    Result,
    fleet::{self, Fleet, Order},
    ground::Kind,
    sample::machine,
    scale::{Cost, Pair},
    synced::{self, Synced},
};
use serde::{Serialize, de::DeserializeOwned};
use std::{process::Stdio, time::Duration};

/// The words that make this program measure one fleet, or one table of who is up to date, and say so on its standard
/// output. They are not for people.
const ONE_FLEET: &str = "--one-fleet";
/// See there.
const ONE_TABLE: &str = "--one-table";

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
                    let part = words
                        .next()
                        .filter(|part| ["repositories", "nodes", "rest", "synced"].contains(&part.as_str()));
                    options.only = Some(part.ok_or("--only takes repositories, nodes, rest or synced")?);
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
    tables: Vec<Synced>,
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
async fn fleets(database: Kind, part: &str, quick: bool) -> Result<Vec<Fleet>> {
    let real: Vec<StorageNode> = (0..3).map(|_| StorageNode::start()).collect();
    let addresses: Vec<String> = real.iter().map(|node| node.address().to_string()).collect();
    let at_rest = Duration::from_secs(if quick { 4 } else { 20 });
    let sizes: &[(usize, usize, usize, bool)] = match (part, quick) {
        ("rest", true) => &[(3, 1, 10, true)],
        ("rest", false) => &[(3, 1, 100, true)],
        (_, true) => &[(1, 1, 10, false), (1, 10, 10, false), (1, 10, 10, true)],
        (_, false) => {
            &[(1, 1, 100, false), (1, 10, 100, false), (1, 100, 100, false), (1, 1, 100, true), (1, 10, 100, true)]
        }
    };
    let (profiles, at_rest): (&[Profile], _) = match part {
        "rest" => (&[Profile::Default, Profile::Praefect], at_rest * 3),
        _ => (&[Profile::Default], at_rest),
    };
    let mut measured = Vec::new();
    for (&(supervisors, virtual_storages, each, is_real), &profile) in
        sizes.iter().flat_map(|size| profiles.iter().map(move |profile| (size, profile)))
    {
        let addresses = if is_real { addresses.clone() } else { Vec::new() };
        let order = Order { database, supervisors, profile, virtual_storages, each, addresses, at_rest };
        measured.extend(child(ONE_FLEET, &order).await?);
    }
    Ok(measured)
}

/// Measures each table in a process of its own.
async fn tables(database: Kind, quick: bool) -> Result<Vec<Synced>> {
    let (sizes, samples): (&[usize], usize) =
        if quick { (&[1_000, 10_000], 500) } else { (&[1_000, 10_000, 100_000, 1_000_000], 1_000) };
    let mut measured = Vec::new();
    for &entries in sizes {
        measured.extend(child(ONE_TABLE, &synced::Order { database, entries, samples }).await?);
    }
    Ok(measured)
}

/// Runs this program once more; nothing if it fails, for why it has said on its standard error.
async fn child<T: DeserializeOwned>(word: &str, order: &impl Serialize) -> Result<Option<T>> {
    let order = serde_json::to_string(order)?;
    let child = tokio::process::Command::new(std::env::current_exe()?)
        .args([word, &order])
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_secs(900), child).await??;
    let measured = serde_json::from_slice(&output.stdout).ok();
    if measured.is_none() {
        eprintln!("{order}: {}", output.status);
    }
    Ok(measured)
}

async fn measure(options: &Options) -> Result<Report> {
    let (mut costs, mut measured, mut synced, began) = (Vec::new(), Vec::new(), Vec::new(), machine());
    for database in options.databases.iter().copied() {
        if options.wants("repositories") {
            costs.extend(repositories(database, options.quick).await?);
        }
        for part in ["nodes", "rest"].into_iter().filter(|part| options.wants(part)) {
            measured.extend(fleets(database, part, options.quick).await?);
        }
        if options.wants("synced") {
            synced.extend(tables(database, options.quick).await?);
        }
    }
    let command = std::env::args().skip(1).collect::<Vec<_>>().join(" ");
    let command = format!("cargo run --release -p quorate-benches --bin scale -- {command}").trim_end().to_owned();
    Ok(Report { command, began, ended: machine(), repositories: costs, fleets: measured, tables: synced })
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
            "\n| database | supervisors | profile | nodes | network | answer after | all healthy after | memory | per node | grown at rest | rows/s | round | busy | `healthy_nodes` | `node` | load |"
        );
        println!("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|");
    }
    for fleet in &report.fleets {
        let order = &fleet.order;
        let (nodes, grown) = (order.virtual_storages * order.each, fleet.after_kib.saturating_sub(fleet.before_kib));
        println!(
            "| {} | {} | {} | {} × {} | {} | {} ms | {} ms | {:.1} MiB | {:.1} KiB | {} KiB | {} | {} | {:.1} % | {} | {} | {} |",
            order.database,
            order.supervisors,
            order.profile.as_str(),
            order.virtual_storages,
            order.each,
            if order.addresses.is_empty() { "none" } else { "gRPC" },
            fleet.start.as_millis(),
            fleet.healthy.as_millis(),
            grown as f64 / 1_024.0,
            grown as f64 / nodes.max(1) as f64,
            fleet.after_kib.saturating_sub(fleet.resting_kib),
            fleet.rows_each_second.map_or("-".to_owned(), |rows| format!("{rows:.1}")),
            fleet.round,
            fleet.busy_percent,
            fleet.healthy_nodes,
            fleet.node,
            fleet.machine,
        );
    }
    if !report.tables.is_empty() {
        println!("\n| database | remembered | past the table | cold | miss | hit | bytes each | load |");
        println!("|---|---|---|---|---|---|---|---|");
    }
    for table in &report.tables {
        println!(
            "| {} | {} | {} | {} | {} | {:.1} / {:.1} | {:.0} | {} |",
            table.order.database,
            table.order.entries,
            table.bypass,
            table.cold,
            table.miss,
            table.hit.median_us,
            table.hit.p99_us,
            table.bytes_each(),
            table.machine,
        );
    }
}

fn say<T: Serialize>(measured: impl Future<Output = Result<T>>) -> Result<()> {
    let measured = actix_rt::System::new().block_on(measured)?;
    println!("{}", serde_json::to_string(&measured)?);
    Ok(())
}

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [_, ONE_FLEET, order] => return say(fleet::measure(serde_json::from_str(order)?)),
        [_, ONE_TABLE, order] => return say(synced::measure(serde_json::from_str(order)?)),
        _ => {}
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
