//! What the nodes tell of themselves: their event streams, and now and then a digest of their state.
//!
//! It is kept apart in the history. Only the properties that speak about the log read it.

use std::time::Duration;

use futures_util::StreamExt;
use tokio::task::JoinHandle;

use super::arena::SharedCluster;
use crate::judge::Source;
use crate::judge::history::{InsideSaw, Seen};
use crate::lab::api::Api;
use crate::lab::cluster::NAMES;

/// An event is told so much later than it happened, at most: it goes by way of the journal.
pub const LATE_MS: u64 = 1_500;
/// Between two looks at the digests.
const LOOK_EVERY: Duration = Duration::from_millis(700);
/// Until a stream that ended is opened again.
const AGAIN_AFTER: Duration = Duration::from_millis(200);

/// Listens for as long as it lives.
pub struct Inside {
    tasks: Vec<JoinHandle<()>>,
}

impl Inside {
    /// Begins to listen to every node.
    pub fn begin(cluster: &SharedCluster, source: &Source) -> Inside {
        let mut tasks = Vec::new();
        for name in NAMES {
            tasks.push(tokio::spawn(events(name, cluster.clone(), source.clone())));
            tasks.push(tokio::spawn(digests(name, cluster.clone(), source.clone())));
        }
        Inside { tasks }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Follows one node's events, over its restarts, from where it was left.
async fn events(name: &'static str, cluster: SharedCluster, source: Source) {
    let mut since = "0".to_owned();
    loop {
        let api = cluster.read().await.site(name).api.clone();
        // A stream that breaks off is opened again; what came so far is written down.
        let _ = follow(name, &api, &source, &mut since).await;
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}

async fn follow(
    name: &str,
    api: &Api,
    source: &Source,
    since: &mut String,
) -> Result<(), reqwest::Error> {
    let mut stream = api.stream(&format!("/v1/events?since={since}")).await?;
    let mut text = String::new();
    while let Some(piece) = stream.next().await {
        text.push_str(&String::from_utf8_lossy(&piece?));
        while let Some((line, rest)) = text.split_once('\n') {
            if let Some(data) = line.strip_prefix("data:")
                && let Some(saw) = InsideSaw::of_stream(data.trim())
            {
                if let InsideSaw::Event { index, seq, .. } = &saw {
                    *since = format!("{index}-{seq}");
                }
                let node = name.to_owned();
                source.saw(Seen::Inside { node, saw });
            }
            text = rest.to_owned();
        }
    }
    Ok(())
}

async fn digests(name: &'static str, cluster: SharedCluster, source: Source) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let api = cluster.read().await.site(name).api.clone();
        let asked = tokio::time::timeout(Duration::from_secs(2), api.get("/v1/cluster"));
        let Ok(Ok(view)) = asked.await else { continue };
        let digest = view["digest"].as_str().unwrap_or_default();
        if let (Some(index), Ok(digest)) =
            (view["applied"].as_u64(), u64::from_str_radix(digest, 16))
        {
            let node = name.to_owned();
            let saw = InsideSaw::Digest { index, digest };
            source.saw(Seen::Inside { node, saw });
        }
    }
}
