//! Two people talk while nobody sees their Asterisk for so long that the cluster gives their call up.
//! Whatever the books say, they are not torn apart, and nobody else rings the agent.
//!
//! The queue rings phones that are in use (`ring_in_use`): what is said of a phone protects nobody here.

mod support;

use holdfast_acd::Event;
use holdfast_acd::agent::Hand;
use holdfast_acd::settings::{QueueSettings, Strategy};
use holdfast_acd::{PbxId, State};
use holdfast_node::config::Span;
use holdfast_sim::{CallSpec, Caller, CallerState, EndedBy, Habit, Hearing, Phone};
use std::net::SocketAddr;
use std::sync::Mutex;
use support::door::Door;
use support::*;

const NAMES: [&str; 3] = ["a", "b", "c"];
/// Place of node `b`, beside whose Asterisk they talk.
const B: usize = 1;
/// An agent of the Asterisk `a`, whose leg is one of `b`.
const AGENT: &str = "1001";

const ANSWERS: Habit = Habit::Answer {
    after_ms: 10,
    talk_ms: None,
};

struct Scene {
    cluster: Cluster,
    /// Before the ARI of `b`.
    door: Door,
    phone: Phone,
    talker: Caller,
    /// Waits at the same Asterisk.
    waiting: Caller,
}

impl Scene {
    async fn begin() -> Scene {
        Scene::begin_with(20_000).await
    }

    async fn begin_with(no_quorum_after_ms: u64) -> Scene {
        log();
        let door = Mutex::new(None);
        let cluster = Cluster::start_with(&NAMES, |config| {
            config.timing.node_lost_after = Span::ms(2_000);
            config.timing.no_quorum_after = Span::ms(no_quorum_after_ms);
            if let Some(asterisk) = config.asterisk.as_mut().filter(|it| it.systemname == "b") {
                let before = Door::before(address_of(&asterisk.url));
                asterisk.url = format!("http://{}/ari", before.address);
                *door.lock().unwrap() = Some(before);
            }
        })
        .await;
        let settings = QueueSettings {
            ring_time_ms: 30_000,
            strategy: Strategy::RrMemory,
            ring_in_use: true,
            ..QueueSettings::default()
        };
        cluster.queue("support", settings).await;
        let phone = cluster.nodes[0].sim.phone(AGENT, ANSWERS);
        cluster.agent(AGENT, "a", &["support"]).await;
        let talker = call(&cluster, B, "5550000");
        talks(&cluster, B, &talker, AGENT).await;
        phone.set_habit(Habit::NoAnswer);
        let waiting = call(&cluster, B, "5550001");
        for node in &cluster.nodes {
            node.until("one talks and one waits", |state| {
                state.calls().count() == 2 && line(state) == ["5550001"]
            })
            .await;
        }
        let door = door.into_inner().unwrap().expect("a door before b");
        Scene {
            cluster,
            door,
            phone,
            talker,
            waiting,
        }
    }

    fn b(&self) -> &TestNode {
        &self.cluster.nodes[B]
    }

    /// Until the others have given the Asterisk of `b` up, and the agent with it.
    async fn given_up(&self) {
        self.cluster.nodes[0]
            .until("b is given up", |state| {
                state.calls().all(|call| call.pbx.as_str() != "b") && is_free(state)
            })
            .await;
    }

    async fn held(&self) {
        self.b().until("the agent is held", is_held).await;
    }

    async fn back_in_line(&self) {
        self.b()
            .until("who waited is back in line", |state| {
                line(state) == ["5550001"]
            })
            .await;
    }

    /// Nothing is left after that.
    async fn who_waits_is_served(&self) {
        self.phone.set_habit(ANSWERS);
        talks(&self.cluster, B, &self.waiting, AGENT).await;
        self.waiting.hang_up();
        for node in &self.cluster.nodes {
            empty(&node.sim).await;
            released(node).await;
            node.until("the agent is free", is_free).await;
        }
    }

    fn talk_goes_on(&self) {
        assert_eq!(self.talker.state(), CallerState::Talking);
        let heard = heard(&self.talker);
        assert!(
            matches!(heard.last(), Some(Hearing::Bridged { .. })),
            "{heard:?}"
        );
    }

    /// The agent has hung up while nobody looked.
    async fn lets_go_who_never_joins_again(self) {
        let end = tokio::time::timeout(LONG, self.talker.ended());
        assert_eq!(end.await.expect("let go in time").by, EndedBy::Ari);
        ends_and_returns_are(self.b(), "5550000", &["answered"], &[false]).await;
        self.who_waits_is_served().await;
        self.cluster.stop().await;
    }

    /// The agent hangs up: the caller is let go as after any talk, and the next one is served.
    async fn ends_well(self) {
        self.phone.set_habit(ANSWERS);
        self.phone.hang_up();
        let end = tokio::time::timeout(LONG, self.talker.ended());
        let end = end.await.expect("let go in time");
        assert_eq!((end.by, end.talked_to.len()), (EndedBy::Ari, 1));
        self.who_waits_is_served().await;
        assert_eq!((self.phone.answered(), self.phone.max_concurrent()), (2, 1));
        self.cluster.stop().await;
    }
}

fn address_of(url: &str) -> SocketAddr {
    let url = url::Url::parse(url).unwrap();
    url.socket_addrs(|| None).unwrap()[0]
}

fn call(cluster: &Cluster, at: usize, number: &str) -> Caller {
    let spec = CallSpec::new("q-support", number);
    cluster.nodes[at].sim.place_call(spec)
}

fn hand(state: &State) -> Hand {
    state.agent(&agent(AGENT)).unwrap().hand.clone()
}

fn is_free(state: &State) -> bool {
    hand(state) == Hand::Free
}

fn is_held(state: &State) -> bool {
    matches!(hand(state), Hand::Talking { pbx, .. } if pbx == PbxId::new("b").unwrap())
}

/// How the calls of a number ended, and whether its caller got an old place back at each join. The
/// journal is written behind the state.
async fn ends_and_returns_are(node: &TestNode, number: &str, ends: &[&str], returns: &[bool]) {
    let written = async {
        while ends_and_returns(node, number) != (ends.to_vec(), returns.to_vec()) {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    if tokio::time::timeout(LONG, written).await.is_err() {
        panic!("{number}: {:?}", ends_and_returns(node, number));
    }
}

fn ends_and_returns(node: &TestNode, number: &str) -> (Vec<&'static str>, Vec<bool>) {
    let journal = node.handle().raft().journal().since(0, 10_000).unwrap();
    let (mut calls, mut ends, mut joins) = (Vec::new(), Vec::new(), Vec::new());
    for record in &journal {
        match &record.event {
            Event::CallJoined {
                call,
                number: it,
                resumed,
                ..
            } if it == number => {
                calls.push(*call);
                joins.push(*resumed);
            }
            Event::CallLeft { call, outcome, .. } if calls.contains(call) => {
                ends.push(outcome.word());
            }
            _ => {}
        }
    }
    (ends, joins)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_talk_that_was_given_up_goes_on_when_its_node_is_back_and_nobody_rings_the_agent() {
    let mut scene = Scene::begin().await;
    scene.cluster.nodes[B].kill().await;
    scene.given_up().await;
    scene.cluster.nodes[B].start().await;
    scene.b().connected().await;
    scene.held().await;
    scene.talk_goes_on();
    // Who waited has the old place back, before a caller of another Asterisk, and waits on.
    let other = call(&scene.cluster, 0, "5550002");
    scene
        .b()
        .until("both wait", |state| line(state) == ["5550001", "5550002"])
        .await;
    // One call, and one end.
    ends_and_returns_are(scene.b(), "5550000", &["answered"], &[false]).await;
    ends_and_returns_are(scene.b(), "5550001", &["lost"], &[false, true]).await;
    let metrics = scene.b().handle().metrics();
    assert_eq!((metrics.talks_kept, metrics.legs_stale), (1, 0));

    // It is kept over one more restart, and over the loss of the event socket.
    scene.cluster.nodes[B].kill().await;
    scene.cluster.nodes[B].start().await;
    scene.b().connected().await;
    scene.b().sim.cut_websockets();
    let mut ari = scene.b().handle().ari_watch();
    let again = tokio::time::timeout(LONG, ari.wait_for(|it| it.connected && it.reconnects > 0));
    again.await.expect("connected again").unwrap();
    scene.held().await;
    scene.talk_goes_on();
    other.hang_up();
    scene.ends_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_cut_off_for_too_long_does_not_end_the_talks_that_it_never_left() {
    let scene = Scene::begin().await;
    scene.b().faults.isolate(true);
    scene.given_up().await;
    scene.b().faults.heal();
    scene.held().await;
    scene.back_in_line().await;
    scene.talk_goes_on();
    // This time the caller hangs up first.
    scene.talker.hang_up();
    scene.who_waits_is_served().await;
    assert_eq!(scene.phone.max_concurrent(), 1);
    scene.cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_who_took_another_call_meanwhile_keeps_both_and_is_held_after_it() {
    let mut scene = Scene::begin().await;
    scene.cluster.nodes[B].kill().await;
    scene.given_up().await;
    scene.phone.set_habit(ANSWERS);
    let other = call(&scene.cluster, 0, "5550002");
    talks(&scene.cluster, 0, &other, AGENT).await;
    scene.phone.set_habit(Habit::NoAnswer);
    scene.cluster.nodes[B].start().await;
    scene.b().connected().await;
    scene.back_in_line().await;
    scene.talk_goes_on();
    assert_eq!(other.state(), CallerState::Talking);
    other.hang_up();
    scene.held().await;
    scene.talk_goes_on();
    scene.talker.hang_up();
    scene.who_waits_is_served().await;
    scene.cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_who_hung_up_while_nobody_looked_leaves_no_caller_alone_in_a_bridge() {
    let mut scene = Scene::begin().await;
    scene.cluster.nodes[B].kill().await;
    scene.given_up().await;
    scene.phone.hang_up();
    until(&scene.b().sim, "the leg is gone", |sim| {
        legs(sim).is_empty()
    })
    .await;
    scene.cluster.nodes[B].start().await;
    scene.lets_go_who_never_joins_again().await;
}

/// The bridge has gone as well, so that only the node's own memory tells that the two have talked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_whose_agent_hung_up_while_the_node_was_cut_off_does_not_join_anew() {
    let scene = Scene::begin().await;
    scene.b().faults.isolate(true);
    scene.phone.hang_up();
    until(&scene.b().sim, "the leg is gone", |sim| {
        legs(sim).is_empty()
    })
    .await;
    let url = scene.b().sim.ari_url();
    let password = holdfast_ari::Secret::new("secret");
    let outsider = holdfast_ari::AriConfig::new(&url, "holdfast", password, "outsider").unwrap();
    let outsider = holdfast_ari::AriClient::new(&outsider).unwrap();
    for bridge in outsider.bridges().await.unwrap() {
        outsider.destroy_bridge(&bridge.id).await.unwrap();
    }
    scene.given_up().await;
    scene.b().faults.heal();
    scene.lets_go_who_never_joins_again().await;
}

/// Without a majority the replica may be old and nothing is written: who talks is seen in Asterisk.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_majority_a_restart_and_a_lost_event_socket_end_no_talk() {
    let mut scene = Scene::begin_with(2_000).await;
    for other in [0, 2] {
        scene.cluster.nodes[other].kill().await;
    }
    // First a process that knows who talks; then a new one, which has to look.
    scene.b().sim.cut_websockets();
    let gone = tokio::time::timeout(LONG, scene.waiting.ended());
    let end = gone.await.expect("to the fallback in time");
    let status = end.dialplan.get("QUEUESTATUS").map(String::as_str);
    assert_eq!(status, Some("NOQUORUM"));
    scene.talk_goes_on();

    scene.cluster.nodes[B].kill().await;
    scene.cluster.nodes[B].start().await;
    until(&scene.b().sim, "the event socket is open", |sim| {
        sim.app_connected("QueueARI")
    })
    .await;
    // When the second has waited long enough, so has whoever was found when the process began.
    for number in ["5550003", "5550004"] {
        let late = call(&scene.cluster, B, number);
        let gone = tokio::time::timeout(LONG, late.ended());
        let end = gone.await.expect("to the fallback in time");
        let status = end.dialplan.get("QUEUESTATUS").map(String::as_str);
        assert_eq!(status, Some("NOQUORUM"));
        scene.talk_goes_on();
    }

    // The call is known to the state: with the majority it is one again.
    for other in [0, 2] {
        scene.cluster.nodes[other].start().await;
    }
    scene.b().connected().await;
    scene.talk_goes_on();
    scene.phone.set_habit(ANSWERS);
    scene.phone.hang_up();
    let end = tokio::time::timeout(LONG, scene.talker.ended());
    assert_eq!(end.await.expect("let go in time").by, EndedBy::Ari);
    for node in &scene.cluster.nodes {
        empty(&node.sim).await;
        released(node).await;
        node.until("the agent is free", is_free).await;
    }
    ends_and_returns_are(scene.b(), "5550000", &["answered"], &[false]).await;
    scene.cluster.stop().await;
}

/// Its port refuses, as that of an Asterisk that has died; this one lives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_asterisk_that_was_taken_for_dead_has_its_talks_left_alone_when_it_is_seen_again() {
    let mut scene = Scene::begin().await;
    scene.door.close().await;
    scene.given_up().await;
    scene.door.open();
    scene.held().await;
    scene.back_in_line().await;
    scene.talk_goes_on();
    scene.ends_well().await;
}
