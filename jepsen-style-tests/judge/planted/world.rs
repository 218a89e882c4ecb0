//! A small system that works: lines, agents, a log and three Asterisks, told as a history.
//!
//! It shares nothing with the core but the events, and knows no Raft: the log is ideal, and stands
//! still while a leader is being replaced. Everything follows from the seed.

use crate::judge::history::{
    AsteriskSaw, BridgeSaw, CallerSaw, Channel, End, FaultSaw, History, InsideSaw, LegSaw, NodeSaw,
    Offer, Party, Record, Rules, Seen,
};
use holdfast_acd::call::Outcome;
use holdfast_acd::command::{EndedBy, FailCause};
use holdfast_acd::{AgentId, Attempt, CallId, ChannelId, Event, NodeName, PbxId, QueueName};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

pub const PBXES: [&str; 3] = ["a", "b", "c"];
pub const QUEUES: [&str; 2] = ["sales", "support"];
pub const RING_MS: u64 = 8_000;
pub const TIMEOUT_MS: u64 = 45_000;
pub const WRAP_UP_MS: u64 = 3_000;
pub const ANNOUNCE_MS: u64 = 10_000;
const FIRST_MS: u64 = 3_000;
pub(super) const ARRIVALS_UNTIL: u64 = 90_000;
const QUIET_AT: u64 = 80_000;
/// The cluster clock is ahead of the observer's by so much.
pub(super) const FOUNDED_MS: u64 = 5_000;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Act {
    Arrive,
    Join(usize),
    HangUp(usize),
    Left(usize, u8),
    Distribute,
    Answer {
        caller: usize,
        attempt: u32,
        agent: String,
    },
    Granted {
        caller: usize,
        attempt: u32,
        agent: String,
    },
    RingOver {
        caller: usize,
        attempt: u32,
    },
    TalkOver {
        caller: usize,
        agent_first: bool,
    },
    Ready(String),
    TimeOut(usize),
    Announce(usize),
    Die(usize),
    Lost(usize),
    Back(usize),
    Away(usize),
    Here(usize),
    LeaderDies(u64),
    Client(usize),
    Digests,
}

impl Act {
    /// Goes through the log, which may stand still.
    pub(super) fn is_logged(&self) -> bool {
        use Act::*;
        matches!(
            self,
            Join(_)
                | Left(..)
                | Distribute
                | Granted { .. }
                | RingOver { .. }
                | Ready(_)
                | TimeOut(_)
                | Announce(_)
                | Lost(_)
                | Back(_)
                | Away(_)
                | Here(_)
        )
    }
}

pub(super) struct Caller {
    pub(super) id: Channel,
    pub(super) number: String,
    pub(super) queue: usize,
    pub(super) priority: i32,
    pub(super) call: u64,
    pub(super) order: u64,
    pub(super) attempt: u32,
    /// Rung for him now.
    pub(super) offer: BTreeSet<String>,
    /// In the line: joined and not yet connected or left.
    pub(super) waits: bool,
    pub(super) agent: Option<String>,
    pub(super) ended: bool,
    pub(super) talks: bool,
    pub(super) announced: u32,
    pub(super) announce_at: u64,
}

#[derive(Default)]
pub(super) struct Agent {
    pub(super) hand: Option<usize>,
    pub(super) paused: bool,
    pub(super) wraps_up: bool,
}

pub struct World {
    pub(super) random: StdRng,
    pub(super) now: u64,
    pub(super) log_from: u64,
    pub(super) acts: BinaryHeap<Reverse<(u64, u64, Act)>>,
    pub(super) acted: u64,
    pub(super) records: Vec<Record>,
    pub(super) callers: Vec<Caller>,
    pub(super) agents: BTreeMap<String, Agent>,
    pub(super) lines: [Vec<usize>; 2],
    /// Not in sight of the log.
    pub(super) unseen: BTreeSet<usize>,
    pub(super) dead: BTreeSet<usize>,
    /// Under which each Asterisk is driven.
    pub(super) epochs: [u64; PBXES.len()],
    pub(super) kept: BTreeMap<(usize, String), u64>,
    pub(super) index: u64,
    pub(super) calls: u64,
    pub(super) channels: u64,
    pub(super) ops: u64,
    pub(super) values: BTreeMap<String, String>,
}

/// The history of one run.
pub fn history(seed: u64) -> History {
    let mut world = World {
        random: StdRng::seed_from_u64(seed),
        now: 0,
        log_from: 0,
        acts: BinaryHeap::new(),
        acted: 0,
        records: Vec::new(),
        callers: Vec::new(),
        agents: (1001..1006)
            .map(|n| (n.to_string(), Agent::default()))
            .collect(),
        lines: Default::default(),
        unseen: BTreeSet::new(),
        dead: BTreeSet::new(),
        epochs: [1; PBXES.len()],
        kept: BTreeMap::new(),
        index: 10,
        calls: 0,
        channels: 0,
        ops: 0,
        values: BTreeMap::new(),
    };
    world.run();
    History::new(world.records)
}

fn pbx(place: usize) -> PbxId {
    PbxId::new(PBXES[place]).unwrap()
}

fn node(place: usize) -> NodeName {
    NodeName::new(PBXES[place]).unwrap()
}

pub(super) fn agent_id(name: &str) -> AgentId {
    AgentId::new(name).unwrap()
}

impl World {
    pub(super) fn run(&mut self) {
        let rules = Rules {
            timeout_ms: Some(TIMEOUT_MS),
            wrap_up_ms: WRAP_UP_MS,
            announce_ms: ANNOUNCE_MS,
            announce_first_ms: FIRST_MS,
            announce_min_ms: ANNOUNCE_MS,
            announce_always: true,
            one_step: true,
            ..Rules::default()
        };
        for queue in QUEUES {
            let (queue, rules) = (queue.to_owned(), rules.clone());
            self.saw(Seen::Rules { queue, rules });
        }
        for (place, name) in PBXES.iter().enumerate() {
            let (name, drives) = ((*name).to_owned(), (*name).to_owned());
            let saw = NodeSaw::Started { drives };
            self.saw(Seen::Node { node: name, saw });
            self.log(Event::PbxUp {
                pbx: pbx(place),
                node: node(place),
                epoch: 1,
            });
        }
        self.act(100, Act::Arrive);
        for client in 0..4 {
            self.act(200 + client as u64, Act::Client(client));
        }
        self.act(5_000, Act::Digests);
        let place = self.random.random_range(0..3);
        match self.random.random_range(0..4) {
            0 => self.act(30_000, Act::LeaderDies(1_200)),
            1 => self.act(30_000, Act::Die(place)),
            2 => self.act(30_000, Act::Away(place)),
            _ => {}
        }
        let mut quiet = false;
        while let Some(Reverse((at, _, act))) = self.acts.pop() {
            if !quiet && at >= QUIET_AT {
                quiet = true;
                self.now = QUIET_AT;
                self.saw(Seen::Quiet);
            }
            if act.is_logged() && at < self.log_from {
                self.act(self.log_from, act);
                continue;
            }
            self.now = at;
            self.go(act);
        }
        self.now += 20_000;
        let standing = InsideSaw::Standing {
            index: self.index,
            waiting: Vec::new(),
            offered: Vec::new(),
            in_call: Vec::new(),
        };
        let node = "a".to_owned();
        self.saw(Seen::Inside {
            node,
            saw: standing,
        });
        self.saw(Seen::Closed);
    }

    pub(super) fn act(&mut self, at: u64, act: Act) {
        self.acted += 1;
        self.acts.push(Reverse((at, self.acted, act)));
    }

    pub(super) fn soon(&mut self, act: Act) {
        let at = self.now + self.random.random_range(1..20);
        self.act(at, act);
    }

    pub(super) fn saw(&mut self, seen: Seen) {
        self.saw_at(self.now, seen);
    }

    pub(super) fn saw_at(&mut self, at_ms: u64, seen: Seen) {
        self.records.push(Record {
            at_ms,
            within_ms: 2,
            seen,
        });
    }

    /// One entry with one event, told by two of the nodes.
    pub(super) fn log(&mut self, event: Event) {
        self.index += 1;
        let silent = self.random.random_range(0..3);
        for node in (0..3).filter(|node| *node != silent) {
            let saw = InsideSaw::Event {
                index: self.index,
                seq: 0,
                cluster_ms: self.now + FOUNDED_MS,
                event: event.clone(),
            };
            let node = PBXES[node].to_owned();
            self.saw(Seen::Inside { node, saw });
        }
    }

    pub(super) fn caller_saw(&mut self, caller: usize, saw: CallerSaw) {
        let id = self.callers[caller].id.clone();
        self.saw(Seen::Caller { id, saw });
    }

    pub(super) fn leg_saw(
        &mut self,
        caller: usize,
        attempt: u32,
        agent: &str,
        saw: LegSaw,
        at: u64,
    ) {
        let it = &self.callers[caller];
        let (id, mut offer) = leg(&it.id.pbx, it.call, attempt, agent);
        offer.epoch = self.epochs[self.place(caller)];
        let agent = agent.to_owned();
        self.saw_at(
            at,
            Seen::Leg {
                id,
                agent,
                offer: Some(offer),
                at_phone: true,
                saw,
            },
        );
    }

    pub(super) fn bridge_saw(&mut self, caller: usize, party: Party, saw: BridgeSaw) {
        let it = &self.callers[caller];
        let pbx = it.id.pbx.clone();
        let bridge = format!("hfb-{pbx}-{}-{}", it.call, it.attempt);
        self.saw(Seen::Bridge {
            pbx,
            bridge,
            party,
            saw,
        });
    }

    pub(super) fn place(&self, caller: usize) -> usize {
        let pbx = &self.callers[caller].id.pbx;
        PBXES.iter().position(|name| name == pbx).unwrap()
    }

    pub(super) fn go(&mut self, act: Act) {
        match act {
            Act::Arrive => self.arrive(),
            Act::Join(caller) => self.join(caller),
            Act::HangUp(caller) => self.hang_up(caller),
            Act::Left(caller, how) => {
                let outcome = [Outcome::Abandoned, Outcome::Lost][how as usize].clone();
                self.leave(caller, outcome);
            }
            Act::Distribute => self.distribute(),
            Act::Answer {
                caller,
                attempt,
                agent,
            } => {
                let it = &self.callers[caller];
                if !it.ended && it.attempt == attempt && it.offer.contains(&agent) {
                    self.leg_saw(caller, attempt, &agent, LegSaw::Answered, self.now);
                    self.soon(Act::Granted {
                        caller,
                        attempt,
                        agent,
                    });
                }
            }
            Act::Granted {
                caller,
                attempt,
                agent,
            } => self.granted(caller, attempt, &agent),
            Act::RingOver { caller, attempt } => {
                if self.callers[caller].attempt == attempt {
                    self.withdraw(caller, FailCause::NoAnswer);
                    self.act(self.now + 2_000, Act::Distribute);
                }
            }
            Act::TalkOver {
                caller,
                agent_first,
            } => self.talk_over(caller, agent_first),
            Act::Ready(name) => {
                if std::mem::take(&mut self.agents.get_mut(&name).unwrap().wraps_up) {
                    self.log(Event::AgentReady {
                        agent: agent_id(&name),
                    });
                    self.soon(Act::Distribute);
                }
            }
            Act::TimeOut(caller) => {
                let waits = self.callers[caller].waits;
                if waits && self.unseen.contains(&self.place(caller)) {
                    self.act(self.now + 500, Act::TimeOut(caller));
                } else if waits && !self.callers[caller].ended {
                    self.leave(caller, Outcome::Timeout);
                    let status = "TIMEOUT".to_owned();
                    self.end(caller, End::Dialplan { status });
                }
            }
            Act::Announce(caller) => self.announce(caller),
            Act::Die(place) => self.die(place),
            Act::Lost(place) => {
                self.unseen.insert(place);
                self.log(Event::PbxDown {
                    pbx: pbx(place),
                    lost: true,
                });
                for caller in 0..self.callers.len() {
                    if self.place(caller) == place && self.callers[caller].call > 0 {
                        self.leave(caller, Outcome::Lost);
                    }
                }
                self.soon(Act::Distribute);
            }
            Act::Back(place) => {
                self.unseen.remove(&place);
                self.dead.remove(&place);
                self.fault(1, None);
                let saw = AsteriskSaw::Started;
                self.saw(Seen::Asterisk {
                    pbx: PBXES[place].to_owned(),
                    saw,
                });
                self.epochs[place] += 1;
                self.log(Event::PbxUp {
                    pbx: pbx(place),
                    node: node(place),
                    epoch: self.epochs[place],
                });
            }
            Act::Away(place) => {
                self.fault(1, Some(("node away", place)));
                self.unseen.insert(place);
                self.log(Event::NodeAway { node: node(place) });
                self.act(self.now + 6_000, Act::Here(place));
            }
            Act::Here(place) => {
                self.unseen.remove(&place);
                self.fault(1, None);
                self.log(Event::NodeBack { node: node(place) });
                self.soon(Act::Distribute);
            }
            Act::LeaderDies(ms) => {
                self.log_from = self.now + ms;
                self.fault(1, Some(("leader dies", 0)));
                let ended = Seen::Fault {
                    id: 1,
                    saw: FaultSaw::Ended,
                };
                self.saw_at(self.now + ms, ended);
            }
            Act::Client(client) => self.client(client),
            Act::Digests => {
                let digest = self.index.wrapping_mul(0x9e37_79b9_7f4a_7c15);
                for name in PBXES {
                    let saw = InsideSaw::Digest {
                        index: self.index,
                        digest,
                    };
                    self.saw(Seen::Inside {
                        node: name.to_owned(),
                        saw,
                    });
                }
                if self.now < ARRIVALS_UNTIL {
                    self.act(self.now + 5_000, Act::Digests);
                }
            }
        }
    }

    pub(super) fn fault(&mut self, id: u64, begun: Option<(&str, usize)>) {
        let saw = match begun {
            Some((name, place)) => FaultSaw::Begun {
                name: name.to_owned(),
                targets: vec![PBXES[place].to_owned()],
                no_quorum: false,
                cut: Vec::new(),
            },
            None => FaultSaw::Ended,
        };
        self.saw(Seen::Fault { id, saw });
    }

    pub(super) fn join(&mut self, caller: usize) {
        if self.callers[caller].ended {
            return;
        }
        self.calls += 1;
        let (queue, number) = (
            self.callers[caller].queue,
            self.callers[caller].number.clone(),
        );
        let kept = self.kept.remove(&(queue, number.clone()));
        let it = &mut self.callers[caller];
        (it.call, it.order, it.waits) = (self.calls, kept.unwrap_or(self.calls), true);
        it.announce_at = self.now + FIRST_MS;
        let (id, call) = (it.id.clone(), it.call);
        self.line_up(caller);
        let position = 1 + self.lines[queue]
            .iter()
            .position(|it| *it == caller)
            .unwrap();
        self.log(Event::CallJoined {
            call: CallId(call),
            queue: QueueName::new(QUEUES[queue]).unwrap(),
            pbx: PbxId::new(id.pbx).unwrap(),
            channel: ChannelId::new(id.channel).unwrap(),
            number,
            position: position as u32,
            resumed: kept.is_some(),
        });
        self.act(self.now + TIMEOUT_MS, Act::TimeOut(caller));
        self.act(self.now + FIRST_MS, Act::Announce(caller));
        self.soon(Act::Distribute);
    }

    pub(super) fn line_up(&mut self, caller: usize) {
        let key = |it: &Caller| (Reverse(it.priority), it.order, it.call);
        let line = &mut self.lines[self.callers[caller].queue];
        let own = key(&self.callers[caller]);
        let place = line.partition_point(|other| key(&self.callers[*other]) < own);
        line.insert(place, caller);
    }

    /// Ends the offer in flight; the caller stands in the line as before.
    pub(super) fn withdraw(&mut self, caller: usize, cause: FailCause) {
        let it = &mut self.callers[caller];
        let (call, attempt) = (it.call, it.attempt);
        for agent in std::mem::take(&mut it.offer) {
            self.agents.get_mut(&agent).unwrap().hand = None;
            self.log(Event::OfferFailed {
                call: CallId(call),
                attempt: Attempt(attempt),
                agent: agent_id(&agent),
                cause,
                rang_ms: 0,
            });
            if !self.dead.contains(&self.place(caller)) {
                let at = self.now + self.random.random_range(2..30);
                self.leg_saw(caller, attempt, &agent, LegSaw::Ended { cause: 16 }, at);
            }
        }
        if self.callers[caller].waits {
            self.act(self.now, Act::Announce(caller));
        }
    }

    pub(super) fn leave(&mut self, caller: usize, outcome: Outcome) {
        self.withdraw(caller, FailCause::Cancelled);
        let it = &mut self.callers[caller];
        let (call, queue, order) = (it.call, it.queue, it.order);
        let outcome = match it.agent.take() {
            Some(name) => {
                let (agent, by) = (agent_id(&name), EndedBy::Failure);
                self.agents.get_mut(&name).unwrap().hand = None;
                Outcome::Answered {
                    agent,
                    by,
                    talked_ms: 0,
                }
            }
            None if it.waits => outcome,
            None => return,
        };
        it.waits = false;
        let number = it.number.clone();
        self.lines[queue].retain(|other| *other != caller);
        if outcome == Outcome::Lost {
            self.kept.entry((queue, number)).or_insert(order);
        }
        self.log(Event::CallLeft {
            call: CallId(call),
            queue: QueueName::new(QUEUES[queue]).unwrap(),
            outcome,
            position: 0,
            waited_ms: 0,
        });
        self.log(Event::CallReleased { call: CallId(call) });
        self.soon(Act::Distribute);
    }
}

/// The channel of a leg, and what its id says.
pub fn leg(pbx: &str, call: u64, attempt: u32, agent: &str) -> (Channel, Offer) {
    let channel = format!("hf-{pbx}-1-{call}-{attempt}-{agent}");
    let pbx = pbx.to_owned();
    let offer = Offer {
        epoch: 1,
        call,
        attempt,
    };
    (Channel { pbx, channel }, offer)
}
