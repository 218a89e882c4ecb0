//! The queue as the store's state machine: stamps mapped, snapshots encoded.
//!
//! Nothing is decided here; `holdfast_acd::State::apply` does all of it.

use holdfast_acd::{Command, Event, Reply, Stamp, State};
use holdfast_raft::{Machine, codec};

/// Largest snapshot that is read, in bytes.
const SNAPSHOT_BYTES_MAX: usize = 1 << 30;

/// The replicated state of the queue.
#[derive(Clone, Debug, Default)]
pub struct AcdMachine(pub State);

impl Machine for AcdMachine {
    type Command = Command;
    type Reply = Reply;
    type Event = Event;
    const SCHEMA: u16 = 1;

    fn apply(
        &mut self,
        stamp: holdfast_raft::Stamp,
        command: &Command,
        events: &mut Vec<Event>,
    ) -> Reply {
        let stamp = Stamp {
            index: stamp.index,
            at: stamp.at_ms,
            wall_ms: stamp.wall_ms,
        };
        #[cfg(feature = "planted")]
        let (stamp, command) = {
            let (mut stamp, mut command) = (stamp, command.clone());
            if let Some(reply) = crate::planted::spoil(&self.0, &mut stamp, &mut command) {
                return reply;
            }
            crate::planted::fire_twice(&self.0, stamp, &command, events);
            (stamp, &command.clone())
        };
        self.0.apply(stamp, command, events)
    }

    fn facts(&self) -> Self {
        AcdMachine(self.0.facts())
    }

    fn snapshot(&self) -> Result<Vec<u8>, String> {
        codec::encode_long(&self.0).map_err(|error| error.to_string())
    }

    fn restore(_schema: u16, bytes: &[u8]) -> Result<Self, String> {
        codec::decode(bytes, SNAPSHOT_BYTES_MAX)
            .map(AcdMachine)
            .map_err(|error| error.to_string())
    }

    fn digest(&self) -> u64 {
        self.0.digest()
    }

    fn subject(event: &Event) -> Option<u64> {
        event.call().map(|call| call.0)
    }
}
