//! The core: any command that can be read, and any sequence of sensible ones, keeps the invariants,
//! never panics, and gives the same state when it is played again or comes by way of a snapshot.

use arbitrary::Unstructured;
use holdfast_acd::{Command, Stamp, State, invariants};
use holdfast_node::AcdMachine;
use holdfast_raft::{Machine, codec};

use super::steps;

/// Longest command that is read, as in the store.
const COMMAND_BYTES_MAX: usize = 1024 * 1024;
/// Commands of one run.
const COMMANDS_MAX: usize = 200;

/// A state with its log.
struct Play {
    state: State,
    at: u64,
    log: Vec<(Stamp, Command)>,
}

impl Play {
    fn new() -> Self {
        Self {
            state: State::default(),
            at: 1_000,
            log: Vec::new(),
        }
    }

    fn apply(&mut self, command: Command) {
        let stamp = Stamp {
            index: self.log.len() as u64 + 1,
            at: self.at,
            wall_ms: 1_700_000_000_000 + self.at,
        };
        let _ = self.state.apply(stamp, &command, &mut Vec::new());
        let wrong = invariants::check(&self.state);
        assert!(wrong.is_empty(), "{wrong:?} after {command:?}");
        self.log.push((stamp, command));
    }

    /// Plays the log again, the second half on what a snapshot of the first half gives.
    fn check_replay(&self) {
        let mut machine = AcdMachine::default();
        for (n, (stamp, command)) in self.log.iter().enumerate() {
            if n == self.log.len() / 2 {
                let bytes = machine.snapshot().expect("a state can be written");
                machine = AcdMachine::restore(AcdMachine::SCHEMA, &bytes).expect("and read");
            }
            let bytes = codec::encode(command).expect("a command can be written");
            let command = codec::decode(&bytes, usize::MAX).expect("and read");
            let stamp = holdfast_raft::Stamp {
                index: stamp.index,
                at_ms: stamp.at,
                wall_ms: stamp.wall_ms,
            };
            let _ = machine.apply(stamp, &command, &mut Vec::new());
        }
        assert_eq!(machine.digest(), self.state.digest(), "the replay differs");
    }
}

/// Encoded commands as another node might forward them, each behind its length and a pause.
pub fn commands(data: &[u8]) {
    let mut play = Play::new();
    let mut rest = data;
    while let [low, high, pause, tail @ ..] = rest
        && play.log.len() < COMMANDS_MAX
    {
        let len = usize::from(u16::from_le_bytes([*low, *high])).min(tail.len());
        let (bytes, more) = tail.split_at(len);
        rest = more;
        play.at += u64::from(*pause) * 100;
        if let Ok(command) = codec::decode(bytes, COMMAND_BYTES_MAX) {
            play.apply(command);
        }
    }
    play.check_replay();
}

/// Bytes as choices: which step comes next, about whom.
pub fn apply(data: &[u8]) {
    let mut choices = Unstructured::new(data);
    let mut play = Play::new();
    for command in steps::opening() {
        play.apply(command);
    }
    while !choices.is_empty() && play.log.len() < COMMANDS_MAX {
        let Ok(step) = steps::next(&play.state, &mut choices) else {
            break;
        };
        play.at += step.pause_ms;
        for command in step.commands {
            play.apply(command);
        }
        // Whoever leads ticks as soon as a deadline is due.
        let mut ticks = 0;
        while play.state.next_deadline().is_some_and(|at| at <= play.at) {
            play.apply(Command::Tick);
            ticks += 1;
            assert!(ticks < 1_000, "a deadline that is due for ever");
        }
    }
    play.check_replay();
}
