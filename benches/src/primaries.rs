//! What an answer from the memory of primaries costs: read on this thread, asked by message on the same arbiter and from another
//! thread; and what it costs to change one entry.
//!
//! Nothing here waits for a database. Times of one thread are its own processor time, for a machine that is busy with
//! something else would only measure that; latencies are wall time.

use crate::{
    Result,
    fleet::memory,
    sample::{Samples, Summary, machine},
};
use actix::Actor;
use foldhash::fast::RandomState;
use quorate::{
    actors::{Beliefs, Cells, ElectorConfig, PerRepositoryElector, PrimaryTable},
    core::{
        election::{Primary, Target},
        epoch::{Epoch, Era, Revision},
        ids::{ClusterId, Incarnation, RelativePath, RepositoryId, Storage, SupervisorName, VirtualStorage, Voter},
        lookup::Trust,
        monitor::SettingsInForce,
        settings::{Profile, Settings},
    },
    messages::election::GetPrimary,
    store::memory::MemoryStore,
};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

/// Nothing lapses while it is measured.
const HOUR: Duration = Duration::from_secs(3_600);

/// Repositories that are asked for again and again.
const HOT: usize = 1_000;

/// What it cost, with so many entries.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Primaries {
    /// How many repositories are remembered.
    pub entries: usize,
    /// Bytes of each, as the process grew.
    pub bytes_each: f64,
    /// Reads a second on one thread, random paths.
    pub by_path: f64,
    /// The same by number.
    pub by_number: f64,
    /// The same by path, where a thousand repositories are asked for again and again.
    pub hot: f64,
    /// What the machine gives at most: finding an entry by its place in a list, in the same random order, and reading its
    /// epoch and the first byte of its path.
    pub bare: f64,
    /// What a map gives that is one thread's own: the same entries by path in a standard `HashMap`, with a hash of the same kind, answered by
    /// a reference counted up. Nobody may change it meanwhile, and nothing says whether it may be believed.
    pub plain_map: f64,
    /// Reads a second of two threads together, by path.
    pub two_threads: f64,
    /// Answers a second by message, one after the other, asked by a task on the same arbiter.
    pub by_message: f64,
    /// The same, 64 tasks at once.
    pub by_message_64: f64,
    /// How long one of them took.
    pub message: Summary,
    /// The same asked from another thread.
    pub other_thread: Summary,
    /// Putting another primary in an entry's place, in nanoseconds of processor time each.
    pub publish_ns: f64,
    /// How long one took.
    pub publish: Summary,
    /// Heeding a report about one entry, in nanoseconds of processor time each.
    pub report_ns: f64,
    /// What the machine was doing.
    pub machine: String,
}

struct Scene {
    cells: Arc<Cells>,
    table: Arc<PrimaryTable>,
    targets: Vec<Target>,
    numbers: Vec<Target>,
    hot: Vec<Target>,
    entries: usize,
    bytes_each: f64,
}

fn primary(number: usize, epoch: usize) -> Result<Primary> {
    Ok(Primary {
        cluster: ClusterId::new("5f3d1f7c-8a8e-4b43-9d52-6a3f0f9c1d2e")?,
        repository: Some(RepositoryId(i64::try_from(number)?)),
        virtual_storage: VirtualStorage::new("default")?,
        relative_path: path(number)?,
        storage: Storage::new("gitaly-1")?,
        epoch: Some(Epoch::new(Era(1), i64::try_from(epoch)?)?),
    })
}

/// As long as a real one: a hashed path of 72 characters.
fn path(number: usize) -> Result<RelativePath> {
    let scattered = (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Ok(RelativePath::new(format!(
        "@hashed/{:02x}/{:02x}/{scattered:016x}{number:040x}.git",
        number % 256,
        number / 256 % 256
    ))?)
}

/// Numbers below a bound, each as likely, the same every time.
struct Lots(u64);

impl Lots {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or(0) % bound.max(1)
    }
}

/// Processor time of this thread so far.
fn processor() -> Duration {
    let spent = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(spent.tv_sec).unwrap_or(0), u32::try_from(spent.tv_nsec).unwrap_or(0))
}

fn rate(many: usize, took: Duration) -> f64 {
    many as f64 / took.as_secs_f64().max(1e-9)
}

impl Scene {
    fn new(entries: usize, samples: usize) -> Result<Scene> {
        let settings = Settings::of(Profile::Default);
        let cells = Cells::new(SettingsInForce { revision: Revision(1), settings });
        cells.voter.send_replace(Some(Voter { name: SupervisorName::new("s1")?, incarnation: Incarnation(1) }));
        let beliefs = Beliefs::of(&cells);
        let before = memory()?;
        let table = PrimaryTable::new(entries, Trust { ttl: HOUR, failsafe_ttl: HOUR }, beliefs);
        table.hear();
        for number in 1..=entries {
            table.put(&primary(number, number)?);
        }
        let bytes_each = memory()?.saturating_sub(before) as f64 * 1_024.0 / entries.max(1) as f64;
        if table.len() != entries {
            return Err(format!("{} of {entries} are remembered", table.len()).into());
        }
        let mut lots = Lots(1);
        let (mut targets, mut numbers) = (Vec::with_capacity(samples), Vec::with_capacity(samples));
        let mut hot = Vec::with_capacity(samples);
        for _ in 0..samples {
            let number = 1 + lots.below(entries);
            targets.push(Target::Path(VirtualStorage::new("default")?, path(number)?));
            numbers.push(Target::Id(RepositoryId(i64::try_from(number)?)));
            hot.push(Target::Path(VirtualStorage::new("default")?, path(1 + number % HOT)?));
        }
        Ok(Scene { cells, table, targets, numbers, hot, entries, bytes_each })
    }

    /// Reads all of these; answers how many a second of processor time.
    fn read(&self, targets: &[Target]) -> Result<f64> {
        let mut best = 0.0_f64;
        for _ in 0..3 {
            let began = processor();
            let mut found = 0;
            for target in targets {
                found += usize::from(black_box(self.table.now(black_box(target))).is_some());
            }
            best = best.max(rate(found, processor().saturating_sub(began)));
            if found != targets.len() {
                return Err(format!("{found} of {} were known", targets.len()).into());
            }
        }
        Ok(best)
    }

    fn known(&self) -> Result<Vec<Arc<Primary>>> {
        let known = |number| self.table.now(&Target::Id(RepositoryId(number)));
        Ok((1..=i64::try_from(self.entries)?).map_while(known).map(|answer| answer.primary).collect())
    }

    fn plain_map(&self) -> Result<f64> {
        let own = |known: Arc<Primary>| (known.relative_path.clone(), known);
        let map: HashMap<RelativePath, Arc<Primary>, RandomState> = self.known()?.into_iter().map(own).collect();
        let began = processor();
        for target in &self.targets {
            if let Target::Path(_, path) = black_box(target) {
                black_box(map.get(path).map(Arc::clone).ok_or("an entry is not in the map")?);
            }
        }
        Ok(rate(self.targets.len(), processor().saturating_sub(began)))
    }

    fn bare(&self) -> Result<f64> {
        let known = self.known()?;
        let mut lots = Lots(1);
        let places: Vec<usize> = self.targets.iter().map(|_| lots.below(known.len())).collect();
        let began = processor();
        for place in &places {
            if let Some(entry) = known.get(*place) {
                black_box((entry.epoch, entry.relative_path.as_str().as_bytes().first()));
            }
        }
        Ok(rate(places.len(), processor().saturating_sub(began)))
    }

    fn two_threads(&self) -> Result<f64> {
        let (one, other) = self.targets.split_at(self.targets.len() / 2);
        let began = Instant::now();
        let sum = std::thread::scope(|scope| {
            let reading = scope.spawn(|| self.read(other));
            let mine = self.read(one);
            Ok::<f64, crate::Error>(mine? + reading.join().map_err(|_| "a reader panicked")??)
        });
        black_box(began);
        sum
    }

    fn elector(&self) -> Result<PerRepositoryElector> {
        Ok(PerRepositoryElector::new(ElectorConfig {
            store: Arc::new(MemoryStore::default()),
            name: SupervisorName::new("s1")?,
            voter: self.cells.voter.subscribe(),
            behind: self.cells.behind.subscribe(),
            virtual_storages: None,
            memory: Some(Arc::clone(&self.table)),
            timeout: Duration::from_secs(5),
            lot: ElectorConfig::random_lot,
        }))
    }
}

/// Asks an elector for all of these from a task on its own arbiter.
async fn ask(elector: &actix::Addr<PerRepositoryElector>, targets: Vec<Target>, tasks: usize) -> Result<f64> {
    let many = targets.len();
    let share = many.div_ceil(tasks);
    let shares: Vec<Vec<Target>> = targets.chunks(share).map(<[Target]>::to_vec).collect();
    let began = processor();
    let asking: Vec<_> = shares
        .into_iter()
        .map(|mine| {
            let elector = elector.clone();
            actix::spawn(async move {
                let mut found = 0;
                for target in mine {
                    found += usize::from(matches!(elector.send(GetPrimary::of(target)).await, Ok(Ok(_))));
                }
                found
            })
        })
        .collect();
    let mut found = 0;
    for asked in asking {
        found += asked.await?;
    }
    if found == many { Ok(rate(many, processor().saturating_sub(began))) } else { Err("not all were answered".into()) }
}

/// Fills a table and measures it. Must be called inside an actix system.
///
/// # Errors
/// If an entry that was put is not known.
pub async fn measure(entries: usize, samples: usize) -> Result<Primaries> {
    let scene = Scene::new(entries, samples)?;
    let (by_path, by_number) = (scene.read(&scene.targets)?, scene.read(&scene.numbers)?);
    let (hot, bare, plain_map) = (scene.read(&scene.hot)?, scene.bare()?, scene.plain_map()?);
    let two_threads = scene.two_threads()?;

    let elector = scene.elector()?.start();
    let by_message = ask(&elector, scene.targets.clone(), 1).await?;
    let by_message_64 = ask(&elector, scene.targets.clone(), 64).await?;
    let timed = actix::spawn({
        let (elector, targets) = (elector.clone(), scene.targets.clone());
        async move {
            let mut message = Samples::default();
            for target in targets {
                message.time(elector.send(GetPrimary::of(target))).await??;
            }
            Ok::<_, crate::Error>(message)
        }
    });
    let message = timed.await??;
    let elsewhere = actix::Arbiter::new();
    let far = {
        let elector = scene.elector()?;
        PerRepositoryElector::start_in_arbiter(&elsewhere.handle(), |_| elector)
    };
    let mut other_thread = Samples::default();
    for target in scene.targets.iter().take(samples.min(20_000)) {
        other_thread.time(far.send(GetPrimary::of(target.clone()))).await??;
    }
    elsewhere.stop();

    let mut lots = Lots(2);
    let others: Vec<Primary> = (0..samples.min(100_000))
        .map(|turn| primary(1 + lots.below(entries), entries + 1 + turn))
        .collect::<Result<_>>()?;
    let mut publish = Samples::default();
    let began = processor();
    for other in &others {
        scene.table.put(other);
    }
    let publish_ns = processor().saturating_sub(began).as_nanos() as f64 / others.len().max(1) as f64;
    for other in others.iter().rev() {
        let start = Instant::now();
        scene.table.put(other);
        publish.push(start.elapsed());
    }
    let began = processor();
    for other in &others {
        scene.table.report(other);
    }
    let report_ns = processor().saturating_sub(began).as_nanos() as f64 / others.len().max(1) as f64;
    Ok(Primaries {
        entries: scene.entries,
        bytes_each: scene.bytes_each,
        by_path,
        by_number,
        hot,
        bare,
        plain_map,
        two_threads,
        by_message,
        by_message_64,
        message: message.summary(),
        other_thread: other_thread.summary(),
        publish_ns,
        publish: publish.summary(),
        report_ns,
        machine: machine(),
    })
}
