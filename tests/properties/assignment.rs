//! Replication factors and assignments.

use crate::{config, scene::storage};
use proptest::{collection::btree_set, option, prelude::*};
use quorate::core::{assignment::plan, ids::Storage};
use std::collections::BTreeSet;

fn set(numbers: &BTreeSet<usize>) -> BTreeSet<Storage> {
    numbers.iter().map(|n| storage(*n)).collect()
}

proptest! {
    #![proptest_config(config(1_024, "tests/properties/regressions/assignment.txt"))]

    #[test]
    fn a_plan_has_the_factor_and_moves_no_more_than_it_must(
        configured in btree_set(0_usize..6, 1..6),
        assigned in btree_set(0_usize..8, 0..6),
        primary in option::of(0_usize..8),
        factor in 0_u32..8,
        seed in any::<u64>(),
    ) {
        let (configured, assigned, primary) = (set(&configured), set(&assigned), primary.map(storage));
        let wanted = usize::try_from(factor).unwrap();
        let Ok(planned) = plan(factor, &configured, &assigned, primary.as_ref(), seed) else {
            prop_assert!(wanted == 0 || wanted > configured.len(), "a factor that fits must be planned");
            return Ok(());
        };
        prop_assert!(wanted >= 1 && wanted <= configured.len());
        let ours: BTreeSet<_> = planned.intersection(&configured).cloned().collect();
        let before: BTreeSet<_> = assigned.intersection(&configured).cloned().collect();
        prop_assert_eq!(ours.len(), wanted, "the factor counts what is configured");
        let foreign = |set: &BTreeSet<Storage>| set.difference(&configured).cloned().collect::<BTreeSet<_>>();
        prop_assert_eq!(foreign(&planned), foreign(&assigned), "what is not configured is not touched");
        let grows = wanted >= before.len();
        prop_assert!(if grows { ours.is_superset(&before) } else { ours.is_subset(&before) }, "no needless move");
        if let Some(primary) = primary.filter(|primary| configured.contains(primary)) {
            let kept = !before.contains(&primary) || ours.contains(&primary);
            prop_assert!(kept, "the primary is never unassigned");
            prop_assert!(wanted <= before.len() || ours.contains(&primary), "the primary is assigned first");
        }
        let again = plan(factor, &configured, &planned, None, seed.wrapping_add(1)).unwrap();
        prop_assert_eq!(again, planned, "a plan in force is the plan");
    }
}
