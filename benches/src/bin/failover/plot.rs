//! The distributions as a picture: a line for each series, a dot for each trial, on a logarithmic axis.

use crate::report::{Series, percentile};
use std::fmt::Write;

const LEFT: f64 = 300.0;
const WIDTH: f64 = 700.0;
const ROW: f64 = 26.0;
const TOP: f64 = 40.0;
/// From one millisecond to a hundred seconds.
const DECADES: f64 = 5.0;

/// Where a time stands.
fn x(ms: f64) -> f64 {
    LEFT + WIDTH * (ms.max(1.0).log10() / DECADES).min(1.0)
}

/// Draws how long it took until every supervisor answered another primary.
pub(crate) fn draw(series: &[Series]) -> String {
    let rows: Vec<(String, Vec<f64>)> = series
        .iter()
        .filter(|series| series.fault.deposes())
        .map(|series| (series.name(), series.times(|took| took.every_ms)))
        .collect();
    let bottom = TOP + ROW * rows.len() as f64;
    let (wide, high) = (LEFT + WIDTH + 40.0, bottom + 40.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {wide} {high}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"20\">From the fault until every supervisor answers another primary: each trial; bars at p50 and p99</text>\n"
    );
    for (ms, name) in [(1.0, "1 ms"), (10.0, "10 ms"), (100.0, "100 ms"), (1e3, "1 s"), (1e4, "10 s"), (1e5, "100 s")] {
        let at = x(ms);
        let _ = writeln!(
            svg,
            "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{bottom}\" stroke=\"#ddd\"/>\
             <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{name}</text>",
            bottom + 18.0
        );
    }
    for (number, (name, times)) in rows.iter().enumerate() {
        let middle = TOP + ROW * (number as f64 + 0.5);
        let _ =
            writeln!(svg, "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{name}</text>", LEFT - 10.0, middle + 4.0);
        for time in times {
            let _ = writeln!(
                svg,
                "<circle cx=\"{:.1}\" cy=\"{middle:.1}\" r=\"3\" fill=\"#2266aa\" fill-opacity=\"0.25\"/>",
                x(*time)
            );
        }
        for hundredths in [50, 99] {
            let at = x(percentile(times, hundredths));
            let (from, to) = (middle - 9.0, middle + 9.0);
            let _ = writeln!(
                svg,
                "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{from:.1}\" y2=\"{to:.1}\" stroke=\"#aa2222\" stroke-width=\"2\"/>"
            );
        }
    }
    svg.push_str("</svg>\n");
    svg
}
