//! Replicas agree: after the same entry of the log every node has the same digest, and tells the same
//! events of it.

use super::{Findings, Violation};
use crate::judge::story::Story;
use crate::judge::verdict::Limits;
use std::collections::BTreeSet;

pub fn check(story: &Story, _limits: &Limits, found: &mut Findings) {
    found.judged(story.log.compared);
    for (at, when, what) in &story.log.conflicts {
        let (at, what) = (*at, what.clone());
        found.broken(*when, Violation::LogsDiffer { at, what }, &[]);
    }
    for (index, nodes) in story.digests.iter().filter(|(_, nodes)| nodes.len() > 1) {
        found.judged(1);
        let kinds: BTreeSet<u64> = nodes.values().map(|(_, digest)| *digest).collect();
        if kinds.len() > 1 {
            let digests = nodes
                .iter()
                .map(|(node, (_, digest))| (node.clone(), *digest));
            let digests = digests.collect();
            let last = nodes
                .values()
                .map(|(when, _)| *when)
                .max_by_key(|w| w.at_ms);
            let violation = Violation::DigestsDiffer {
                index: *index,
                digests,
            };
            if let Some(when) = last {
                found.broken(when, violation, &[]);
            }
        }
    }
    if story.log.compared == 0 && story.digests.values().all(|nodes| nodes.len() < 2) {
        found.not_judged("no two nodes told of the same entry");
    }
}
