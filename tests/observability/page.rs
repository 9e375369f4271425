//! `docs/metrics.md`, and the page that Prometheus scrapes.

use crate::world::{World, path};
use quorate::{
    core::settings::Profile,
    telemetry::{
        Meter, Recorder,
        metrics::{ALL, Kind, Metric, NODE_LATENCY, PROBES, READ_DISTRIBUTION},
        prometheus::{Prometheus, Registry, render},
    },
};
use std::{collections::BTreeSet, time::Duration};

fn row(metric: &Metric) -> String {
    let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
    let labels = if labels.is_empty() { "-".to_owned() } else { labels.join(", ") };
    format!("| `{}` | {} | {labels} | {} |", metric.name, metric.kind.as_str(), metric.help)
}

#[test]
fn the_documented_table_is_the_list_in_the_code() {
    let page = include_str!("../../docs/metrics.md");
    let documented: Vec<&str> = page.lines().filter(|line| line.starts_with("| `")).collect();
    let known: Vec<String> = ALL.iter().map(|metric| row(metric)).collect();
    assert_eq!(documented, known, "the table of docs/metrics.md should be:\n{}", known.join("\n"));
}

#[test]
fn every_metric_has_a_name_of_its_own_and_bounds_that_rise() {
    let names: BTreeSet<&str> = ALL.iter().map(|metric| metric.name).collect();
    assert_eq!(names.len(), ALL.len());
    for metric in ALL {
        assert!(["gitaly_praefect_", "quorate_"].iter().any(|prefix| metric.name.starts_with(prefix)), "{metric:?}");
        assert!(!metric.help.ends_with('.') && !metric.help.contains('|'), "{metric:?}");
        if let Kind::Histogram(bounds) = metric.kind {
            assert!(!bounds.is_empty() && bounds.is_sorted_by(|a, b| a < b), "{metric:?}");
        }
    }
}

/// Each line that is no comment: name, labels, value.
fn samples(page: &str) -> Vec<&str> {
    page.lines().filter(|line| !line.starts_with('#')).collect()
}

#[test]
fn a_page_has_each_name_as_it_is_its_type_and_its_values() {
    let mut registry = Registry::default();
    let recorder = Prometheus::register(&mut registry);
    recorder.count(&READ_DISTRIBUTION, &["v", "g1"], 2);
    recorder.observe(&NODE_LATENCY, &["v", "g1"], Duration::from_millis(3));
    // What has no value yet stands on no page.
    for metric in ALL.iter().filter(|metric| **metric != &NODE_LATENCY) {
        let labels: Vec<&str> = metric.labels.iter().zip(["v", "g1", "x"]).map(|(_, value)| value).collect();
        match metric.kind {
            Kind::Counter => recorder.count(metric, &labels, 1),
            Kind::Gauge => recorder.set(metric, &labels, 1.0),
            Kind::Histogram(_) => recorder.observe(metric, &labels, Duration::from_secs(1)),
        }
    }
    let page = render(&registry).unwrap();
    for metric in ALL {
        assert!(page.contains(&format!("# TYPE {} {}\n", metric.name, metric.kind.as_str())), "{}", metric.name);
    }
    let samples = samples(&page);
    assert!(
        samples.contains(&r#"gitaly_praefect_read_distribution{virtual_storage="v",storage="g1"} 3"#),
        "no suffix was added: {samples:#?}"
    );
    let bucket = r#"gitaly_praefect_node_latency_bucket{le="0.005",virtual_storage="v",gitaly_storage="g1"} 1"#;
    assert!(samples.contains(&bucket), "{samples:#?}");
}

#[test]
fn a_gauge_that_was_forgotten_is_on_no_page_any_more() {
    let mut registry = Registry::default();
    let recorder = Prometheus::register(&mut registry);
    let gauge = ALL.iter().find(|metric| metric.labels == ["virtual_storage", "storage"] && metric.kind == Kind::Gauge);
    let gauge = gauge.unwrap();
    recorder.set(gauge, &["v", "g1"], 2.0);
    recorder.set(gauge, &["v", "g2"], 3.0);
    recorder.forget(gauge, &["v", "g1"]);
    let page = render(&registry).unwrap();
    let about: Vec<_> = samples(&page).into_iter().filter(|line| line.starts_with(gauge.name)).collect();
    assert_eq!(about, [format!(r#"{}{{virtual_storage="v",storage="g2"}} 3.0"#, gauge.name)]);
}

#[test]
fn a_name_with_a_quote_breaks_no_page() {
    let mut registry = Registry::default();
    let recorder = Prometheus::register(&mut registry);
    recorder.count(&PROBES, &[r#"a"b\c"#, "g1", "serving"], 1);
    let page = render(&registry).unwrap();
    let sample = r#"quorate_probes_total{virtual_storage="a\"b\\c",storage="g1",evidence="serving"} 1"#;
    assert!(samples(&page).contains(&sample), "{page}");
}

#[actix::test]
async fn a_running_supervisor_fills_the_page_and_names_no_repository_on_it() {
    let mut registry = Registry::default();
    let mut world = World::new(Profile::Default);
    world.meter = Meter::new(Prometheus::register(&mut registry));
    let one = world.supervisor("s1").await;
    world.repository("group/secret.git", &["g1", "g2"]).await;
    one.primary(&path("group/secret.git")).await.unwrap();
    let page = render(&registry).unwrap();
    for begins in [
        r#"gitaly_praefect_node_last_healthcheck_up{virtual_storage="v",gitaly_storage="g1"} 1"#,
        r#"quorate_node_verdict{virtual_storage="v",storage="g1",verdict="healthy"} 1"#,
        r#"quorate_elections_total{virtual_storage="v",outcome="elected",reason="none_recorded"} 1"#,
        r#"quorate_lookup_seconds_count{outcome="ok"} 1"#,
    ] {
        assert!(samples(&page).iter().any(|line| line.starts_with(begins)), "{begins} is missing: {page}");
    }
    assert!(!page.contains("secret"), "{page}");
}
