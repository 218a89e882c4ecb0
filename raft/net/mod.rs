//! Messages between nodes: what travels (`wire`), how it is called (`links`), and what carries it
//! (`transport`, which is HTTP by `http` and `server`). `notices`: commits that nobody waits for.

pub mod http;
pub mod links;
pub mod notices;
pub mod server;
pub mod transport;
pub mod wire;

pub use transport::Wire;
