//! Which storages should host a repository when its replication factor is set.

use super::ids::Storage;
use std::collections::BTreeSet;

/// A replication factor that was refused. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidReplicationFactor {
    /// Below one.
    #[error("attempted to set replication factor {factor} but minimum is 1")]
    TooSmall {
        /// The refused factor.
        factor: u32,
    },
    /// More than there are storages.
    #[error("attempted to set replication factor {factor} but virtual storage only contains {storages} storages")]
    TooLarge {
        /// The refused factor.
        factor: u32,
        /// How many storages are configured.
        storages: usize,
    },
}

/// The assignments for a replication factor. Grows with the primary first, then by lot; shrinks by lot, never the
/// primary. Assignments to storages that are not configured are neither counted nor touched. Without a primary it
/// shrinks all the same (the original cannot, defect W).
pub fn plan(
    factor: u32,
    configured: &BTreeSet<Storage>,
    assigned: &BTreeSet<Storage>,
    primary: Option<&Storage>,
    seed: u64,
) -> Result<BTreeSet<Storage>, InvalidReplicationFactor> {
    let want = usize::try_from(factor).unwrap_or(usize::MAX);
    if want == 0 {
        return Err(InvalidReplicationFactor::TooSmall { factor });
    }
    if want > configured.len() {
        return Err(InvalidReplicationFactor::TooLarge { factor, storages: configured.len() });
    }
    let foreign = assigned.difference(configured).cloned();
    let mut order: Vec<&Storage> = configured.iter().collect();
    let turn = u64::try_from(order.len()).ok().and_then(|len| seed.checked_rem(len)).unwrap_or(0);
    let turn = usize::try_from(turn).unwrap_or(0);
    order.rotate_left(turn);
    // Those assigned already stay, the primary first among them; then come the others, again the primary first.
    order.sort_by_key(|storage| (!assigned.contains(*storage), primary != Some(*storage)));
    Ok(order.into_iter().take(want).cloned().chain(foreign).collect())
}

/// The storages that should host a repository: those assigned that are configured, and every configured one if none is.
#[must_use]
pub fn hosts(configured: &BTreeSet<Storage>, assigned: &BTreeSet<Storage>) -> BTreeSet<Storage> {
    let known: BTreeSet<Storage> = assigned.intersection(configured).cloned().collect();
    if known.is_empty() { configured.clone() } else { known }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<Storage> {
        names.iter().map(|name| Storage::new(*name).unwrap()).collect()
    }

    #[test]
    fn the_tables_of_the_original_hold() {
        let all = set(&["g1", "g2", "g3"]);
        let g1 = Storage::new("g1").unwrap();
        for seed in 0..10 {
            let plan = |factor, assigned: &[&str], primary| plan(factor, &all, &set(assigned), primary, seed);
            assert_eq!(plan(1, &[], Some(&g1)).unwrap(), set(&["g1"]), "primary first");
            assert_eq!(plan(1, &["g1", "g2", "g3"], Some(&g1)).unwrap(), set(&["g1"]), "keeps the primary");
            assert_eq!(plan(2, &["g1", "g2"], Some(&g1)).unwrap(), set(&["g1", "g2"]), "no-op");
            assert_eq!(plan(3, &["g1", "g2"], Some(&g1)).unwrap(), all);
            assert_eq!(plan(2, &["g1", "g2", "g3"], Some(&g1)).unwrap().len(), 2);
            assert!(plan(2, &["g1", "g2", "g3"], Some(&g1)).unwrap().contains(&g1));
            assert_eq!(plan(1, &["g2", "g3"], None).unwrap().len(), 1, "shrinks without a primary");
            assert_eq!(plan(2, &["g1", "x"], Some(&g1)).unwrap().len(), 3, "ignores and keeps the unconfigured");
        }
        let error = plan(4, &all, &set(&[]), None, 0).unwrap_err();
        assert_eq!(
            error.to_string(),
            "attempted to set replication factor 4 but virtual storage only contains 3 storages"
        );
        assert!(plan(0, &all, &set(&[]), None, 0).is_err());
    }

    #[test]
    fn the_lot_falls_on_everybody() {
        let all = set(&["g1", "g2", "g3"]);
        let picked: BTreeSet<_> = (0..3).flat_map(|seed| plan(1, &all, &set(&[]), None, seed).unwrap()).collect();
        assert_eq!(picked, all);
    }
}
