//! A node is lost and its Asterisk is not: another node drives it, and gives it back.

mod support;

use holdfast_acd::call::Phase;
use holdfast_acd::command::CallerJoin;
use holdfast_acd::pbx::{Pbx, Sight};
use holdfast_acd::settings::{QueueSettings, Strategy};
use holdfast_acd::{ChannelId, Command, Event, PbxId, State};
use holdfast_ari::{AriClient, AriConfig, CallerId, Endpoint, Originate};
use holdfast_node::config::Span;
use holdfast_sim::{CallSpec, Caller, CallerState, Habit, Hearing};
use support::*;

const NAMES: [&str; 3] = ["a", "b", "c"];
/// Place of node `b`, the one that is lost, in the cluster.
const B: usize = 1;

fn in_turn() -> QueueSettings {
    QueueSettings {
        strategy: Strategy::RrMemory,
        ..plain()
    }
}

fn pbx(state: &State, name: &str) -> Pbx {
    let name = PbxId::new(name).unwrap();
    state.pbx(&name).cloned().expect("it was driven once")
}

async fn waits(cluster: &Cluster, at: usize, number: &str) -> Caller {
    let spec = CallSpec::new("q-support", number);
    let caller = cluster.nodes[at].sim.place_call(spec);
    cluster
        .up()
        .until("the caller waits", |state| {
            line(state).iter().any(|it| it == number)
        })
        .await;
    caller
}

/// Waits until this Asterisk is driven, by another node than its own or by its own.
async fn driven(node: &TestNode, name: &str, by_its_own: bool) -> String {
    node.until("it is driven", |state| {
        let pbx = pbx(state, name);
        pbx.sight == Sight::Up && (pbx.node == pbx.home) == by_its_own
    })
    .await;
    node.handle()
        .read(|state| pbx(state, name).node.to_string())
}

/// Times that an Asterisk was given to another node than before, as the journal has it.
fn given(node: &TestNode, name: &str) -> Vec<bool> {
    let journal = node.handle().raft().journal().since(0, 10_000).unwrap();
    let claims = journal.iter().filter_map(|record| match &record.event {
        Event::PbxClaimed {
            pbx,
            from: Some(_),
            takeover,
            ..
        } if pbx.as_str() == name => Some(*takeover),
        _ => None,
    });
    claims.collect()
}

fn node<'a>(cluster: &'a Cluster, name: &str) -> &'a TestNode {
    let mut nodes = cluster.nodes.iter();
    nodes
        .find(|node| node.name == name)
        .expect("a node of that name")
}

/// Silence is before the music, for the moment in which the two are bridged, and after the talk.
fn never_silent(caller: &Caller) {
    let heard = heard(caller);
    let music = |it: Option<&Hearing>| matches!(it, Some(Hearing::Music { .. }));
    for n in 1..heard.len() {
        let gap = heard[n] == Hearing::Silence && music(heard.get(n - 1));
        let bridged = matches!(heard.get(n + 1), Some(Hearing::Bridged { .. }));
        assert!(!gap || bridged, "{heard:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_of_a_dead_node_are_served_by_another_and_it_gets_its_asterisk_back() {
    log();
    let mut cluster = Cluster::start_taking(&NAMES, |_| {}).await;
    cluster.queue("support", in_turn()).await;
    let first = cluster.nodes[0].sim.phone("1001", answer(10, None));
    cluster.agent("1001", "a", &["support"]).await;
    let talker = cluster.nodes[B]
        .sim
        .place_call(CallSpec::new("q-support", "5550"));
    talks(&cluster, B, &talker, "1001").await;
    let one = waits(&cluster, B, "5551").await;
    let two = waits(&cluster, 0, "5552").await;
    let three = waits(&cluster, B, "5553").await;

    cluster.nodes[B].kill().await;
    let by = driven(cluster.up(), "b", false).await;
    assert_eq!(
        given(cluster.up(), "b"),
        [true],
        "two could, and one was given it"
    );
    assert_eq!(
        node(&cluster, &by).handle().metrics().asterisks_taken_over,
        1
    );
    assert_eq!(cluster.up().handle().read(line), ["5551", "5552", "5553"]);
    assert_eq!(talker.state(), CallerState::Talking);

    // Who waits there is rung, who comes there joins, and who hangs up frees the agent.
    let second = cluster.nodes[2].sim.phone("1002", answer(10, None));
    cluster.agent("1002", "c", &["support"]).await;
    talks(&cluster, B, &one, "1002").await;
    let four = waits(&cluster, B, "5554").await;
    talker.hang_up();
    talks(&cluster, 0, &two, "1001").await;
    assert_eq!(cluster.up().handle().read(line), ["5553", "5554"]);

    // It is back: the same places, the talk goes on, and its hang-up is seen by its own node.
    cluster.nodes[B].start().await;
    cluster.nodes[B].connected().await;
    assert_eq!(driven(&cluster.nodes[B], "b", true).await, "b");
    assert_eq!(given(cluster.up(), "b"), [true, false]);
    assert_eq!(cluster.nodes[B].handle().metrics().asterisks_taken_back, 1);
    assert_eq!(cluster.nodes[B].handle().read(line), ["5553", "5554"]);
    assert_eq!(one.talking_to().as_deref(), Some("1002"));
    second.hang_up();
    talks(&cluster, B, &three, "1002").await;
    two.hang_up();
    talks(&cluster, B, &four, "1001").await;
    for caller in [&talker, &one, &three, &four] {
        never_silent(caller);
    }
    three.hang_up();
    four.hang_up();
    for node in &cluster.nodes {
        empty(&node.sim).await;
        released(node).await;
    }
    assert_eq!((first.max_concurrent(), second.max_concurrent()), (1, 1));
    assert_eq!((first.answered(), second.answered()), (3, 2));
    assert_eq!(
        (first.times_rung(), second.times_rung()),
        (3, 2),
        "nobody was rung twice"
    );
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_whose_phone_rings_for_a_dead_node_is_rung_again_and_connected_once() {
    log();
    let mut cluster = Cluster::start_taking(&NAMES, |_| {}).await;
    cluster.queue("support", in_turn()).await;
    let phone = cluster.nodes[2].sim.phone("1001", Habit::NoAnswer);
    cluster.agent("1001", "c", &["support"]).await;
    let caller = waits(&cluster, B, "5551").await;
    cluster
        .up()
        .until("it rings", |state| {
            let offers = state.calls().filter_map(|call| call.offer());
            offers
                .flat_map(|offer| &offer.agents)
                .any(|it| it.ringing_since.is_some())
        })
        .await;
    cluster.nodes[B].kill().await;
    driven(cluster.up(), "b", false).await;
    // The old leg is gone, a new one rings; the ring time of the old offer was never waited for.
    cluster
        .up()
        .until("the second offer rings", |state| {
            let offers = state.calls().filter_map(|call| call.offer());
            let mut second = offers.filter(|offer| offer.attempt.0 > 1);
            second.any(|offer| offer.agents[0].ringing_since.is_some())
        })
        .await;
    until(&cluster.nodes[B].sim, "one leg rings", |sim| {
        legs(sim).len() == 1
    })
    .await;
    assert_eq!(phone.times_rung(), 2);
    cluster.stop().await;
    drop(caller);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_cut_off_is_deposed_and_stays_silent_until_it_is_back() {
    log();
    let cluster = Cluster::start_taking(&NAMES, |config| {
        config.timing.no_quorum_after = Span::ms(3_000);
    })
    .await;
    let mut settings = in_turn();
    settings.fallback.context = Some("fallback".into());
    settings.fallback.exten = Some("100".into());
    cluster.queue("support", settings).await;
    let caller = waits(&cluster, B, "5551").await;
    let lost = &cluster.nodes[B];
    lost.faults.isolate(true);
    driven(&cluster.nodes[0], "b", false).await;
    let mut ari = lost.handle().ari_watch();
    let deposed = tokio::time::timeout(LONG, ari.wait_for(|status| status.deposed)).await;
    deposed.expect("told by asterisk").unwrap();
    // It hears of nobody for so long that callers of its own would go to their fallback.
    let no_quorum = async {
        let alone = |check: &holdfast_node::Check| {
            check.name == "cluster" && check.detail.contains("no leader was heard of")
        };
        while !lost.handle().readiness().iter().any(alone) {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(LONG, no_quorum)
        .await
        .expect("it is alone");
    assert_eq!(caller.state(), CallerState::Waiting);
    let phone = cluster.nodes[0].sim.phone("1001", answer(10, None));
    cluster.agent("1001", "a", &["support"]).await;
    talks(&cluster, B, &caller, "1001").await;
    let next = waits(&cluster, B, "5552").await;

    lost.faults.heal();
    lost.connected().await;
    assert_eq!(driven(lost, "b", true).await, "b");
    assert_eq!(
        caller.talking_to().as_deref(),
        Some("1001"),
        "the talk went on"
    );
    phone.hang_up();
    talks(&cluster, B, &next, "1001").await;
    never_silent(&next);
    let counters = lost
        .handle()
        .read(|state| state.queue(&queue("support")).unwrap().counters.clone());
    assert_eq!((counters.no_quorum, counters.answered), (0, 2));
    assert_eq!((phone.times_rung(), phone.max_concurrent()), (2, 1));
    cluster.stop().await;
}

/// Waits until a takeover would long have been due.
async fn long_overdue(node: &TestNode) {
    node.until("it is away", |state| pbx(state, "b").away_at.is_some())
        .await;
    let handle = node.handle();
    let due = handle.read(|state| pbx(state, "b").away_at.unwrap()) + 3 * 700;
    let wait = async {
        while handle.raft().now_ms() < due {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(LONG, wait)
        .await
        .expect("the clock goes on");
    handle.raft().barrier(LONG).await.expect("a leader");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_asterisk_that_is_not_to_be_taken_over_or_cannot_be_reached_is_left_alone() {
    log();
    // Of b its own node says no; of c nobody can reach the ARI.
    let mut cluster = Cluster::start_taking(&NAMES, |config| {
        if config.node.name == "b" {
            config.asterisk.as_mut().unwrap().takeover = false;
        }
        for other in &mut config.takeover {
            if other.systemname == "c" {
                other.url = "http://127.0.0.1:9/ari".into();
            }
        }
    })
    .await;
    cluster.queue("support", in_turn()).await;
    let caller = waits(&cluster, B, "5551").await;
    cluster.nodes[B].kill().await;
    long_overdue(&cluster.nodes[0]).await;
    assert!(given(&cluster.nodes[0], "b").is_empty());
    let left = cluster.nodes[0].handle().read(|state| pbx(state, "b"));
    assert_eq!((left.sight, left.node.as_str()), (Sight::NodeAway, "b"));
    assert!(matches!(heard(&caller).last(), Some(Hearing::Music { .. })));
    cluster.nodes[B].start().await;
    cluster.nodes[B].connected().await;
    assert_eq!(cluster.nodes[B].handle().read(line), ["5551"]);

    cluster.nodes[2].kill().await;
    let tried = async {
        loop {
            let others = cluster.nodes[0].handle().other_asterisks();
            let c = others.iter().find(|it| it.pbx == "c").unwrap();
            if c.last_error
                .as_ref()
                .is_some_and(|it| it.contains("refused"))
            {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(LONG, tried)
        .await
        .expect("it was tried, and why it failed is told");
    assert!(given(&cluster.nodes[0], "c").is_empty());
    assert_eq!(
        cluster.nodes[0]
            .handle()
            .read(|state| pbx(state, "c").node.to_string()),
        "c"
    );
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_node_that_took_over_dies_too_and_a_third_goes_on() {
    log();
    let names = ["a", "b", "c", "d", "e"];
    let mut cluster = Cluster::start_taking(&names, |_| {}).await;
    cluster.queue("support", in_turn()).await;
    let caller = waits(&cluster, B, "5551").await;
    cluster.nodes[B].kill().await;
    let by = driven(cluster.up(), "b", false).await;
    let second = names.iter().position(|name| **name == *by).unwrap();
    let other = waits(&cluster, second, "5552").await;
    cluster.nodes[second].kill().await;
    let up = cluster.up();
    up.until("both are driven by a third", |state| {
        [NAMES[B], names[second]].iter().all(|name| {
            let pbx = pbx(state, name);
            pbx.sight == Sight::Up && pbx.node.as_str() != by && pbx.node.as_str() != "b"
        })
    })
    .await;
    assert_eq!(up.handle().read(line), ["5551", "5552"]);
    let living = (0..5).find(|n| cluster.nodes[*n].runs()).unwrap();
    let phone = cluster.nodes[living].sim.phone("1001", answer(10, None));
    cluster.agent("1001", names[living], &["support"]).await;
    talks(&cluster, B, &caller, "1001").await;
    phone.hang_up();
    talks(&cluster, second, &other, "1001").await;
    assert_eq!((phone.times_rung(), phone.max_concurrent()), (2, 1));
    cluster.stop().await;
}

/// What a driver that is over had on its way may be done late: it must harm nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late_requests_and_facts_of_an_earlier_driver_are_harmless() {
    log();
    let cluster = Cluster::start(&["a"]).await;
    cluster.queue("support", in_turn()).await;
    let here = cluster.first();
    let caller = waits(&cluster, 0, "5551").await;
    let phone = here.sim.phone("1001", Habit::NoAnswer);
    let call = here.handle().read(|state| state.calls().next().unwrap().id);

    // A leg of an old epoch rings: nobody has asked for it, so it is hung up on sight.
    let config = AriConfig::new(
        &here.sim.ari_url(),
        "holdfast",
        holdfast_ari::Secret::new("secret"),
        "QueueARI",
    );
    let ari = AriClient::new(&config.expect("good settings")).expect("a client");
    let late = Originate {
        channel_id: holdfast_ari::ChannelId::new(&format!("hf-a-1-{call}-9-1001")).unwrap(),
        endpoint: Endpoint::new("PJSIP/1001").unwrap(),
        app_args: vec!["leg".into()],
        caller_id: CallerId::default(),
        originator: None,
        timeout_s: 60,
        variables: Vec::new(),
    };
    ari.originate(&late).await.expect("it rings");
    until(&here.sim, "it is hung up", |sim| legs(sim).is_empty()).await;
    assert_eq!((phone.times_rung(), phone.answered()), (1, 0));
    assert_eq!(caller.state(), CallerState::Waiting);

    // A caller who has gone meanwhile is let join: he is found to be gone.
    let ghost = CallerJoin {
        pbx: PbxId::new("a").unwrap(),
        channel: ChannelId::new("a-1.999").unwrap(),
        queue: queue("support"),
        number: "5559".into(),
        name: String::new(),
        priority: 0,
        options: Default::default(),
    };
    let raft = here.handle().raft().clone();
    raft.propose(Command::CallerJoin(ghost), LONG)
        .await
        .unwrap()
        .reply
        .unwrap();
    here.until("the ghost is gone", |state| line(state) == ["5551"])
        .await;

    // A word on a phone under an epoch that is over.
    cluster.agent("1001", "a", &["support"]).await;
    let stale = Command::DeviceSeen {
        pbx: PbxId::new("a").unwrap(),
        epoch: 1,
        agent: agent("1001"),
        state: holdfast_acd::command::DeviceState::InUse,
    };
    raft.propose(stale, LONG).await.unwrap().reply.unwrap_err();
    cluster.stop().await;
}

/// Found while building this: the state gave the callers up, and the node, which never lost sight of
/// its Asterisk, did not compare again; its callers were never offered any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_given_up_while_it_lived_serves_its_callers_again() {
    log();
    let cluster = Cluster::start_with(&NAMES, |config| {
        config.timing.node_lost_after = Span::ms(2_000);
        config.timing.no_quorum_after = Span::ms(60_000);
    })
    .await;
    cluster.queue("support", in_turn()).await;
    let caller = waits(&cluster, B, "5551").await;
    let lost = &cluster.nodes[B];
    lost.faults.isolate(true);
    cluster.nodes[0]
        .until("its callers are given up", |state| {
            state.calls().count() == 0
        })
        .await;
    lost.faults.heal();
    driven(lost, "b", true).await;
    cluster.nodes[0].sim.phone("1001", answer(10, None));
    cluster.agent("1001", "a", &["support"]).await;
    talks(&cluster, B, &caller, "1001").await;
    let connected = |state: &State| {
        let mut calls = state.calls();
        calls.any(|call| matches!(call.phase, Phase::Connected { .. }))
    };
    lost.until("it is known", connected).await;
    never_silent(&caller);
    cluster.stop().await;
}

/// Found while building this: the leader took a node that is no member any more for one that answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_of_a_node_that_died_and_was_removed_are_given_up() {
    log();
    let mut cluster = Cluster::start_with(&NAMES, |config| {
        config.timing.node_lost_after = Span::ms(3_000);
    })
    .await;
    cluster.queue("support", in_turn()).await;
    let caller = waits(&cluster, B, "5551").await;
    cluster.nodes[B].kill().await;
    let up = cluster.up();
    up.until("it is away", |state| {
        pbx(state, "b").sight == Sight::NodeAway
    })
    .await;
    let leader = cluster.leader().await;
    let raft = cluster.nodes[leader].handle().raft().clone();
    raft.remove_node("b").await.expect("two of three are there");
    up.until("its caller is given up", |state| state.calls().count() == 0)
        .await;
    assert_eq!(caller.state(), CallerState::Waiting);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_driver_whose_asterisk_is_given_to_another_lets_go_and_asks_for_it_again() {
    log();
    let cluster = Cluster::start(&["a"]).await;
    cluster.queue("support", in_turn()).await;
    let here = cluster.first();
    let caller = waits(&cluster, 0, "5551").await;
    let before = here.handle().read(|state| pbx(state, "a"));
    let mut ari = here.handle().ari_watch();
    let stranger = Command::PbxClaim {
        pbx: before.id.clone(),
        node: holdfast_acd::NodeName::new("z").unwrap(),
        epoch: before.epoch + 1,
        claim: holdfast_acd::command::Claim::Home { takeover: true },
    };
    let raft = here.handle().raft().clone();
    raft.propose(stranger, LONG).await.unwrap().reply.unwrap();
    let gone = ari.wait_for(|status| {
        !status.connected && status.last_error.as_deref() == Some("node z drives it now")
    });
    tokio::time::timeout(LONG, gone)
        .await
        .expect("it lets go")
        .unwrap();
    assert_eq!(here.handle().metrics().callers, 0, "no actor is left");
    here.connected().await;
    assert_eq!(driven(here, "a", true).await, "a");
    assert_eq!(here.handle().read(line), ["5551"]);
    here.sim.phone("1001", answer(10, None));
    cluster.agent("1001", "a", &["support"]).await;
    talks(&cluster, 0, &caller, "1001").await;
    never_silent(&caller);
    cluster.stop().await;
}

/// It cannot send them away, for its event socket is another's: so it must not say that it did.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deposed_node_that_hears_of_nobody_counts_no_caller_as_sent_away() {
    log();
    let cluster = Cluster::start_taking(&NAMES, |config| {
        config.timing.no_quorum_after = Span::ms(3_000);
    })
    .await;
    cluster.queue("support", in_turn()).await;
    let caller = waits(&cluster, B, "5551").await;
    let lost = &cluster.nodes[B];
    lost.until("it knows the caller", |state| line(state) == ["5551"])
        .await;
    lost.faults.isolate(true);
    driven(&cluster.nodes[0], "b", false).await;
    let alone = |check: &holdfast_node::Check| {
        check.name == "cluster" && check.detail.contains("no leader was heard of")
    };
    let no_quorum = async {
        while !lost.handle().readiness().iter().any(alone) {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    let no_quorum = tokio::time::timeout(LONG, no_quorum);
    no_quorum.await.expect("it is alone");
    // Its own view is that the caller waits and that he has waited long enough.
    assert_eq!(lost.handle().read(line), ["5551"]);
    lost.faults.heal();
    lost.connected().await;
    assert_eq!(driven(lost, "b", true).await, "b");
    let sent = lost.handle().metrics().callers_no_quorum;
    let counted = lost
        .handle()
        .read(|state| state.queue(&queue("support")).unwrap().counters.no_quorum);
    assert_eq!((sent, counted), (0, 0));
    assert_eq!(lost.handle().read(line), ["5551"]);
    assert_eq!(caller.state(), CallerState::Waiting);
    never_silent(&caller);
    cluster.stop().await;
}
