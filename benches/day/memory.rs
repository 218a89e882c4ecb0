//! What an agent and a caller in line cost in memory, node by node, and what a line costs at rest.
//!
//! All callers are at the first Asterisk, so that the node that owns their channels is told apart from
//! those that only know of them. Memory is what the kernel says the process has (resident), so it holds what
//! the allocator keeps; the first callers, who fill what a node had free, are not counted.

use std::time::{Duration, Instant};

use holdfast_drills::lab::figures::load;
use serde::Serialize;

use crate::house::House;
use crate::orders::{Order, WAITING};

/// Goal: bytes per waiting caller in a node that does not own his channel.
pub const CALLER_BYTES: f64 = 2048.0;
/// Agents in one declared set: a request has a bound.
const AGENTS_TOGETHER: usize = 250;
/// Callers who come together, and for them to be in line.
const CALLERS_TOGETHER: usize = 200;
const JOINED: Duration = Duration::from_secs(45);
/// From the last change until memory is looked at: what was for passing use is given back by then.
const SETTLE: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub agents: usize,
    /// Callers in line at first, and then.
    pub few: usize,
    pub many: usize,
    /// Over how long the processor time at rest is taken.
    pub rest: Duration,
}

#[derive(Clone, Debug, Serialize)]
pub struct Memory {
    pub agents: usize,
    pub few: usize,
    pub many: usize,
    pub leader: usize,
    /// Resident bytes node by node: before all, with the agents, with few callers, with many.
    pub idle: Vec<u64>,
    pub with_agents: Vec<u64>,
    pub with_few: Vec<u64>,
    pub with_many: Vec<u64>,
    /// Seconds of processor time per second with many in line, node by node, and of the outside world.
    pub cpu: Vec<f64>,
    pub outside_cpu: f64,
    /// From few to many.
    pub joined_s: f64,
    pub load: String,
}

impl Memory {
    pub fn per_agent(&self, node: usize) -> f64 {
        per(self.idle[node], self.with_agents[node], self.agents)
    }

    pub fn per_caller(&self, node: usize) -> f64 {
        per(
            self.with_few[node],
            self.with_many[node],
            self.many - self.few,
        )
    }

    /// Of the nodes that do not own the callers' channels, the one where it is most.
    pub fn per_caller_elsewhere(&self) -> f64 {
        (1..self.idle.len())
            .map(|node| self.per_caller(node))
            .fold(f64::MIN, f64::max)
    }
}

fn per(before: u64, after: u64, count: usize) -> f64 {
    (after as f64 - before as f64) / count.max(1) as f64
}

pub async fn measure(house: &mut House, plan: Plan) -> Result<Memory, String> {
    // A queue without members, and nobody told where he stands: a line at rest.
    let queue = format!("[queue.{WAITING}]\nmembers = []\nannounce = {{ position = false }}\n");
    house.apply(&queue).await;
    let idle = settled(house).await;
    let all: Vec<usize> = (0..plan.agents).collect();
    for some in all.chunks(AGENTS_TOGETHER) {
        house.apply(&declared(some)).await;
    }
    let with_agents = settled(house).await;
    wait(house, 0, plan.few).await?;
    let with_few = settled(house).await;
    let begun = Instant::now();
    wait(house, plan.few, plan.many).await?;
    let joined_s = begun.elapsed().as_secs_f64();
    let with_many = settled(house).await;
    let before = house.used();
    tokio::time::sleep(plan.rest).await;
    let (after, load) = (house.used(), load());
    let share = |after: Duration, before: Duration| {
        (after - before).as_secs_f64() / plan.rest.as_secs_f64()
    };
    let cpu = after.nodes.iter().zip(&before.nodes);
    let cpu = cpu.map(|(after, before)| share(*after, *before)).collect();
    Ok(Memory {
        agents: plan.agents,
        few: plan.few,
        many: plan.many,
        leader: house.leader().await,
        idle,
        with_agents,
        with_few,
        with_many,
        cpu,
        outside_cpu: share(after.outside, before.outside),
        joined_s,
        load,
    })
}

/// Callers come some at a time, as they would to any Asterisk: with thousands at once its event socket would
/// run over.
async fn wait(house: &mut House, from: usize, until: usize) -> Result<(), String> {
    let mut there = from;
    while there < until {
        let count = CALLERS_TOGETHER.min(until - there);
        let order = Order::Wait { asterisk: 0, count };
        house.order(&order).await?;
        there += count;
        house.in_line(WAITING, there, JOINED).await;
    }
    Ok(())
}

async fn settled(house: &House) -> Vec<u64> {
    tokio::time::sleep(SETTLE).await;
    house.memory()
}

/// Agents with a queue of their own, who are not at work.
fn declared(numbers: &[usize]) -> String {
    let first = numbers.first().copied().unwrap_or_default();
    let members: Vec<String> = numbers.iter().map(|it| (40_000 + it).to_string()).collect();
    let mut text =
        format!("[queue.crew-{first}]\nmembers = {members:?}\nannounce = {{ position = false }}\n");
    for member in &members {
        text += &format!("[agent.{member}]\nname = \"Agent {member}\"\nhome = [\"a\"]\n");
    }
    text
}
