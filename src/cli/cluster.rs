//! `status` and `cluster`: the nodes, who leads, the Asterisks, and the queues at a glance.

use crate::args::ClusterCommand;
use crate::client::Client;
use crate::failure::{FAILED, Failure, UNREACHABLE};
use crate::output::{Out, table, time, time_or_dash};
use crate::queues::queue_table;
use holdfast_admin::api::{AgentView, ClusterView, Page, QueueView};
use reqwest::Method;
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeMap;

/// What `status` shows. Asked of one node alone, so that it works without a leader too.
#[derive(Serialize)]
struct Status {
    cluster: ClusterView,
    queues: Vec<QueueView>,
    /// Agents by state.
    agents: BTreeMap<String, usize>,
}

pub async fn status(out: Out, client: &Client) -> Result<(), Failure> {
    let cluster: ClusterView = client.get_local("/v1/cluster").await?;
    let queues: Page<QueueView> = client.get_local("/v1/queues?limit=1000").await?;
    let list: Page<AgentView> = client.get_local("/v1/agents?limit=1000").await?;
    let mut agents = BTreeMap::new();
    for agent in list.items {
        *agents.entry(agent.state).or_default() += 1;
    }
    let status = Status {
        cluster,
        queues: queues.items,
        agents,
    };
    out.show(&status, || status_text(&status))?;
    failing(&status.cluster)
}

fn status_text(status: &Status) -> String {
    let agents: Vec<String> = status
        .agents
        .iter()
        .map(|(state, count)| format!("{count} {state}"))
        .collect();
    let agents = if agents.is_empty() {
        "none".into()
    } else {
        agents.join(", ")
    };
    let mut text = cluster_text(&status.cluster);
    text.push_str(&format!("\nagents: {agents}\n"));
    if !status.queues.is_empty() {
        text.push_str(&format!("\n{}", queue_table(&status.queues)));
    }
    text
}

/// A status without a leader is shown, and still is a failure.
fn failing(cluster: &ClusterView) -> Result<(), Failure> {
    if cluster.healthy && cluster.leader.is_some() {
        return Ok(());
    }
    let reachable = cluster
        .members
        .iter()
        .filter(|node| node.voter && node.reachable)
        .count();
    let voters = cluster.members.iter().filter(|node| node.voter).count();
    let what = match &cluster.leader {
        None => format!("no leader: {reachable} of {voters} voters reachable"),
        Some(_) => format!("node {} is not healthy", cluster.node),
    };
    Err(Failure::new(UNREACHABLE, what)
        .why(match cluster.reason.as_str() {
            "" => "callers in line stay on hold; nobody is offered until a majority is up",
            reason => reason,
        })
        .fix("on each node that is not reachable: systemctl status holdfast"))
}

fn cluster_text(cluster: &ClusterView) -> String {
    let leader = cluster.leader.as_deref().unwrap_or("NONE");
    let mut text = format!(
        "node {} ({}), leader {leader}, term {}, applied {}, digest {}\n",
        cluster.node, cluster.role, cluster.term, cluster.applied, cluster.digest
    );
    let ari = &cluster.ari;
    text.push_str(&match (ari.configured, ari.connected, &ari.last_error) {
        (false, ..) => "asterisk: none configured\n".to_owned(),
        (true, true, _) => format!("asterisk: {} {}, connected\n", ari.systemname, ari.version),
        (true, false, Some(error)) => format!("asterisk: NOT CONNECTED: {error}\n"),
        (true, false, None) => "asterisk: NOT CONNECTED\n".to_owned(),
    });
    if cluster.insecure_http {
        text.push_str("WARNING: the endpoints listen beyond loopback without TLS\n");
    }
    text.push('\n');
    text.push_str(&node_table(cluster));
    text
}

fn node_table(cluster: &ClusterView) -> String {
    let row = |node: &holdfast_admin::api::NodeView| {
        let role = match (node.leader, node.voter) {
            (true, _) => "leader",
            (false, true) => "voter",
            (false, false) => "learner",
        };
        let pbxes: Vec<String> = cluster
            .pbxes
            .iter()
            .filter(|pbx| pbx.node == node.name)
            .map(|pbx| match pbx.home == pbx.node {
                true => format!("{} {}", pbx.id, pbx.sight),
                false => format!(
                    "{} {} (taken over from {}, {})",
                    pbx.id, pbx.sight, pbx.home, pbx.since
                ),
            })
            .collect();
        vec![
            node.name.clone(),
            node.addr.clone(),
            role.to_owned(),
            if node.reachable { "up" } else { "DOWN" }.to_owned(),
            if node.name == cluster.node {
                "-".into()
            } else {
                time_or_dash(node.last_heard_ms)
            },
            node.matched
                .map_or_else(|| "-".into(), |index| index.to_string()),
            if pbxes.is_empty() {
                "-".to_owned()
            } else {
                pbxes.join(", ")
            },
        ]
    };
    let header = [
        "node", "address", "role", "state", "heard", "log", "asterisk",
    ];
    table(&header, cluster.members.iter().map(row))
}

pub async fn run(out: Out, client: &Client, command: ClusterCommand) -> Result<(), Failure> {
    let none: &[(&'static str, String)] = &[];
    match command {
        ClusterCommand::Status => {
            let cluster: ClusterView = client.get_local("/v1/cluster").await?;
            out.show(&cluster, || {
                let sync = cluster.fsync_p99_us as f64 / 1000.0;
                let more = format!(
                    "\nlog: {} bytes, snapshot at {}, fsync p99 {sync:.1} ms, clock {}\n",
                    cluster.log_bytes,
                    cluster.snapshot,
                    time(cluster.clock_ms)
                );
                cluster_text(&cluster) + &more
            })?;
            failing(&cluster)
        }
        ClusterCommand::Members => {
            let cluster: ClusterView = client.get_local("/v1/cluster").await?;
            out.show(&json!({ "items": cluster.members }), || {
                node_table(&cluster)
            })
        }
        ClusterCommand::StepDown { to } => {
            let body = json!({ "to": to });
            let cluster: ClusterView = client
                .write(Method::PUT, "/v1/cluster/leader", Some(&body), none)
                .await?;
            out.show(&cluster, || {
                format!(
                    "leader {}\n",
                    cluster.leader.as_deref().unwrap_or("is being elected")
                )
            })
        }
        ClusterCommand::Add {
            name,
            addr,
            replace,
        } => {
            let body = json!({ "addr": addr, "replace": replace });
            let path = format!("/v1/cluster/members/{name}");
            let cluster: ClusterView = client.write(Method::PUT, &path, Some(&body), none).await?;
            out.show(&cluster, || node_table(&cluster))
        }
        ClusterCommand::Remove { name } => {
            let path = format!("/v1/cluster/members/{name}");
            let body: Option<&()> = None;
            let cluster: ClusterView = client.write(Method::DELETE, &path, body, none).await?;
            out.show(&cluster, || node_table(&cluster))
        }
        ClusterCommand::Recover { .. } => {
            Err(Failure::new(FAILED, "this command works without a node"))
        }
    }
}
