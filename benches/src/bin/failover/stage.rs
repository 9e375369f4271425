//! One cluster, and everything that is done to it.

use crate::{
    cluster::{
        Failure,
        client::ASK,
        wire::Op,
        within,
        world::{Plan, World},
    },
    faults::Fault,
    network::Network,
    options::{Options, database as name_of},
    report::{Report, Row},
    server::Server,
    traffic::{Traffic, object},
    trial,
};
use quorate::core::settings::Profile;
use quorate_benches::ground::Kind;
use std::time::Duration;

/// A thousand repositories take a second.
const FILLED_WITHIN: Duration = Duration::from_secs(600);
const PATH: &str = "measured.git";

/// Plays all faults on a cluster of its own.
pub(crate) async fn play(
    options: &Options,
    kind: Kind,
    supervisors: u32,
    profile: Profile,
    report: &mut Report,
) -> Result<(), Failure> {
    let place = format!("{}, {supervisors} supervisors, profile {}", name_of(kind), profile.as_str());
    // Only one fault needs a network of its own, and a host that permits it.
    let network = if options.faults.contains(&Fault::Drop) {
        Network::new().inspect_err(|error| report.left_out(format!("{place}: drop: {error}"))).ok()
    } else {
        None
    };
    let server = match kind {
        Kind::PostgreSQL => Some(Server::start().await?),
        Kind::SQLite => None,
    };
    let folder = tempfile::tempdir()?;
    let plan = Plan {
        program: std::env::current_exe()?,
        folder: folder.path().to_owned(),
        supervisors,
        database: server.as_ref().map(|server| server.url.clone()),
        profile: profile.as_str(),
        repository: PATH,
        primary: None,
        namespace: network.as_ref().map(Network::name),
        faults: &[],
    };
    let mut world = World::start(plan).await?;
    let played = act(options, &mut world, network.as_ref(), server.as_ref(), profile, |row| {
        report.add(name_of(kind), supervisors, profile, row);
    });
    let played = played.await;
    if let Err(error) = played {
        report.failed.push(format!("{place}: {error}\n  {}", world.complaints().await));
    }
    Ok(())
}

async fn act(
    options: &Options,
    world: &mut World,
    network: Option<&Network>,
    server: Option<&Server>,
    profile: Profile,
    mut tell: impl FnMut(Row),
) -> Result<(), Failure> {
    if options.repositories > 0 {
        let replicas = world.nodes.keys().cloned().collect();
        let op = Op::RepositoriesCreate { prefix: "filler/".to_owned(), count: options.repositories, replicas };
        let () = world.first()?.ask(FILLED_WITHIN, op).await?;
    }
    let mut traffic = Traffic::start(&world.client);
    for &fault in &options.faults {
        for number in 1..=options.trials(profile) {
            let row = match (fault, server, network) {
                (Fault::Drop, _, None) | (Fault::Database, None, _) => break,
                (Fault::Supervisor, ..) if world.supervisors.len() < 2 => break,
                (Fault::Supervisor, ..) => {
                    // The traffic asks the supervisors that it was started with.
                    traffic.stop().await;
                    let kept: Vec<_> = world.supervisors.iter().take(world.supervisors.len() - 1).cloned().collect();
                    world.client.supervisors = kept;
                    traffic = Traffic::start(&world.client);
                    Row::steady(fault, number, trial::supervisor(world, &traffic).await?)
                }
                (Fault::Database, Some(server), _) => {
                    Row::steady(fault, number, trial::database(world, &traffic, server).await?)
                }
                _ => Row::failover(fault, number, trial::failover(world, &traffic, fault, network).await?),
            };
            eprintln!("{row}");
            tell(row);
        }
    }
    let (ledger, reads) = traffic.stop().await;
    let elected = world.client.primary().await?;
    let kept = world.client.everything(&elected.primary.storage).await?;
    let lost = ledger.acknowledged.iter().filter(|done| kept.get(&done.number) != Some(&object(done.number))).count();
    if lost > 0 || !reads.wrong.is_empty() {
        return Err(format!("{lost} acknowledged writes are lost; wrong reads: {:?}", reads.wrong).into());
    }
    within(ASK, "the supervisors leave", world.stop()).await?
}
