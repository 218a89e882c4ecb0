//! What the core takes from the heap does not grow with the line, nor with the agents: the same is done
//! in a small house and in a big one, and counted.

use allocation_counter::{AllocationInfo, measure};
use holdfast_acd::settings::Strategy;
use holdfast_benches::{Deed, House, STRATEGIES, Size};

const CALLS: u64 = 2_000;
/// Now and then a node of a tree is split, more often in some house than in another.
const SPLITS: f64 = 0.05;

fn house(strategy: Strategy, callers: usize, agents: usize) -> House {
    House::new(Size {
        strategy,
        callers,
        agents,
        queues: 10,
    })
}

/// One decision, with some agents free.
fn decision(strategy: Strategy, callers: usize, agents: usize) -> AllocationInfo {
    let mut house = house(strategy, callers, agents);
    house.free(300);
    measure(|| drop(std::hint::black_box(house.decide(1))))
}

#[test]
fn a_decision_takes_the_same_from_the_heap_in_any_line() {
    for (name, strategy) in STRATEGIES {
        let short = decision(strategy, 1_000, 300);
        let long = decision(strategy, 100_000, 300);
        println!(
            "{name}: {} times, {} bytes",
            short.count_total, short.bytes_total
        );
        assert!(short.count_total > 0, "{name}: nothing was decided");
        assert_eq!(
            (long.count_total, long.bytes_total, long.bytes_max),
            (short.count_total, short.bytes_total, short.bytes_max),
            "{name}: 100,000 callers and 1,000"
        );
    }
}

/// Of ten thousand agents as of few: nobody makes a list of all who are free.
#[test]
fn a_decision_takes_the_same_from_the_heap_among_any_number_of_agents() {
    for (name, strategy) in STRATEGIES {
        let mut few = house(strategy, 0, 1_000);
        let mut many = house(strategy, 0, 10_000);
        let [few, many] = [&mut few, &mut many].map(|house| {
            house.enter();
            measure(|| drop(std::hint::black_box(house.decide(1))))
        });
        assert_eq!(
            few.count_total, many.count_total,
            "{name}: 10,000 agents and 1,000"
        );
        // The length of a name.
        let longer = 64;
        assert!(
            many.bytes_max <= few.bytes_max + longer,
            "{name}: {} bytes at once among 10,000 agents, {} among 1,000",
            many.bytes_max,
            few.bytes_max
        );
    }
}

#[test]
fn a_call_takes_the_same_from_the_heap_in_any_line() {
    let calls = |callers| {
        let mut house = house(Strategy::RrMemory, callers, 300);
        let taken = measure(|| (0..CALLS).for_each(|_| house.carry_out(Deed::Call)));
        taken.count_total as f64 / CALLS as f64
    };
    let (short, long) = (calls(1_000), calls(100_000));
    println!("a call: {short} times in a line of 1,000, {long} in one of 100,000");
    assert!(
        (long / short - 1.0).abs() < SPLITS,
        "{long} times in a line of 100,000, {short} in one of 1,000"
    );
}
