//! Many callers at once at one node: they stand in the line in the order in which they came.
//!
//! Between node and Asterisk stands a relay that holds up the first question for each caller's
//! channel, because without that the order is right by luck most of the time.

mod support;

use holdfast_acd::settings::QueueSettings;
use holdfast_node::config::Span;
use holdfast_sim::{CallSpec, Caller, CallerState};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

const CALLERS: usize = 12;

/// How long the relay holds up the first question for a channel.
#[derive(Clone, Copy)]
enum Hold {
    /// The first one longest, so that who came last is ready first.
    Backwards,
    /// The first one until it is let go.
    First,
}

struct Relay {
    to: SocketAddr,
    hold: Hold,
    /// Questions that came.
    asked: watch::Sender<usize>,
    let_go: watch::Sender<bool>,
}

impl Relay {
    async fn run(self: Arc<Self>, listener: TcpListener) {
        while let Ok((client, _)) = listener.accept().await {
            let relay = self.clone();
            // A closed connection is an end like any other.
            tokio::spawn(async move { relay.connection(client).await.ok() });
        }
    }

    async fn connection(&self, client: TcpStream) -> std::io::Result<()> {
        let asterisk = TcpStream::connect(self.to).await?;
        let (mut requests, mut to_client) = client.into_split();
        let (mut answers, mut to_asterisk) = asterisk.into_split();
        tokio::spawn(async move { copy(&mut answers, &mut to_client).await });
        let mut chunk = vec![0; 16 * 1024];
        loop {
            let len = requests.read(&mut chunk).await?;
            if len == 0 {
                return Ok(());
            }
            let text = String::from_utf8_lossy(&chunk[..len]);
            if text.starts_with("GET ") && text.contains("variable=QUEUE_NAME") {
                let mut nth = 0;
                self.asked.send_modify(|asked| {
                    nth = *asked;
                    *asked += 1;
                });
                self.held(nth).await;
            }
            to_asterisk.write_all(&chunk[..len]).await?;
        }
    }

    async fn held(&self, nth: usize) {
        match self.hold {
            Hold::Backwards => {
                let later = CALLERS.saturating_sub(nth) as u64;
                tokio::time::sleep(Duration::from_millis(5 * later)).await;
            }
            Hold::First if nth == 0 => {
                let mut let_go = self.let_go.subscribe();
                let_go.wait_for(|go| *go).await.expect("the relay lives");
            }
            Hold::First => {}
        }
    }
}

/// A node that reaches its Asterisk by way of a relay, and a queue without agents.
async fn behind_a_relay(hold: Hold) -> (Cluster, Arc<Relay>) {
    let made = std::sync::Mutex::new(None);
    let cluster = Cluster::start_with(&["a"], |config| {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let own = listener.local_addr().expect("bound").to_string();
        listener.set_nonblocking(true).expect("a socket like any");
        let listener = TcpListener::from_std(listener).expect("a socket like any");
        let asterisk = config.asterisk.as_mut().expect("set by the cluster");
        let rest = asterisk.url.strip_prefix("http://").expect("plain http");
        let to = rest
            .split('/')
            .next()
            .expect("one part at least")
            .to_string();
        asterisk.url = asterisk.url.replace(&to, &own);
        asterisk.request_timeout = Span::ms(30_000);
        let relay = Arc::new(Relay {
            to: to.parse().expect("an address and a port"),
            hold,
            asked: watch::Sender::new(0),
            let_go: watch::Sender::new(false),
        });
        tokio::spawn(relay.clone().run(listener));
        *made.lock().expect("nobody panics with it") = Some(relay);
    })
    .await;
    cluster.queue("support", QueueSettings::default()).await;
    let relay = made.into_inner().expect("nobody panics with it");
    (cluster, relay.expect("the cluster has one node"))
}

fn call_in(node: &TestNode, callers: usize) -> Vec<Caller> {
    let place = |n| CallSpec::new("q-support", &format!("555{n:04}"));
    (0..callers)
        .map(|n| node.sim.place_call(place(n)))
        .collect()
}

fn channels(callers: &[Caller]) -> Vec<String> {
    callers.iter().map(Caller::channel_id).collect()
}

/// Channels of the callers in the line, first who is next.
fn line(node: &TestNode) -> Vec<String> {
    node.handle().read(|state| {
        let mut line: Vec<_> = state
            .calls()
            .map(|call| (state.position(call.id), call.channel.to_string()))
            .collect();
        line.sort();
        line.into_iter().map(|(_, channel)| channel).collect()
    })
}

async fn all_joined(node: &TestNode, callers: usize) {
    node.until("all wait", |state| state.calls().count() == callers)
        .await;
}

/// Without turns each joins as soon as its channel is read, and the first are read last here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_of_a_burst_join_in_the_order_in_which_they_came() {
    log();
    let (cluster, _relay) = behind_a_relay(Hold::Backwards).await;
    let node = cluster.first();
    let callers = call_in(node, CALLERS);
    all_joined(node, CALLERS).await;
    assert_eq!(line(node), channels(&callers));
    cluster.stop().await;
}

/// Without an end to a turn all would lose patience at the same time and join in any order, and
/// without turns at all the order would be any as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_whose_channel_does_not_answer_holds_up_nobody_for_long() {
    log();
    let (cluster, relay) = behind_a_relay(Hold::First).await;
    let node = cluster.first();
    let mut callers = call_in(node, 1);
    let mut asked = relay.asked.subscribe();
    tokio::time::timeout(LONG, asked.wait_for(|asked| *asked == 1))
        .await
        .expect("its channel is asked about")
        .expect("the relay lives");
    callers.extend(call_in(node, 5));
    all_joined(node, 5).await;
    assert_eq!(line(node), channels(&callers[1..]));
    // What it does meanwhile waits in its mailbox, and is told.
    "789".chars().for_each(|key| callers[0].press(key));
    node.until_counted("keys in the mailbox", |it| it.queues["mailboxes"].0 >= 3)
        .await;
    // It was held up all the time, and no request was given up.
    assert_eq!(node.handle().metrics().ari_failures.get("join"), None);
    relay.let_go.send_replace(true);
    all_joined(node, 6).await;
    callers.rotate_left(1);
    assert_eq!(line(node), channels(&callers));
    node.until_counted("mailboxes are read", |it| it.queues["mailboxes"].0 == 0)
        .await;
    cluster.stop().await;
}

/// In the order of their ids `.10` would come before `.9`; without turns the first are read last.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_who_came_while_the_node_was_away_join_in_the_order_in_which_they_came() {
    log();
    let (mut cluster, _relay) = behind_a_relay(Hold::Backwards).await;
    cluster.nodes[0].stop().await;
    // Someone else keeps the application open, so that callers enter it.
    let app = holdfast_ari::AriConfig::new(
        &cluster.first().sim.ari_url(),
        "holdfast",
        holdfast_ari::Secret::new("secret"),
        "QueueARI",
    );
    let _other = holdfast_ari::events(&app.expect("good settings"));
    let sim = &cluster.first().sim;
    until(sim, "the application is open", |sim| {
        sim.app_connected("QueueARI")
    })
    .await;
    let callers = call_in(cluster.first(), CALLERS);
    until(sim, "all are in the application", |_| {
        let waits = |caller: &Caller| caller.state() == CallerState::Waiting;
        callers.iter().all(waits)
    })
    .await;
    cluster.nodes[0].start().await;
    all_joined(cluster.first(), CALLERS).await;
    assert_eq!(line(cluster.first()), channels(&callers));
    cluster.stop().await;
}
