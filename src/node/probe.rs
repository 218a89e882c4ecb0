//! Whether an Asterisk that is out of sight is gone: its port refuses connections for long enough.
//!
//! A lost event socket or an answer that does not come prove nothing; its calls may live on.

use crate::ctx::Ctx;
use holdfast_ari::AriError;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

/// Between two looks whether a dead Asterisk's port is open.
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
