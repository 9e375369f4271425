//! Times, summed up.

use serde::{Deserialize, Serialize};
use std::{fmt, future::Future, time::Duration, time::Instant};

/// The times of one operation.
#[derive(Debug, Clone, Default)]
pub struct Samples(Vec<Duration>);

impl Samples {
    /// Runs an operation and keeps its time.
    pub async fn time<T, E>(&mut self, operation: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let start = Instant::now();
        let answer = operation.await;
        self.0.push(start.elapsed());
        answer
    }

    /// Keeps a time taken elsewhere.
    pub fn push(&mut self, time: Duration) {
        self.0.push(time);
    }

    /// Median and 99th percentile, in microseconds.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let mut sorted = self.0.clone();
        sorted.sort();
        let at = |hundredths: usize| {
            let index = sorted.len().saturating_sub(1).saturating_mul(hundredths) / 100;
            sorted.get(index).map_or(0.0, |time| time.as_secs_f64() * 1e6)
        };
        Summary { count: sorted.len(), median_us: at(50), p99_us: at(99) }
    }
}

/// What is told of the times of one operation.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Summary {
    /// How many were taken.
    pub count: usize,
    /// The median, in microseconds.
    pub median_us: f64,
    /// The 99th percentile, in microseconds.
    pub p99_us: f64,
}

impl Summary {
    /// How many times the other's median this one is.
    #[must_use]
    pub fn over(&self, other: &Summary) -> f64 {
        if other.median_us > 0.0 { self.median_us / other.median_us } else { f64::NAN }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0} / {:.0}", self.median_us, self.p99_us)
    }
}

/// What the machine was doing: the three load averages, and how many processors it has.
#[must_use]
pub fn machine() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: Vec<&str> = load.split(' ').take(3).collect();
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{processors} processors, load average {}", load.join(" "))
}
