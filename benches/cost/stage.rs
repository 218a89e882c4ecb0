//! The stage: three nodes beside three real Asterisks, whose first has app_queue too, with the phones of
//! all agents; and one turn of one system on it, with the processor time that it took.
//!
//! Nobody listens but the node: the lab's oracle, subscribed to everything, would cost Asterisk more than
//! the queue does. The leader is not the node that drives the calls, so that each has its own figure.

use std::time::{Duration, Instant};

use holdfast_drills::lab::cluster::{Cluster, NAMES};
use holdfast_drills::lab::eventually::{SOON, check, eventually};
use holdfast_drills::lab::figures::load;
use holdfast_drills::lab::proc::cpu;
use holdfast_drills::lab::{APP, Crowd, Kind, Lab, Pbx, Phones, RealAsterisk};
use serde_json::{Value, json};

use crate::plan::{Pace, QUEUE, System, TALK_MS, Told, holdfast_toml, queues_conf};

/// Where everybody is.
const PBX: &str = "a";
/// Between two looks at how many were served.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// A turn lasts so much longer than its last talk at least, for what is done after a call.
const AFTER: Duration = Duration::from_secs(1);
/// And so much longer at most; who has not been served then is lost.
const LATE_MAX: Duration = Duration::from_secs(30);
/// What is left so long after a turn is removed.
const CLEAR_MAX: Duration = Duration::from_secs(5);

/// Seconds of processor time, by process; or of anything else that each of them has.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Spent {
    pub asterisk: f64,
    /// The node that drives this Asterisk.
    pub driver: f64,
    pub leader: f64,
    pub follower: f64,
}

impl Spent {
    /// Value by value.
    pub fn with(self, other: Spent, f: impl Fn(f64, f64) -> f64) -> Spent {
        Spent {
            asterisk: f(self.asterisk, other.asterisk),
            driver: f(self.driver, other.driver),
            leader: f(self.leader, other.leader),
            follower: f(self.follower, other.follower),
        }
    }

    pub fn nodes(self) -> f64 {
        self.driver + self.leader + self.follower
    }
}

/// One turn: what it was and what it took.
pub struct Turn {
    pub system: System,
    pub told: Told,
    pub pace: Pace,
    pub round: usize,
    /// Who talked to an agent.
    pub served: usize,
    pub seconds: f64,
    pub spent: Spent,
    /// Events that the node was told.
    pub events: u64,
    /// Calls that an agent answered and nobody talked in: on a busy machine an agent hangs up before
    /// he is bridged.
    pub in_vain: usize,
    /// Channels and bridges that had to be removed after it.
    pub left: usize,
    /// The leader changed meanwhile, so that the nodes' shares are mixed.
    pub moved: bool,
    pub load_before: String,
    pub load_after: String,
    /// What must never happen and did.
    pub faults: Vec<String>,
}

/// All that runs.
pub struct Stage {
    cluster: Cluster,
    phones: Vec<(System, Phones)>,
    leader: &'static str,
    /// So that each caller has a number of his own.
    turns: usize,
}

impl Stage {
    /// Starts everything; agents are at work when it returns.
    pub async fn open() -> Stage {
        let lab = Lab::new(Kind::Real).expect("the lab finds a place");
        let lab = lab.with_app_queue(&queues_conf());
        let cluster = Cluster::prepare_in(lab).await;
        for site in &cluster.sites {
            // The lab's nodes tell more than those of an operator.
            let config = cluster.config_of(site.name).replace("=debug", "=info");
            let written = site.process.write_config(&config);
            written.expect("the lab can write into its folder");
        }
        let mut cluster = cluster.begin().await;
        cluster.apply(&holdfast_toml()).await;
        let mut phones = Vec::new();
        for system in System::ALL {
            let registered = Phones::register(real(&cluster), &system.phones(), TALK_MS).await;
            phones.push((system, registered.expect("phones can register")));
        }
        for agent in System::Holdfast.phones() {
            cluster.login(&agent).await;
        }
        for agent in System::Holdfast.phones() {
            cluster.available(&agent).await;
        }
        let leader = lead_elsewhere(&cluster).await;
        cluster.oracle.stop();
        Stage {
            cluster,
            phones,
            leader,
            turns: 0,
        }
    }

    /// The Asterisk where everything happens.
    pub fn asterisk(&self) -> &RealAsterisk {
        real(&self.cluster)
    }

    /// Processor time a second while nothing happens.
    pub async fn idle(&mut self, seconds: f64) -> Spent {
        self.quiet().await;
        let (begun, before) = (Instant::now(), self.spent());
        tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
        let seconds = begun.elapsed().as_secs_f64();
        self.spent()
            .with(before, |now, before| (now - before) / seconds)
    }

    /// One system serves so many callers. The stage is empty before and after.
    pub async fn turn(&mut self, system: System, told: Told, pace: Pace, round: usize) -> Turn {
        self.quiet().await;
        let path = format!("/applications/{APP}/eventFilter");
        self.ask("PUT", &path, Some(&told.filter())).await;
        self.turns += 1;
        let (exten, prefix) = (system.exten(), format!("6{:02}", self.turns));
        let answered_before = self.phones(system).answered();
        let (load_before, events) = (load(), self.events().await);
        let every = Duration::from_millis(pace.every_ms());
        let least = every * pace.callers as u32 + Duration::from_millis(TALK_MS) + AFTER;
        let (begun, before) = (Instant::now(), self.spent());
        let crowd = Crowd::call(
            self.asterisk(),
            &exten,
            &prefix,
            pace.callers,
            pace.every_ms(),
        );
        let crowd = crowd.await.expect("a crowd can call");
        loop {
            let took = begun.elapsed();
            let all = crowd.served() >= pace.callers;
            if took >= least && (all || took >= least + LATE_MAX) {
                break;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let seconds = begun.elapsed().as_secs_f64();
        let spent = self.spent().with(before, |now, before| now - before);
        let load_after = load();
        let events = self.events().await - events;
        let answered = self.phones(system).answered() - answered_before;
        let served = crowd.served().min(answered);
        let faults = self.faults(system, pace.callers, served);
        let moved = self.cluster.leader().await != self.leader;
        if moved {
            self.leader = lead_elsewhere(&self.cluster).await;
        }
        let left = self.clear().await;
        Turn {
            system,
            told,
            pace,
            round,
            served,
            seconds,
            spent,
            events,
            in_vain: answered - served,
            left,
            moved,
            load_before,
            load_after,
            faults,
        }
    }

    fn faults(&self, system: System, callers: usize, served: usize) -> Vec<String> {
        let mut faults = Vec::new();
        if served < callers {
            let lost = callers - served;
            faults.push(format!(
                "{lost} of {callers} callers talked to nobody; if the machine is busy, run it alone"
            ));
        }
        let most = self.phones(system).concurrent_max();
        if most > 1 {
            faults.push(format!("a phone had {most} calls at the same time"));
        }
        faults
    }

    fn phones(&self, system: System) -> &Phones {
        let own = self.phones.iter().find(|(of, _)| *of == system);
        &own.expect("each system has phones").1
    }

    fn spent(&self) -> Spent {
        let node = |name: &str| {
            let pid = self.cluster.site(name).process.pid();
            cpu(pid.expect("no node has been stopped")).as_secs_f64()
        };
        let others = NAMES
            .iter()
            .filter(|name| **name != PBX && **name != self.leader);
        Spent {
            asterisk: cpu(self.asterisk().pid().expect("Asterisk runs")).as_secs_f64(),
            driver: node(PBX),
            leader: node(self.leader),
            follower: others.map(|name| node(name)).sum(),
        }
    }

    /// How many events the driving node has been told since it started.
    async fn events(&self) -> u64 {
        let answer = self
            .cluster
            .site(PBX)
            .api
            .send("GET", "/metrics", None)
            .await;
        let text = answer.expect("a node tells its metrics").text;
        let lines = text
            .lines()
            .filter(|line| line.starts_with("holdfast_ari_events"));
        let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        values.sum::<f64>() as u64
    }

    /// One request to the Asterisk that must succeed.
    async fn ask(&mut self, method: &str, path: &str, body: Option<&Value>) -> String {
        let pbx = &self.cluster.site(PBX).pbx;
        let (status, text) = pbx
            .raw_with(method, path, body)
            .await
            .expect("asterisk answers");
        assert!(
            (200..300).contains(&status),
            "{method} {path}: {status} {text}"
        );
        text
    }

    /// Waits a little until nothing is left of any call, removes what is, and tells how much that was.
    async fn clear(&mut self) -> usize {
        let begun = Instant::now();
        loop {
            let mut left = Vec::new();
            for kind in ["channels", "bridges"] {
                let list = self.ask("GET", &format!("/{kind}"), None).await;
                let list: Vec<Value> = serde_json::from_str(&list).expect("it is a list");
                let ids = list.iter().filter_map(|it| it["id"].as_str());
                left.extend(ids.map(|id| format!("/{kind}/{id}")));
            }
            if left.is_empty() {
                return 0;
            }
            if begun.elapsed() > CLEAR_MAX {
                for path in &left {
                    let answer = self.cluster.site(PBX).pbx.raw("DELETE", path).await;
                    let (status, text) = answer.expect("asterisk answers");
                    // It may just have ended by itself.
                    assert!(matches!(status, 204 | 404), "{path}: {status} {text}");
                }
                return left.len();
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until nothing is left of any call and the agents are free.
    pub async fn quiet(&mut self) {
        let agents = System::Holdfast.phones();
        let agents: Vec<&str> = agents.iter().map(String::as_str).collect();
        self.cluster.quiet(QUEUE, &agents).await;
    }
}

fn real(cluster: &Cluster) -> &RealAsterisk {
    match &cluster.site(PBX).pbx {
        Pbx::Real(pbx) => pbx,
        Pbx::Sim(_) => unreachable!("the stage has real Asterisks"),
    }
}

/// Has another node lead than the one that drives the calls, and names it.
async fn lead_elsewhere(cluster: &Cluster) -> &'static str {
    if cluster.leader().await == PBX {
        let to = json!({ "to": NAMES[1] });
        let asked = cluster.api().write("PUT", "/v1/cluster/leader", to).await;
        asked.expect("a leader can step down");
    }
    eventually(SOON, "another node leads", async || {
        let leader = cluster.leader().await;
        check(leader != PBX, || format!("{leader} leads"))
    })
    .await;
    cluster.leader().await
}
