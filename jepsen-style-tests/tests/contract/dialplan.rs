//! Contracts of the dialplan fragments in `config/asterisk`.

use holdfast_ari::{Continue, Event, StreamItem, Var};
use holdfast_drills::lab::{CallEnd, CallSpec, Habit, Kind};

use super::bench::{Bench, eventually, leg_to};

pub async fn dialplan_guard_refuses_hostile_calls(kind: Kind) {
    let bench = Bench::start(kind).await;
    let mut blind = CallSpec::new("q-support", "5551666");
    blind.hostile = true;
    let hostile = [
        blind,
        CallSpec::new("q-sup%FFport", "5551667"),
        CallSpec::new("q-a&PJSIP%2F1900", "5551668"),
        CallSpec::new("q-a$%7BSHELL(id)%7D", "5551669"),
        CallSpec::new("q-..%2Fetc", "5551670"),
    ];
    for spec in hostile {
        let exten = spec.exten.clone();
        let caller = bench.pbx.call(spec).await.unwrap();
        let end = caller.wait_ended().await.unwrap();
        assert!(matches!(end, CallEnd::Refused(_)), "{exten}: {end:?}");
    }
    assert!(bench.client.channels().await.unwrap().is_empty());
    let reached = |event: &Event| matches!(event, Event::StasisStart { .. });
    assert!(
        !bench.watch.events().iter().any(reached),
        "none reached Stasis"
    );

    // A name in another script and a hostile number arrive, tamed.
    let mut spec = CallSpec::new("q-support", "5551001");
    spec.name = "Имя <x>".into();
    let (_caller, _) = bench.call(spec).await;
    let (channel, _) = bench.watch.start_of("5551001").await;
    assert_eq!(channel.caller.name, "Имя x");
}

pub async fn dialplan_takes_the_caller_back_when_no_node_does(kind: Kind) {
    let bench = Bench::start(kind).await;
    let (caller, _) = bench.call(CallSpec::new("short", "5551001")).await;
    let (kept, kept_id) = bench.call(CallSpec::new("short", "5551002")).await;
    // Connecting a caller to an agent lifts the net.
    bench
        .client
        .set_variables(&kept_id, &[(Var::TIMEOUT_ABSOLUTE, "0")])
        .await
        .unwrap();
    assert_eq!(caller.wait_ended().await.unwrap(), CallEnd::ByPbx);
    let status = bench.pbx.dialplan_result("5551001").await.unwrap();
    assert_eq!(status.as_deref(), Some("FAILED"));
    assert!(!kept.has_ended());
}

pub async fn dialplan_gives_arguments_and_result(kind: Kind) {
    let bench = Bench::start(kind).await;
    let (caller, channel) = bench.call(CallSpec::new("qt-support-60", "5551001")).await;
    let (_, args) = bench.watch.start_of("5551001").await;
    assert_eq!(args, ["support", "timeout=60"]);
    let name = bench
        .client
        .get_variable(&channel, &Var::QUEUE_NAME)
        .await
        .unwrap();
    assert_eq!(name.as_deref(), Some("support"));
    let values = [(Var::QUEUESTATUS, "TIMEOUT"), (Var::QUEUEWAIT, "60")];
    bench.client.set_variables(&channel, &values).await.unwrap();
    bench
        .client
        .continue_in_dialplan(&channel, &Continue::default())
        .await
        .unwrap();
    assert_eq!(caller.wait_ended().await.unwrap(), CallEnd::ByPbx);
    let status = bench.pbx.dialplan_result("5551001").await.unwrap();
    assert_eq!(status.as_deref(), Some("TIMEOUT"));
}

pub async fn dialplan_dials_the_call_string_and_comes_back(kind: Kind) {
    let bench = Bench::start(kind).await;
    let busy = bench.pbx.phone("1001", Habit::Busy).await.unwrap();
    let willing = bench.willing_phone("1002").await;
    let (caller, channel) = bench.caller("5551001").await;
    let dial = |agents: &'static str| {
        let (client, channel) = (bench.client.clone(), channel.clone());
        async move {
            let values = [(Var::CALL_STRING, agents), (Var::RINGTIME, "10")];
            client.set_variables(&channel, &values).await.unwrap();
            client
                .continue_in_dialplan(&channel, &Continue::default())
                .await
                .unwrap();
        }
    };
    dial("PJSIP/1001").await;
    bench
        .watch
        .event("the return of the caller", |e| {
            returned(e, &channel, "again=BUSY")
        })
        .await;
    assert_eq!(busy.times_rung(), 1);

    dial("PJSIP/1001&PJSIP/1002").await;
    eventually("an answer", || async { willing.answered_calls() == 1 }).await;
    willing.hang_up().await.unwrap();
    assert_eq!(caller.wait_ended().await.unwrap(), CallEnd::ByPbx);
    let status = bench.pbx.dialplan_result("5551001").await.unwrap();
    assert_eq!(status.as_deref(), Some("CONTINUE"));
}

fn returned(event: &Event, id: &str, arg: &str) -> Option<()> {
    match event {
        Event::StasisStart { channel, args, .. } => {
            (channel.id == id && args.iter().any(|a| a == arg)).then_some(())
        }
        _ => None,
    }
}

pub async fn dialplan_dials_nothing_but_pjsip(kind: Kind) {
    let bench = Bench::start(kind).await;
    let willing = bench.willing_phone("1002").await;
    let (_caller, channel) = bench.caller("5551001").await;
    for hostile in [
        "PJSIP/1002&Local/1002@lab-in",
        "PJSIP/1002,20,G(lab-in^raw^1)",
        "Local/x@y",
    ] {
        let before = starts(&bench, &channel);
        let values = [(Var::CALL_STRING, hostile)];
        bench.client.set_variables(&channel, &values).await.unwrap();
        bench
            .client
            .continue_in_dialplan(&channel, &Continue::default())
            .await
            .unwrap();
        eventually(hostile, || async { starts(&bench, &channel) > before }).await;
    }
    assert_eq!(willing.times_rung(), 0);
}

fn starts(bench: &Bench, channel: &str) -> usize {
    bench
        .watch
        .types_of(channel)
        .iter()
        .filter(|name| **name == "StasisStart")
        .count()
}

pub async fn dialplan_agent_codes_arrive(kind: Kind) {
    let bench = Bench::start(kind).await;
    for (code, word) in [
        ("*45", "login"),
        ("*46", "logout"),
        ("*47", "pause"),
        ("*48", "unpause"),
    ] {
        let _agent = bench.pbx.call(CallSpec::new(code, "1001")).await.unwrap();
        let name = bench
            .watch
            .event(word, |event| match event {
                Event::StasisStart { channel, args, .. } if args == &[word] => {
                    Some(channel.name.clone())
                }
                _ => None,
            })
            .await;
        assert!(
            name.starts_with("PJSIP/1001-"),
            "the channel names the agent: {name}"
        );
    }
}

pub async fn dialplan_in_lua_does_the_same(kind: Kind) {
    let bench = Bench::start(kind).await;
    let busy = bench.pbx.phone("1001", Habit::Busy).await.unwrap();
    let (caller, channel) = bench.call(CallSpec::new("lua", "5551001")).await;
    let values = [(Var::CALL_STRING, "PJSIP/1001")];
    bench.client.set_variables(&channel, &values).await.unwrap();
    bench
        .client
        .continue_in_dialplan(&channel, &Continue::default())
        .await
        .unwrap();
    bench
        .watch
        .event("the return of the caller", |e| {
            returned(e, &channel, "again=BUSY")
        })
        .await;
    assert_eq!(busy.times_rung(), 1);
    bench
        .client
        .set_variables(&channel, &[(Var::QUEUESTATUS, "LEAVEEMPTY")])
        .await
        .unwrap();
    bench
        .client
        .continue_in_dialplan(&channel, &Continue::default())
        .await
        .unwrap();
    caller.wait_ended().await.unwrap();
    let status = bench.pbx.dialplan_result("5551001").await.unwrap();
    assert_eq!(status.as_deref(), Some("lua LEAVEEMPTY"));
}

pub async fn dialplan_trunk_reaches_agents_of_the_other_asterisk(kind: Kind) {
    let bench = Bench::start(kind).await;
    let other = bench.lab.start("b").await.unwrap();
    let habit = Habit::Answer {
        after_ms: 50,
        talk_ms: None,
    };
    let willing = other.phone("1001", habit).await.unwrap();
    let _busy = other.phone("1002", Habit::Busy).await.unwrap();
    for number in ["1001", "1002", "1003"] {
        let mut call = leg_to(&format!("leg-{number}"), number);
        let endpoint = format!("PJSIP/{number}@trunk-b");
        call.endpoint = holdfast_ari::Endpoint::new(&endpoint).unwrap();
        bench.client.originate(&call).await.unwrap();
    }
    bench.watch.start_of_id("leg-1001").await;
    assert_eq!(willing.answered_calls(), 1);
    assert_eq!(
        bench.watch.destroyed("leg-1002").await.0,
        Some(17),
        "busy comes through"
    );
    let gone = bench.watch.destroyed("leg-1003").await.0;
    assert!(
        gone.is_some_and(|cause| cause != 16 && cause != 17),
        "not registered there: {gone:?}"
    );
    assert!(
        !bench
            .watch
            .items()
            .iter()
            .any(|item| matches!(item, StreamItem::Down { .. }))
    );
}
