//! What is measured, in which houses, and how: criterion with many short samples. A house is built once
//! and gets one strategy after the other.
//!
//! A decision changes nothing, so it is made over and over in one state. The commands of a call change
//! it: each turn frees an agent, has his next call decided (which is not timed), and lets a caller come.

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion};
use holdfast_acd::settings::Strategy;
use holdfast_benches::{House, PASS, STRATEGIES, Size};

/// What is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// One decision: everybody talks, one agent is free, and the line is long.
    Decide,
    /// The commands of one call, applied.
    Apply,
    /// One decision: all agents are free, and one caller has come.
    Quiet,
    /// One of the decisions of a full pass: all agents are free, and the line is long.
    Burst,
}

/// Commands of one call: `CallEnd`, `CallReleased`, `OfferMake`, `OfferRinging`, `OfferAnswer`,
/// `CallerJoin`.
pub const COMMANDS: usize = 6;

impl Of {
    pub fn name(self) -> &'static str {
        match self {
            Of::Decide => "decide",
            Of::Apply => "apply",
            Of::Quiet => "quiet",
            Of::Burst => "burst",
        }
    }

    /// How many of what is told one measured turn holds.
    pub fn per(self) -> usize {
        match self {
            Of::Decide | Of::Quiet | Of::Burst => 1,
            Of::Apply => COMMANDS,
        }
    }
}

/// One figure to be had.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub of: Of,
    pub size: Size,
}

/// What was measured of it.
#[derive(Clone, Copy, Debug)]
pub struct Figure {
    pub case: Case,
    pub median_us: f64,
    pub most_us: f64,
}

impl Case {
    pub fn strategy_name(&self) -> &'static str {
        let known = STRATEGIES.iter().find(|(_, it)| *it == self.size.strategy);
        known.map_or("unknown", |(name, _)| name)
    }

    /// As criterion's folder for it.
    pub fn name(&self) -> String {
        let Size {
            callers,
            agents,
            queues,
            ..
        } = self.size;
        format!("{}-{callers}-{agents}-{queues}", self.strategy_name())
    }
}

/// The sizes of full houses: one measure varied at a time, beginning with the biggest house.
pub fn sizes(quick: bool) -> Vec<Size> {
    let scale = if quick { 100 } else { 1 };
    let size = |callers: usize, agents: usize, queues: usize| Size {
        strategy: Strategy::RrMemory,
        callers: callers / scale,
        agents: (agents / scale).max(10),
        queues: (queues / scale).max(1),
    };
    let mut sizes = vec![size(100_000, 10_000, 10)];
    sizes.extend([1_000, 10_000].map(|callers| size(callers, 10_000, 10)));
    sizes.extend([10, 100, 1_000].map(|agents| size(100_000, agents, 10)));
    sizes.extend([1, 100, 1_000, 10_000].map(|queues| size(100_000, 10_000, queues)));
    let key = |size: &Size| (size.callers, size.agents, size.queues);
    let mut seen = Vec::new();
    sizes.retain(|size| {
        let new = !seen.contains(&key(size));
        seen.push(key(size));
        new
    });
    sizes
}

/// Numbers of agents of one queue in which nobody waits.
pub fn quiet_agents(quick: bool) -> Vec<usize> {
    match quick {
        true => vec![10, 100],
        false => vec![10, 100, 1_000, 10_000],
    }
}

fn with(size: Size, strategy: Strategy) -> Size {
    Size { strategy, ..size }
}

fn quiet(agents: usize) -> Size {
    Size {
        strategy: Strategy::RrMemory,
        callers: 0,
        agents,
        queues: 1,
    }
}

/// All figures of a run, in the order in which they are measured.
pub fn cases(quick: bool) -> Vec<Case> {
    let mut cases = Vec::new();
    for (place, size) in sizes(quick).into_iter().enumerate() {
        for (_, strategy) in STRATEGIES {
            let size = with(size, strategy);
            let more = (place == 0).then_some(Of::Burst);
            let all = [Of::Decide, Of::Apply].into_iter().chain(more);
            cases.extend(all.map(|of| Case { of, size }));
        }
    }
    for agents in quiet_agents(quick) {
        let size = |strategy| with(quiet(agents), strategy);
        let all = STRATEGIES.map(|(_, strategy)| Case {
            of: Of::Quiet,
            size: size(strategy),
        });
        cases.extend(all);
    }
    cases
}

/// Measures all of them.
pub fn all(folder: &Path, quick: bool) {
    let (warm_up, time, samples) = match quick {
        true => (1, 5, 10),
        false => (50, 250, 30),
    };
    let mut criterion = Criterion::default()
        .output_directory(folder)
        .warm_up_time(Duration::from_millis(warm_up))
        .measurement_time(Duration::from_millis(time))
        .sample_size(samples)
        // Its own estimates are not used.
        .nresamples(1_000)
        .without_plots();
    let mut built: Option<(Size, House)> = None;
    for case in cases(quick) {
        let size = case.size;
        let same = |other: &Size| {
            (other.callers, other.agents, other.queues) == (size.callers, size.agents, size.queues)
        };
        let (_, mut house) = match built.take() {
            Some((other, mut house)) if same(&other) => {
                if other.strategy != size.strategy {
                    house.set_strategy(size.strategy);
                }
                (other, house)
            }
            _ => {
                eprintln!(
                    "a house of {} callers, {} agents, {} queues",
                    size.callers, size.agents, size.queues
                );
                (size, House::new(size))
            }
        };
        one(&mut criterion, case, &mut house);
        built = Some((size, house));
    }
}

fn one(criterion: &mut Criterion, case: Case, house: &mut House) {
    let mut group = criterion.benchmark_group(case.of.name());
    let id = BenchmarkId::from_parameter(case.name());
    match case.of {
        Of::Decide => {
            house.free(1);
            group.bench_function(id, |bencher| bencher.iter(|| house.decide(1)));
            fill(house);
            house.enter();
        }
        Of::Quiet => {
            house.enter();
            group.bench_function(id, |bencher| bencher.iter(|| house.decide(1)));
            fill(house);
            // One of them talks now; he is free again when the next strategy is looked at.
            house.free(case.size.agents);
        }
        Of::Burst => {
            house.free(case.size.agents);
            group.bench_function(id, |bencher| {
                bencher.iter_custom(|times| (0..times).map(|_| pass(house)).sum());
            });
            fill(house);
            // Who talks now was in line before.
            for _ in 0..case.size.agents {
                house.enter();
            }
        }
        Of::Apply => {
            group.bench_function(id, |bencher| {
                bencher.iter_custom(|times| (0..times).map(|_| call(house)).sum());
            });
        }
    }
    group.finish();
}

/// One call from end to end; the time without that of the decisions.
fn call(house: &mut House) -> Duration {
    let begun = Instant::now();
    house.free(1);
    let freed = begun.elapsed();
    let decisions = house.decide(1);
    let begun = Instant::now();
    if let Some(decision) = decisions.first() {
        house.connect(decision);
    }
    house.enter();
    freed + begun.elapsed()
}

/// One decision of a full pass, on the average. Ring-all has fewer in a pass, for each takes many agents.
fn pass(house: &House) -> Duration {
    let begun = Instant::now();
    let decisions = black_box(house.decide(PASS)).len();
    begun.elapsed() / u32::try_from(decisions).unwrap_or(u32::MAX).max(1)
}

/// Whoever can be connected is.
fn fill(house: &mut House) {
    while let Some(decision) = house.decide(1).first() {
        house.connect(decision);
    }
}
