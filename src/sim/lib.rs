//! A simulated Asterisk that speaks real ARI over real sockets, for `make demo`, tests and benches.
//!
//! [`Pbx`] is the pure, deterministic core: channels, bridges, playbacks, applications, phones and a
//! small dialplan. It has no clock and no sockets: time and requests are passed in, events and
//! answers come out. [`SimAsterisk`] puts it behind an HTTP and WebSocket server that behaves as
//! Asterisk 22 was measured to behave, its traps included.
//!
//! There is no SIP and no sound: callers and phones are driven by [`SimAsterisk::place_call`] and
//! [`SimAsterisk::phone`], and "what the caller hears" is recorded instead of being played. It does
//! not know queues, and uses no other crate of this workspace.

#![warn(missing_docs)]

mod apps;
mod asterisk;
mod bridge;
mod caller;
mod channel;
mod dial;
mod dialplan;
mod faults;
mod handles;
mod hearing;
mod http;
mod legs;
mod moments;
mod originate;
mod pbx;
#[cfg(test)]
mod pbx_tests;
mod people;
mod phone;
mod playback;
mod queue;
mod rest;
mod rest_bridges;
mod rest_channels;
mod rest_frames;
mod server;
mod stamp;
mod trunk;

pub use asterisk::{BridgeView, ChannelView, SimAsterisk, SimConfig, SimError};
pub use caller::{CallSpec, CallerEnd, CallerState, EndedBy};
pub use handles::{Caller, Phone};
pub use hearing::{Heard, Hearing};
pub use moments::Moment;
pub use pbx::{Output, Pbx, PbxConfig, Request, Response};
pub use people::{Crowd, CrowdSpec, PeopleReport};
pub use phone::{DeviceState, Habit, Person};
pub use trunk::TrunkMessage;
