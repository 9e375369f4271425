//! Measures answers from the memory of primaries. Prints Markdown; with `--json` JSON.
//!
//! `cargo run --release -p quorate-benches --bin primaries -- [--json] [ENTRIES...]`; default 100000 and 1000000.

use quorate_benches::{
    Result,
    primaries::{Primaries, measure},
};

/// Questions of each kind.
const SAMPLES: usize = 1_000_000;

fn main() -> Result<()> {
    let (mut json, mut sizes) = (false, Vec::new());
    for word in std::env::args().skip(1) {
        match word.parse() {
            Ok(size) => sizes.push(size),
            Err(_) if word == "--json" => json = true,
            Err(_) => return Err(format!("unknown word {word}; allowed are --json and numbers of entries").into()),
        }
    }
    if sizes.is_empty() {
        sizes = vec![100_000, 1_000_000];
    }
    let mut found = Vec::new();
    for size in sizes {
        found.push(actix::System::new().block_on(measure(size, SAMPLES))?);
    }
    if json {
        println!("{}", serde_json::to_string_pretty(&found)?);
    } else {
        print(&found);
    }
    Ok(())
}

fn print(found: &[Primaries]) {
    println!(
        "| entries | bytes each | primary_now by path | by number | a thousand hot | plain map | bare read | two threads | message, same arbiter | 64 tasks | its median / p99 µs | other thread µs | put ns | put median / p99 µs | report ns |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|");
    for at in found {
        let million = |rate: f64| format!("{:.1} M/s", rate / 1e6);
        println!(
            "| {} | {:.0} | {} | {} | {} | {} | {} | {} | {} | {} | {:.2} / {:.2} | {} | {:.0} | {:.2} / {:.2} | {:.0} |",
            at.entries,
            at.bytes_each,
            million(at.by_path),
            million(at.by_number),
            million(at.hot),
            million(at.plain_map),
            million(at.bare),
            million(at.two_threads),
            million(at.by_message),
            million(at.by_message_64),
            at.message.median_us,
            at.message.p99_us,
            at.other_thread,
            at.publish_ns,
            at.publish.median_us,
            at.publish.p99_us,
            at.report_ns,
        );
        println!();
        println!("{}", at.machine);
    }
}
