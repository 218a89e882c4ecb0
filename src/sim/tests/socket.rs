//! The simulated Asterisk over its sockets: HTTP, event WebSockets, faults, trunks and people.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use holdfast_sim::{
    CallSpec, CallerState, Crowd, CrowdSpec, EndedBy, Habit, Hearing, Person, SimAsterisk,
    SimConfig,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

const LONG: Duration = Duration::from_secs(30);

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A plain client, which shares nothing with the product's own.
struct Client {
    http: reqwest::Client,
    base: String,
}

impl Client {
    fn new(asterisk: &SimAsterisk) -> Client {
        Client {
            http: reqwest::Client::new(),
            base: asterisk.ari_url(),
        }
    }

    async fn ask(&self, method: &str, uri: &str) -> Result<(u16, Value), reqwest::Error> {
        let method = method.parse().unwrap();
        let request = self.http.request(method, format!("{}/{uri}", self.base));
        let answer = request
            .basic_auth("holdfast", Some("secret"))
            .timeout(LONG)
            .send()
            .await?;
        let status = answer.status().as_u16();
        Ok((
            status,
            serde_json::from_str(&answer.text().await?).unwrap_or_default(),
        ))
    }

    async fn does(&self, method: &str, uri: &str) -> (u16, Value) {
        self.ask(method, uri).await.unwrap()
    }
}

async fn events(asterisk: &SimAsterisk, app: &str) -> Socket {
    let addr = asterisk.addr();
    let url = format!("ws://{addr}/ari/events?app={app}&api_key=holdfast:secret");
    connect_async(url).await.unwrap().0
}

async fn next(socket: &mut Socket) -> Option<Value> {
    loop {
        match tokio::time::timeout(LONG, socket.next())
            .await
            .expect("an event in time")?
        {
            Ok(Message::Text(text)) => return Some(serde_json::from_str(&text).unwrap()),
            Ok(Message::Close(_)) | Err(_) => return None,
            Ok(_) => {}
        }
    }
}

async fn until(socket: &mut Socket, kind: &str) -> Value {
    loop {
        let event = next(socket).await.expect("the socket stays open");
        if event["type"] == kind {
            return event;
        }
    }
}

async fn asterisk(name: &str) -> SimAsterisk {
    SimAsterisk::start(SimConfig::new(name)).await.unwrap()
}

#[tokio::test]
async fn a_caller_is_connected_to_an_agent_and_both_ends_are_seen() {
    let a = asterisk("a").await;
    let (client, mut socket) = (Client::new(&a), events(&a, "QueueARI").await);
    let phone = a.phone(
        "1001",
        Habit::Answer {
            after_ms: 20,
            talk_ms: None,
        },
    );
    let caller = a.place_call(CallSpec::new("q-sales", "5551000"));
    let start = until(&mut socket, "StasisStart").await;
    assert_eq!(start["channel"]["id"], caller.channel_id());
    let leg = "channels?endpoint=PJSIP/1001&app=QueueARI&channelId=leg-1&callerId=5551000";
    assert_eq!(client.does("POST", leg).await.0, 200);
    until(&mut socket, "StasisStart").await;
    client.does("POST", "bridges/b?type=mixing").await;
    let id = caller.channel_id();
    client.does("DELETE", &format!("channels/{id}/moh")).await;
    let add = format!("bridges/b/addChannel?channel={id},leg-1");
    assert_eq!(client.does("POST", &add).await.0, 204);
    assert_eq!(caller.talking_to().as_deref(), Some("1001"));
    assert_eq!(phone.talking_to(), ["5551000"]);
    assert_eq!(a.live_legs_of("1001"), ["leg-1"]);
    phone.hang_up();
    until(&mut socket, "ChannelDestroyed").await;
    assert_eq!(caller.state(), CallerState::Waiting);
    assert_eq!(caller.heard().last().unwrap().what, Hearing::Silence);
    assert_eq!(
        client.does("DELETE", &format!("channels/{id}")).await.0,
        204
    );
    let end = caller.ended().await;
    assert_eq!(
        (end.by, end.talked_to),
        (EndedBy::Ari, vec!["1001".to_owned()])
    );
    assert_eq!((phone.answered(), phone.max_concurrent()), (1, 1));
}

#[tokio::test]
async fn wrong_credentials_odd_paths_and_large_bodies_are_refused() {
    let a = asterisk("a").await;
    let base = a.ari_url();
    let http = reqwest::Client::new();
    let answer = http.get(format!("{base}/channels")).send().await.unwrap();
    assert_eq!(answer.status(), 401);
    assert_eq!(
        answer.json::<Value>().await.unwrap()["message"],
        "Authentication required"
    );
    let client = Client::new(&a);
    assert_eq!(client.does("GET", "nonsense").await.0, 404);
    assert_eq!(client.does("GET", "events").await.0, 400);
    assert_eq!(client.does("GET", "asterisk/ping").await.1["ping"], "pong");
    let large = http
        .post(format!("{base}/channels"))
        .basic_auth("holdfast", Some("secret"));
    let answer = large.body(vec![b' '; 200_000]).send().await.unwrap();
    assert_eq!(answer.status(), 413);
}

#[tokio::test]
async fn a_killed_asterisk_loses_calls_closes_its_port_and_keeps_contacts() {
    let a = asterisk("a").await;
    let (client, mut socket) = (Client::new(&a), events(&a, "QueueARI").await);
    let phone = a.phone("1001", Habit::NoAnswer);
    let caller = a.place_call(CallSpec::new("q-sales", "5551000"));
    let (_, before) = client.does("GET", "asterisk/info?only=status").await;
    a.kill().await;
    assert_eq!(caller.ended().await.by, EndedBy::Crash);
    while next(&mut socket).await.is_some() {}
    assert!(TcpStream::connect(a.addr()).await.is_err());
    // Start-up times have a resolution of a millisecond.
    tokio::time::sleep(Duration::from_millis(5)).await;
    a.restart().await.unwrap();
    let (_, after) = client.does("GET", "asterisk/info?only=status").await;
    assert_ne!(
        before["status"]["startup_time"],
        after["status"]["startup_time"]
    );
    assert_eq!(client.does("GET", "channels").await.1, json!([]));
    let _socket = events(&a, "QueueARI").await;
    let leg = "channels?endpoint=PJSIP/1001&app=QueueARI&channelId=leg-1";
    assert_eq!(client.does("POST", leg).await.0, 200);
    assert!(a.until(LONG, |_| phone.times_rung() == 1).await);
}

#[tokio::test]
async fn a_paused_asterisk_executes_late_what_timed_out_for_the_client() {
    let a = asterisk("a").await;
    let client = Client::new(&a);
    let mut socket = events(&a, "QueueARI").await;
    a.phone("1001", Habit::NoAnswer);
    a.pause();
    let url = format!(
        "{}/channels?endpoint=PJSIP/1001&app=QueueARI&channelId=late",
        a.ari_url()
    );
    let request = reqwest::Client::new()
        .post(url)
        .basic_auth("holdfast", Some("secret"));
    let gone = request.timeout(Duration::from_millis(300)).send().await;
    assert!(gone.unwrap_err().is_timeout());
    let caller = a.place_call(CallSpec::new("q-sales", "5551000"));
    assert_eq!(caller.state(), CallerState::Calling);
    a.resume();
    assert!(
        a.until(LONG, |a| a
            .channels()
            .iter()
            .any(|channel| channel.id == "late"))
            .await
    );
    until(&mut socket, "StasisStart").await;
    assert_eq!(client.does("GET", "channels/late").await.0, 200);
}

#[tokio::test]
async fn a_lost_answer_leaves_the_request_done() {
    let a = asterisk("a").await;
    let client = Client::new(&a);
    a.lose_next_answers(1);
    assert!(client.ask("POST", "bridges/b").await.is_err());
    assert_eq!(client.does("POST", "bridges/b").await.0, 409);
    a.fail_next_requests(1);
    assert_eq!(client.does("POST", "bridges/c").await.0, 500);
    assert_eq!(client.does("POST", "bridges/c").await.0, 200);
}

#[tokio::test]
async fn websockets_can_be_cut_and_refused() {
    let a = asterisk("a").await;
    let mut socket = events(&a, "QueueARI").await;
    assert!(a.app_connected("QueueARI"));
    a.refuse_websockets(Duration::from_secs(3600));
    assert!(next(&mut socket).await.is_none());
    assert!(!a.app_connected("QueueARI"));
    let url = format!(
        "ws://{}/ari/events?app=QueueARI&api_key=holdfast:secret",
        a.addr()
    );
    assert!(connect_async(&url).await.is_err());
    a.refuse_websockets(Duration::ZERO);
    assert!(connect_async(&url).await.is_ok());
}

#[tokio::test]
async fn the_older_websocket_hears_that_it_was_replaced() {
    let a = asterisk("a").await;
    let mut old = events(&a, "QueueARI").await;
    let mut new = events(&a, "QueueARI").await;
    let event = next(&mut old).await.unwrap();
    assert_eq!(event["type"], "ApplicationReplaced");
    a.place_call(CallSpec::new("q-sales", "5551000"));
    until(&mut new, "StasisStart").await;
}

#[tokio::test]
async fn pings_are_answered_and_rest_works_inside_the_websocket() {
    let a = asterisk("a").await;
    let mut socket = events(&a, "QueueARI").await;
    socket.send(Message::Ping(vec![1, 2].into())).await.unwrap();
    let pong = tokio::time::timeout(LONG, socket.next())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert!(matches!(pong, Message::Pong(data) if data.as_ref() == [1, 2]));
    let request = json!({
        "type": "RESTRequest", "request_id": "r1", "method": "POST", "uri": "bridges",
        "query_strings": [{ "name": "bridgeId", "value": "b" }],
    });
    socket
        .send(Message::Text(request.to_string().into()))
        .await
        .unwrap();
    let answer = next(&mut socket).await.unwrap();
    assert_eq!(
        (&answer["request_id"], &answer["status_code"]),
        (&json!("r1"), &json!(200))
    );
    assert_eq!(a.bridges().len(), 1);
}

#[tokio::test]
async fn idle_connections_and_those_beyond_the_limit_are_closed() {
    let config = SimConfig {
        keep_alive: Duration::from_millis(100),
        session_limit: 1,
        ..SimConfig::new("a")
    };
    let a = SimAsterisk::start(config).await.unwrap();
    let mut first = TcpStream::connect(a.addr()).await.unwrap();
    first
        .write_all(b"GET /ari/asterisk/ping HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    let mut text = String::new();
    let mut byte = [0; 1];
    while !text.contains("\r\n\r\n") {
        assert_eq!(first.read(&mut byte).await.unwrap(), 1);
        text.push(char::from(byte[0]));
    }
    assert!(text.starts_with("HTTP/1.1 401"));
    let mut second = TcpStream::connect(a.addr()).await.unwrap();
    let mut rest = Vec::new();
    assert_eq!(
        second.read_to_end(&mut rest).await.unwrap_or(0),
        0,
        "closed without a word"
    );
    tokio::time::timeout(LONG, first.read_to_end(&mut rest))
        .await
        .expect("closed when idle")
        .ok();
}

#[tokio::test]
async fn a_trunk_leads_to_the_phone_at_the_other_asterisk() {
    let (a, b) = (asterisk("a").await, asterisk("b").await);
    a.join_trunk(&b);
    let (client, mut at_a) = (Client::new(&a), events(&a, "QueueARI").await);
    let mut at_b = events(&b, "QueueARI").await;
    let subscribe = "applications/QueueARI/subscription?eventSource=deviceState:";
    assert_eq!(Client::new(&b).does("POST", subscribe).await.0, 200);
    let phone = b.phone(
        "1001",
        Habit::Answer {
            after_ms: 20,
            talk_ms: Some(200),
        },
    );
    assert_eq!(
        until(&mut at_b, "DeviceStateChanged").await["device_state"]["state"],
        "NOT_INUSE"
    );
    let leg = "channels?endpoint=PJSIP/1001@trunk-b&app=QueueARI&channelId=leg-1";
    assert_eq!(client.does("POST", leg).await.0, 200);
    assert_eq!(
        until(&mut at_a, "StasisStart").await["channel"]["id"],
        "leg-1"
    );
    assert_eq!(a.live_legs_of("1001"), ["leg-1"]);
    assert_eq!(
        until(&mut at_b, "DeviceStateChanged").await["device_state"]["state"],
        "RINGING"
    );
    assert_eq!(
        until(&mut at_b, "DeviceStateChanged").await["device_state"]["state"],
        "INUSE"
    );
    until(&mut at_a, "ChannelDestroyed").await;
    assert!(b.until(LONG, |b| b.channels().is_empty()).await);
    assert_eq!(phone.answered(), 1);
}

#[tokio::test]
async fn a_crowd_of_one_seed_dials_and_gives_up() {
    let a = asterisk("a").await;
    let _socket = events(&a, "QueueARI").await;
    let crowd = Crowd::start(
        std::slice::from_ref(&a),
        CrowdSpec {
            seed: 7,
            queues: vec!["sales".into(), "help".into()],
            calls_per_minute: 6000,
            patience_ms: (50, 100),
            talk_ms: (50, 100),
            agents: vec![(0, "1001".into())],
            person: Person {
                answer_ms: (10, 20),
                talk_ms: (50, 100),
                no_answer_percent: 10,
                busy_percent: 10,
                reject_percent: 10,
            },
        },
    );
    assert!(a.until(LONG, |_| crowd.report().gave_up >= 20).await);
    let (callers, _) = crowd.stop().await;
    for caller in callers {
        assert_eq!(caller.ended().await.by, EndedBy::Caller);
    }
}
