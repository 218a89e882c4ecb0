//! A small reproduction of the design that Holdfast began from: callers are held in a Stasis application,
//! queues are Redis lists, timers are keys with a time to live, and one manager looks every three seconds
//! and gives the first callers to free agents.
//!
//! It is as quick as that design allows, and kinder to it where a choice is left: agents are in Redis
//! instead of a MySQL table, the manager reaches a host inside the process instead of by HTTP, in one look
//! it serves as many callers as agents are free instead of one of each list, and a caller whose agent hung up
//! too soon is the first again instead of dropped. It recovers nothing after a crash.

mod host;
mod manager;
mod redis;

use std::collections::{BTreeMap, HashMap};

use holdfast_ari::{AppName, AriClient, StreamItem, USED_EVENTS, events};
use holdfast_drills::lab::{Pbx, RealAsterisk};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::cases::{Case, System};
use host::Host;
use manager::Manager;
use redis::{Redis, Server};

/// The Stasis application in which callers are held.
pub const APP: &str = "Original";
/// How long a phone rings, in seconds.
const RING_S: &str = "15";
/// Orders to a host that may wait.
const ORDERS_MAX: usize = 1024;

/// The whole of it: Redis, one host, the manager. It ends when this is dropped.
pub struct Original {
    redis: Redis,
    version: String,
    tasks: Vec<JoinHandle<()>>,
    broken: watch::Receiver<Option<String>>,
    // Last, so that it outlives who asks it.
    _server: Server,
}

impl Original {
    /// Starts it for these cases at this Asterisk.
    pub async fn open(pbx: &Pbx, cases: &[&'static Case]) -> Result<Original, String> {
        let Pbx::Real(pbx) = pbx else {
            return Err("the original needs a real Asterisk".into());
        };
        let server = Server::start(pbx.block().people()).await?;
        let mut redis = Redis::connect(server.at).await?;
        let version = redis.version().await?;
        for case in cases {
            describe(&mut redis, case).await?;
        }
        let (broke, broken) = watch::channel(None);
        let (orders, received) = mpsc::channel(ORDERS_MAX);
        let (ari, stream) = reach(pbx).await?;
        let announced = cases.iter().filter(|case| case.announce.is_some());
        let announced = announced.map(|case| case.name.to_owned()).collect();
        let host = Host::new(
            pbx.name(),
            ari,
            Redis::connect(server.at).await?,
            orders.clone(),
            announced,
        );
        let hosts = HashMap::from([(pbx.name().to_owned(), orders)]);
        let manager = Manager::new(Redis::connect(server.at).await?, hosts);
        let told = broke.clone();
        let tasks = vec![
            tokio::spawn(async move {
                let why = host.run(stream, received).await;
                told.send_replace(Some(why));
            }),
            tokio::spawn(async move {
                let why = manager.run().await;
                broke.send_replace(Some(why));
            }),
        ];
        Ok(Original {
            redis,
            version,
            tasks,
            broken,
            _server: server,
        })
    }

    /// How many commands Redis has served, by name.
    pub async fn served(&mut self) -> Result<BTreeMap<String, u64>, String> {
        self.redis.served().await
    }

    /// The version of its Redis.
    pub fn redis(&self) -> &str {
        &self.version
    }

    /// Why it works no more, if it does not.
    pub fn broken(&self) -> Option<String> {
        self.broken.borrow().clone()
    }
}

impl Drop for Original {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Writes a queue and its agents into the tables.
async fn describe(redis: &mut Redis, case: &Case) -> Result<(), String> {
    let agents = &System::Original.phones()[..case.agents];
    let (task, all) = (format!("task:{}", case.name), agents.join(","));
    let every = case.announce.map(|it| it.every_s.max(it.at_least_s));
    let every = every.map_or(String::new(), |seconds| seconds.to_string());
    let words = [
        "HSET", &task, "extens", &all, "ringTime", RING_S, "announce", &every,
    ];
    redis.ask(&words).await?;
    for agent in agents {
        let (key, phone) = (format!("agent:{agent}"), format!("PJSIP/{agent}"));
        let words = ["HSET", &key, "interface", &phone, "state", "free"];
        redis.ask(&words).await?;
    }
    Ok(())
}

/// A client of the Asterisk, and its events once they flow.
async fn reach(pbx: &RealAsterisk) -> Result<(AriClient, holdfast_ari::EventStream), String> {
    let mut config = pbx.ari_direct();
    config.app = AppName::new(APP).map_err(|error| error.to_string())?;
    let ari = AriClient::new(&config).map_err(|error| error.to_string())?;
    let mut stream = events(&config);
    match stream.next().await {
        Some(StreamItem::Up { .. }) => {}
        other => return Err(format!("the original hears no events: {other:?}")),
    }
    let filtered = ari.set_event_filter(&config.app, &USED_EVENTS).await;
    filtered.map_err(|error| error.to_string())?;
    Ok((ari, stream))
}

/// The element of a list that stands for a caller: channel and host, as one text.
fn element(channel: &str, host: &str) -> String {
    format!("{channel}|{host}")
}

/// The key of a caller's timer of this kind.
fn timer(kind: &str, queue: &str, element: &str) -> String {
    format!("{kind}:{queue}::{element}")
}
