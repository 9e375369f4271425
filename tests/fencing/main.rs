//! The storage node's fence.
