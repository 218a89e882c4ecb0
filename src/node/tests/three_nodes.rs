//! Three nodes, each beside its own simulated Asterisk: one line over all of them, and what
//! happens to it when a node, an Asterisk, an event socket or the quorum is lost.

mod support;

use holdfast_acd::call::Phase;
use holdfast_acd::pbx::Sight;
use holdfast_acd::settings::{Announce, QueueSettings, Strategy};
use holdfast_acd::{CallId, PbxId, State};
use holdfast_node::config::Span;
use holdfast_sim::{CallSpec, Caller, CallerState, DeviceState, Habit, Hearing, SimAsterisk};
use std::time::Duration;
use support::*;

const NAMES: [&str; 3] = ["a", "b", "c"];

fn in_turn() -> QueueSettings {
    QueueSettings {
        strategy: Strategy::RrMemory,
        ..plain()
    }
}

fn waiting(state: &State) -> Vec<CallId> {
    state
        .queue(&queue("support"))
        .map(|q| q.line.iter().map(|p| p.call).collect())
        .unwrap_or_default()
}

/// Callers at the given Asterisks, one after the other, so that their order is known.
async fn callers(cluster: &Cluster, at: &[usize]) -> Vec<Caller> {
    let mut callers = Vec::new();
    let before = cluster.up().handle().read(|state| waiting(state).len());
    for (n, node) in at.iter().enumerate() {
        let number = format!("555{n:04}");
        callers.push(
            cluster.nodes[*node]
                .sim
                .place_call(CallSpec::new("q-support", &number)),
        );
        for node in cluster.nodes.iter().filter(|node| node.runs()) {
            node.until("the caller waits", |s| waiting(s).len() == before + n + 1)
                .await;
        }
    }
    callers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_of_three_asterisks_are_answered_in_order_by_one_agent() {
    log();
    let cluster = Cluster::start(&NAMES).await;
    cluster.queue("support", in_turn()).await;
    let callers = callers(&cluster, &[2, 0, 1, 1, 0, 2]).await;
    let phone = cluster.nodes[0].sim.phone("1001", answer(10, Some(500)));
    cluster.agent("1001", "a", &["support"]).await;
    let mut ended = Vec::new();
    for caller in &callers {
        let end = tokio::time::timeout(LONG, caller.ended())
            .await
            .expect("answered in time");
        assert_eq!(end.talked_to, ["1001"]);
        ended.push(caller.clone());
    }
    let answered = cluster
        .first()
        .handle()
        .read(|state| state.queue(&queue("support")).unwrap().counters.answered);
    assert_eq!(
        (answered, phone.answered(), phone.max_concurrent()),
        (6, 6, 1)
    );
    let order = cluster
        .first()
        .handle()
        .raft()
        .journal()
        .since(0, 10_000)
        .unwrap();
    let connected: Vec<u64> = order
        .iter()
        .filter_map(|record| match &record.event {
            holdfast_acd::Event::CallConnected { call, .. } => Some(call.0),
            _ => None,
        })
        .collect();
    assert_eq!(connected, [1, 2, 3, 4, 5, 6]);
    for node in &cluster.nodes {
        empty(&node.sim).await;
        released(node).await;
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_line_survives_the_leader_and_talks_go_on() {
    log();
    let mut cluster = Cluster::start(&NAMES).await;
    cluster.queue("support", in_turn()).await;
    let leader = cluster.leader().await;
    let (one, two) = ((leader + 1) % 3, (leader + 2) % 3);
    // One talk at a follower, then a line over all three.
    let talker = cluster.nodes[one].sim.phone("1001", answer(10, None));
    cluster.agent("1001", NAMES[one], &["support"]).await;
    let talking = cluster.nodes[one]
        .sim
        .place_call(CallSpec::new("q-support", "1"));
    until(&cluster.nodes[one].sim, "they talk", |_| {
        talking.state() == CallerState::Talking
    })
    .await;
    let waiting_callers = callers(&cluster, &[one, leader, two, one]).await;
    let order = cluster.nodes[one].handle().read(waiting);
    cluster.nodes[leader].faults.isolate(true);
    let follower = &cluster.nodes[one];
    follower
        .until("the lost node is away", |state| {
            let lost = PbxId::new(NAMES[leader]).unwrap();
            state
                .pbx(&lost)
                .is_some_and(|pbx| pbx.sight == Sight::NodeAway)
        })
        .await;
    assert_eq!(talking.state(), CallerState::Talking);
    assert_eq!(follower.handle().read(waiting), order);
    // Distribution goes on for those who live.
    let phone = cluster.nodes[two].sim.phone("1002", answer(10, None));
    cluster
        .agent_by(follower, "1002", NAMES[two], &["support"])
        .await;
    until(
        &cluster.nodes[one].sim,
        "the first in the line talks",
        |_| waiting_callers[0].talking_to().as_deref() == Some("1002"),
    )
    .await;
    assert_eq!((phone.answered(), talker.answered()), (1, 1));
    // The lost one comes back, and its caller has the old place.
    cluster.nodes[leader].faults.heal();
    cluster.nodes[two]
        .until("it is back", |state| {
            let lost = PbxId::new(NAMES[leader]).unwrap();
            state.pbx(&lost).is_some_and(|pbx| pbx.sight == Sight::Up)
        })
        .await;
    assert_eq!(cluster.nodes[two].handle().read(waiting), order[1..]);
    waiting_callers[0].hang_up();
    until(
        &cluster.nodes[leader].sim,
        "the second in the line talks",
        |_| waiting_callers[1].talking_to().as_deref() == Some("1002"),
    )
    .await;
    for node in &mut cluster.nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_restarted_picks_its_callers_up_at_their_old_places() {
    log();
    let mut cluster = Cluster::start(&NAMES).await;
    cluster.queue("support", in_turn()).await;
    let waiting_callers = callers(&cluster, &[0, 1, 0]).await;
    let order = cluster.nodes[1].handle().read(waiting);
    cluster.nodes[0].stop().await;
    assert!(matches!(
        heard(&waiting_callers[0]).last(),
        Some(Hearing::Music { .. })
    ));
    // New callers there fail over in the dialplan at once.
    let late = cluster.nodes[0]
        .sim
        .place_call(CallSpec::new("q-support", "9"));
    let end = tokio::time::timeout(LONG, late.ended()).await.unwrap();
    assert_eq!(
        end.dialplan.get("STASISSTATUS").map(String::as_str),
        Some("FAILED")
    );
    cluster.nodes[0].start().await;
    cluster.nodes[0].connected().await;
    assert_eq!(cluster.nodes[0].handle().read(waiting), order);
    assert!(matches!(
        heard(&waiting_callers[0]).last(),
        Some(Hearing::Music { .. })
    ));
    let phone = cluster.nodes[1].sim.phone("1001", answer(10, Some(500)));
    cluster.agent("1001", "b", &["support"]).await;
    for caller in &waiting_callers {
        let end = tokio::time::timeout(LONG, caller.ended())
            .await
            .expect("answered in time");
        assert_eq!(end.talked_to, ["1001"]);
    }
    assert_eq!(phone.max_concurrent(), 1);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_cut_of_the_event_socket_the_state_agrees_with_asterisk() {
    log();
    let cluster = Cluster::start(&NAMES).await;
    cluster.queue("support", in_turn()).await;
    let node = &cluster.nodes[0];
    let before = callers(&cluster, &[0, 0, 1]).await;
    let phone = node.sim.phone("1001", answer(10, None));
    cluster.agent("1001", "a", &["support"]).await;
    until(&node.sim, "one talks", |_| {
        before[0].state() == CallerState::Talking
    })
    .await;
    node.sim.refuse_websockets(Duration::from_secs(2));
    let mut ari = node.handle().ari_watch();
    tokio::time::timeout(LONG, ari.wait_for(|s| !s.connected))
        .await
        .unwrap()
        .unwrap();
    // While nobody looks the talk ends and one who waits gives up.
    phone.set_habit(Habit::NoAnswer);
    before[1].hang_up();
    phone.hang_up();
    node.connected().await;
    node.until("the state agrees", |state| {
        waiting(state).len() <= 1 && state.calls().count() == 1
    })
    .await;
    until(&node.sim, "nothing is left but the ring", |sim| {
        sim.bridges().is_empty() && sim.channels().iter().all(|c| c.phone.is_some())
    })
    .await;
    assert_eq!(before[2].state(), CallerState::Waiting);
    phone.set_habit(answer(10, None));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_an_asterisk_dies_its_calls_end_and_it_is_used_again_when_it_is_back() {
    log();
    let cluster = Cluster::start(&NAMES).await;
    cluster.queue("support", in_turn()).await;
    let phone = cluster.nodes[1].sim.phone("1001", answer(10, None));
    cluster.agent("1001", "b", &["support"]).await;
    let node = &cluster.nodes[0];
    let talking = node.sim.place_call(CallSpec::new("q-support", "1"));
    until(&node.sim, "they talk", |_| {
        talking.state() == CallerState::Talking
    })
    .await;
    let other = callers(&cluster, &[0, 1]).await;
    node.sim.kill().await;
    // The agent hears nothing any more and hangs up; else the phone is busy until it notices.
    phone.hang_up();
    // The agent is free for the caller of the other Asterisk.
    until(&cluster.nodes[1].sim, "the other caller talks", |_| {
        other[1].talking_to().as_deref() == Some("1001")
    })
    .await;
    cluster.nodes[2]
        .until("lost calls are gone", |state| state.calls().count() == 1)
        .await;
    node.sim.restart().await.unwrap();
    node.connected().await;
    other[1].hang_up();
    let again = node.sim.place_call(CallSpec::new("q-support", "2"));
    until(&node.sim, "it is used again", |_| {
        again.state() == CallerState::Talking
    })
    .await;
    assert_eq!(phone.max_concurrent(), 1);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_quorum_callers_keep_music_and_then_go_to_the_fallback() {
    log();
    let cluster = Cluster::start_with(&NAMES, |config| {
        config.timing.no_quorum_after = Span::ms(3_000);
    })
    .await;
    let mut settings = in_turn();
    settings.fallback.context = Some("fallback".into());
    settings.fallback.exten = Some("100".into());
    cluster.queue("support", settings).await;
    let known = callers(&cluster, &[0]).await;
    cluster.nodes[0].faults.isolate(true);
    let fresh = cluster.nodes[0]
        .sim
        .place_call(CallSpec::new("q-support", "7"));
    until(&cluster.nodes[0].sim, "the new caller hears music", |_| {
        matches!(heard(&fresh).last(), Some(Hearing::Music { .. }))
    })
    .await;
    for caller in known.iter().chain([&fresh]) {
        let end = tokio::time::timeout(LONG, caller.ended())
            .await
            .expect("the fallback in time");
        let status = end.dialplan.get("QUEUESTATUS").map(String::as_str);
        assert_eq!(status, Some("NOQUORUM"), "{:?}", end);
        let heard = heard(caller);
        let waited = heard.iter().skip(1).take(heard.len().saturating_sub(2));
        assert!(waited.clone().all(|h| *h != Hearing::Silence), "{heard:?}");
    }
    cluster.nodes[0].faults.heal();
    released(&cluster.nodes[1]).await;
    let outcome = cluster.nodes[1]
        .handle()
        .read(|state| state.queue(&queue("support")).unwrap().counters.no_quorum);
    // The new one counts only if his asking to join was written later.
    assert!((1..=2).contains(&outcome), "{outcome}");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_of_another_asterisk_is_reached_through_the_trunk_and_only_once() {
    log();
    let cluster = Cluster::start(&NAMES).await;
    cluster.queue("support", in_turn()).await;
    let phone = cluster.nodes[2].sim.phone("1001", answer(200, Some(300)));
    cluster.agent("1001", "c", &["support"]).await;
    let all: Vec<Caller> = (0..9)
        .map(|n| {
            let number = format!("555{n:04}");
            cluster.nodes[n % 3]
                .sim
                .place_call(CallSpec::new("q-support", &number))
        })
        .collect();
    for caller in &all {
        let end = tokio::time::timeout(LONG, caller.ended())
            .await
            .expect("answered in time");
        assert_eq!(end.talked_to, ["1001"]);
    }
    assert_eq!((phone.answered(), phone.max_concurrent()), (9, 1));
    for node in &cluster.nodes {
        empty(&node.sim).await;
        released(node).await;
        let connected = |state: &State| {
            state
                .calls()
                .any(|call| matches!(call.phase, Phase::Connected { .. }))
        };
        assert!(!node.handle().read(connected));
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_who_hang_up_at_once_at_any_node_leave_no_call_behind() {
    log();
    let cluster = Cluster::start(&NAMES).await;
    cluster.queue("support", in_turn()).await;
    for round in 0..30_u64 {
        let node = &cluster.nodes[round as usize % 3];
        let spec = CallSpec::new("q-support", "1").patience_ms(round % 10 * 5);
        let caller = node.sim.place_call(spec);
        tokio::time::timeout(LONG, caller.ended())
            .await
            .expect("hangs up");
    }
    for node in &cluster.nodes {
        empty(&node.sim).await;
        node.until_counted("no actor is left", |metrics| metrics.callers == 0)
            .await;
    }
    // Nobody who could still say that these callers have gone is left: so nothing may be there.
    for node in &cluster.nodes {
        node.handle().raft().barrier(LONG).await.expect("a leader");
        assert_eq!(node.handle().read(|state| state.calls().count()), 0);
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_removed_leaves_no_caller_behind_who_is_offered() {
    log();
    let lost_after =
        |config: &mut holdfast_node::NodeConfig| config.timing.node_lost_after = Span::ms(2_000);
    let mut cluster = Cluster::start_with(&NAMES, lost_after).await;
    cluster.queue("support", in_turn()).await;
    let _first = callers(&cluster, &[2, 1]).await;
    cluster.nodes[2].stop().await;
    let raft = cluster.up().handle();
    raft.raft().remove_node("c").await.expect("c can go");
    let away = |state: &State| state.pbxes().find(|pbx| pbx.id.as_str() == "c").cloned();
    let seen = cluster.up();
    seen.until("nobody drives the asterisk of c", |state| {
        away(state).is_some_and(|pbx| pbx.sight != Sight::Up)
    })
    .await;
    // Whoever is free goes to the caller who can be reached, although the other came first.
    let phone = cluster.nodes[1].sim.phone("1001", answer(10, None));
    cluster.agent_by(seen, "1001", "b", &["support"]).await;
    until(&cluster.nodes[1].sim, "they talk", |_| {
        phone.answered() == 1
    })
    .await;
    seen.until("the caller of c is given up", |state| {
        waiting(state).is_empty()
    })
    .await;
    for node in &mut cluster.nodes {
        if node.runs() {
            node.stop().await;
        }
    }
}

/// Its second announcement is due while the first one plays, and then the node is cut off.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_cut_off_tells_no_position_until_it_knows_the_one_of_now() {
    log();
    let cluster = Cluster::start(&NAMES).await;
    let announce = Announce {
        frequency_ms: 1_000,
        min_frequency_ms: 0,
        first_after_ms: 100,
        ..Announce::default()
    };
    let settings = QueueSettings {
        announce,
        ..in_turn()
    };
    cluster.queue("support", settings).await;
    let leader = cluster.leader().await;
    let away = (leader + 1) % 3;
    let callers = callers(&cluster, &[leader, away]).await;
    let node = &cluster.nodes[away];
    let second = CallId(2);
    node.until("it is due to be told again", |state| {
        let call = state.call(second);
        call.and_then(|call| call.announcement.as_ref())
            .is_some_and(|it| it.number == 2 && it.position == 2)
    })
    .await;
    node.faults.isolate(true);
    callers[0].hang_up();
    cluster.nodes[leader]
        .until("he is next in truth", |state| {
            state.position(second) == Some(1)
        })
        .await;
    let (old, new) = (
        Hearing::Sound("number:2".into()),
        Hearing::Sound("sound:queue-youarenext".into()),
    );
    until(&node.sim, "the first announcement is over", |_| {
        let heard = heard(&callers[1]);
        heard.contains(&old) && matches!(heard.last(), Some(Hearing::Music { .. }))
    })
    .await;
    assert!(!node.handle().raft().is_current());
    node.faults.heal();
    until(&node.sim, "he is told what is right now", |_| {
        heard(&callers[1]).contains(&new)
    })
    .await;
    let told = heard(&callers[1]);
    assert_eq!(told.iter().filter(|h| **h == old).count(), 1, "{told:?}");
    callers[1].hang_up();
    cluster.stop().await;
}

/// The others count its node as away and offer the agent to callers of theirs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_phone_stops_ringing_for_a_caller_whose_node_is_cut_off() {
    log();
    let cluster = Cluster::start(&NAMES).await;
    cluster.queue("support", in_turn()).await;
    let away = (cluster.leader().await + 1) % 3;
    let node = &cluster.nodes[away];
    let phone = node.sim.phone("1001", Habit::NoAnswer);
    cluster.agent("1001", NAMES[away], &["support"]).await;
    let caller = node.sim.place_call(CallSpec::new("q-support", "1"));
    let rings = |_: &SimAsterisk| phone.device_state() == DeviceState::Ringing;
    until(&node.sim, "it rings", rings).await;
    node.faults.isolate(true);
    // When the ring time or the patience of the node ends, the caller is gone as well.
    until(&node.sim, "it rings no more", |sim| !rings(sim)).await;
    assert_eq!(caller.state(), CallerState::Waiting);
    assert!(matches!(heard(&caller).last(), Some(Hearing::Music { .. })));
    // Longer than a busy machine takes to connect the two.
    phone.set_habit(answer(10, Some(1500)));
    node.faults.heal();
    let end = tokio::time::timeout(LONG, caller.ended()).await;
    assert_eq!(end.expect("answered in time").talked_to, ["1001"]);
    assert_eq!(phone.times_rung(), 2);
    cluster.stop().await;
}
