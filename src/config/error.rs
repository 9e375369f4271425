//! What is wrong with a configuration: everything, at once.

use std::fmt;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The key's path, as in `virtual_storage[0].node[1].address`.
    pub key: String,
    /// The value and what is allowed.
    pub what: String,
}

impl Problem {
    /// A problem of one key.
    pub fn new(key: impl Into<String>, what: impl Into<String>) -> Self {
        Self { key: key.into(), what: what.into() }
    }
}

/// Everything that is wrong with a configuration. Nothing was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The problems, at least one.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.problems.len();
        write!(f, "the configuration has {count} problem{}", if count == 1 { "" } else { "s" })?;
        for problem in &self.problems {
            write!(f, "\n  {}: {}", problem.key, problem.what)?;
        }
        Ok(())
    }
}
impl std::error::Error for ConfigError {}
