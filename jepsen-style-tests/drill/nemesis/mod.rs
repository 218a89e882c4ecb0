//! All ways of hurting, by name. Each file holds one kind of harm; this one the table of them.
//!
//! A nemesis strikes, which gives the way to heal it; in between it lasts. It changes the arena and
//! judges nothing.

mod asterisk;
pub mod clock;
mod cut;
mod disk;
mod kill;
mod link;
mod pause;
mod rejoin;
pub mod rolling;
mod rot;
mod sync;
mod wire;
pub mod write;

use futures_util::future::LocalBoxFuture;

use super::arena::Arena;
use crate::lab::LabError;

/// How a strike went: the way to heal it.
pub type Strike<'a> = LocalBoxFuture<'a, Result<Healing, LabError>>;

type Heal = Box<dyn for<'a> FnOnce(&'a mut Arena) -> LocalBoxFuture<'a, Result<(), LabError>>>;

/// Ends a fault.
pub struct Healing(Heal);

impl Healing {
    /// By doing this.
    pub fn by<F>(heal: F) -> Healing
    where
        F: for<'a> FnOnce(&'a mut Arena) -> LocalBoxFuture<'a, Result<(), LabError>> + 'static,
    {
        Healing(Box::new(heal))
    }

    /// There is nothing to be done.
    pub fn none() -> Healing {
        Healing::by(|_| Box::pin(async { Ok(()) }))
    }

    /// The same, and when it is done it tells what the strike made of it: one without an effect has to
    /// be healed as well.
    pub fn and_tell(self, effect: Result<(), LabError>) -> Healing {
        Healing::by(move |arena| {
            Box::pin(async move {
                self.heal(arena).await?;
                effect
            })
        })
    }

    /// Does it.
    pub async fn heal(self, arena: &mut Arena) -> Result<(), LabError> {
        (self.0)(arena).await
    }
}

/// What must stand before the nodes are started, so that the nemesis can strike later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Needs {
    /// Each node's data folder is a small file system of its own.
    pub disk: bool,
    /// Each node's wall clock can be set.
    pub clock: bool,
    /// Each node's writes can be spoilt.
    pub shim: bool,
    /// Nodes reach each other by way of proxies.
    pub wire: bool,
    /// The cluster is founded by the previous release's binary.
    pub previous: bool,
}

impl Needs {
    /// What either needs.
    pub fn and(self, other: Needs) -> Needs {
        Needs {
            disk: self.disk | other.disk,
            clock: self.clock | other.clock,
            shim: self.shim | other.shim,
            wire: self.wire | other.wire,
            previous: self.previous | other.previous,
        }
    }
}

/// One way of hurting.
pub struct Nemesis {
    /// What it is called by.
    pub name: &'static str,
    /// Its number in the research that this table follows.
    pub number: &'static str,
    /// What it does, in a line.
    pub does: &'static str,
    pub needs: Needs,
    /// A majority may be out of reach while it lasts.
    pub no_quorum: bool,
    /// It costs a node its data, so that the node must be replaced, for which the two others are
    /// needed: never two of these at a time, and healed last.
    pub costs_data: bool,
    pub strike: for<'a> fn(&'a mut Arena) -> Strike<'a>,
}

const PLAIN: Needs = Needs {
    disk: false,
    clock: false,
    shim: false,
    wire: false,
    previous: false,
};
const DISK: Needs = Needs {
    disk: true,
    ..PLAIN
};
const CLOCK: Needs = Needs {
    clock: true,
    ..PLAIN
};
const SHIM: Needs = Needs {
    shim: true,
    ..PLAIN
};
const PREVIOUS: Needs = Needs {
    previous: true,
    ..PLAIN
};
const WIRE: Needs = Needs {
    wire: true,
    ..PLAIN
};

/// All of them. N20 and N23 of the research are no use: a faked rate of the clock scales sleeps
/// alike and so shows nothing (the simulation does it), and a file system in user space adds nothing
/// to N10 to N15. N25, pairs, is how a plan is carried out.
pub const ALL: &[Nemesis] = &[
    Nemesis {
        name: "cut-one-way",
        number: "N1",
        does: "a node drops what one other sends; the other way is open",
        needs: PLAIN,
        no_quorum: false,
        costs_data: false,
        strike: cut::one_way,
    },
    Nemesis {
        name: "cut-at-switch",
        number: "N2",
        does: "the switch loses what goes from one node to another",
        needs: PLAIN,
        no_quorum: false,
        costs_data: false,
        strike: cut::at_switch,
    },
    Nemesis {
        name: "bridge-partition",
        number: "N2",
        does: "one node sees both others, which do not see each other",
        needs: PLAIN,
        no_quorum: false,
        costs_data: false,
        strike: cut::bridge,
    },
    Nemesis {
        name: "isolate-leader",
        number: "N3",
        does: "the leader's port at the switch goes down",
        needs: PLAIN,
        no_quorum: false,
        costs_data: false,
        strike: cut::isolate_leader,
    },
    Nemesis {
        name: "isolate-follower",
        number: "N3",
        does: "a follower's port at the switch goes down",
        needs: PLAIN,
        no_quorum: false,
        costs_data: false,
        strike: cut::isolate_follower,
    },
    Nemesis {
        name: "loss",
        number: "N4",
        does: "a node loses a fifth of all packets",
        needs: PLAIN,
        no_quorum: false,
        costs_data: false,
        strike: link::loss,
    },
    Nemesis {
        name: "reset",
        number: "N5",
        does: "a node's connections to the others are reset",
        needs: PLAIN,
        no_quorum: false,
        costs_data: false,
        strike: link::reset,
    },
    Nemesis {
        name: "slow-link",
        number: "N6",
        does: "a node sends 32 kbit/s",
        needs: PLAIN,
        no_quorum: false,
        costs_data: false,
        strike: link::slow,
    },
    Nemesis {
        name: "delay",
        number: "N7",
        does: "a node answers the others late",
        needs: WIRE,
        no_quorum: false,
        costs_data: false,
        strike: wire::delay,
    },
    Nemesis {
        name: "jitter",
        number: "N7",
        does: "a node answers the others late, and never equally so",
        needs: WIRE,
        no_quorum: false,
        costs_data: false,
        strike: wire::jitter,
    },
    Nemesis {
        name: "black-hole",
        number: "N7",
        does: "what is sent to a node arrives nowhere, connections stay open",
        needs: WIRE,
        no_quorum: false,
        costs_data: false,
        strike: wire::hole,
    },
    Nemesis {
        name: "answers-lost",
        number: "N7",
        does: "a node does what the others ask, and no answer arrives",
        needs: WIRE,
        no_quorum: false,
        costs_data: false,
        strike: wire::answers_lost,
    },
    Nemesis {
        name: "kill-leader",
        number: "N8",
        does: "SIGKILL to the leader, which comes back later",
        needs: PLAIN,
        no_quorum: false,
        costs_data: false,
        strike: kill::leader,
    },
    Nemesis {
        name: "kill-follower",
        number: "N8",
        does: "SIGKILL to a follower, which comes back later",
        needs: PLAIN,
        no_quorum: false,
        costs_data: false,
        strike: kill::follower,
    },
    Nemesis {
        name: "kill-two",
        number: "N8",
        does: "SIGKILL to leader and follower: no quorum until they are back",
        needs: PLAIN,
        no_quorum: true,
        costs_data: false,
        strike: kill::two,
    },
    Nemesis {
        name: "kill-all",
        number: "N8",
        does: "SIGKILL to all nodes; they come back in a random order",
        needs: PLAIN,
        no_quorum: true,
        costs_data: false,
        strike: kill::all,
    },
    Nemesis {
        name: "kill-at-fsync",
        number: "N9",
        does: "SIGKILL in the n-th fdatasync",
        needs: PLAIN,
        no_quorum: false,
        costs_data: false,
        strike: sync::kill,
    },
    Nemesis {
        name: "fsync-error",
        number: "N10",
        does: "fdatasync fails with EIO from the n-th on",
        needs: PLAIN,
        no_quorum: false,
        costs_data: false,
        strike: sync::fail,
    },
    Nemesis {
        name: "fsync-slow",
        number: "N10",
        does: "each fsync takes 200 ms more",
        needs: PLAIN,
        no_quorum: false,
        costs_data: false,
        strike: sync::slow,
    },
    Nemesis {
        name: "torn-write",
        number: "N11",
        does: "half a write to the log, then the process is gone",
        needs: SHIM,
        no_quorum: false,
        costs_data: false,
        strike: write::torn,
    },
    Nemesis {
        name: "bit-flip",
        number: "N11",
        does: "a write to the log has a wrong bit, and is told as done",
        needs: SHIM,
        no_quorum: false,
        costs_data: true,
        strike: write::flip,
    },
    Nemesis {
        name: "no-room-once",
        number: "N11",
        does: "one write to the log fails with ENOSPC",
        needs: SHIM,
        no_quorum: false,
        costs_data: false,
        strike: write::no_room,
    },
    Nemesis {
        name: "bit-rot",
        number: "N12",
        does: "a bit of the log flips while the node does not run",
        needs: PLAIN,
        no_quorum: false,
        costs_data: true,
        strike: rot::bit,
    },
    Nemesis {
        name: "disk-full",
        number: "N13",
        does: "a node's small disk is full",
        needs: DISK,
        no_quorum: false,
        costs_data: false,
        strike: disk::full,
    },
    Nemesis {
        name: "disk-read-only",
        number: "N14",
        does: "a node's disk cannot be written",
        needs: DISK,
        no_quorum: false,
        costs_data: false,
        strike: disk::read_only,
    },
    Nemesis {
        name: "power-loss",
        number: "N15",
        does: "power of one host fails: what was not synced is lost",
        needs: DISK,
        no_quorum: false,
        costs_data: false,
        strike: disk::power_of_one,
    },
    Nemesis {
        name: "power-loss-all",
        number: "N15",
        does: "power of all hosts fails in one moment",
        needs: DISK,
        no_quorum: true,
        costs_data: false,
        strike: disk::power_of_all,
    },
    Nemesis {
        name: "disk-slow",
        number: "N16",
        does: "a node's disk does 20 writes a second",
        needs: DISK,
        no_quorum: false,
        costs_data: false,
        strike: disk::slow,
    },
    Nemesis {
        name: "pause-short",
        number: "N17",
        does: "SIGSTOP of the leader for less than the election time",
        needs: PLAIN,
        no_quorum: false,
        costs_data: false,
        strike: pause::short,
    },
    Nemesis {
        name: "pause-leader",
        number: "N17",
        does: "SIGSTOP of the leader for longer than that",
        needs: PLAIN,
        no_quorum: false,
        costs_data: false,
        strike: pause::leader,
    },
    Nemesis {
        name: "pause-follower",
        number: "N17",
        does: "SIGSTOP of a follower",
        needs: PLAIN,
        no_quorum: false,
        costs_data: false,
        strike: pause::follower,
    },
    Nemesis {
        name: "pause-host",
        number: "N17",
        does: "SIGSTOP of the leader and its Asterisk",
        needs: PLAIN,
        no_quorum: false,
        costs_data: false,
        strike: pause::host,
    },
    Nemesis {
        name: "starve",
        number: "N18",
        does: "the leader gets 5 % of a processor",
        needs: PLAIN,
        no_quorum: false,
        costs_data: false,
        strike: pause::starve,
    },
    Nemesis {
        name: "clock-jump",
        number: "N19",
        does: "the leader's wall clock jumps an hour ahead, then behind",
        needs: CLOCK,
        no_quorum: false,
        costs_data: false,
        strike: clock::jump,
    },
    Nemesis {
        name: "boot-offset",
        number: "N21",
        does: "a node's machine has been up for a day longer",
        needs: PLAIN,
        no_quorum: false,
        costs_data: false,
        strike: clock::boot,
    },
    Nemesis {
        name: "asterisk-kill",
        number: "N22",
        does: "an Asterisk dies with its calls and comes back",
        needs: PLAIN,
        no_quorum: false,
        costs_data: false,
        strike: asterisk::kill,
    },
    Nemesis {
        name: "asterisk-pause",
        number: "N22",
        does: "an Asterisk stands still and then acts late",
        needs: PLAIN,
        no_quorum: false,
        costs_data: false,
        strike: asterisk::pause,
    },
    Nemesis {
        name: "ari-reset",
        number: "N22",
        does: "every connection to an ARI is reset",
        needs: PLAIN,
        no_quorum: false,
        costs_data: false,
        strike: asterisk::reset,
    },
    Nemesis {
        name: "ari-events-cut",
        number: "N22",
        does: "an event socket is cut and cannot be opened",
        needs: PLAIN,
        no_quorum: false,
        costs_data: false,
        strike: asterisk::events_cut,
    },
    Nemesis {
        name: "ari-slow",
        number: "N22",
        does: "an ARI answers two seconds late",
        needs: PLAIN,
        no_quorum: false,
        costs_data: false,
        strike: asterisk::slow,
    },
    Nemesis {
        name: "ari-answers-lost",
        number: "N22",
        does: "an ARI does what it is asked, and no answer arrives",
        needs: PLAIN,
        no_quorum: false,
        costs_data: false,
        strike: asterisk::answers_lost,
    },
    Nemesis {
        name: "remove-follower",
        number: "N24",
        does: "a follower is removed under load and added again",
        needs: PLAIN,
        no_quorum: false,
        costs_data: true,
        strike: rejoin::remove_and_add,
    },
    Nemesis {
        name: "remove-leader",
        number: "N24",
        does: "the leader is removed under load and added again",
        needs: PLAIN,
        no_quorum: false,
        costs_data: true,
        strike: rejoin::remove_leader,
    },
    Nemesis {
        name: "wipe-follower",
        number: "N24",
        does: "a follower loses its disk and is replaced",
        needs: PLAIN,
        no_quorum: false,
        costs_data: true,
        strike: rejoin::wiped,
    },
    Nemesis {
        name: "rolling-restart",
        number: "N24",
        does: "each node is stopped and started in turn",
        needs: PLAIN,
        no_quorum: false,
        costs_data: false,
        strike: rolling::restart,
    },
    Nemesis {
        name: "rolling-upgrade",
        number: "N24",
        does: "founded by the previous binary, then each node gets the new one",
        needs: PREVIOUS,
        no_quorum: false,
        costs_data: false,
        strike: rolling::upgrade,
    },
];

/// The nemesis of this name.
pub fn named(name: &str) -> Option<&'static Nemesis> {
    ALL.iter().find(|nemesis| nemesis.name == name)
}
