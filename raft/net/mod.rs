//! Messages between nodes: what travels (`wire`), how it is called (`links`), and what carries it
//! (`transport`, which is HTTP by `http` and `server`, and a `stream` for
//! appends). `notices`: commits that nobody waits for.

pub mod http;
pub mod links;
pub mod notices;
pub mod server;
mod stream;
#[cfg(test)]
mod stream_tests;
pub mod transport;
pub mod wire;

pub use transport::Wire;
