//! Health rounds, by profile and number of nodes.

use criterion::Criterion;
use quorate_benches::{
    Result,
    ground::Kind,
    rounds::{Manager, Story, scene},
};
use std::time::Instant;

fn main() -> Result<()> {
    let mut criterion = Criterion::default().configure_from_args();
    let system = actix_rt::System::new();
    for kind in Kind::ALL {
        for story in Story::ALL {
            let mut group = criterion.benchmark_group(format!("round/{kind}/{}", story.name()));
            group.sample_size(10);
            for nodes in [10, 100, 1_000] {
                let ground = system.block_on(scene(kind, story, nodes))?;
                let mut manager = system.block_on(Manager::start(story, nodes, ground.store()))?;
                let mut failed = None;
                group.bench_function(format!("{nodes} nodes"), |bencher| {
                    bencher.iter_custom(|times| {
                        system.block_on(async {
                            let start = Instant::now();
                            for _ in 0..times {
                                failed = manager.round().await.err().or(failed.take());
                            }
                            start.elapsed()
                        })
                    });
                });
                failed.map_or(Ok(()), Err)?;
            }
            group.finish();
        }
    }
    criterion.final_summary();
    Ok(())
}
