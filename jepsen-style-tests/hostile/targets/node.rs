//! What a caller and an operator of one node write: arguments and variables of the dialplan, the
//! node's configuration and its tokens.

use std::path::Path;

use holdfast_acd::PbxId;
use holdfast_acd::limits::DURATION_MS_MAX;
use holdfast_ari::{CallerId, Channel, DialplanPoint};
use holdfast_node::{NodeConfig, doors};

use super::ari::{new_caller, path};

/// Lines: number, name, QUEUE_NAME, extension, priority, then one argument a line.
pub fn dialplan(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let mut lines = text.split('\n');
    let mut next = || lines.next().unwrap_or_default();
    let (number, name, variable, exten, priority) = (next(), next(), next(), next(), next());
    let args: Vec<String> = lines.map(str::to_owned).collect();
    let channel = Channel {
        id: number.to_owned(),
        caller: CallerId {
            name: name.into(),
            number: number.into(),
        },
        dialplan: DialplanPoint {
            context: name.into(),
            exten: exten.into(),
            ..DialplanPoint::default()
        },
        ..Channel::default()
    };
    let pbx = PbxId::new("a").expect("a is a name");
    new_caller(&pbx, &channel, &args);
    if let Ok(join) = doors::caller(
        &pbx,
        &channel,
        &args,
        Some(variable),
        Some(exten),
        Some(priority),
    ) {
        let options = &join.options;
        for ms in options.timeout_ms.iter().chain(&options.announce_ms) {
            assert!(*ms <= DURATION_MS_MAX);
        }
    }
    let _ = doors::feature(&channel, &args);
    assert_eq!(doors::clean(&doors::clean(name)), doors::clean(name));
    for id in text.split('\n') {
        let _ = doors::leg(&pbx, id);
        let _ = doors::bridge(&pbx, id);
        path(id);
    }
}

/// The secret that is in every configuration here; no error and no `Debug` may show it.
pub const CANARY: &str = "canary-secret-0123456789";

/// The text of a configuration file; behind a line of `%%%` environment variables `NAME=VALUE`.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (text, env) = text.split_once("\n%%%\n").unwrap_or((text, ""));
    let env: Vec<(String, String)> = env
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    match NodeConfig::parse(text, Path::new("node.toml"), env.into_iter()) {
        Ok(config) => {
            let problems = config.validate();
            let told = format!("{config:?}{problems:?}");
            assert!(!is_told(&config, &told), "a secret is shown: {told}");
            if problems.is_empty() {
                assert!(holdfast_acd::NodeName::new(config.node.name.as_str()).is_ok());
                assert!(config.cluster.secret.is_some());
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    if let Ok(tokens) = doors::tokens(text) {
        let told = format!("{tokens:?}");
        let hidden = |token: &holdfast_node::config::TokenEntry| {
            token.token.expose() != CANARY || !told.contains(CANARY)
        };
        assert!(tokens.iter().all(hidden), "a token is shown");
    }
}

/// Whether the canary, where it is a secret and nothing else, shows.
fn is_told(config: &NodeConfig, told: &str) -> bool {
    let secret = config.cluster.secret.as_ref();
    let elsewhere =
        config.node.name.contains(CANARY) || config.cluster.join.iter().any(|a| a.contains(CANARY));
    secret.is_some_and(|s| s.expose() == CANARY) && !elsewhere && told.contains(CANARY)
}
