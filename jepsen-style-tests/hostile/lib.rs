//! Hostile input: one function for each door through which bytes come in that we did not write.
//!
//! Each takes any bytes, does with them what the product does, and checks what must hold of the
//! result; a panic is a finding. `fuzz/` feeds them from libFuzzer, `tests/corpus.rs` from the kept
//! corpus without a fuzzer. The catalogue of bad input with an expected answer each is in `tests/`.
//! Doors that need a running node (ports, HTTP) are tested elsewhere: see docs/hostile-input.md.

pub mod targets;

pub use targets::TARGETS;
