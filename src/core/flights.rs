//! Reads under way, which others may wait for: one for each thing that is asked for.
//!
//! A read during which what it is about was reported to have changed may have seen the state from before. It answers those
//! who wait for it already and is nobody else's any more: whoever asks after the report reads again, and what the read
//! came to is not kept.

use super::{election::Target, synced::Scope};
use std::collections::BTreeMap;

/// A read under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flight {
    target: Target,
    number: u64,
}

impl Flight {
    /// What is read.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }
}

/// What one who has to read comes to. `W` is how one waits for another's read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Boarding<W> {
    /// Read, then [`Flights::end`].
    Lead(Flight),
    /// Somebody reads it already: wait for them.
    Join(W),
}

/// All reads under way.
#[derive(Debug)]
pub struct Flights<W> {
    open: BTreeMap<Target, (u64, W)>,
    flown: u64,
}

impl<W> Default for Flights<W> {
    /// None.
    fn default() -> Self {
        Self { open: BTreeMap::new(), flown: 0 }
    }
}

impl<W: Clone> Flights<W> {
    /// Leads a read, or joins one; `wait` says how others may wait if this caller comes to lead.
    pub fn board(&mut self, target: &Target, wait: impl FnOnce() -> W) -> Boarding<W> {
        if let Some((_, waiting)) = self.open.get(target) {
            return Boarding::Join(waiting.clone());
        }
        self.flown = self.flown.saturating_add(1);
        self.open.insert(target.clone(), (self.flown, wait()));
        Boarding::Lead(Flight { target: target.clone(), number: self.flown })
    }

    /// Ends a read; answers whether what it came to may be kept: nothing was reported about it since it began.
    pub fn end(&mut self, flight: &Flight) -> bool {
        let current = self.open.get(&flight.target).is_some_and(|(number, _)| *number == flight.number);
        if current {
            self.open.remove(&flight.target);
        }
        current
    }

    /// A change was reported. Reports name paths: it may be about any repository that is read by its number.
    pub fn forget(&mut self, scope: &Scope) {
        self.open.retain(|target, _| match (target, scope) {
            (Target::Id(_), _) | (Target::Path(..), Scope::Everything) => false,
            (Target::Path(here, _), Scope::VirtualStorage(of)) => here != of,
            // Who leads what is read is not known before the answer.
            (Target::Path(here, _), Scope::LedBy(node)) => *here != node.virtual_storage,
            (Target::Path(here, path), Scope::Repository(of, moved)) => (here, path) != (of, moved),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::ids::{NodeId, RepositoryId};

    fn path(text: &str) -> Target {
        Target::Path("v".parse().unwrap(), text.parse().unwrap())
    }
    fn moved(text: &str) -> Scope {
        Scope::Repository("v".parse().unwrap(), text.parse().unwrap())
    }
    fn lead(flights: &mut Flights<()>, target: &Target) -> Flight {
        match flights.board(target, || ()) {
            Boarding::Lead(flight) => flight,
            Boarding::Join(()) => panic!("somebody reads {target:?}"),
        }
    }

    #[test]
    fn one_reads_and_the_others_wait_until_it_ends() {
        let mut flights = Flights::default();
        let first = lead(&mut flights, &path("a"));
        assert_eq!(flights.board(&path("a"), || ()), Boarding::Join(()));
        lead(&mut flights, &path("b"));
        assert!(flights.end(&first));
        lead(&mut flights, &path("a"));
    }

    #[test]
    fn a_read_by_number_may_be_about_whatever_changes() {
        let mut flights = Flights::default();
        let (by_number, by_path) = (Target::Id(RepositoryId(1)), path("a"));
        let (one, other) = (lead(&mut flights, &by_number), lead(&mut flights, &by_path));
        flights.forget(&moved("b"));
        assert!(!flights.end(&one), "nobody knows yet whether it is b");
        assert!(flights.end(&other), "it is not");
    }

    #[test]
    fn a_read_may_be_about_whatever_a_dead_node_led_in_its_own_virtual_storage() {
        for (of, kept) in [("v", false), ("w", true)] {
            let mut flights = Flights::default();
            let one = lead(&mut flights, &path("a"));
            flights.forget(&Scope::LedBy(NodeId::new(of.parse().unwrap(), "g1".parse().unwrap())));
            assert_eq!(flights.end(&one), kept, "{of}");
        }
    }

    #[test]
    fn a_later_read_is_not_ended_by_the_one_before_the_change() {
        let mut flights = Flights::default();
        let before = lead(&mut flights, &path("a"));
        flights.forget(&moved("a"));
        let after = lead(&mut flights, &path("a"));
        assert!(!flights.end(&before));
        assert!(flights.end(&after));
    }
}
