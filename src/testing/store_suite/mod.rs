//! What every store owes its callers, as stories that any implementation can be told.
//!
//! A story is given a store on a freshly migrated, empty database and panics where the store departs from it. Time
//! is the database's: where a story needs some to pass it makes the ttls small, watches the ages that the store
//! itself reports and gives up at a deadline, so it holds on a real database as on a paused clock.
//!
//! ```no_run
//! # use quorate::{store::{Store, memory::MemoryStore}, testing::store_suite};
//! # use std::sync::Arc;
//! # async fn test() {
//! store_suite::run_all(&|| Box::pin(async { Arc::new(MemoryStore::default()) as Arc<dyn Store> })).await;
//! # }
//! ```

pub mod assignments;
pub mod authoritative;
pub mod cas;
pub mod census;
pub mod changes;
pub mod eras;
pub mod facts;
pub mod fences;
pub mod foreign;
pub mod generations;
pub mod history;
pub mod lookups;
pub mod replicas;
pub mod repositories;
pub mod settings;
pub mod settling;
pub mod shards;
pub mod supervisors;
pub mod votes;
mod world;

pub use foreign::Foreign;

use crate::store::Store;
use futures_util::future::{BoxFuture, LocalBoxFuture};
use std::{sync::Arc, time::Duration};

/// One story that hangs must not hold up the others for ever.
const STORY_DEADLINE: Duration = Duration::from_secs(120);

/// One expectation of a store.
#[derive(Clone, Copy)]
pub struct Story {
    /// What it is called: its file and its name.
    pub name: &'static str,
    /// Tells it to a store on an empty database; panics if the store departs from it.
    pub tell: fn(Arc<dyn Store>) -> LocalBoxFuture<'static, ()>,
}

macro_rules! stories {
    ($($file:ident: $($name:ident),+;)+) => {
        /// Every story that a port alone can tell.
        #[must_use]
        pub fn stories() -> Vec<Story> {
            vec![$($(Story {
                name: concat!(stringify!($file), "::", stringify!($name)),
                tell: |store| Box::pin($file::$name(store)),
            }),+),+]
        }
    };
}

stories! {
    settings: first_start_seeds, update_raises_the_revision, running_supervisors_learn_the_revision,
        an_update_is_told;
    supervisors: incarnations_are_never_reused, registering_makes_rows_for_the_watched_nodes,
        a_lapse_is_a_death, a_removed_supervisor_is_gone, who_abstains_counts_for_nothing_and_that_is_told, a_penalty_is_raised_once_for_all_who_saw_the_deposition, the_newer_process_wins, stop_removes_row_and_votes,
        two_hosts_do_not_take_turns, a_predecessor_takes_no_name_back, a_lost_registration_is_found_again,
        a_registration_that_lands_late_supersedes_nobody, coming_back_as_oneself_is_no_takeover, a_dead_holder_is_no_obstacle,
        a_race_of_registrations_has_one_winner, watching_others_keeps_the_votes_of_those_that_stay,
        f23_two_processes_of_one_name_write_at_once;
    votes: each_opinion_stamps_what_it_should, d27_an_old_incarnation_writes_nothing,
        d27_an_old_batch_changes_nothing, a_new_incarnation_starts_its_batches_anew, batches_in_any_order,
        votes_die_with_their_incarnation, changes_are_counted, an_unwatched_node_can_be_voted_on,
        supervisors_do_not_touch_each_others_votes;
    facts: the_incumbent_is_as_the_facts_have_it, unknown_repositories_have_none, id_and_path_find_the_same,
        votes_are_those_about_the_replicas,
        members_are_read_under_half_only, storages_show_in_facts, assignments_show_in_facts,
        reading_changes_nothing, everything_a_decision_rests_on_raises_the_version, time_is_the_databases;
    cas: an_election_is_committed, a_demotion_is_committed, d25_expectations_are_null_safe,
        d03_what_moved_is_not_elected, another_era_loses, d04_old_facts_lose, facts_of_the_future_lose,
        a_strangers_proposal_loses, a_superseded_proposal_loses, a_lapsed_proposal_loses,
        under_half_anybody_may_propose, d23_the_same_decision_wins_again, a_race_has_one_winner,
        epochs_are_cluster_wide, an_unknown_repository_loses;
    settling: facts_are_what_single_reads_find, a_walk_goes_in_order_and_in_steps, a_batch_commits_what_singles_would,
        d03_what_moved_is_left_out, d04_old_facts_win_nothing, who_may_not_propose_wins_nothing,
        d23_the_same_batch_wins_again, a_race_of_batches_changes_each_once, a_batch_is_told;
    repositories: creating_records_everything, a_path_belongs_to_one, an_id_belongs_to_one,
        an_id_asked_for_is_not_given_again, d14_a_repository_made_again_is_another,
        d14_facts_of_the_one_before_fit_no_other, deleting_answers_what_was_there,
        renaming_keeps_the_replicas, the_unknown_is_not_found;
    generations: only_current_replicas_move, an_outdated_primary_acknowledges_nothing,
        the_primary_must_have_acknowledged, strangers_do_not_count, racing_increments_all_count,
        setting_raises_but_never_lowers_the_repository, setting_makes_the_row,
        an_unknown_repository_gets_no_records, a_secondary_that_missed_the_first_of_two_stays_behind,
        who_is_consistent_shows_in_facts;
    fences: d01_a_stale_write_is_not_acknowledged, stale_fences_change_nothing, the_fence_names_the_primary_too,
        an_unfenced_form_is_refused, praefect_has_the_unfenced_forms, a_demoted_repository_admits_nobody;
    replicas: a_mark_shows_in_facts, the_primary_is_not_marked, one_mark_at_a_time, marking_twice_is_done_once,
        deleting_completes_the_mark, the_primary_is_not_deleted, deleting_touches_nothing_else;
    authoritative: it_becomes_primary_and_the_only_current_one, it_makes_the_row, moved_facts_refuse_it,
        it_needs_no_current_primary, it_is_not_to_be_deleted_any_more;
    assignments: replaced_as_a_whole, moved_facts_refuse_them, none_is_allowed;
    census: no_repositories_no_rows, a_deleted_repository_is_not_counted, without_a_healthy_replica_it_is_counted,
        a_healthy_current_one_is_enough, only_outdated_ones_healthy_is_counted,
        unassigned_but_current_and_healthy_is_not_counted, a_replica_to_be_deleted_leads_nothing, two_are_counted,
        counted_by_virtual_storage_and_primary;
    shards: a_virtual_storage_begins_without_a_row, its_primary_is_elected_under_an_epoch_of_the_one_sequence,
        a_demoted_primary_can_be_elected_again, its_expectations_are_null_safe, whoever_may_not_change_it_does_not,
        its_same_decision_wins_again, its_race_has_one_winner, lags_are_summed_over_all_repositories,
        what_an_election_of_it_rests_on_is_read_together;
    changes: those_on_the_latest_generation_are_up_to_date, the_unknown_has_nobody_up_to_date,
        a_poller_is_told_when_the_set_changes, a_write_that_all_acknowledged_is_told_to_nobody,
        two_pollers_do_not_disturb_each_other, d20_very_many_changes_are_told_as_one, a_listener_hears_what_pollers_read,
        a_suspicion_is_heard_by_those_who_listen_and_stored_nowhere;
    lookups: whatever_unfits_a_primary_is_told, what_leaves_a_primary_fit_is_told_to_nobody,
        d15_what_an_operator_does_to_a_primary_is_told;
    eras: what_was_given_is_the_last_epoch, d13_an_era_is_above_all_that_is_known,
        d13_two_who_repair_at_one_time_begin_one_era,
        d13_a_new_era_is_told_and_leaves_the_decisions_of_the_old_one_behind;
    history: newest_first_and_no_more_than_asked, it_says_who_and_why, a_creation_is_in_it, an_operator_is_in_it;
}

/// Tells every story, each to a store of its own. `make` hands out a store on an empty database each time.
pub async fn run_all(make: &impl Fn() -> BoxFuture<'static, Arc<dyn Store>>) {
    for story in stories() {
        run(&story, make().await).await;
    }
}

/// Tells one story.
pub async fn run(story: &Story, store: Arc<dyn Store>) {
    run_bounded(story.name, (story.tell)(store)).await;
}

async fn run_bounded(name: &str, story: LocalBoxFuture<'static, ()>) {
    // Shown by the test harness only if the story fails.
    eprintln!("story: {name}");
    let ended = tokio::time::timeout(STORY_DEADLINE, story).await;
    assert!(ended.is_ok(), "the story {name} did not end within {STORY_DEADLINE:?}");
}
