//! Measures failovers of real processes: storage nodes, supervisors and clients, each in a process of its own, over
//! PostgreSQL and SQLite, under the write load of the example `failover`.
//!
//! `cargo run --release -p quorate-benches --bin failover -- --help`
//!
//! The parts are those of the example, which this program plays itself: it starts itself again. All times are of
//! `CLOCK_MONOTONIC`, which all processes of a machine share.

#![allow(clippy::multiple_crate_versions, reason = "of dependencies")]

#[path = "../../../../examples/failover/args.rs"]
#[allow(dead_code, reason = "the example uses the rest")]
mod args;
#[path = "../../../../examples/failover/cluster/mod.rs"]
#[allow(dead_code, reason = "the example uses the rest")]
mod cluster;
#[path = "../../../../examples/failover/roles/mod.rs"]
#[allow(dead_code, reason = "the example uses the rest")]
mod roles;
#[path = "../../../../examples/failover/story/traffic.rs"]
#[allow(dead_code, reason = "the example uses the rest")]
mod traffic;

mod faults;
mod network;
mod options;
mod plot;
mod report;
mod server;
mod stage;
mod trial;

use args::Part;
use cluster::Failure;
use options::Options;
use report::Report;
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match play(words) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("failover: {error}");
            ExitCode::from(2)
        }
    }
}

fn play(words: Vec<String>) -> Result<bool, Failure> {
    if words.first().is_some_and(|word| word == "storage" || word == "supervisor") {
        match args::parse(words)? {
            Part::Storage(settings) => runtime()?.block_on(roles::storage::run(settings))?,
            Part::Supervisor(settings) => actix::System::new().block_on(roles::supervisor::run(settings))?,
            Part::Help | Part::Story(_) => {}
        }
        return Ok(true);
    }
    let Some(options) = Options::parse(words)? else {
        println!("{}", options::HELP);
        return Ok(true);
    };
    // One thread: the kernel ends our children when the thread that started them ends.
    let report = runtime()?.block_on(measure(&options))?;
    report.write(&options)?;
    println!("{}", report.markdown());
    Ok(report.failed.is_empty())
}

async fn measure(options: &Options) -> Result<Report, Failure> {
    let mut report = Report::begin(options);
    for &database in &options.databases {
        for &supervisors in &options.supervisors {
            for &profile in &options.profiles {
                stage::play(options, database, supervisors, profile, &mut report).await?;
            }
        }
    }
    report.end();
    Ok(report)
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}
