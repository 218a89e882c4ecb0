//! What is looked at after every step of every node: the core's own invariants, and whether
//! replicas that applied the same entries are the same.

use crate::book::Book;
use crate::host::Host;
use holdfast_acd::agent::Hand;
use holdfast_acd::invariants;
use holdfast_drills::judge::Source;
use holdfast_drills::judge::history::{Channel, InsideSaw, NodeSaw, Seen};
use std::collections::BTreeMap;

/// Digests of so many entries are kept for comparison.
const KEPT: usize = 20_000;

pub struct Checks {
    book: Book,
    source: Source,
    /// By applied index: the digest, and who had it first.
    digests: BTreeMap<u64, (u64, String)>,
    /// Term of the last leadership that was seen of each node.
    leads: BTreeMap<String, u64>,
}

impl Checks {
    pub fn new(book: Book, source: Source) -> Checks {
        Checks {
            book,
            source,
            digests: BTreeMap::new(),
            leads: BTreeMap::new(),
        }
    }

    /// Looks at one node, if it applied something since the last look.
    pub fn look(&mut self, host: &mut Host) {
        let Some(handle) = host.handle() else { return };
        let raft = handle.raft();
        let lead = *raft.leadership().borrow();
        if let Some(lead) = lead
            && self.leads.insert(host.name.clone(), lead.term) != Some(lead.term)
        {
            let (node, saw) = (host.name.clone(), NodeSaw::Leads);
            self.source.saw(Seen::Node { node, saw });
        }
        let applied = *raft.applied().borrow();
        if applied == host.looked_at {
            return;
        }
        host.looked_at = applied;
        let (digest, broken) = handle.read(|state| (state.digest(), invariants::check(state)));
        let name = &host.name;
        self.book
            .tell(format_args!("{name} applied {applied} {digest:016x}"));
        if !broken.is_empty() {
            let what = format!("{name} at entry {applied}: {broken:?}");
            self.book.violated("invariants", what);
        }
        let node = name.clone();
        let saw = InsideSaw::Digest {
            index: applied,
            digest,
        };
        self.source.saw(Seen::Inside { node, saw });
        let known = self.digests.entry(applied);
        let (known, by) = known.or_insert_with(|| (digest, name.clone()));
        if *known != digest {
            let what = format!("at entry {applied} {by} has {known:016x}, {name} {digest:016x}");
            self.book.violated("replicas agree", what);
        }
        while self.digests.len() > KEPT {
            self.digests.pop_first();
        }
    }

    /// Who is where, as one node has it.
    pub fn standing(&self, host: &Host) {
        let Some(handle) = host.handle() else { return };
        let index = *handle.raft().applied().borrow();
        let saw = handle.read(|state| {
            let waiting = state.calls().filter(|call| call.in_line());
            let in_hand = |offered: bool| {
                let agents = state.agents().filter(|agent| match agent.hand {
                    Hand::Free => false,
                    Hand::Offered { .. } => offered,
                    Hand::InCall { .. } | Hand::Talking { .. } => !offered,
                });
                agents.map(|agent| agent.id.to_string()).collect()
            };
            InsideSaw::Standing {
                index,
                waiting: waiting
                    .map(|call| Channel {
                        pbx: call.pbx.to_string(),
                        channel: call.channel.to_string(),
                    })
                    .collect(),
                offered: in_hand(true),
                in_call: in_hand(false),
            }
        });
        let node = host.name.clone();
        self.source.saw(Seen::Inside { node, saw });
    }
}
