//! What may change in a running supervisor, and what may not.

use super::{
    Config, Problem,
    table::{Draft, FILE},
};

impl Config {
    /// Why a running supervisor of this configuration cannot become one of that; empty: it can.
    ///
    /// Live are intervals, deadlines and thresholds of probing, and nodes: added, removed, or under another address or
    /// token. What was stored with the first start (`consensus.*`) is changed in the database, and the rest is read once.
    #[must_use]
    pub fn not_live(&self, wanted: &Config) -> Vec<Problem> {
        let mut found = Vec::new();
        let (mut now, mut then) = (Draft::of(self.clone()), Draft::of(wanted.clone()));
        for key in FILE.iter().filter(|key| !key.live) {
            let (old, new) = (key.slot.value(&mut now), key.slot.value(&mut then));
            if old == new {
                continue;
            }
            let what = if key.path.starts_with("database.") {
                // Addresses may hold passwords.
                "cannot be changed while it runs: start again".to_owned()
            } else if key.path.starts_with("consensus.") {
                format!("{old:?} cannot become {new:?} by a file: it is stored in the database, see `settings_update`")
            } else {
                format!("{old:?} cannot become {new:?} while it runs: start again")
            };
            found.push(Problem::new(key.path, what));
        }
        let names = |config: &Config| -> Vec<_> { config.virtual_storages.iter().map(|c| c.name.clone()).collect() };
        let (old, new) = (names(self), names(wanted));
        for (index, name) in new.iter().enumerate().filter(|(_, name)| !old.contains(name)) {
            let what = format!("{name:?} cannot be added while it runs: start again");
            found.push(Problem::new(format!("virtual_storage[{index}].name"), what));
        }
        for name in old.iter().filter(|name| !new.contains(name)) {
            let what = format!("{name:?} cannot be taken away while it runs: start again");
            found.push(Problem::new("virtual_storage", what));
        }
        found
    }
}
