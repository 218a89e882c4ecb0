//! Whether an Asterisk whose event socket is closed has died.
//!
//! A port that refuses connections for long enough means that the process is gone, and its channels
//! with it. Anything else (no answer, a slow network) leaves its calls their places.

use crate::ctx::Ctx;
use holdfast_ari::AriError;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

/// Between two looks.
const PROBE: Duration = Duration::from_millis(250);

/// Says once when Asterisk's port has been closed for too long.
pub(crate) async fn probe(ctx: Arc<Ctx>, lost: mpsc::Sender<()>) {
    let loopback = url::Url::parse(&ctx.asterisk.url)
        .ok()
        .is_some_and(|url| match url.host() {
            Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
            Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
            Some(url::Host::Domain(name)) => name == "localhost",
            None => false,
        });
    let usual = Duration::from_secs(if loopback { 2 } else { 10 });
    let after = ctx
        .shared
        .config
        .timing
        .asterisk_lost_after
        .map_or(usual, |span| span.duration());
    let mut refused_since: Option<Instant> = None;
    loop {
        match ctx.ari.ping().await {
            Err(AriError::Unreachable { refused: true, .. }) => {
                let since = *refused_since.get_or_insert(Instant::now());
                if since.elapsed() >= after {
                    let _ = lost.send(()).await;
                    return;
                }
            }
            _ => refused_since = None,
        }
        sleep(PROBE).await;
    }
}
