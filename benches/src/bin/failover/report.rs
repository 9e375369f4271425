//! What was measured, in words, numbers and a picture.

use crate::{
    cluster::Failure,
    faults::Fault,
    options::Options,
    plot,
    trial::{Failover, Steady},
};
use quorate::core::settings::Profile;
use quorate_benches::sample::machine;
use serde::Serialize;
use std::fmt;

/// One trial.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    pub(crate) fault: Fault,
    pub(crate) number: u32,
    #[serde(flatten)]
    pub(crate) outcome: Outcome,
}

#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub(crate) enum Outcome {
    Failover(Failover),
    Steady(Steady),
}

impl Row {
    pub(crate) fn failover(fault: Fault, number: u32, measured: Failover) -> Row {
        Row { fault, number, outcome: Outcome::Failover(measured) }
    }
    pub(crate) fn steady(fault: Fault, number: u32, measured: Steady) -> Row {
        Row { fault, number, outcome: Outcome::Steady(measured) }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (fault, number) = (self.fault.as_str(), self.number);
        match &self.outcome {
            Outcome::Failover(took) => write!(
                f,
                "{fault} {number}: {} to {}: detect {} verdict {} first {} every {} write {} ms; {} lookups failed",
                took.from,
                took.to,
                took.detect_ms,
                took.verdict_ms,
                took.first_ms,
                took.every_ms,
                took.write_ms,
                took.failed_lookups,
            ),
            Outcome::Steady(took) => write!(
                f,
                "{fault} {number}: {} lookups failed, longest gap {} ms, next write after {} ms{}",
                took.failed_lookups,
                took.longest_gap_ms,
                took.write_ms,
                if took.moved { ", A PRIMARY MOVED" } else { "" },
            ),
        }
    }
}

/// All trials of one kind.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Series {
    pub(crate) database: &'static str,
    pub(crate) supervisors: u32,
    pub(crate) profile: Profile,
    pub(crate) fault: Fault,
    pub(crate) trials: Vec<Row>,
}

impl Series {
    /// One of the times of each failover, sorted.
    pub(crate) fn times(&self, of: impl Fn(&Failover) -> f64) -> Vec<f64> {
        let mut times: Vec<f64> = self.failovers().map(of).filter(|time| time.is_finite()).collect();
        times.sort_by(f64::total_cmp);
        times
    }

    fn failovers(&self) -> impl Iterator<Item = &Failover> {
        self.trials.iter().filter_map(|row| match &row.outcome {
            Outcome::Failover(took) => Some(took),
            Outcome::Steady(_) => None,
        })
    }
    fn steady(&self) -> impl Iterator<Item = &Steady> {
        self.trials.iter().filter_map(|row| match &row.outcome {
            Outcome::Steady(took) => Some(took),
            Outcome::Failover(_) => None,
        })
    }

    pub(crate) fn name(&self) -> String {
        format!("{} {}: {}, {}", self.database, self.supervisors, self.profile.as_str(), self.fault.as_str())
    }
}

/// The value below which this many hundredths lie.
pub(crate) fn percentile(sorted: &[f64], hundredths: usize) -> f64 {
    let rank = sorted.len().saturating_mul(hundredths).div_ceil(100).max(1);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

fn three(sorted: &[f64]) -> String {
    let max = sorted.last().copied().unwrap_or(f64::NAN);
    format!("{:.1} / {:.1} / {max:.1}", percentile(sorted, 50), percentile(sorted, 99))
}

#[derive(Debug, Serialize)]
pub(crate) struct Report {
    command: String,
    began: String,
    ended: String,
    series: Vec<Series>,
    left_out: Vec<String>,
    /// Whatever did not go as it must.
    pub(crate) failed: Vec<String>,
}

impl Report {
    pub(crate) fn begin(options: &Options) -> Report {
        let words = format!("cargo run --release -p quorate-benches --bin failover -- {}", options.words);
        Report {
            command: words.trim_end().to_owned(),
            began: machine(),
            ended: String::new(),
            series: Vec::new(),
            left_out: Vec::new(),
            failed: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, database: &'static str, supervisors: u32, profile: Profile, row: Row) {
        if let Outcome::Steady(Steady { moved: true, .. }) = row.outcome {
            self.failed.push(format!("{database}, {supervisors} supervisors, {}: {row}", profile.as_str()));
        }
        let fits = |series: &&mut Series| {
            (series.database, series.supervisors, series.profile, series.fault)
                == (database, supervisors, profile, row.fault)
        };
        match self.series.iter_mut().find(fits) {
            Some(series) => series.trials.push(row),
            None => {
                let fault = row.fault;
                self.series.push(Series { database, supervisors, profile, fault, trials: vec![row] });
            }
        }
    }

    pub(crate) fn left_out(&mut self, what: String) {
        eprintln!("left out: {what}");
        self.left_out.push(what);
    }

    pub(crate) fn end(&mut self) {
        self.ended = machine();
    }

    /// How many times faster than under profile `praefect`, by the medians until every supervisor answered.
    fn ratio(&self, series: &Series) -> Option<f64> {
        let theirs = self.series.iter().find(|other| {
            other.profile == Profile::Praefect
                && (other.database, other.supervisors, other.fault)
                    == (series.database, series.supervisors, series.fault)
        })?;
        let median = |series: &Series| percentile(&series.times(|took| took.every_ms), 50);
        (series.profile != Profile::Praefect).then(|| median(theirs) / median(series))
    }

    pub(crate) fn markdown(&self) -> String {
        use fmt::Write;
        let mut text = format!(
            "`{}`\n\nBegan: {}. Ended: {}. Milliseconds: p50 / p99 / max.\n",
            self.command, self.began, self.ended
        );
        let due: Vec<&Series> = self.series.iter().filter(|series| series.fault.deposes()).collect();
        if !due.is_empty() {
            text.push_str("\n| database | supervisors | profile | fault | trials | detect | verdict | first | every | write | failed lookups | `praefect` / this |\n|---|---|---|---|---|---|---|---|---|---|---|---|\n");
        }
        for series in due {
            let ratio = self.ratio(series).map_or_else(|| "1".to_owned(), |ratio| format!("**{ratio:.0}**"));
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {ratio} |",
                series.database,
                series.supervisors,
                series.profile.as_str(),
                series.fault.as_str(),
                series.trials.len(),
                three(&series.times(|took| took.detect_ms)),
                three(&series.times(|took| took.verdict_ms)),
                three(&series.times(|took| took.first_ms)),
                three(&series.times(|took| took.every_ms)),
                three(&series.times(|took| took.write_ms)),
                series.failovers().map(|took| took.failed_lookups).sum::<u64>(),
            );
        }
        let held: Vec<&Series> = self.series.iter().filter(|series| !series.fault.deposes()).collect();
        if !held.is_empty() {
            text.push_str("\n| database | supervisors | profile | fault | trials | longest gap | next write | failed lookups | moved |\n|---|---|---|---|---|---|---|---|---|\n");
        }
        for series in held {
            let sorted = |of: fn(&Steady) -> f64| {
                let mut times: Vec<f64> = series.steady().map(of).collect();
                times.sort_by(f64::total_cmp);
                three(&times)
            };
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} | {} | {} | {} | {} |",
                series.database,
                series.supervisors,
                series.profile.as_str(),
                series.fault.as_str(),
                series.trials.len(),
                sorted(|took| took.longest_gap_ms),
                sorted(|took| took.write_ms),
                series.steady().map(|took| took.failed_lookups).sum::<u64>(),
                series.steady().filter(|took| took.moved).count(),
            );
        }
        for (title, lines) in [("Left out", &self.left_out), ("FAILED", &self.failed)] {
            for line in lines {
                let _ = write!(text, "\n{title}: {line}\n");
            }
        }
        text
    }

    /// Into the folder, if one was named.
    pub(crate) fn write(&self, options: &Options) -> Result<(), Failure> {
        let Some(folder) = &options.out else { return Ok(()) };
        std::fs::create_dir_all(folder)?;
        std::fs::write(folder.join("failover.json"), serde_json::to_string_pretty(self)?)?;
        std::fs::write(folder.join("failover.md"), self.markdown())?;
        std::fs::write(folder.join("failover.svg"), plot::draw(&self.series))?;
        Ok(())
    }
}
