//! Fencing epochs.

use crate::config;
use proptest::prelude::*;
use quorate::core::epoch::{EPOCH_NUMBER_MAX, ERA_MAX, Epoch, Era};

fn parts() -> impl Strategy<Value = (i64, i64)> {
    (1..=ERA_MAX, prop_oneof![1..=EPOCH_NUMBER_MAX, 1_i64..4, EPOCH_NUMBER_MAX - 3..=EPOCH_NUMBER_MAX])
}

proptest! {
    #![proptest_config(config(512, "tests/properties/regressions/epoch.txt"))]

    #[test]
    fn every_form_leads_back((era, number) in parts()) {
        let epoch = Epoch::new(Era(era), number).unwrap();
        prop_assert_eq!((epoch.era(), epoch.number()), (Era(era), number));
        prop_assert_eq!(Epoch::from_i64(epoch.to_i64()).unwrap(), epoch);
        prop_assert_eq!(epoch.to_string().parse::<Epoch>().unwrap(), epoch);
        prop_assert_eq!(serde_json::from_str::<Epoch>(&serde_json::to_string(&epoch).unwrap()).unwrap(), epoch);
    }

    /// The era first, then the number; and the database, which compares whole numbers, agrees.
    #[test]
    fn the_order_is_the_eras_then_the_numbers(one in parts(), other in parts()) {
        let epoch = |(era, number): (i64, i64)| Epoch::new(Era(era), number).unwrap();
        prop_assert_eq!(epoch(one).cmp(&epoch(other)), one.cmp(&other));
        prop_assert_eq!(epoch(one).to_i64().cmp(&epoch(other).to_i64()), one.cmp(&other));
    }

    #[test]
    fn what_is_accepted_is_what_could_be_made(raw in any::<i64>(), text in "[0-9.\\-]{0,14}") {
        if let Ok(epoch) = Epoch::from_i64(raw) {
            prop_assert_eq!(Epoch::new(epoch.era(), epoch.number()).unwrap().to_i64(), raw);
        }
        if let Ok(epoch) = text.parse::<Epoch>() {
            prop_assert_eq!(Epoch::new(epoch.era(), epoch.number()).unwrap(), epoch);
        }
    }
}
