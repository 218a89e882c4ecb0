//! Clients of the admin endpoints: seeded writers and readers through random nodes.
//!
//! Each operation is written down when it is sent and when its answer came. One whose client lost
//! its node, or got no answer in time, stays unknown: it may have been done, or be done later.

use crate::host::Host;
use crate::options::Options;
use crate::people::waits;
use crate::watch::Watch;
use holdfast_acd::command::AdminOp;
use holdfast_acd::settings::AgentSettings;
use holdfast_acd::{AgentId, ChannelId, PbxId, Reject, RequestId};
use holdfast_drills::judge::Source;
use holdfast_drills::judge::history::{Answer, Channel, ClientSaw, Op, Seen};
use holdfast_node::Handle;
use holdfast_raft::ProposeError;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use std::time::Duration;

/// For one operation.
const DEADLINE: Duration = Duration::from_secs(4);
/// So long after the last question, and after the faults, nothing of what was asked is on its way.
pub const SETTLED_MS: u64 = 5_000;

pub struct Clients {
    rng: StdRng,
    options: Options,
    next: u64,
    op: u64,
}

impl Clients {
    pub fn new(options: &Options) -> Clients {
        Clients {
            rng: StdRng::seed_from_u64(options.seed ^ 0x00ad_3142),
            options: options.clone(),
            next: options.admin_ms,
            op: 0,
        }
    }

    /// A number for one more operation.
    pub fn next_op(&mut self) -> u64 {
        self.op += 1;
        self.op
    }

    /// Starts the operations that are due.
    pub fn step(&mut self, now: u64, hosts: &[Host], watch: &Watch) {
        while self.next <= now {
            self.next = now + waits(&mut self.rng, self.options.admin_ms);
            self.op += 1;
            let host = hosts.choose(&mut self.rng).expect("there is a host");
            let (number, home, _) = self
                .options
                .agents
                .choose(&mut self.rng)
                .expect("not empty");
            let agent = AgentId::new(number.as_str()).expect("a number is an agent's name");
            let home = PbxId::new(hosts[*home].name.as_str()).expect("a host's name is a name");
            // Logging out ends a pause: who is paused and read is not logged out by clients, so that
            // the judge's model of a pause is a register.
            let leaves = agent.as_str().ends_with(['0', '2', '4', '6', '8']);
            let dice = match self.rng.random_range(0..100u32) {
                0..45 if leaves => 80 + self.rng.random_range(0..15),
                80..92 if !leaves => 0,
                dice => dice,
            };
            // What the dialplan rings goes on ringing when the offer is withdrawn, and an answer then
            // is not known to the log: such runs have no client that withdraws.
            let dice = match self.options.by_dialplan {
                true => 45 + dice % 35,
                false => dice,
            };
            let request = RequestId(self.rng.random());
            let priority = self.rng.random_range(-2..4);
            let Some(handle) = host.handle().filter(|_| host.runs()) else {
                continue;
            };
            let client = Client {
                op: self.op,
                node: host.name.clone(),
                handle,
                source: watch.source(),
                request,
            };
            host.spawn(client.act(dice, agent, home, priority));
        }
    }
}

struct Client {
    op: u64,
    node: String,
    handle: Handle,
    source: Source,
    request: RequestId,
}

/// Writes down that the answer never came, unless it did.
struct Asked {
    op: u64,
    source: Source,
    answered: bool,
}

impl Asked {
    fn answered(mut self, saw: ClientSaw) {
        self.answered = true;
        self.source.saw(Seen::Client { op: self.op, saw });
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if !self.answered {
            let saw = ClientSaw::Unknown {
                why: "the client's node is gone".into(),
            };
            self.source.saw(Seen::Client { op: self.op, saw });
        }
    }
}

impl Client {
    async fn act(self, dice: u32, agent: AgentId, home: PbxId, priority: i32) {
        let name = agent.to_string();
        let reason = format!("reason {}", self.op);
        let key = format!("name of {name}");
        match dice {
            0..15 => {
                let op = Op::Pause {
                    agent: name,
                    queue: None,
                    reason: reason.clone(),
                };
                let queue = None;
                self.write(
                    op,
                    AdminOp::AgentPause {
                        agent,
                        queue,
                        reason,
                    },
                )
                .await;
            }
            15..35 => {
                let op = Op::Unpause {
                    agent: name,
                    queue: None,
                };
                self.write(op, AdminOp::AgentUnpause { agent, queue: None })
                    .await;
            }
            35..45 => {
                let op = Op::ReadPause {
                    agent: name,
                    queue: None,
                    stale: false,
                };
                let asked = self.invoke(op);
                let pause = move |handle: &Handle| {
                    handle.read(|state| {
                        let pause = state.agent(&agent)?.pause.clone()?;
                        Some(pause.reason)
                    })
                };
                self.read(asked, pause).await;
            }
            45..58 => {
                let value = format!("value {}", self.op);
                let op = Op::Write {
                    key,
                    value: value.clone(),
                };
                let settings = settings(&value, home);
                self.write(op, AdminOp::AgentPut { agent, settings }).await;
            }
            58..80 => {
                let asked = self.invoke(Op::Read { key, stale: false });
                let value = move |handle: &Handle| {
                    let name =
                        handle.read(|state| Some(state.agent(&agent)?.settings.name.clone()));
                    name.filter(|name| !name.is_empty())
                };
                self.read(asked, value).await;
            }
            80..84 => {
                let op = Op::Logout { agent: name };
                self.write(op, AdminOp::AgentLogout { agent }).await;
            }
            84..92 => {
                let op = Op::Login { agent: name };
                self.write(op, AdminOp::AgentLogin { agent }).await;
            }
            92..95 => {
                let op = Op::Ready { agent: name };
                self.write(op, AdminOp::AgentReady { agent }).await;
            }
            _ => self.with_a_call(dice, priority).await,
        }
    }

    /// Withdraws a call that waits, or gives it another priority.
    async fn with_a_call(self, dice: u32, priority: i32) {
        let found = self.handle.read(|state| {
            let call = state.calls().find(|call| call.in_line())?;
            Some((call.id, call.pbx.clone(), call.channel.clone()))
        });
        let Some((call, pbx, channel)) = found else {
            return;
        };
        let id = channel_of(&pbx, &channel);
        if dice < 98 {
            let op = Op::Priority { id, priority };
            self.write(op, AdminOp::CallPriority { call, priority })
                .await;
        } else {
            let info = "simulated".to_string();
            self.write(Op::Withdraw { id }, AdminOp::CallWithdraw { call, info })
                .await;
        }
    }

    fn invoke(&self, op: Op) -> Asked {
        let (client, node) = (format!("client-{}", self.op), self.node.clone());
        self.source.saw(Seen::Client {
            op: self.op,
            saw: ClientSaw::Invoke { client, node, op },
        });
        Asked {
            op: self.op,
            source: self.source.clone(),
            answered: false,
        }
    }

    async fn write(self, op: Op, write: AdminOp) {
        let asked = self.invoke(op);
        let answer = self
            .handle
            .admin(write, "client", Some(self.request), None, DEADLINE)
            .await;
        asked.answered(match answer {
            Ok(applied) => match applied.reply {
                Ok(_) => ClientSaw::Ok {
                    answer: Answer::Done,
                },
                Err(reject) => refused(&reject),
            },
            Err(error) => failed(&error),
        });
    }

    /// A read that is as new as everything acknowledged before it.
    async fn read(self, asked: Asked, read: impl FnOnce(&Handle) -> Option<String>) {
        let barrier = self.handle.raft().barrier(DEADLINE).await;
        asked.answered(match barrier {
            Ok(_) => ClientSaw::Ok {
                answer: Answer::Value(read(&self.handle)),
            },
            Err(error) => failed(&error),
        });
    }
}

/// What an agent's settings are but for the one value that clients write.
pub fn settings(name: &str, home: PbxId) -> AgentSettings {
    AgentSettings {
        name: name.into(),
        home: vec![home],
        ..AgentSettings::default()
    }
}

fn channel_of(pbx: &PbxId, channel: &ChannelId) -> Channel {
    Channel {
        pbx: pbx.to_string(),
        channel: channel.to_string(),
    }
}

fn refused(reject: &Reject) -> ClientSaw {
    ClientSaw::Fail {
        why: format!("{reject:?}"),
    }
}

fn failed(error: &ProposeError) -> ClientSaw {
    let why = error.to_string();
    match error {
        ProposeError::Unknown => ClientSaw::Unknown { why },
        _ => ClientSaw::Fail { why },
    }
}
