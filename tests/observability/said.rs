//! A `tracing` subscriber that keeps every line of ours, for the thread that asks.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    sync::{Arc, Mutex},
};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
    subscriber::DefaultGuard,
};

/// One line.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) level: Level,
    pub(crate) fields: BTreeMap<String, String>,
}

impl Line {
    pub(crate) fn message(&self) -> &str {
        self.field("message")
    }
    pub(crate) fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or_else(|| panic!("no field {name}: {self:?}"), String::as_str)
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.fields.insert(field.name().to_owned(), format!("{value:?}"));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields.insert(field.name().to_owned(), value.to_owned());
    }
}

/// Everything that this thread said, all levels, since it began to listen or was told to forget.
#[derive(Clone, Default)]
pub(crate) struct Said(Arc<Mutex<Vec<Line>>>);

impl Said {
    /// Listens until the guard is dropped.
    pub(crate) fn listen() -> (Said, DefaultGuard) {
        let said = Said::default();
        let guard = tracing::subscriber::set_default(said.clone());
        (said, guard)
    }
    pub(crate) fn forget(&self) {
        self.0.lock().unwrap().clear();
    }
    pub(crate) fn lines(&self) -> Vec<Line> {
        self.0.lock().unwrap().clone()
    }
    /// The lines with this message.
    pub(crate) fn of(&self, message: &str) -> Vec<Line> {
        self.lines().into_iter().filter(|line| line.message() == message).collect()
    }
    /// The only line with this message.
    pub(crate) fn only(&self, message: &str) -> Line {
        let mut lines = self.of(message);
        assert_eq!(lines.len(), 1, "{message:?} once: {:?}", self.lines());
        lines.remove(0)
    }
}

impl Subscriber for Said {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("quorate")
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut line = Line { level: *event.metadata().level(), fields: BTreeMap::new() };
        event.record(&mut line);
        self.0.lock().unwrap().push(line);
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}
