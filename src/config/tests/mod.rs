//! By topic. The rows of Praefect's own rules stand in `praefect`, the walk over all keys in `environment`.

mod database;
mod environment;
mod page;
mod praefect;
mod profiles;
mod reading;
mod reload;
mod secrets;
mod thresholds;

use super::table::{CLUSTER, FILE, NODE};

const MINIMAL: &str = r#"
    name = "s1"
    database.url = "sqlite:quorate.db"
    [[virtual_storage]]
    name = "default"
    [[virtual_storage.node]]
    storage = "g1"
    address = "tcp://127.0.0.1:2305"
"#;

fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Every key of the table, with its path in the file.
fn every_key() -> Vec<String> {
    let file = FILE.iter().map(|key| key.path.to_owned());
    let cluster = CLUSTER.iter().map(|key| format!("virtual_storage.{}", key.path));
    let node = NODE.iter().map(|key| format!("virtual_storage.node.{}", key.path));
    file.chain(cluster).chain(node).collect()
}
