//! Waiting for a condition, with a deadline. Nothing in the tests waits in any other way.

use std::future::Future;
use std::time::{Duration, Instant};

use super::LabError;

/// How long a condition may take on a slow and noisy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Looks again and again until `look` gives something, for at most [`PATIENCE`].
pub async fn until<T, F, Fut>(what: &str, mut look: F) -> Result<T, LabError>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let start = Instant::now();
    loop {
        if let Some(found) = look().await {
            return Ok(found);
        }
        if start.elapsed() > PATIENCE {
            let seconds = PATIENCE.as_secs();
            return Err(LabError::Late {
                what: what.into(),
                seconds,
                more: String::new(),
            });
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The same for a condition that needs no waiting of its own.
pub async fn until_true(what: &str, mut look: impl FnMut() -> bool) -> Result<(), LabError> {
    until(what, || std::future::ready(look().then_some(()))).await
}
