//! The one manager of the original: every three seconds it looks at all keys, and gives the first callers
//! of each list to free agents.
//!
//! A lock with a time to live says which manager works; here there is one, and it takes the lock as if
//! there were more. It changes no list, but for callers who are gone without a word.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::host::Order;
use super::redis::{Redis, text};
use super::timer;

/// Between two looks: the design itself.
pub const LOOK_EVERY: Duration = Duration::from_secs(3);
const LOCK: &str = "lock::Original";
const OWN_NAME: &str = "manager-1";
const LOCK_S: &str = "10";
/// How much longer an agent is locked than his phone rings, in seconds.
const SPARE_S: u32 = 5;

pub struct Manager {
    redis: Redis,
    hosts: HashMap<String, mpsc::Sender<Order>>,
}

/// An agent who can be rung.
struct Free {
    agent: String,
    phone: String,
}

impl Manager {
    pub fn new(redis: Redis, hosts: HashMap<String, mpsc::Sender<Order>>) -> Manager {
        Manager { redis, hosts }
    }

    /// Works until something breaks, and says what.
    pub async fn run(mut self) -> String {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            if let Err(why) = self.look().await {
                return why;
            }
        }
    }

    async fn look(&mut self) -> Result<(), String> {
        let words = ["SET", LOCK, OWN_NAME, "NX", "EX", LOCK_S];
        if text(self.redis.ask(&words).await?) != "OK" {
            if text(self.redis.ask(&["GET", LOCK]).await?) != OWN_NAME {
                return Ok(());
            }
            self.redis.ask(&["EXPIRE", LOCK, LOCK_S]).await?;
        }
        let keys = self.redis.texts(&["KEYS", "*"]).await?;
        let keys: HashSet<String> = keys.into_iter().collect();
        for queue in keys.iter().filter_map(|key| key.strip_prefix("queue:")) {
            self.serve(queue, &keys).await?;
        }
        Ok(())
    }

    /// Goes along one list, from who came first. `keys` are those of the begin of this look.
    async fn serve(&mut self, queue: &str, keys: &HashSet<String>) -> Result<(), String> {
        let list = format!("queue:{queue}");
        let mut line = self.redis.texts(&["LRANGE", &list, "0", "-1"]).await?;
        line.reverse();
        let task = format!("task:{queue}");
        let fields = [
            "HMGET",
            &task,
            "extens",
            "ringTime",
            "announce",
            "lastCalled",
        ];
        let row = self.redis.texts(&fields).await?;
        let [extens, ring_s, announce, last] = row.as_slice() else {
            return Err(format!("{task} is no row of the table"));
        };
        let ring_s: u32 = ring_s
            .parse()
            .map_err(|_| format!("{task}: no ring time"))?;
        let free = self.free(extens, last, keys).await?;
        let mut free = free.into_iter();
        let mut last = None;
        for (index, element) in line.iter().enumerate() {
            let there = |kind| keys.contains(&timer(kind, queue, element));
            let Some((caller, host)) = element.rsplit_once('|') else {
                continue;
            };
            // Who came after the keys were read has all his timers.
            let known = there("beat");
            if !known && !self.lives(queue, element).await? {
                continue;
            }
            let host = self.hosts.get(host).cloned();
            let host = host.ok_or_else(|| format!("{element} is at no host"))?;
            if there("ring") {
                continue;
            }
            if known && !there("timeout") {
                order(
                    &host,
                    Order::SendAway {
                        caller: caller.into(),
                    },
                )
                .await?;
                continue;
            }
            if let Some(Free { agent, phone }) = free.next() {
                if !self.reserve(queue, element, &agent, ring_s).await? {
                    continue;
                }
                let ring = Order::Ring {
                    caller: caller.into(),
                    agent: agent.clone(),
                    phone,
                    ring_s,
                };
                order(&host, ring).await?;
                last = Some(agent);
            } else if known && !announce.is_empty() && !there("announce") {
                let key = timer("announce", queue, element);
                self.redis.ask(&["SET", &key, "1", "EX", announce]).await?;
                let place = index + 1;
                let caller = caller.into();
                order(&host, Order::Announce { caller, place }).await?;
            }
        }
        if let Some(agent) = last {
            self.redis
                .ask(&["HSET", &task, "lastCalled", &agent])
                .await?;
        }
        Ok(())
    }

    /// Who can be rung, beginning behind who was rung last.
    async fn free(
        &mut self,
        extens: &str,
        last: &str,
        keys: &HashSet<String>,
    ) -> Result<Vec<Free>, String> {
        let agents: Vec<&str> = extens.split(',').collect();
        let from = agents.iter().position(|agent| *agent == last);
        let from = from.map_or(0, |place| place + 1);
        let mut free = Vec::new();
        for agent in agents[from..].iter().chain(&agents[..from]) {
            if keys.contains(&format!("lock:{agent}")) {
                continue;
            }
            let row = format!("agent:{agent}");
            let row = self
                .redis
                .texts(&["HMGET", &row, "state", "interface"])
                .await?;
            if let [state, phone] = row.as_slice()
                && state == "free"
            {
                let (agent, phone) = ((*agent).to_owned(), phone.clone());
                free.push(Free { agent, phone });
            }
        }
        Ok(free)
    }

    /// Locks the agent, and marks the caller as being rung for; false when somebody else has the lock.
    async fn reserve(
        &mut self,
        queue: &str,
        element: &str,
        agent: &str,
        ring_s: u32,
    ) -> Result<bool, String> {
        let (lock, ring) = (format!("lock:{agent}"), timer("ring", queue, element));
        let (locked_s, ring_s) = ((ring_s + SPARE_S).to_string(), ring_s.to_string());
        let lock = ["SET", &lock, element, "NX", "EX", &locked_s];
        if text(self.redis.ask(&lock).await?) != "OK" {
            return Ok(false);
        }
        self.redis
            .ask(&["SET", &ring, agent, "EX", &ring_s])
            .await?;
        Ok(true)
    }

    /// Whether the caller's heart beats; one who is gone is taken out of the list.
    async fn lives(&mut self, queue: &str, element: &str) -> Result<bool, String> {
        let beat = timer("beat", queue, element);
        if text(self.redis.ask(&["EXISTS", &beat]).await?) == "1" {
            return Ok(true);
        }
        let list = format!("queue:{queue}");
        self.redis.ask(&["LREM", &list, "1", element]).await?;
        Ok(false)
    }
}

async fn order(host: &mpsc::Sender<Order>, order: Order) -> Result<(), String> {
    let sent = host.send(order).await;
    sent.map_err(|_| "a host is gone".to_owned())
}
