//! Every way in which a promise can be broken, as data. The text is made at the very end.

use super::Property;
use crate::judge::history::Channel;
use crate::judge::log::At;
use std::fmt;

/// A call's number and the attempt.
pub type CallAttempt = (u64, u32);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    // 1
    EndedTwice {
        caller: Channel,
        ends: Vec<String>,
    },
    NeverEnded {
        caller: Channel,
    },
    LostWithoutCause {
        caller: Channel,
        how: String,
    },
    LeftTwiceInLog {
        call: u64,
    },
    OutcomesDiffer {
        caller: Channel,
        seen: String,
        logged: String,
    },
    // 2
    TwoLegs {
        agent: String,
        legs: [Channel; 2],
        for_ms: u64,
        allowed_ms: u64,
    },
    TwoTalks {
        agent: String,
        callers: [Channel; 2],
    },
    TwoOffers {
        agent: String,
        held: CallAttempt,
        new: CallAttempt,
    },
    // 3
    BridgedTwice {
        caller: Channel,
        agents: [String; 2],
    },
    BridgedUngranted {
        caller: Channel,
        agent: String,
        offer: CallAttempt,
    },
    BridgedToWithdrawn {
        caller: Channel,
        agent: String,
        offer: CallAttempt,
    },
    BridgedAfterEnd {
        caller: Channel,
        agent: String,
    },
    // 4
    Overtaken {
        queue: String,
        call: u64,
        by: u64,
    },
    JoinedOutOfOrder {
        queue: String,
        first: Channel,
        second: Channel,
    },
    // 5
    Early {
        deadline: &'static str,
        subject: String,
        by_ms: u64,
    },
    Late {
        deadline: &'static str,
        subject: String,
        by_ms: u64,
        allowed_ms: u64,
    },
    FiredTwice {
        deadline: &'static str,
        subject: String,
    },
    // 6
    NotLinearizable {
        key: String,
        ops: usize,
        stuck: String,
    },
    Undecided {
        key: String,
        ops: usize,
        steps: u64,
    },
    ReadOfNothing {
        key: String,
        value: String,
    },
    // 7
    RungWhilePaused {
        agent: String,
        leg: Channel,
        after_ms: u64,
    },
    OfferedWhilePaused {
        agent: String,
        call: u64,
    },
    // 8
    DigestsDiffer {
        index: u64,
        digests: Vec<(String, u64)>,
    },
    LogsDiffer {
        at: At,
        what: String,
    },
    // 9
    NotResumed {
        waiting: Channel,
        free: String,
        within_ms: u64,
    },
    ReservedForNothing {
        agent: String,
        why: String,
    },
    GhostInLine {
        caller: Channel,
    },
    LegLeft {
        agent: String,
        leg: Channel,
    },
    // 10
    WrongPosition {
        caller: Channel,
        told: u32,
        were: Vec<u32>,
    },
    PositionRose {
        caller: Channel,
        from: u32,
        to: u32,
    },
    WrongInLog {
        call: u64,
        told: u32,
        is: Option<u32>,
    },
    // 15
    EpochNotNew {
        pbx: String,
        epoch: u64,
        known: u64,
    },
    EpochOver {
        leg: Channel,
        epoch: u64,
        known: u64,
    },
    // The history itself
    Defect {
        what: String,
    },
    NotWhole {
        dropped: u64,
    },
    NotJudged {
        property: Property,
        why: String,
    },
}

impl Violation {
    /// The promise that is broken; `None` for a history that is no good.
    pub fn property(&self) -> Option<Property> {
        use Violation::*;
        Some(match self {
            EndedTwice { .. }
            | NeverEnded { .. }
            | LostWithoutCause { .. }
            | LeftTwiceInLog { .. }
            | OutcomesDiffer { .. } => Property::EndsOnce,
            TwoLegs { .. } | TwoTalks { .. } | TwoOffers { .. } => Property::OneHand,
            BridgedTwice { .. }
            | BridgedUngranted { .. }
            | BridgedToWithdrawn { .. }
            | BridgedAfterEnd { .. } => Property::BridgedOnce,
            Overtaken { .. } | JoinedOutOfOrder { .. } => Property::Order,
            Early { .. } | Late { .. } | FiredTwice { .. } => Property::Deadlines,
            NotLinearizable { .. } | Undecided { .. } | ReadOfNothing { .. } => Property::Writes,
            RungWhilePaused { .. } | OfferedWhilePaused { .. } => Property::Pauses,
            DigestsDiffer { .. } | LogsDiffer { .. } => Property::Replicas,
            NotResumed { .. } | ReservedForNothing { .. } | GhostInLine { .. } | LegLeft { .. } => {
                Property::Heals
            }
            WrongPosition { .. } | PositionRose { .. } | WrongInLog { .. } => Property::Positions,
            EpochOver { .. } | EpochNotNew { .. } => Property::OneDriver,
            Defect { .. } | NotWhole { .. } => return None,
            NotJudged { property, .. } => *property,
        })
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use Violation::*;
        match self {
            EndedTwice { caller, ends } => {
                write!(f, "caller {caller} ended twice: {}", ends.join(", "))
            }
            NeverEnded { caller } => write!(
                f,
                "caller {caller} has no end, talks to nobody and is in no line"
            ),
            LostWithoutCause { caller, how } => {
                write!(
                    f,
                    "caller {caller} was lost ({how}) though his Asterisk lived and was in reach"
                )
            }
            LeftTwiceInLog { call } => write!(f, "call {call} has left twice in the log"),
            OutcomesDiffer {
                caller,
                seen,
                logged,
            } => {
                write!(f, "caller {caller} saw {seen}, the log says {logged}")
            }
            TwoLegs {
                agent,
                legs: [a, b],
                for_ms,
                allowed_ms,
            } => write!(
                f,
                "agent {agent} had two live legs, {a} and {b}, for {for_ms} ms; allowed are {allowed_ms} ms"
            ),
            TwoTalks {
                agent,
                callers: [a, b],
            } => {
                write!(f, "agent {agent} talked to {a} and {b} at the same time")
            }
            TwoOffers { agent, held, new } => write!(
                f,
                "agent {agent} was reserved for call {} attempt {} while in hand of call {} attempt {}",
                new.0, new.1, held.0, held.1
            ),
            BridgedTwice {
                caller,
                agents: [a, b],
            } => {
                write!(
                    f,
                    "caller {caller} was bridged twice, with {a} and with {b}"
                )
            }
            BridgedUngranted {
                caller,
                agent,
                offer,
            } => write!(
                f,
                "caller {caller} was bridged with {agent} without a grant for call {} attempt {}",
                offer.0, offer.1
            ),
            BridgedToWithdrawn {
                caller,
                agent,
                offer,
            } => write!(
                f,
                "caller {caller} was bridged with {agent} although call {} attempt {} was withdrawn",
                offer.0, offer.1
            ),
            BridgedAfterEnd { caller, agent } => {
                write!(f, "caller {caller} was bridged with {agent} after his end")
            }
            Overtaken { queue, call, by } => {
                write!(
                    f,
                    "in queue {queue} call {call} was overtaken by {by} without a named reason"
                )
            }
            JoinedOutOfOrder {
                queue,
                first,
                second,
            } => {
                write!(
                    f,
                    "in queue {queue} caller {first} came long before {second} and joined behind"
                )
            }
            Early {
                deadline,
                subject,
                by_ms,
            } => {
                write!(f, "{deadline} of {subject} fired {by_ms} ms early")
            }
            Late {
                deadline,
                subject,
                by_ms,
                allowed_ms,
            } => {
                write!(
                    f,
                    "{deadline} of {subject} was {by_ms} ms late; allowed are {allowed_ms} ms"
                )
            }
            FiredTwice { deadline, subject } => write!(f, "{deadline} of {subject} fired twice"),
            NotLinearizable { key, ops, stuck } => write!(
                f,
                "the {ops} operations on `{key}` fit no order; the search never got past {stuck}"
            ),
            Undecided { key, ops, steps } => write!(
                f,
                "whether the {ops} operations on `{key}` fit an order is undecided after {steps} steps"
            ),
            ReadOfNothing { key, value } => {
                write!(f, "a read of `{key}` gave {value:?}, which nobody wrote")
            }
            RungWhilePaused {
                agent,
                leg,
                after_ms,
            } => {
                write!(
                    f,
                    "agent {agent} was rung by {leg} {after_ms} ms after his pause was acknowledged"
                )
            }
            OfferedWhilePaused { agent, call } => {
                write!(
                    f,
                    "agent {agent} was reserved for call {call} while paused in the log"
                )
            }
            DigestsDiffer { index, digests } => {
                write!(f, "after entry {index} the digests differ: {digests:x?}")
            }
            LogsDiffer { at, what } => write!(
                f,
                "at {}-{} the nodes tell different things: {what}",
                at.0, at.1
            ),
            NotResumed {
                waiting,
                free,
                within_ms,
            } => write!(
                f,
                "{within_ms} ms after the faults {waiting} was still waiting, {free} was free, and nobody was rung"
            ),
            ReservedForNothing { agent, why } => write!(f, "agent {agent} stays reserved: {why}"),
            GhostInLine { caller } => {
                write!(f, "caller {caller} has ended and is still in the line")
            }
            LegLeft { agent, leg } => write!(f, "leg {leg} of agent {agent} is left over"),
            WrongPosition { caller, told, were } => {
                write!(
                    f,
                    "caller {caller} was told position {told}; it was {were:?}"
                )
            }
            PositionRose { caller, from, to } => {
                write!(
                    f,
                    "the position told to caller {caller} rose from {from} to {to} without a reason"
                )
            }
            WrongInLog { call, told, is } => {
                write!(
                    f,
                    "position {told} was to be announced to call {call}; the events add up to {is:?}"
                )
            }
            EpochNotNew { pbx, epoch, known } => {
                write!(f, "epoch {epoch} of {pbx} began after epoch {known}")
            }
            EpochOver { leg, epoch, known } => write!(
                f,
                "leg {leg} was called under epoch {epoch} for an offer made under epoch {known}"
            ),
            Defect { what } => write!(f, "the history contradicts itself: {what}"),
            NotWhole { dropped } => write!(
                f,
                "{dropped} observations found no room, the history is not whole"
            ),
            NotJudged { property, why } => write!(f, "promise {property} was not judged: {why}"),
        }
    }
}
