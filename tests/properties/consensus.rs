//! Votes and verdicts.

use crate::{
    config,
    scene::{health, majority, node, opinion, settings, shuffled, supervisor},
};
use proptest::{collection::vec, prelude::*};
use quorate::core::{
    consensus::{HealthFacts, Opinion, SupervisorRow, VoteRow},
    ids::Incarnation,
    quorum::{QuorumPolicy, Tally, Verdict},
    time::Age,
};

fn tally() -> impl Strategy<Value = Tally> {
    (0_u32..6, 0_u32..6, 0_u32..3, 0_u32..4).prop_map(|(up, down, misconfigured, silent)| Tally {
        up,
        down,
        misconfigured,
        electorate: up + down + misconfigured + silent,
    })
}

/// One electorate's votes about one node, all live.
fn electorate(opinions: &[Opinion]) -> HealthFacts {
    let name = supervisor;
    let row = |(n, opinion): (usize, &Opinion)| VoteRow {
        supervisor: name(n),
        node: node(0),
        opinion: Some(*opinion),
        incarnation: Some(Incarnation(1)),
        contact_age: Some(Age(0)),
        seen_age: (*opinion == Opinion::Up).then_some(Age(0)),
    };
    let voter = |n: usize| SupervisorRow {
        name: name(n),
        incarnation: Incarnation(1),
        heartbeat_age: Age(0),
        registered_age: Age(0),
        recused: false,
    };
    HealthFacts {
        votes: opinions.iter().enumerate().map(row).collect(),
        supervisors: (0..opinions.len()).map(voter).collect(),
    }
}

fn verdict(opinions: &[Opinion]) -> Verdict {
    electorate(opinions).evaluate(&majority())[&node(0)].verdict
}

proptest! {
    #![proptest_config(config(512, "tests/properties/regressions/consensus.txt"))]

    /// One more voter that agrees never undoes a verdict.
    #[test]
    fn a_verdict_is_upward_closed(tally in tally(), half in any::<bool>()) {
        let policy = if half { QuorumPolicy::Half } else { QuorumPolicy::Majority };
        let more = Tally { electorate: tally.electorate + 1, ..tally };
        match tally.verdict(policy) {
            Verdict::Healthy => prop_assert_eq!(Tally { up: tally.up + 1, ..more }.verdict(policy), Verdict::Healthy),
            Verdict::Unhealthy if policy == QuorumPolicy::Majority => {
                prop_assert_eq!(Tally { down: tally.down + 1, ..more }.verdict(policy), Verdict::Unhealthy);
                let also = Tally { misconfigured: tally.misconfigured + 1, ..more };
                prop_assert_eq!(also.verdict(policy), Verdict::Unhealthy);
            }
            Verdict::Unhealthy => {
                // The original's rule is two-valued; a voter that changes sides against the node keeps it down.
                let fewer = Tally { up: tally.up.saturating_sub(1), ..tally };
                prop_assert_eq!(fewer.verdict(policy), Verdict::Unhealthy);
            }
            Verdict::Undecided => prop_assert_eq!(policy, QuorumPolicy::Majority, "half is never undecided"),
        }
    }

    /// Any two majorities of one electorate share a voter: if one set of opinions makes a node healthy and another
    /// makes it unhealthy, somebody changed its mind from up to down between them.
    #[test]
    fn majorities_intersect(opinions in vec((opinion(), opinion()), 1..8)) {
        let (one, other): (Vec<Opinion>, Vec<Opinion>) = opinions.iter().copied().unzip();
        if verdict(&one) == Verdict::Healthy && verdict(&other) == Verdict::Unhealthy {
            let against = |opinion: Opinion| matches!(opinion, Opinion::Down | Opinion::Misconfigured);
            prop_assert!(opinions.iter().any(|(one, other)| *one == Opinion::Up && against(*other)), "{:?}", opinions);
        }
    }

    /// An abstention is on neither side, and never makes a verdict.
    #[test]
    fn an_abstention_decides_nothing(opinions in vec(opinion(), 1..7)) {
        let with: Vec<Opinion> = opinions.iter().copied().chain([Opinion::None]).collect();
        let (before, after) = (verdict(&opinions), verdict(&with));
        prop_assert!(after == before || after == Verdict::Undecided, "{:?} became {:?}", before, after);
    }

    /// The order of rows means nothing.
    #[test]
    fn evaluate_does_not_depend_on_row_order(health in health(), settings in settings(), seed in any::<u64>()) {
        let other = HealthFacts {
            votes: shuffled(&health.votes, seed),
            supervisors: shuffled(&health.supervisors, seed ^ 1),
        };
        prop_assert_eq!(health.evaluate(&settings), other.evaluate(&settings));
        prop_assert_eq!(health.members(), other.members());
    }

    /// More expected supervisors only ever take a verdict away.
    #[test]
    fn an_expected_electorate_only_withholds(health in health(), expected in 1_u32..8) {
        let (free, mut bound) = (majority(), majority());
        bound.expected_supervisors = Some(expected);
        let before = health.evaluate(&free);
        for (node, after) in health.evaluate(&bound) {
            prop_assert!(after.verdict == before[&node].verdict || after.verdict == Verdict::Undecided);
        }
    }
}
