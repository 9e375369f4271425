//! Chores that need more dependencies than the crate should have: `codegen`, and `guards`, which puts defects back.

mod codegen;
mod guards;

use std::{
    error::Error,
    path::{Path, PathBuf},
    process::ExitCode,
};

const USAGE: &str = "usage: cargo run -p xtask -- codegen [--check]
       cargo run -p xtask -- guards [NAME...]     all, or those whose names begin so";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["codegen"] => codegen::run(false),
        ["codegen", "--check"] => codegen::run(true),
        ["guards", names @ ..] => guards::run(names),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// The folder of the workspace.
fn root() -> Result<PathBuf, Box<dyn Error>> {
    Ok(Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("xtask has no parent folder")?.to_owned())
}
