//! The adapter over tonic.
