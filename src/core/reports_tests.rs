use super::*;
use crate::core::epoch::Era;
use proptest::prelude::*;

fn epoch(era: i64, number: i64) -> Epoch {
    Epoch::new(Era(era), number).unwrap()
}
fn given(era: i64, number: i64) -> Option<Given> {
    Some(Given { era: Era(era), number })
}
fn reported(era: i64, number: i64) -> Reported {
    Reported { node: NodeId::new("v".parse().unwrap(), "g1".parse().unwrap()), epoch: epoch(era, number) }
}
fn told(reports: &mut Reports, era: i64, number: i64) {
    reports.observe(Some(&reported(era, number)));
}
const AT_ONCE: Next = Next::Read { after: Duration::ZERO };

#[test]
fn without_reports_and_while_they_are_known_to_have_been_given_nothing_is_asked() {
    let mut reports = Reports::default();
    assert_eq!(reports.next(), Next::Rest);
    told(&mut reports, 1, 5);
    assert_eq!((reports.next(), reports.reached()), (AT_ONCE, None));
    assert!(!reports.read(given(1, 9)));
    assert_eq!((reports.next(), reports.reached()), (Next::Rest, Some(epoch(1, 5))));
    told(&mut reports, 1, 9);
    assert_eq!(reports.next(), Next::Rest, "it was given, as is known");
    told(&mut reports, 1, 10);
    assert_eq!(reports.next(), AT_ONCE, "it may have been given since");
    assert!(!reports.read(given(1, 10)));
    assert_eq!(reports.next(), Next::Rest);
}

#[test]
fn a_database_is_behind_until_a_new_era_however_far_its_numbers_come() {
    let mut reports = Reports::default();
    told(&mut reports, 1, 50);
    assert!(reports.read(given(1, 20)));
    let behind = Behind { reported: reported(1, 50), given: given(1, 20).unwrap() };
    assert_eq!(reports.behind(), Some(&behind));
    assert!(!reports.read(given(1, 60)), "those in between were given twice");
    assert_eq!(reports.behind(), Some(&behind));
    assert!(reports.read(given(2, 60)));
    assert_eq!((reports.behind(), reports.next()), (None, Next::Rest));
}

#[test]
fn an_era_that_does_not_reach_what_was_reported_lifts_nothing() {
    let mut reports = Reports::default();
    told(&mut reports, 7, 50);
    assert!(reports.read(given(1, 20)));
    assert!(!reports.read(given(2, 20)), "repaired by one who had not heard of it");
    assert!(reports.behind().is_some());
    assert!(reports.read(given(8, 20)));
}

#[test]
fn what_comes_to_be_known_of_a_new_era_before_this_supervisor_looks_lifts_it_all_the_same() {
    let mut reports = Reports::default();
    told(&mut reports, 1, 50);
    assert!(reports.read(given(1, 20)));
    told(&mut reports, 2, 21);
    assert!(reports.read(given(2, 21)));
    assert_eq!(reports.behind(), None);
}

#[test]
fn a_database_that_does_not_answer_is_asked_again_with_growing_pauses() {
    let mut reports = Reports::default();
    told(&mut reports, 1, 5);
    for millis in [100, 200, 400, 800, 1_000, 1_000] {
        assert!(!reports.read(None));
        assert_eq!(reports.next(), Next::Read { after: Duration::from_millis(millis) });
        assert_eq!((reports.behind(), reports.reached()), (None, None), "in doubt nothing is said");
    }
    assert!(!reports.read(given(1, 5)));
    told(&mut reports, 1, 6);
    assert_eq!(reports.next(), AT_ONCE, "the pauses are over");
}

#[test]
fn another_registration_asks_anew_and_takes_a_whole_database_at_its_word() {
    let mut reports = Reports::default();
    told(&mut reports, 1, 50);
    assert!(!reports.read(given(1, 50)));
    reports.forget();
    assert_eq!(reports.next(), AT_ONCE, "it may be another database");
    assert!(reports.read(given(1, 20)));
    reports.forget();
    assert!(reports.behind().is_some(), "until it was read");
    assert!(reports.read(given(1, 50)), "the right backup");
    assert_eq!(reports.behind(), None);
}

#[test]
fn whoever_takes_over_goes_on_where_the_last_one_stood() {
    let mut reports = Reports::default();
    told(&mut reports, 1, 50);
    assert!(reports.read(given(1, 20)));
    let mut heir = Reports::resume(reports.behind().cloned());
    told(&mut heir, 1, 50);
    assert!(!heir.read(given(1, 60)) && heir.behind().is_some());
    assert!(heir.read(given(2, 60)) && heir.behind().is_none());
}

#[test]
fn a_fence_of_another_cluster_is_foreign_and_one_of_none_is_not() {
    let here: ClusterId = "here".parse().unwrap();
    let of = |cluster: Option<&str>| FenceReport { cluster: cluster.map(|name| name.parse().unwrap()), highest: None };
    assert!(of(Some("elsewhere")).is_foreign(&here));
    assert!(!of(Some("here")).is_foreign(&here) && !of(None).is_foreign(&here));
}

#[derive(Debug, Clone)]
enum Step {
    Reported(i64, i64),
    Elected,
    Repaired(i64),
    Read(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1..4_i64, 1..30_i64).prop_map(|(era, number)| Step::Reported(era, number)),
        Just(Step::Elected),
        (1..5_i64).prop_map(Step::Repaired),
        any::<bool>().prop_map(Step::Read),
    ]
}

proptest! {
    /// Whoever read after the last report and is not behind has a database whose next epoch is above every report; and
    /// once behind, it is behind in that era for good.
    #[test]
    fn who_is_not_behind_gives_only_epochs_above_every_report(steps in prop::collection::vec(step(), 1..40)) {
        let (mut reports, mut database, mut fell_in) = (Reports::default(), Given { era: Era(1), number: 0 }, None);
        for step in steps {
            match step {
                Step::Reported(era, number) => told(&mut reports, era, number),
                Step::Elected => database.number = database.number.saturating_add(1),
                Step::Repaired(by) => database.era.0 = database.era.0.saturating_add(by),
                Step::Read(answers) => {
                    reports.read(answers.then_some(database));
                }
            }
            let highest = reports.highest.as_ref().map(|highest| highest.epoch);
            match (reports.behind(), highest) {
                (None, Some(highest)) if reports.next() == Next::Rest => {
                    prop_assert!(epoch(database.era.0, database.number.saturating_add(1)) > highest);
                    fell_in = None;
                }
                (Some(behind), _) => {
                    prop_assert_ne!(reports.next(), Next::Rest);
                    prop_assert!(!behind.given.reaches(behind.reported.epoch));
                    let since = *fell_in.get_or_insert(behind.given.era);
                    prop_assert_eq!(since, behind.given.era);
                }
                (None, _) => prop_assert!(fell_in.is_none() || database.era > fell_in.unwrap_or(Era(0))),
            }
        }
    }
}
