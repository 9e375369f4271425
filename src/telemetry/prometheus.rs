//! Metrics in the text format that Prometheus scrapes (feature `metrics`).
//!
//! The registry is yours: your application's own metrics may stand beside ours in it.
//!
//! ```
//! use quorate::telemetry::{Meter, prometheus::{Prometheus, Registry, render}};
//!
//! let mut registry = Registry::default();
//! let meter = Meter::new(Prometheus::register(&mut registry));
//! // `Supervisor::start_with(config, meter, |transport| transport)`, and at each scrape:
//! let page = render(&registry)?;
//! # assert_eq!(page, "# EOF\n");
//! # let _ = meter;
//! # Ok::<(), std::fmt::Error>(())
//! ```
//!
//! A scrape reads memory only, never the database: Praefect's scrapes once starved its health checks.

use super::{
    Recorder,
    metrics::{ALL, Kind, Metric},
};
pub use prometheus_client::registry::Registry;
use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder, text::encode},
    metrics::{
        MetricType, TypedMetric,
        counter::Counter,
        family::{Family, MetricConstructor},
        gauge::Gauge,
        histogram::Histogram,
    },
};
use std::{collections::BTreeMap, fmt, sync::atomic::AtomicU64, time::Duration};

/// The content type of a page that [`render`] wrote.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// One page with everything in the registry.
pub fn render(registry: &Registry) -> Result<String, fmt::Error> {
    let mut page = String::new();
    encode(&mut page, registry)?;
    Ok(page)
}

type Labels = Vec<(&'static str, String)>;
type FloatGauge = Gauge<f64, AtomicU64>;

/// A recorder that keeps every metric of ours in a registry.
pub struct Prometheus {
    instruments: BTreeMap<&'static str, Instrument>,
}

enum Instrument {
    Counter(Family<Labels, Count>),
    Gauge(Family<Labels, FloatGauge>),
    Histogram(Family<Labels, Histogram, Buckets>),
}

impl Prometheus {
    /// Registers every metric of [`ALL`], none with a value yet.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let instrument = |metric: &&'static Metric| {
            let instrument = match metric.kind {
                Kind::Counter => Instrument::Counter(registered(registry, metric, Family::default())),
                Kind::Gauge => Instrument::Gauge(registered(registry, metric, Family::default())),
                Kind::Histogram(bounds) => {
                    let family = Family::new_with_constructor(Buckets(bounds));
                    Instrument::Histogram(registered(registry, metric, family))
                }
            };
            (metric.name, instrument)
        };
        Self { instruments: ALL.iter().map(instrument).collect() }
    }
}

fn registered<M: prometheus_client::registry::Metric + Clone>(registry: &mut Registry, of: &Metric, family: M) -> M {
    registry.register(of.name, of.help, family.clone());
    family
}

fn labelled(metric: &Metric, values: &[&str]) -> Labels {
    metric.labels.iter().copied().zip(values.iter().map(|value| escaped(value))).collect()
}

/// The encoder writes values as they are; a quote in a storage's name would break the page.
fn escaped(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', r#"\""#).replace('\n', r"\n")
}

impl Recorder for Prometheus {
    fn count(&self, metric: &'static Metric, labels: &[&str], by: u64) {
        if let Some(Instrument::Counter(family)) = self.instruments.get(metric.name) {
            family.get_or_create(&labelled(metric, labels)).0.inc_by(by);
        }
    }
    fn set(&self, metric: &'static Metric, labels: &[&str], value: f64) {
        if let Some(Instrument::Gauge(family)) = self.instruments.get(metric.name) {
            family.get_or_create(&labelled(metric, labels)).set(value);
        }
    }
    fn forget(&self, metric: &'static Metric, labels: &[&str]) {
        if let Some(Instrument::Gauge(family)) = self.instruments.get(metric.name) {
            family.remove(&labelled(metric, labels));
        }
    }
    fn observe(&self, metric: &'static Metric, labels: &[&str], took: Duration) {
        if let Some(Instrument::Histogram(family)) = self.instruments.get(metric.name) {
            family.get_or_create(&labelled(metric, labels)).observe(took.as_secs_f64());
        }
    }
}

/// A counter under its own name: the encoder would add `_total`, which Praefect's names do not always have.
#[derive(Debug, Clone, Default)]
struct Count(Counter);

impl TypedMetric for Count {
    const TYPE: MetricType = MetricType::Counter;
}

impl EncodeMetric for Count {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        encoder.encode_gauge(&self.0.get())
    }
    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

/// Makes histograms with these upper bounds.
#[derive(Debug, Clone, Copy)]
struct Buckets(&'static [f64]);

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(self.0.iter().copied())
    }
}

impl fmt::Debug for Prometheus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prometheus").finish_non_exhaustive()
    }
}
