//! The people of the small system: callers who come, hang up, are offered and answered; agents;
//! clients; and the death of an Asterisk.

use super::world::{
    ANNOUNCE_MS, ARRIVALS_UNTIL, Act, Agent, Caller, FOUNDED_MS, PBXES, QUEUES, RING_MS,
    WRAP_UP_MS, World, agent_id, leg,
};
use crate::judge::history::{
    Answer, AsteriskSaw, BridgeSaw, CallerSaw, Channel, ClientSaw, End, LegSaw, Op, Party, Seen,
};
use holdfast_acd::call::Outcome;
use holdfast_acd::command::{EndedBy, FailCause};
use holdfast_acd::{Attempt, CallId, Event, QueueName};
use rand::Rng;
use std::collections::BTreeSet;

impl World {
    pub(super) fn arrive(&mut self) {
        let place = self.random.random_range(0..3);
        if !self.dead.contains(&place) {
            let number = format!("0151{:05}", self.random.random_range(0..90_000));
            let priority = if self.random.random_bool(0.1) { 5 } else { 0 };
            let queue = self.random.random_range(0..2);
            self.enter(place, number, queue, priority);
        }
        let gap = self.random.random_range(300..2_500);
        if self.now + gap < ARRIVALS_UNTIL {
            self.act(self.now + gap, Act::Arrive);
        }
    }

    pub(super) fn enter(&mut self, place: usize, number: String, queue: usize, priority: i32) {
        self.channels += 1;
        let id = Channel {
            pbx: PBXES[place].to_owned(),
            channel: format!("{}.{}", 1_700_000_000 + self.channels, self.channels),
        };
        let caller = self.callers.len();
        self.callers.push(Caller {
            id,
            number: number.clone(),
            queue,
            priority,
            call: 0,
            order: 0,
            attempt: 0,
            offer: BTreeSet::new(),
            waits: false,
            agent: None,
            ended: false,
            talks: false,
            announced: 0,
            announce_at: 0,
        });
        let queue = QUEUES[queue].to_owned();
        let timeout_ms = None;
        self.caller_saw(
            caller,
            CallerSaw::Entered {
                number,
                queue,
                priority,
                timeout_ms,
            },
        );
        self.soon(Act::Join(caller));
        let patience = self.random.random_range(5_000..80_000);
        self.act(self.now + patience, Act::HangUp(caller));
    }

    pub(super) fn end(&mut self, caller: usize, end: End) {
        if !std::mem::replace(&mut self.callers[caller].ended, true) {
            self.caller_saw(caller, CallerSaw::Ended { end });
        }
    }

    pub(super) fn hang_up(&mut self, caller: usize) {
        let it = &self.callers[caller];
        if it.ended || it.talks || it.agent.is_some() {
            return;
        }
        self.end(caller, End::HungUp);
        self.soon(Act::Left(caller, 0));
    }

    pub(super) fn granted(&mut self, caller: usize, attempt: u32, agent: &str) {
        let it = &mut self.callers[caller];
        if it.attempt != attempt || !it.offer.contains(agent) || it.ended {
            return;
        }
        it.offer.clear();
        it.waits = false;
        it.agent = Some(agent.to_owned());
        it.talks = true;
        let (call, queue) = (it.call, it.queue);
        self.lines[queue].retain(|other| *other != caller);
        self.log(Event::CallConnected {
            call: CallId(call),
            queue: QueueName::new(QUEUES[queue]).unwrap(),
            attempt: Attempt(attempt),
            agent: agent_id(agent),
            waited_ms: 0,
            rang_ms: 0,
        });
        for party in self.parties(caller, agent) {
            self.bridge_saw(caller, party, BridgeSaw::Joined);
        }
        let talk = self.random.random_range(1_000..9_000);
        let agent_first = self.random.random_bool(0.5);
        self.act(
            self.now + talk,
            Act::TalkOver {
                caller,
                agent_first,
            },
        );
    }

    pub(super) fn parties(&self, caller: usize, agent: &str) -> [Party; 2] {
        let it = &self.callers[caller];
        let (leg, _) = leg(&it.id.pbx, it.call, it.attempt, agent);
        let channel = it.id.channel.clone();
        let agent = agent.to_owned();
        [
            Party::Caller { channel },
            Party::Agent {
                agent,
                channel: leg.channel,
            },
        ]
    }

    pub(super) fn talk_over(&mut self, caller: usize, agent_first: bool) {
        let it = &self.callers[caller];
        let Some(name) = it.agent.clone().filter(|_| !it.ended) else {
            return;
        };
        let attempt = it.attempt;
        for party in self.parties(caller, &name) {
            self.bridge_saw(caller, party, BridgeSaw::Left);
        }
        self.leg_saw(
            caller,
            attempt,
            &name,
            LegSaw::Ended { cause: 16 },
            self.now,
        );
        let end = if agent_first {
            End::Dropped
        } else {
            End::HungUp
        };
        self.end(caller, end);
        self.callers[caller].agent = None;
        let (call, queue) = (self.callers[caller].call, self.callers[caller].queue);
        // A log that stands still learns of it when it goes on; nothing else hangs on it here.
        let then = self.now.max(self.log_from);
        let now = std::mem::replace(&mut self.now, then);
        let by = if agent_first {
            EndedBy::Agent
        } else {
            EndedBy::Caller
        };
        let agent = agent_id(&name);
        self.log(Event::CallLeft {
            call: CallId(call),
            queue: QueueName::new(QUEUES[queue]).unwrap(),
            outcome: Outcome::Answered {
                agent: agent.clone(),
                by,
                talked_ms: 0,
            },
            position: 0,
            waited_ms: 0,
        });
        let until = self.now + WRAP_UP_MS;
        self.log(Event::AgentWrapUp {
            agent,
            until: until + FOUNDED_MS,
        });
        let it = self.agents.get_mut(&name).unwrap();
        (it.hand, it.wraps_up) = (None, true);
        self.act(until, Act::Ready(name));
        self.now = now;
    }

    pub(super) fn announce(&mut self, caller: usize) {
        let it = &self.callers[caller];
        let seen = !self.unseen.contains(&self.place(caller));
        if !it.waits || !it.offer.is_empty() || it.ended || !seen {
            if it.waits && !seen {
                self.act(self.now + 500, Act::Announce(caller));
            }
            return;
        }
        if self.now < it.announce_at {
            return;
        }
        let queue = self.callers[caller].queue;
        let line = &self.lines[queue];
        let position = 1 + line.iter().position(|it| *it == caller).unwrap() as u32;
        let it = &mut self.callers[caller];
        it.announced += 1;
        let (call, number) = (it.call, it.announced);
        self.log(Event::AnnounceDue {
            call: CallId(call),
            number,
            position,
        });
        self.caller_saw(caller, CallerSaw::Heard { position });
        self.callers[caller].announce_at = self.now + ANNOUNCE_MS;
        self.act(self.now + ANNOUNCE_MS, Act::Announce(caller));
    }

    pub(super) fn die(&mut self, place: usize) {
        self.fault(1, Some(("asterisk dies", place)));
        self.dead.insert(place);
        let pbx = PBXES[place].to_owned();
        let saw = AsteriskSaw::Died;
        self.saw(Seen::Asterisk { pbx, saw });
        for caller in 0..self.callers.len() {
            if self.place(caller) == place && !self.callers[caller].ended {
                self.end(caller, End::Gone);
                let (queue, number) = (
                    self.callers[caller].queue,
                    self.callers[caller].number.clone(),
                );
                if self.random.random_bool(0.5) {
                    let at = (place + 1) % 3;
                    self.now += 3_000;
                    self.enter(at, number, queue, 0);
                    self.now -= 3_000;
                }
            }
        }
        self.soon(Act::Lost(place));
        self.act(self.now + 10_000, Act::Back(place));
    }

    /// Three clients with one operation at a time: two at configuration keys, one at pauses.
    pub(super) fn client(&mut self, client: usize) {
        if self.now > ARRIVALS_UNTIL {
            return;
        }
        self.ops += 1;
        let op = self.ops;
        let key = format!("key{}", self.random.random_range(0..2));
        let name = format!("client{client}");
        let asked = match (client, self.random.random_range(0..2)) {
            (3, _) => self.pause_op(),
            (2, 0) => Op::ReadHand {
                agent: (1001 + self.random.random_range(0..5)).to_string(),
                stale: false,
            },
            (_, 0) => Op::Write {
                key: key.clone(),
                value: format!("value{op}"),
            },
            _ => Op::Read {
                key: key.clone(),
                stale: self.random.random_bool(0.2),
            },
        };
        let node = PBXES[self.random.random_range(0..3)].to_owned();
        let invoke = ClientSaw::Invoke {
            client: name,
            node,
            op: asked.clone(),
        };
        self.saw(Seen::Client { op, saw: invoke });
        let from = self.now.max(self.log_from);
        let done = from + self.random.random_range(2..40);
        let lost = self.random.random_bool(0.05);
        let answer = match &asked {
            Op::Write { key, value } => {
                // Of an answer that is lost nobody knows whether it was done.
                if !lost || self.random.random_bool(0.5) {
                    self.values.insert(key.clone(), value.clone());
                }
                Answer::Done
            }
            Op::Read { key, .. } => Answer::Value(self.values.get(key).cloned()),
            Op::ReadHand { agent, .. } => {
                let hand = self.agents[agent].hand.map(|caller| &self.callers[caller]);
                Answer::Value(hand.map(|it| format!("{}-{}", it.call, it.attempt)))
            }
            _ => Answer::Done,
        };
        let saw = if lost {
            ClientSaw::Unknown {
                why: "timeout".to_owned(),
            }
        } else {
            ClientSaw::Ok { answer }
        };
        self.saw_at(done, Seen::Client { op, saw });
        let gap = self.random.random_range(50..900);
        self.act(done + gap, Act::Client(client));
    }

    pub(super) fn pause_op(&mut self) -> Op {
        let agent = (1001 + self.random.random_range(0..2)).to_string();
        let paused = self.agents[&agent].paused;
        let then = self.now.max(self.log_from);
        let now = std::mem::replace(&mut self.now, then);
        let op = if paused {
            self.log(Event::AgentUnpaused {
                agent: agent_id(&agent),
                queue: None,
            });
            Op::Unpause {
                agent: agent.clone(),
                queue: None,
            }
        } else {
            if let Some(caller) = self.agents[&agent].hand {
                self.withdraw(caller, FailCause::Cancelled);
            }
            let reason = format!("pause{}", self.ops);
            self.log(Event::AgentPaused {
                agent: agent_id(&agent),
                queue: None,
                reason: reason.clone(),
            });
            Op::Pause {
                agent: agent.clone(),
                queue: None,
                reason,
            }
        };
        self.agents.get_mut(&agent).unwrap().paused = !paused;
        self.soon(Act::Distribute);
        self.now = now;
        op
    }

    pub(super) fn distribute(&mut self) {
        for queue in 0..2 {
            while let Some(caller) = self.lines[queue].iter().copied().find(|caller| {
                let seen = !self.unseen.contains(&self.place(*caller));
                seen && self.callers[*caller].offer.is_empty()
            }) {
                let free = |agent: &Agent| agent.hand.is_none() && !agent.paused && !agent.wraps_up;
                let free = self.agents.iter().filter(|(_, agent)| free(agent));
                let free: Vec<String> = free.map(|(name, _)| name.clone()).collect();
                if free.is_empty() {
                    return;
                }
                let chosen = free[self.random.random_range(0..free.len())].clone();
                self.offer(caller, chosen);
            }
        }
    }

    pub(super) fn offer(&mut self, caller: usize, agent: String) {
        self.agents.get_mut(&agent).unwrap().hand = Some(caller);
        let it = &mut self.callers[caller];
        it.attempt += 1;
        it.offer.insert(agent.clone());
        let (call, attempt, queue) = (it.call, it.attempt, it.queue);
        self.log(Event::OfferMade {
            call: CallId(call),
            queue: QueueName::new(QUEUES[queue]).unwrap(),
            attempt: Attempt(attempt),
            agents: vec![agent_id(&agent)],
            ring_until: self.now + FOUNDED_MS + RING_MS,
        });
        let at = self.now + 2;
        self.leg_saw(caller, attempt, &agent, LegSaw::Called, at);
        self.leg_saw(caller, attempt, &agent, LegSaw::Ringing, at);
        self.act(self.now + RING_MS, Act::RingOver { caller, attempt });
        if self.random.random_bool(0.8) {
            let after = self.random.random_range(300..4_000);
            self.act(
                self.now + after,
                Act::Answer {
                    caller,
                    attempt,
                    agent,
                },
            );
        }
    }
}
