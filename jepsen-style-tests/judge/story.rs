//! A history put together: each caller, leg, talk, operation and fault as one thing.
//!
//! Observations are only sorted into their places here. What contradicts itself already as a record
//! (an end without an entry, an answer without a question) is a defect of the source, and is kept in
//! `defects`, so that no property has to think of it.

use super::history::{
    Answer, AsteriskSaw, BridgeSaw, CallerSaw, Channel, ClientSaw, End, FaultSaw, History,
    InsideSaw, LegSaw, NodeSaw, Offer, Op, Party, Record, Rules, Seen,
};
use super::log::{Log, LogEvent};
use holdfast_acd::Event;
use std::collections::{BTreeMap, BTreeSet};

/// An Asterisk that stood still has done what lay in its sockets so long after it goes on.
const LATE_MS: u64 = 1_000;

/// A moment, as exactly as its source knew it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct When {
    pub at_ms: u64,
    pub within_ms: u64,
}

impl When {
    pub fn early(self) -> u64 {
        self.at_ms.saturating_sub(self.within_ms)
    }

    pub fn late(self) -> u64 {
        self.at_ms.saturating_add(self.within_ms)
    }

    pub fn surely_before(self, other: When) -> bool {
        self.late() < other.early()
    }
}

#[derive(Clone, Debug, Default)]
pub struct Story {
    pub callers: BTreeMap<Channel, Caller>,
    pub legs: BTreeMap<Channel, Leg>,
    pub ops: BTreeMap<u64, Operation>,
    pub faults: Vec<Fault>,
    /// The node that is there for each Asterisk.
    pub drivers: BTreeMap<String, String>,
    /// Deaths of each Asterisk.
    pub died: BTreeMap<String, Vec<When>>,
    /// From when to when each Asterisk stood still.
    pub stood: BTreeMap<String, Vec<(When, Option<When>)>>,
    pub rules: BTreeMap<String, Vec<(When, Rules)>>,
    pub log: Log,
    pub digests: BTreeMap<u64, BTreeMap<String, (When, u64)>>,
    pub deadlines: Vec<(When, Fired)>,
    /// The last look at who is where.
    pub standing: Option<(When, Standing)>,
    pub quiet: Option<When>,
    pub closed: Option<When>,
    pub defects: Vec<String>,
}

#[derive(Clone, Debug, Default)]
pub struct Caller {
    pub entered: Option<Entered>,
    pub heard: Vec<(When, u32)>,
    pub ends: Vec<(When, End)>,
    /// Since when he was in the dialplan with an agent to dial, the last time.
    pub dialled: Option<When>,
    /// With an agent, in the order in which they began; one per leg.
    pub talks: Vec<Talk>,
}

#[derive(Clone, Debug)]
pub struct Entered {
    pub when: When,
    pub number: String,
    pub queue: String,
    pub priority: i32,
    pub timeout_ms: Option<u64>,
}

/// Caller and agent in one bridge.
#[derive(Clone, Debug)]
pub struct Talk {
    pub agent: String,
    pub leg: Channel,
    pub offer: Option<Offer>,
    pub from: When,
    pub to: Option<When>,
}

#[derive(Clone, Debug)]
pub struct Leg {
    pub agent: String,
    pub offer: Option<Offer>,
    pub at_phone: bool,
    pub called: When,
    /// Rang, or was answered at once.
    pub rang: bool,
    pub answered: Option<When>,
    pub ended: Option<When>,
}

#[derive(Clone, Debug)]
pub struct Operation {
    pub client: String,
    pub node: String,
    pub op: Op,
    pub invoked: When,
    pub done: Option<(When, Done)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    Ok(Answer),
    Fail,
    Unknown,
}

#[derive(Clone, Debug)]
pub struct Fault {
    pub name: String,
    pub targets: Vec<String>,
    pub no_quorum: bool,
    pub cut: Vec<String>,
    pub from: When,
    pub to: Option<When>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fired {
    pub index: u64,
    pub kind: String,
    pub subject: String,
    pub due_ms: u64,
    pub fired_ms: u64,
}

#[derive(Clone, Debug, Default)]
pub struct Standing {
    pub waiting: BTreeSet<Channel>,
    pub offered: BTreeSet<String>,
    pub in_call: BTreeSet<String>,
}

type Members = BTreeMap<(String, String), BTreeMap<Party, When>>;

impl Story {
    pub fn of(history: &History) -> Story {
        let mut story = Story::default();
        let mut members = Members::new();
        let mut open: BTreeMap<u64, usize> = BTreeMap::new();
        for record in history.records() {
            story.take(record, &mut members, &mut open);
        }
        story.log.close();
        story
    }

    fn take(&mut self, record: &Record, members: &mut Members, open: &mut BTreeMap<u64, usize>) {
        let when = When {
            at_ms: record.at_ms,
            within_ms: record.within_ms,
        };
        match &record.seen {
            Seen::Caller { id, saw } => self.caller(when, id, saw),
            Seen::Leg {
                id,
                agent,
                offer,
                at_phone,
                saw,
            } => {
                let leg = self.legs.entry(id.clone()).or_insert(Leg {
                    agent: agent.clone(),
                    offer: *offer,
                    at_phone: *at_phone,
                    called: when,
                    rang: false,
                    answered: None,
                    ended: None,
                });
                leg.rang |= matches!(saw, LegSaw::Ringing | LegSaw::Answered);
                match saw {
                    LegSaw::Called | LegSaw::Ringing => {}
                    LegSaw::Answered => leg.answered = leg.answered.or(Some(when)),
                    LegSaw::Ended { .. } => leg.ended = leg.ended.or(Some(when)),
                }
            }
            Seen::Bridge {
                pbx,
                bridge,
                party,
                saw,
            } => self.bridge(when, pbx, bridge, party, *saw, members),
            Seen::Asterisk { pbx, saw } => match saw {
                AsteriskSaw::Died => {
                    self.died.entry(pbx.clone()).or_default().push(when);
                    self.died_with(pbx, when);
                    members.retain(|(at, _), _| at != pbx);
                }
                AsteriskSaw::StandsStill => {
                    self.stood
                        .entry(pbx.clone())
                        .or_default()
                        .push((when, None));
                }
                AsteriskSaw::GoesOn => {
                    let last = self.stood.get_mut(pbx).and_then(|all| all.last_mut());
                    if let Some((_, until)) = last {
                        until.get_or_insert(when);
                    }
                }
                AsteriskSaw::Started | AsteriskSaw::AppReplaced | AsteriskSaw::SocketLost => {}
            },
            Seen::Node { node, saw } => {
                if let NodeSaw::Started { drives } = saw {
                    self.drivers.insert(drives.clone(), node.clone());
                }
            }
            Seen::Client { op, saw } => self.client(when, *op, saw),
            Seen::Inside { node, saw } => self.inside(when, node, saw),
            Seen::Fault { id, saw } => self.fault(when, *id, saw, open),
            Seen::Rules { queue, rules } => {
                let known = self.rules.entry(queue.clone()).or_default();
                known.push((when, rules.clone()));
            }
            Seen::Quiet => self.quiet = Some(when),
            Seen::Closed => self.closed = Some(when),
        }
    }

    fn caller(&mut self, when: When, id: &Channel, saw: &CallerSaw) {
        let caller = self.callers.entry(id.clone()).or_default();
        if caller.entered.is_none() && !matches!(saw, CallerSaw::Entered { .. }) {
            self.defects
                .push(format!("caller {id} has {saw:?} before he entered"));
            return;
        }
        match saw {
            CallerSaw::Entered {
                number,
                queue,
                priority,
                timeout_ms,
            } => {
                if caller.entered.is_some() {
                    self.defects.push(format!("caller {id} entered twice"));
                    return;
                }
                caller.entered = Some(Entered {
                    when,
                    number: number.clone(),
                    queue: queue.clone(),
                    priority: *priority,
                    timeout_ms: *timeout_ms,
                });
            }
            CallerSaw::Heard { position } => caller.heard.push((when, *position)),
            CallerSaw::Ended { end } => caller.ends.push((when, end.clone())),
            CallerSaw::Dialled => caller.dialled = Some(when),
            CallerSaw::Returned => caller.dialled = None,
            CallerSaw::Key { .. } => {}
        }
    }

    /// A talk lasts while a caller and an agent are both in one bridge.
    fn bridge(
        &mut self,
        when: When,
        pbx: &str,
        bridge: &str,
        party: &Party,
        saw: BridgeSaw,
        members: &mut Members,
    ) {
        let inside = members
            .entry((pbx.to_owned(), bridge.to_owned()))
            .or_default();
        let pairs = |others: &BTreeMap<Party, When>| -> Vec<(String, String, String)> {
            let pair = |other: &Party| match (party, other) {
                (
                    Party::Caller { channel },
                    Party::Agent {
                        agent,
                        channel: leg,
                    },
                )
                | (
                    Party::Agent {
                        agent,
                        channel: leg,
                    },
                    Party::Caller { channel },
                ) => Some((channel.clone(), agent.clone(), leg.clone())),
                _ => None,
            };
            others.keys().filter_map(pair).collect()
        };
        let id = |channel: String| Channel {
            pbx: pbx.to_owned(),
            channel,
        };
        match saw {
            BridgeSaw::Joined => {
                for (caller, agent, leg) in pairs(inside) {
                    let (caller, leg) = (id(caller), id(leg));
                    let talks = &mut self.callers.entry(caller).or_default().talks;
                    if let Some(same) = talks.iter_mut().find(|talk| talk.leg == leg) {
                        same.to = None;
                        continue;
                    }
                    talks.push(Talk {
                        agent,
                        offer: Offer::of_leg(pbx, &leg.channel).map(|(offer, _)| offer),
                        leg,
                        from: when,
                        to: None,
                    });
                }
                inside.insert(party.clone(), when);
            }
            BridgeSaw::Left => {
                inside.remove(party);
                for (caller, _, leg) in pairs(inside) {
                    let leg = id(leg);
                    if let Some(caller) = self.callers.get_mut(&id(caller)) {
                        let mut talks = caller.talks.iter_mut();
                        if let Some(talk) = talks.find(|talk| talk.leg == leg) {
                            talk.to = talk.to.or(Some(when));
                        }
                    }
                }
            }
        }
    }

    /// Legs and talks of an Asterisk are over with it.
    fn died_with(&mut self, pbx: &str, when: When) {
        let legs = self.legs.iter_mut().filter(|(id, _)| id.pbx == pbx);
        legs.for_each(|(_, leg)| leg.ended = leg.ended.or(Some(when)));
        let callers = self.callers.iter_mut().filter(|(id, _)| id.pbx == pbx);
        for talk in callers.flat_map(|(_, caller)| &mut caller.talks) {
            talk.to = talk.to.or(Some(when));
        }
    }

    fn client(&mut self, when: When, id: u64, saw: &ClientSaw) {
        if let ClientSaw::Invoke { client, node, op } = saw {
            let operation = Operation {
                client: client.clone(),
                node: node.clone(),
                op: op.clone(),
                invoked: when,
                done: None,
            };
            if self.ops.insert(id, operation).is_some() {
                self.defects
                    .push(format!("operation {id} was invoked twice"));
            }
            return;
        }
        let Some(operation) = self.ops.get_mut(&id).filter(|op| op.done.is_none()) else {
            self.defects.push(format!(
                "operation {id} was answered without a question: {saw:?}"
            ));
            return;
        };
        let done = match saw {
            ClientSaw::Ok { answer } => Done::Ok(answer.clone()),
            ClientSaw::Fail { .. } => Done::Fail,
            _ => Done::Unknown,
        };
        operation.done = Some((when, done));
    }

    fn inside(&mut self, when: When, node: &str, saw: &InsideSaw) {
        match saw {
            InsideSaw::Event {
                index,
                seq,
                cluster_ms,
                event,
            } => self
                .log
                .hear(when, node, (*index, *seq), *cluster_ms, event),
            InsideSaw::Deadline {
                index,
                kind,
                subject,
                due_ms,
                fired_ms,
            } => {
                let fired = Fired {
                    index: *index,
                    kind: kind.clone(),
                    subject: subject.clone(),
                    due_ms: *due_ms,
                    fired_ms: *fired_ms,
                };
                // Every node fires it at the same entry; a second one is of another entry.
                if !self
                    .deadlines
                    .iter()
                    .rev()
                    .any(|(_, known)| *known == fired)
                {
                    self.deadlines.push((when, fired));
                }
            }
            InsideSaw::Digest { index, digest } => {
                let at = self.digests.entry(*index).or_default();
                at.insert(node.to_owned(), (when, *digest));
            }
            InsideSaw::Standing {
                waiting,
                offered,
                in_call,
                ..
            } => {
                let standing = Standing {
                    waiting: waiting.iter().cloned().collect(),
                    offered: offered.iter().cloned().collect(),
                    in_call: in_call.iter().cloned().collect(),
                };
                self.standing = Some((when, standing));
            }
        }
    }

    fn fault(&mut self, when: When, id: u64, saw: &FaultSaw, open: &mut BTreeMap<u64, usize>) {
        match saw {
            FaultSaw::Begun {
                name,
                targets,
                no_quorum,
                cut,
            } => {
                open.insert(id, self.faults.len());
                self.faults.push(Fault {
                    name: name.clone(),
                    targets: targets.clone(),
                    no_quorum: *no_quorum,
                    cut: cut.clone(),
                    from: when,
                    to: None,
                });
            }
            FaultSaw::Ended => match open.remove(&id) {
                Some(place) => self.faults[place].to = Some(when),
                None => self
                    .defects
                    .push(format!("fault {id} ended and never began")),
            },
        }
    }
}

/// What the properties ask of a story.
impl Story {
    /// The caller of a `CallJoined`, as he entered.
    pub fn entered(&self, told: &LogEvent) -> Option<&Entered> {
        let Event::CallJoined { pbx, channel, .. } = &told.event else {
            return None;
        };
        let id = Channel {
            pbx: pbx.to_string(),
            channel: channel.to_string(),
        };
        self.callers.get(&id)?.entered.as_ref()
    }

    /// The priority of a `CallJoined`, which the event does not tell.
    pub fn priority(&self, told: &LogEvent) -> i32 {
        self.entered(told).map_or(0, |entered| entered.priority)
    }

    /// When it ends for the judge: nothing is known of later.
    pub fn end_ms(&self) -> u64 {
        self.closed.map_or(u64::MAX, When::early)
    }

    /// The earliest that something may have ended; what did not ends with the history.
    pub fn until_ms(&self, ended: Option<When>) -> u64 {
        ended.map_or(self.end_ms(), When::early)
    }

    /// Whether a fault was on between these moments of the observer's clock.
    pub fn faulty(&self, from_ms: u64, to_ms: u64) -> bool {
        self.faults.iter().any(|fault| fault.meets(from_ms, to_ms))
    }

    /// How long, between these moments, at least one fault was on that satisfies `of`.
    pub fn fault_ms(&self, from_ms: u64, to_ms: u64, of: impl Fn(&Fault) -> bool) -> u64 {
        covered_ms(from_ms, to_ms, self.faults.iter().filter(|it| of(it)))
    }

    /// Whether this Asterisk died in that time.
    pub fn died(&self, pbx: &str, from_ms: u64, to_ms: u64) -> bool {
        let deaths = self.died.get(pbx).into_iter().flatten();
        deaths
            .filter(|when| when.late() >= from_ms && when.early() <= to_ms)
            .count()
            > 0
    }

    /// Since when this Asterisk stood still, if it did at any time between these moments.
    pub fn stood_since(&self, pbx: &str, from_ms: u64, to_ms: u64) -> Option<u64> {
        let stood = self.stood.get(pbx).into_iter().flatten();
        let mut meets = stood.filter(|(since, until)| {
            since.early() <= to_ms && until.is_none_or(|until| until.late() >= from_ms)
        });
        meets.next().map(|(since, _)| since.early())
    }

    /// From when on nobody can tell a phone to stop, if it was rung through a trunk by an Asterisk that
    /// died: its own, which may have stood still and rung it late, knows of no call of ours.
    pub fn orphaned(&self, id: &Channel, leg: &Leg) -> Option<u64> {
        if leg.offer.is_some() || !leg.at_phone {
            return None;
        }
        let called = leg.called.early();
        let since = self.stood_since(&id.pbx, called.saturating_sub(LATE_MS), called);
        let since = since.map_or(called, |since| since.min(called));
        let others = self.died.iter().filter(|(pbx, _)| **pbx != id.pbx);
        let deaths = others.flat_map(|(_, deaths)| deaths);
        let after = deaths.filter(|when| when.late() >= since);
        after.map(|when| when.early()).min()
    }

    /// What was declared for a queue at that time.
    pub fn rules(&self, queue: &str, at_ms: u64) -> Option<&Rules> {
        let known = self.rules.get(queue)?;
        let before = known.iter().rev().find(|(when, _)| when.at_ms <= at_ms);
        before.map(|(_, rules)| rules)
    }
}

impl Fault {
    pub fn until(&self) -> u64 {
        self.to.map_or(u64::MAX, When::late)
    }

    pub fn meets(&self, from_ms: u64, to_ms: u64) -> bool {
        self.from.early() <= to_ms && self.until() >= from_ms
    }
}

/// How long, between these moments, at least one of these faults was on.
pub(super) fn covered_ms<'a>(
    from_ms: u64,
    to_ms: u64,
    faults: impl IntoIterator<Item = &'a Fault>,
) -> u64 {
    let mut spans: Vec<(u64, u64)> = faults
        .into_iter()
        .filter(|fault| fault.meets(from_ms, to_ms))
        .map(|fault| (fault.from.early().max(from_ms), fault.until().min(to_ms)))
        .collect();
    spans.sort_unstable();
    let (mut sum, mut covered) = (0, from_ms);
    for (from, to) in spans {
        sum += to.saturating_sub(from.max(covered));
        covered = covered.max(to);
    }
    sum
}

impl std::fmt::Display for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}|{}", self.pbx, self.channel)
    }
}
