//! Stories 17 and 18: a node is killed, or stands still for a while, and its Asterisk lives: another
//! node serves its callers, and it gets its Asterisk back.

use holdfast_drills::lab::cluster::Cluster;
use holdfast_drills::lab::{Heard, Kind};

use crate::scene::{LONG_TALK, support};

const AGENTS: [(&str, &str); 2] = [("1001", "a"), ("1002", "c")];
const SETTINGS: &str = "strategy = \"linear\"\nannounce = { position = false }";

/// One talks and two wait at the node that is killed, one waits elsewhere.
pub async fn of_a_killed_node(kind: Kind) {
    let mut cluster = Cluster::start_taking(kind).await;
    cluster.apply(&support(SETTINGS, &AGENTS)).await;
    let first = cluster.agent("1001", "a", LONG_TALK).await;
    let talker = cluster.call("b", "support", "5501").await;
    assert_eq!(cluster.oracle.connected("5501").await, "1001");
    let _second = cluster.join("b", "support", "5502").await;
    let _third = cluster.join("a", "support", "5503").await;
    let fourth = cluster.join("b", "support", "5504").await;
    let before = cluster.line("support").await.expect("the line can be read");

    cluster.kill("b");
    cluster.driven("b", false).await;
    let now = cluster.line("support").await.expect("the line can be read");
    let places = |line: &[holdfast_drills::lab::cluster::Waiting]| {
        let ids = line.iter().map(|it| (it.id.clone(), it.number.clone()));
        ids.collect::<Vec<_>>()
    };
    assert_eq!(
        places(&now),
        places(&before),
        "the same calls at the same places"
    );
    assert!(!talker.has_ended());
    assert!(fourth.hears().await == Heard::Music);

    // Who waits there is served in turn, who comes there joins, a hang-up there frees the agent.
    let second = cluster.agent("1002", "c", LONG_TALK).await;
    assert_eq!(cluster.oracle.connected("5502").await, "1002");
    let _fifth = cluster.join("b", "support", "5505").await;
    talker.hang_up().await.expect("a caller can hang up");
    assert_eq!(cluster.oracle.connected("5503").await, "1001");
    cluster.line_is("support", &["5504", "5505"]).await;

    // Its own node is back: nobody notices, and it sees the next hang-up.
    cluster.restart("b").await;
    cluster.driven("b", true).await;
    cluster.line_is("support", &["5504", "5505"]).await;
    assert!(fourth.hears().await == Heard::Music);
    let talking = cluster.oracle.talking();
    assert!(
        talking.contains(&("5502".into(), "1002".into())),
        "{talking:?}"
    );
    second.hang_up().await.expect("an agent can hang up");
    assert_eq!(cluster.oracle.connected("5504").await, "1002");
    first.hang_up().await.expect("an agent can hang up");
    assert_eq!(cluster.oracle.connected("5505").await, "1001");
    first.hang_up().await.expect("an agent can hang up");
    second.hang_up().await.expect("an agent can hang up");
    cluster.quiet("support", &["1001", "1002"]).await;
    let order = cluster.oracle.order();
    assert_eq!(order, ["5501", "5502", "5503", "5504", "5505"]);
    assert_eq!((first.max_concurrent(), second.max_concurrent()), (1, 1));
    cluster.assert_clean();
}

/// The process of a node is stopped, its Asterisk taken over, and the process goes on as if nothing
/// had been: it must find itself deposed before it acts.
pub async fn of_a_node_that_stands_still(kind: Kind) {
    let cluster = Cluster::start_taking(kind).await;
    cluster.apply(&support(SETTINGS, &AGENTS)).await;
    let first = cluster.agent("1001", "a", LONG_TALK).await;
    let talker = cluster.call("c", "support", "5501").await;
    assert_eq!(cluster.oracle.connected("5501").await, "1001");
    let _second = cluster.join("c", "support", "5502").await;
    let third = cluster.join("c", "support", "5503").await;

    cluster.site("c").process.freeze();
    cluster.driven("c", false).await;
    // The talk of the one ends and that of the other begins while it stands still.
    first.hang_up().await.expect("an agent can hang up");
    assert_eq!(cluster.oracle.connected("5502").await, "1001");
    cluster.site("c").process.thaw();
    cluster.driven("c", true).await;
    cluster.site("c").ready().await;

    cluster.line_is("support", &["5503"]).await;
    assert!(third.hears().await == Heard::Music);
    let talking = cluster.oracle.talking();
    assert!(
        talking.contains(&("5502".into(), "1001".into())),
        "{talking:?}"
    );
    let log = cluster.site("c").process.log();
    assert!(
        log.contains("another node drives the asterisk"),
        "it was told"
    );
    first.hang_up().await.expect("an agent can hang up");
    assert_eq!(cluster.oracle.connected("5503").await, "1001");
    first.hang_up().await.expect("an agent can hang up");
    cluster.quiet("support", &["1001"]).await;
    assert_eq!(cluster.oracle.order(), ["5501", "5502", "5503"]);
    assert_eq!(first.max_concurrent(), 1);
    drop(talker);
    cluster.assert_clean();
}
