//! Takes a file apart by the table of keys, and remembers what was wrong instead of stopping.

use super::{
    Config, NodeConfig, Problem, VirtualStorageConfig,
    environment::{self, Origins},
    key::Key,
    praefect,
    table::{CLUSTER, ClusterDraft, Draft, FILE, NODE, NodeDraft},
};
use crate::core::settings::Profile;
use std::{fmt::Display, str::FromStr};
use toml::{Table, Value};

/// Reads a file's text under the environment's variables. What is missing or wrong keeps its default; what is wrong is a
/// problem.
pub(super) fn read(
    text: &str,
    variables: impl IntoIterator<Item = (String, String)>,
    problems: &mut Vec<Problem>,
) -> (Config, Origins) {
    let mut table = match text.parse::<Table>() {
        Ok(table) => table,
        Err(error) => {
            // Its own text quotes the line, and the line may hold the database's password.
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.matches('\n').count().saturating_add(1);
            problems.push(Problem::new("(file)", format!("line {line}: {}", error.message())));
            return (Config::new(Profile::Default, ""), Origins::default());
        }
    };
    let origins = environment::overlay(&mut table, variables, problems);
    let mut draft = Draft::of(Config::new(Profile::Default, ""));
    // Its defaults come first. Whatever is wrong with it is told below.
    for key in FILE.iter().filter(|key| key.path == "profile") {
        if let Some(value) = table.get("profile").cloned()
            && key.slot.take(&mut draft, value).is_ok()
        {
            draft = Draft::of(Config::new(draft.config.settings.profile, ""));
        }
    }
    let clusters = rows(&mut table, "virtual_storage", "", problems);
    fill(&mut draft, table, "", (FILE, "virtual_storage"), problems);
    draft.config.virtual_storages = clusters.into_iter().filter_map(|row| cluster(row, problems)).collect();
    (finish(draft, problems), origins)
}

/// Makes one value of what several keys say together.
fn finish(mut draft: Draft, problems: &mut Vec<Problem>) -> Config {
    draft.config.health.errors = draft.errors.limits(problems);
    draft.config.name = draft.name.as_deref().and_then(|name| parsed(name, "name", problems));
    if let Some(url) = draft.database.address("database", problems) {
        draft.config.database.url = url;
    }
    if !draft.session_pooled.is_empty() {
        let place = draft.session_pooled.or(&draft.database);
        draft.config.database.session_pooled = place.address("database.session_pooled", problems);
    }
    draft.config
}

fn cluster((path, mut table): Row, problems: &mut Vec<Problem>) -> Option<VirtualStorageConfig> {
    let nodes = rows(&mut table, "node", &path, problems);
    let mut draft = ClusterDraft::default();
    fill(&mut draft, table, &path, (CLUSTER, "node"), problems);
    let nodes = nodes.into_iter().filter_map(|row| node(row, problems)).collect();
    let name = required(draft.name, &path, "name", problems)?;
    Some(VirtualStorageConfig { name, default_replication_factor: draft.default_replication_factor, nodes })
}

fn node((path, table): Row, problems: &mut Vec<Problem>) -> Option<NodeConfig> {
    let mut draft = NodeDraft::default();
    fill(&mut draft, table, &path, (NODE, ""), problems);
    let storage = required(draft.storage, &path, "storage", problems);
    let address = required(draft.address, &path, "address", problems);
    Some(NodeConfig { storage: storage?, address: address?, token: draft.token })
}

fn parsed<V: FromStr<Err: Display>>(text: &str, path: &str, problems: &mut Vec<Problem>) -> Option<V> {
    text.parse().map_err(|error: V::Err| problems.push(Problem::new(path, error.to_string()))).ok()
}

fn required<V>(text: Option<String>, path: &str, key: &str, problems: &mut Vec<Problem>) -> Option<V>
where
    V: FromStr<Err: Display>,
{
    let path = joined(path, key);
    let Some(text) = text else {
        if !problems.iter().any(|problem| problem.key == path) {
            problems.push(Problem::new(path, "is missing"));
        }
        return None;
    };
    parsed(&text, &path, problems)
}

fn joined(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// One table of an array, with its path.
type Row = (String, Table);

/// The tables of an array.
fn rows(table: &mut Table, key: &str, above: &str, problems: &mut Vec<Problem>) -> Vec<Row> {
    let path = joined(above, key);
    match table.remove(key) {
        None => Vec::new(),
        Some(Value::Array(rows)) => {
            let numbered = rows.into_iter().enumerate().map(|(index, row)| (format!("{path}[{index}]"), row));
            numbered
                .filter_map(|(path, row)| {
                    let Value::Table(table) = row else {
                        problems.push(Problem::new(path, "must be a table"));
                        return None;
                    };
                    Some((path, table))
                })
                .collect()
        }
        Some(_) => {
            problems.push(Problem::new(path, format!("must be an array of tables, written [[{key}]]")));
            Vec::new()
        }
    }
}

/// The keys that may stand in a table, and the array of tables that may, too.
type Known<T> = (&'static [Key<T>], &'static str);

/// Takes every key out of a table and puts its value in its place. What is left is a key that nobody knows.
fn fill<T: 'static>(into: &mut T, mut table: Table, above: &str, known: Known<T>, problems: &mut Vec<Problem>) {
    for key in known.0 {
        let Some(value) = take(&mut table, key.path) else { continue };
        let what = key.slot.take(into, value).err().or_else(|| key.slot.problem(into));
        problems.extend(what.map(|what| Problem::new(joined(above, key.path), what)));
    }
    left_over(table, above, "", known, problems);
}

/// A value by its dotted path; the tables on the way stay.
fn take(table: &mut Table, path: &str) -> Option<Value> {
    match path.split_once('.') {
        None => table.remove(path),
        Some((section, rest)) => take(table.get_mut(section)?.as_table_mut()?, rest),
    }
}

fn left_over<T>(table: Table, above: &str, section: &str, known: Known<T>, problems: &mut Vec<Problem>) {
    for (name, value) in table {
        let path = joined(section, &name);
        let whole = joined(above, &path);
        let is_section = known.0.iter().any(|key| is_below(key.path, &path));
        let is_theirs = above.is_empty() && praefect::is_section(&path);
        if let (true, Value::Table(inner)) = (is_section || is_theirs, value) {
            left_over(inner, above, &path, known, problems);
        } else if is_section {
            // Whatever stands there may be the database's address, with its password.
            problems.push(Problem::new(whole, "must be a table"));
        } else {
            let advice = praefect::advice(&path).filter(|_| above.is_empty());
            problems.push(Problem::new(whole, advice.map_or_else(|| unknown(known, section), str::to_owned)));
        }
    }
}

fn is_below(path: &str, section: &str) -> bool {
    path.strip_prefix(section).is_some_and(|rest| rest.starts_with('.'))
}

/// What may stand in a section.
fn unknown<T>((keys, array): Known<T>, section: &str) -> String {
    let mut names: Vec<&str> = Vec::new();
    for key in keys.iter().filter(|key| section.is_empty() || is_below(key.path, section)) {
        let below = key.path.strip_prefix(section).unwrap_or_default().trim_start_matches('.');
        let name = below.split('.').next().unwrap_or_default();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.extend(Some(array).filter(|array| section.is_empty() && !array.is_empty()));
    if names.is_empty() { "unknown key".to_owned() } else { format!("unknown key; known here: {}", names.join(", ")) }
}
