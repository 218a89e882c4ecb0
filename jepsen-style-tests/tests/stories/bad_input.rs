//! Ways in which a whole node is set up, asked or ended wrongly; on simulated Asterisks. What one
//! crate can judge alone is tested there.

use std::net::TcpListener;

use holdfast_drills::lab::cluster::{Cluster, TOKEN, Waiting};
use holdfast_drills::lab::eventually::{SOON, check, eventually};
use holdfast_drills::lab::{ARI_PASSWORD, CallSpec, Heard, Kind};

use crate::scene::{LONG_TALK, serve, support};

/// One node whose configuration is changed before it is started for the first time.
async fn one_node(change: impl Fn(String) -> String) -> Cluster {
    let mut cluster = Cluster::prepare(Kind::Sim, 1).await;
    let config = change(cluster.config_of("a"));
    let site = cluster.site_mut("a");
    site.process
        .write_config(&config)
        .expect("the lab can write");
    site.process.start().expect("a node can be started");
    cluster
}

/// Waits until the node lives, is not ready, and says all of this about it.
async fn not_ready_because(cluster: &Cluster, words: &[&str]) {
    let api = &cluster.site("a").api;
    eventually(SOON, &format!("the node says {words:?}"), async || {
        let live = api.send("GET", "/livez", None).await?;
        check(live.status == 200, || format!("not alive: {}", live.text))?;
        let ready = api.send("GET", "/readyz?verbose", None).await?;
        check(ready.status == 503, || {
            format!("{}: {}", ready.status, ready.text)
        })?;
        let said = words.iter().all(|word| ready.text.contains(word));
        check(said, || ready.text.clone())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sim_node_with_a_wrong_ari_password_lives_and_says_so() {
    let wrong = "canary-wrong-password-77aa";
    let mut cluster = one_node(|config| config.replace(ARI_PASSWORD, wrong)).await;
    not_ready_because(&cluster, &["password"]).await;
    cluster.apply(&support("", &[("1001", "a")])).await;
    assert!(
        !cluster.site("a").process.log().contains(wrong),
        "the log holds the password"
    );
    let status = cluster
        .api()
        .get("/v1/cluster")
        .await
        .expect("the node answers")
        .to_string();
    assert!(!status.contains(wrong), "{status}");

    // The right one, and it works.
    let config = cluster.config_of("a");
    let site = cluster.site_mut("a");
    assert!(
        site.process.terminate().await.success(),
        "SIGTERM is no failure"
    );
    site.process
        .write_config(&config)
        .expect("the lab can write");
    cluster.restart("a").await;
    let _caller = cluster.join("a", "support", "5501").await;
    cluster.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sim_node_beside_another_asterisk_does_not_drive_it() {
    let rename = |config: String| config.replace("systemname = \"a\"", "systemname = \"pbx-z\"");
    let cluster = one_node(rename).await;
    not_ready_because(&cluster, &["systemname", "pbx-z"]).await;
    let _caller = cluster.call("a", "support", "5501").await;
    cluster.came_back("a", "5501", "FAILED").await;
    cluster.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sim_node_whose_port_is_in_use_ends_and_names_it() {
    let mut cluster = Cluster::prepare(Kind::Sim, 1).await;
    for key in ["cluster", "http"] {
        let config: toml::Table = cluster.config_of("a").parse().expect("it is TOML");
        let address = config[key]["listen"]
            .as_str()
            .expect("an address")
            .to_owned();
        let holder = TcpListener::bind(&address).expect("the port is free");
        let site = cluster.site_mut("a");
        site.process.start().expect("the process starts");
        let status = site.process.ended(SOON).await;
        let log = site.process.log();
        assert!(!status.success(), "{log}");
        let named = log
            .lines()
            .any(|line| line.contains(&address) && line.contains("in use"));
        assert!(named, "no line names {address}:\n{log}");
        drop(holder);
    }
    cluster.restart("a").await;
    cluster.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sim_node_with_the_data_of_another_node_does_not_start() {
    let mut cluster = one_node(|config| config).await;
    cluster.all_ready().await;
    let other = cluster
        .config_of("a")
        .replace("name = \"a\"", "name = \"other\"");
    let site = cluster.site_mut("a");
    assert!(
        site.process.terminate().await.success(),
        "SIGTERM is no failure"
    );
    site.process
        .write_config(&other)
        .expect("the lab can write");
    site.process.start().expect("the process starts");
    let status = site.process.ended(SOON).await;
    let log = site.process.log();
    assert!(!status.success(), "{log}");
    let said = log
        .lines()
        .any(|line| line.contains("\"a\"") || line.contains("node a"));
    assert!(
        said && log.contains("other"),
        "it does not say whose data these are:\n{log}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sim_node_with_an_unknown_key_ends_with_78_and_names_it() {
    let misspell = |config: String| config.replace("[asterisk]", "[asterisk]\npasswrod = \"x\"");
    let mut cluster = one_node(misspell).await;
    let site = cluster.site_mut("a");
    let status = site.process.ended(SOON).await;
    let log = site.process.log();
    assert_eq!(status.code(), Some(78), "{log}");
    assert!(log.contains("passwrod"), "the key is not named:\n{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sim_node_refuses_wrong_tokens_and_bodies_over_the_limit() {
    let cluster = one_node(|config| config).await;
    cluster.all_ready().await;
    let api = cluster.api();
    for token in ["", "canary-token-operator-51d1", &TOKEN[..TOKEN.len() - 1]] {
        let answer = api.with_token(token).send("GET", "/v1/queues", None).await;
        let answer = answer.expect("the node answers");
        assert_eq!(answer.status, 401, "{token:?}: {}", answer.text);
        assert!(
            answer.body["hint"]
                .as_str()
                .is_some_and(|hint| !hint.is_empty())
        );
    }
    let huge = format!("{{\"queue\": \"{}\"}}", "x".repeat(8 << 20));
    let answer = api
        .send("PUT", "/v1/config", Some(("application/json", huge)))
        .await;
    let status = answer.map(|answer| answer.status);
    // The node may close before the whole body is sent; then the client hears a reset.
    assert!(matches!(status, Ok(413) | Err(_)), "{status:?}");
    // It closes that connection in any case, so another is taken.
    let api = &api.with_token(TOKEN);
    for text in [
        "",
        "{",
        "[]",
        "{\"queues\": 7}",
        "\u{0}",
        "{\"no_such_key\": {}}",
    ] {
        let body = Some(("application/json", text.to_owned()));
        let answer = api
            .send("PUT", "/v1/config", body)
            .await
            .expect("the node answers");
        assert!(
            (400..500).contains(&answer.status),
            "{text:?}: {}: {}",
            answer.status,
            answer.text
        );
    }
    let answer = api
        .send("GET", "/v1/no-such-thing", None)
        .await
        .expect("the node answers");
    assert_eq!(answer.status, 404);
    cluster.all_ready().await;
    cluster.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sim_node_takes_hostile_names_for_what_they_are() {
    let cluster = one_node(|config| config).await;
    cluster.all_ready().await;
    cluster.apply(&support("", &[("1001", "a")])).await;
    let long = "q".repeat(10_000);
    let queues = [
        "../etc",
        "a@b::c|d",
        "sup port",
        "{x}&Local",
        "\u{202e}troppus",
        &long,
    ];
    for (n, queue) in queues.iter().enumerate() {
        let number = (5_700 + n).to_string();
        let caller = cluster.call("a", queue, &number).await;
        let _ = caller
            .wait_ended()
            .await
            .expect("nobody is kept in a queue that is none");
        let line = cluster
            .api()
            .list("/v1/calls")
            .await
            .expect("calls can be listed");
        assert!(line.is_empty(), "{queue:?} is in line: {line:?}");
    }

    let names = [
        "x\nFORGED level=error",
        "\u{202e}evil",
        "a\u{0}b",
        "\"><script>",
        &long,
    ];
    let mut callers = Vec::new();
    for (n, name) in names.iter().enumerate() {
        let number = (5_800 + n).to_string();
        let mut spec = CallSpec::new("q-support", &number);
        spec.name = (*name).to_owned();
        callers.push(cluster.dial("a", spec).await);
        cluster.in_line("support", &number).await;
    }
    let mut hostile = CallSpec::new("q-support", "5850");
    hostile.hostile = true;
    callers.push(cluster.dial("a", hostile).await);
    let _last = cluster.join("a", "support", "5900").await;
    let line = cluster.line("support").await.expect("the line can be read");
    let numbers: Vec<&str> = line.iter().map(|waiting| waiting.number.as_str()).collect();
    for n in 0..names.len() {
        let number = (5_800 + n).to_string();
        assert!(
            numbers.contains(&number.as_str()),
            "{number} is not in {numbers:?}"
        );
    }
    let log = cluster.site("a").process.log();
    let forged = log
        .lines()
        .find(|line| line.trim_start().starts_with("FORGED"));
    assert!(
        forged.is_none(),
        "a caller wrote a line of the log: {forged:?}"
    );

    let phone = cluster.agent("1001", "a", LONG_TALK).await;
    serve(&cluster, &[&phone], names.len() + 1, 2 * SOON).await;
    cluster.line_is("support", &[]).await;
    assert_eq!(
        cluster.oracle.order().last().map(String::as_str),
        Some("5900")
    );
    cluster.assert_clean();
}

fn ids(line: &[Waiting]) -> Vec<(&str, &str)> {
    line.iter()
        .map(|waiting| (waiting.id.as_str(), waiting.number.as_str()))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sim_node_that_leads_and_gets_sigterm_hands_over_and_picks_up_again() {
    let mut cluster = Cluster::start(Kind::Sim).await;
    cluster
        .apply(&support(
            "announce = { position = false }",
            &[("1001", "a")],
        ))
        .await;
    let mut callers = Vec::new();
    for (number, at) in [("5501", "a"), ("5502", "b"), ("5503", "c"), ("5504", "a")] {
        callers.push(cluster.join(at, "support", number).await);
    }
    let before = cluster.line("support").await.expect("the line can be read");
    let old = cluster.leader().await;
    let status = cluster.site_mut(old).process.terminate().await;
    assert!(status.success(), "SIGTERM is no failure: {status}");
    let new = cluster.leader().await;
    assert_ne!(new, old);
    let now = cluster.line("support").await.expect("the line can be read");
    assert_eq!(ids(&before), ids(&now), "nobody lost a place");
    for caller in &callers {
        assert_eq!(
            caller.hears().await,
            Heard::Music,
            "caller {}",
            caller.number()
        );
    }
    cluster.restart(old).await;
    let now = cluster.line("support").await.expect("the line can be read");
    assert_eq!(ids(&before), ids(&now), "the same calls at the old places");
    let phone = cluster.agent("1001", "a", LONG_TALK).await;
    serve(&cluster, &[&phone], 4, SOON).await;
    cluster.quiet("support", &["1001"]).await;
    assert_eq!(cluster.oracle.order(), ["5501", "5502", "5503", "5504"]);
    cluster.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sim_node_that_leads_and_stands_still_is_replaced_and_follows_when_it_wakes() {
    let cluster = Cluster::start(Kind::Sim).await;
    let agents = [("1001", "a"), ("1002", "b"), ("1003", "c")];
    cluster
        .apply(&support("strategy = \"linear\"", &agents))
        .await;
    let old = cluster.leader().await;
    let awake: Vec<&'static str> = cluster
        .sites
        .iter()
        .map(|site| site.name)
        .filter(|name| *name != old)
        .collect();
    cluster.site(old).process.freeze();
    let api = &cluster.site(awake[0]).api;
    eventually(SOON, "another node leads", async || {
        let body = api.get("/v1/cluster").await?;
        let leader = body["leader"].as_str().unwrap_or_default().to_owned();
        check(awake.contains(&leader.as_str()), || {
            format!("leader is {leader:?}")
        })
    })
    .await;
    let home = agents
        .iter()
        .find(|(_, home)| *home == awake[0])
        .expect("one agent each")
        .0;
    let _phone = cluster
        .site(awake[0])
        .pbx
        .phone(home, LONG_TALK)
        .await
        .expect("a phone");
    api.login(home).await.expect("an agent can log in");
    let _caller = cluster.call(awake[1], "support", "5501").await;
    assert_eq!(cluster.oracle.connected("5501").await, home);

    cluster.site(old).process.thaw();
    let leader = cluster.leader().await;
    assert!(awake.contains(&leader), "who slept does not lead: {leader}");
    cluster.all_ready().await;
    assert_eq!(cluster.oracle.agent_of("5501").as_deref(), Some(home));
    cluster.assert_clean();
}
