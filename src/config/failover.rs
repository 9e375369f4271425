//! The section `[failover]` while it is read: three of Praefect's keys and one of ours make one value, or none.

use super::Problem;
use crate::core::error_tracker::ErrorLimits;
use std::time::Duration;

/// Praefect's three thresholds, where zero means that it was not set, and how long a node stays out.
#[derive(Default)]
pub(super) struct Errors {
    pub(super) window: Duration,
    pub(super) reads: u32,
    pub(super) writes: u32,
    pub(super) cool_down: Option<Duration>,
}

impl Errors {
    pub(super) fn of(limits: Option<ErrorLimits>) -> Self {
        let cool_down = |limits: ErrorLimits| Some(limits.cool_down).filter(|pause| *pause != limits.window);
        limits.map_or_else(Self::default, |limits| Self {
            window: limits.window,
            reads: limits.reads,
            writes: limits.writes,
            cool_down: cool_down(limits),
        })
    }

    /// All three of Praefect's keys or none.
    pub(super) fn limits(&self, problems: &mut Vec<Problem>) -> Option<ErrorLimits> {
        let keys = [
            ("error_threshold_window", !self.window.is_zero()),
            ("read_error_threshold_count", self.reads > 0),
            ("write_error_threshold_count", self.writes > 0),
        ];
        let names = keys.map(|(key, _)| key).join(", ");
        let mut say = |key: &str, what: String| problems.push(Problem::new(format!("failover.{key}"), what));
        match keys.iter().filter(|(_, given)| *given).count() {
            3 => Some(ErrorLimits {
                window: self.window,
                reads: self.reads,
                writes: self.writes,
                cool_down: self.cool_down.unwrap_or(self.window),
            }),
            0 => {
                if let Some(cool_down) = self.cool_down {
                    say("error_cool_down", format!("{cool_down:?} is for nothing: {names} are not set"));
                }
                None
            }
            _ => {
                for (key, _) in keys.iter().filter(|(_, given)| !given) {
                    say(key, format!("is missing or 0: errors are counted only if {names} are all set"));
                }
                None
            }
        }
    }
}
