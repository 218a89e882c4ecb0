//! `events`: the event stream, one line for each; goes on where it was when the node goes away.

use crate::args::Output;
use crate::client::Client;
use crate::failure::{Failure, UNREACHABLE};
use crate::output::Out;
use crate::people::event_line;
use crate::queues::segment;
use futures_util::StreamExt;
use holdfast_admin::api::EventView;
use std::time::Duration;

/// Without a word for so long (the node sends one each 15 s) the stream is opened again.
const SILENCE_MAX: Duration = Duration::from_secs(40);
/// Between attempts, and how many in a row before it is given up.
const RETRY: Duration = Duration::from_millis(500);
const RETRIES_MAX: u32 = 120;
/// A frame beyond this is none of ours.
const FRAME_BYTES_MAX: usize = 64 * 1024 * 1024;

pub async fn run(
    out: Out,
    client: &Client,
    since: Option<String>,
    queue: Option<String>,
    kind: Option<String>,
) -> Result<(), Failure> {
    let filters = [("queue", queue), ("type", kind)];
    let filters: Vec<String> = filters
        .into_iter()
        .filter_map(|(key, value)| Some(format!("{key}={}", segment(&value?))))
        .collect();
    let path = match filters.is_empty() {
        true => "/v1/events".to_owned(),
        false => format!("/v1/events?{}", filters.join("&")),
    };
    let mut last = since;
    let mut failures = 0;
    loop {
        let before = last.clone();
        match follow(out, client, &path, &mut last).await {
            Err(failure) if failure.exit != UNREACHABLE || before.is_none() && last.is_none() => {
                return Err(failure);
            }
            Err(failure) if failures >= RETRIES_MAX => return Err(failure),
            ended => {
                failures = if last == before && ended.is_err() {
                    failures + 1
                } else {
                    0
                };
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// Shows events until the stream ends; `last` is the cursor behind the last one shown.
async fn follow(
    out: Out,
    client: &Client,
    path: &str,
    last: &mut Option<String>,
) -> Result<(), Failure> {
    let mut chunks = client.stream(path, last.as_deref()).await?.bytes_stream();
    let mut buffer: Vec<u8> = Vec::new();
    loop {
        let Ok(Some(Ok(chunk))) = tokio::time::timeout(SILENCE_MAX, chunks.next()).await else {
            return Ok(());
        };
        buffer.extend_from_slice(&chunk);
        while let Some(end) = buffer.windows(2).position(|pair| pair == b"\n\n") {
            let frame: Vec<u8> = buffer.drain(..end + 2).collect();
            show(out, &String::from_utf8_lossy(&frame), last)?;
        }
        if buffer.len() > FRAME_BYTES_MAX {
            return Err(Failure::new(UNREACHABLE, "what comes is no event stream"));
        }
    }
}

fn show(out: Out, frame: &str, last: &mut Option<String>) -> Result<(), Failure> {
    let field = |name: &str| frame.lines().find_map(|line| line.strip_prefix(name));
    let (kind, data) = (field("event: "), field("data: "));
    match (kind, data) {
        (Some("snapshot"), _) => {}
        (Some("reset"), _) => {
            out.say("some events are gone from the journal; what follows is later")
        }
        (Some(_), Some(data)) if out.form != Output::Table => out.line(data)?,
        (Some(_), Some(data)) => {
            if let Ok(event) = serde_json::from_str::<EventView>(data) {
                out.line(&event_line(&event))?;
            }
        }
        _ => {}
    }
    if let Some(id) = field("id: ") {
        *last = Some(id.to_owned());
    }
    Ok(())
}
