//! One judgement for the deterministic simulation and for the drills with real processes.
//!
//! Both write down what they saw as a [`history`]; what must hold of every history stands in
//! `properties/`, one file each. The judge runs nothing, asks nobody and knows no node's log lines.

pub mod history;
pub mod recorder;

pub use history::{History, Record, Seen};
pub use recorder::{Recorder, Source};
