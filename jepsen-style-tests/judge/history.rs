//! What was seen during a run, from outside: the only thing that the judge reads.
//!
//! One record is one observation, with the time of one observer's clock and how wrong that time may
//! be. Callers, phones, bridges, Asterisks, processes and admin clients are seen from outside. What
//! the log itself tells (`Seen::Inside`) is kept apart, and only the properties that speak about the
//! log use it. A source records what it can know and nothing else: a property whose observations
//! are missing is reported as not judged, never as kept.
//!
//! A caller is known by Asterisk and channel id, which must be unique in a history, restarts of the
//! Asterisk included. Of a key that any client's operation is recorded of, all clients' operations are:
//! one that is missing would look like a lost write. Nothing is judged here.

use holdfast_acd::Event;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::Path;

/// One observation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// When it happened, milliseconds of the observer's clock.
    pub at_ms: u64,
    /// It happened at most so much earlier or later than that.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub within_ms: u64,
    pub seen: Seen,
}

fn is_zero(ms: &u64) -> bool {
    *ms == 0
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seen {
    /// By the caller, his dialplan or his Asterisk.
    Caller {
        id: Channel,
        saw: CallerSaw,
    },
    /// A channel towards an agent: the phone's own, or a leg of ours that reaches it through a trunk.
    Leg {
        id: Channel,
        agent: String,
        /// Whose leg it is, if the channel's id tells.
        offer: Option<Offer>,
        /// It is the phone's own channel. Not so: a trunk's, at the caller's Asterisk.
        at_phone: bool,
        saw: LegSaw,
    },
    /// A channel entered or left a mixing bridge.
    Bridge {
        pbx: String,
        bridge: String,
        party: Party,
        saw: BridgeSaw,
    },
    Asterisk {
        pbx: String,
        saw: AsteriskSaw,
    },
    /// A `holdfast` process.
    Node {
        node: String,
        saw: NodeSaw,
    },
    /// A client of the admin endpoints. `op` is unique in the history and names one operation.
    Client {
        op: u64,
        saw: ClientSaw,
    },
    /// What the log tells of itself, through this node.
    Inside {
        node: String,
        saw: InsideSaw,
    },
    /// `id` is unique in the history and names one fault.
    Fault {
        id: u64,
        saw: FaultSaw,
    },
    /// What was declared for a queue; the judge reads its durations here.
    Rules {
        queue: String,
        rules: Rules,
    },
    /// All faults are over, and no new ones come: from here on it has to heal.
    Quiet,
    /// Nobody looked any more from here on. Who is still in the line now is open.
    Closed,
}

/// A channel of one Asterisk.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Channel {
    pub pbx: String,
    pub channel: String,
}

/// One ringing of one call's agents, as the ids of legs and bridges carry it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Offer {
    pub epoch: u64,
    pub call: u64,
    pub attempt: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallerSaw {
    /// The channel entered Stasis and asked for this queue. Recorded once a call: a caller who comes
    /// back from the dialplan has `Returned`.
    Entered {
        number: String,
        queue: String,
        priority: i32,
        /// If the dialplan asked for another time than the queue's.
        timeout_ms: Option<u64>,
    },
    /// The channel went into the dialplan with an agent to dial.
    Dialled,
    /// It is in Stasis again.
    Returned,
    /// An announcement began that tells him that he is the n-th; 1 for "you are next".
    Heard { position: u32 },
    /// He pressed a key.
    Key { digit: char },
    /// The one end of his call, as he or his dialplan saw it.
    Ended { end: End },
}

/// How a caller's call ended for him. Whether an agent had answered is told by the bridges.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// He hung up himself.
    HungUp,
    /// He was hung up on: by the agent after a talk, or by the system.
    Dropped,
    /// Back in the dialplan, with this `QUEUESTATUS` (empty: none was set), or with `FAILED` if that
    /// is the `STASISSTATUS`.
    Dialplan { status: String },
    /// The channel vanished together with its Asterisk.
    Gone,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LegSaw {
    /// The channel was created: the phone is called.
    Called,
    /// The phone rings.
    Ringing,
    Answered,
    /// With the hangup cause, 0 if unknown.
    Ended {
        cause: u16,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Party {
    Caller {
        channel: String,
    },
    /// By an agent's leg, or by the trunk that leads to it.
    Agent {
        agent: String,
        channel: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BridgeSaw {
    Joined,
    Left,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AsteriskSaw {
    Started,
    /// With all its channels. Each of its callers has an end of his own besides: `End::Gone`.
    Died,
    /// Another socket took the place of the application's: its former driver is deposed.
    AppReplaced,
    /// No driver's socket is there any more.
    SocketLost,
    /// It does nothing, and will do later what it is asked meanwhile.
    StandsStill,
    GoesOn,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeSaw {
    /// With the Asterisk that it is there for.
    Started { drives: String },
    /// SIGKILL, or any other end of the process.
    Killed,
    /// SIGSTOP.
    Stopped,
    /// SIGCONT.
    Resumed,
    /// Seen from outside to lead.
    Leads,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientSaw {
    /// Sent through this node.
    Invoke {
        client: String,
        node: String,
        op: Op,
    },
    Ok {
        answer: Answer,
    },
    /// Refused, and surely not done.
    Fail {
        why: String,
    },
    /// No answer, or one that leaves it open: it may have been done, or be done later.
    Unknown {
        why: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// Sets a configuration value. Values are unique in a history.
    Write {
        key: String,
        value: String,
    },
    /// Sets it if it is still `expect`.
    Cas {
        key: String,
        expect: String,
        value: String,
    },
    /// `stale`: the client asked for what the node knows, however old.
    Read {
        key: String,
        stale: bool,
    },
    /// With a reason that is unique in the history. `queue`: in that one alone.
    Pause {
        agent: String,
        queue: Option<String>,
        reason: String,
    },
    Unpause {
        agent: String,
        queue: Option<String>,
    },
    /// Answered by the reason, or by nothing.
    ReadPause {
        agent: String,
        queue: Option<String>,
        stale: bool,
    },
    /// The leader's decision, if a source sees it proposed: the agent is taken for this offer.
    Reserve {
        agent: String,
        offer: Offer,
    },
    /// What ends it.
    Release {
        agent: String,
        offer: Offer,
    },
    /// Answered by `CALL-ATTEMPT` of the offer or call in hand, or by nothing.
    ReadHand {
        agent: String,
        stale: bool,
    },
    Login {
        agent: String,
    },
    Logout {
        agent: String,
    },
    /// Ends the wrap-up.
    Ready {
        agent: String,
    },
    Withdraw {
        id: Channel,
    },
    Move {
        id: Channel,
        queue: String,
    },
    Priority {
        id: Channel,
        priority: i32,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    Done,
    /// Of a read: `None` if nothing is set.
    Value(Option<String>),
    /// Of a `Cas`: it was another value.
    Mismatch,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InsideSaw {
    /// One event, with its place in the log; `cluster_ms` is the stamp of its entry. The same event
    /// may be told by every node.
    Event {
        index: u64,
        seq: u32,
        cluster_ms: u64,
        event: Event,
    },
    /// A deadline as `Tick` fired it, by the cluster clock. Only where a source can look inside.
    Deadline {
        index: u64,
        /// `ring`, `timeout`, `announce`, `wrap_up` ...
        kind: String,
        subject: String,
        due_ms: u64,
        fired_ms: u64,
    },
    /// The digest of the state after entry `index`.
    Digest { index: u64, digest: u64 },
    /// Who is where in the state after entry `index`.
    Standing {
        index: u64,
        /// Callers waiting or offered.
        waiting: Vec<Channel>,
        /// Agents with an offer in hand.
        offered: Vec<String>,
        /// Agents with a call in hand.
        in_call: Vec<String>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultSaw {
    Begun {
        /// `N8 kill leader`.
        name: String,
        targets: Vec<String>,
        /// While it lasts a majority may be out of reach, so that nothing may be decided.
        no_quorum: bool,
        /// Asterisks that, while it lasts, may be out of reach of every node that could drive them:
        /// killed, stopped, or cut off with nobody to take them over.
        cut: Vec<String>,
    },
    Ended,
}

/// The durations of a queue, and what makes its announcements predictable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rules {
    pub timeout_ms: Option<u64>,
    pub wrap_up_ms: u64,
    /// 0: no announcements of the position.
    pub announce_ms: u64,
    pub announce_first_ms: u64,
    pub announce_min_ms: u64,
    /// Every caller is told his position whenever it is due, whatever it is.
    pub announce_always: bool,
    /// 0: no periodic announcements.
    pub periodic_ms: u64,
    /// Beyond this position "more than N" is said; 0: never.
    pub announce_limit: u32,
    /// Calls reach agents by way of the dialplan, which has times of its own.
    pub dialplan: bool,
    /// All members may be rung from the start, so that no caller has to wait for his step.
    pub one_step: bool,
}

impl Offer {
    /// Reads the id of a leg, `hf-PBX-EPOCH-CALL-ATTEMPT-AGENT`, made for this Asterisk.
    pub fn of_leg(pbx: &str, channel: &str) -> Option<(Offer, String)> {
        let rest = channel.strip_prefix("hf-")?.strip_prefix(short(pbx))?;
        let mut parts = rest.strip_prefix('-')?.splitn(4, '-');
        let offer = Offer {
            epoch: parts.next()?.parse().ok()?,
            call: parts.next()?.parse().ok()?,
            attempt: parts.next()?.parse().ok()?,
        };
        Some((offer, parts.next()?.to_owned()))
    }

    /// Reads the id of a bridge, `hfb-PBX-CALL-ATTEMPT`: call and attempt.
    pub fn of_bridge(pbx: &str, bridge: &str) -> Option<(u64, u32)> {
        let rest = bridge.strip_prefix("hfb-")?.strip_prefix(short(pbx))?;
        let (call, attempt) = rest.strip_prefix('-')?.split_once('-')?;
        Some((call.parse().ok()?, attempt.parse().ok()?))
    }
}

/// As much of an Asterisk's name as goes into ids.
fn short(pbx: &str) -> &str {
    &pbx[..pbx.len().min(24)]
}

impl InsideSaw {
    /// Reads one event of `/v1/events`, the JSON behind `data:`. `None` for what is no event of the
    /// log, such as a snapshot.
    pub fn of_stream(data: &str) -> Option<InsideSaw> {
        let mut fields: serde_json::Map<String, Value> = serde_json::from_str(data).ok()?;
        let id = fields.remove("id")?;
        let (index, seq) = id.as_str()?.split_once('-')?;
        let (index, seq) = (index.parse().ok()?, seq.parse().ok()?);
        fields.remove("at");
        let cluster_ms = fields.remove("cluster_ms")?.as_u64()?;
        let kind = fields.remove("type")?.as_str()?.to_owned();
        let event = serde_json::Map::from_iter([(kind, Value::Object(fields))]);
        Some(InsideSaw::Event {
            index,
            seq,
            cluster_ms,
            event: serde_json::from_value(Value::Object(event)).ok()?,
        })
    }
}

impl Op {
    /// The one thing that it writes or reads, if it is such an operation.
    pub fn key(&self) -> Option<String> {
        match self {
            Op::Write { key, .. } | Op::Cas { key, .. } | Op::Read { key, .. } => Some(key.clone()),
            Op::Pause { agent, queue, .. }
            | Op::Unpause { agent, queue }
            | Op::ReadPause { agent, queue, .. } => Some(match queue {
                Some(queue) => format!("pause of {agent} in {queue}"),
                None => format!("agent {agent}"),
            }),
            Op::Reserve { agent, .. } | Op::Release { agent, .. } | Op::ReadHand { agent, .. } => {
                Some(format!("agent {agent}"))
            }
            Op::Login { .. }
            | Op::Logout { .. }
            | Op::Ready { .. }
            | Op::Withdraw { .. }
            | Op::Move { .. }
            | Op::Priority { .. } => None,
        }
    }
}

/// All that was seen, in the order of time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    records: Vec<Record>,
    /// Observations that found no room: the history is not whole.
    pub dropped: u64,
}

impl History {
    /// Puts the records in the order of time; of one moment, in the order given.
    pub fn new(mut records: Vec<Record>) -> Self {
        records.sort_by_key(|record| record.at_ms);
        History {
            records,
            dropped: 0,
        }
    }

    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// One JSON text a line; the first says how many records were dropped.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let mut file = BufWriter::new(std::fs::File::create(path)?);
        writeln!(file, "{{\"dropped\":{}}}", self.dropped)?;
        for record in &self.records {
            serde_json::to_writer(&mut file, record)?;
            file.write_all(b"\n")?;
        }
        file.into_inner()?.sync_all()
    }

    /// The error names the line that is not a record.
    pub fn read(path: &Path) -> io::Result<History> {
        #[derive(Deserialize)]
        struct Head {
            dropped: u64,
        }
        let mut records = Vec::new();
        let mut dropped = None;
        for (number, line) in BufReader::new(std::fs::File::open(path)?)
            .lines()
            .enumerate()
        {
            let line = line?;
            let wrong = |error: serde_json::Error| {
                let what = format!("{}:{}: {error}", path.display(), number + 1);
                io::Error::new(io::ErrorKind::InvalidData, what)
            };
            if dropped.is_none() {
                let head: Head = serde_json::from_str(&line).map_err(wrong)?;
                dropped = Some(head.dropped);
            } else {
                records.push(serde_json::from_str(&line).map_err(wrong)?);
            }
        }
        let dropped = dropped.ok_or_else(|| {
            let what = format!("{}: no history, it is empty", path.display());
            io::Error::new(io::ErrorKind::InvalidData, what)
        })?;
        Ok(History {
            dropped,
            ..History::new(records)
        })
    }
}
