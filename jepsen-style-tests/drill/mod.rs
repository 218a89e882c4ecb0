//! Drills: an installation on hosts of its own under load, hurt in every way that is known, and judged
//! by what callers, phones, Asterisks and operators' scripts saw.
//!
//! A [`Plan`] says what is done; [`perform`] brings up the hosts, lets people call and work, strikes
//! with the [`nemesis`]es, heals, waits until everybody has gone, and gives a [`Report`]. The same
//! code serves `make drill` and the tests, which differ in the plan alone. Nothing here asks a node's
//! log, and nothing is taken as true because a node says so.

pub mod agents;
pub mod arena;
pub mod callers;
mod cgroup;
pub mod clients;
pub mod declare;
pub mod disk;
pub mod inside;
pub mod nemesis;
mod preload;
pub mod report;
pub mod run;
pub mod settle;
pub mod soak;
pub mod tools;
pub mod witness;
pub mod workload;

pub use report::Report;
pub use run::{Plan, perform};
