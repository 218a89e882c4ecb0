//! `agent` and `call`: those who answer and those who wait.

use crate::args::{AgentCommand, CallCommand};
use crate::client::Client;
use crate::failure::Failure;
use crate::output::{Out, table, time, time_or_dash};
use crate::queues::{call_table, segment, settings, write};
use holdfast_admin::api::{AgentView, CallView, EventView, Page};
use reqwest::Method;
use serde_json::{Value, json};

pub fn agent_table(agents: &[AgentView]) -> String {
    let row = |agent: &AgentView| {
        let reason = agent
            .pause
            .as_ref()
            .map(|pause| pause.reason.clone())
            .unwrap_or_default();
        vec![
            agent.id.clone(),
            agent.settings.name.clone(),
            agent.state.clone(),
            reason,
            agent
                .call
                .map_or_else(|| "-".into(), |call| call.to_string()),
            agent.calls_taken.to_string(),
            time_or_dash(agent.last_call_ms_ago),
            time_or_dash(agent.logged_in_ms),
            agent.queues.join(","),
        ]
    };
    let header = [
        "agent",
        "name",
        "state",
        "reason",
        "call",
        "calls",
        "last call",
        "logged in",
        "queues",
    ];
    table(&header, agents.iter().map(row))
}

pub async fn agent(out: Out, client: &Client, command: AgentCommand) -> Result<(), Failure> {
    let path = |agent: &str| format!("/v1/agents/{}", segment(agent));
    let put = async |agent: &str, what: &str, done: &str, body: Option<Value>| {
        let done = format!("agent {agent} {done}");
        write(
            out,
            client,
            Method::PUT,
            &format!("{}/{what}", path(agent)),
            body,
            &done,
        )
        .await
    };
    match command {
        AgentCommand::List => {
            let page: Page<AgentView> = client.list("/v1/agents").await?;
            out.show(&page, || agent_table(&page.items))
        }
        AgentCommand::Show { agent } => {
            let agent: AgentView = client.get(&path(&agent)).await?;
            out.show(&agent, || {
                let mut text = agent_table(std::slice::from_ref(&agent));
                let endpoint = agent
                    .settings
                    .endpoint
                    .as_deref()
                    .unwrap_or("by the node's template");
                text.push_str(&format!("\nendpoint: {endpoint}\n"));
                for (pbx, device) in &agent.devices {
                    text.push_str(&format!("device at {pbx}: {device}\n"));
                }
                text
            })
        }
        AgentCommand::Add {
            agent,
            settings: words,
        } => {
            let body = agent_settings(&words)?;
            let fresh = [("if-none-match", "*".to_owned())];
            let written: holdfast_admin::api::Written = client
                .write(Method::PUT, &path(&agent), Some(&body), &fresh)
                .await?;
            out.show(&written, || {
                format!("agent {agent} added (revision {})", written.revision)
            })
        }
        AgentCommand::Set {
            agent,
            settings: words,
        } => {
            let (body, done) = (agent_settings(&words)?, format!("agent {agent} changed"));
            write(out, client, Method::PATCH, &path(&agent), Some(body), &done).await
        }
        AgentCommand::Delete { agent } => {
            let done = format!("agent {agent} deleted");
            write(out, client, Method::DELETE, &path(&agent), None, &done).await
        }
        AgentCommand::Login { agent } => put(&agent, "session", "is logged in", None).await,
        AgentCommand::Logout { agent } => {
            let done = format!("agent {agent} is logged out");
            let path = format!("{}/session", path(&agent));
            write(out, client, Method::DELETE, &path, None, &done).await
        }
        AgentCommand::Pause {
            agent,
            reason,
            queue,
        } => {
            let body = json!({ "reason": reason, "queue": queue });
            put(&agent, "pause", "is paused", Some(body)).await
        }
        AgentCommand::Unpause { agent, queue } => {
            let done = format!("agent {agent} is not paused");
            let query = queue.map(|queue| format!("?queue={}", segment(&queue)));
            let path = format!("{}/pause{}", path(&agent), query.unwrap_or_default());
            write(out, client, Method::DELETE, &path, None, &done).await
        }
        AgentCommand::Ready { agent } => put(&agent, "ready", "is ready", None).await,
    }
}

/// Lists may be written with commas: `home=a,b`. A name may look like a number.
fn agent_settings(words: &[String]) -> Result<Value, Failure> {
    let mut body = settings(words)?;
    if let Value::Object(map) = &mut body {
        for key in ["home", "nodes", "skills"] {
            if let Some(Value::String(text)) = map.get(key) {
                let list: Vec<&str> = text.split(',').map(str::trim).collect();
                let list = json!(list);
                map.insert(key.to_owned(), list);
            }
        }
        for key in ["name", "endpoint"] {
            if let Some(Value::Number(number)) = map.get(key) {
                let text = Value::String(number.to_string());
                map.insert(key.to_owned(), text);
            }
        }
    }
    Ok(body)
}

pub async fn call(out: Out, client: &Client, command: CallCommand) -> Result<(), Failure> {
    match command {
        CallCommand::List { queue } => {
            let query = queue.map(|queue| format!("?queue={}", segment(&queue)));
            let path = format!("/v1/calls{}", query.unwrap_or_default());
            let page: Page<CallView> = client.list(&path).await?;
            out.show(&page, || call_table(&page.items))
        }
        CallCommand::Show { call } => {
            let call: CallView = client.get(&format!("/v1/calls/{call}")).await?;
            out.show(&call, || {
                let joined = format!(
                    "\njoined {} at position {}",
                    call.joined, call.joined_position
                );
                let mut text = call_table(std::slice::from_ref(&call)) + &joined;
                if let Some(left) = call.timeout_in_ms {
                    text.push_str(&format!(", waits {} more at most", time(left)));
                }
                text
            })
        }
        CallCommand::Timeline { call } => {
            let page: Page<EventView> = client.get(&format!("/v1/calls/{call}/timeline")).await?;
            out.show(&page, || page.items.iter().map(event_line).collect())
        }
        CallCommand::Withdraw { call, info } => {
            let done = format!("call {call} is let go");
            let path = format!("/v1/calls/{call}/withdraw");
            let body = Some(json!({ "info": info }));
            write(out, client, Method::POST, &path, body, &done).await
        }
        CallCommand::Priority { call, priority } => {
            let done = format!("call {call} has priority {priority}");
            let body = Some(json!({ "priority": priority }));
            write(
                out,
                client,
                Method::PATCH,
                &format!("/v1/calls/{call}"),
                body,
                &done,
            )
            .await
        }
        CallCommand::Move { call, queue } => {
            let done = format!("call {call} is in queue {queue}");
            let body = Some(json!({ "queue": queue }));
            write(
                out,
                client,
                Method::PATCH,
                &format!("/v1/calls/{call}"),
                body,
                &done,
            )
            .await
        }
    }
}

/// One event as a line for people.
pub fn event_line(event: &EventView) -> String {
    let fields: Vec<String> = event
        .fields
        .iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(key, value)| match value {
            Value::String(text) => format!("{key}={}", crate::output::plain(text)),
            other => format!("{key}={other}"),
        })
        .collect();
    format!(
        "{} {:<10} {:<16} {}\n",
        event.at,
        event.id,
        event.kind,
        fields.join(" ")
    )
}
