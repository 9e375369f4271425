//! What a side shows of itself: everything that a supervisor could read, with numbers replaced by their order.

use super::side::Side;
use crate::core::{
    election::{ElectionFacts, Fence, decide, refusals},
    epoch::Epoch,
    ids::{Incarnation, RelativePath, RepositoryId, Voter},
};
use crate::store::{CasOutcome, Heartbeat, Outcome, PrimaryChange, StoreError, Target};

/// The numbers that a store gave out, in order of appearance. Each kind only grows, so a new one must be the largest.
#[derive(Default)]
pub(super) struct Numbers {
    epochs: Vec<i64>,
    incarnations: Vec<i64>,
    repositories: Vec<i64>,
}

fn place(seen: &mut Vec<i64>, number: i64) -> String {
    if let Some(place) = seen.iter().position(|known| *known == number) {
        return format!("#{place}");
    }
    let grows = seen.last().is_none_or(|last| *last < number);
    seen.push(number);
    let place = seen.len().saturating_sub(1);
    if grows { format!("#{place}") } else { format!("#{place} (which went backwards)") }
}

impl Numbers {
    pub(super) fn epoch(&mut self, epoch: Epoch) -> String {
        place(&mut self.epochs, epoch.to_i64())
    }
    pub(super) fn incarnation(&mut self, incarnation: Incarnation) -> String {
        if incarnation.0 == 0 { "nobody's".to_owned() } else { place(&mut self.incarnations, incarnation.0) }
    }
    pub(super) fn repository(&mut self, repository: RepositoryId) -> String {
        place(&mut self.repositories, repository.0)
    }
    pub(super) fn cas(&mut self, outcome: CasOutcome) -> String {
        match outcome {
            CasOutcome::Won { epoch } => format!("won {}", self.epoch(epoch)),
            CasOutcome::Lost => "lost".to_owned(),
            CasOutcome::EraChanged => "era changed".to_owned(),
        }
    }
    pub(super) fn heartbeat(&mut self, outcome: &Heartbeat) -> String {
        match outcome {
            Heartbeat::Alive { .. } => "alive".to_owned(),
            Heartbeat::Lapsed => "lapsed".to_owned(),
            Heartbeat::Gone => "gone".to_owned(),
            Heartbeat::Superseded { by } => format!("superseded by {}", self.incarnation(*by)),
        }
    }
    pub(super) fn outcome<T>(&mut self, outcome: Outcome<T>, done: impl FnOnce(&mut Numbers, T) -> String) -> String {
        match outcome {
            Outcome::Done(what) => format!("done {}", done(self, what)),
            Outcome::NotFound => "not found".to_owned(),
            Outcome::Stale(current) => {
                let epoch = current.epoch.map(|epoch| self.epoch(epoch));
                format!("stale {epoch:?} {:?}", current.primary)
            }
            Outcome::EraChanged => "era changed".to_owned(),
            Outcome::Refused(why) => format!("refused: {why}"),
        }
    }
}

/// Answers without numbers in them.
pub(super) mod rendered {
    use crate::core::election::{Decision, NoCandidate};
    use crate::store::{Outcome, VotesWritten};

    /// What a history's own proposals carry as evidence; by it they are known in the history of primaries.
    pub(in super::super) const EVIDENCE: &str = r#"{"history":true}"#;

    /// How many opinions changed is left to the suite: what counted before may have died with its incarnation.
    pub(in super::super) fn votes(written: VotesWritten) -> String {
        match written {
            VotesWritten::Written { .. } => "written".to_owned(),
            VotesWritten::NotMine => "not mine".to_owned(),
        }
    }
    /// Several rules may forbid a mark at once, and no order among them is promised.
    pub(in super::super) fn mark(outcome: &Outcome<()>) -> String {
        match outcome {
            Outcome::Refused(_) => "refused".to_owned(),
            Outcome::Done(()) => "marked".to_owned(),
            Outcome::NotFound => "not found".to_owned(),
            Outcome::Stale(_) => "stale".to_owned(),
            Outcome::EraChanged => "era changed".to_owned(),
        }
    }
    pub(in super::super) fn decision(decision: &Decision) -> String {
        match decision {
            Decision::Keep { storage, .. } => format!("keep {storage}"),
            Decision::Elect(election) => {
                let (to, equals) = (&election.to, &election.equals);
                format!("elect {to} of {equals:?} for {:?}: {}", election.from, election.why.as_str())
            }
            Decision::Demote { from, why } => format!("demote {from}: {}", why.as_str()),
            Decision::NoCandidate(NoCandidate::NeverElected) => "never elected".to_owned(),
            Decision::NoCandidate(NoCandidate::PrimaryNotHealthy { storage, .. }) => format!("not healthy {storage}"),
            Decision::NoCandidate(NoCandidate::PrimaryOutdated { storage, .. }) => format!("outdated {storage}"),
            Decision::NoCandidate(NoCandidate::PrimaryMarked { storage, .. }) => format!("marked {storage}"),
            Decision::Wait(why) => format!("wait: {why}"),
        }
    }
}

impl Side {
    /// Everything there is to see, one line a fact.
    pub(super) async fn observe(&mut self) -> Result<Vec<String>, StoreError> {
        let mut lines = self.voters_and_votes().await?;
        for path in 0..3 {
            let Ok(relative_path) = RelativePath::new(format!("p{path}")) else { continue };
            let found = self.facts(&Target::Path(self.names.virtual_storage.clone(), relative_path)).await?;
            let id = found.map(|facts| self.numbers.repository(facts.repository));
            lines.push(format!("p{path} leads to {id:?}"));
        }
        for index in 0..self.repositories.len() {
            let Some(id) = self.repositories.get(index).map(|known| known.id) else { continue };
            match self.facts(&Target::Id(id)).await? {
                None => lines.push(format!("repository {index} is gone")),
                Some(facts) => {
                    lines.extend(self.repository(index, facts));
                    for change in self.store.primary_history(id, 100).await? {
                        lines.push(self.change_of_primary(index, &change));
                    }
                }
            }
        }
        Ok(lines)
    }

    async fn voters_and_votes(&mut self) -> Result<Vec<String>, StoreError> {
        let mut facts = self.store.health_facts().await?.facts;
        facts.supervisors.retain(|row| self.names.supervisors.contains(&row.name));
        facts.supervisors.sort_by(|a, b| a.name.cmp(&b.name));
        facts.votes.retain(|row| row.node.virtual_storage == self.names.virtual_storage);
        facts.votes.sort_by(|a, b| (&a.supervisor, &a.node).cmp(&(&b.supervisor, &b.node)));
        let mut lines = Vec::new();
        for row in &facts.supervisors {
            let (incarnation, live) = (self.numbers.incarnation(row.incarnation), row.is_live(&self.settings));
            lines.push(format!("{} is {incarnation}, live {live}, recused {}", row.name, row.recused));
        }
        for row in &facts.votes {
            let incarnation = row.incarnation.map(|incarnation| self.numbers.incarnation(incarnation));
            let (tried, seen) = (row.contact_age.is_some(), row.seen_age.is_some());
            let (who, storage) = (&row.supervisor, &row.node.storage);
            lines.push(format!("{who} on {storage}: {:?} {incarnation:?} {tried} {seen}", row.opinion));
        }
        for (node, known) in facts.evaluate(&self.settings) {
            lines.push(format!("consensus on {}: {:?}", node.storage, known.verdict));
        }
        Ok(lines)
    }

    fn repository(&mut self, index: usize, mut facts: ElectionFacts) -> Vec<String> {
        facts.replicas.sort_by(|a, b| a.storage.cmp(&b.storage));
        facts.assignments.sort();
        let epoch = facts.epoch.map(|epoch| self.numbers.epoch(epoch));
        let (path, generation, primary) = (&facts.relative_path, facts.generation, &facts.primary);
        let mut lines =
            vec![format!("repository {index} at {path}: {generation:?} {primary:?} {epoch:?} era {}", facts.era)];
        let content = format!("{generation:?} {:?} {:?}", replicas(&facts), facts.assignments);
        lines.push(format!("repository {index} holds {content}"));
        lines.extend(facts.replicas.iter().map(|r| format!("repository {index} on {}: {:?}", r.storage, r.attributes)));
        let mut voters: Vec<_> =
            facts.votes.iter().map(|row| (&row.supervisor, &row.node.storage, row.opinion)).collect();
        voters.sort();
        lines.push(format!("repository {index} hears {voters:?} and {} supervisors", facts.supervisors.len()));
        lines.push(format!("repository {index} refuses {:?}", refusals(&facts, &self.settings)));
        let processes: Vec<Voter> = self.voters.iter().filter_map(|known| known.last().cloned()).collect();
        for process in &processes {
            let decision = rendered::decision(&decide(&facts, &self.settings, process, 5));
            lines.push(format!("repository {index} for {}: {decision}", process.name));
        }
        let Some(known) = self.repositories.get_mut(index) else { return lines };
        if known.version > facts.facts_version || known.version == facts.facts_version && known.content != content {
            lines.push(format!("repository {index} changed without raising its facts version"));
        }
        (known.version, known.content) = (facts.facts_version, content);
        let fence = facts.epoch.zip(facts.primary).map(|(epoch, primary)| Fence { epoch, primary });
        if let Some(fence) = fence.filter(|fence| known.fences.last() != Some(fence)) {
            known.fences.push(fence);
        }
        lines
    }

    fn change_of_primary(&mut self, index: usize, change: &PrimaryChange) -> String {
        let own = change.evidence.as_ref().is_some_and(|evidence| evidence.contains("history"));
        // What a creation or an operator gives as its reason is the store's own affair.
        let why = change.why.as_deref().filter(|_| own);
        let epoch = self.numbers.epoch(change.epoch);
        let (previous, current) = (&change.previous, &change.current);
        format!("repository {index} in {epoch}: {previous:?} to {current:?} by {:?}, {why:?}", change.supervisor)
    }
}

fn replicas(facts: &ElectionFacts) -> Vec<String> {
    let shown = |r: &crate::core::election::ReplicaFacts| {
        format!(
            "{} at {}{}{}",
            r.storage,
            r.generation,
            if r.marked { " marked" } else { "" },
            if r.assigned { " assigned" } else { "" }
        )
    };
    facts.replicas.iter().map(shown).collect()
}
