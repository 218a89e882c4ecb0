//! Story 7: the dialplan dials, as the original had it.

use holdfast_drills::lab::cluster::Cluster;
use holdfast_drills::lab::eventually::{SOON, check, eventually};
use holdfast_drills::lab::{Habit, Kind};

use crate::scene::{SHORT_TALK, support};

/// The call string is dialled; nobody answers; the caller is back at the old place; then the agent
/// answers and the callers come in order.
pub async fn dials_and_comes_back(kind: Kind) {
    let cluster = Cluster::start(kind).await;
    let agents = [("1001", "b")];
    let settings = "connect = \"dialplan\"\nring_time = \"2s\"\nannounce = { position = false }";
    cluster.apply(&support(settings, &agents)).await;
    let _first = cluster.join("a", "support", "5501").await;
    let _second = cluster.join("b", "support", "5502").await;
    let before = cluster.line("support").await.expect("the line can be read");

    let mut phone = cluster.agent("1001", "b", Habit::NoAnswer).await;
    cluster.oracle.rung("1001").await;
    let caller_channel = cluster.oracle.callers_at("a");
    eventually(
        SOON,
        "the phone was dialled again for the same caller",
        async || {
            check(phone.times_rung() >= 2, || {
                format!("it rang {} times", phone.times_rung())
            })
        },
    )
    .await;
    cluster
        .api()
        .pause("1001", "thinking")
        .await
        .expect("an agent can pause");
    cluster.line_is("support", &["5501", "5502"]).await;
    let now = cluster.line("support").await.expect("the line can be read");
    for (was, is) in before.iter().zip(&now) {
        assert_eq!(
            (&was.id, was.position),
            (&is.id, is.position),
            "the same call, the same place"
        );
    }
    assert_eq!(
        cluster.oracle.callers_at("a"),
        caller_channel,
        "on the same channel"
    );

    phone.set_habit(SHORT_TALK).await.expect("a habit");
    cluster
        .api()
        .unpause("1001")
        .await
        .expect("an agent can come back");
    cluster.oracle.talked(2, SOON).await;
    cluster.came_back("a", "5501", "CONTINUE").await;
    cluster.came_back("b", "5502", "CONTINUE").await;
    cluster.quiet("support", &["1001"]).await;
    assert_eq!(cluster.oracle.order(), ["5501", "5502"]);
    cluster.assert_clean();
}
