//! What the environment says over the file.
//!
//! `QUORATE_` and the key's path in capitals, each dot a double underscore: `QUORATE_DATABASE__URL`,
//! `QUORATE_HEALTH__INTERVAL`. Entries of an array are numbered from 0, and the next number makes a new one:
//! `QUORATE_VIRTUAL_STORAGE__0__NODE__3__ADDRESS`. Single underscores belong to names, so two were taken for dots; a
//! variable that fits no key is an error, for it was meant for one.
//!
//! Nothing here reads the process's environment: the pairs are handed in.

use super::{
    Problem,
    key::{Key, Slot},
    table::{CLUSTER, FILE, NODE},
};
use std::collections::BTreeMap;
use toml::{Table, Value};

/// What every variable of ours begins with.
pub const PREFIX: &str = "QUORATE_";

/// How a variable's text becomes a file's value.
#[derive(Clone, Copy)]
enum Form {
    Text,
    Flag,
    Number,
}

fn form<T>(keys: &[Key<T>], path: &str) -> Option<Form> {
    let key = keys.iter().find(|key| key.path == path)?;
    Some(match key.slot {
        Slot::Flag(_) => Form::Flag,
        Slot::Number(..) | Slot::MaybeNumber(..) => Form::Number,
        Slot::Text(_) | Slot::Secret(_) | Slot::File(_) | Slot::Time(..) | Slot::MaybeTime(..) | Slot::Choice(..) => {
            Form::Text
        }
    })
}

/// Where a variable points: a key of the file, or of an entry of an array.
fn key_of(variable: &str) -> Option<(Vec<String>, Form)> {
    let rest = variable.strip_prefix(PREFIX)?;
    if rest.chars().any(|letter| letter.is_ascii_lowercase()) {
        return None;
    }
    let steps: Vec<String> = rest.split("__").map(str::to_ascii_lowercase).collect();
    let words: Vec<&str> = steps.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse::<u16>().is_ok();
    let form = match words.as_slice() {
        ["virtual_storage", cluster, "node", node, key] if number(cluster) && number(node) => form(NODE, key),
        ["virtual_storage", cluster, key] if number(cluster) => form(CLUSTER, key),
        path => form(FILE, &path.join(".")),
    };
    form.map(|form| (steps, form))
}

fn value(text: String, form: Form) -> Value {
    // What does not read as its kind stays text: the key itself says then what is allowed.
    match form {
        Form::Text => Value::String(text),
        Form::Flag => text.parse().map_or_else(|_| Value::String(text), Value::Boolean),
        Form::Number => text.parse().map_or_else(|_| Value::String(text), Value::Integer),
    }
}

/// Which variable set which key, for errors: by the key's path as errors name it.
#[derive(Default)]
pub(super) struct Origins(BTreeMap<String, String>);

impl Origins {
    /// Names the variables in the problems that they caused.
    pub(super) fn name(&self, problems: &mut [Problem]) {
        for problem in problems {
            for (path, variable) in &self.0 {
                if mentions(&problem.key, path) || mentions(&problem.what, path) {
                    problem.what.push_str(&format!(" ({variable} sets {path})"));
                }
            }
        }
    }
}

/// Whether a text names a path, and not a longer one.
fn mentions(text: &str, path: &str) -> bool {
    let part = |letter: char| letter.is_ascii_alphanumeric() || "_.[]".contains(letter);
    text.match_indices(path).any(|(at, found)| {
        let (before, after) = text.split_at(at);
        let after = after.get(found.len()..).unwrap_or_default();
        !before.ends_with(part) && !after.starts_with(part)
    })
}

/// Puts the variables of ours into the file's tables. Those of others are left alone.
pub(super) fn overlay(
    table: &mut Table,
    variables: impl IntoIterator<Item = (String, String)>,
    problems: &mut Vec<Problem>,
) -> Origins {
    // In order of name, so that entry 3 of an array comes after entry 2.
    let mut ours: Vec<(Vec<String>, String, Value)> = Vec::new();
    for (variable, text) in variables.into_iter().filter(|(variable, _)| variable.starts_with(PREFIX)) {
        match key_of(&variable) {
            Some((steps, form)) => ours.push((steps, variable, value(text, form))),
            None => problems.push(Problem::new(
                variable,
                format!("fits no key: it must be {PREFIX} and a key's path in capitals, `__` for each dot"),
            )),
        }
    }
    ours.sort_by_key(|(steps, ..)| {
        steps.iter().map(|step| (step.parse::<u16>().ok(), step.clone())).collect::<Vec<_>>()
    });
    let mut origins = Origins::default();
    for (steps, variable, value) in ours {
        match put(table, &steps, value) {
            Ok(()) => drop(origins.0.insert(shown(&steps), variable)),
            Err(what) => problems.push(Problem::new(variable, what)),
        }
    }
    origins
}

/// A path as errors name it: `virtual_storage[0].node[1].address`.
fn shown(steps: &[String]) -> String {
    let mut path = String::new();
    for step in steps {
        if step.parse::<u16>().is_ok() {
            path.push_str(&format!("[{step}]"));
        } else {
            path.push_str(if path.is_empty() { "" } else { "." });
            path.push_str(step);
        }
    }
    path
}

fn put(table: &mut Table, steps: &[String], value: Value) -> Result<(), String> {
    match steps {
        [] => Ok(()),
        [last] => {
            table.insert(last.clone(), value);
            Ok(())
        }
        [array, index, rest @ ..] if index.parse::<u16>().is_ok() => {
            let index = usize::from(index.parse::<u16>().unwrap_or_default());
            let entry = table.entry(array.clone()).or_insert_with(|| Value::Array(Vec::new()));
            let Value::Array(entries) = entry else { return Err(format!("the file's {array} is no array of tables")) };
            if index > entries.len() {
                return Err(format!("entry {index} of {array} has no entry before it: there are {}", entries.len()));
            }
            if index == entries.len() {
                entries.push(Value::Table(Table::new()));
            }
            match entries.get_mut(index) {
                Some(Value::Table(entry)) => put(entry, rest, value),
                _ => Err(format!("the file's {array} is no array of tables")),
            }
        }
        [section, rest @ ..] => {
            let entry = table.entry(section.clone()).or_insert_with(|| Value::Table(Table::new()));
            let Value::Table(inner) = entry else { return Err(format!("the file's {section} is no table")) };
            put(inner, rest, value)
        }
    }
}
