//! A queue timeout waits while nobody can tell the caller, and not any longer. Found by seeds 196, 382
//! and 1181 of the simulation: one node was dead, and there was a majority all the time.

use crate::judge::history::{CallerSaw, Channel, FaultSaw, History, InsideSaw, NodeSaw, Seen};
use crate::judge::history::{Record, Rules};
use crate::judge::properties::{Property, Violation};
use crate::judge::{Limits, judge};
use holdfast_acd::call::Outcome;
use holdfast_acd::{CallId, ChannelId, Event, NodeName, PbxId, QueueName};

const TIMEOUT_MS: u64 = 5_000;
/// The node dies before the caller's time has passed, and is back long after it.
const AWAY_MS: u64 = 2_000;
const BACK_MS: u64 = 12_000;

/// A caller at `b` whose node dies, and who is let go at this moment.
fn timed_out_at(left_ms: u64) -> History {
    let (call, queue) = (CallId(1), QueueName::new("q").unwrap());
    let (pbx, node) = (PbxId::new("b").unwrap(), NodeName::new("b").unwrap());
    let id = Channel {
        pbx: "b".into(),
        channel: "b.1".into(),
    };
    let rules = Rules {
        timeout_ms: Some(TIMEOUT_MS),
        ..Rules::default()
    };
    let entered = CallerSaw::Entered {
        number: "555".into(),
        queue: "q".into(),
        priority: 0,
        timeout_ms: None,
    };
    let dies = FaultSaw::Begun {
        name: "KillNode".into(),
        targets: vec!["b".into()],
        no_quorum: false,
        cut: vec!["b".into()],
    };
    let joined = Event::CallJoined {
        call,
        queue: queue.clone(),
        pbx,
        channel: ChannelId::new("b.1").unwrap(),
        number: "555".into(),
        position: 1,
        resumed: false,
    };
    let left = Event::CallLeft {
        call,
        queue: queue.clone(),
        outcome: Outcome::Timeout,
        position: 1,
        waited_ms: left_ms,
    };
    let started = NodeSaw::Started { drives: "b".into() };
    let mut index = 0;
    let mut logged = |at_ms, event| {
        index += 1;
        let saw = InsideSaw::Event {
            index,
            seq: 0,
            cluster_ms: at_ms,
            event,
        };
        let node = "a".to_string();
        (at_ms, Seen::Inside { node, saw })
    };
    let seen = [
        (
            0,
            Seen::Rules {
                queue: "q".into(),
                rules,
            },
        ),
        (
            0,
            Seen::Node {
                node: "b".into(),
                saw: started,
            },
        ),
        (0, Seen::Caller { id, saw: entered }),
        logged(0, joined),
        (AWAY_MS, Seen::Fault { id: 1, saw: dies }),
        logged(AWAY_MS, Event::NodeAway { node: node.clone() }),
        (
            BACK_MS,
            Seen::Fault {
                id: 1,
                saw: FaultSaw::Ended,
            },
        ),
        logged(BACK_MS, Event::NodeBack { node }),
        logged(left_ms, left),
    ];
    let record = |(at_ms, seen)| Record {
        at_ms,
        within_ms: 0,
        seen,
    };
    History::new(seen.into_iter().map(record).collect())
}

fn broken(left_ms: u64) -> Vec<Violation> {
    let verdict = judge(&timed_out_at(left_ms), &Limits::simulation());
    let broken = verdict.broken.into_iter().map(|it| it.violation);
    broken
        .filter(|it| it.property() == Some(Property::Deadlines))
        .collect()
}

#[test]
fn who_could_not_be_told_is_told_when_his_asterisk_is_in_sight_again() {
    let limits = Limits::simulation();
    assert_eq!(broken(BACK_MS), []);
    let latest = BACK_MS + limits.deadline_ms + limits.failover_ms;
    assert_eq!(broken(latest), []);
    let late = broken(latest + 1);
    assert!(
        matches!(late.as_slice(), [Violation::Late { by_ms, .. }] if *by_ms == latest + 1 - BACK_MS),
        "{late:?}"
    );
}

#[test]
fn out_of_sight_or_not_nobody_times_out_early() {
    let early = broken(TIMEOUT_MS - 1);
    assert!(
        matches!(early.as_slice(), [Violation::Early { by_ms: 1, .. }]),
        "{early:?}"
    );
}
