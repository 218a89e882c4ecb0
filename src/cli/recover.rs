//! `cluster recover`: one survivor goes on alone when the quorum is lost for good. Works on the data
//! folder of a node that does not run, and asks no node.
//!
//! Without `--give-up` it only tells what is there. The explicit yes is to name the members that are
//! given up, all of them: it can stand in a script, it does not fit another installation's folder,
//! and nobody types it without having read who is meant.

use crate::args::DEFAULT_CONFIG;
use crate::failure::{CONFIG, CONFLICT, FAILED, Failure, NOT_FOUND};
use crate::output::Out;
use holdfast_admin::wall;
use holdfast_node::NodeConfig;
use holdfast_node::raft::{Found, RecoverError, Recovered, StartError, Survivor, World};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Where the survivor's data is.
pub struct Place {
    pub config: Option<PathBuf>,
    pub data_dir: Option<PathBuf>,
}

pub async fn run(out: Out, place: Place, give_up: &[String]) -> Result<(), Failure> {
    let (dir, name) = match (place.data_dir, place.config) {
        (Some(dir), _) => (dir, None),
        (None, config) => of_config(&config.unwrap_or_else(|| DEFAULT_CONFIG.into()))?,
    };
    let world = World::default();
    let survivor = Survivor::open(&world, &dir, name.as_deref());
    let survivor = survivor.await.map_err(failure)?;
    let found = survivor.found().clone();
    let others = found.others().join(",");
    let shown = dir.display().to_string();
    if give_up.is_empty() {
        out.show(
            &json!({ "found": found_json(&found), "recovered": null }),
            || found_text(&found, &shown) + &loss_text(&found),
        )?;
        let what = "nothing was changed: who is given up must be said";
        return Err(Failure::new(CONFLICT, what)
            .why(format!(
                "only if {others} and their disks are lost for good"
            ))
            .fix(format!(
                "holdfast cluster recover --data-dir {shown} --give-up {others}"
            )));
    }
    survivor.others_are_silent().await.map_err(failure)?;
    let recovered = survivor.carry_out(&world, give_up).await;
    let recovered = recovered.map_err(failure)?;
    let data = json!({ "found": found_json(&found), "recovered": recovered_json(&recovered) });
    out.show(&data, || {
        found_text(&found, &shown) + &next_text(&found, &recovered)
    })
}

/// Data folder and name, as a node's file says; its secrets are not read.
fn of_config(file: &Path) -> Result<(PathBuf, Option<String>), Failure> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        Failure::new(FAILED, format!("cannot read {}: {error}", file.display()))
            .fix("--config FILE, or --data-dir DIR for the folder itself")
    })?;
    let env = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let config = NodeConfig::parse(&text, file, env)
        .map_err(|error| Failure::new(CONFIG, error.to_string()))?;
    Ok((config.node.data_dir, Some(config.node.name)))
}

fn failure(error: RecoverError) -> Failure {
    let (exit, fix) = match &error {
        RecoverError::NotANode(_) => (NOT_FOUND, "--data-dir DIR, as node.data_dir says"),
        RecoverError::Start(StartError::Locked(_)) => (CONFLICT, "systemctl stop holdfast"),
        RecoverError::Start(StartError::OtherNode { .. } | StartError::Newer { .. }) => {
            (CONFIG, "")
        }
        RecoverError::Damaged { .. } | RecoverError::Start(_) => (FAILED, ""),
        RecoverError::NoCluster(_)
        | RecoverError::Alone { .. }
        | RecoverError::Removed(_)
        | RecoverError::Alive(_)
        | RecoverError::NotNamed { .. } => (CONFLICT, ""),
    };
    Failure::new(exit, error.to_string()).fix(fix)
}

fn id(id: u64) -> String {
    format!("{id:016x}")
}

fn found_json(found: &Found) -> Value {
    let member = |(id_of, member, voter): &(u64, holdfast_node::raft::Member, bool)| json!({ "id": id(*id_of), "name": member.name, "addr": member.addr, "voter": voter });
    let (term, index) = found.last;
    json!({
        "node": found.name,
        "id": id(found.id),
        "cluster_id": id(found.cluster),
        "before": found.before.iter().map(|cluster| id(*cluster)).collect::<Vec<_>>(),
        "members": found.members.iter().map(member).collect::<Vec<_>>(),
        "term": found.term,
        "last": { "term": term, "index": index, "at": wall(found.last_wall_ms) },
        "committed": found.committed,
        "snapshot": found.snapshot,
        "log_bytes": found.log_bytes,
    })
}

fn recovered_json(recovered: &Recovered) -> Value {
    json!({ "cluster_id": id(recovered.cluster), "store": recovered.store, "kept": recovered.kept })
}

fn found_text(found: &Found, dir: &str) -> String {
    let (term, index) = found.last;
    let mut text = format!(
        "node {} of cluster {}, in {dir}\n",
        found.name,
        id(found.cluster)
    );
    for (of, member, voter) in &found.members {
        let role = if *voter { "voter" } else { "learner" };
        let own = if *of == found.id { ", this node" } else { "" };
        text.push_str(&format!(
            "  member        {} at {} ({role}{own})\n",
            member.name, member.addr
        ));
    }
    text.push_str(&format!("  term          {}\n", found.term));
    text.push_str(&format!(
        "  last entry    index {index} of term {term}, {} by the leader's clock\n",
        wall(found.last_wall_ms)
    ));
    text.push_str(&format!(
        "  committed     {}, as far as this node was told\n",
        found.committed
    ));
    text.push_str(&format!(
        "  snapshot      {}; the log has {} bytes\n",
        match found.snapshot {
            0 => "none".to_owned(),
            index => format!("at index {index}"),
        },
        found.log_bytes
    ));
    text
}

fn loss_text(found: &Found) -> String {
    let others = found.others().join(", ");
    let index = found.last.1;
    let open = index.saturating_sub(found.committed);
    format!(
        "\nWhat may be lost: everything that {others} acknowledged among themselves behind index \
         {index}, and this node was never sent. Nobody can tell from here how much that is; of \
         several survivors take the one with the highest last entry.\n\
         What is kept: everything up to index {index}, the {open} entries behind the committed one \
         included, whether they were acknowledged or not.\n\
         What it does: node {} becomes the only member of a fresh cluster. {others} can come back \
         with empty disks only; should they run with their old data, they stop when they hear of \
         this node, even with a majority of what was.\n",
        found.name
    )
}

fn next_text(found: &Found, recovered: &Recovered) -> String {
    let mut text = format!(
        "\nnode {} is cluster {} now, alone.\n\nWhat to do next:\n\
         1. systemctl start holdfast     and wait until holdfast status shows that it leads\n\
         2. on each other machine: empty the data folder, start the node, and then here:\n",
        found.name,
        id(recovered.cluster)
    );
    let others = found.members.iter().filter(|(of, ..)| *of != found.id);
    for (_, member, _) in others {
        text.push_str(&format!(
            "     holdfast cluster add {} {}\n",
            member.name, member.addr
        ));
    }
    text.push_str("3. when all is well, remove what was kept from before:\n");
    for path in &recovered.kept {
        text.push_str(&format!("     {}\n", path.display()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_node::raft::Member;

    fn found() -> Found {
        let member = |id: u64, name: &str| {
            let (name, addr) = (name.to_owned(), format!("10.0.0.{id}:7081"));
            (id, Member { name, addr }, true)
        };
        Found {
            name: "c".into(),
            id: 3,
            cluster: 0xabc,
            before: Vec::new(),
            members: vec![member(1, "a"), member(2, "b"), member(3, "c")],
            term: 7,
            last: (6, 120),
            last_wall_ms: 1_700_000_000_123,
            committed: 118,
            snapshot: 0,
            log_bytes: 4096,
        }
    }

    #[test]
    fn what_was_found_and_what_may_be_lost_is_said_with_names_and_figures() {
        let text = found_text(&found(), "/var/lib/holdfast") + &loss_text(&found());
        for part in [
            "node c of cluster 0000000000000abc, in /var/lib/holdfast",
            "member        a at 10.0.0.1:7081 (voter)",
            "member        c at 10.0.0.3:7081 (voter, this node)",
            "index 120 of term 6, 2023-11-14T22:13:20.123Z",
            "everything that a, b acknowledged among themselves behind index 120",
            "the 2 entries behind the committed one",
        ] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
    }

    #[test]
    fn what_to_do_next_names_each_node_to_add() {
        let recovered = Recovered {
            cluster: 0xdef,
            store: "/d/recovered-1".into(),
            kept: vec!["/d/log".into()],
        };
        let text = next_text(&found(), &recovered);
        assert!(
            text.contains("holdfast cluster add a 10.0.0.1:7081"),
            "{text}"
        );
        assert!(!text.contains("add c"), "{text}");
        assert!(text.contains("/d/log"), "{text}");
    }
}
