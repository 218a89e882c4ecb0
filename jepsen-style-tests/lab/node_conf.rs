//! The configuration file of one node of the lab, and which ports it takes at its place.

use std::collections::BTreeMap;
use std::path::Path;

use super::cluster::{NAMES, SECRET, TOKEN};
use super::place::Place;
use super::{ARI_PASSWORD, ARI_USER};

/// Where the other nodes reach it: its service number at its [`Place`].
pub const RAFT: u16 = 0;
/// The admin endpoints.
pub const HTTP: u16 = 1;
/// A proxy before [`RAFT`].
pub const WIRE: u16 = 2;

/// The text. `raft` is [`RAFT`], or [`WIRE`] where nodes reach each other by way of a proxy.
pub fn node_config(
    place: &Place,
    folder: &Path,
    index: usize,
    nodes: usize,
    ari: &str,
    raft: u16,
) -> String {
    let name = NAMES[index];
    let join: Vec<String> = (0..nodes)
        .map(|node| place.addr(node, raft).to_string())
        .collect();
    let folder = folder.display();
    let text = toml::toml! {
        [log]
        level = "info,openraft=off,holdfast_node=debug"
        format = "pretty"
    };
    let mut config: BTreeMap<String, toml::Value> = text.into_iter().collect();
    let table = |pairs: Vec<(&str, toml::Value)>| {
        toml::Value::Table(pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())
    };
    let node = vec![
        ("name", name.into()),
        ("data_dir", format!("{folder}/{name}").into()),
    ];
    config.insert("node".into(), table(node));
    let mut cluster = vec![
        ("listen", place.addr(index, RAFT).to_string().into()),
        ("advertise", place.addr(index, raft).to_string().into()),
        ("join", join.into()),
        ("bootstrap_expect", (nodes as i64).into()),
        ("secret", SECRET.into()),
    ];
    // On hosts of their own nodes are hurt for long: snapshots and what the journal forgets are then a
    // part of every run.
    if !place.addr(index, RAFT).ip().is_loopback() {
        cluster.push(("snapshot_every", 300.into()));
        cluster.push(("journal_max_events", 5_000.into()));
    }
    config.insert("cluster".into(), table(cluster));
    let token = table(vec![("name", "operator".into()), ("token", TOKEN.into())]);
    let http = vec![
        ("listen", place.addr(index, HTTP).to_string().into()),
        ("admin_socket", format!("{folder}/{name}.sock").into()),
        ("tokens", toml::Value::Array(vec![token])),
        (
            "insecure_http",
            (!place.addr(index, HTTP).ip().is_loopback()).into(),
        ),
    ];
    config.insert("http".into(), table(http));
    let asterisk = vec![
        ("url", ari.into()),
        ("username", ARI_USER.into()),
        ("password", ARI_PASSWORD.into()),
        ("systemname", name.into()),
    ];
    config.insert("asterisk".into(), table(asterisk));
    toml::to_string(&config).expect("a table of texts is TOML")
}
