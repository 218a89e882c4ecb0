//! The targets by name. A name is also the name of a fuzz target and of a folder of the corpus.

pub mod admin;
pub mod ari;
pub mod core;
pub mod names;
pub mod node;
mod steps;
pub mod store;

/// One door: takes any bytes.
pub type Target = fn(&[u8]);

/// All doors.
pub const TARGETS: &[(&str, Target)] = &[
    ("ari_event", ari::event),
    ("ari_body", ari::body),
    ("dialplan", node::dialplan),
    ("node_config", node::config),
    ("grammar", names::grammar),
    ("declared", admin::declared),
    ("admin_body", admin::body),
    ("frame", store::frame),
    ("snapshot", store::snapshot),
    ("segment", store::segment),
    ("vote", store::vote),
    ("node_file", store::node_file),
    ("command", core::commands),
    ("apply", core::apply),
];
