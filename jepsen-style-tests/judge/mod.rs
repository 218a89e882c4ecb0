//! One judgement for the deterministic simulation and for the drills with real processes.
//!
//! Both write down what they saw as a [`history`]; what must hold of every history stands in
//! [`properties`], one file each. The judge runs nothing, asks nobody and knows no node's log lines.
//!
//! ```text
//!   simulation ┐                                       ┌ properties/ends_once ...
//!   drill      ├> Recorder > History > Story, Log, Fold┤                          > Verdict
//!   stories    ┘                                       └ properties/writes > wgl
//! ```

pub mod history;
pub mod ledger;
pub mod log;
pub mod properties;
mod reach;
pub mod recorder;
pub mod story;
pub mod verdict;
pub mod wgl;

pub use history::{History, Record, Seen};
pub use properties::{Property, Violation};
pub use recorder::{Recorder, Source};
pub use verdict::{Limits, Verdict, judge};

#[cfg(test)]
mod planted;
