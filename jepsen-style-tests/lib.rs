//! The drill hall: what the tests of the whole house need and the house itself does not.
//!
//! [`lab`] brings up Asterisks, real and simulated, with callers and agents' phones, behind one
//! face, so that one test runs against both. [`drill`] breaks whole installations on purpose, and
//! [`judge`] says of what was seen in a run whether the promises were kept.

pub mod drill;
pub mod judge;
pub mod lab;
