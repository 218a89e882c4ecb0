//! The ports of running nodes under attack: three nodes with callers in line, and somebody who can
//! reach the node-to-node port and the admin port and wishes them ill.
//!
//! After each attack the same is demanded: every node answers an operator soon, nobody else leads,
//! all nodes reach one another, memory and connections stay within their bounds, and the line stands
//! as it stood. At the end the callers are served.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use holdfast_drills::lab::cluster::{Cluster, NAMES, SECRET, TOKEN};
use holdfast_drills::lab::eventually::{SOON, check, eventually};
use holdfast_drills::lab::{Habit, Kind};
use holdfast_raft::doors;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// An operator's request under attack; a broken port takes for ever.
const ANSWER: Duration = Duration::from_secs(5);
/// What a node may grow by while it is attacked, in MiB.
const GROWTH_MIB: u64 = 96;
/// Strangers and known connections of one port.
const STRANGERS: f64 = 256.0;
const KNOWN: f64 = 512.0;
/// For one hostile connection to be told no or closed.
const CLOSED: Duration = Duration::from_secs(60);

struct Scene {
    cluster: Cluster,
    leader: &'static str,
    term: u64,
    rss: Vec<u64>,
}

impl Scene {
    async fn begin() -> Scene {
        // Ten thousand connections need as many files on our side.
        let files = rlimit::increase_nofile_limit(16_000).expect("the limit of files can be read");
        assert!(
            files >= 12_000,
            "only {files} open files are allowed; raise `ulimit -n` to 16000"
        );
        let cluster = Cluster::start(Kind::Sim).await;
        let queue = "[queue.support]\nmembers = [\"1001\"]\nannounce = { position = false }\n\
                     [agent.1001]\nhome = [\"a\"]\n";
        cluster.apply(queue).await;
        let leader = cluster.leader().await;
        let status = cluster.site(leader).api.get("/v1/cluster").await;
        let term = status.expect("the leader answers")["term"]
            .as_u64()
            .expect("a term");
        let rss = NAMES.iter().map(|name| rss_mib(&cluster, name)).collect();
        Scene {
            cluster,
            leader,
            term,
            rss,
        }
    }

    /// Address of a node's port: `cluster` or `http`.
    fn port(&self, node: &str, key: &str) -> SocketAddr {
        let config: toml::Table = self.cluster.config_of(node).parse().expect("it is TOML");
        let listen = config[key]["listen"].as_str().expect("an address");
        listen.parse().expect("an address")
    }

    /// What must hold whatever is going on.
    async fn is_calm(&self, after: &str) {
        for (name, before) in NAMES.iter().zip(&self.rss) {
            let asked = Instant::now();
            let answer = timeout(ANSWER, self.cluster.site(name).api.get("/v1/cluster")).await;
            let answer = answer.unwrap_or_else(|_| panic!("{after}: {name} is silent"));
            let status = answer.unwrap_or_else(|why| panic!("{after}: {name}: {why}"));
            assert_eq!(
                status["leader"], self.leader,
                "{after}: {name} names another leader"
            );
            assert_eq!(status["term"], self.term, "{after}: there was an election");
            let members = status["members"].as_array().expect("members");
            let lost = members.iter().find(|member| member["reachable"] == false);
            assert!(
                lost.is_none() || *name != self.leader,
                "{after}: {name} does not reach {lost:?}"
            );
            let rss = rss_mib(&self.cluster, name);
            println!(
                "{after}: {name} {rss} MiB (before {before}), answered in {:?}",
                asked.elapsed()
            );
            assert!(
                rss <= before + GROWTH_MIB,
                "{after}: {name} has {rss} MiB, had {before}"
            );
            let metrics = self
                .cluster
                .site(name)
                .api
                .send("GET", "/metrics", None)
                .await;
            let metrics = metrics.expect("metrics").text;
            for (kind, bound) in [("stranger", STRANGERS), ("known", KNOWN)] {
                let open = gauges(&metrics, "holdfast_connections{", kind);
                assert!(open.len() == 3, "{after}: no gauges in {metrics}");
                assert!(
                    open.iter().all(|open| *open <= bound),
                    "{after}: {kind} {open:?}"
                );
            }
        }
        let line = self
            .cluster
            .numbers("support")
            .await
            .expect("the line can be read");
        assert_eq!(line, ["5501", "5502"], "{after}: the line");
    }
}

fn gauges(metrics: &str, name: &str, kind: &str) -> Vec<f64> {
    let lines = metrics.lines().filter(|line| line.starts_with(name));
    let kind = format!("\"{kind}\"");
    let lines = lines.filter(|line| line.contains(&kind));
    let value = |line: &str| line.rsplit(' ').next().and_then(|value| value.parse().ok());
    lines.filter_map(value).collect()
}

/// Resident memory of a node, from the kernel.
fn rss_mib(cluster: &Cluster, name: &str) -> u64 {
    let pid = cluster.site(name).process.pid().expect("the node runs");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process of ours");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    kib.and_then(|kib| kib.parse::<u64>().ok())
        .expect("a number")
        / 1024
}

/// A connection that has sent these bytes and hears nothing yet. The other side may have closed it.
async fn sent(to: SocketAddr, bytes: &[u8]) -> Option<TcpStream> {
    let stream = timeout(CLOSED, TcpStream::connect(to)).await;
    let mut stream = stream.expect("the port takes connections").ok()?;
    // A refusal while we write is an answer too.
    let _ = timeout(CLOSED, stream.write_all(bytes)).await;
    Some(stream)
}

/// The status of the first answer; `None` if the connection was closed without one.
async fn status(to: SocketAddr, bytes: &[u8]) -> Option<u16> {
    let mut stream = sent(to, bytes).await?;
    let mut head = [0; 12];
    match timeout(CLOSED, stream.read_exact(&mut head)).await {
        Ok(Ok(_)) => std::str::from_utf8(&head[9..]).ok()?.parse().ok(),
        Ok(Err(_)) => None,
        Err(_) => panic!("neither an answer nor an end"),
    }
}

fn request(method: &str, path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
    [head.as_bytes(), body].concat()
}

fn raft(kind: &str, secret: &str, body: &[u8]) -> Vec<u8> {
    let headers = format!(
        "Authorization: Bearer {secret}\r\nContent-Length: {}\r\n",
        body.len()
    );
    request("POST", &format!("/raft/{kind}"), &headers, body)
}

/// Writes chunks until the other side has had enough; how much it took.
async fn endless(to: SocketAddr, head: Vec<u8>) -> usize {
    let Some(mut stream) = sent(to, &head).await else {
        return 0;
    };
    let chunk = [b"10000\r\n".as_slice(), &[b'x'; 0x10000], b"\r\n"].concat();
    let mut taken = 0;
    let write = async {
        while stream.write_all(&chunk).await.is_ok() {
            taken += chunk.len();
            assert!(taken < 64 << 20, "it takes everything");
        }
    };
    timeout(CLOSED, write)
        .await
        .expect("an endless body is cut off in time");
    taken
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sim_ports_stand_floods_of_connections_and_let_peers_and_operators_in() {
    let mut scene = Scene::begin().await;
    let callers = (
        scene.cluster.join("a", "support", "5501").await,
        scene.cluster.join("b", "support", "5502").await,
    );
    let leader = scene.leader;
    let ports = [scene.port(leader, "cluster"), scene.port(leader, "http")];

    // Half a head each, for as long as they are let.
    for port in ports {
        let mut slow = Vec::new();
        for _ in 0..2_000 {
            slow.push(sent(port, b"POST /raft/append HTTP/1.1\r\nX-Slow: ").await);
        }
        scene.is_calm("2000 half heads").await;
        drop(slow);
    }

    // Ten thousand connections that say nothing, opened while the earlier ones are still there.
    for port in ports {
        let mut idle = Vec::new();
        let begun = Instant::now();
        for n in 0..10_000 {
            idle.push(sent(port, b"").await);
            if n == 5_000 {
                scene.is_calm("5000 idle connections").await;
            }
        }
        println!("10000 connections to {port} in {:?}", begun.elapsed());
        scene.is_calm("10000 idle connections").await;
        drop(idle);
    }

    // A flood that goes on while a peer starts anew: it finds its place all the same.
    let mut flood = JoinSet::new();
    for port in [ports[0], ports[0], ports[1]] {
        flood.spawn(async move {
            let mut held = std::collections::VecDeque::new();
            loop {
                held.push_back(sent(port, b"GET").await);
                if held.len() > 1_000 {
                    held.pop_front();
                }
            }
        });
    }
    let follower = NAMES
        .into_iter()
        .find(|name| *name != leader)
        .expect("there are three");
    let status = scene.cluster.site_mut(follower).process.terminate().await;
    assert!(status.success(), "{status}");
    scene.cluster.restart(follower).await;
    scene.cluster.site(leader).ready().await;
    let settled = async || {
        let status = scene.cluster.site(leader).api.get("/v1/cluster").await?;
        let members = status["members"].as_array().cloned().unwrap_or_default();
        let all = members.iter().all(|member| member["reachable"] == true);
        check(all, || format!("{members:?}"))
    };
    eventually(SOON, "the leader reaches everybody", settled).await;
    scene.is_calm("a peer started under a flood").await;
    flood.shutdown().await;

    // The unix socket is its owner's, who may be careless too.
    let config: toml::Table = scene.cluster.config_of(leader).parse().expect("it is TOML");
    let path = config["http"]["admin_socket"].as_str().expect("a path");
    let mut local = Vec::new();
    for _ in 0..400 {
        local.push(
            UnixStream::connect(path)
                .await
                .expect("the socket takes connections"),
        );
    }
    scene.is_calm("400 idle connections to the socket").await;
    drop(local);

    let phone = scene
        .cluster
        .agent(
            "1001",
            "a",
            Habit::Answer {
                after_ms: 50,
                talk_ms: None,
            },
        )
        .await;
    for number in ["5501", "5502"] {
        scene.cluster.oracle.connected(number).await;
        phone.hang_up().await.expect("a phone can hang up");
    }
    scene.cluster.quiet("support", &["1001"]).await;
    drop(callers);
    scene.cluster.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sim_ports_refuse_what_is_wrong_and_take_no_more_than_they_must() {
    let scene = Scene::begin().await;
    let _callers = (
        scene.cluster.join("a", "support", "5501").await,
        scene.cluster.join("b", "support", "5502").await,
    );
    let leader = scene.leader;
    let (node, http) = (scene.port(leader, "cluster"), scene.port(leader, "http"));

    // Garbage of many lengths.
    for len in (0..4_000).step_by(97) {
        let bytes: Vec<u8> = (0..len).map(|n: usize| (n * n + len * 7) as u8).collect();
        for port in [node, http] {
            let mut stream = sent(port, &bytes)
                .await
                .expect("the port takes connections");
            stream.shutdown().await.ok();
            let mut said = Vec::new();
            let _ = timeout(CLOSED, stream.read_to_end(&mut said))
                .await
                .expect("it ends");
            assert!(
                said.is_empty() || said.starts_with(b"HTTP/1.1 4"),
                "{said:?}"
            );
        }
    }
    scene.is_calm("garbage").await;

    // The node-to-node port: who may speak, and what is a message.
    let (_, limit) = doors::kind(0);
    let good = doors::frame(1, 0, b"");
    let declared = |secret: &str, len: usize| {
        let head = format!("Authorization: Bearer {secret}\r\nContent-Length: {len}\r\n");
        request("POST", "/raft/append", &head, b"")
    };
    let cases: Vec<(&str, Vec<u8>, &[u16])> = vec![
        ("no secret", raft("append", "", &good), &[401]),
        (
            "a wrong secret",
            raft("append", "canary-cluster-secret-9e45", &good),
            &[401],
        ),
        (
            "half the secret",
            raft("append", &SECRET[..10], &good),
            &[401],
        ),
        (
            "a secret and more",
            raft("append", &format!("{SECRET}x"), &good),
            &[401],
        ),
        ("another cluster", raft("append", SECRET, &good), &[403]),
        (
            "another cluster's vote",
            raft("vote", SECRET, &good),
            &[403],
        ),
        ("no such message", raft("explode", SECRET, &good), &[404]),
        ("a path aside", raft("../vote", SECRET, &good), &[404]),
        ("an empty frame", raft("append", SECRET, b""), &[400]),
        (
            "half a frame",
            raft("append", SECRET, &good[..good.len() / 2]),
            &[400],
        ),
        (
            "a flipped bit",
            raft("append", SECRET, &flipped(&good, 9)),
            &[400],
        ),
        (
            "another version",
            raft("append", SECRET, &[9, 0, 0, 0, 0, 0, 0]),
            &[400],
        ),
        (
            "read, not posted",
            request(
                "GET",
                "/raft/append",
                &format!("Authorization: Bearer {SECRET}\r\n"),
                b"",
            ),
            &[405],
        ),
        (
            "a body that is declared too long",
            declared(SECRET, limit + 1),
            &[413],
        ),
        ("the same from a stranger", declared("x", limit + 1), &[401]),
    ];
    for (what, bytes, wanted) in cases {
        let got = status(node, &bytes).await;
        assert!(
            got.is_some_and(|got| wanted.contains(&got)),
            "{what}: {got:?}, not {wanted:?}"
        );
    }
    scene.is_calm("wrong messages").await;

    // Heads that are too large, and bodies without an end.
    let wide = format!("X-Wide: {}\r\n", "x".repeat(200_000));
    let many: String = (0..2_000).map(|n| format!("X-{n}: y\r\n")).collect();
    for headers in [&wide, &many] {
        for port in [node, http] {
            let got = status(port, &request("GET", "/livez", headers, b"")).await;
            assert!(matches!(got, None | Some(431)), "{got:?}");
        }
    }
    let chunked = "Transfer-Encoding: chunked\r\nContent-Type: application/json\r\n";
    let with = |name: &str| format!("Authorization: Bearer {name}\r\n{chunked}");
    let bodies = [
        (
            node,
            request("POST", "/raft/append", &with("x"), b""),
            8 << 20,
        ),
        (
            node,
            request("POST", "/raft/append", &with(SECRET), b""),
            40 << 20,
        ),
        (http, request("PUT", "/v1/config", &with("x"), b""), 8 << 20),
        (
            http,
            request("PUT", "/v1/config", &with(TOKEN), b""),
            16 << 20,
        ),
        (
            http,
            request("PUT", "/v1/queues/q", &with(TOKEN), b""),
            8 << 20,
        ),
    ];
    for (port, head, most) in bodies {
        let taken = endless(port, head).await;
        println!("an endless body was cut off after {} KiB", taken >> 10);
        assert!(taken < most, "{taken} bytes were taken");
    }
    scene.is_calm("heads and bodies without an end").await;

    // A body that says it is packed is not unpacked.
    let packed = format!(
        "Authorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: 20\r\n"
    );
    let got = status(http, &request("PUT", "/v1/queues/q", &packed, &[0x1f; 20])).await;
    assert_eq!(got, Some(400));

    // A thousand requests at once, answered one after the other.
    let one = request("GET", "/livez", "", b"");
    let mut stream = sent(http, &one.repeat(1_000)).await.expect("a connection");
    let mut answers = 0;
    let mut text = Vec::new();
    let read = async {
        let mut piece = [0; 16 * 1024];
        while answers < 1_000 {
            let len = stream.read(&mut piece).await.expect("an answer");
            assert!(len > 0, "closed after {answers} answers");
            text.extend_from_slice(&piece[..len]);
            answers = String::from_utf8_lossy(&text)
                .matches("HTTP/1.1 200")
                .count();
        }
    };
    timeout(CLOSED, read).await.expect("all are answered");

    // Two lengths, two hosts, and other ways to smuggle a second request behind the first.
    for headers in [
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: -1\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Content-Length: 99999999999999999999\r\n",
    ] {
        let bytes = request(
            "PUT",
            "/v1/queues/q",
            headers,
            b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n",
        );
        let got = status(http, &bytes).await;
        assert!(
            got.is_none_or(|got| (400..500).contains(&got)),
            "{headers:?}: {got:?}"
        );
    }

    // Tokens are not found by trying, and whoever tries does not keep the others out for long.
    let mut refused = 0;
    for n in 0..400 {
        let guess = format!("Authorization: Bearer guess-{n:020}\r\n");
        match status(http, &request("GET", "/v1/queues", &guess, b"")).await {
            Some(429) => refused += 1,
            Some(401) => {}
            other => panic!("guess {n}: {other:?}"),
        }
    }
    assert!(
        refused > 50,
        "only {refused} of 400 guesses were not looked at"
    );
    let api = &scene.cluster.site(leader).api;
    eventually(SOON, "the operator is let in again", async || {
        api.get("/v1/queues").await.map(drop)
    })
    .await;
    scene.is_calm("guessed tokens").await;
    scene.cluster.assert_clean();
}

fn flipped(frame: &[u8], at: usize) -> Vec<u8> {
    let mut frame = frame.to_vec();
    frame[at] ^= 1;
    frame
}
