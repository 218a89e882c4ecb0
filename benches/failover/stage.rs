//! The stage: three nodes beside three simulated Asterisks, one line of callers that never ends, eight
//! agents who talk shortly. On it the leader is killed, or steps down.
//!
//! Times are taken from outside: when a phone was called by the Asterisks' stamps, when a write was
//! acknowledged by who wrote it. Only who took office, and how a death was noticed, is read in the
//! nodes' logs, whose stamps are of the same clock.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use holdfast_drills::lab::api::Api;
use holdfast_drills::lab::cluster::{Cluster, NAMES};
use holdfast_drills::lab::eventually::{SOON, check, eventually};
use holdfast_drills::lab::figures::{load, wall_ms};
use holdfast_drills::lab::moments::{Leg, legs, of_log_line};
use holdfast_drills::lab::{Caller, Habit, Kind, Phone};
use serde_json::{Value, json};

use crate::figures::{Callers, Kill, StepDown};
use crate::settings::Settings;
use crate::writers::Writers;

const QUEUE: &str = "support";
const AGENTS: [(&str, &str); 8] = [
    ("1001", "a"),
    ("1002", "b"),
    ("1003", "c"),
    ("1004", "a"),
    ("1005", "b"),
    ("1006", "c"),
    ("1007", "b"),
    ("1008", "c"),
];
/// An agent of no queue, for those who write.
const WRITTEN: &str = "1009";
/// A phone rings for a moment, so that offers are under way when the leader dies.
const RING_MS: u64 = 30;
/// Talks are short and each agent's are of another length, so that one is free every few tens of
/// milliseconds: a next offer waits for an agent too.
const TALK_MS: (u64, u64) = (150, 25);
/// Callers in line when the leader goes: more than are served until it is back.
const LINE: usize = 48;
/// An offer under way is younger than this.
const OFFER_MS: i64 = 1_000;
/// Above this the survivors' logs are kept.
const SLOW_MS: i64 = 3_000;
/// What the nodes' logs say.
const GONE: &str = "its process is gone";
const OFFICE: &str = "took office as leader";

pub struct Stage {
    cluster: Cluster,
    settings: Settings,
    _phones: Vec<Phone>,
    callers: Vec<Caller>,
    /// Each kill, and when the next leader took office.
    gaps: Vec<(i64, i64)>,
}

impl Stage {
    /// Starts everything; agents are at work when it returns.
    pub async fn open(settings: &Settings) -> Stage {
        let change = |config: String| settings.in_config(&config);
        let cluster = Cluster::start_changed(Kind::Sim, change).await;
        let members = AGENTS.map(|(agent, _)| agent);
        let mut declared = format!(
            "[queue.{QUEUE}]\nmembers = {members:?}\nstrategy = \"leastrecent\"\nwrap_up = \"0s\"\n\
             announce = {{ position = false }}\n[agent.{WRITTEN}]\nname = \"Nobody\"\n"
        );
        for (agent, home) in AGENTS {
            declared +=
                &format!("[agent.{agent}]\nname = \"Agent {agent}\"\nhome = [\"{home}\"]\n");
        }
        cluster.apply(&declared).await;
        let mut phones = Vec::new();
        for ((agent, home), number) in AGENTS.into_iter().zip(0..) {
            let (least, step) = TALK_MS;
            let habit = Habit::Answer {
                after_ms: RING_MS,
                talk_ms: Some(least + step * number),
            };
            phones.push(cluster.phone(agent, home, habit).await);
            cluster.login(agent).await;
        }
        Stage {
            cluster,
            settings: *settings,
            _phones: phones,
            callers: Vec::new(),
            gaps: Vec::new(),
        }
    }

    /// Kills the leader, waits for everything that is measured, and for the killed node to be back.
    pub async fn kill(&mut self) -> Result<Kill, String> {
        let leader = self.busy().await;
        let load_before = load();
        let survivors: Vec<&'static str> = NAMES.into_iter().filter(|it| *it != leader).collect();
        let ends = self.log_ends(&survivors)?;
        let mut writers = Writers::begin(self.writes(&survivors));
        let (killed, killed_ms) = (Instant::now(), wall_ms());
        self.cluster.kill(leader);
        let acknowledged = writers.first_after(killed).await?;
        drop(writers);
        let office = self.logged(&ends, OFFICE, killed_ms).await;
        let offer = eventually(SOON, "the new leader has a phone called", async || {
            let called = self.cluster.oracle.phone_called(office - 1);
            called.ok_or_else(|| "no phone was called".to_owned())
        })
        .await;
        let noticed = self.find(&ends, GONE, killed_ms)?;
        self.gaps.push((killed_ms, office));
        if offer - killed_ms > SLOW_MS {
            self.keep_logs(&survivors, killed_ms);
        }
        self.cluster.restart(leader).await;
        Ok(Kill {
            noticed_ms: noticed.map(|at| at - killed_ms),
            office_ms: Some(office - killed_ms),
            acknowledged_ms: acknowledged.as_millis() as i64,
            offer_ms: Some(offer - killed_ms),
            load_before,
        })
    }

    /// Has the leader step down.
    pub async fn step_down(&mut self) -> Result<StepDown, String> {
        let leader = self.busy().await;
        // A change that is planned does not come right behind another: the voters' lease is over.
        tokio::time::sleep(Duration::from_millis(2 * self.settings.election_ms.1)).await;
        let load_before = load();
        let others: Vec<&'static str> = NAMES.into_iter().filter(|it| *it != leader).collect();
        let ends = self.log_ends(&others)?;
        let mut writers = Writers::begin(self.writes(&others));
        let (asked, asked_ms) = (Instant::now(), wall_ms());
        let api = self.cluster.site(leader).api.clone();
        let (acknowledged, moved) = tokio::join!(
            writers.first_after(asked),
            api.write("PUT", "/v1/cluster/leader", json!({}))
        );
        if let Err(why) = moved {
            return Ok(StepDown {
                refused: Some(why),
                load_before,
                ..StepDown::default()
            });
        }
        let office = self.logged(&ends, OFFICE, asked_ms).await;
        Ok(StepDown {
            office_ms: office - asked_ms,
            acknowledged_ms: acknowledged?.as_millis() as i64,
            refused: None,
            load_before,
        })
    }

    /// Lets the line run out and counts what became of everybody.
    pub async fn close(self) -> Result<Callers, String> {
        eventually(4 * SOON, "the line is served", async || {
            let line = self.cluster.numbers(QUEUE).await?;
            check(line.is_empty(), || format!("{} are in line", line.len()))
        })
        .await;
        self.cluster.oracle.all_released().await;
        let queue = self.queue().await?;
        let (moments, talks) = (self.cluster.oracle.moments(), self.cluster.oracle.talks());
        let legs: Vec<(String, Leg)> = legs(&moments)
            .into_iter()
            .flat_map(|(phone, legs)| legs.into_iter().map(move |leg| (phone.clone(), leg)))
            .collect();
        let talked = |phone: &str, leg: &Leg| {
            talks.iter().any(|talk| {
                let ended = leg.destroyed.unwrap_or(i64::MAX);
                talk.agent == phone && (leg.created..=ended).contains(&talk.begun_ms)
            })
        };
        let (mut offers, mut repeated) = (0, 0);
        for (killed, office) in &self.gaps {
            let before = |leg: &Leg| (killed - OFFER_MS..*office).contains(&leg.created);
            for (phone, leg) in legs.iter().filter(|(_, leg)| before(leg)) {
                offers += 1;
                let over = leg.destroyed.is_none_or(|at| at >= *killed);
                repeated += usize::from(over && !talked(phone, leg));
            }
        }
        let counter = |name: &str| queue["counters"][name].as_u64().unwrap_or(0);
        let (entered, answered) = (counter("entered"), counter("answered"));
        let mut doubled = self.cluster.oracle.faults();
        let mut numbers: Vec<&str> = talks.iter().map(|talk| talk.caller.as_str()).collect();
        numbers.sort_unstable();
        let twice = numbers.windows(2).filter(|pair| pair[0] == pair[1]);
        doubled.extend(twice.map(|pair| format!("caller {} talked twice", masked(pair[0]))));
        Ok(Callers {
            called: self.callers.len(),
            answered,
            lost: entered.max(self.callers.len() as u64) - answered,
            doubled,
            repeated,
            offers,
        })
    }

    /// Waits until all is well and the line is long and being served; gives the leader.
    async fn busy(&mut self) -> &'static str {
        self.cluster.all_ready().await;
        let leader = self.cluster.leader().await;
        let waiting = self
            .queue()
            .await
            .map(|it| it["waiting"].as_u64().unwrap_or(0));
        let waiting = waiting.expect("a queue can be looked at") as usize;
        for index in waiting..LINE {
            let number = (60_000 + self.callers.len()).to_string();
            let at = NAMES[index % NAMES.len()];
            self.callers
                .push(self.cluster.call(at, QUEUE, &number).await);
        }
        eventually(SOON, "callers are in line", async || {
            let queue = self.queue().await?;
            let waiting = queue["waiting"].as_u64().unwrap_or(0) as usize;
            check(waiting >= LINE / 2, || format!("{waiting} are"))
        })
        .await;
        let talks = self.cluster.oracle.talks().len();
        self.cluster.oracle.talked(talks + 2, SOON).await;
        leader
    }

    async fn queue(&self) -> Result<Value, String> {
        self.cluster.api().get(&format!("/v1/queues/{QUEUE}")).await
    }

    /// One write through each of these nodes.
    fn writes(
        &self,
        nodes: &[&'static str],
    ) -> Vec<impl Fn(u64) -> BoxFuture<'static, bool> + Send + use<>> {
        let write = |name: &&'static str| {
            let (name, api): (_, Api) = (*name, self.cluster.site(name).api.clone());
            move |number| -> BoxFuture<'static, bool> {
                let api = api.clone();
                Box::pin(async move {
                    let reason = format!("{name}{number}");
                    api.pause(WRITTEN, &reason).await.is_ok()
                })
            }
        };
        nodes.iter().map(write).collect()
    }

    /// How long the logs of these nodes are.
    fn log_ends(&self, nodes: &[&'static str]) -> Result<Vec<(&'static str, u64)>, String> {
        let end = |name: &&'static str| {
            let path = self.cluster.folder().join(format!("{name}.log"));
            let log = std::fs::metadata(&path);
            let log = log.map_err(|error| format!("{}: {error}", path.display()))?;
            Ok((*name, log.len()))
        };
        nodes.iter().map(end).collect()
    }

    /// Keeps what the survivors logged, for who wants to know why an offer was slow.
    fn keep_logs(&self, survivors: &[&'static str], killed_ms: i64) {
        for name in survivors {
            let kept = format!(
                "holdfast-failover-{}-{killed_ms}-{name}.log",
                std::process::id()
            );
            let kept = std::env::temp_dir().join(kept);
            match std::fs::copy(self.cluster.folder().join(format!("{name}.log")), &kept) {
                Ok(_) => eprintln!("slow after the kill at {killed_ms}: {}", kept.display()),
                Err(error) => eprintln!("the log of {name} is lost: {error}"),
            }
        }
    }

    /// Waits until the logs tell this behind their ends; gives the first moment.
    async fn logged(&self, ends: &[(&'static str, u64)], text: &str, after_ms: i64) -> i64 {
        let what = format!("a log tells {text:?}");
        eventually(SOON, &what, async || {
            let found = self.find(ends, text, after_ms)?;
            found.ok_or_else(|| "it does not".to_owned())
        })
        .await
    }

    /// When the logs told this for the first time behind their ends.
    fn find(
        &self,
        ends: &[(&'static str, u64)],
        text: &str,
        after_ms: i64,
    ) -> Result<Option<i64>, String> {
        let mut first: Option<i64> = None;
        for (name, end) in ends {
            let path = self.cluster.folder().join(format!("{name}.log"));
            let mut tail = Vec::new();
            let read = File::open(&path).and_then(|mut log| {
                log.seek(SeekFrom::Start(*end))?;
                log.read_to_end(&mut tail)
            });
            read.map_err(|error| format!("{}: {error}", path.display()))?;
            let tail = String::from_utf8_lossy(&tail);
            let told = tail.lines().filter(|line| line.contains(text));
            let at = told.filter_map(of_log_line).find(|at| *at >= after_ms);
            first = first.into_iter().chain(at).min();
        }
        Ok(first)
    }
}

/// The last two digits are enough to find it in the raw figures.
fn masked(number: &str) -> String {
    let last = number.len().saturating_sub(2);
    format!("..{}", number.get(last..).unwrap_or_default())
}
