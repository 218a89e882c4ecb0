//! The queue itself: callers in line, agents, offers, deadlines. Pure.
//!
//! `State::apply` takes one command after the other, in the order of the log and with the leader's
//! stamp, and is the only thing that changes the state; it answers with a reply or a rejection and
//! tells what happened as events. `distribute` reads the state and proposes decisions. Every node
//! applies the same log and so holds the same state.
//!
//! What is not here, on purpose: clocks, randomness, IO, async, floating point, hash maps, Asterisk,
//! Raft. The crate depends on serde alone.

pub mod agent;
mod announce;
mod apply;
pub mod call;
pub mod command;
mod deadline;
mod digest;
mod distribute;
mod empty;
pub mod event;
pub mod id;
mod index;
pub mod invariants;
pub mod limits;
pub mod pbx;
pub mod queue;
pub mod reply;
pub mod settings;
mod shared;
mod shelves;
pub mod state;
mod strategy;
mod template;
mod text;
mod validate;
mod wait;

pub use command::{Admin, AdminOp, Command, Config, Stamp};
pub use event::Event;
pub use id::{AgentId, Attempt, CallId, ChannelId, Millis, NodeName, PbxId, QueueName, RequestId};
pub use reply::{Done, Reject, Reply};
pub use state::{State, distribute};
