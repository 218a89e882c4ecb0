//! Listening under attack: one accept loop for the node-to-node port, the admin port and the unix
//! socket, with a bound on everything a stranger could hold on to.
//!
//! A connection is a stranger's until a request on it has shown the secret or a token; then it is
//! known. Strangers have places of their own, and when those are full the oldest stranger of the
//! address that holds the most goes. So a flood throws out itself, and never a peer or an operator
//! who is at work; and a new peer needs its place only until its first request is read.
//!
//! What the requests mean, and who is known, is not decided here: the service says so with
//! [`Guest::is_known`]. TLS has its place in [`Door`].

mod guests;
mod serve;

pub use guests::{Guest, Stats, Tell};
pub use serve::{Bounds, Door, serve};
