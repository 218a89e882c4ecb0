//! The rate of calls is raised step by step until the p99 of a dispatch passes the mark.

use std::time::{Duration, Instant};

use holdfast_drills::lab::figures::{load, rank};
use serde::Serialize;

use crate::house::House;
use crate::large::ms;
use crate::orders::{Answer, LINE, LINE_PHONES, Load, OPEN, OPEN_PHONES, Order};

/// Where the ladder ends.
pub const MARK_MS: f64 = 100.0;
/// Of each step's rate, so much goes to the queue with a line: its agents are never without a caller.
const IN_LINE: f64 = 0.25;
/// A talk takes so long in the middle, and an agent of the queue with a line has a call each time.
const TALK_S: f64 = 1.0;
/// Agents of the queue without a line, by callers who come at the highest rate.
const SPARE: f64 = 1.5;

/// How the ladder is climbed.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub first: f64,
    pub factor: f64,
    pub steps: usize,
    pub around: Duration,
    pub measured: Duration,
}

impl Plan {
    fn rate(&self, step: usize) -> f64 {
        self.first * self.factor.powi(i32::try_from(step).unwrap_or(i32::MAX))
    }

    fn highest(&self) -> f64 {
        self.rate(self.steps.saturating_sub(1))
    }

    fn open_agents(&self) -> usize {
        (self.highest() * (1.0 - IN_LINE) * TALK_S * SPARE).ceil() as usize + 10
    }

    fn line_agents(&self, step: usize) -> usize {
        (self.rate(step) * IN_LINE * TALK_S).ceil() as usize
    }
}

/// What one step came to.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// Calls per second that were to come.
    pub asked: f64,
    /// Calls per second that ended after a talk.
    pub done: f64,
    pub placed: usize,
    /// Callers who were not served in the end.
    pub left: usize,
    /// Median, p99 and the longest, in milliseconds, and of how many.
    pub free: Times,
    pub arrival: Times,
    pub still_free: usize,
    /// Seconds of processor time per second, node by node, and of the outside world.
    pub cpu: Vec<f64>,
    pub outside_cpu: f64,
    /// Microseconds of processor time of all nodes per call.
    pub cpu_per_call_us: f64,
    /// Resident bytes of each node behind the step.
    pub memory: Vec<u64>,
    pub leader: usize,
    /// By another node than at the step's begin.
    pub leader_changed: bool,
    /// Nodes that wrote a snapshot within the step, together.
    pub snapshots: usize,
    pub load: String,
    pub faults: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Times {
    pub count: usize,
    pub median_ms: f64,
    pub p99_ms: f64,
    pub most_ms: f64,
}

impl Times {
    pub fn of(us: &[i64]) -> Times {
        let at = |percent| rank(us, percent).unwrap_or(0) as f64 / 1e3;
        Times {
            count: us.len(),
            median_ms: at(50),
            p99_ms: at(99),
            most_ms: at(100),
        }
    }
}

impl Step {
    /// The mark is passed, or not all callers were served at all.
    pub fn late(&self) -> bool {
        self.p99_ms() > MARK_MS || self.left > 0
    }

    /// The slower of the two kinds of dispatch.
    pub fn p99_ms(&self) -> f64 {
        self.free.p99_ms.max(self.arrival.p99_ms)
    }
}

/// Climbs. Each step is told as soon as it is done.
pub async fn climb(
    house: &mut House,
    plan: Plan,
    mut tell: impl FnMut(&Step) -> Result<(), String>,
) -> Result<Vec<Step>, String> {
    let open = plan.open_agents();
    let most = plan.line_agents(plan.steps.saturating_sub(1));
    for (first, count) in [(OPEN_PHONES, open), (LINE_PHONES, most)] {
        house.order(&Order::Phones { first, count }).await?;
    }
    house.apply(&declared(open, most)).await;
    house.log_in(OPEN_PHONES..OPEN_PHONES + open).await?;
    let mut steps = Vec::new();
    let mut at_work = 0;
    for number in 0..plan.steps {
        let agents = plan.line_agents(number);
        let new = LINE_PHONES + at_work..LINE_PHONES + agents;
        house.log_in(new).await?;
        at_work = agents;
        let step = climb_one(house, &plan, number, open).await?;
        eprintln!(
            "{:.0} calls/s asked, {:.1} done, p99 {:.1} ms",
            step.asked,
            step.done,
            step.p99_ms()
        );
        tell(&step)?;
        let over = step.late();
        steps.push(step);
        if over {
            break;
        }
    }
    Ok(steps)
}

async fn climb_one(
    house: &mut House,
    plan: &Plan,
    number: usize,
    agents: usize,
) -> Result<Step, String> {
    let asked = plan.rate(number);
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let order = Order::Load(Load {
        rate: asked * (1.0 - IN_LINE),
        // As many again wait, so that nobody of these agents is without a caller.
        line: 2 * plan.line_agents(number) + 10,
        agents,
        around_ms: millis(plan.around),
        measured_ms: millis(plan.measured),
    });
    let leader = house.leader().await;
    house.send(&order).await?;
    expect(house, &Answer::Begins).await?;
    let (begun, before, snapshots) = (Instant::now(), house.used(), house.snapshots());
    expect(house, &Answer::Ends).await?;
    let (took, after, load) = (begun.elapsed().as_secs_f64(), house.used(), load());
    let new = house.snapshots();
    let snapshots = snapshots
        .iter()
        .zip(&new)
        .filter(|(old, new)| old < new)
        .count();
    let memory = house.memory();
    let Answer::Loaded(loaded) = house.answer().await? else {
        return Err("the Asterisks did not tell of a load".into());
    };
    let used = after.nodes.iter().zip(&before.nodes);
    let cpu: Vec<f64> = used
        .map(|(after, before)| (*after - *before).as_secs_f64() / took)
        .collect();
    let done = loaded.finished as f64 / took;
    Ok(Step {
        asked,
        done,
        placed: loaded.placed,
        left: loaded.left,
        free: Times::of(&loaded.free_us),
        arrival: Times::of(&loaded.arrival_us),
        still_free: loaded.still_free,
        outside_cpu: (after.outside - before.outside).as_secs_f64() / took,
        cpu_per_call_us: cpu.iter().sum::<f64>() * 1e6 / done.max(1e-9),
        cpu,
        memory,
        leader,
        leader_changed: house.leader().await != leader,
        snapshots,
        load,
        faults: loaded.faults,
    })
}

async fn expect(house: &mut House, expected: &Answer) -> Result<(), String> {
    match house.answer().await? {
        answer if answer == *expected => Ok(()),
        other => Err(format!("the Asterisks said {other:?} for {expected:?}")),
    }
}

/// Both queues and their agents, each at home where his phone is.
fn declared(open: usize, line: usize) -> String {
    let mut text = String::new();
    for (queue, first, count) in [(OPEN, OPEN_PHONES, open), (LINE, LINE_PHONES, line)] {
        let members: Vec<String> = (first..first + count).map(|it| it.to_string()).collect();
        text += &format!(
            "[queue.{queue}]\nmembers = {members:?}\nstrategy = \"leastrecent\"\nwrap_up = \"0s\"\n\
             announce = {{ position = false }}\n"
        );
        for (index, member) in members.iter().enumerate() {
            let home = crate::outside::ASTERISKS[index % 3];
            text += &format!("[agent.{member}]\nname = \"Agent {member}\"\nhome = [\"{home}\"]\n");
        }
    }
    text
}

/// Milliseconds, for a plan in words.
pub fn seconds(time: Duration) -> f64 {
    ms(time) / 1e3
}
