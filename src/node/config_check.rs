//! What must hold between the settings of a node. All that is wrong is told at once, each with the
//! key, its value and what would be right.

use crate::config::{AsteriskSection, NodeConfig};
use holdfast_acd::limits::PBXES_MAX;
use holdfast_acd::{AgentId, NodeName, PbxId};
use holdfast_ari::grammar::{AppName, Context, Endpoint, EndpointRules, Exten, Var};
use std::collections::BTreeSet;

/// Shortest time after which an Asterisk may be taken over: below it a busy machine would lose its own.
const TAKEOVER_MS_MIN: u64 = 500;
/// Shortest secret or token, in characters.
const SECRET_CHARS_MIN: usize = 16;

impl NodeConfig {
    /// Everything that is wrong; empty if nothing is.
    pub fn validate(&self) -> Vec<String> {
        let mut problems = Vec::new();
        self.check_node(&mut problems);
        self.check_http(&mut problems);
        self.check_asterisks(&mut problems);
        self.check_timing(&mut problems);
        problems
    }

    fn check_node(&self, problems: &mut Vec<String>) {
        if let Err(error) = NodeName::new(self.node.name.as_str()) {
            problems.push(format!("node.name: {error}"));
        }
        if self.node.data_dir.as_os_str().is_empty() {
            problems.push("node.data_dir: is empty; name a folder".into());
        }
        match &self.cluster.secret {
            None => problems.push(
                "cluster.secret_file: is missing; name a file that holds the cluster's secret"
                    .into(),
            ),
            Some(secret) if secret.expose().chars().count() < SECRET_CHARS_MIN => problems.push(
                format!("cluster.secret: is shorter than {SECRET_CHARS_MIN} characters"),
            ),
            Some(secret) if !secret.expose().chars().all(|c| c.is_ascii_graphic()) => {
                problems.push("cluster.secret: may hold printable ASCII without spaces only".into())
            }
            Some(_) => {}
        }
        let (heartbeat, min, max) = (
            self.cluster.heartbeat,
            self.cluster.election_min,
            self.cluster.election_max,
        );
        if min.as_ms() < 2 * heartbeat.as_ms() {
            problems.push(format!(
                "cluster.election_min: {min} must be at least twice cluster.heartbeat ({heartbeat})"
            ));
        }
        if max <= min {
            problems.push(format!(
                "cluster.election_max: {max} must be longer than cluster.election_min ({min})"
            ));
        }
        let (expect, join) = (self.cluster.bootstrap_expect, self.cluster.join.len());
        if expect > 1 && join + 1 < expect {
            problems.push(format!(
                "cluster.join: {join} addresses are too few for cluster.bootstrap_expect = {expect}; \
                 list every node"
            ));
        }
        if self.cluster.advertise.is_empty() && self.cluster.listen.ip().is_unspecified() {
            problems.push(format!(
                "cluster.advertise: is needed when cluster.listen is {}; write the host:port that \
                 the other nodes reach",
                self.cluster.listen
            ));
        }
    }

    fn check_http(&self, problems: &mut Vec<String>) {
        let http = &self.http;
        if !http.listen.ip().is_loopback() && !http.insecure_http {
            problems.push(format!(
                "http.listen: {} is not loopback and there is no TLS; listen on 127.0.0.1, or set \
                 http.insecure_http = true",
                http.listen
            ));
        }
        let node = self.cluster.listen;
        if http.listen == node && node.port() != 0 {
            problems.push(format!(
                "http.listen: {node} is also cluster.listen; give each its own port"
            ));
        }
        for (n, entry) in http.tokens.iter().enumerate() {
            let name = &entry.name;
            if AgentId::new(name.as_str()).is_err() {
                problems.push(format!(
                    "http.tokens: name {name:?} is not allowed; use 1 to 64 of A-Z a-z 0-9 _ . -"
                ));
            }
            if entry.token.expose().chars().count() < SECRET_CHARS_MIN {
                problems.push(format!(
                    "http.tokens: the token of {name:?} is shorter than {SECRET_CHARS_MIN} characters"
                ));
            }
            if http.tokens[..n].iter().any(|other| other.name == *name) {
                problems.push(format!("http.tokens: {name:?} is there twice"));
            }
        }
    }

    fn check_asterisks(&self, problems: &mut Vec<String>) {
        if let Some(asterisk) = &self.asterisk {
            check_asterisk(asterisk, &mut |key, why| {
                problems.push(format!("asterisk.{key}: {why}"));
            });
        }
        let own = self.asterisk.as_ref();
        let mut names: BTreeSet<&str> = BTreeSet::new();
        names.extend(own.map(|own| match own.systemname.as_str() {
            "" => self.node.name.as_str(),
            name => name,
        }));
        for other in &self.takeover {
            let name = other.systemname.as_str();
            let mut bad = |key: &str, why: String| {
                problems.push(format!("takeover.{key} (of {name:?}): {why}"));
            };
            if name.is_empty() {
                bad(
                    "systemname",
                    "is missing; write the systemname that the other node's [asterisk] has".into(),
                );
            } else if !names.insert(name) {
                bad(
                    "systemname",
                    "is this node's own, or there twice; name each other Asterisk once".into(),
                );
            }
            check_asterisk(&other.section(own), &mut bad);
        }
        if self.takeover.len() >= PBXES_MAX {
            problems.push(format!(
                "takeover: {} entries are too many, there are fewer than {PBXES_MAX} other Asterisks",
                self.takeover.len()
            ));
        }
    }

    fn check_timing(&self, problems: &mut Vec<String>) {
        let (timing, election) = (&self.timing, self.cluster.election_max);
        if timing.node_away_after < election {
            problems.push(format!(
                "timing.node_away_after: {} must be at least cluster.election_max ({election})",
                timing.node_away_after
            ));
        }
        if timing.node_lost_after < timing.node_away_after {
            problems.push(format!(
                "timing.node_lost_after: {} must be at least timing.node_away_after ({})",
                timing.node_lost_after, timing.node_away_after
            ));
        }
        let after = timing.takeover_after;
        if after.as_ms() < TAKEOVER_MS_MIN {
            problems.push(format!(
                "timing.takeover_after: {after} must be at least {TAKEOVER_MS_MIN}ms, or a busy \
                 machine loses its own Asterisk"
            ));
        }
        let lost = timing.node_lost_after.as_ms();
        if !self.takeover.is_empty() && timing.node_away_after.as_ms() + after.as_ms() >= lost {
            problems.push(format!(
                "timing.takeover_after: {after} is too long: with timing.node_away_after ({}) it must \
                 be over before timing.node_lost_after ({})",
                timing.node_away_after, timing.node_lost_after
            ));
        }
        if timing.no_quorum_after.as_ms() < 2 * election.as_ms() {
            problems.push(format!(
                "timing.no_quorum_after: {} must be at least twice cluster.election_max ({election}), \
                 or an ordinary failover sends callers away",
                timing.no_quorum_after
            ));
        }
        let limits = &self.limits;
        for (key, value) in [
            ("callers_max", limits.callers_max),
            ("proposals_max", limits.proposals_max),
            ("mailbox_max", limits.mailbox_max),
        ] {
            if !(1..=1_000_000).contains(&value) {
                problems.push(format!("limits.{key}: {value} is not within 1..=1000000"));
            }
        }
    }
}

/// Everything that is wrong with how one Asterisk is driven.
fn check_asterisk(asterisk: &AsteriskSection, bad: &mut dyn FnMut(&str, String)) {
    if asterisk.password.is_none() {
        bad(
            "password_file",
            "is missing; name a file that holds the ARI password".into(),
        );
    }
    let password = holdfast_ari::Secret::new("checked elsewhere");
    let url = holdfast_ari::AriConfig::new(&asterisk.url, &asterisk.username, password, "QueueARI");
    if let Err(error) = url {
        bad("url", error.to_string());
    }
    if let Err(error) = AppName::new(&asterisk.app) {
        bad("app", error.to_string());
    }
    if !asterisk.systemname.is_empty()
        && let Err(error) = PbxId::new(asterisk.systemname.as_str())
    {
        bad("systemname", error.to_string());
    }
    let technologies: Vec<&str> = asterisk
        .allowed_technologies
        .iter()
        .map(String::as_str)
        .collect();
    match EndpointRules::with_technologies(&technologies) {
        Err(error) => bad("allowed_technologies", error.to_string()),
        Ok(rules) => {
            let templates = [
                ("agent_endpoint", &asterisk.agent_endpoint),
                ("remote_endpoint", &asterisk.remote_endpoint),
            ];
            for (key, template) in templates {
                let sample = template.replace("{agent}", "1001").replace("{pbx}", "pbx");
                if !template.contains("{agent}") {
                    bad(key, format!("{template:?} does not contain {{agent}}"));
                }
                if let Err(error) = Endpoint::with_rules(&sample, &rules) {
                    bad(key, error.to_string());
                }
            }
        }
    }
    let variables = [
        ("call_string_variable", &asterisk.call_string_variable),
        ("ring_time_variable", &asterisk.ring_time_variable),
    ];
    for (key, name) in variables {
        if let Err(error) = Var::configured(name) {
            bad(key, error.to_string());
        }
    }
    if let Some(context) = &asterisk.dial_context
        && let Err(error) = Context::new(context)
    {
        bad("dial_context", error.to_string());
    }
    if let Some(exten) = &asterisk.dial_exten
        && let Err(error) = Exten::new(exten)
    {
        bad("dial_exten", error.to_string());
    }
    for (key, span) in [
        ("connect_timeout", asterisk.connect_timeout),
        ("request_timeout", asterisk.request_timeout),
    ] {
        if span.as_ms() == 0 {
            bad(key, "must be longer than nothing".into());
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::*;

    fn good() -> NodeConfig {
        let mut config = NodeConfig::default();
        config.node.name = "a".into();
        config.cluster.secret = Some(Secret::new("0123456789abcdef"));
        let password = Some(Secret::new("x"));
        config.asterisk = Some(AsteriskSection {
            password,
            ..AsteriskSection::default()
        });
        config
    }

    fn other(systemname: &str, url: &str) -> TakeoverSection {
        TakeoverSection {
            systemname: systemname.into(),
            url: url.into(),
            password: Some(Secret::new("x")),
            ..TakeoverSection::default()
        }
    }

    #[test]
    fn another_asterisk_is_driven_as_the_own_one_but_for_what_is_said() {
        let mut config = good();
        let own = config.asterisk.as_mut().unwrap();
        own.app = "Ours".into();
        own.remote_endpoint = "PJSIP/{agent}@to-{pbx}".into();
        let mut b = other("b", "http://10.0.0.2:8088/ari");
        b.agent_endpoint = Some("PJSIP/b-{agent}".into());
        config.takeover = vec![b];
        assert_eq!(config.validate(), Vec::<String>::new());
        let driven = config.takeover[0].section(config.asterisk.as_ref());
        assert_eq!(driven.systemname, "b");
        assert_eq!(driven.url, "http://10.0.0.2:8088/ari");
        assert_eq!(driven.app, "Ours");
        assert_eq!(driven.agent_endpoint, "PJSIP/b-{agent}");
        assert_eq!(driven.remote_endpoint, "PJSIP/{agent}@to-{pbx}");
    }

    #[test]
    fn every_bad_value_is_named_with_its_key_and_all_at_once() {
        assert_eq!(good().validate(), Vec::<String>::new());
        type Change = fn(&mut NodeConfig);
        let cases: [(&str, Change); 20] = [
            ("node.name", |c| c.node.name = "a/b".into()),
            ("cluster.secret", |c| {
                c.cluster.secret = Some(Secret::new("short"))
            }),
            ("cluster.secret_file", |c| c.cluster.secret = None),
            ("cluster.election_min", |c| {
                c.cluster.election_min = Span::ms(150)
            }),
            ("cluster.join", |c| c.cluster.bootstrap_expect = 3),
            ("cluster.advertise", |c| {
                c.cluster.listen = "0.0.0.0:1".parse().unwrap()
            }),
            ("http.listen", |c| {
                c.http.listen = "0.0.0.0:1".parse().unwrap()
            }),
            ("asterisk.password_file", |c| {
                c.asterisk.as_mut().unwrap().password = None
            }),
            ("asterisk.url", |c| {
                c.asterisk.as_mut().unwrap().url = "http://u:p@h/ari".into()
            }),
            ("asterisk.agent_endpoint", |c| {
                c.asterisk.as_mut().unwrap().agent_endpoint = "Local/{agent}@toll".into();
            }),
            ("asterisk.call_string_variable", |c| {
                c.asterisk.as_mut().unwrap().call_string_variable = "SHELL(id)".into();
            }),
            ("timing.no_quorum_after", |c| {
                c.timing.no_quorum_after = Span::ms(1)
            }),
            ("timing.node_lost_after", |c| {
                c.timing.node_lost_after = Span::ms(650)
            }),
            ("limits.mailbox_max", |c| c.limits.mailbox_max = 0),
            ("timing.takeover_after", |c| {
                c.timing.takeover_after = Span::ms(499)
            }),
            ("timing.takeover_after", |c| {
                c.takeover.push(other("b", "http://10.0.0.2:8088/ari"));
                c.timing.takeover_after = Span::ms(59_300);
            }),
            ("takeover.systemname (of \"\")", |c| {
                c.takeover.push(other("", "http://10.0.0.2:8088/ari"))
            }),
            ("takeover.systemname (of \"a\")", |c| {
                c.takeover.push(other("a", "http://10.0.0.2:8088/ari"))
            }),
            ("takeover.url (of \"b\")", |c| {
                c.takeover.push(other("b", "10.0.0.2:8088"))
            }),
            ("takeover.password_file (of \"b\")", |c| {
                let mut other = other("b", "http://10.0.0.2:8088/ari");
                other.password = None;
                c.takeover.push(other);
            }),
        ];
        let mut all = good();
        for (key, change) in cases {
            let mut config = good();
            change(&mut config);
            change(&mut all);
            let problems = config.validate();
            assert!(
                problems.iter().any(|p| p.starts_with(key)),
                "{key}: {problems:?}"
            );
        }
        assert!(all.validate().len() >= 12);
    }
}
