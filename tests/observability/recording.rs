//! A recorder of a test's own: what an embedder's exporter would be handed.

use quorate::telemetry::{
    Recorder,
    metrics::{ALL, Kind, Metric},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

type Key = (&'static str, Vec<String>);

fn key(metric: &Metric, labels: &[&str]) -> Key {
    (metric.name, labels.iter().map(|&label| label.to_owned()).collect())
}

/// Everything recorded so far: sums of counters, values of gauges, numbers of observations and the last of each.
#[derive(Clone, Default)]
pub(crate) struct Recording(Arc<Mutex<BTreeMap<Key, f64>>>, Arc<Mutex<BTreeMap<Key, Duration>>>);

impl Recording {
    fn at(&self, metric: &'static Metric, labels: &[&str], kind: &str, change: impl FnOnce(&mut f64)) {
        assert!(ALL.contains(&metric), "{} stands in no list", metric.name);
        assert_eq!(metric.kind.as_str(), kind, "{}", metric.name);
        assert_eq!(metric.labels.len(), labels.len(), "{}: {labels:?}", metric.name);
        change(self.0.lock().unwrap().entry(key(metric, labels)).or_default());
    }
    /// One value; `None` if it was never told, or was taken away.
    pub(crate) fn value(&self, metric: &Metric, labels: &[&str]) -> Option<f64> {
        self.0.lock().unwrap().get(&key(metric, labels)).copied()
    }
    /// What was observed last.
    pub(crate) fn last(&self, metric: &Metric, labels: &[&str]) -> Option<Duration> {
        self.1.lock().unwrap().get(&key(metric, labels)).copied()
    }
    /// The names of all metrics that have a value.
    pub(crate) fn names(&self) -> BTreeSet<&'static str> {
        self.0.lock().unwrap().keys().map(|(name, _)| *name).collect()
    }
    /// Every label's value, of any metric.
    pub(crate) fn labels(&self) -> BTreeSet<String> {
        self.0.lock().unwrap().keys().flat_map(|(_, labels)| labels.clone()).collect()
    }
}

impl Recorder for Recording {
    fn count(&self, metric: &'static Metric, labels: &[&str], by: u64) {
        self.at(metric, labels, "counter", |sum| *sum += by as f64);
    }
    fn set(&self, metric: &'static Metric, labels: &[&str], value: f64) {
        self.at(metric, labels, "gauge", |now| *now = value);
    }
    fn forget(&self, metric: &'static Metric, labels: &[&str]) {
        self.at(metric, labels, "gauge", |_| {});
        self.0.lock().unwrap().remove(&key(metric, labels));
    }
    fn observe(&self, metric: &'static Metric, labels: &[&str], took: Duration) {
        assert!(matches!(metric.kind, Kind::Histogram(_)) && took < Duration::from_secs(3_600));
        self.at(metric, labels, "histogram", |count| *count += 1.0);
        self.1.lock().unwrap().insert(key(metric, labels), took);
    }
}
