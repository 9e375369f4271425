//! Ours and a Praefect on one adopted database, changing it in turns: one voter quorum, one rule, whoever asks.

use super::{adoption::left_by_a_praefect, praefect::Praefect, *};
use futures_util::future::BoxFuture;
use quorate::{
    core::election::{Decision, candidates_of, decide},
    testing::histories::{Action, History, Scene, ViewRows, count, run_beside},
};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// Histories of one run, if the environment says nothing else.
const HISTORIES: u32 = 16;

/// The epoch in force is the last of the repository's history, which tells the same of it.
const UNTOLD: &str = r#"
SELECT count(*) FROM repositories r
LEFT JOIN LATERAL (SELECT epoch, current FROM primary_changes c WHERE c.repository_id = r.repository_id
                   ORDER BY epoch DESC LIMIT 1) last ON true
WHERE r.virtual_storage = $1
  AND (last.epoch, last.current) IS DISTINCT FROM (r.primary_epoch, r."primary")"#;

/// A quorum like Praefect's, whose facts may take their time on a busy machine.
fn as_praefect(without_candidate: WithoutCandidate) -> Settings {
    let mut settings = Settings::of(Profile::Praefect);
    (settings.decision_ttl, settings.without_candidate) = (Duration::from_secs(30), without_candidate);
    settings
}

struct Both {
    store: Arc<dyn Store>,
    praefects: Vec<Praefect>,
    random: AtomicU64,
    elections: AtomicU64,
    kept: AtomicU64,
}

impl Both {
    fn pick(&self, of: u64) -> u64 {
        let word = self.random.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)) % of
    }

    /// One thing that a Praefect does; what was wrong about it.
    async fn act(&self, scene: Scene) -> Vec<String> {
        let praefect = &self.praefects[usize::try_from(self.pick(2)).unwrap()];
        let names: Vec<&str> = scene.storages.iter().map(Storage::as_str).collect();
        let vs = scene.virtual_storage.as_str();
        let storage = names[usize::try_from(self.pick(4)).unwrap()];
        let id = match scene.repositories.len() {
            0 => return Vec::new(),
            many => scene.repositories[usize::try_from(self.pick(many as u64)).unwrap()],
        };
        let facts = self.store.election_facts(&Target::Id(id)).await.unwrap();
        let path = facts.as_ref().map(|read| read.facts.relative_path.to_string());
        let mut wrong = Vec::new();
        match self.pick(16) {
            0..=4 => {
                let seen: Vec<(&str, bool)> = names.iter().map(|name| (*name, self.pick(4) > 0)).collect();
                praefect.round(vs, &seen).await;
            }
            5..=10 => wrong.extend(self.lookup(praefect, id).await),
            11 => {
                praefect.increment(id.0, &names[..2]).await;
            }
            12 => {
                if let Some(path) = &path {
                    praefect.set_generation(id.0, storage, path, i64::try_from(self.pick(5)).unwrap()).await;
                }
            }
            13 => {
                if let Some(path) = &path {
                    praefect.authoritative(vs, path, storage).await;
                }
            }
            14 => praefect.assign(id.0, storage).await,
            _ if self.pick(2) == 0 => praefect.delete_replica_later(id.0, storage).await,
            _ => praefect.replica_deleted(id.0).await,
        }
        let untold: i64 = praefect.client.query_one(UNTOLD, &[&vs]).await.unwrap().get(0);
        if untold > 0 {
            wrong.push(format!("{untold} primaries whose epoch is not in the history"));
        }
        wrong
    }

    /// Both are asked for the primary, ours first for what it would do, Praefect for what it does.
    async fn lookup(&self, praefect: &Praefect, id: RepositoryId) -> Option<String> {
        let before = self.store.election_facts(&Target::Id(id)).await.unwrap();
        let answered = praefect.primary(id.0).await;
        let Some(ElectionSnapshot { facts, settings }) = before else {
            return answered.map(|found| format!("Praefect finds {found:?} where we find nothing"));
        };
        let (current, previous) = answered?;
        let ours = |facts: &_| {
            let nobody = Voter { name: SupervisorName::new("asks").unwrap(), incarnation: Incarnation(0) };
            decide(facts, &settings.settings, &nobody, 0)
        };
        let current = current.as_deref().map(storage);
        let after = self.store.election_facts(&Target::Id(id)).await.unwrap()?.facts;
        let fits = match ours(&facts) {
            Decision::Keep { storage, .. } => {
                self.kept.fetch_add(1, Ordering::Relaxed);
                current == Some(storage) && after.epoch == facts.epoch
            }
            Decision::Elect(_) => {
                self.elections.fetch_add(1, Ordering::Relaxed);
                let candidates = candidates_of(&facts, &settings.settings);
                let kept = matches!(ours(&after), Decision::Keep { storage, .. } if Some(&storage) == current.as_ref());
                current.as_ref().is_some_and(|elected| candidates.contains(elected))
                    && kept
                    && after.epoch > facts.epoch
            }
            // Without a candidate release 16.7 keeps whom it has.
            Decision::NoCandidate(_) | Decision::Demote { .. } => {
                current == facts.primary && after.epoch == facts.epoch
            }
            Decision::Wait(_) => true,
        };
        (!fits).then(|| format!("we: {:?} of {facts:?}; Praefect: {current:?} after {previous:?}", ours(&facts)))
    }
}

#[tokio::test]
async fn one_quorum_and_one_rule_over_random_histories() {
    let url = left_by_a_praefect().await;
    let store: Arc<dyn Store> = Arc::new(connect(&url).await);
    let both = Arc::new(Both {
        store: store.clone(),
        praefects: vec![Praefect::new(&url, "p1").await, Praefect::new(&url, "p2").await],
        random: AtomicU64::new(167),
        elections: AtomicU64::new(0),
        kept: AtomicU64::new(0),
    });
    let client = Arc::new(raw(&url).await);
    let views = move |repository: RepositoryId, vs: VirtualStorage| -> BoxFuture<'static, ViewRows> {
        let client = client.clone();
        Box::pin(async move {
            let of = async |sql: String| {
                let rows = client.query(&sql, &[]).await.unwrap();
                rows.iter().map(|row| storage(&row.get::<_, String>(0))).collect()
            };
            let primaries = format!("SELECT storage FROM valid_primaries WHERE repository_id = {repository}");
            let healthy = format!("SELECT storage::text FROM healthy_storages WHERE virtual_storage = '{vs}'");
            ViewRows { valid_primaries: of(primaries).await, healthy_storages: of(healthy).await }
        })
    };
    for seed in 0..u64::from(count(HISTORIES)) {
        let mut history = History::random(seed, 16);
        history.settings = as_praefect(if seed % 2 == 0 { WithoutCandidate::Keep } else { WithoutCandidate::Demote });
        // Priorities and draining are ours alone; who uses them lets no Praefect elect.
        history.actions.retain(|action| !matches!(action, Action::UpdateStorage { .. }));
        let neighbour = {
            let both = both.clone();
            move |scene: Scene| -> BoxFuture<'static, Vec<String>> {
                let both = both.clone();
                Box::pin(async move { both.act(scene).await })
            }
        };
        let lived = run_beside(&history, store.clone(), &views, &neighbour).await;
        lived.unwrap_or_else(|divergence| panic!("history {seed}: {divergence}\nof {history:?}"));
    }
    let (elections, kept) = (both.elections.load(Ordering::Relaxed), both.kept.load(Ordering::Relaxed));
    assert!(elections > 5 && kept > 5, "{elections} elections, {kept} kept: these histories show too little");
}
