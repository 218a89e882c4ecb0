//! The core alone, in time: what each thing costs in a full house, and how that grows with callers,
//! agents and queues. `cargo bench --manifest-path
//! benches/Cargo.toml --features timing --bench core`; criterion keeps the raw figures in its target folder.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use holdfast_acd::settings::Strategy;
use holdfast_benches::{Deed, House, STRATEGIES, Size};

/// The biggest house, of which one measure is varied at a time.
const BIGGEST: Size = Size {
    strategy: Strategy::RrMemory,
    callers: 100_000,
    agents: 10_000,
    queues: 10,
};

fn measure(criterion: &mut Criterion, group: &str, name: &str, deed: Deed, size: Size) {
    let mut house = House::new(size);
    let id = BenchmarkId::new(deed.name(), name);
    let mut group = criterion.benchmark_group(group);
    group.bench_function(id, |bencher| bencher.iter(|| house.carry_out(deed)));
    group.finish();
}

fn deeds(criterion: &mut Criterion) {
    for deed in Deed::ALL.into_iter().filter(|deed| *deed != Deed::Arrival) {
        measure(criterion, "deed", "biggest", deed, BIGGEST);
    }
}

fn strategies(criterion: &mut Criterion) {
    for (name, strategy) in STRATEGIES {
        let size = Size {
            strategy,
            ..BIGGEST
        };
        measure(criterion, "strategy", name, Deed::Call, size);
    }
}

fn growth(criterion: &mut Criterion) {
    for callers in [1_000, 10_000] {
        let size = Size { callers, ..BIGGEST };
        measure(criterion, "callers", &callers.to_string(), Deed::Call, size);
    }
    for agents in [10, 100, 1_000] {
        let size = Size { agents, ..BIGGEST };
        measure(criterion, "agents", &agents.to_string(), Deed::Call, size);
    }
    for queues in [1, 100, 1_000, 10_000] {
        let size = Size { queues, ..BIGGEST };
        measure(criterion, "queues", &queues.to_string(), Deed::Call, size);
    }
}

criterion_group!(core, deeds, strategies, growth);
criterion_main!(core);
