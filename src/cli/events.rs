//! `events`: the event stream, one line for each; goes on where it was when the node goes away.

use crate::args::Output;
use crate::client::Client;
use crate::failure::{Failure, UNREACHABLE};
use crate::output::Out;
use crate::people::event_line;
use crate::queues::segment;
use futures_util::StreamExt;
use holdfast_admin::api::{EventView, LeaderView};
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
        while let Some(frame) = take_frame(&mut buffer) {
            show(out, &frame, last)?;
        }
        if buffer.len() > FRAME_BYTES_MAX {
            return Err(Failure::new(UNREACHABLE, "what comes is no event stream"));
        }
    }
}

/// One frame of an event stream; a comment has no field.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Frame {
    pub id: Option<String>,
    pub kind: Option<String>,
    pub data: Option<String>,
}

/// Takes the first whole frame out of what has come.
pub fn take_frame(buffer: &mut Vec<u8>) -> Option<Frame> {
    let end = buffer.windows(2).position(|pair| pair == b"\n\n")?;
    let frame: Vec<u8> = buffer.drain(..end + 2).collect();
    let text = String::from_utf8_lossy(&frame);
    let field = |name: &str| {
        let mut lines = text.lines();
        lines
            .find_map(|line| line.strip_prefix(name))
            .map(str::to_owned)
    };
    Some(Frame {
        id: field("id: "),
        kind: field("event: "),
        data: field("data: "),
    })
}

fn show(out: Out, frame: &Frame, last: &mut Option<String>) -> Result<(), Failure> {
    match (frame.kind.as_deref(), frame.data.as_deref()) {
        (Some("snapshot"), _) => {}
        (Some("leader"), Some(data)) => {
            let view: LeaderView = serde_json::from_str(data).unwrap_or_default();
            out.say(&match view.leader {
                Some(leader) => format!("{leader} leads in term {}", view.term),
                None => "nobody leads".into(),
            });
        }
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
    if let Some(id) = &frame.id {
        *last = Some(id.clone());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_taken_one_by_one_and_half_a_frame_waits() {
        let mut buffer = b": still here\n\nid: 7-1\nevent: x\ndata: {}\n\nid: 8".to_vec();
        assert_eq!(take_frame(&mut buffer), Some(Frame::default()));
        let frame = take_frame(&mut buffer).expect("a whole frame");
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(
            (frame.id, frame.kind, frame.data),
            (text("7-1"), text("x"), text("{}"))
        );
        assert_eq!(take_frame(&mut buffer), None);
        assert_eq!(buffer, b"id: 8");
    }
}
