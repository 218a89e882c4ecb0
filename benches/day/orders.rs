//! What the program tells the outside world, the process with the Asterisks and the people, and what
//! comes back: one JSON object a line, over its standard input and output.

use serde::{Deserialize, Serialize};

/// Callers of [`Load`] who find a free agent have numbers that begin with this.
pub const OPEN_MARK: char = '7';
/// Callers of the queue with a line.
pub const LINE_MARK: char = '8';
/// The queue with more agents than callers.
pub const OPEN: &str = "open";
/// The queue with more callers than agents.
pub const LINE: &str = "line";
/// The queue without agents, for who waits.
pub const WAITING: &str = "waiting";
/// Phones of the first and the second queue have numbers from here on.
pub const OPEN_PHONES: usize = 20_000;
pub const LINE_PHONES: usize = 30_000;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Order {
    /// So many phones with numbers from `first` on register, in turn at each Asterisk.
    Phones {
        first: usize,
        count: usize,
    },
    Load(Load),
    /// So many callers more wait, at one Asterisk.
    Wait {
        asterisk: usize,
        count: usize,
    },
}

/// Callers for a while.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// Callers per second in the first queue, by chance.
    pub rate: f64,
    /// Callers who are in the second queue at any time, waiting or talking.
    pub line: usize,
    /// Agents of the first queue.
    pub agents: usize,
    /// Before the time that counts, and behind it.
    pub around_ms: u64,
    pub measured_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Answer {
    /// Where the Asterisks are.
    Ready(Vec<String>),
    Done,
    /// The time that counts begins, ends.
    Begins,
    Ends,
    Loaded(Loaded),
}

/// What came of a load, within the time that counts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Loaded {
    /// Calls that ended after a talk.
    pub finished: usize,
    /// From an agent's leg gone to his next leg, with callers in line, in microseconds.
    pub free_us: Vec<i64>,
    /// From a caller's arrival to the agent's leg, an agent being free.
    pub arrival_us: Vec<i64>,
    /// Agents who were not called again until the end, though callers were in line.
    pub still_free: usize,
    /// Callers who came in the whole load.
    pub placed: usize,
    /// Of those, who were not served long after and hung up: more came than can be served.
    pub left: usize,
    /// What must never happen.
    pub faults: Vec<String>,
}
