//! Measures a node's death: how long until it leads nothing any more, and what lookups notice. Prints Markdown.
//!
//! `cargo run --release -p quorate-benches --bin settle -- [--led N] [--all] [--batch N] [--pause MS] [--lookups N]`

use quorate_benches::{Result, settle};
use std::time::Duration;

fn order() -> Result<settle::Order> {
    let mut order = settle::Order {
        led: 100_000,
        repositories: 300_000,
        batch: 500,
        pause: Duration::from_millis(5),
        lookups: 10_000,
        tasks: 8,
    };
    let mut words = std::env::args().skip(1);
    let mut all = false;
    while let Some(word) = words.next() {
        let mut number = || -> Result<u64> { Ok(words.next().ok_or("a number is missing")?.parse()?) };
        match word.as_str() {
            "--led" => order.led = usize::try_from(number()?)?,
            "--batch" => order.batch = u32::try_from(number()?)?,
            "--pause" => order.pause = Duration::from_millis(number()?),
            "--lookups" => order.lookups = usize::try_from(number()?)?,
            "--all" => all = true,
            other => {
                let what = "allowed are --led, --all, --batch, --pause, --lookups";
                return Err(format!("unknown word {other}; {what}").into());
            }
        }
    }
    order.repositories = if all { order.led } else { order.led * 3 };
    Ok(order)
}

#[actix_rt::main]
async fn main() -> Result<()> {
    let words = std::env::args().skip(1).collect::<Vec<_>>().join(" ");
    let told = settle::run(order()?).await?;
    println!("`cargo run --release -p quorate-benches --bin settle -- {words}`");
    println!(
        "| led / all | batch, pause | noticed | settled | by each | shares | lookups p50 / p99 µs | longest | wrong | load |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    let [led, all] = told.repositories;
    let [batch, pause] = told.pace;
    println!(
        "| {led} / {all} | {batch}, {pause} ms | {} ms | {} ms | {:?} | {:?} | {} | {} | {} | {} |",
        told.noticed_ms, told.settled_ms, told.by, told.shares, told.lookups, told.longest_us, told.wrong, told.machine
    );
    Ok(())
}
