//! Counts false verdicts of a healthy cluster in simulated time.
//!
//! `cargo run --release -p quorate-benches --bin false_alarms -- [--node-hours N] [--profile default|lan] [--seed N]
//! [--node-stall-ms N] [--timeout-floor-ms N]`

use quorate::{
    config::{Config, HealthConfig},
    core::settings::Profile,
};
use quorate_benches::{
    Result,
    false_alarms::{Alarms, Model, simulate},
    sample::machine,
};
use std::time::{Duration, Instant};

/// How long one node is looked at before the next begins.
const HOURS: u64 = 1_000;

fn main() -> Result<()> {
    let (mut node_hours, mut profile, mut seed) = (1_000_000_u64, Profile::Default, 1_u64);
    let mut node_stall_max = Duration::from_millis(500);
    let mut timeout_floor = None;
    let mut words = std::env::args().skip(1);
    while let Some(key) = words.next() {
        let value = words.next().ok_or_else(|| format!("{key} needs a value"))?;
        match key.as_str() {
            "--node-hours" => node_hours = value.parse()?,
            "--seed" => seed = value.parse()?,
            "--node-stall-ms" => node_stall_max = Duration::from_millis(value.parse()?),
            "--timeout-floor-ms" => timeout_floor = Some(Duration::from_millis(value.parse()?)),
            "--profile" => {
                let known = [Profile::Default, Profile::Lan].into_iter().find(|profile| profile.as_str() == value);
                profile = known.ok_or("--profile takes default or lan")?;
            }
            _ => {
                return Err(format!(
                    "unknown word {key}; allowed are --node-hours, --profile, --seed, --node-stall-ms, --timeout-floor-ms"
                )
                .into());
            }
        }
    }
    let health = HealthConfig { timeout_floor, ..Config::new(profile, "sqlite:unused").health };
    let model = Model::of(&health, node_stall_max);
    let (began, start) = (machine(), Instant::now());
    let nodes = node_hours.div_ceil(HOURS);
    let half = nodes / 2;
    let run = |range: std::ops::Range<u64>| {
        range
            .map(|node| simulate(&model, seed.wrapping_mul(0x9E37_79B9) ^ node, HOURS))
            .fold(Alarms::default(), Alarms::and)
    };
    let alarms = std::thread::scope(|scope| {
        let first = scope.spawn(|| run(0..half));
        let second = run(half..nodes);
        first.join().map(|first| first.and(second))
    })
    .map_err(|_| "the simulation panicked")?;
    println!("Profile {}, {model:?}.\nBegan: {began}; took {:.0?}.\n", profile.as_str(), start.elapsed());
    println!("| node-hours | probes | unanswered | accusations | verdicts |\n|---|---|---|---|---|");
    let Alarms { node_hours, probes, missed, accusations, verdicts } = alarms;
    println!("| {node_hours} | {probes} | {missed} | {accusations} | **{verdicts}** |");
    Ok(())
}
