//! For tests, of embedders as well as ours: doubles for what lies outside, and what a store must do, told as stories
//! and as random histories.
//!
//! Behind the feature `testing`. What checks something panics when it does not hold, with a sentence that says which.

pub mod histories;
pub mod inbox;
pub mod manager;
pub mod node;
pub mod probe;
#[cfg(feature = "grpc")]
pub mod storage_node;
pub mod store_suite;
pub mod wait;

pub use manager::MockManager;
pub use node::MockNode;
