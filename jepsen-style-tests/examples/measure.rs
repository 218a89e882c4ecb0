//! Prints figures of a whole installation: how soon an agent rings, how long a new leader takes, what
//! a node costs at rest. See `benches/README.md` for how to run and read it.
//!
//! Everything is observed from outside: events of the Asterisks with their timestamps, and the
//! processes as the system shows them. No figure is judged; what must never happen still is, and
//! makes the program fail.

use std::process::ExitCode;
use std::time::Duration;

use holdfast_drills::lab::cluster::{Cluster, NAMES};
use holdfast_drills::lab::eventually::{SOON, check, eventually};
use holdfast_drills::lab::figures::{load, rank, wall_ms};
use holdfast_drills::lab::moments::{Moment, What, legs};
use holdfast_drills::lab::oracle::Talk;
use holdfast_drills::lab::proc::{cpu, rss};
use holdfast_drills::lab::{Caller, Habit, Kind, Phone, process};

const USAGE: &str = "usage: measure [--kind sim|real] [--only dispatch,arrival,answer,failover,rest] \
                     [--times K]";
const PARTS: [&str; 5] = ["dispatch", "arrival", "answer", "failover", "rest"];
const QUEUE: &str = "support";
const AGENTS: [(&str, &str); 4] = [("1001", "a"), ("1002", "b"), ("1003", "c"), ("1004", "a")];
/// Answers at once, and does not talk for long.
const SHORT_TALK: Habit = Habit::Answer {
    after_ms: 1,
    talk_ms: Some(300),
};
/// Answers soon, and leaves the hanging up to the caller.
const LISTENS: Habit = Habit::Answer {
    after_ms: 50,
    talk_ms: None,
};
/// Callers who arrive one by one while the agent is free.
const ARRIVALS: usize = 24;
/// Callers in line before a leader is killed.
const FAILOVER_LINE: usize = 12;
/// A leg that comes so soon after the kill was still ordered by the dead leader.
const STILL_ORDERED_MS: i64 = 100;
/// Above this the nodes' logs of a failover are kept.
const SLOW_MS: i64 = 5_000;
/// Over how long the processor time of a node is taken.
const CPU_OVER: Duration = Duration::from_secs(10);
/// Callers at rest, and how many of them arrive together.
const REST_LINE: usize = 1_000;
const REST_TOGETHER: usize = 30;

fn main() -> ExitCode {
    let asked = match Asked::read(std::env::args().skip(1)) {
        Ok(asked) => asked,
        Err(why) => {
            eprintln!("{why}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let line: Vec<String> = std::env::args().collect();
    println!("command: {}", line.join(" "));
    println!("nodes:   {}", process::binary().display());
    let mut faults = Vec::new();
    if asked.wants("dispatch") || asked.wants("answer") {
        faults.extend(run(dispatch_and_answer(&asked)));
    }
    if asked.wants("arrival") {
        faults.extend(run(arrival(asked.kind)));
    }
    if asked.wants("failover") {
        faults.extend(run(failover(asked.kind, asked.times)));
    }
    if asked.wants("rest") {
        faults.extend(run(rest(asked.kind)));
    }
    for fault in &faults {
        println!("FAULT: {fault}");
    }
    if faults.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Runs one part to its end, with all that it started: simulators live in the runtime, so the next
/// part finds their addresses free.
fn run<T>(part: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    runtime
        .expect("the system gives a program two threads")
        .block_on(part)
}

struct Asked {
    kind: Kind,
    only: Vec<String>,
    times: usize,
}

impl Asked {
    fn read(mut words: impl Iterator<Item = String>) -> Result<Asked, String> {
        let mut asked = Asked {
            kind: Kind::Sim,
            only: PARTS.map(str::to_owned).to_vec(),
            times: 5,
        };
        while let Some(word) = words.next() {
            let value = words.next().ok_or(format!("{word} needs a value"))?;
            match word.as_str() {
                "--kind" if value == "sim" => asked.kind = Kind::Sim,
                "--kind" if value == "real" => asked.kind = Kind::Real,
                "--only" => {
                    asked.only = value.split(',').map(str::to_owned).collect();
                    if let Some(part) = asked.only.iter().find(|p| !PARTS.contains(&p.as_str())) {
                        return Err(format!("there is no part {part:?}"));
                    }
                }
                "--times" => match value.parse() {
                    Ok(times) if times > 0 => asked.times = times,
                    _ => return Err(format!("--times {value} is no number above 0")),
                },
                _ => return Err(format!("{word} {value} is not understood")),
            }
        }
        Ok(asked)
    }

    fn wants(&self, part: &str) -> bool {
        self.only.iter().any(|only| only == part)
    }
}

/// A busy line: from free to the next leg, and from the answer to the conversation.
async fn dispatch_and_answer(asked: &Asked) -> Vec<String> {
    let (callers, agents) = match asked.kind {
        Kind::Sim => (60, &AGENTS[..]),
        Kind::Real => (30, &AGENTS[..3]),
    };
    let cluster = open(asked.kind, agents).await;
    let load = load();
    let mut numbers = Numbers::default();
    let line = join(&cluster, &mut numbers, callers, &NAMES).await;
    let phones = at_work(&cluster, agents, SHORT_TALK).await;
    eventually(4 * SOON, "the line is served", async || {
        let line = cluster.numbers(QUEUE).await?;
        check(line.is_empty(), || format!("in line are {line:?}"))
    })
    .await;
    cluster.oracle.all_released().await;

    let (moments, mut talks) = (cluster.oracle.moments(), cluster.oracle.talks());
    talks.sort_by_key(|talk| talk.begun_ms);
    // From when on agents may be free because nobody is left in line.
    let last = talks.len().saturating_sub(agents.len());
    let until = talks.get(last).map_or(0, |talk| talk.begun_ms);
    // An agent hangs up by the clock; on a slow machine that may be before both were connected.
    for caller in &line {
        if !talks.iter().any(|talk| talk.caller == caller.number()) {
            println!("caller {} left without a conversation", caller.number());
            let own = moments.iter().filter(|m| m.number == caller.number());
            own.for_each(|m| println!("  {} {} {:?} {:?}", m.at_ms, m.pbx, m.what, m.phone));
        }
    }
    let scene = format!(
        "{callers} callers at 3 Asterisks, {} agents, talk 300 ms",
        agents.len()
    );
    if asked.wants("dispatch") {
        title(
            "dispatch: agent free -> his next leg created",
            &load,
            &scene,
        );
        table(&[("all", from_free_to_leg(&moments, until))]);
    }
    if asked.wants("answer") {
        let title_of = "answer: agent's phone up -> both in the bridge";
        title(title_of, &load, &scene);
        let same = |talk: &Talk| home_of_caller(&moments, talk) == home_of(&talk.agent);
        let (near, far): (Vec<&Talk>, Vec<&Talk>) = talks.iter().partition(|talk| same(talk));
        table(&[
            ("same Asterisk", from_up_to_bridge(&moments, &near)),
            ("through a trunk", from_up_to_bridge(&moments, &far)),
        ]);
    }
    drop((line, phones));
    cluster.oracle.faults()
}

/// A free agent, and callers one by one.
async fn arrival(kind: Kind) -> Vec<String> {
    let agents = &AGENTS[..1];
    let cluster = open(kind, agents).await;
    let load = load();
    let phones = at_work(&cluster, agents, LISTENS).await;
    let mut numbers = Numbers::default();
    let (mut near, mut far) = (Vec::new(), Vec::new());
    for at in NAMES.into_iter().cycle().take(ARRIVALS) {
        cluster.available(agents[0].0).await;
        let number = numbers.next();
        let caller = cluster.call(at, QUEUE, &number).await;
        cluster.oracle.connected(&number).await;
        let moments = cluster.oracle.moments();
        let legs = legs(&moments);
        let leg = legs[agents[0].0].last().map(|leg| leg.created);
        let leg = leg.expect("who talks has a leg");
        let arrived = moments.iter().filter(|m| {
            m.number == number
                && m.phone.is_none()
                && m.at_ms <= leg
                && matches!(m.what, What::Up | What::Stasis)
        });
        let arrived = arrived.map(|m| m.at_ms).max();
        let took = leg - arrived.expect("who talks was answered");
        if at == agents[0].1 {
            near.push(took);
        } else {
            far.push(took);
        }
        caller.hang_up().await.expect("a caller can hang up");
        cluster.oracle.all_released().await;
    }
    title(
        "arrival: caller in Stasis -> leg of a free agent created",
        &load,
        "one free agent, callers one by one",
    );
    table(&[("same Asterisk", near), ("through a trunk", far)]);
    drop(phones);
    cluster.oracle.faults()
}

/// The leader dies while a line is served.
async fn failover(kind: Kind, times: usize) -> Vec<String> {
    let agents = &AGENTS;
    let mut cluster = open(kind, agents).await;
    let load = load();
    let mut numbers = Numbers::default();
    let phones = at_work(&cluster, agents, SHORT_TALK).await;
    let (mut took, mut elected, mut callers) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..times {
        for (agent, _) in agents {
            let paused = cluster.api().pause(agent, "measure").await;
            paused.expect("an agent can pause");
        }
        let leader = cluster.leader().await;
        let living: Vec<&str> = NAMES.into_iter().filter(|name| *name != leader).collect();
        callers.extend(join(&cluster, &mut numbers, FAILOVER_LINE, &living).await);
        let before = cluster.oracle.talks().len();
        for (agent, _) in agents {
            let back = cluster.api().unpause(agent).await;
            back.expect("an agent can come back");
        }
        cluster.oracle.talked(before + 2, SOON).await;

        let killed = wall_ms();
        cluster.kill(leader);
        let named = async {
            cluster.leader().await;
            wall_ms() - killed
        };
        let leg = eventually(2 * SOON, "the new leader has a phone rung", async || {
            let moments = cluster.oracle.moments();
            let mut created = moments.iter().filter(|m| {
                m.what == What::Created
                    && m.phone.is_some()
                    && m.pbx != leader
                    && m.at_ms >= killed + STILL_ORDERED_MS
            });
            let first = created.next().map(|m| m.at_ms);
            first.ok_or_else(|| "no leg was created".to_owned())
        });
        let (named, leg) = tokio::join!(named, leg);
        took.push(leg - killed);
        elected.push(named);
        if leg - killed > SLOW_MS {
            keep_logs(&cluster, took.len(), killed);
        }
        cluster.restart(leader).await;
        cluster.all_ready().await;
    }
    title(
        "failover: SIGKILL of the leader -> first leg by the new leader",
        &load,
        &format!(
            "{FAILOVER_LINE} new callers at living nodes behind older ones anywhere, 4 agents, talk 300 ms"
        ),
    );
    println!("  one by one: {took:?}");
    table(&[("new leader named", elected), ("first leg", took)]);
    drop((phones, callers));
    cluster.oracle.faults()
}

/// Keeps what the nodes logged, for who wants to know why a failover was slow.
fn keep_logs(cluster: &Cluster, round: usize, killed: i64) {
    for site in &cluster.sites {
        let name = format!(
            "holdfast-measure-{}-{round}-{}.log",
            std::process::id(),
            site.name
        );
        let path = std::env::temp_dir().join(name);
        match std::fs::write(&path, site.process.log()) {
            Ok(()) => println!("  slow after the kill at {killed}: {}", path.display()),
            Err(error) => println!("  the log of {} is lost: {error}", site.name),
        }
    }
}

/// What nodes cost that do nothing, and that hold a line.
async fn rest(kind: Kind) -> Vec<String> {
    let cluster = open(kind, &AGENTS[..1]).await;
    title(
        "rest: idle",
        &load(),
        &format!("no call, over {CPU_OVER:?}"),
    );
    nodes(&cluster).await;
    if kind == Kind::Real {
        println!("rest with waiting callers: skipped, each caller is a process of its own here");
        return cluster.oracle.faults();
    }
    let mut numbers = Numbers::default();
    let mut callers = Vec::new();
    while callers.len() < REST_LINE {
        let more = REST_TOGETHER.min(REST_LINE - callers.len());
        for _ in 0..more {
            let at = NAMES[callers.len() % NAMES.len()];
            callers.push(cluster.call(at, QUEUE, &numbers.next()).await);
        }
        let expected = callers.len();
        eventually(SOON, &format!("{expected} are in line"), async || {
            let queue = cluster.api().get(&format!("/v1/queues/{QUEUE}")).await?;
            check(queue["waiting"] == expected, || format!("{queue}"))
        })
        .await;
    }
    title(
        "rest: waiting callers",
        &load(),
        &format!("{REST_LINE} in one line at 3 Asterisks, over {CPU_OVER:?}"),
    );
    nodes(&cluster).await;
    cluster.oracle.faults()
}

/// Three nodes with one queue, nobody logged in.
async fn open(kind: Kind, agents: &[(&str, &str)]) -> Cluster {
    let cluster = Cluster::start(kind).await;
    let members: Vec<&str> = agents.iter().map(|(agent, _)| *agent).collect();
    let mut declared = format!(
        "[queue.{QUEUE}]\nmembers = {members:?}\nstrategy = \"leastrecent\"\nwrap_up = \"0s\"\n\
         announce = {{ position = false }}\n"
    );
    for (agent, home) in agents {
        declared += &format!("[agent.{agent}]\nname = \"Agent {agent}\"\nhome = [\"{home}\"]\n");
    }
    cluster.apply(&declared).await;
    cluster
}

async fn at_work(cluster: &Cluster, agents: &[(&str, &str)], habit: Habit) -> Vec<Phone> {
    let mut phones = Vec::new();
    for (agent, home) in agents {
        phones.push(cluster.phone(agent, home, habit).await);
    }
    for (agent, _) in agents {
        cluster.login(agent).await;
    }
    phones
}

/// Lets callers call at these Asterisks by turns, and waits until all are in line.
async fn join(cluster: &Cluster, numbers: &mut Numbers, count: usize, at: &[&str]) -> Vec<Caller> {
    let mut callers = Vec::new();
    for name in at.iter().cycle().take(count) {
        callers.push(cluster.call(name, QUEUE, &numbers.next()).await);
    }
    eventually(
        2 * SOON,
        &format!("{count} callers are in line"),
        async || {
            let line = cluster.numbers(QUEUE).await?;
            let there = callers
                .iter()
                .filter(|caller| line.iter().any(|number| number == caller.number()))
                .count();
            check(there == count, || format!("{there} are"))
        },
    )
    .await;
    callers
}

/// Gives each caller a number of his own.
#[derive(Default)]
struct Numbers(u32);

impl Numbers {
    fn next(&mut self) -> String {
        self.0 += 1;
        (60_000 + self.0).to_string()
    }
}

fn from_free_to_leg(moments: &[Moment], until: i64) -> Vec<i64> {
    let legs = legs(moments);
    let pairs = legs.values().flat_map(|legs| legs.windows(2));
    pairs
        .filter(|pair| pair[1].created <= until)
        .filter_map(|pair| Some(pair[1].created - pair[0].destroyed?))
        .collect()
}

fn from_up_to_bridge(moments: &[Moment], talks: &[&Talk]) -> Vec<i64> {
    let legs = legs(moments);
    let took = talks.iter().filter_map(|talk| {
        let ups = legs.get(&talk.agent)?.iter().filter_map(|leg| leg.up);
        let up = ups.filter(|up| *up <= talk.begun_ms).max()?;
        Some(talk.begun_ms - up)
    });
    took.collect()
}

fn home_of(agent: &str) -> Option<&str> {
    let known = AGENTS.iter().find(|(number, _)| *number == agent);
    known.map(|(_, home)| *home)
}

fn home_of_caller<'a>(moments: &'a [Moment], talk: &Talk) -> Option<&'a str> {
    let of_caller = |m: &&Moment| m.phone.is_none() && m.number == talk.caller;
    moments.iter().find(of_caller).map(|m| m.pbx.as_str())
}

fn title(what: &str, load: &str, scene: &str) {
    println!("\n{what}\n  {scene}; load before: {load}");
}

fn table(rows: &[(&str, Vec<i64>)]) {
    println!(
        "  {:<16} {:>5} {:>8} {:>8} {:>8} {:>8}  (ms)",
        "", "n", "min", "median", "p99", "max"
    );
    for (name, values) in rows {
        let rank = |percent| rank(values, percent).map_or("-".to_owned(), |it| it.to_string());
        println!(
            "  {name:<16} {:>5} {:>8} {:>8} {:>8} {:>8}",
            values.len(),
            rank(0),
            rank(50),
            rank(99),
            rank(100)
        );
    }
}

/// Prints processor time and memory of each node.
async fn nodes(cluster: &Cluster) {
    let before: Vec<Duration> = cluster.running().map(|site| cpu(pid(site))).collect();
    tokio::time::sleep(CPU_OVER).await;
    println!(
        "  {:<16} {:>12} {:>10}",
        "node", "CPU (% core)", "RSS (MiB)"
    );
    for (site, before) in cluster.running().zip(before) {
        let used = (cpu(pid(site)) - before).as_secs_f64() / CPU_OVER.as_secs_f64() * 100.0;
        let memory = rss(pid(site)) as f64 / f64::from(1 << 20);
        println!("  {:<16} {used:>12.1} {memory:>10.1}", site.name);
    }
}

fn pid(site: &holdfast_drills::lab::cluster::Site) -> u32 {
    site.process.pid().expect("a running site has a process")
}
