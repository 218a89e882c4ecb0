//! The configuration of a node: its file, environment variables, secrets and tokens.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::{Entry, same, told};
use holdfast_node::{NodeConfig, doors};

const GOOD: &str = "[node]\nname = \"a\"\n[cluster]\nsecret = \"0123456789abcdef0123\"\n";

/// Everything that is said of a file and an environment.
fn said(text: &str, env: &[(&str, &str)]) -> String {
    let env = env
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_string()));
    match NodeConfig::parse(text, Path::new("node.toml"), env) {
        Ok(config) => config.validate().join("\n"),
        Err(error) => error.to_string(),
    }
}

pub fn entries() -> Vec<Entry> {
    let mut entries = vec![same("a good one", said(GOOD, &[]), String::new())];
    let changed = |from: &str, to: &str| GOOD.replace(from, to);
    let added = |text: &str| format!("{GOOD}{text}\n");
    let cases: Vec<(&str, String, &[&str])> = vec![
        ("no name", changed("name = \"a\"", ""), &["node.name"]),
        (
            "a name with a slash",
            changed("\"a\"", "\"a/b\""),
            &["node.name", "a/b"],
        ),
        (
            "a name of 65 letters",
            changed("\"a\"", &format!("\"{}\"", "x".repeat(65))),
            &["node.name"],
        ),
        (
            "a name that is a number",
            changed("\"a\"", "7"),
            &["node.toml:2"],
        ),
        (
            "no secret",
            "[node]\nname = \"a\"\n".into(),
            &["cluster.secret_file"],
        ),
        (
            "a short secret",
            changed("0123456789abcdef0123", "short"),
            &["cluster.secret", "16"],
        ),
        (
            "a secret with a space",
            changed("0123456789abcdef0123", "0123456789 abcdef 01"),
            &["cluster.secret"],
        ),
        (
            "a secret that is a number",
            changed("\"0123456789abcdef0123\"", "12345678901234567"),
            &["in quotes"],
        ),
        (
            "an unknown key",
            added("[http]\nlistne = \"x\""),
            &["node.toml:6", "listne"],
        ),
        ("an unknown section", added("[htpp]"), &["htpp"]),
        ("no TOML", added("[http"), &["node.toml:5"]),
        ("a key twice", added("[node]\nname = \"b\""), &["duplicate"]),
        (
            "a port that is none",
            added("[http]\nlisten = \"127.0.0.1:99999\""),
            &["node.toml:6"],
        ),
        (
            "a host name to listen on",
            added("[http]\nlisten = \"localhost:1\""),
            &["node.toml:6"],
        ),
        (
            "beyond loopback without TLS",
            added("[http]\nlisten = \"0.0.0.0:7080\""),
            &["insecure_http"],
        ),
        (
            "the same port twice",
            added("[http]\nlisten = \"127.0.0.1:7081\""),
            &["http.listen"],
        ),
        (
            "a token that is short",
            added("[http]\ntokens = [{ name = \"x\", token = \"short\" }]"),
            &["token", "16"],
        ),
        (
            "a token without a name",
            added("[http]\ntokens = [{ token = \"0123456789abcdef\" }]"),
            &["name"],
        ),
        (
            "an election that is shorter than a heartbeat",
            changed("[cluster]", "[cluster]\nelection_min = \"1ms\""),
            &["election_min"],
        ),
        (
            "an election from long to short",
            changed(
                "[cluster]",
                "[cluster]\nelection_min = \"900ms\"\nelection_max = \"300ms\"",
            ),
            &["election_max"],
        ),
        (
            "a span without a unit",
            changed("[cluster]", "[cluster]\nheartbeat = \"100\""),
            &["no length of time"],
        ),
        (
            "a span that is a number",
            changed("[cluster]", "[cluster]\nheartbeat = 100"),
            &["node.toml:4"],
        ),
        (
            "a span below zero",
            changed("[cluster]", "[cluster]\nheartbeat = \"-1s\""),
            &["no length of time"],
        ),
        (
            "an Asterisk without a password",
            added("[asterisk]"),
            &["password"],
        ),
        (
            "an Asterisk at no address",
            added("[asterisk]\npassword = \"x\"\nurl = \"ftp://x\""),
            &["url"],
        ),
        (
            "an Asterisk at half an address",
            added("[asterisk]\npassword = \"x\"\nurl = \"127.0.0.1:8088\""),
            &["url"],
        ),
        (
            "an endpoint that dials two",
            added("[asterisk]\npassword = \"x\"\nagent_endpoint = \"PJSIP/{agent}&Local/9@toll\""),
            &["agent_endpoint"],
        ),
        (
            "an endpoint without its agent",
            added("[asterisk]\npassword = \"x\"\nagent_endpoint = \"PJSIP/1\""),
            &["agent_endpoint"],
        ),
        (
            "a variable that is a function",
            added("[asterisk]\npassword = \"x\"\ncall_string_variable = \"SHELL(id)\""),
            &["call_string_variable"],
        ),
        (
            "a technology that is none",
            added("[asterisk]\npassword = \"x\"\nallowed_technologies = [\"Lo/cal\"]"),
            &["allowed_technologies"],
        ),
        (
            "a context with a blank",
            added("[asterisk]\npassword = \"x\"\ndial_context = \"a b\""),
            &["dial_context"],
        ),
        (
            "an application with a comma",
            added("[asterisk]\npassword = \"x\"\napp = \"a,b\""),
            &["app"],
        ),
        (
            "a systemname with a slash",
            added("[asterisk]\npassword = \"x\"\nsystemname = \"a/b\""),
            &["systemname"],
        ),
        (
            "a feature that is none",
            added("[asterisk.feature_codes]\nx = \"explode\""),
            &["explode"],
        ),
    ];
    for (what, text, words) in cases {
        entries.push(told(what, &said(&text, &[]), words));
    }
    for (name, value, word) in [
        ("HOLDFAST__HTTP__LISTNE", "x", "HOLDFAST__HTTP__LISTNE"),
        ("HOLDFAST__HTTP", "x", "SECTION__KEY"),
        ("HOLDFAST__", "x", "SECTION__KEY"),
        ("HOLDFAST__NODE__NAME__X", "x", "SECTION__KEY"),
        (
            "HOLDFAST__HTTP__LISTEN",
            "nowhere",
            "HOLDFAST__HTTP__LISTEN",
        ),
        (
            "HOLDFAST__CLUSTER__BOOTSTRAP_EXPECT",
            "many",
            "HOLDFAST__CLUSTER__BOOTSTRAP_EXPECT",
        ),
    ] {
        entries.push(told(
            &format!("the variable {name}={value}"),
            &said(GOOD, &[(name, value)]),
            &[word],
        ));
    }
    for text in ["nonsense", "a:b:c", "a:b:write", "a:b:read:x", ":"] {
        let refused = doors::tokens(text).err().map(|error| error.to_string());
        // A name and a token may be empty here; the check of the whole tells it.
        let wanted = if text == ":" {
            ""
        } else {
            "line 1 is not name:token"
        };
        entries.push(told(
            &format!("the tokens file {text:?}"),
            &refused.unwrap_or_default(),
            &[wanted],
        ));
    }
    entries.extend(files());
    entries
}

/// What can be wrong with the files that a configuration names.
fn files() -> Vec<Entry> {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let secret = dir.path().join("secret");
    let file = dir.path().join("node.toml");
    let load = |text: String| {
        std::fs::write(&file, text).expect("the folder can be written");
        match NodeConfig::load_with(&file, std::iter::empty()) {
            Ok(config) => format!("taken: {config:?}"),
            Err(error) => error.to_string(),
        }
    };
    let named = format!("[cluster]\nsecret_file = {secret:?}\n");
    let mut entries = vec![told(
        "a secret file that is missing",
        &load(named.clone()),
        &["cluster.secret_file", "cannot read"],
    )];
    std::fs::write(&secret, "canary-0123456789abcdef\n").expect("it can be written");
    std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o644)).expect("it is ours");
    let answer = load(named.clone());
    entries.push(told(
        "a secret file that everybody can read",
        &answer,
        &["can be read by everybody", "chmod"],
    ));
    entries.push(same(
        "its secret in the answer",
        answer.contains("canary"),
        false,
    ));
    std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o600)).expect("it is ours");
    entries.push(same(
        "a secret in what is shown of a good one",
        load(named.clone()).contains("canary"),
        false,
    ));
    std::fs::write(&secret, "x".repeat(100_000)).expect("it can be written");
    entries.push(told(
        "a secret file of 100 kB",
        &load(named.clone()),
        &["64 KiB"],
    ));
    std::fs::write(&secret, [0xff, 0xfe]).expect("it can be written");
    entries.push(told(
        "a secret file that is no UTF-8",
        &load(named),
        &["cannot read"],
    ));
    let tokens = format!("[http]\ntokens_file = {:?}\n", dir.path());
    entries.push(told(
        "a tokens file that is a folder",
        &load(tokens),
        &["http.tokens_file"],
    ));
    let missing = NodeConfig::load_with(&dir.path().join("none.toml"), std::iter::empty());
    let missing = missing
        .err()
        .map(|error| error.to_string())
        .unwrap_or_default();
    entries.push(told(
        "no file at all",
        &missing,
        &["cannot read", "none.toml"],
    ));
    entries
}
