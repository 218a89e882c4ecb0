//! Reports of drills that were made up, most of them with something wrong planted.

use super::report::{Report, report};
use super::seen::{How, Limits, Note, Seen, What};
use holdfast_admin::api::{CallView, EventView};
use serde_json::{Value, json};

/// A caller in line of `support` at Asterisk `a`.
fn call(id: u64, position: u32) -> CallView {
    CallView {
        id,
        queue: "support".into(),
        pbx: "b".into(),
        channel: format!("b-1.{id}"),
        number: format!("493012{id:02}"),
        name: "Eve".into(),
        priority: 0,
        position: Some(position),
        joined_position: position,
        joined: String::new(),
        age_ms: 0,
        phase: "waiting".into(),
        agents: Vec::new(),
        attempts: 0,
        timeout_in_ms: None,
        outcome: None,
    }
}

/// A leader `a` of term 3 that dies at 1000 ms; `b` leads from 2200 ms on.
struct Drill(Seen);

impl Drill {
    fn new(how: How) -> Drill {
        let calls = vec![call(1, 1), call(2, 2), call(3, 3)];
        let seen = Seen {
            how,
            at_ms: 1000.0,
            leader: "a".into(),
            term: 3,
            index: 100,
            before: calls.clone(),
            clock_ms: 50_000,
            after: Some(calls),
            its_pbxes: vec!["a".into()],
            dialplan_queues: vec!["old".into()],
            notes: Vec::new(),
            digests: vec![("b".into(), 120, "d".into()), ("c".into(), 120, "d".into())],
            limits: Limits {
                gap_ms: 5000.0,
                late_ms: 2500,
            },
        };
        let mut drill = Drill(seen);
        for at in [0, 400, 900] {
            drill.note(at, "b", What::Confirmed);
            drill.note(at + 10, "c", What::Confirmed);
        }
        drill
    }

    fn note(&mut self, at_ms: u32, node: &str, what: What) -> &mut Drill {
        let node = node.to_owned();
        let at_ms = at_ms.into();
        self.0.notes.push(Note { at_ms, node, what });
        self
    }

    fn dies(&mut self) -> &mut Drill {
        self.note(1000, "a", What::Cut);
        self.led(2200, "b", "b", 4).note(2230, "c", What::Confirmed);
        self.note(2250, "b", What::Confirmed)
    }

    fn led(&mut self, at: u32, node: &str, leader: &str, term: u64) -> &mut Drill {
        let leader = Some(leader.to_owned());
        self.note(at, node, What::Led { leader, term })
    }

    /// The same event from two nodes, one of them a little later.
    fn event(
        &mut self,
        at: u32,
        index: u64,
        cluster_ms: u64,
        kind: &str,
        fields: Value,
    ) -> &mut Drill {
        let event = EventView {
            id: format!("{index}-0"),
            at: String::new(),
            cluster_ms,
            kind: kind.into(),
            fields: fields.as_object().cloned().unwrap_or_default(),
        };
        self.note(at, "b", What::Event(event.clone()));
        self.note(at + 5, "c", What::Event(event))
    }

    fn offer(&mut self, at: u32, index: u64, call: u64, attempt: u64, agent: &str) -> &mut Drill {
        let fields = json!({ "call": call, "queue": "support", "attempt": attempt,
            "agents": [agent], "ring_until": 60_000 });
        self.event(at, index, 50_000, "offer_made", fields)
    }

    fn report(&mut self) -> Report {
        self.0.notes.sort_by(|a, b| a.at_ms.total_cmp(&b.at_ms));
        report(&self.0)
    }

    /// The one anomaly that there must be.
    fn anomaly(&mut self) -> String {
        let report = self.report();
        assert!(!report.good);
        assert_eq!(report.anomalies.len(), 1, "{:?}", report.anomalies);
        report.anomalies[0].clone()
    }
}

#[test]
fn a_clean_failover_is_measured_step_by_step_and_is_good() {
    let mut drill = Drill::new(How::KillPid);
    drill.offer(700, 101, 1, 1, "1001").dies();
    // The offer that was torn is made again, and then another one.
    let cancelled = json!({ "call": 1, "attempt": 1, "agent": "1001", "cause": "Cancelled" });
    drill.event(2260, 102, 52_000, "offer_failed", cancelled);
    drill.offer(2300, 103, 1, 2, "1001");
    drill.offer(2310, 104, 2, 1, "1002");
    drill
        .note(3000, "a", What::Open)
        .note(3001, "b", What::Confirmed);
    let report = drill.report();
    assert!(report.good, "{:?}", report.anomalies);
    assert_eq!(report.leader_after.as_deref(), Some("b"));
    assert_eq!((report.term_before, report.term_after), (3, Some(4)));
    let gap = &report.gap;
    assert_eq!(gap.gone_ms, Some(0));
    assert_eq!(gap.named_ms, Some(1200));
    assert_eq!(gap.confirmed_ms, Some(1230));
    assert_eq!(gap.commit_ms, Some(1260));
    assert_eq!(gap.offer_ms, Some(1300));
    assert_eq!(gap.last_offer_before_ms, Some(300));
    assert_eq!(gap.back_ms, Some(2000));
    let offers = &report.offers;
    assert_eq!((offers.before, offers.after, offers.repeated), (1, 2, 1));
    assert_eq!((report.callers.before, report.callers.kept), (3, 3));
    assert_eq!(report.places.compared, 3);
    assert_eq!(report.replicas_agree, Some(true));
    let text = super::text::text(&report);
    assert!(text.contains("new leader named 1200"), "{text}");
    assert!(text.ends_with("verdict     good\n"), "{text}");
}

#[test]
fn the_pause_without_a_quorum_is_that_of_the_best_living_node() {
    let mut drill = Drill::new(How::KillPid);
    let gap = drill.dies().report().gap.without_quorum_ms;
    // c: from 910 to 2230; b: from 900 to 2250.
    assert_eq!(gap, Some(1320));
    drill.0.limits.gap_ms = 1000.0;
    assert!(drill.anomaly().contains("1320 ms without a quorum"));
}

#[test]
fn nobody_who_leads_afterwards_is_an_anomaly() {
    let mut drill = Drill::new(How::KillPid);
    drill.note(1000, "a", What::Cut);
    assert_eq!(drill.anomaly(), "no new leader was named");
    drill.led(2000, "b", "b", 4);
    assert_eq!(drill.anomaly(), "b leads, and no quorum confirms it");
}

#[test]
fn a_leader_that_did_not_die_is_an_anomaly_but_for_a_step_down() {
    let mut drill = Drill::new(How::KillCommand);
    drill
        .led(1050, "b", "b", 4)
        .note(1060, "b", What::Confirmed);
    let report = drill.report();
    assert!(
        report.good,
        "a machine without power breaks no stream: {:?}",
        report.anomalies
    );
    drill.note(1070, "a", What::Confirmed);
    assert!(drill.anomaly().contains("did it die at all"));
    drill.0.how = How::StepDown;
    let report = drill.report();
    assert!(report.good, "{:?}", report.anomalies);
    assert_eq!(report.gap.named_ms, Some(50));
}

#[test]
fn two_leaders_of_one_term_are_an_anomaly() {
    let mut drill = Drill::new(How::KillPid);
    drill.dies().led(2300, "c", "c", 4);
    assert_eq!(drill.anomaly(), "term 4 has two leaders: b and c");
}

#[test]
fn a_caller_who_is_lost_or_gone_without_an_end_is_an_anomaly_and_named_by_two_digits() {
    let mut drill = Drill::new(How::KillPid);
    drill.dies().0.after = Some(vec![call(1, 1), call(3, 2)]);
    assert_eq!(
        drill.anomaly(),
        "call 2 (******02) in support is gone without an end"
    );
    drill.event(
        3000,
        110,
        53_000,
        "call_left",
        json!({ "call": 2, "outcome": "Lost" }),
    );
    assert_eq!(drill.anomaly(), "call 2 (******02) in support was lost");
    assert!(!super::text::text(&drill.report()).contains("49301202"));

    let mut drill = Drill::new(How::KillPid);
    drill.dies().0.after = Some(vec![call(1, 1), call(3, 2)]);
    drill.event(
        3000,
        110,
        53_000,
        "call_left",
        json!({ "call": 2, "outcome": "Abandoned" }),
    );
    let report = drill.report();
    assert!(
        report.good,
        "who hangs up is no anomaly: {:?}",
        report.anomalies
    );
    assert_eq!(report.callers.ended["abandoned"], 1);
    drill.event(
        3100,
        111,
        53_100,
        "call_left",
        json!({ "call": 2, "outcome": "Abandoned" }),
    );
    assert!(drill.anomaly().contains("has ended twice"));
}

#[test]
fn a_caller_who_was_overtaken_is_an_anomaly_unless_somebody_moved_him() {
    let mut drill = Drill::new(How::StepDown);
    drill.dies().0.after = Some(vec![call(2, 1), call(1, 2), call(3, 3), call(4, 4)]);
    assert_eq!(
        drill.anomaly(),
        "call 1 (******01) in support was overtaken in the line"
    );
    drill.event(
        3000,
        110,
        53_000,
        "call_priority",
        json!({ "call": 2, "priority": 9 }),
    );
    assert!(drill.report().good);
}

#[test]
fn an_agent_in_two_hands_and_a_call_connected_twice_are_anomalies() {
    let mut drill = Drill::new(How::KillPid);
    drill.offer(700, 101, 1, 1, "1001").dies();
    drill.offer(2300, 102, 2, 1, "1001");
    assert_eq!(
        drill.anomaly(),
        "agent 1001 was offered call 2 (******02) in support while in call 1"
    );
    let connected = |attempt: u64, agent: &str| json!({ "call": 1, "queue": "support", "attempt": attempt, "agent": agent });
    let mut drill = Drill::new(How::KillPid);
    drill.dies();
    drill.event(2400, 103, 52_000, "call_connected", connected(1, "1001"));
    assert!(drill.report().good);
    drill.event(2500, 104, 52_100, "call_connected", connected(2, "1002"));
    assert_eq!(
        drill.anomaly(),
        "call 1 (******01) in support was connected twice"
    );
}

#[test]
fn what_the_picture_of_before_holds_already_is_not_doubled() {
    let mut drill = Drill::new(How::KillPid);
    let mut offered = call(1, 1);
    (offered.phase, offered.agents, offered.attempts) = ("offered".into(), vec!["1001".into()], 1);
    let mut talks = call(2, 2);
    (talks.phase, talks.position, talks.agents) = ("connected".into(), None, vec!["1002".into()]);
    talks.attempts = 4;
    drill.0.before = vec![offered, talks, call(3, 3)];
    drill.0.after = Some(drill.0.before.clone());
    // Older than the picture, and of the same entry.
    drill
        .offer(500, 99, 3, 1, "1002")
        .offer(600, 101, 1, 1, "1001");
    let again = json!({ "call": 2, "queue": "support", "attempt": 4, "agent": "1002" });
    drill
        .event(650, 102, 50_000, "call_connected", again)
        .dies();
    let report = drill.report();
    assert!(report.good, "{:?}", report.anomalies);
}

#[test]
fn deadlines_are_judged_by_the_cluster_clock() {
    let mut drill = Drill::new(How::KillPid);
    drill.0.before[1].timeout_in_ms = Some(4_000);
    drill.0.before[2].timeout_in_ms = Some(4_000);
    drill.0.before[2].pbx = "a".into();
    drill.0.after = Some(vec![call(1, 1)]);
    drill.offer(700, 101, 1, 1, "1001").dies();
    let no_answer = json!({ "call": 1, "attempt": 1, "agent": "1001", "cause": "NoAnswer" });
    drill.event(3000, 105, 61_500, "offer_failed", no_answer);
    drill.event(
        3100,
        106,
        61_600,
        "agent_wrap_up",
        json!({ "agent": "1002", "until": 62_000 }),
    );
    drill.event(3200, 107, 62_100, "agent_ready", json!({ "agent": "1002" }));
    let timeout = |call: u64| json!({ "call": call, "outcome": "Timeout" });
    drill.event(3300, 108, 55_000, "call_left", timeout(2));
    // Of the dead node's Asterisk: nobody could send him away, so that this is not judged.
    drill.event(3400, 109, 70_000, "call_left", timeout(3));
    let report = drill.report();
    assert!(report.good, "{:?}", report.anomalies);
    assert_eq!(
        (report.deadlines.judged, report.deadlines.latest_ms),
        (3, 1_500)
    );

    drill.0.limits.late_ms = 1_000;
    assert_eq!(
        drill.anomaly(),
        "the ring time of call 1 (******01) in support ended 1500 ms late, more than 1000 ms"
    );
    let mut drill = Drill::new(How::KillPid);
    drill.0.before[1].timeout_in_ms = Some(4_000);
    drill.0.after = Some(vec![call(1, 1), call(3, 2)]);
    drill
        .dies()
        .event(3300, 108, 53_000, "call_left", timeout(2));
    assert!(drill.anomaly().contains("ended 1000 ms early"));
}

#[test]
fn replicas_are_compared_only_at_the_same_index() {
    let mut drill = Drill::new(How::KillPid);
    drill.dies().0.digests[1].2 = "other".into();
    assert!(drill.anomaly().contains("different states"));
    drill.0.digests[1].1 = 119;
    assert_eq!(drill.report().replicas_agree, None);
}
