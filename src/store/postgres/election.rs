//! The facts of elections and their commits.

use super::{
    PostgresStore,
    facts::{self, FactsRow},
    incumbent,
};
use crate::core::{election::Incumbent, epoch::Epoch, ids::RepositoryId};
use crate::store::{
    Answer, CasOutcome, ElectionSnapshot, ElectionStore, PrimaryChange, Proposal, StoreOp, Target,
    incumbent::IncumbentRow, rows::ChangeDoc, statement::Statement,
};
use std::sync::atomic::Ordering;

const HISTORY: &str = "\
SELECT coalesce(json_agg(json_build_object(
    'epoch', c.epoch, 'previous', c.previous, 'current', c.current,
    'age', quorate_micros(statement_timestamp() - c.at),
    'why', d.why, 'supervisor', d.supervisor, 'evidence', d.evidence) ORDER BY c.epoch DESC), '[]')::text AS document
FROM (SELECT * FROM primary_changes WHERE repository_id = $1 ORDER BY epoch DESC LIMIT $2) c
LEFT JOIN decisions d ON d.id = c.decision";

impl ElectionStore for PostgresStore {
    fn election_facts<'a>(&'a self, target: &'a Target) -> Answer<'a, Option<ElectionSnapshot>> {
        Box::pin(async move {
            let op = StoreOp::ElectionFacts;
            let asked = self.counts_members.load(Ordering::Relaxed);
            let Some(mut row): Option<FactsRow> = self.first(op, facts::read(target, asked)).await? else {
                return Ok(None);
            };
            let needed = row.needs_members();
            if needed != asked {
                self.counts_members.store(needed, Ordering::Relaxed);
            }
            if needed && !asked {
                // The policy has just become `half`, or this is the first look: once more, for all from one snapshot.
                let Some(whole) = self.first(op, facts::read(target, true)).await? else { return Ok(None) };
                row = whole;
            }
            row.into_snapshot().map(Some)
        })
    }

    fn incumbent<'a>(&'a self, target: &'a Target) -> Answer<'a, Option<Incumbent>> {
        Box::pin(async move {
            let row: Option<IncumbentRow> = self.first(StoreOp::ElectionFacts, incumbent::read(target)).await?;
            row.map(IncumbentRow::into_incumbent).transpose()
        })
    }

    fn primary_cas<'a>(&'a self, proposal: &'a Proposal) -> Answer<'a, CasOutcome> {
        let Proposal { decision, repository, virtual_storage: _, from: _, expected, to, proposer, why, evidence } =
            proposal;
        let call = Statement::new(
            "SELECT quorate_primary_cas($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)::text AS document",
        )
        .text(decision.as_str())
        .bigint(repository.0)
        .optional_bigint(expected.epoch.map(Epoch::to_i64))
        .bigint(expected.era.0)
        .bigint(expected.facts_version.0)
        .bigint(expected.at.0)
        .optional_text(to.as_ref().map(|storage| storage.as_str()))
        .text(proposer.name.as_str())
        .bigint(proposer.incarnation.0)
        .text(why.as_str())
        .text(evidence.as_str());
        Box::pin(self.elected(StoreOp::PrimaryCas, call))
    }

    fn primary_history(&self, repository: RepositoryId, limit: u32) -> Answer<'_, Vec<PrimaryChange>> {
        let read = Statement::new(HISTORY).bigint(repository.0).bigint(i64::from(limit.clamp(1, 1_000)));
        Box::pin(async move {
            let changes: Vec<ChangeDoc> = self.document(StoreOp::PrimaryHistory, read).await?;
            Ok(changes.into_iter().map(PrimaryChange::from).collect())
        })
    }
}
