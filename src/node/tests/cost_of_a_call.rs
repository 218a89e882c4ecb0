//! What a call costs in commands and log entries. It does not depend on the machine's speed, and rises
//! only if somebody writes more than before.

mod support;

use holdfast_acd::settings::QueueSettings;
use holdfast_sim::{CallSpec, Habit};
use support::*;

/// Answered calls, one after the other.
const CALLS: u64 = 30;
/// Of one call: `CallerJoin`, `OfferMake`, `DeviceSeen` as the phone rings, is answered and is free
/// again, `OfferRinging`, `OfferAnswer`, `CallEnd`, `CallReleased`.
const COMMANDS: u64 = 9;
/// One above, for what falls due meanwhile and for a repetition: a tenth, rounded up.
const MOST: u64 = (COMMANDS + 1) * CALLS;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answered_call_writes_nine_commands_and_no_more_entries() {
    log();
    let cluster = Cluster::start(&["a"]).await;
    let node = cluster.first();
    let phone = node.sim.phone(
        "1001",
        Habit::Answer {
            after_ms: 20,
            talk_ms: None,
        },
    );
    cluster.queue("support", QueueSettings::default()).await;
    cluster.agent("1001", "a", &["support"]).await;
    let written = || {
        let metrics = node.handle().metrics();
        let facts: u64 = metrics.proposals.values().sum();
        let entries = *node.handle().raft().applied().borrow();
        (facts + metrics.offers_made + metrics.ticks, entries)
    };
    let (commands, entries) = written();
    for _ in 0..CALLS {
        let caller = node.sim.place_call(CallSpec::new("q-support", "5551234"));
        until(&node.sim, "they talk", |_| caller.talking_to().is_some()).await;
        phone.hang_up();
        caller.ended().await;
        released(node).await;
    }
    let now = written();
    let (commands, entries) = (now.0 - commands, now.1 - entries);
    println!("{CALLS} calls: {commands} commands in {entries} log entries");
    assert!(
        commands >= 5 * CALLS,
        "{commands} commands: they were not counted"
    );
    assert!(commands <= MOST, "{CALLS} calls wrote {commands} commands");
    // The answer to the last command may still be on its way when its entry is applied.
    assert!(entries <= MOST, "{CALLS} calls wrote {entries} entries");
    cluster.stop().await;
}
