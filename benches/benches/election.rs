//! A lookup that elects (facts, decision, compare-and-set with history) against a bare SELECT of the same row.

use criterion::Criterion;
use quorate_benches::{
    Result,
    ground::{Elections, Kind},
};
use std::time::{Duration, Instant};

fn main() -> Result<()> {
    let mut criterion = Criterion::default().configure_from_args();
    let system = actix_rt::System::new();
    for kind in Kind::ALL {
        let mut scene = system.block_on(Elections::due(kind, 10_000))?;
        let mut failed: Option<quorate_benches::Error> = None;
        let mut group = criterion.benchmark_group(format!("election/{kind}"));
        for is_election in [false, true] {
            group.bench_function(if is_election { "election" } else { "bare SELECT" }, |bencher| {
                bencher.iter_custom(|times| {
                    system.block_on(async {
                        let mut taken = Duration::ZERO;
                        for _ in 0..times {
                            let done = async {
                                if !is_election {
                                    let repository = scene.any();
                                    let start = Instant::now();
                                    scene.bare(repository).await?;
                                    return Ok(start.elapsed());
                                }
                                // When everybody has been elected the table is turned back, which is not timed.
                                let repository = scene.any_due().await?;
                                let start = Instant::now();
                                scene.elect(repository).await?;
                                Ok(start.elapsed())
                            };
                            match done.await {
                                Ok(time) => taken += time,
                                Err(error) => failed = Some(error),
                            }
                        }
                        taken
                    })
                });
            });
        }
        group.finish();
        failed.map_or(Ok(()), Err)?;
    }
    criterion.final_summary();
    Ok(())
}
