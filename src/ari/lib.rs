//! A typed client of one Asterisk, over ARI: requests by REST, events by WebSocket, reconnect.
//!
//! It knows what Asterisk 22 really does (each oddity is named where it is handled, and held by
//! the contract suite in `jepsen-style-tests/tests/contract`), and knows nothing of queues,
//! agents or the replicated state: who calls it decides what to do.
//!
//! - [`AriClient`]: one method for each REST operation we use, each with a deadline. A request
//!   whose answer was lost is [`AriError::OutcomeUnknown`], never "failed".
//! - [`events`]: the event WebSocket as an [`EventStream`], which says when it is up, down or
//!   replaced. After each [`StreamItem::Up`] the consumer subscribes and reconciles; nothing that
//!   happened while the socket was down is ever replayed by Asterisk.
//! - [`decode`]: one event text to an [`Event`]; pure, total, never panics.
//! - [`grammar`]: what may be sent to an Asterisk. Endpoints, variables, contexts and names are
//!   types with checked constructors, so that text from callers never becomes dialplan.
#![deny(missing_docs)]

mod bridges;
mod channels;
mod client;
mod config;
#[doc(hidden)]
pub mod doors;
mod error;
mod event;
#[cfg(test)]
mod event_tests;
pub mod grammar;
mod http;
mod model;
mod stream;
pub mod transport;

pub use channels::{ChannelLookup, Continue, HangupReason, Originate, Originated};
pub use client::{AriClient, EventSource, USED_EVENTS};
pub use config::{AriConfig, ConfigError, Secret};
pub use error::AriError;
pub use event::{Event, decode};
pub use grammar::{
    AppName, ChannelId, Context, Endpoint, EndpointRules, Exten, GrammarError, Label, MediaUri,
    MusicClass, QueueName, Var,
};
pub use model::{
    Application, Bridge, CallerId, Channel, ChannelState, DeviceState, DialplanPoint, Info,
};
pub use stream::{DownReason, EventStream, StreamControl, StreamItem, events};
