//! A machine for the tests inside this crate: it adds numbers.

use serde::{Deserialize, Serialize};

use crate::{Machine, Stamp, codec};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counter {
    pub sum: u64,
    pub last_ms: u64,
}

impl Machine for Counter {
    type Command = u64;
    type Reply = u64;
    type Event = u64;
    const SCHEMA: u16 = 1;

    fn apply(&mut self, stamp: Stamp, command: &u64, events: &mut Vec<u64>) -> u64 {
        self.sum = self.sum.wrapping_add(*command);
        self.last_ms = stamp.at_ms;
        events.push(self.sum);
        self.sum
    }

    fn snapshot(&self) -> Result<Vec<u8>, String> {
        codec::encode(self).map_err(|e| e.to_string())
    }

    fn restore(_schema: u16, bytes: &[u8]) -> Result<Self, String> {
        codec::decode(bytes, 1024).map_err(|e| e.to_string())
    }

    fn digest(&self) -> u64 {
        self.sum
    }
}
