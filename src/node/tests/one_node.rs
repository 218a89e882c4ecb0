//! One node beside one simulated Asterisk: the life of a call, in all its ways to go.

mod support;

use holdfast_acd::call::Phase;
use holdfast_acd::command::AdminOp;
use holdfast_acd::settings::{Connect, EmptyRule, QueueSettings, Strategy};
use holdfast_acd::settings::{Empty, RetryDelays};
use holdfast_sim::{CallSpec, CallerState, EndedBy, Habit, Hearing};
use std::time::Duration;
use support::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_is_answered_bridged_and_released_when_the_agent_hangs_up() {
    log();
    let cluster = Cluster::start(&["a"]).await;
    let node = cluster.first();
    let phone = node.sim.phone("1001", answer(50, None));
    cluster.queue("support", plain()).await;
    cluster.agent("1001", "a", &["support"]).await;
    let caller = node.sim.place_call(CallSpec::new("q-support", "5551234"));
    until(&node.sim, "they talk", |_| {
        caller.talking_to().as_deref() == Some("1001")
    })
    .await;
    assert_eq!(phone.talking_to(), ["5551234"]);
    phone.hang_up();
    let end = caller.ended().await;
    assert_eq!(
        (end.by, end.talked_to.as_slice()),
        (EndedBy::Ari, &["1001".to_string()][..])
    );
    empty(&node.sim).await;
    released(node).await;
    let over_music = |h: &Hearing| {
        matches!(
            h,
            Hearing::Bridged {
                over_music: true,
                ..
            }
        )
    };
    assert!(
        !heard(&caller).iter().any(over_music),
        "{:?}",
        heard(&caller)
    );
    let counters = node
        .handle()
        .read(|s| s.queue(&queue("support")).unwrap().counters.clone());
    assert_eq!((counters.entered, counters.answered), (1, 1));
    assert_eq!(node.handle().metrics().legs_requested, 1);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_agent_is_free_again_when_the_caller_hangs_up() {
    log();
    let cluster = Cluster::start(&["a"]).await;
    let node = cluster.first();
    let phone = node.sim.phone("1001", answer(10, None));
    cluster.queue("support", plain()).await;
    cluster.agent("1001", "a", &["support"]).await;
    for round in 1..=2 {
        let caller = node.sim.place_call(CallSpec::new("q-support", "5551234"));
        until(&node.sim, "they talk", |_| {
            caller.state() == CallerState::Talking
        })
        .await;
        caller.hang_up();
        empty(&node.sim).await;
        released(node).await;
        assert_eq!(phone.answered(), round);
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_all_phones_ring_the_losers_stop_as_answered_elsewhere() {
    log();
    let cluster = Cluster::start(&["a"]).await;
    let node = cluster.first();
    let phones: Vec<_> = ["1001", "1002", "1003"]
        .iter()
        .map(|n| node.sim.phone(n, Habit::NoAnswer))
        .collect();
    cluster.queue("support", plain()).await;
    for agent in ["1001", "1002", "1003"] {
        cluster.agent(agent, "a", &["support"]).await;
    }
    phones[1].set_habit(answer(400, None));
    let caller = node.sim.place_call(CallSpec::new("q-support", "5551234"));
    until(&node.sim, "they talk", |_| {
        caller.talking_to().as_deref() == Some("1002")
    })
    .await;
    until(&node.sim, "the losers stop", |_| {
        phones[0].causes() == [26] && phones[2].causes() == [26]
    })
    .await;
    assert_eq!(
        phones.iter().map(|p| p.answered()).collect::<Vec<_>>(),
        [0, 1, 0]
    );
    caller.hang_up();
    empty(&node.sim).await;
    released(node).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn busy_reject_and_silence_lead_to_the_next_agent_and_the_caller_keeps_the_place() {
    log();
    let cluster = Cluster::start(&["a"]).await;
    let node = cluster.first();
    let habits = [
        Habit::Busy,
        Habit::Reject,
        Habit::NoAnswer,
        answer(10, None),
    ];
    let phones: Vec<_> = (1001..)
        .zip(habits)
        .map(|(number, habit)| node.sim.phone(&number.to_string(), habit))
        .collect();
    let settings = QueueSettings {
        strategy: Strategy::RrMemory,
        ring_time_ms: 1_000,
        retry: RetryDelays {
            no_answer_ms: 60_000,
            busy_ms: 60_000,
            rejected_ms: 60_000,
            unreachable_ms: 60_000,
        },
        ..plain()
    };
    cluster.queue("support", settings).await;
    // The first one does not even have a phone.
    for agent in ["1000", "1001", "1002", "1003", "1004"] {
        cluster.agent(agent, "a", &["support"]).await;
    }
    let caller = node.sim.place_call(CallSpec::new("q-support", "5551234"));
    until(&node.sim, "the last agent talks", |_| {
        caller.talking_to().as_deref() == Some("1004")
    })
    .await;
    assert!(phones[..3].iter().all(|phone| phone.answered() == 0));
    let end = {
        caller.hang_up();
        caller.ended().await
    };
    assert_eq!(end.talked_to, ["1004"]);
    empty(&node.sim).await;
    released(node).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_who_hangs_up_in_any_phase_leaves_nothing_behind() {
    log();
    let cluster = Cluster::start(&["a"]).await;
    let node = cluster.first();
    let phone = node.sim.phone("1001", Habit::NoAnswer);
    cluster.queue("support", plain()).await;
    // While waiting.
    let caller = node.sim.place_call(CallSpec::new("q-support", "1"));
    node.until("waits", |state| state.calls().count() == 1)
        .await;
    caller.hang_up();
    released(node).await;
    empty(&node.sim).await;
    // While an agent rings.
    cluster.agent("1001", "a", &["support"]).await;
    let caller = node.sim.place_call(CallSpec::new("q-support", "2"));
    until(&node.sim, "the phone rings", |_| phone.times_rung() == 1).await;
    caller.hang_up();
    released(node).await;
    empty(&node.sim).await;
    // During the prompt.
    let timeout = QueueSettings {
        timeout_ms: Some(1),
        ..plain()
    };
    cluster.queue("short", timeout).await;
    let caller = node.sim.place_call(CallSpec::new("q-short", "3"));
    until(&node.sim, "the prompt plays", |_| {
        heard(&caller).contains(&Hearing::Sound("sound:sorry".into()))
    })
    .await;
    caller.hang_up();
    released(node).await;
    empty(&node.sim).await;
    node.until("the agent is free", |state| {
        state.agent(&agent("1001")).unwrap().hand == holdfast_acd::agent::Hand::Free
    })
    .await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_the_timeout_the_prompts_play_and_the_status_arrives_in_the_dialplan() {
    log();
    let cluster = Cluster::start(&["a"]).await;
    let node = cluster.first();
    let mut settings = plain();
    settings.announce.prompts.timeout = vec!["sorry".into(), "queue-thankyou".into()];
    cluster.queue("support", settings).await;
    let caller = node
        .sim
        .place_call(CallSpec::new("qt-support-1", "5551234"));
    let end = caller.ended().await;
    let heard: Vec<_> = heard(&caller);
    let sounds: Vec<_> = heard
        .iter()
        .filter(|h| matches!(h, Hearing::Sound(_)))
        .collect();
    let expected: Vec<_> = ["sorry", "queue-thankyou"]
        .map(|name| Hearing::Sound(format!("sound:{name}")))
        .into();
    assert_eq!(sounds, expected.iter().collect::<Vec<_>>());
    assert_eq!(
        end.dialplan.get("QUEUESTATUS").map(String::as_str),
        Some("TIMEOUT")
    );
    assert_eq!(end.dialplan.get("QUEUEWAIT").map(String::as_str), Some("1"));
    assert_eq!(
        end.dialplan.get("QUEUEPOSITION").map(String::as_str),
        Some("1")
    );
    assert_eq!(
        end.dialplan.get("QUEUE_NAME").map(String::as_str),
        Some("support")
    );
    released(node).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_callers_go_back_to_the_dialplan_with_the_right_status() {
    log();
    let cluster = Cluster::start(&["a"]).await;
    let node = cluster.first();
    let status = async |exten: &str| {
        let end = node.sim.place_call(CallSpec::new(exten, "1")).ended().await;
        end.dialplan.get("QUEUESTATUS").cloned().unwrap_or_default()
    };
    assert_eq!(status("q-nowhere").await, "UNKNOWN");
    // A dialplan without the guard.
    let odd = CallSpec {
        stasis_args: Some(vec!["..%2f&x".into()]),
        ..CallSpec::new("700", "1")
    };
    let end = node.sim.place_call(odd).ended().await;
    assert_eq!(
        end.dialplan.get("QUEUESTATUS").map(String::as_str),
        Some("UNKNOWN")
    );
    cluster
        .queue(
            "small",
            QueueSettings {
                maxlen: 1,
                ..plain()
            },
        )
        .await;
    let first = node.sim.place_call(CallSpec::new("q-small", "2"));
    node.until("the first waits", |state| state.calls().count() == 1)
        .await;
    assert_eq!(status("q-small").await, "FULL");
    first.hang_up();
    let join_empty = EmptyRule(vec![Empty::Unavailable]);
    cluster
        .queue(
            "empty",
            QueueSettings {
                join_empty,
                ..plain()
            },
        )
        .await;
    assert_eq!(status("q-empty").await, "JOINEMPTY");
    cluster
        .queue(
            "closed",
            QueueSettings {
                open: false,
                ..plain()
            },
        )
        .await;
    assert_eq!(status("q-closed").await, "CLOSED");
    released(node).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exit_key_sends_the_caller_to_its_extension() {
    log();
    let cluster = Cluster::start(&["a"]).await;
    let node = cluster.first();
    let settings = QueueSettings {
        exit_context: Some("fallback".into()),
        exit_keys: vec!["2".into()],
        ..plain()
    };
    cluster.queue("support", settings).await;
    let caller = node.sim.place_call(CallSpec::new("q-support", "1"));
    node.until("waits", |state| state.calls().count() == 1)
        .await;
    caller.press('1');
    caller.press('2');
    let end = caller.ended().await;
    assert_eq!(end.continued_to, Some(("fallback".into(), "2".into(), 1)));
    assert_eq!(
        caller
            .dialplan_result()
            .get("QUEUESTATUS")
            .map(String::as_str),
        Some("KEY")
    );
    released(node).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_dialplan_the_string_is_dialled_and_who_is_not_answered_resumes_the_place() {
    log();
    let cluster = Cluster::start(&["a"]).await;
    let node = cluster.first();
    let phone = node.sim.phone("1001", Habit::NoAnswer);
    let settings = QueueSettings {
        connect: Connect::Dialplan,
        ring_time_ms: 1_000,
        retry: RetryDelays {
            no_answer_ms: 200,
            ..RetryDelays::default()
        },
        ..plain()
    };
    cluster.queue("support", settings).await;
    cluster.agent("1001", "a", &["support"]).await;
    let caller = node.sim.place_call(CallSpec::new("qd-support", "1"));
    until(&node.sim, "the phone rings", |_| phone.times_rung() == 1).await;
    let first = node.handle().read(|state| state.calls().next().unwrap().id);
    phone.set_habit(answer(10, None));
    until(&node.sim, "they talk", |_| {
        caller.state() == CallerState::Talking
    })
    .await;
    node.until("connected, the same call", |state| {
        state
            .call(first)
            .is_some_and(|call| matches!(call.phase, Phase::Connected { .. }))
    })
    .await;
    assert!(phone.times_rung() >= 2);
    caller.hang_up();
    released(node).await;
    empty(&node.sim).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_log_in_and_pause_by_feature_code() {
    log();
    let cluster = Cluster::start(&["a"]).await;
    let node = cluster.first();
    node.sim.phone("1001", answer(10, None));
    cluster.queue("support", plain()).await;
    cluster.agent("1001", "a", &["support"]).await;
    node.admin(AdminOp::AgentLogout {
        agent: agent("1001"),
    })
    .await;
    let by_code = async |exten: &str| {
        let end = node
            .sim
            .place_call(CallSpec::new(exten, "1001"))
            .ended()
            .await;
        end.dialplan.get("AGENTSTATUS").cloned().unwrap_or_default()
    };
    assert_eq!(by_code("*45").await, "LOGGEDIN");
    assert!(
        node.handle()
            .read(|s| s.agent(&agent("1001")).unwrap().login_at.is_some())
    );
    assert_eq!(by_code("*47").await, "PAUSED");
    assert!(
        node.handle()
            .read(|s| s.agent(&agent("1001")).unwrap().pause.is_some())
    );
    assert_eq!(by_code("*46").await, "LOGGEDOUT");
    assert!(
        node.handle()
            .read(|s| s.agent(&agent("1001")).unwrap().login_at.is_none())
    );
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_who_is_busy_elsewhere_is_not_rung() {
    log();
    let cluster = Cluster::start(&["a"]).await;
    let node = cluster.first();
    let phone = node.sim.phone("1001", answer(10, None));
    cluster.queue("support", plain()).await;
    cluster.agent("1001", "a", &["support"]).await;
    phone.busy_elsewhere(true);
    node.until("the device is in use", |state| {
        use holdfast_acd::command::DeviceState;
        state.device(state.agent(&agent("1001")).unwrap()) == DeviceState::InUse
    })
    .await;
    let caller = node.sim.place_call(CallSpec::new("q-support", "1"));
    node.until("waits", |state| state.calls().count() == 1)
        .await;
    assert_eq!(phone.times_rung(), 0);
    phone.busy_elsewhere(false);
    until(&node.sim, "they talk", |_| {
        caller.state() == CallerState::Talking
    })
    .await;
    caller.hang_up();
    released(node).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_asterisk_of_another_name_is_not_driven() {
    log();
    let dir = tempfile::tempdir().unwrap();
    let sim = holdfast_sim::SimAsterisk::start(holdfast_sim::SimConfig::new("b"))
        .await
        .unwrap();
    let mut config = holdfast_node::NodeConfig::default();
    config.node.name = "a".into();
    config.node.data_dir = dir.path().into();
    config.cluster.listen = "127.0.0.1:0".parse().unwrap();
    config.cluster.secret = Some(holdfast_node::config::Secret::new(
        "a-secret-for-the-tests-only",
    ));
    config.asterisk = Some(holdfast_node::config::AsteriskSection {
        url: sim.ari_url(),
        password: Some(holdfast_node::config::Secret::new("secret")),
        systemname: "a".into(),
        ..Default::default()
    });
    let node = holdfast_node::Node::start(config).await.unwrap();
    let mut status = node.handle().ari_watch();
    let told = status.wait_for(|s| s.last_error.as_deref().is_some_and(|e| e.contains("\"b\"")));
    assert!(
        !tokio::time::timeout(Duration::from_secs(60), told)
            .await
            .unwrap()
            .unwrap()
            .connected
    );
    assert!(
        node.handle()
            .readiness()
            .iter()
            .any(|c| c.name == "asterisk" && !c.ok)
    );
    node.handle().shutdown().await;
}
