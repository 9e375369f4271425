//! Who is primary of a virtual storage for one supervisor alone, without a database.
//!
//! Praefect's `local` elector: the primary stays while it is up, else the first other node in order of configuration
//! that is up takes its place. There is no way back: a node that returns is a secondary until the next failure.

use crate::core::ids::Storage;

/// Who is primary now; `None` if `current` is down and nobody else is up. `current: None` is the first question ever: the
/// first configured node is primary from the start.
#[must_use]
pub fn choose_local(
    current: Option<&Storage>,
    configured: &[Storage],
    is_up: impl Fn(&Storage) -> bool,
) -> Option<Storage> {
    let current = current.filter(|storage| configured.contains(storage)).or(configured.first())?;
    if is_up(current) {
        return Some(current.clone());
    }
    configured.iter().find(|storage| is_up(storage)).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_primary_stays_while_it_is_up_and_there_is_no_way_back() {
        let name = |text: &str| Storage::new(text).unwrap();
        let nodes = ["g2", "g1", "g3"].map(name);
        let choose = |current: Option<&str>, up: &[&str]| {
            let current = current.map(name);
            let chosen = choose_local(current.as_ref(), &nodes, |storage| up.contains(&storage.as_str()));
            chosen.map(|storage| storage.to_string())
        };
        for (current, up, expected) in [
            (None, &["g1", "g2", "g3"][..], Some("g2")),
            (Some("g2"), &["g1", "g3"], Some("g1")),
            (Some("g1"), &["g1", "g2", "g3"], Some("g1")),
            (Some("g1"), &["g3"], Some("g3")),
            (Some("g1"), &["g2", "g3"], Some("g2")),
            (Some("g1"), &[], None),
            (None, &["g3"], Some("g3")),
            (Some("gone"), &["g1", "g2"], Some("g2")),
        ] {
            assert_eq!(choose(current, up).as_deref(), expected, "{current:?} {up:?}");
        }
        assert_eq!(choose_local(None, &[], |_| true), None);
    }
}
