//! Story 7: the dialplan dials, as the original had it.

use holdfast_drills::lab::cluster::Cluster;
use holdfast_drills::lab::eventually::{SOON, check, eventually};
use holdfast_drills::lab::{CallSpec, Caller, Habit, Kind};

use crate::scene::{LONG_TALK, serve, support};

/// The call string is dialled; nobody answers; the caller is back at the old place; then the agent
/// answers and the callers come in order.
pub async fn dials_and_comes_back(kind: Kind) {
    let cluster = Cluster::start(kind).await;
    let agents = [("1001", "b")];
    let settings = "connect = \"dialplan\"\nring_time = \"2s\"\nannounce = { position = false }";
    cluster.apply(&support(settings, &agents)).await;
    let _first = join(&cluster, "a", "5501").await;
    let _second = join(&cluster, "b", "5502").await;
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

    phone.set_habit(LONG_TALK).await.expect("a habit");
    cluster
        .api()
        .unpause("1001")
        .await
        .expect("an agent can come back");
    serve(&cluster, &[&phone], 2, SOON).await;
    if kind == Kind::Real {
        // Set by the dialplan that we ship, which the simulator does not have.
        cluster.came_back("a", "5501", "CONTINUE").await;
        cluster.came_back("b", "5502", "CONTINUE").await;
    }
    cluster.quiet("support", &["1001"]).await;
    assert_eq!(cluster.oracle.order(), ["5501", "5502"]);
    cluster.assert_clean();
}

/// The shipped dialplan dials whenever it finds a call string; the simulator's has an extension of
/// its own for that.
async fn join(cluster: &Cluster, at: &str, number: &str) -> Caller {
    let exten = match cluster.kind {
        Kind::Real => "q-support",
        Kind::Sim => "qd-support",
    };
    let caller = cluster.dial(at, CallSpec::new(exten, number)).await;
    cluster.in_line("support", number).await;
    caller
}
