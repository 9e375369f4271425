//! For tests, of embedders as well as ours: what a store must do, told as stories and as random histories.
//!
//! Behind the feature `testing`. Everything here panics when an expectation fails, with a message that says which.

pub mod histories;
pub mod store_suite;
