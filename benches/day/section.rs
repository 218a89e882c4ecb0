//! The section of the page: the ladder, memory, the large state, pauses, and whether the goals were met.

use std::fmt::{Result, Write};

use holdfast_drills::lab::cluster::NAMES;

use crate::ladder::{self, MARK_MS, Step};
use crate::large::{Costs, Size};
use crate::memory::{CALLER_BYTES, Memory};
use crate::pauses::{LONG_MS, Pauses};

/// All that was measured.
pub struct Day {
    pub quick: bool,
    pub plan: ladder::Plan,
    pub steps: Vec<Step>,
    pub memory: Option<Memory>,
    pub large: Option<(Size, Costs)>,
    pub pauses: Vec<Pauses>,
}

pub fn markdown(day: &Day) -> String {
    let mut out = String::new();
    // Writing into a text does not fail.
    let _ = write(&mut out, day);
    out
}

fn write(out: &mut String, day: &Day) -> Result {
    writeln!(out, "## A day's work\n")?;
    if day.quick {
        writeln!(out, "**A quick run: the figures mean nothing.**\n")?;
    }
    writeln!(
        out,
        "Three node processes beside three simulated Asterisks, which with callers and phones are a fourth \
         process, all on this machine's cores. CPU is in percent of one core.\n"
    )?;
    if !day.steps.is_empty() {
        climbed(out, day)?;
    }
    if let Some(it) = &day.memory {
        memory(out, it)?;
    }
    if let Some((size, costs)) = &day.large {
        copied(out, size, costs)?;
        pauses(out, day)?;
    }
    goals(out, day)
}

fn climbed(out: &mut String, day: &Day) -> Result {
    writeln!(
        out,
        "### Calls per second\n\n\
         Each step lasts {:.0} s that count, {:.0} s before and behind it, and asks for {} times as many \
         calls as the one before, until the p99 of a dispatch passes {MARK_MS:.0} ms. A quarter of the calls \
         is in a queue that always has a line: from an agent's leg gone to his next leg. The others come by \
         chance to a queue with free agents: from the caller in `Stasis()` to the agent's leg. Talks are 0.8 \
         to 1.2 s, each agent is at one of the Asterisks, and two of three legs go through a trunk.\n",
        ladder::seconds(day.plan.measured),
        ladder::seconds(day.plan.around),
        day.plan.factor
    )?;
    writeln!(
        out,
        "| calls/s asked | ended | free to leg: n, median, p99, max ms | arrival to leg: n, median, p99, max ms | \
         CPU of leader, others | of the Asterisks | CPU ms per call, all nodes | memory of nodes, MiB | \
         snapshots | load |\n\
         | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    )?;
    for step in &day.steps {
        let times = |it: &ladder::Times| {
            format!(
                "{}, {:.1}, {:.1}, {:.1}",
                it.count, it.median_ms, it.p99_ms, it.most_ms
            )
        };
        let (leader, others) = apart(&step.cpu, step.leader);
        writeln!(
            out,
            "| {:.0} | {:.1} | {} | {} | {} | {:.0} | {:.2} | {} | {} | {} |",
            step.asked,
            step.done,
            times(&step.free),
            times(&step.arrival),
            percents(&[leader], &others),
            step.outside_cpu * 100.0,
            step.cpu_per_call_us / 1e3,
            mebibytes(&step.memory),
            step.snapshots,
            step.load.split(' ').next().unwrap_or_default(),
        )?;
    }
    let within = day.steps.iter().filter(|step| !step.late());
    let best = within.map(|step| step.done).max_by(f64::total_cmp);
    let best = best.map_or("no step".into(), |best| {
        format!("{best:.0} calls per second")
    });
    let passed = day.steps.last().is_some_and(Step::late);
    writeln!(
        out,
        "\nThe mark was {}passed at the last step. At most with the p99 within {MARK_MS:.0} ms: **{best}**.",
        if passed { "" } else { "not " }
    )?;
    let changed = day.steps.iter().filter(|step| step.leader_changed).count();
    let left: usize = day.steps.iter().map(|step| step.left).sum();
    let still: usize = day.steps.iter().map(|step| step.still_free).sum();
    writeln!(
        out,
        "Steps in which the lead moved: {changed}. Agents with a line who were not called again before a \
         step ended: {still}. Callers who were not served within 20 s after a step: {left}.\n"
    )
}

fn memory(out: &mut String, it: &Memory) -> Result {
    writeln!(
        out,
        "### Memory\n\n\
         On the same nodes, behind the ladder: {} agents more, who are not at work; then {} callers in one \
         line and then {}, all at Asterisk a; from the one to the other it took {:.1} s. Bytes per caller are \
         of those between.\n\n\
         | node | | idle, MiB | with agents | with {} callers | with {} | bytes per agent | bytes per waiting \
         caller | CPU at rest with {} in line |\n\
         | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        it.agents, it.few, it.many, it.joined_s, it.few, it.many, it.many
    )?;
    for (node, name) in NAMES.into_iter().enumerate() {
        let role = match (node == 0, node == it.leader) {
            (true, true) => "owns the callers, leads",
            (true, false) => "owns the callers",
            (false, true) => "leads",
            (false, false) => "",
        };
        writeln!(
            out,
            "| {name} | {role} | {:.1} | {:.1} | {:.1} | {:.1} | {:.0} | {:.0} | {:.1} |",
            mib(it.idle[node]),
            mib(it.with_agents[node]),
            mib(it.with_few[node]),
            mib(it.with_many[node]),
            it.per_agent(node),
            it.per_caller(node),
            it.cpu[node] * 100.0
        )?;
    }
    writeln!(
        out,
        "\nNode a took the agents' declaration, so its memory holds what was left of reading it.\n"
    )
}

fn copied(out: &mut String, size: &Size, costs: &Costs) -> Result {
    writeln!(
        out,
        "### Snapshots and purges meanwhile\n\n\
         A state of {} callers in line and {} agents is copied for a snapshot in {:.1} ms ({:.1} at most), \
         during which nothing is applied. Writing its {:.1} MiB takes {:.0} ms of one core, beside apply.\n",
        size.callers,
        size.agents,
        costs.copy_ms,
        costs.copy_most_ms,
        mib(costs.bytes as u64),
        costs.encode_ms
    )
}

fn pauses(out: &mut String, day: &Day) -> Result {
    writeln!(
        out,
        "Three nodes of the store with the queue's state, in one process, on one disk; 8 writers let callers \
         come and go at a steady pace, one every 16 ms each:\n"
    )?;
    writeln!(
        out,
        "| callers, agents | a snapshot every | commands | snapshots, purges | longest between two \
         acknowledged | over {LONG_MS:.0} ms | longest between two entries applied | command: median, p99, max ms |\n\
         | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    )?;
    for it in &day.pauses {
        let every = it
            .snapshot_every
            .map_or("never".into(), |every| format!("{every} entries"));
        writeln!(
            out,
            "| {}, {} | {every} | {} | {}, {} | {:.1} ms | {} | {:.1} ms | {:.1}, {:.1}, {:.1} |",
            it.callers,
            it.agents,
            it.commands,
            it.snapshots,
            it.purges,
            it.between_acks_ms,
            it.long,
            it.between_applies_ms,
            it.ack_p50_ms,
            it.ack_p99_ms,
            it.ack_most_ms
        )?;
    }
    writeln!(
        out,
        "\nThe flow without snapshots shows what of it is the disk's and the machine's.\n"
    )
}

fn goals(out: &mut String, day: &Day) -> Result {
    let mut rows = Vec::new();
    if let Some(memory) = &day.memory {
        let caller = memory.per_caller_elsewhere();
        rows.push((
            format!(
                "under {CALLER_BYTES:.0} bytes per waiting caller, in a node that does not own him"
            ),
            format!("{caller:.0}"),
            caller < CALLER_BYTES,
        ));
    }
    let longest = |with: bool| {
        let flows = day.pauses.iter();
        let flows = flows.filter(|it| it.snapshot_every.is_some() == with);
        flows
            .map(|it| it.between_acks_ms.max(it.between_applies_ms))
            .fold(0.0, f64::max)
    };
    if let Some((_, costs)) = &day.large {
        rows.push((
            format!(
                "no pause over {LONG_MS:.0} ms while snapshots are built and the log is purged"
            ),
            format!(
                "{:.1} ms; without snapshots {:.1} ms",
                longest(true),
                longest(false)
            ),
            longest(true) <= LONG_MS,
        ));
        rows.push((
            format!("the copy of the large state within {LONG_MS:.0} ms"),
            format!("{:.1} ms", costs.copy_most_ms),
            costs.copy_most_ms <= LONG_MS,
        ));
    }
    writeln!(out, "| Goal | Measured | |\n| --- | ---: | --- |")?;
    for (goal, measured, met) in rows {
        let met = if met { "met" } else { "**missed**" };
        writeln!(out, "| {goal} | {measured} | {met} |")?;
    }
    Ok(())
}

/// The leader's value, and those of the others.
fn apart(values: &[f64], leader: usize) -> (f64, Vec<f64>) {
    let others = values
        .iter()
        .enumerate()
        .filter(|(node, _)| *node != leader);
    let others = others.map(|(_, value)| *value).collect();
    (values.get(leader).copied().unwrap_or(f64::NAN), others)
}

fn percents(first: &[f64], others: &[f64]) -> String {
    let all = first.iter().chain(others);
    let all: Vec<String> = all.map(|share| format!("{:.0}", share * 100.0)).collect();
    all.join(", ")
}

fn mebibytes(bytes: &[u64]) -> String {
    let all: Vec<String> = bytes.iter().map(|it| format!("{:.0}", mib(*it))).collect();
    all.join(", ")
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
