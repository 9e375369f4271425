//! Takes a TOML table apart key by key, and remembers what was wrong instead of stopping.

use super::{Problem, Secret};
use std::{fmt::Display, ops::RangeInclusive, str::FromStr, time::Duration};
use toml::{Table, Value};

/// One table of the file, with its path and the problems found so far.
pub(super) struct Reader<'a> {
    path: String,
    table: Table,
    known: Vec<&'static str>,
    problems: &'a mut Vec<Problem>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(path: impl Into<String>, table: Table, problems: &'a mut Vec<Problem>) -> Self {
        Self { path: path.into(), table, known: Vec::new(), problems }
    }

    fn key(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn take(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        self.table.remove(key)
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    pub(super) fn problem(&mut self, key: &str, what: impl Into<String>) {
        let key = self.key(key);
        self.problems.push(Problem::new(key, what));
    }

    fn mistyped(&mut self, key: &str, value: &Value, allowed: &str) {
        // Whatever stands in the wrong place may be the database's address, with its password.
        let shown = Some(value.to_string()).filter(|shown| !shown.contains('@'));
        let shown = shown.unwrap_or_else(|| format!("this {}", value.type_str()));
        self.problem(key, format!("{shown} is not allowed: it must be {allowed}"));
    }

    pub(super) fn text(&mut self, key: &'static str) -> Option<String> {
        let value = self.take(key)?;
        let text = value.as_str().map(str::to_owned);
        if text.is_none() {
            self.mistyped(key, &value, "text in quotes");
        }
        text
    }

    /// Text that is never repeated, whatever is wrong with it.
    pub(super) fn secret(&mut self, key: &'static str) -> Option<Secret> {
        let value = self.take(key)?;
        let secret = value.as_str().filter(|secret| !secret.is_empty()).map(Secret::new);
        if secret.is_none() {
            let what = format!("this {} is not allowed: it must be text in quotes, not empty", value.type_str());
            self.problem(key, what);
        }
        secret
    }

    pub(super) fn parsed<T: FromStr<Err: Display>>(&mut self, key: &'static str) -> Option<T> {
        let text = self.text(key)?;
        text.parse().map_err(|error: T::Err| self.problem(key, error.to_string())).ok()
    }

    pub(super) fn flag(&mut self, key: &'static str) -> Option<bool> {
        let value = self.take(key)?;
        let flag = value.as_bool();
        if flag.is_none() {
            self.mistyped(key, &value, "true or false");
        }
        flag
    }

    pub(super) fn number(&mut self, key: &'static str, allowed: RangeInclusive<u32>) -> Option<u32> {
        let value = self.take(key)?;
        let number = value.as_integer().and_then(|number| u32::try_from(number).ok()).filter(|n| allowed.contains(n));
        if number.is_none() {
            self.mistyped(key, &value, &format!("a whole number from {} to {}", allowed.start(), allowed.end()));
        }
        number
    }

    pub(super) fn duration(&mut self, key: &'static str) -> Option<Duration> {
        let value = self.take(key)?;
        let duration = value.as_str().and_then(|text| humantime::parse_duration(text).ok());
        if duration.is_none() {
            self.mistyped(key, &value, "a duration such as \"250ms\", \"5s\" or \"1m\"");
        }
        duration
    }

    pub(super) fn choice<T: Copy>(&mut self, key: &'static str, choices: &[(&str, T)]) -> Option<T> {
        let value = self.take(key)?;
        let found = choices.iter().find(|(name, _)| value.as_str() == Some(name)).map(|(_, choice)| *choice);
        if found.is_none() {
            let names: Vec<String> = choices.iter().map(|(name, _)| format!("{name:?}")).collect();
            self.mistyped(key, &value, &format!("one of {}", names.join(", ")));
        }
        found
    }

    pub(super) fn section(&mut self, key: &'static str) -> Reader<'_> {
        let table = match self.take(key) {
            None => Table::new(),
            Some(Value::Table(table)) => table,
            Some(other) => {
                self.mistyped(key, &other, "a table");
                Table::new()
            }
        };
        Reader::new(self.key(key), table, self.problems)
    }

    /// The tables of an array, each read by `read`.
    pub(super) fn each<T>(&mut self, key: &'static str, mut read: impl FnMut(&mut Reader<'_>) -> Option<T>) -> Vec<T> {
        let rows = match self.take(key) {
            None => return Vec::new(),
            Some(Value::Array(rows)) => rows,
            Some(other) => {
                self.mistyped(key, &other, &format!("an array of tables, written [[{key}]]"));
                return Vec::new();
            }
        };
        let path = self.key(key);
        let mut found = Vec::new();
        for (index, row) in rows.into_iter().enumerate() {
            let Value::Table(table) = row else {
                self.mistyped(key, &row, "a table");
                continue;
            };
            let mut reader = Reader::new(format!("{path}[{index}]"), table, self.problems);
            let item = read(&mut reader);
            reader.finish();
            found.extend(item);
        }
        found
    }

    /// Everything that is left is a key that nobody knows.
    pub(super) fn finish(&mut self) {
        let known = self.known.join(", ");
        for (key, _) in std::mem::take(&mut self.table) {
            self.problem(&key, format!("unknown key; known here: {known}"));
        }
    }
}
