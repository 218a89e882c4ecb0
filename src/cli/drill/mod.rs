//! `drill`: takes the leader of a running installation away on request, watches all nodes, and reports
//! what it cost. See docs/failover-drill.md.
//!
//! `health` says whether it may begin, `watch` listens to all nodes, `blow` takes the leader away,
//! `seen` is what was seen, `report` (with `hands` and `deadlines`) makes the report of it, `text`
//! shows it. Without being told how, a drill only watches.

mod blow;
mod deadlines;
mod hands;
mod health;
mod report;
#[cfg(test)]
mod report_tests;
mod seen;
mod text;
mod watch;

use crate::args::{DrillArgs, Global};
use crate::client::{Client, Target};
use crate::failure::{FAILED, Failure, USAGE};
use crate::output::Out;
use health::Healthy;
use holdfast_admin::api::{CallView, ClusterView};
use seen::{How, Limits, Note, Seen, What};
use serde_json::Value;
use std::io::{IsTerminal, Write};
use std::time::Duration;
use watch::{Door, Watch};

/// For all streams to be open, and all to have named the leader.
const OPENING: Duration = Duration::from_secs(10);
/// Watched before anything is done, so that the report knows what was usual.
const LEAD_IN: Duration = Duration::from_secs(2);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);

pub async fn run(out: Out, global: &Global, args: &DrillArgs) -> Result<(), Failure> {
    blow::check(args)?;
    let how = blow::how(args);
    let doors = doors(global, args).await?;
    let Healthy { leader } = health::look(&doors, how).await?;
    explain(out, args, how, &leader);
    if how != How::Watched && !args.yes {
        confirm(how, &leader.node)?;
    }
    let (watch, tasks) = Watch::begin(&doors);
    opened(&watch, &doors, &leader.node).await?;
    tokio::time::sleep(LEAD_IN).await;
    let mut seen = before(args, how, &watch, &doors, &leader).await?;
    seen.at_ms = blow::strike(out, args, &watch, &doors, &leader.node, leader.term).await?;
    settle(out, args, &watch, &seen).await;
    after(&mut seen, &watch, &doors).await;
    drop(tasks);
    let report = report::report(&seen);
    out.show(&report, || text::text(&report))?;
    match report.good {
        true => Ok(()),
        false => Err(Failure::new(FAILED, "the drill found what must not be")
            .why(report.anomalies.join("\n  "))
            .fix("docs/failover-drill.md")),
    }
}

/// One for each node, by the names that they give themselves.
async fn doors(global: &Global, args: &DrillArgs) -> Result<Vec<Door>, Failure> {
    let target = crate::target(global)?;
    let mut doors = Vec::new();
    for server in &args.nodes {
        let client = Client::new(&Target {
            server: Some(server.clone()),
            ..target.clone()
        })?;
        let view: ClusterView = client.get_local("/v1/cluster").await?;
        let node = view.node;
        doors.push(Door { node, client });
    }
    Ok(doors)
}

fn explain(out: Out, args: &DrillArgs, how: How, leader: &ClusterView) {
    let nodes: Vec<&str> = leader.members.iter().map(|m| m.name.as_str()).collect();
    let (name, term) = (&leader.node, leader.term);
    out.say(&format!(
        "nodes {}; {name} leads in term {term}; all are well",
        nodes.join(", ")
    ));
    let will = match how {
        How::Watched => {
            "nothing is done to it: add --step-down, --kill-command, --kill-pid or --by-hand".into()
        }
        How::StepDown => format!("{name} will be asked to step down"),
        How::KillCommand => {
            let command = args.kill_command.as_deref().unwrap_or_default();
            format!("this will be run, with LEADER={name}: {command}")
        }
        How::KillPid => format!("process {} will be killed", args.kill_pid.unwrap_or(0)),
        How::ByHand => format!("you will kill {name} when you are asked to"),
    };
    out.say(&will);
}

/// By typing the leader's name, at a terminal.
fn confirm(how: How, leader: &str) -> Result<(), Failure> {
    if how == How::ByHand {
        // Who kills it himself needs not be asked.
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(Failure::new(USAGE, "nobody is there to be asked").fix("add --yes"));
    }
    eprint!("type {leader} to go on: ");
    std::io::stderr().flush()?;
    let mut typed = String::new();
    std::io::stdin().read_line(&mut typed)?;
    match typed.trim() == leader {
        true => Ok(()),
        false => Err(Failure::new(USAGE, "not confirmed; nothing was done")),
    }
}

/// Waits until every node's stream is open and names the leader.
async fn opened(watch: &Watch, doors: &[Door], leader: &str) -> Result<(), Failure> {
    let names = |note: &Note, node: &str| {
        note.node == node
            && matches!(&note.what, What::Led { leader: Some(named), .. } if named == leader)
    };
    let all = || {
        let mut nodes = doors.iter().map(|door| door.node.as_str());
        nodes.all(|node| watch.has(0.0, |note| names(note, node)))
    };
    let waited = tokio::time::timeout(OPENING, async {
        while !all() {
            tokio::time::sleep(LOOK).await;
        }
    });
    waited.await.map_err(|_| {
        let what = "not every node's event stream can be followed";
        Failure::new(FAILED, what).fix("use the `holdfast` of the nodes' own version")
    })
}

/// The picture before, asked of a node that does not lead.
async fn before(
    args: &DrillArgs,
    how: How,
    watch: &Watch,
    doors: &[Door],
    leader: &ClusterView,
) -> Result<Seen, Failure> {
    let other = doors.iter().find(|door| door.node != leader.node);
    let client = &other.unwrap_or(&doors[0]).client;
    let calls = client.list::<CallView>("/v1/calls").await?;
    let view: ClusterView = client.get_local("/v1/cluster").await?;
    let config: Value = client.get("/v1/config").await?;
    let queues = config["queue"].as_object().into_iter().flatten();
    let by_dialplan = queues.filter(|(_, queue)| queue["connect"] == "dialplan");
    let mut its_pbxes = leader.pbxes.clone();
    its_pbxes.retain(|pbx| pbx.node == leader.node);
    Ok(Seen {
        how,
        at_ms: watch.now_ms(),
        leader: leader.node.clone(),
        term: leader.term,
        index: calls.revision,
        before: calls.items,
        clock_ms: view.clock_ms,
        after: None,
        its_pbxes: its_pbxes.into_iter().map(|pbx| pbx.id).collect(),
        dialplan_queues: by_dialplan.map(|(name, _)| name.clone()).collect(),
        notes: Vec::new(),
        digests: Vec::new(),
        limits: Limits {
            gap_ms: args.max_gap.0 as f64,
            late_ms: args.max_late.0,
        },
    })
}

/// Watches on for as long as was asked for.
async fn settle(out: Out, args: &DrillArgs, watch: &Watch, seen: &Seen) {
    let length = Duration::from_millis(args.length.0);
    out.say(&format!("watching for {}", args.length));
    let end = seen.at_ms + length.as_secs_f64() * 1000.0;
    let mut told = seen.how == How::Watched;
    while watch.now_ms() < end {
        if !told && let Some((leader, at_ms)) = new_leader(watch, seen) {
            told = true;
            out.say(&format!(
                "{leader} leads, {:.0} ms later",
                at_ms - seen.at_ms
            ));
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn new_leader(watch: &Watch, seen: &Seen) -> Option<(String, f64)> {
    let newer = |note: &Note| matches!(&note.what, What::Led { leader: Some(_), term } if *term > seen.term);
    let note = watch.first(seen.at_ms, newer)?;
    match note.what {
        What::Led { leader, .. } => Some((leader?, note.at_ms)),
        _ => None,
    }
}

/// The picture after, asked of whoever answers, the new leader first.
async fn after(seen: &mut Seen, watch: &Watch, doors: &[Door]) {
    for door in doors {
        if let Ok(view) = door.client.get_local::<ClusterView>("/v1/cluster").await {
            let own = (door.node.clone(), view.applied, view.digest);
            seen.digests.push(own);
        }
    }
    for door in doors {
        if let Ok(calls) = door.client.list::<CallView>("/v1/calls").await {
            seen.after = Some(calls.items);
            break;
        }
    }
    // The events behind the picture are on their way: who left must be heard of.
    tokio::time::sleep(Duration::from_millis(300)).await;
    seen.notes = watch.notes();
}
