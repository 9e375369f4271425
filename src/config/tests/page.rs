//! The table of keys beside the page, the example and the stored settings.

use super::{every_key, variables};
use crate::config::{
    environment::PREFIX,
    key::{Key, Slot},
    table::{CLUSTER, ClusterDraft, Draft, FILE, NODE, NodeDraft},
    *,
};
use std::collections::BTreeSet;

/// Whether a value is allowed at a path.
fn allowed(path: &str, value: toml::Value) -> Result<(), String> {
    fn at<T>(keys: &[Key<T>], path: &str, mut into: T, value: toml::Value) -> Result<(), String> {
        let key = keys.iter().find(|key| key.path == path).ok_or_else(|| format!("{path} is no key"))?;
        key.slot.take(&mut into, value)?;
        key.slot.problem(&mut into).map_or(Ok(()), Err)
    }
    match (path.strip_prefix("virtual_storage.node."), path.strip_prefix("virtual_storage.")) {
        (Some(path), _) => at(NODE, path, NodeDraft::default(), value),
        (None, Some(path)) => at(CLUSTER, path, ClusterDraft::default(), value),
        (None, None) => at(FILE, path, Draft::of(Config::new(Profile::Default, "")), value),
    }
}

const EXAMPLE: &str = include_str!("../../../quorate.example.toml");

#[test]
fn the_example_is_a_configuration_and_has_every_key_in_it() {
    let variables = variables(&[("QUORATE_DATABASE__PASSWORD", "hunter2")]);
    let config = Config::from_sources(EXAMPLE, variables).unwrap();
    assert!(config.nodes().count() >= 3);
    let (mut section, mut seen) = (String::new(), BTreeSet::new());
    for line in EXAMPLE.lines() {
        let line = line.strip_prefix("#").map_or(line, |rest| rest.strip_prefix(' ').unwrap_or("")).trim();
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_start_matches('[').trim_end_matches(']').to_owned();
        } else if let Some((key, _)) = line.split_once(" = ").filter(|(key, _)| !key.contains(' ')) {
            let path = if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") };
            let table: toml::Table = line.parse().unwrap_or_else(|error| panic!("{line}: {error}"));
            let value = table.into_iter().next().unwrap().1;
            if let Err(what) = allowed(&path, value) {
                panic!("{path}: {what}");
            }
            seen.insert(path);
        }
    }
    let missing: Vec<String> = every_key().into_iter().filter(|path| !seen.contains(path)).collect();
    assert_eq!(missing, Vec::<String>::new(), "keys that the example lacks");
}

#[test]
fn the_reference_page_is_what_the_table_says() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    if std::env::var_os("WRITE_DOCS").is_some() {
        std::fs::write(&path, reference()).unwrap();
    }
    let page = std::fs::read_to_string(&path).unwrap();
    assert_eq!(page, reference(), "run `WRITE_DOCS=1 cargo test --lib config` and commit docs/configuration.md");
    assert!(page.contains(PREFIX));
}

#[test]
fn ranges_are_those_that_the_stored_settings_have() {
    for key in FILE.iter().filter(|key| key.path.starts_with("consensus.")) {
        let Slot::Time(at, from, to) = key.slot else { continue };
        let mut draft = Draft::of(Config::new(Profile::Default, ""));
        let mut out_of_range = |millis: u64| {
            *at(&mut draft) = Duration::from_millis(millis);
            draft.config.settings.problems().iter().any(|problem| problem.contains("it must be 10 ms to 1 h"))
        };
        let told = [from - 1, from, to, to + 1].map(&mut out_of_range);
        assert_eq!(told, [true, false, false, true], "{}", key.path);
    }
}
