//! All ways of hurting, by name. Each file holds one kind of harm; this one the table of them.
//!
//! A nemesis strikes, which gives the way to heal it; in between it lasts. It changes the arena and
//! judges nothing.

mod cut;
mod kill;

use futures_util::future::BoxFuture;

use super::arena::Arena;
use crate::lab::LabError;

/// How a strike went: the way to heal it.
pub type Strike<'a> = BoxFuture<'a, Result<Healing, LabError>>;

type Heal = Box<dyn for<'a> FnOnce(&'a mut Arena) -> BoxFuture<'a, Result<(), LabError>> + Send>;

/// Ends a fault.
pub struct Healing(Heal);

impl Healing {
    /// By doing this.
    pub fn by<F>(heal: F) -> Healing
    where
        F: for<'a> FnOnce(&'a mut Arena) -> BoxFuture<'a, Result<(), LabError>> + Send + 'static,
    {
        Healing(Box::new(heal))
    }

    /// There is nothing to be done.
    pub fn none() -> Healing {
        Healing::by(|_| Box::pin(async { Ok(()) }))
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
    pub strike: for<'a> fn(&'a mut Arena) -> Strike<'a>,
}

const PLAIN: Needs = Needs {
    disk: false,
    clock: false,
    shim: false,
};

/// All of them.
pub const ALL: &[Nemesis] = &[
    Nemesis {
        name: "cut-one-way",
        number: "N1",
        does: "a node drops what one other sends; the other way is open",
        needs: PLAIN,
        strike: cut::one_way,
    },
    Nemesis {
        name: "cut-at-switch",
        number: "N2",
        does: "the switch loses what goes from one node to another",
        needs: PLAIN,
        strike: cut::at_switch,
    },
    Nemesis {
        name: "isolate-leader",
        number: "N3",
        does: "the leader's port at the switch goes down",
        needs: PLAIN,
        strike: cut::isolate_leader,
    },
    Nemesis {
        name: "isolate-follower",
        number: "N3",
        does: "a follower's port at the switch goes down",
        needs: PLAIN,
        strike: cut::isolate_follower,
    },
    Nemesis {
        name: "bridge-partition",
        number: "N2",
        does: "one node sees both others, which do not see each other",
        needs: PLAIN,
        strike: cut::bridge,
    },
    Nemesis {
        name: "kill-leader",
        number: "N8",
        does: "SIGKILL to the leader, which comes back later",
        needs: PLAIN,
        strike: kill::leader,
    },
    Nemesis {
        name: "kill-follower",
        number: "N8",
        does: "SIGKILL to a follower, which comes back later",
        needs: PLAIN,
        strike: kill::follower,
    },
    Nemesis {
        name: "kill-two",
        number: "N8",
        does: "SIGKILL to the leader and a follower: no quorum until they are back",
        needs: PLAIN,
        strike: kill::two,
    },
    Nemesis {
        name: "kill-all",
        number: "N8",
        does: "SIGKILL to all nodes at once; they come back in a random order",
        needs: PLAIN,
        strike: kill::all,
    },
];

/// The nemesis of this name.
pub fn named(name: &str) -> Option<&'static Nemesis> {
    ALL.iter().find(|nemesis| nemesis.name == name)
}
