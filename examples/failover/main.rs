//! A failover, told by those who live through it: `cargo run --release --example failover`.
//!
//! The program starts itself again as three storage nodes and some supervisors, writes through whoever is primary,
//! kills one primary and freezes the next, and holds at the end that no acknowledged write was lost and none was
//! acknowledged under an epoch that was over. `--help` tells the rest.
//!
//! ```text
//! story ──JSON lines──▶ supervisors ──votes, elections──▶ SQLite or PostgreSQL
//!   │                        │ grpc.health.v1
//!   └──gRPC, with epochs──▶ storage nodes ──gRPC, with epochs──▶ each other
//! ```

#![allow(clippy::disallowed_types, reason = "banned for the crate's core alone")]

mod args;
mod cluster;
mod roles;
mod story;

use args::Part;
use cluster::Failure;
use std::process::ExitCode;

fn main() -> ExitCode {
    let part = match args::parse(std::env::args().skip(1)) {
        Ok(part) => part,
        Err(problem) => {
            eprintln!("failover: {problem}");
            return ExitCode::from(2);
        }
    };
    match play(part) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("failover: {error}");
            ExitCode::FAILURE
        }
    }
}

fn play(part: Part) -> Result<ExitCode, Failure> {
    match part {
        Part::Help => {
            println!("{}", args::HELP);
            Ok(ExitCode::SUCCESS)
        }
        // One thread: the kernel ends our children when the thread that started them ends.
        Part::Story(story) => {
            let good = runtime()?.block_on(story::run(story))?;
            Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Part::Storage(settings) => {
            runtime()?.block_on(roles::storage::run(settings))?;
            Ok(ExitCode::SUCCESS)
        }
        Part::Supervisor(settings) => {
            actix::System::new().block_on(roles::supervisor::run(settings))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}
