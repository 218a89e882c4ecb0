//! The Redis of the original: a server of its own, a client, and how many commands of which kind it has
//! served.
//!
//! It keeps everything in memory and writes nothing to disk, which is the fastest that Redis can be.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use crate::resp::{Reply, command, reply};

const PORT: u16 = 6379;
const ANSWER: Duration = Duration::from_secs(5);
const UP: Duration = Duration::from_secs(30);
const AGAIN: Duration = Duration::from_millis(20);

/// A running server. It ends when this is dropped.
pub struct Server {
    pub at: SocketAddr,
    _child: Child,
}

impl Server {
    /// Starts it at this address, and waits until it answers.
    pub async fn start(ip: Ipv4Addr) -> Result<Server, String> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../benches/get-peers.sh");
        let ran = Command::new(script).output().await;
        let ran = ran.map_err(|error| format!("{script}: {error}"))?;
        if !ran.status.success() {
            let why = String::from_utf8_lossy(&ran.stderr).into_owned();
            return Err(format!("no redis-server, run benches/get-peers.sh: {why}"));
        }
        let program = format!(
            "{}/bin/redis-server",
            String::from_utf8_lossy(&ran.stdout).trim()
        );
        let (ip_text, port) = (ip.to_string(), PORT.to_string());
        let child = Command::new(&program)
            .args(["--bind", &ip_text, "--port", &port])
            .args(["--save", "", "--appendonly", "no"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("{program}: {error}"))?;
        let at = SocketAddr::from((ip, PORT));
        let begun = Instant::now();
        loop {
            let asked = async { Redis::connect(at).await?.ask(&["PING"]).await };
            match asked.await {
                Ok(_) => return Ok(Server { at, _child: child }),
                Err(why) if begun.elapsed() > UP => {
                    return Err(format!("{program} does not answer at {at}: {why}"));
                }
                Err(_) => sleep(AGAIN).await,
            }
        }
    }
}

/// One connection.
pub struct Redis {
    stream: BufReader<TcpStream>,
}

impl Redis {
    pub async fn connect(to: SocketAddr) -> Result<Redis, String> {
        let connecting = async {
            let stream = TcpStream::connect(to).await?;
            stream.set_nodelay(true)?;
            Ok(BufReader::new(stream))
        };
        let stream = in_time("connecting", connecting).await?;
        Ok(Redis { stream })
    }

    /// One command.
    pub async fn ask(&mut self, words: &[&str]) -> Result<Reply, String> {
        let mut replies = self.ask_all(&[words]).await?;
        replies.pop().ok_or_else(|| "redis: no reply".to_owned())
    }

    /// Several commands in one round trip.
    pub async fn ask_all(&mut self, commands: &[&[&str]]) -> Result<Vec<Reply>, String> {
        let mut out = Vec::new();
        for words in commands {
            let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
            out.extend(command(&words));
        }
        let asking = async {
            self.stream.write_all(&out).await?;
            let mut replies = Vec::new();
            for _ in commands {
                replies.push(reply(&mut self.stream).await?);
            }
            Ok(replies)
        };
        let replies = in_time("asking", asking).await?;
        let refused = replies.iter().find_map(|reply| match reply {
            Reply::Refused(why) => Some(why.clone()),
            _ => None,
        });
        refused.map_or(Ok(replies), |why| Err(format!("redis: {why}")))
    }

    /// The texts of a list; what is not there is an empty one.
    pub async fn texts(&mut self, words: &[&str]) -> Result<Vec<String>, String> {
        match self.ask(words).await? {
            Reply::List(list) => Ok(list.into_iter().map(text).collect()),
            other => Err(format!("redis: {} gave {other:?}", words[0])),
        }
    }

    pub async fn version(&mut self) -> Result<String, String> {
        let info = text(self.ask(&["INFO", "server"]).await?);
        let found = info
            .lines()
            .find_map(|it| it.strip_prefix("redis_version:"));
        Ok(found.unwrap_or("of unknown version").trim().to_owned())
    }

    /// How often each command was served since the server started, those that ask this left out.
    pub async fn served(&mut self) -> Result<BTreeMap<String, u64>, String> {
        let stats = text(self.ask(&["INFO", "commandstats"]).await?);
        let counts = stats.lines().filter_map(|line| {
            let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
            let calls = rest.split(',').next()?.parse().ok()?;
            (name != "info").then(|| (name.to_uppercase(), calls))
        });
        Ok(counts.collect())
    }
}

/// The text of a reply, empty for none.
pub fn text(reply: Reply) -> String {
    match reply {
        Reply::Text(text) => text,
        Reply::Number(number) => number.to_string(),
        _ => String::new(),
    }
}

async fn in_time<T>(
    what: &str,
    asked: impl Future<Output = std::io::Result<T>>,
) -> Result<T, String> {
    match timeout(ANSWER, asked).await {
        Ok(answer) => answer.map_err(|error| format!("redis, {what}: {error}")),
        Err(_) => Err(format!("redis, {what}: no answer within {ANSWER:?}")),
    }
}
