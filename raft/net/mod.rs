//! Messages between nodes: axum on one side, reqwest on the other, bincode bodies in between.
//!
//! TLS has its place in [`links`] (the client) and [`server`] (the accept loop) and nowhere else.

pub mod links;
pub mod server;
pub mod wire;
