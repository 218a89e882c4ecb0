//! The same requests to one real Asterisk by HTTP on kept connections, as the product sends them, and by
//! frames on the event socket, which Asterisk takes since 22.5: how long each takes, and the processor
//! time of both ends.
//!
//! Nothing of the product is in it but the way it speaks HTTP. The channel stands still meanwhile.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt, TryStreamExt, stream};
use holdfast_ari::{AriConfig, USED_EVENTS};
use holdfast_drills::lab::RealAsterisk;
use holdfast_drills::lab::proc::cpu;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::section;

/// The application, the channel in it, and a playback on that.
const APP: &str = "bench-rest";
const CHANNEL: &str = "bench-rest-1";
const PLAYBACK: &str = "bench-rest-play";
/// Requests at once, where there are several.
pub const SEVERAL: usize = 16;
/// How long a playback blocks the commands of its channel.
pub const HOLD: Duration = Duration::from_millis(500);
/// For one answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Http,
    Socket,
}

impl Way {
    pub const ALL: [Way; 2] = [Way::Http, Way::Socket];

    pub fn name(self) -> &'static str {
        match self {
            Way::Http => "HTTP, connections kept",
            Way::Socket => "frames on the event socket",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// A variable of a channel is read.
    Read,
    /// It is written, which the channel's own thread does.
    Write,
}

impl Asked {
    pub const ALL: [Asked; 2] = [Asked::Read, Asked::Write];

    pub fn name(self) -> &'static str {
        match self {
            Asked::Read => "read a variable",
            Asked::Write => "set a variable",
        }
    }

    fn method(self) -> Method {
        match self {
            Asked::Read => Method::GET,
            Asked::Write => Method::POST,
        }
    }

    /// Path with query, and body.
    fn path(self) -> (String, Option<Value>) {
        let path = format!("channels/{CHANNEL}/variable");
        match self {
            Asked::Read => (format!("{path}?variable=HOLDFAST_BENCH"), None),
            Asked::Write => (
                path,
                Some(json!({ "variable": "HOLDFAST_BENCH", "value": "1" })),
            ),
        }
    }
}

/// So many requests of one kind by one way.
pub struct Run {
    pub way: Way,
    pub asked: Asked,
    pub at_once: usize,
    pub round: usize,
    /// How long each took, in microseconds.
    pub took_us: Vec<i64>,
    pub seconds: f64,
    /// Processor seconds.
    pub asterisk: f64,
    pub client: f64,
}

/// What came of it.
pub struct Rest {
    pub runs: Vec<Run>,
    /// A ping behind a command that a playback blocks, in milliseconds: by HTTP and on the socket.
    pub blocked_ms: [f64; 2],
}

/// Measures both ways in turn, `count` requests of a kind in each.
pub async fn measure(pbx: &RealAsterisk, count: usize, rounds: usize) -> Result<Rest, String> {
    let mut line = Line::open(pbx).await?;
    let mut runs = Vec::new();
    for round in 1..=rounds {
        for asked in Asked::ALL {
            for at_once in [1, SEVERAL] {
                for way in Way::ALL {
                    // So that connections are there, and nobody pays for their making.
                    line.send(way, asked, SEVERAL * 2, at_once).await?;
                    let pid = pbx.pid().ok_or("asterisk has ended")?;
                    let spent = || {
                        (
                            cpu(pid).as_secs_f64(),
                            cpu(std::process::id()).as_secs_f64(),
                        )
                    };
                    let (begun, before) = (Instant::now(), spent());
                    let took_us = line.send(way, asked, count, at_once).await?;
                    let seconds = begun.elapsed().as_secs_f64();
                    let after = spent();
                    runs.push(Run {
                        way,
                        asked,
                        at_once,
                        round,
                        took_us,
                        seconds,
                        asterisk: after.0 - before.0,
                        client: after.1 - before.1,
                    });
                    eprintln!("{}", section::raw_run(&runs[runs.len() - 1]));
                }
            }
        }
    }
    let blocked_ms = [
        line.blocked(Way::Http).await?,
        line.blocked(Way::Socket).await?,
    ];
    line.close().await?;
    Ok(Rest { runs, blocked_ms })
}

/// Both ways to one Asterisk.
struct Line {
    ari: AriConfig,
    http: reqwest::Client,
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    sent: u64,
}

impl Line {
    async fn open(pbx: &RealAsterisk) -> Result<Line, String> {
        let ari = pbx.ari_direct();
        // As the product makes its own.
        let http = reqwest::Client::builder()
            .http1_only()
            .no_proxy()
            .pool_idle_timeout(ari.idle_timeout)
            .timeout(ANSWER_MAX)
            .build()
            .map_err(|error| error.to_string())?;
        let base = ari
            .url
            .as_str()
            .trim_end_matches('/')
            .replacen("http", "ws", 1);
        let (user, password) = (&ari.username, ari.password.expose());
        let url = format!("{base}/events?app={APP}&api_key={user}:{password}");
        let opened = tokio_tungstenite::connect_async(url).await;
        let (socket, _) = opened.map_err(|error| format!("the event socket: {error}"))?;
        let line = Line {
            ari,
            http,
            socket,
            sent: 0,
        };
        // The node's own filter: without it each variable that is set is told as well. Asterisk filters
        // its answers on this socket like events.
        let types = USED_EVENTS.iter().chain(&["RESTResponse"]);
        let types: Vec<Value> = types.map(|name| json!({ "type": name })).collect();
        let filter = json!({ "allowed": types });
        line.ask(
            Method::PUT,
            &format!("applications/{APP}/eventFilter"),
            Some(&filter),
        )
        .await?;
        let call = json!({
            "endpoint": "Local/stay@lab-in", "app": APP, "channelId": CHANNEL, "timeout": 10,
        });
        line.ask(Method::POST, "channels", Some(&call)).await?;
        let begun = Instant::now();
        let (path, body) = Asked::Write.path();
        // Refused until the channel is answered and in the application.
        while let Err(why) = line.ask(Method::POST, &path, body.as_ref()).await {
            if begun.elapsed() > ANSWER_MAX {
                return Err(why);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(line)
    }

    async fn close(self) -> Result<(), String> {
        self.ask(Method::DELETE, &format!("channels/{CHANNEL}"), None)
            .await
            .map(drop)
    }

    /// Sends `count` requests, `at_once` of them at any time; gives the microseconds of each.
    async fn send(
        &mut self,
        way: Way,
        asked: Asked,
        count: usize,
        at_once: usize,
    ) -> Result<Vec<i64>, String> {
        let (path, body) = asked.path();
        match way {
            Way::Http => {
                let line = &*self;
                let (path, body) = (&path, &body);
                let one = |_| async move {
                    let begun = Instant::now();
                    line.ask(asked.method(), path, body.as_ref()).await?;
                    Ok(micros(begun))
                };
                stream::iter(0..count)
                    .map(one)
                    .buffer_unordered(at_once)
                    .try_collect()
                    .await
            }
            Way::Socket => {
                let mut begun = BTreeMap::new();
                let mut took = Vec::with_capacity(count);
                let mut left = count;
                while took.len() < count {
                    while left > 0 && begun.len() < at_once {
                        left -= 1;
                        let now = Instant::now();
                        let id = self.frame(&asked.method(), &path, body.as_ref()).await?;
                        begun.insert(id, now);
                    }
                    let id = self.answer().await?;
                    let begun = begun.remove(&id).ok_or(format!("nobody asked {id:?}"))?;
                    took.push(micros(begun));
                }
                Ok(took)
            }
        }
    }

    /// One request by HTTP; its answer is read as the product reads it.
    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, String> {
        let url = format!("{}/{path}", self.ari.url.as_str().trim_end_matches('/'));
        let mut request = self.http.request(method, url);
        request = request.basic_auth(&self.ari.username, Some(self.ari.password.expose()));
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request
            .send()
            .await
            .map_err(|error| error.without_url().to_string())?;
        let status = answer.status();
        let bytes = answer
            .bytes()
            .await
            .map_err(|error| error.without_url().to_string())?;
        match status.is_success() {
            true => Ok(serde_json::from_slice(&bytes).unwrap_or_default()),
            false => Err(format!(
                "{path}: {status} {}",
                String::from_utf8_lossy(&bytes)
            )),
        }
    }

    /// Sends one frame; gives its id.
    async fn frame(
        &mut self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<String, String> {
        self.sent += 1;
        let id = format!("r{}", self.sent);
        let mut frame = json!({
            "type": "RESTRequest", "transaction_id": id, "request_id": id,
            "method": method.as_str(), "uri": path,
        });
        if let Some(body) = body {
            frame["content_type"] = "application/json".into();
            frame["message_body"] = body.to_string().into();
        }
        let text = frame.to_string();
        self.socket
            .send(Message::Text(text.into()))
            .await
            .map_err(|error| error.to_string())?;
        Ok(id)
    }

    /// The next answer: the id of its request. Events between are passed over.
    async fn answer(&mut self) -> Result<String, String> {
        loop {
            let next = tokio::time::timeout(ANSWER_MAX, self.socket.next()).await;
            let next = next.map_err(|_| "no answer came on the event socket")?;
            let message = next.ok_or("the event socket was closed")?;
            let message = message.map_err(|error| error.to_string())?;
            let Message::Text(text) = message else {
                continue;
            };
            let value: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
            if value["type"] != "RESTResponse" {
                continue;
            }
            let status = value["status_code"].as_u64().unwrap_or(0);
            if !(200..300).contains(&status) {
                return Err(format!("refused on the event socket: {text}"));
            }
            let body = value["message_body"]
                .as_str()
                .filter(|body| !body.is_empty());
            let _: Value = body
                .map_or(Ok(Value::Null), serde_json::from_str)
                .unwrap_or_default();
            return Ok(value["request_id"].as_str().unwrap_or_default().to_owned());
        }
    }

    /// Milliseconds of a ping that is sent right behind a command which a playback holds up.
    async fn blocked(&mut self, way: Way) -> Result<f64, String> {
        let play = format!("channels/{CHANNEL}/play/{PLAYBACK}?media=tone:ring");
        self.ask(Method::POST, &play, None).await?;
        let (path, body) = Asked::Write.path();
        let stop = format!("playbacks/{PLAYBACK}");
        let begun = Instant::now();
        match way {
            Way::Http => {
                let line = &*self;
                let write = line.ask(Method::POST, &path, body.as_ref());
                let ping = async {
                    line.ask(Method::GET, "asterisk/ping", None).await?;
                    Ok::<_, String>(begun.elapsed())
                };
                let end = async {
                    tokio::time::sleep(HOLD).await;
                    line.ask(Method::DELETE, &stop, None).await
                };
                let (_, ping, _) = tokio::try_join!(write, ping, end)?;
                Ok(ping.as_secs_f64() * 1_000.0)
            }
            Way::Socket => {
                self.frame(&Method::POST, &path, body.as_ref()).await?;
                let ping = self.frame(&Method::GET, "asterisk/ping", None).await?;
                let http = self.http.clone();
                let url = format!("{}/{stop}", self.ari.url.as_str().trim_end_matches('/'));
                let (user, password) = (
                    self.ari.username.clone(),
                    self.ari.password.expose().to_owned(),
                );
                let end = tokio::spawn(async move {
                    tokio::time::sleep(HOLD).await;
                    http.delete(url)
                        .basic_auth(user, Some(password))
                        .send()
                        .await
                });
                let mut took = None;
                for _ in 0..2 {
                    if self.answer().await? == ping {
                        took = Some(begun.elapsed());
                    }
                }
                let ended = end.await.map_err(|error| error.to_string())?;
                ended.map_err(|error| error.without_url().to_string())?;
                let took = took.ok_or("the ping was not answered")?;
                Ok(took.as_secs_f64() * 1_000.0)
            }
        }
    }
}

fn micros(since: Instant) -> i64 {
    i64::try_from(since.elapsed().as_micros()).unwrap_or(i64::MAX)
}
