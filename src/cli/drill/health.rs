//! Whether an installation may be drilled: all nodes answer, agree who leads, and can lose one.

use super::seen::How;
use super::watch::Door;
use crate::failure::{CONFLICT, Failure, UNREACHABLE, USAGE};
use holdfast_admin::api::ClusterView;
use std::collections::BTreeSet;

/// What all nodes say of the cluster, if it may be drilled.
#[derive(Debug)]
pub struct Healthy {
    /// The leader's own view.
    pub leader: ClusterView,
}

/// Asks each node, and judges.
pub async fn look(doors: &[Door], how: How) -> Result<Healthy, Failure> {
    let mut views = Vec::new();
    for door in doors {
        views.push(door.client.get_local::<ClusterView>("/v1/cluster").await?);
    }
    judge(views, how)
}

/// The first thing that is not well ends it.
fn judge(views: Vec<ClusterView>, how: How) -> Result<Healthy, Failure> {
    let ill =
        |what: String| Failure::new(CONFLICT, what).why("a drill begins with a healthy cluster");
    for view in &views {
        let node = &view.node;
        if !view.healthy || view.leader.is_none() {
            let what = format!("node {node} is not healthy");
            return Err(Failure::new(UNREACHABLE, what).why(view.reason.clone()));
        }
        if view.ari.configured && !view.ari.connected {
            let why = view.ari.last_error.clone().unwrap_or_default();
            return Err(ill(format!(
                "node {node} does not drive its asterisk: {why}"
            )));
        }
    }
    let said: BTreeSet<(Option<&String>, u64, Option<&String>)> = views
        .iter()
        .map(|view| (view.leader.as_ref(), view.term, view.cluster_id.as_ref()))
        .collect();
    if said.len() > 1 {
        return Err(ill(format!("the nodes do not agree who leads: {said:?}")));
    }
    let leader = views
        .iter()
        .find(|view| view.leader.as_ref() == Some(&view.node))
        .cloned();
    let watched: BTreeSet<&str> = views.iter().map(|view| view.node.as_str()).collect();
    let all = views.first().map(|view| view.members.as_slice());
    let all = all.unwrap_or_default();
    for member in all {
        if !watched.contains(member.name.as_str()) {
            let name = &member.name;
            let what = format!("node {name} is a member and not among --nodes");
            return Err(Failure::new(USAGE, what).fix("--nodes with the endpoints of every node"));
        }
        if !member.reachable {
            return Err(ill(format!("node {} does not answer", member.name)));
        }
    }
    if watched.len() != views.len() {
        let what = "--nodes names a node twice";
        return Err(Failure::new(USAGE, what));
    }
    let voters = all.iter().filter(|member| member.voter).count();
    if how != How::Watched && voters < 3 {
        return Err(ill(format!("{voters} voters cannot lose one")));
    }
    match leader {
        Some(leader) => Ok(Healthy { leader }),
        None => Err(ill("the leader is not among --nodes".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_admin::api::NodeView;

    fn view(node: &str) -> ClusterView {
        let member = |name: &str| NodeView {
            name: name.into(),
            addr: String::new(),
            id: 1,
            voter: true,
            leader: name == "a",
            reachable: true,
            last_heard_ms: None,
            matched: None,
        };
        ClusterView {
            node: node.into(),
            version: String::new(),
            cluster_id: Some("7".into()),
            role: String::new(),
            leader: Some("a".into()),
            term: 3,
            applied: 10,
            committed: 10,
            last_log: 10,
            snapshot: 0,
            log_bytes: 0,
            fsync_p50_us: 0,
            fsync_p99_us: 0,
            digest: String::new(),
            clock_ms: 0,
            healthy: true,
            reason: String::new(),
            members: ["a", "b", "c"].map(member).to_vec(),
            pbxes: Vec::new(),
            ari: Default::default(),
            insecure_http: false,
        }
    }

    fn refused(change: impl Fn(&mut Vec<ClusterView>)) -> Failure {
        let mut views = ["a", "b", "c"].map(view).to_vec();
        change(&mut views);
        judge(views, How::StepDown).expect_err("it is refused")
    }

    #[test]
    fn only_a_healthy_cluster_that_is_watched_as_a_whole_is_drilled() {
        let views = || ["a", "b", "c"].map(view).to_vec();
        let healthy = judge(views(), How::StepDown).expect("all is well");
        assert_eq!(healthy.leader.node, "a");
        let failure = refused(|views| views[1].healthy = false);
        assert_eq!(failure.exit, UNREACHABLE);
        assert!(refused(|v| v[2].term = 4).what.contains("do not agree"));
        let cut = refused(|v| v[0].members[2].reachable = false);
        assert!(cut.what.contains("node c does not answer"), "{cut}");
        let blind = refused(|v| drop(v.remove(2)));
        assert!(
            blind.what.contains("node c is a member and not among"),
            "{blind}"
        );
        let deaf = refused(|v| v[1].ari.configured = true);
        assert!(deaf.what.contains("node b does not drive"), "{deaf}");
        let two = refused(|v| {
            drop(v.pop());
            v.iter_mut().for_each(|view| drop(view.members.pop()));
        });
        assert!(two.what.contains("2 voters"), "{two}");
    }
}
