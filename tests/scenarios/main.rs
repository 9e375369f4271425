//! The scenario tables of the original as acceptance tests, on both databases, each named after its scenario.
//!
//! Under profile `praefect` a row's result is the original's, in both columns: `demote` is release 14.4, `keep` the
//! later one. Under the default profile each row states its own result where the rule differs, and why.

mod assignments;
mod election;
mod health;
mod lab;
mod routing;
mod shard;
#[path = "../support/postgres.rs"]
mod support;
