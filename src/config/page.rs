//! The reference page, written from the table of keys.

use super::{
    Config,
    environment::PREFIX,
    key::{Key, Slot},
    table::{CLUSTER, ClusterDraft, Draft, FILE, NODE, NodeDraft, PROFILES},
};

const HEAD: &str = "\
# Configuration

<!-- Generated from src/config/table.rs: `WRITE_DOCS=1 cargo test --lib config` writes it. -->

A file in TOML; `quorate.example.toml` is one with every key in it. A minimal one names the supervisor, its database, and
one virtual storage with its nodes. An unknown key, a value of the wrong kind or out of range, and values that contradict
each other are errors, and all of them are told at once.

Durations are text: `\"250ms\"`, `\"5s\"`, `\"1m\"`. The columns `default`, `lan` and `praefect` are the three profiles'
defaults; `-` means that a profile has no use for the key and refuses another value. *live* keys follow
`Supervisor::reload`; a change of any other needs a new start, and a reload that asks for one is refused as a whole.

The settings of a cluster (`profile`, `consensus.*`) are stored in its database by the first start. Later the database
wins, a file that differs is told in the log, and `Supervisor::settings_update` changes them.
";

const ENVIRONMENT: &str = "\
A variable overrides the file: its name is `QUORATE_` and the key's path in capitals, with `__` for each dot.
`QUORATE_DATABASE__URL` is `database.url`, `QUORATE_HEALTH__BOOTSTRAP_INTERVAL` is `health.bootstrap_interval`. Entries of
an array are numbered from 0, and the next number makes a new one: `QUORATE_VIRTUAL_STORAGE__0__NODE__3__ADDRESS`. Values
are written without quotes. A variable with this prefix that fits no key is an error.
";

/// The page `docs/configuration.md`: every key with its kind, range, defaults, and why it is there.
#[must_use]
pub fn reference() -> String {
    let mut page = HEAD.to_owned();
    let of = |profile| Draft::of(Config::new(profile, ""));
    let mut defaults = PROFILES.map(of);
    let mut sections: Vec<&str> = Vec::new();
    for key in FILE {
        let section = key.path.rsplit_once('.').map_or("", |(section, _)| section);
        if !sections.contains(&section) {
            sections.push(section);
        }
    }
    for section in sections {
        let title = if section.is_empty() { "## At the top".to_owned() } else { format!("## `[{section}]`") };
        head(&mut page, &title);
        for key in FILE.iter().filter(|key| key.path.rsplit_once('.').map_or("", |(above, _)| above) == section) {
            row(&mut page, key, &mut defaults);
        }
    }
    head(&mut page, "## `[[virtual_storage]]`");
    for key in CLUSTER {
        row(&mut page, key, &mut PROFILES.map(|_| ClusterDraft::default()));
    }
    head(&mut page, "## `[[virtual_storage.node]]`");
    for key in NODE {
        row(&mut page, key, &mut PROFILES.map(|_| NodeDraft::default()));
    }
    page.push_str(&format!("\n## Environment (`{PREFIX}…`)\n\n{ENVIRONMENT}"));
    page
}

fn head(page: &mut String, title: &str) {
    page.push_str(&format!(
        "\n{title}\n\n| key | kind | default | `lan` | `praefect` | live | why |\n|---|---|---|---|---|---|---|\n"
    ));
}

fn row<T>(page: &mut String, key: &Key<T>, defaults: &mut [T; 3]) {
    let kind = match &key.slot {
        slot @ (Slot::Text(_) | Slot::Secret(_) | Slot::File(_) | Slot::Flag(_)) => slot.kind().to_owned(),
        slot @ Slot::Choice(..) => slot.allowed().replace('"', "`"),
        slot @ (Slot::Number(..) | Slot::MaybeNumber(..) | Slot::Time(..) | Slot::MaybeTime(..)) => {
            let allowed = slot.allowed();
            let range = allowed.split_once("from ").map_or("", |(_, range)| range);
            format!("{}, {range}", slot.kind())
        }
    };
    let [default, lan, praefect] = defaults;
    let shown = |of: &mut T| match (key.default, key.slot.value(of)) {
        (Some(words), _) => words.to_owned(),
        (None, value) if value.is_empty() => "none".to_owned(),
        (None, value) => format!("`{value}`"),
    };
    let (default, lan) = (shown(default), shown(lan));
    let praefect = if key.in_rounds { shown(praefect) } else { "-".to_owned() };
    let same = |other: String| if other == default { "same".to_owned() } else { other };
    let (lan, praefect) = (same(lan), same(praefect));
    let live = if key.live { "yes" } else { "no" };
    let name = key.path.rsplit_once('.').map_or(key.path, |(_, name)| name);
    page.push_str(&format!("| `{name}` | {kind} | {default} | {lan} | {praefect} | {live} | {} |\n", key.why));
}
