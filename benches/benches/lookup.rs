//! An uncached lookup against a bare SELECT of the same row.

use criterion::Criterion;
use quorate_benches::{
    Result,
    ground::{Elections, Kind},
};
use std::time::Instant;

fn main() -> Result<()> {
    let mut criterion = Criterion::default().configure_from_args();
    let system = actix_rt::System::new();
    for kind in Kind::ALL {
        for nodes in [3, 100] {
            let mut scene = system.block_on(Elections::at_rest(kind, nodes, 10_000))?;
            let mut failed = None;
            let mut group = criterion.benchmark_group(format!("lookup/{kind}/{nodes} nodes"));
            for is_lookup in [false, true] {
                group.bench_function(if is_lookup { "lookup" } else { "bare SELECT" }, |bencher| {
                    bencher.iter_custom(|times| {
                        system.block_on(async {
                            let start = Instant::now();
                            for _ in 0..times {
                                let repository = scene.any();
                                let done = if is_lookup {
                                    scene.lookup(repository).await.map(drop)
                                } else {
                                    scene.bare(repository).await.map(drop)
                                };
                                failed = done.err().or(failed.take());
                            }
                            start.elapsed()
                        })
                    });
                });
            }
            group.finish();
            failed.map_or(Ok(()), Err)?;
        }
    }
    criterion.final_summary();
    Ok(())
}
