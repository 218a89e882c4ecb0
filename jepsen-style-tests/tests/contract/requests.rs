//! Contracts of requests: what blocks, what is refused, what may be asked at all.

use std::time::{Duration, Instant};

use holdfast_ari::{AriClient, AriConfig, AriError, Event, GrammarError, MusicClass, Secret, Var};
use holdfast_drills::lab::{APP, ARI_PASSWORD, Kind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::bench::{Bench, eventually, id, media};

/// About nine seconds of prompts.
const LONG: [&str; 6] = [
    "sound:queue-thankyou",
    "sound:queue-thankyou",
    "sound:queue-thankyou",
    "sound:queue-thankyou",
    "sound:queue-thankyou",
    "sound:queue-thankyou",
];

pub async fn trap_02_a_running_playback_blocks_commands_until_it_is_stopped(kind: Kind) {
    let bench = Bench::start(kind).await;
    let (_caller, channel) = bench.caller("5551001").await;
    bench
        .client
        .play(&channel, &id("prompt-1"), &media(&LONG))
        .await
        .unwrap();
    bench.watch.event("a prompt", started).await;

    let mut hasty = bench.pbx.ari();
    hasty.request_timeout = Duration::from_millis(500);
    let hasty = AriClient::new(&hasty).unwrap();
    let values = [(Var::QUEUESTATUS, "late")];
    let error = hasty.set_variables(&channel, &values).await.unwrap_err();
    assert!(error.maybe_done(), "{error}");

    // Reading, music and the channel itself are not blocked.
    assert_eq!(
        bench
            .client
            .get_variable(&channel, &Var::RINGTIME)
            .await
            .unwrap(),
        None
    );
    let class = MusicClass::new("default").unwrap();
    bench.client.start_moh(&channel, &class).await.unwrap();
    bench.client.channel(&channel).await.unwrap();

    bench.client.stop_playback("prompt-1").await.unwrap();
    eventually(
        "the command that timed out is done all the same",
        || async {
            let value = bench
                .client
                .get_variable(&channel, &Var::QUEUESTATUS)
                .await
                .unwrap();
            value.as_deref() == Some("late")
        },
    )
    .await;
}

pub async fn trap_02_a_playback_that_speaks_a_number_is_stopped_behind_it(kind: Kind) {
    let bench = Bench::start(kind).await;
    let (_caller, channel) = bench.caller("5551001").await;
    // Two seconds of a sound, five of a number, and nine of more sounds.
    let mut prompts = vec!["sound:queue-thereare", "number:77777"];
    prompts.extend(LONG);
    let (prompt, prompts) = (id("prompt-1"), media(&prompts));
    bench
        .client
        .play(&channel, &prompt, &prompts)
        .await
        .unwrap();
    eventually("the number is spoken", || async {
        let told = bench.pbx.raw("GET", "/playbacks/prompt-1").await;
        told.unwrap().1.contains("\"media_uri\":\"number:")
    })
    .await;

    let begun = Instant::now();
    let mut stopped = 0;
    while bench.client.stop_playback("prompt-1").await.is_ok() {
        stopped += 1;
        assert!(
            begun.elapsed() < Duration::from_secs(8),
            "it is said to its end"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(stopped > 2, "{stopped} were enough");
}

fn started(event: &Event) -> Option<()> {
    matches!(event, Event::PlaybackStarted { .. }).then_some(())
}

pub async fn trap_05_a_playback_id_is_not_unique(kind: Kind) {
    let bench = Bench::start(kind).await;
    let (_caller, channel) = bench.caller("5551001").await;
    for _ in 0..2 {
        bench
            .client
            .play(&channel, &id("prompt-1"), &media(&["number:1"]))
            .await
            .unwrap();
    }
    eventually("the same prompt twice", || async {
        let ends = |event: &&Event| matches!(event, Event::PlaybackFinished { .. });
        bench.watch.events().iter().filter(ends).count() == 2
    })
    .await;
}

pub async fn trap_10_the_systemname_tells_asterisks_apart(kind: Kind) {
    let bench = Bench::start(kind).await;
    let other = bench.lab.start("b").await.unwrap();
    let info = bench.client.info().await.unwrap();
    let of_other = AriClient::new(&other.ari()).unwrap().info().await.unwrap();
    assert_eq!(
        (info.systemname.as_str(), of_other.systemname.as_str()),
        ("a", "b")
    );
    assert!(info.version.starts_with("22."), "{info:?}");
    assert_ne!(
        info.entity_id, of_other.entity_id,
        "entityid is set in asterisk.conf"
    );
    let (_caller, channel) = bench.caller("5551001").await;
    assert!(channel.starts_with("a-"), "{channel}");
}

pub async fn trap_11_connections_are_given_up_before_asterisk_does(kind: Kind) {
    let bench = Bench::start(kind).await;
    let config = bench.pbx.ari();
    let address = (
        config.url.host_str().unwrap().to_string(),
        config.url.port().unwrap(),
    );
    let mut idle = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = b"GET /ari/asterisk/ping HTTP/1.1\r\nHost: lab\r\n\r\n";
    idle.write_all(request).await.unwrap();
    let start = Instant::now();
    let mut answer = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(60), idle.read_to_end(&mut answer));
    end.await
        .expect("asterisk closes idle connections")
        .unwrap();
    assert!(
        start.elapsed() > config.idle_timeout + Duration::from_secs(2),
        "asterisk closes after {:?}, we after {:?}",
        start.elapsed(),
        config.idle_timeout
    );
    bench.client.ping().await.unwrap();
}

pub async fn trap_11_more_requests_than_sessions_all_succeed(kind: Kind) {
    let bench = Bench::start(kind).await;
    let mut config = bench.pbx.ari();
    config.request_timeout = Duration::from_secs(20);
    let client = AriClient::new(&config).unwrap();
    let asked: Vec<_> = (0..300)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.info().await })
        })
        .collect();
    for answer in asked {
        answer.await.unwrap().unwrap();
    }
}

pub async fn trap_12_a_blocked_command_blocks_no_other_request(kind: Kind) {
    let bench = Bench::start(kind).await;
    let (_caller, channel) = bench.caller("5551001").await;
    bench
        .client
        .play(&channel, &id("prompt-1"), &media(&LONG))
        .await
        .unwrap();
    bench.watch.event("a prompt", started).await;
    let mut config = bench.pbx.ari();
    config.request_timeout = Duration::from_secs(30);
    let patient = AriClient::new(&config).unwrap();
    let blocked = {
        let (client, channel) = (patient.clone(), channel.clone());
        tokio::spawn(async move {
            client
                .set_variables(&channel, &[(Var::QUEUESTATUS, "late")])
                .await
        })
    };
    for _ in 0..20 {
        patient.ping().await.unwrap();
    }
    assert!(
        !blocked.is_finished(),
        "the command waits while others are answered"
    );
    patient.stop_playback("prompt-1").await.unwrap();
    blocked.await.unwrap().unwrap();
}

pub async fn contract_27_wrong_users_are_told_apart(kind: Kind) {
    let bench = Bench::start(kind).await;
    let url = bench.pbx.ari().url;
    let as_user = |user: &str, password: &str| {
        let config = AriConfig::new(url.as_str(), user, Secret::new(password), APP).unwrap();
        AriClient::new(&config).unwrap()
    };
    let error = as_user("holdfast", "wrong-canary")
        .info()
        .await
        .unwrap_err();
    assert_eq!(error, AriError::Unauthorized);
    assert!(!error.to_string().contains("canary"));
    // The simulator has one user, so there is no read-only one.
    if kind == Kind::Real {
        let watcher = as_user("watcher", ARI_PASSWORD);
        watcher.info().await.unwrap();
        let error = watcher.create_bridge(&id("bridge-1")).await.unwrap_err();
        assert!(matches!(error, AriError::Forbidden(_)), "{error}");
    }

    let wrong = AriConfig::new(url.as_str(), "holdfast", Secret::new("wrong"), APP).unwrap();
    let watch = super::bench::Watch::open(&wrong);
    let reason = watch
        .item("a refused event socket", |item| match item {
            holdfast_ari::StreamItem::Down { reason } => Some(reason.clone()),
            _ => None,
        })
        .await;
    assert_eq!(reason, holdfast_ari::DownReason::Refused(401));
}

pub async fn finding_10_variables_are_a_closed_set(kind: Kind) {
    let bench = Bench::start(kind).await;
    let (_caller, channel) = bench.caller("5551001").await;
    for name in [
        "AST_CONFIG(ari.conf,holdfast,password)",
        "ENV(PATH)",
        "GLOBAL(TRUNK)",
        "a b",
    ] {
        assert!(
            matches!(Var::configured(name), Err(GrammarError { .. })),
            "{name}"
        );
    }
    // What is written is kept as it is and never evaluated.
    let hostile = "${SHELL(id)} $[1+1]\u{202e}\n😀";
    let own = Var::configured("my_call_string").unwrap();
    bench
        .client
        .set_variables(&channel, &[(own.clone(), hostile)])
        .await
        .unwrap();
    let read = bench.client.get_variable(&channel, &own).await.unwrap();
    assert_eq!(read.as_deref(), Some(hostile));
    let unset = Var::configured("never_set").unwrap();
    assert_eq!(
        bench.client.get_variable(&channel, &unset).await.unwrap(),
        None
    );
    let gone = bench
        .client
        .get_variable("no-such-channel", &own)
        .await
        .unwrap_err();
    assert!(gone.is_gone(), "{gone}");
}
