//! What one key is: where it stands, what it takes, where its value goes, and why it exists.
//!
//! A key knows its own slot in the draft, so the one table of them reads files, checks ranges, says what may change in
//! a running supervisor, and writes the reference page. Nothing can be read that the page does not tell.

use super::Secret;
use std::{path::PathBuf, time::Duration};
use toml::Value;

/// One key of a `T`: of the file as a whole, of a virtual storage, or of a node.
pub(super) struct Key<T> {
    /// Its path below `T`, in TOML's dots.
    pub(super) path: &'static str,
    /// What it takes, and where that goes.
    pub(super) slot: Slot<T>,
    /// Whether a reload may change it.
    pub(super) live: bool,
    /// Whether it means anything where a supervisor works in rounds (profile `praefect`).
    pub(super) in_rounds: bool,
    /// What the page says where a value would tell nothing.
    pub(super) default: Option<&'static str>,
    /// What it does, and why one would change it.
    pub(super) why: &'static str,
}

/// Where in a `T` a value stands.
pub(super) type At<T, V> = fn(&mut T) -> &mut V;

/// What a key takes, and where it goes.
pub(super) enum Slot<T> {
    /// Text, not empty.
    Text(At<T, Option<String>>),
    /// Text that must never be shown.
    Secret(At<T, Option<Secret>>),
    /// A file's path.
    File(At<T, Option<PathBuf>>),
    /// True or false.
    Flag(At<T, bool>),
    /// A whole number within a range.
    Number(At<T, u32>, u32, u32),
    /// A whole number within a range, or nothing.
    MaybeNumber(At<T, Option<u32>>, u32, u32),
    /// A duration from so many milliseconds to so many.
    Time(At<T, Duration>, u64, u64),
    /// A duration from so many milliseconds to so many, or nothing.
    MaybeTime(At<T, Option<Duration>>, u64, u64),
    /// One of these names; handed over and shown as its place among them.
    Choice(&'static [&'static str], fn(&mut T, usize), fn(&T) -> usize),
}

impl<T> Key<T> {
    pub(super) const fn new(path: &'static str, slot: Slot<T>, why: &'static str) -> Self {
        Self { path, slot, live: false, in_rounds: true, default: None, why }
    }
    /// A reload may change it.
    pub(super) const fn live(mut self) -> Self {
        self.live = true;
        self
    }
    /// Profile `praefect` has no use for it.
    pub(super) const fn not_in_rounds(mut self) -> Self {
        self.in_rounds = false;
        self
    }
    /// What the page says of its default.
    pub(super) const fn otherwise(mut self, default: &'static str) -> Self {
        self.default = Some(default);
        self
    }
}

impl<T> Slot<T> {
    /// Puts a file's value in its place. The error says what is allowed, and quotes nothing that may be a secret.
    pub(super) fn take(&self, into: &mut T, value: Value) -> Result<(), String> {
        let refused = |value: &Value| format!("{} is not allowed: it must be {}", self.quoted(value), self.allowed());
        match (self, &value) {
            (Slot::Text(at), Value::String(text)) if !text.is_empty() => *at(into) = Some(text.clone()),
            (Slot::Secret(at), Value::String(text)) if !text.is_empty() => *at(into) = Some(Secret::new(text)),
            (Slot::File(at), Value::String(text)) if !text.is_empty() => *at(into) = Some(text.into()),
            (Slot::Flag(at), Value::Boolean(flag)) => *at(into) = *flag,
            (Slot::Number(at, ..), Value::Integer(number)) => {
                *at(into) = u32::try_from(*number).map_err(|_| refused(&value))?;
            }
            (Slot::MaybeNumber(at, ..), Value::Integer(number)) => {
                *at(into) = Some(u32::try_from(*number).map_err(|_| refused(&value))?);
            }
            (Slot::Time(at, ..), Value::String(text)) => {
                *at(into) = humantime::parse_duration(text).map_err(|_| refused(&value))?;
            }
            (Slot::MaybeTime(at, ..), Value::String(text)) => {
                *at(into) = Some(humantime::parse_duration(text).map_err(|_| refused(&value))?);
            }
            (Slot::Choice(names, set, _), Value::String(text)) => {
                let place = names.iter().position(|name| name == text).ok_or_else(|| refused(&value))?;
                set(into, place);
            }
            (_, value) => return Err(refused(value)),
        }
        Ok(())
    }

    /// What is wrong with the value in its place: out of range.
    pub(super) fn problem(&self, of: &mut T) -> Option<String> {
        let between = |time: &Duration, from: &u64, to: &u64| {
            (Duration::from_millis(*from)..=Duration::from_millis(*to)).contains(time)
        };
        let within = match self {
            Slot::Number(at, from, to) => (*from..=*to).contains(at(of)),
            Slot::MaybeNumber(at, from, to) => at(of).is_none_or(|number| (*from..=*to).contains(&number)),
            Slot::Time(at, from, to) => between(at(of), from, to),
            Slot::MaybeTime(at, from, to) => at(of).is_none_or(|time| between(&time, from, to)),
            Slot::Text(_) | Slot::Secret(_) | Slot::File(_) | Slot::Flag(_) | Slot::Choice(..) => true,
        };
        (!within).then(|| format!("{} is not allowed: it must be {}", self.value(of), self.allowed()))
    }

    /// The value in its place; empty: none. It may be a secret: for comparing, and for defaults.
    pub(super) fn value(&self, of: &mut T) -> String {
        match self {
            Slot::Text(at) => at(of).clone().unwrap_or_default(),
            Slot::Secret(at) => at(of).as_ref().map(|secret| secret.expose().to_owned()).unwrap_or_default(),
            Slot::File(at) => at(of).as_ref().map(|path| path.display().to_string()).unwrap_or_default(),
            Slot::Flag(at) => at(of).to_string(),
            Slot::Number(at, ..) => at(of).to_string(),
            Slot::MaybeNumber(at, ..) => at(of).map(|number| number.to_string()).unwrap_or_default(),
            Slot::Time(at, ..) => format!("{:?}", at(of)),
            Slot::MaybeTime(at, ..) => at(of).map(|time| format!("{time:?}")).unwrap_or_default(),
            Slot::Choice(names, _, get) => names.get(get(of)).map(|name| (*name).to_owned()).unwrap_or_default(),
        }
    }

    /// Whatever stands in the wrong place may be a password.
    fn quoted(&self, value: &Value) -> String {
        let shown = value.to_string();
        if matches!(self, Slot::Secret(_)) || shown.contains('@') {
            format!("this {}", value.type_str())
        } else {
            shown
        }
    }

    /// What it is, in the page's words.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Slot::Text(_) => "text",
            Slot::Secret(_) => "secret text",
            Slot::File(_) => "path",
            Slot::Flag(_) => "true or false",
            Slot::Number(..) | Slot::MaybeNumber(..) => "number",
            Slot::Time(..) | Slot::MaybeTime(..) => "duration",
            Slot::Choice(..) => "choice",
        }
    }

    /// What is allowed, in an error's words.
    pub(super) fn allowed(&self) -> String {
        match self {
            Slot::Text(_) | Slot::Secret(_) => "text in quotes, not empty".to_owned(),
            Slot::File(_) => "a path in quotes".to_owned(),
            Slot::Flag(_) => "true or false".to_owned(),
            Slot::Number(_, from, to) | Slot::MaybeNumber(_, from, to) => format!("a whole number from {from} to {to}"),
            Slot::Time(_, from, to) | Slot::MaybeTime(_, from, to) => {
                let time = |millis| humantime::format_duration(Duration::from_millis(millis));
                format!("a duration such as \"250ms\" or \"5s\", from {} to {}", time(*from), time(*to))
            }
            Slot::Choice(names, ..) => {
                let names: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
                format!("one of {}", names.join(", "))
            }
        }
    }
}
