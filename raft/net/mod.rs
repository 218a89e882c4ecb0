//! Messages between nodes: what travels (`wire`), how it is called (`links`), and what carries it
//! (`transport`, which is HTTP by `http` and `server`).

pub mod http;
pub mod links;
pub mod server;
pub mod transport;
pub mod wire;

pub use transport::Wire;
