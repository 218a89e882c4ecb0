//! All targets as one libFuzzer program; `HOLDFAST_TARGET` names the one that runs.
#![no_main]

use std::sync::OnceLock;

use holdfast_hostile::targets::{TARGETS, Target};
use libfuzzer_sys::fuzz_target;

static CHOSEN: OnceLock<Target> = OnceLock::new();

fn chosen() -> Target {
    let name = std::env::var("HOLDFAST_TARGET").unwrap_or_default();
    let found = TARGETS.iter().find(|(known, _)| *known == name);
    let names: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    match found {
        Some((_, target)) => *target,
        None => panic!("HOLDFAST_TARGET={name:?}: set it to one of {names:?}"),
    }
}

fuzz_target!(|data: &[u8]| CHOSEN.get_or_init(chosen)(data));
