//! `repeat DEED STRATEGY CALLERS AGENTS QUEUES TIMES`: builds a house and does one thing in it so many
//! times, for `tests/costs.rs`, which counts what that takes.

use holdfast_benches::{Deed, House, STRATEGIES, Size};
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match read(&words) {
        Some((deed, size, times)) => {
            let mut house = House::new(size);
            // There is something to choose from.
            match deed {
                Deed::Decide => house.free(size.agents / 2),
                Deed::Pass => house.free(size.agents),
                _ => {}
            }
            (0..times).for_each(|_| house.carry_out(deed));
            println!("{:016x}", house.state.digest());
            ExitCode::SUCCESS
        }
        None => {
            eprintln!("usage: repeat DEED STRATEGY CALLERS AGENTS QUEUES TIMES");
            ExitCode::from(2)
        }
    }
}

fn read(words: &[String]) -> Option<(Deed, Size, usize)> {
    let [deed, strategy, numbers @ ..] = words else {
        return None;
    };
    let deed = Deed::ALL.into_iter().find(|it| it.name() == deed)?;
    let (_, strategy) = STRATEGIES.into_iter().find(|(name, _)| name == strategy)?;
    let numbers: Option<Vec<usize>> = numbers.iter().map(|word| word.parse().ok()).collect();
    let [callers, agents, queues, times] = numbers?[..] else {
        return None;
    };
    let size = Size {
        strategy,
        callers,
        agents: agents.max(1),
        queues: queues.max(1),
    };
    Some((deed, size, times))
}
