//! Scripts that read like a call log, in `scenarios/*.txt`: each command is followed by the events
//! it caused. `REWRITE=1 cargo test --test scenario` writes the events anew, to be read in the diff.
//!
//! A line that begins with `>` is what happened; `#` begins a comment; everything else is a command.

mod common;

use common::*;
use holdfast_acd::command::*;
use holdfast_acd::settings::*;
use holdfast_acd::*;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

#[test]
fn every_scenario_happens_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let entries = std::fs::read_dir(folder).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(
        files.len() >= 8,
        "only {} scenarios were found",
        files.len()
    );
    for file in files {
        let written = std::fs::read_to_string(&file).unwrap();
        let happened = Script::default().play(&written);
        if std::env::var_os("REWRITE").is_some() {
            std::fs::write(&file, happened).unwrap();
        } else {
            assert_eq!(
                written,
                happened,
                "{} (REWRITE=1 writes it anew)",
                file.display()
            );
        }
    }
}

struct Script {
    world: World,
    /// Names of channels by call, so that a script never counts calls.
    names: BTreeMap<String, CallId>,
    epoch: u64,
}

impl Default for Script {
    fn default() -> Self {
        Script {
            world: World::empty(),
            names: BTreeMap::new(),
            epoch: 0,
        }
    }
}

impl Script {
    fn play(mut self, script: &str) -> String {
        let mut played = String::new();
        for line in script.lines().filter(|line| !line.starts_with('>')) {
            writeln!(played, "{line}").unwrap();
            let words: Vec<&str> = line.split_whitespace().collect();
            if words.is_empty() || line.starts_with('#') {
                continue;
            }
            for line in self.command(&words) {
                writeln!(played, "> {line}").unwrap();
            }
        }
        played
    }

    fn command(&mut self, words: &[&str]) -> Vec<String> {
        let options: BTreeMap<&str, &str> =
            words.iter().filter_map(|w| w.split_once('=')).collect();
        let mut lines = Vec::new();
        match words {
            ["queue", name, ..] => self.world.put_queue(name, queue_settings(&options)),
            ["agent", name, to, ..] => {
                let penalty = options.get("penalty").map_or(0, |it| it.parse().unwrap());
                if self.world.state.agent(&agent(name)).is_some() {
                    self.world.add_member(to, name, penalty);
                } else {
                    self.world.add_agent(to, name, penalty);
                }
            }
            ["pbx", name, channels @ ..] => {
                self.epoch += 1;
                let restarted = channels.contains(&"restarted");
                let channels: Vec<&str> = channels
                    .iter()
                    .filter(|it| **it != "restarted")
                    .copied()
                    .collect();
                self.world.up(name, self.epoch, restarted, &channels);
                lines = self.happened(Ok(reply::Done::Ok));
            }
            ["tick", ms] => {
                self.world.pass(duration(ms.trim_start_matches('+')));
                lines = self.happened(Ok(reply::Done::Ok));
            }
            ["serve"] => {
                for decision in distribute(&self.world.state, 100, &mut |_| 0) {
                    let reply = self.world.apply(decision);
                    lines.extend(self.happened(reply));
                }
                if lines.is_empty() {
                    lines.push("nobody to serve".into());
                }
            }
            ["positions", calls @ ..] => {
                let position = |name: &&str| {
                    let position = self.world.state.position(self.names[*name]);
                    format!("{name}={}", position.unwrap_or(0))
                };
                lines = calls.iter().map(position).collect();
            }
            _ => {
                let command = self.fact(words, &options);
                let reply = self.world.apply(command);
                lines = self.happened(reply);
            }
        }
        lines
    }

    fn fact(&self, words: &[&str], options: &BTreeMap<&str, &str>) -> Command {
        let call = |name: &str| self.names[name];
        let attempt = |name: &str| self.world.attempt(self.names[name]);
        match words {
            ["join", to, name, ..] => Command::CallerJoin(CallerJoin {
                pbx: pbx(options.get("pbx").unwrap_or(&"p1")),
                channel: channel(name),
                queue: queue(to),
                number: options.get("number").unwrap_or(&"").to_string(),
                name: String::new(),
                priority: options.get("priority").map_or(0, |it| it.parse().unwrap()),
                options: JoinOptions {
                    timeout_ms: options.get("timeout").map(|it| duration(it)),
                    announce_ms: options.get("announce").map(|it| duration(it)),
                    music_class: None,
                },
            }),
            ["ringing", name, by] => {
                let (call, attempt, agent) = (call(name), attempt(name), agent(by));
                Command::OfferRinging {
                    call,
                    attempt,
                    agent,
                }
            }
            ["answer", name, by] => {
                let (call, attempt, agent) = (call(name), attempt(name), agent(by));
                Command::OfferAnswer {
                    call,
                    attempt,
                    agent,
                }
            }
            ["fail", name, by, cause] => Command::OfferFail {
                call: call(name),
                attempt: attempt(name),
                agent: agent(by),
                cause: match *cause {
                    "busy" => FailCause::Busy,
                    "rejected" => FailCause::Rejected,
                    "unreachable" => FailCause::Unreachable,
                    other => panic!("unknown cause {other}"),
                },
            },
            ["end", name, by] => Command::CallEnd {
                call: call(name),
                attempt: attempt(name),
                by: if *by == "agent" {
                    EndedBy::Agent
                } else {
                    EndedBy::Caller
                },
            },
            ["hangup", name] => Command::CallerLeave {
                call: call(name),
                reason: LeaveReason::HungUp,
            },
            ["key", name, key] => {
                let reason = LeaveReason::Key(key.to_string());
                Command::CallerLeave {
                    call: call(name),
                    reason,
                }
            }
            ["noquorum", name] => Command::CallerLeave {
                call: call(name),
                reason: LeaveReason::NoQuorum,
            },
            ["released", name] => Command::CallReleased { call: call(name) },
            ["device", name, state] => Command::AgentDevice {
                pbx: pbx("p1"),
                agent: agent(name),
                state: match *state {
                    "inuse" => DeviceState::InUse,
                    "notinuse" => DeviceState::NotInUse,
                    other => panic!("unknown state {other}"),
                },
            },
            ["pbxdown", name, ..] => {
                let (pbx, lost) = (pbx(name), words.contains(&"lost"));
                Command::PbxDown {
                    pbx,
                    epoch: self.epoch,
                    lost,
                }
            }
            ["nodeaway", name] => Command::NodeAway {
                node: node(name),
                node_lost_after_ms: 60_000,
            },
            ["nodeback", name] => Command::NodeBack { node: node(name) },
            _ => Command::Admin(Admin {
                request: RequestId(1 << 64 | u128::from(self.world.index)),
                actor: "script".into(),
                if_revision: None,
                op: self.admin(words),
            }),
        }
    }

    fn admin(&self, words: &[&str]) -> AdminOp {
        match words {
            ["pause", name, reason @ ..] => AdminOp::AgentPause {
                agent: agent(name),
                queue: None,
                reason: reason.join(" "),
            },
            ["unpause", name] => AdminOp::AgentUnpause {
                agent: agent(name),
                queue: None,
            },
            ["login", name] => AdminOp::AgentLogin { agent: agent(name) },
            ["logout", name] => AdminOp::AgentLogout { agent: agent(name) },
            ["ready", name] => AdminOp::AgentReady { agent: agent(name) },
            ["move", name, to] => AdminOp::CallMove {
                call: self.names[*name],
                queue: queue(to),
            },
            ["withdraw", name, info @ ..] => AdminOp::CallWithdraw {
                call: self.names[*name],
                info: info.join(" "),
            },
            ["priority", name, priority] => {
                let priority = priority.parse().unwrap();
                AdminOp::CallPriority {
                    call: self.names[*name],
                    priority,
                }
            }
            other => panic!("unknown command {other:?}"),
        }
    }

    fn happened(&mut self, reply: reply::Reply) -> Vec<String> {
        for event in &self.world.last {
            if let Event::CallJoined { call, channel, .. } = event {
                self.names.insert(channel.to_string(), *call);
            }
        }
        let refused = reply.err().map(|reject| {
            self.name_calls(&format!(
                "refused {}: {}",
                reject.code(),
                plain(&format!("{reject}"))
            ))
        });
        let events = self.world.last.iter();
        events
            .map(|event| self.name_calls(&plain(&format!("{event:?}"))))
            .chain(refused)
            .collect()
    }

    /// Channels instead of numbers of calls.
    fn name_calls(&self, line: &str) -> String {
        let mut line = line.to_string();
        for (name, call) in self.names.iter().rev() {
            for word in ["call", "by"] {
                line = line.replace(&format!("{word}: {call},"), &format!("{word}: {name},"));
                line = line.replace(&format!("{word}: {call} "), &format!("{word}: {name} "));
            }
        }
        line
    }
}

/// The debug form without the names of the wrappers.
fn plain(debug: &str) -> String {
    let wrappers = [
        "CallId(",
        "Attempt(",
        "QueueName(",
        "AgentId(",
        "PbxId(",
        "ChannelId(",
        "NodeName(",
    ];
    let mut text = debug.to_string();
    for wrapper in wrappers {
        while let Some(start) = text.find(wrapper) {
            let inner = start + wrapper.len();
            let end = inner + text[inner..].find(')').unwrap();
            text = format!(
                "{}{}{}",
                &text[..start],
                &text[inner..end],
                &text[end + 1..]
            );
        }
    }
    text.replace('"', "")
}

fn duration(text: &str) -> u64 {
    if let Some(ms) = text.strip_suffix("ms") {
        return ms.parse().unwrap();
    }
    if let Some(minutes) = text.strip_suffix('m') {
        return minutes.parse::<u64>().unwrap() * 60_000;
    }
    text.strip_suffix('s').unwrap().parse::<u64>().unwrap() * 1_000
}

fn queue_settings(options: &BTreeMap<&str, &str>) -> QueueSettings {
    let mut settings = QueueSettings::default();
    for (option, value) in options {
        match *option {
            "strategy" => {
                settings.strategy = match *value {
                    "ringall" => Strategy::RingAll,
                    "rrmemory" => Strategy::RrMemory,
                    "linear" => Strategy::Linear,
                    "leastrecent" => Strategy::LeastRecent,
                    "fewestcalls" => Strategy::FewestCalls,
                    other => panic!("unknown strategy {other}"),
                }
            }
            "ring" => settings.ring_time_ms = duration(value),
            "timeout" => settings.timeout_ms = Some(duration(value)),
            "wrapup" => settings.wrap_up_ms = duration(value),
            "maxlen" => settings.maxlen = value.parse().unwrap(),
            "weight" => settings.weight = value.parse().unwrap(),
            "announce" => settings.announce.frequency_ms = duration(value),
            "connect" if *value == "dialplan" => settings.connect = Connect::Dialplan,
            "keys" => settings.exit_keys = value.chars().map(String::from).collect(),
            "leaveempty" if *value == "paused" => {
                settings.leave_when_empty = EmptyRule(vec![Empty::Paused]);
            }
            "joinempty" if *value == "paused" => {
                settings.join_empty = EmptyRule(vec![Empty::Paused]);
            }
            // `steps=0s:a1/120s:a1+a2`: from when on which agents.
            "steps" => {
                let step = |step: &str| {
                    let (after, agents) = step.split_once(':').unwrap();
                    let agents = agents.split('+').map(agent).collect();
                    Step {
                        after_ms: duration(after),
                        agents,
                        ..Step::default()
                    }
                };
                settings.steps = value.split('/').map(step).collect();
            }
            other => panic!("unknown option {other}={value}"),
        }
    }
    settings
}
