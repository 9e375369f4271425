//! What is told: lines in order of time while it goes on, and a summary at the end.

use crate::cluster::{Failure, clock::ms_between};
use serde::Serialize;

/// One failover, in numbers.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Failover {
    pub(crate) kind: &'static str,
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) epoch: String,
    pub(crate) detect_ms: f64,
    pub(crate) elect_ms: f64,
    pub(crate) write_gap_ms: f64,
}

/// The summary that `--json` prints.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Summary {
    pub(crate) failovers: Vec<Failover>,
    pub(crate) writes_acknowledged: usize,
    pub(crate) writes_lost: usize,
    pub(crate) stale_writes_refused: u64,
    pub(crate) stale_writes_acknowledged: usize,
    pub(crate) reads_verified: u64,
    pub(crate) replicas_verified: usize,
    pub(crate) supervisors: u32,
    pub(crate) database: &'static str,
    pub(crate) duration_ms: f64,
    /// Every expectation that was not met, by name. Empty: all were.
    pub(crate) failed: Vec<String>,
}

pub(crate) struct Report {
    start_us: u64,
    last_us: u64,
    json: bool,
    lines: Vec<(u64, String, String)>,
    pub(crate) summary: Summary,
}

impl Report {
    pub(crate) fn new(start_us: u64, database: &'static str, supervisors: u32, json: bool) -> Self {
        let summary = Summary {
            failovers: Vec::new(),
            writes_acknowledged: 0,
            writes_lost: 0,
            stale_writes_refused: 0,
            stale_writes_acknowledged: 0,
            reads_verified: 0,
            replicas_verified: 0,
            supervisors,
            database,
            duration_ms: 0.0,
            failed: Vec::new(),
        };
        Self { start_us, last_us: start_us, json, lines: Vec::new(), summary }
    }

    /// Tells something that happens now.
    pub(crate) fn say(&mut self, who: &str, what: String) {
        self.note(crate::cluster::clock::now_us(), who, what);
        self.flush();
    }

    /// Remembers something that happened at a moment, to be told in order.
    pub(crate) fn note(&mut self, at_us: u64, who: &str, what: String) {
        self.last_us = self.last_us.max(at_us);
        self.lines.push((at_us, who.to_owned(), what));
    }

    /// Tells what was remembered, in order of time.
    pub(crate) fn flush(&mut self) {
        self.lines.sort_by_key(|(at_us, ..)| *at_us);
        for (at_us, who, what) in self.lines.drain(..) {
            if !self.json {
                println!("{:>10.1} ms  {who:<14}{what}", ms_between(self.start_us, at_us));
            }
        }
    }

    /// Holds the run to an expectation.
    pub(crate) fn expect(&mut self, name: &str, met: bool, otherwise: impl FnOnce() -> String) {
        if !met {
            self.summary.failed.push(format!("{name}: {}", otherwise()));
        }
    }

    /// The story came to no end.
    pub(crate) fn broke(&mut self, error: &Failure, complaints: &str) {
        self.flush();
        self.summary.failed.push(format!("the story breaks off: {error}"));
        eprintln!("{complaints}");
    }

    /// Prints the end; answers whether every expectation was met.
    pub(crate) fn finish(mut self) -> Result<bool, Failure> {
        self.flush();
        self.summary.duration_ms = ms_between(self.start_us, crate::cluster::clock::now_us());
        let summary = &self.summary;
        let good = summary.failed.is_empty();
        if self.json {
            println!("{}", serde_json::to_string_pretty(summary)?);
            for failed in &summary.failed {
                eprintln!("expectation failed: {failed}");
            }
            return Ok(good);
        }
        println!();
        println!("  fault   from  to    epoch     detected    elected  write gap");
        for one in &summary.failovers {
            let Failover { kind, from, to, epoch, detect_ms, elect_ms, write_gap_ms } = one;
            println!(
                "  {kind:<7} {from:<5} {to:<5} {epoch:<6} {detect_ms:>8.1} ms {elect_ms:>7.1} ms {write_gap_ms:>7.1} ms"
            );
        }
        println!();
        println!(
            "  {} writes acknowledged, {} lost; {} stale writes refused, {} acknowledged; {} reads verified",
            summary.writes_acknowledged,
            summary.writes_lost,
            summary.stale_writes_refused,
            summary.stale_writes_acknowledged,
            summary.reads_verified
        );
        for failed in &summary.failed {
            println!("  FAILED  {failed}");
        }
        println!("  {}", if good { "Nothing that was acknowledged was lost." } else { "This must not be." });
        Ok(good)
    }
}
