//! How many real calls may fail: three keys of Praefect's and one of ours make one value.

use super::MINIMAL;
use crate::config::*;

fn failing(text: &str) -> String {
    format!("{MINIMAL}\n[failover]\n{text}")
}

#[test]
fn the_error_thresholds_are_praefects_keys_and_the_cool_down_is_the_window_unless_told() {
    let three = "error_threshold_window = \"20s\"\nread_error_threshold_count = 100\nwrite_error_threshold_count = 7";
    let limits = Config::from_toml(&failing(three)).unwrap().health.errors.unwrap();
    let window = Duration::from_secs(20);
    assert_eq!(limits, ErrorLimits { window, reads: 100, writes: 7, cool_down: window });
    let told = Config::from_toml(&failing(&format!("{three}\nerror_cool_down = \"3s\""))).unwrap();
    assert_eq!(told.health.errors.unwrap().cool_down, Duration::from_secs(3));
}

#[test]
fn without_thresholds_or_with_zeros_errors_are_not_counted() {
    let zeros = "error_threshold_window = \"0s\"\nread_error_threshold_count = 0\nwrite_error_threshold_count = 0";
    for text in [MINIMAL.to_owned(), failing(""), failing(zeros)] {
        assert_eq!(Config::from_toml(&text).unwrap().health.errors, None, "{text}");
    }
}

#[test]
fn each_missing_threshold_is_named() {
    let keys = ["error_threshold_window", "read_error_threshold_count", "write_error_threshold_count"];
    let values = ["\"20s\"", "100", "7"];
    for missing in 0..3 {
        let lines: Vec<String> =
            (0..3).filter(|at| *at != missing).map(|at| format!("{} = {}", keys[at], values[at])).collect();
        let error = Config::from_toml(&failing(&lines.join("\n"))).unwrap_err();
        let told: Vec<&str> = error.problems.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(told, [format!("failover.{}", keys[missing])], "{error}");
    }
    let error = Config::from_toml(&failing("error_cool_down = \"3s\"")).unwrap_err();
    assert!(error.to_string().contains("failover.error_cool_down: 3s is for nothing"), "{error}");
}

#[test]
fn thresholds_out_of_range_are_told_whoever_set_them() {
    let text = "error_threshold_window = \"2h\"\nread_error_threshold_count = 10001\nwrite_error_threshold_count = 1";
    let error = Config::from_toml(&failing(text)).unwrap_err();
    assert!(error.to_string().contains("10001 is not allowed: it must be a whole number from 0 to 10000"), "{error}");
    let mut config = Config::from_toml(MINIMAL).unwrap();
    let window = Duration::from_secs(7_200);
    config.health.errors = Some(ErrorLimits { window, reads: 0, writes: 1, cool_down: window });
    let shown = config.validate().unwrap_err().to_string();
    for key in ["error_threshold_window: 7200s", "error_cool_down: 7200s", "read_error_threshold_count: 0"] {
        assert!(shown.contains(&format!("failover.{key} is not allowed")), "{shown}");
    }
}
