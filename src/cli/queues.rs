//! `queue` and `member`.

use crate::args::{MemberCommand, QueueCommand};
use crate::client::Client;
use crate::failure::{Failure, USAGE};
use crate::output::{Out, table, time, time_or_dash};
use holdfast_admin::api::{CallView, MemberView, Page, QueueView, Written};
use reqwest::Method;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// `key=value` words as a JSON object; dots in keys go inside, values are JSON or plain text.
pub fn settings(words: &[String]) -> Result<Value, Failure> {
    let mut root = Map::new();
    for word in words {
        let Some((key, text)) = word.split_once('=') else {
            let what = format!("{word:?} is not of the form KEY=VALUE");
            return Err(Failure::new(USAGE, what).fix("such as strategy=rrmemory max_wait=5m"));
        };
        let value = serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()));
        let mut map = &mut root;
        let mut keys = key.split('.').peekable();
        while let Some(key) = keys.next() {
            if keys.peek().is_none() {
                map.insert(key.to_owned(), value);
                break;
            }
            let inner = map.entry(key).or_insert_with(|| Value::Object(Map::new()));
            match inner {
                Value::Object(inner) => map = inner,
                _ => {
                    let what = format!("{key:?} is given a value and keys of its own");
                    return Err(Failure::new(USAGE, what));
                }
            }
        }
    }
    Ok(Value::Object(root))
}

/// Sends a write and says what was done.
pub async fn write(
    out: Out,
    client: &Client,
    method: Method,
    path: &str,
    body: Option<Value>,
    done: &str,
) -> Result<(), Failure> {
    let written: Written = client.write(method, path, body.as_ref(), &[]).await?;
    show_written(out, &written, done)
}

fn show_written(out: Out, written: &Written, done: &str) -> Result<(), Failure> {
    out.show(written, || {
        format!("{done} (revision {})\n", written.revision)
    })
}

/// Text as one segment of a path.
pub fn segment(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'@' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

pub fn queue_table(queues: &[QueueView]) -> String {
    let row = |queue: &QueueView| {
        let count = |name: &str| queue.counters.get(name).copied().unwrap_or_default();
        let agents = |states: &[&str]| -> usize {
            states
                .iter()
                .filter_map(|state| queue.agents.get(*state))
                .sum()
        };
        let members: usize = queue.agents.values().sum();
        vec![
            queue.name.clone(),
            if queue.open { "open" } else { "CLOSED" }.to_owned(),
            queue.strategy.clone(),
            queue.waiting.to_string(),
            time(queue.oldest_wait_ms),
            count("answered").to_string(),
            count("abandoned").to_string(),
            format!("{}/{members}", agents(&["available"])),
            agents(&["in_call", "offered"]).to_string(),
        ]
    };
    let header = [
        "queue",
        "state",
        "strategy",
        "waiting",
        "oldest",
        "answered",
        "abandoned",
        "free",
        "busy",
    ];
    table(&header, queues.iter().map(row))
}

pub fn call_table(calls: &[CallView]) -> String {
    let row = |call: &CallView| {
        vec![
            call.position
                .map_or_else(|| "-".into(), |position| position.to_string()),
            call.id.to_string(),
            call.queue.clone(),
            call.number.clone(),
            call.phase.clone(),
            time(call.age_ms),
            call.priority.to_string(),
            call.agents.join(","),
            call.pbx.clone(),
        ]
    };
    let header = [
        "pos", "call", "queue", "number", "phase", "age", "prio", "agents", "asterisk",
    ];
    table(&header, calls.iter().map(row))
}

fn member_table(members: &[MemberView]) -> String {
    let row = |member: &MemberView| {
        vec![
            member.agent.clone(),
            member.name.clone(),
            member.state.clone(),
            member.settings.penalty.to_string(),
            member.settings.order.to_string(),
            member.calls_taken.to_string(),
            time_or_dash(member.last_call_ms_ago),
        ]
    };
    let header = [
        "agent",
        "name",
        "state",
        "penalty",
        "order",
        "calls",
        "last call",
    ];
    table(&header, members.iter().map(row))
}

#[derive(Serialize)]
struct QueueShown {
    queue: QueueView,
    members: Vec<MemberView>,
    calls: Vec<CallView>,
}

pub async fn run(out: Out, client: &Client, command: QueueCommand) -> Result<(), Failure> {
    let path = |queue: &str| format!("/v1/queues/{}", segment(queue));
    match command {
        QueueCommand::List => {
            let page: Page<QueueView> = client.list("/v1/queues").await?;
            out.show(&page, || queue_table(&page.items))
        }
        QueueCommand::Show { queue } => show(out, client, &path(&queue)).await,
        QueueCommand::Create {
            queue,
            settings: words,
        } => {
            let body = settings(&words)?;
            let fresh = [("if-none-match", "*".to_owned())];
            let written: Written = client
                .write(Method::PUT, &path(&queue), Some(&body), &fresh)
                .await?;
            show_written(out, &written, &format!("queue {queue} created"))
        }
        QueueCommand::Set {
            queue,
            settings: words,
        } => {
            let (body, done) = (settings(&words)?, format!("queue {queue} changed"));
            write(out, client, Method::PATCH, &path(&queue), Some(body), &done).await
        }
        QueueCommand::Delete { queue } => {
            let done = format!("queue {queue} deleted");
            write(out, client, Method::DELETE, &path(&queue), None, &done).await
        }
        QueueCommand::Open { queue } => open(out, client, &path(&queue), &queue, true).await,
        QueueCommand::Close { queue } => open(out, client, &path(&queue), &queue, false).await,
    }
}

async fn open(
    out: Out,
    client: &Client,
    path: &str,
    queue: &str,
    open: bool,
) -> Result<(), Failure> {
    let done = format!("queue {queue} is {}", if open { "open" } else { "closed" });
    let body = Some(json!({ "open": open }));
    write(
        out,
        client,
        Method::PUT,
        &format!("{path}/state"),
        body,
        &done,
    )
    .await
}

async fn show(out: Out, client: &Client, path: &str) -> Result<(), Failure> {
    let queue: QueueView = client.get(path).await?;
    let members: Page<MemberView> = client.get(&format!("{path}/members")).await?;
    let calls: Page<CallView> = client.list(&format!("{path}/calls")).await?;
    let shown = QueueShown {
        queue,
        members: members.items,
        calls: calls.items,
    };
    out.show(&shown, || {
        let queue = &shown.queue;
        let mut text = queue_table(std::slice::from_ref(queue));
        let settings = queue
            .settings
            .as_ref()
            .and_then(|s| serde_json::to_value(s).ok());
        if let Some(Value::Object(settings)) = settings {
            let lines = settings.iter().filter(|(_, value)| !value.is_null());
            text.push_str("\nsettings\n");
            lines.for_each(|(key, value)| text.push_str(&format!("  {key} = {value}\n")));
        }
        text.push_str(&format!("\nmembers\n{}", member_table(&shown.members)));
        text.push_str(&format!("\ncallers\n{}", call_table(&shown.calls)));
        text
    })
}

pub async fn member(out: Out, client: &Client, command: MemberCommand) -> Result<(), Failure> {
    let path = |queue: &str, agent: &str| {
        format!("/v1/queues/{}/members/{}", segment(queue), segment(agent))
    };
    match command {
        MemberCommand::Add {
            queue,
            agent,
            penalty,
            order,
        } => {
            let body = Some(json!({ "penalty": penalty, "order": order }));
            let done = format!("agent {agent} is a member of queue {queue}");
            write(out, client, Method::PUT, &path(&queue, &agent), body, &done).await
        }
        MemberCommand::Remove { queue, agent } => {
            let done = format!("agent {agent} is no member of queue {queue}");
            write(
                out,
                client,
                Method::DELETE,
                &path(&queue, &agent),
                None,
                &done,
            )
            .await
        }
        MemberCommand::Set {
            queue,
            agent,
            settings: words,
        } => {
            let path = path(&queue, &agent);
            let (member, tag): (MemberView, String) = client.get_tagged(&path).await?;
            let mut body = serde_json::to_value(&member.settings).unwrap_or_default();
            if let (Value::Object(body), Value::Object(changes)) = (&mut body, settings(&words)?) {
                body.extend(changes);
            }
            let unchanged = [("if-match", tag)];
            let written: Written = client
                .write(Method::PUT, &path, Some(&body), &unchanged)
                .await?;
            show_written(
                out,
                &written,
                &format!("agent {agent} in queue {queue} changed"),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_become_nested_settings() {
        let words = [
            "weight=2",
            "announce.every=30s",
            "announce.position=no",
            "max_wait=null",
        ];
        let read = settings(&words.map(str::to_owned)).unwrap();
        let wanted = json!({
            "weight": 2,
            "announce": { "every": "30s", "position": "no" },
            "max_wait": null,
        });
        assert_eq!(read, wanted);
        assert_eq!(settings(&["weight".into()]).unwrap_err().exit, USAGE);
        assert_eq!(
            settings(&["a=1".into(), "a.b=1".into()]).unwrap_err().exit,
            USAGE
        );
    }

    #[test]
    fn hostile_names_stay_one_segment_of_a_path() {
        assert_eq!(segment("a/../b?x#é"), "a%2F..%2Fb%3Fx%23%C3%A9");
        assert_eq!(segment("sales@example.org"), "sales@example.org");
    }
}
