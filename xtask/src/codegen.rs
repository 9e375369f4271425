//! `cargo run -p xtask -- codegen` writes the Rust of every `.proto`; with `--check` it fails if a committed file is
//! not current. The result is committed, so that building the crate needs neither protoc nor its Rust stand-in.

use std::{error::Error, fs, path::PathBuf};

/// One generated file.
struct Job {
    /// The folder that imports are looked up in.
    include: &'static str,
    /// The `.proto`, below that folder.
    proto: &'static str,
    /// What tonic-prost-build names its output.
    package: &'static str,
    /// Where the result is committed.
    output: &'static str,
    /// Whether the server's side is wanted too.
    server: bool,
}

const JOBS: [Job; 3] = [
    Job {
        include: "proto",
        proto: "quorate/fence/v1/fence.proto",
        package: "quorate.fence.v1",
        output: "src/fencing/generated.rs",
        server: true,
    },
    Job {
        include: "proto",
        proto: "gitaly/server.proto",
        package: "gitaly",
        output: "src/transport/grpc/ping/generated.rs",
        server: false,
    },
    Job {
        include: "examples/failover",
        proto: "object_store.proto",
        package: "quorate.example.v1",
        output: "examples/failover/generated.rs",
        server: true,
    },
];

/// Writes every file, or only looks whether each is current; answers whether they are.
pub fn run(check: bool) -> Result<bool, Box<dyn Error>> {
    let mut current = true;
    for job in &JOBS {
        if !generate(job, check).map_err(|error| format!("{}: {error}", job.proto))? {
            eprintln!("{} is not current: run `cargo run -p xtask -- codegen` and commit it", job.output);
            current = false;
        }
    }
    Ok(current)
}

/// Generates one file; answers whether the committed one is current, which after writing it is.
fn generate(job: &Job, check: bool) -> Result<bool, Box<dyn Error>> {
    let root = crate::root()?;
    let include = root.join(job.include);
    let descriptors = protox::compile([include.join(job.proto)], [&include])?;
    let scratch = Scratch::new()?;
    let generator = tonic_prost_build::configure().build_server(job.server).emit_rerun_if_changed(false);
    generator.out_dir(&scratch.0).compile_fds(descriptors)?;
    let generated = fs::read_to_string(scratch.0.join(format!("{}.rs", job.package)))?;
    let output = root.join(job.output);
    if check {
        return Ok(fs::read_to_string(&output).is_ok_and(|committed| committed == generated));
    }
    fs::write(output, generated)?;
    Ok(true)
}

/// A folder that goes when it is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self, std::io::Error> {
        let folder = std::env::temp_dir().join(format!("quorate-codegen-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
