//! `demo`: a whole installation on this machine, without root: nodes as processes, simulated
//! Asterisks in this one, seeded callers and agents, and the leader killed while they wait.
//!
//! It judges itself by what the Asterisks saw (`judge`), and fails if a caller was lost or an agent
//! was taken twice.

mod crowd;
mod judge;
mod nodes;
mod screen;

use crate::args::{DemoArgs, Output};
use crate::client::Client;
use crate::failure::{FAILED, Failure};
use crate::output::Out;
use crowd::{Crowd, Habits};
use holdfast_admin::api::{
    AgentView, CallView, ClusterView, ConfigChange, Page, QueueView, Written,
};
use holdfast_admin::declared::{Declared, read_toml};
use holdfast_sim::{Habit, Person, SimAsterisk, SimConfig};
use judge::{Desk, Judge};
use nodes::DemoNode;
use reqwest::Method;
use screen::{Kill, Look, Report, percentile};
use std::io::IsTerminal;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

/// Without `--for`: the first kill, and the time between kills.
const FIRST_KILL: Duration = Duration::from_secs(20);
const KILL_EVERY: Duration = Duration::from_secs(60);
/// A killed node stays dead for at most so long.
const DEAD_FOR: Duration = Duration::from_secs(8);
const LOOK_EVERY: Duration = Duration::from_millis(400);
const SAMPLE_EVERY: Duration = Duration::from_millis(20);
/// Between two lines where there is no terminal.
const LINE_EVERY: u64 = 5;
/// For a new leader and the first ring by it.
const FAILOVER_MAX: Duration = Duration::from_secs(20);
/// When nobody arrives any more: to be answered, then to hang up.
const LAST_ANSWERS: Duration = Duration::from_secs(8);
const LAST_GOODBYES: Duration = Duration::from_secs(10);

pub async fn run(out: Out, args: DemoArgs) -> Result<(), Failure> {
    let seed = args
        .seed
        .unwrap_or_else(|| u64::from(rand::random::<u32>()));
    let temp = tempfile::tempdir()?;
    let dir = args.dir.clone().unwrap_or_else(|| temp.path().to_owned());
    std::fs::create_dir_all(&dir)?;
    let dir = dir.canonicalize()?;
    out.say(&format!(
        "seed {seed}; nodes and logs are in {}",
        dir.display()
    ));
    let asterisks = start_asterisks(&args, seed).await?;
    let mut nodes = nodes::start(&dir, &asterisks).await?;
    for node in &mut nodes {
        node.ready().await?;
        let address = format!("node {}: http://{}", node.name, node.http);
        out.say(&address);
    }
    let queues: Vec<String> = (0..args.queues).map(queue_name).collect();
    let desks = furnish(&args, &nodes[0].client, &asterisks, &queues).await?;
    let habits = Habits {
        seed,
        queues: queues.clone(),
        calls_per_minute: args.calls_per_minute,
        patience_ms: (20_000, 45_000),
        talk_ms: (1_500, 5_000),
    };
    let crowd = Crowd::start(asterisks.clone(), habits);
    let length = args.length.map(|length| Duration::from_millis(length.0));
    let mut show = Show {
        out,
        began: Instant::now(),
        length,
        nodes,
        asterisks,
        queues,
        desks,
        crowd,
        judge: Judge::default(),
        kills: Vec::new(),
        news: Vec::new(),
        revision: 0,
        witness: 0,
        restart_at: None,
        back_at: None,
        kill_at: (!args.no_kill).then(|| length.map_or(FIRST_KILL, |length| length / 3)),
        last_line: None,
    };
    show.play().await?;
    show.finish(seed).await
}

async fn start_asterisks(args: &DemoArgs, seed: u64) -> Result<Vec<SimAsterisk>, Failure> {
    let mut asterisks: Vec<SimAsterisk> = Vec::new();
    for n in 0..args.nodes {
        let name = char::from(b'a' + n as u8).to_string();
        let config = SimConfig {
            seed: seed.wrapping_add(n.into()),
            ..SimConfig::new(&name)
        };
        let asterisk = SimAsterisk::start(config)
            .await
            .map_err(|error| Failure::new(FAILED, error.to_string()))?;
        asterisks
            .iter()
            .for_each(|other| asterisk.join_trunk(other));
        asterisks.push(asterisk);
    }
    Ok(asterisks)
}

fn queue_name(n: u16) -> String {
    match n {
        0 => "support".into(),
        1 => "sales".into(),
        n => format!("queue{}", n + 1),
    }
}

/// Queues and agents by the endpoints, phones at the Asterisks, everybody logged in.
async fn furnish(
    args: &DemoArgs,
    client: &Client,
    asterisks: &[SimAsterisk],
    queues: &[String],
) -> Result<Vec<Desk>, Failure> {
    let person = Person {
        answer_ms: (300, 1_200),
        talk_ms: (1_500, 4_500),
        no_answer_percent: 0,
        busy_percent: 2,
        reject_percent: 2,
    };
    let mut text = String::new();
    let mut desks = Vec::new();
    for n in 0..args.agents {
        let (number, at) = ((1001 + n).to_string(), usize::from(n) % asterisks.len());
        let (home, name) = (asterisks[at].name(), format!("Agent {}", n + 1));
        text.push_str(&format!(
            "[agent.{number}]\nname = \"{name}\"\nhome = [\"{home}\"]\n"
        ));
        let phone = asterisks[at].phone(&number, Habit::Person(person));
        desks.push(Desk {
            number,
            asterisk: at,
            phone,
        });
    }
    let members: Vec<String> = desks
        .iter()
        .map(|desk| format!("\"{}\"", desk.number))
        .collect();
    for (n, queue) in queues.iter().enumerate() {
        let strategy = ["rrmemory", "leastrecent", "ringall", "fewestcalls"][n % 4];
        text.push_str(&format!(
            "[queue.{queue}]\nstrategy = \"{strategy}\"\nring_time = \"8s\"\nmax_wait = \"2m\"\n\
             announce = {{ every = \"20s\" }}\nmembers = [{}]\n",
            members.join(", ")
        ));
    }
    let config = read_toml("demo", &text).map_err(|e| Failure::new(FAILED, e.to_string()))?;
    let body = Declared::of(&config);
    let _: ConfigChange = client
        .write(Method::PUT, "/v1/config", Some(&body), &[])
        .await?;
    for desk in &desks {
        let path = format!("/v1/agents/{}/session", desk.number);
        let body: Option<&()> = None;
        let _: Written = client.write(Method::PUT, &path, body, &[]).await?;
    }
    Ok(desks)
}

struct Show {
    out: Out,
    began: Instant,
    length: Option<Duration>,
    nodes: Vec<DemoNode>,
    asterisks: Vec<SimAsterisk>,
    queues: Vec<String>,
    desks: Vec<Desk>,
    crowd: Crowd,
    judge: Judge,
    kills: Vec<Kill>,
    news: Vec<String>,
    /// Of the last line that was compared: an older replica says nothing new.
    revision: u64,
    /// The node that is asked for lines; changed only when it dies.
    witness: usize,
    restart_at: Option<Instant>,
    /// Until when a restarted node is given time to find its callers again.
    back_at: Option<Instant>,
    /// From the beginning.
    kill_at: Option<Duration>,
    last_line: Option<u64>,
}

/// By Ctrl-C or SIGTERM: nobody else ends its nodes.
async fn asked_to_end() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted,
        _ = terminate.recv() => Ok(()),
    }
}

impl Show {
    /// Until the time is over, or the demo is asked to end.
    async fn play(&mut self) -> Result<(), Failure> {
        let mut interrupted = std::pin::pin!(asked_to_end());
        let mut sample = tokio::time::interval(SAMPLE_EVERY);
        sample.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut look_at = Instant::now();
        while self
            .length
            .is_none_or(|length| self.began.elapsed() < length)
        {
            tokio::select! {
                _ = sample.tick() => {}
                _ = interrupted.as_mut() => break,
            }
            self.judge.phones(&self.asterisks, &self.desks);
            if Instant::now() >= look_at {
                look_at = Instant::now() + LOOK_EVERY;
                self.look().await;
            }
            if self.kill_at.is_some_and(|at| self.began.elapsed() >= at) {
                self.kill_leader().await?;
            }
            self.restart(false).await?;
        }
        self.restart(true).await
    }

    /// Asks the nodes, compares the lines, shows it.
    async fn look(&mut self) {
        let mut look = Look {
            seconds: self.began.elapsed().as_secs(),
            ..Look::default()
        };
        for node in &self.nodes {
            let view = match node.lives() {
                true => node
                    .client
                    .get_local::<ClusterView>("/v1/cluster")
                    .await
                    .ok(),
                false => None,
            };
            look.nodes.push((node.name.clone(), view));
        }
        self.compare().await;
        let client = self.nodes[self.witness].client.clone();
        if let Ok(page) = client.get_local::<Page<QueueView>>("/v1/queues").await {
            look.queues = page.items;
        }
        if let Ok(page) = client.get_local::<Page<AgentView>>("/v1/agents").await {
            look.agents = page.items;
        }
        look.tally = self.crowd.tally();
        look.news = self.news.clone();
        look.violations = self.judge.violations.len() + look.tally.violations.len();
        self.show(&look);
    }

    fn show(&mut self, look: &Look) {
        if self.out.quiet || self.out.form != Output::Table {
            return;
        }
        if std::io::stdout().is_terminal() {
            let clear = "\x1b[H\x1b[2J";
            // A terminal that cannot be written to is nothing that the demo is about.
            let _ = self.out.line(&format!("{clear}{}", look.frame()));
        } else if self
            .last_line
            .is_none_or(|last| look.seconds >= last + LINE_EVERY)
        {
            self.last_line = Some(look.seconds);
            let _ = self.out.line(&look.line());
        }
    }

    /// Holds the lines as the witness has them against what was seen before.
    async fn compare(&mut self) {
        if !self.nodes[self.witness].lives() {
            let Some(next) = self.nodes.iter().position(DemoNode::lives) else {
                return;
            };
            self.witness = next;
        }
        let client = self.nodes[self.witness].client.clone();
        for queue in self.queues.clone() {
            let path = format!("/v1/queues/{queue}/calls?limit=1000");
            let Ok(page) = client.get_local::<Page<CallView>>(&path).await else {
                return;
            };
            if page.revision >= self.revision {
                self.revision = page.revision;
                self.judge.line(&queue, &page.items);
            }
        }
        let settled = self.back_at.is_none_or(|at| Instant::now() > at);
        if self.restart_at.is_none() && settled {
            let path = "/v1/calls?limit=1000";
            if let Ok(page) = client.get_local::<Page<CallView>>(path).await {
                let lives: Vec<bool> = self.nodes.iter().map(DemoNode::lives).collect();
                self.judge.known(&self.crowd, &lives, &page.items);
            }
        }
    }

    async fn kill_leader(&mut self) -> Result<(), Failure> {
        self.kill_at = self
            .length
            .is_none()
            .then(|| self.began.elapsed() + KILL_EVERY);
        let mut leader = None;
        for node in self.nodes.iter().filter(|node| node.lives()) {
            if let Ok(view) = node.client.get_local::<ClusterView>("/v1/cluster").await
                && view.role == "leader"
            {
                leader = self.nodes.iter().position(|n| n.name == node.name);
                break;
            }
        }
        let Some(leader) = leader else {
            self.judge.violation("there was no leader to kill".into());
            return Ok(());
        };
        if self.witness == leader && self.nodes.len() > 1 {
            self.witness = (leader + 1) % self.nodes.len();
        }
        self.compare().await;
        let waiting = self
            .crowd
            .under_way()
            .iter()
            .filter(|placed| placed.waits())
            .count();
        let name = self.nodes[leader].name.clone();
        let killed = Instant::now();
        self.nodes[leader].kill().await?;
        let mut kill = Kill {
            node: name.clone(),
            waiting,
            ..Kill::default()
        };
        self.news
            .insert(0, format!("leader {name} killed with {waiting} in line"));
        let dead_for = self
            .length
            .map_or(DEAD_FOR, |length| DEAD_FOR.min(length / 3));
        self.restart_at = Some(killed + dead_for);
        if self.nodes.len() > 2 {
            self.failover(killed, &name, &mut kill).await;
        }
        self.kills.push(kill);
        Ok(())
    }

    /// Measures how long nobody led, and how long no phone rang by a new decision.
    async fn failover(&mut self, killed: Instant, dead: &str, kill: &mut Kill) {
        let client = self.nodes[self.witness].client.clone();
        let ms = |at: Instant| u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut rung = 0;
        while killed.elapsed() < FAILOVER_MAX {
            self.judge.phones(&self.asterisks, &self.desks);
            if kill.leader_after_ms.is_none() {
                rung = self.rung();
                let view = client.get_local::<ClusterView>("/v1/cluster").await.ok();
                let leader = view.and_then(|view| view.leader);
                if leader.is_some_and(|leader| leader != dead) {
                    kill.leader_after_ms = Some(ms(killed));
                }
            } else if self.rung() > rung {
                kill.ring_after_ms = Some(ms(killed));
                break;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let after = |ms: Option<u64>| ms.map_or_else(|| "never".into(), |ms| format!("{ms} ms"));
        let (leader, ring) = (after(kill.leader_after_ms), after(kill.ring_after_ms));
        self.news.insert(
            0,
            format!("new leader after {leader}, next ring after {ring}"),
        );
        self.news.truncate(6);
        if kill.leader_after_ms.is_none() {
            self.judge
                .violation(format!("no new leader within {FAILOVER_MAX:?}"));
        }
    }

    fn rung(&self) -> u64 {
        self.desks.iter().map(|desk| desk.phone.times_rung()).sum()
    }

    /// Starts a killed node again when its time has come.
    async fn restart(&mut self, now: bool) -> Result<(), Failure> {
        if self.restart_at.is_none_or(|at| !now && Instant::now() < at) {
            return Ok(());
        }
        self.restart_at = None;
        self.back_at = Some(Instant::now() + Duration::from_secs(15));
        for node in self.nodes.iter_mut().filter(|node| !node.lives()) {
            node.start()?;
            self.news
                .insert(0, format!("node {} started again", node.name));
        }
        if let Some(kill) = self.kills.last_mut() {
            kill.restarted = true;
        }
        Ok(())
    }

    /// Lets everybody finish, then judges what is left.
    async fn finish(mut self, seed: u64) -> Result<(), Failure> {
        let seconds = self.began.elapsed().as_secs();
        self.crowd.stop();
        for node in &mut self.nodes {
            node.ready().await?;
        }
        if !self.crowd.all_gone(LAST_ANSWERS).await {
            for placed in self.crowd.under_way() {
                placed.caller.hang_up();
            }
            if !self.crowd.all_gone(LAST_GOODBYES).await {
                let count = self.crowd.under_way().len();
                self.judge
                    .violation(format!("{count} callers hung up and are still there"));
            }
        }
        self.judge.desks(&self.desks);
        self.judge.left_over(&self.asterisks).await;
        let mut tally = self.crowd.tally();
        tally.waits_ms.sort_unstable();
        if tally.answered == 0 && tally.placed > 10 {
            self.judge.violation("no caller was answered at all".into());
        }
        let mut violations = std::mem::take(&mut self.judge.violations);
        violations.append(&mut tally.violations);
        let report = Report {
            seed,
            seconds,
            callers: tally.placed,
            answered: tally.answered,
            gave_up: tally.gave_up,
            sent_back: tally.returned,
            wait_median_ms: percentile(&tally.waits_ms, 50),
            wait_p95_ms: percentile(&tally.waits_ms, 95),
            wait_longest_ms: tally.waits_ms.last().copied().unwrap_or_default(),
            kills: self.kills.clone(),
            lines_compared: self.judge.lines,
            places_compared: self.judge.places,
            violations,
        };
        self.out.show(&report, || report.text())?;
        for node in &mut self.nodes {
            node.kill().await?;
        }
        match report.violations.len() {
            0 => Ok(()),
            count => Err(
                Failure::new(FAILED, format!("{count} violations")).fix(format!(
                    "holdfast demo --seed {seed} --dir DIR, and read the logs in DIR"
                )),
            ),
        }
    }
}
