//! Waiting for a condition, the only way in which the lab waits.
//!
//! A condition says why it does not hold yet; when the deadline passes that reason is the failure's
//! text. Nothing here sleeps in the hope that something has happened meanwhile.

use std::time::{Duration, Instant};

/// How long the lab waits for what should take a moment. The machine may be slow and busy.
pub const SOON: Duration = Duration::from_secs(45);

/// Between two looks at a condition.
const LOOK_EVERY: Duration = Duration::from_millis(40);

/// Looks until `probe` is `Ok`, and gives its value.
///
/// # Panics
/// When `within` passes first, with `what` and the last reason.
pub async fn eventually<T>(
    within: Duration,
    what: &str,
    mut probe: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    let begun = Instant::now();
    loop {
        let why = match probe().await {
            Ok(value) => return value,
            Err(why) => why,
        };
        let passed = begun.elapsed();
        assert!(
            passed < within,
            "not within {within:?}: {what}; at last: {why}"
        );
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Looks for as long as `during` and demands that `probe` is `Ok` every time.
///
/// # Panics
/// At the first look that is not, with `what` and the reason.
pub async fn throughout(
    during: Duration,
    what: &str,
    mut probe: impl AsyncFnMut() -> Result<(), String>,
) {
    let begun = Instant::now();
    while begun.elapsed() < during {
        if let Err(why) = probe().await {
            panic!(
                "not all the time: {what}; after {:?}: {why}",
                begun.elapsed()
            );
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// `Ok` if the condition holds, else the reason; for use in a probe.
pub fn check(holds: bool, why: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(why()) }
}
