//! What must hold of every history: one property a file.
//!
//! | property | promise | file | not checked, and why |
//! | --- | --- | --- | --- |
//! | `EndsOnce` | 1 | [`ends_once`] | that a refused caller was rightly refused: the core's own tests know the rules at the door; and whether an answer by way of the dialplan is known to the log |
//! | `OneHand` | 2 | [`one_hand`] | legs of foreign systems (ringinuse): they are nobody's offer |
//! | `BridgedOnce` | 3 | [`bridged_once`] | that the two hear each other: media is judged by the stories, with sipp |
//! | `Order` | 4 | [`order`] | whether an agent fits a step of the plan: only its parity tests know penalties; with `one_step` nothing is left open |
//! | `Deadlines` | 5 | [`deadlines`] | whether a changed position is told soon enough (`min-announce-frequency`), and retry delays and kept places: no event tells of them |
//! | `Writes` | 6 | [`writes`] | reads that asked for what the node knows: they may be old, but never invented; comparisons that failed: they changed nothing |
//! | `Pauses` | 7 | [`pauses`] | pauses in one queue, from outside: a leg's id does not tell its queue. The log's part is checked |
//! | `Replicas` | 8 | [`replicas`] | states between two digests |
//! | `Heals` | 9 | [`heals`] | how soon each single caller is served: that depends on the agents |
//! | `Positions` | 10 | [`positions`] | hold times: they are an estimate |
//! | `OneDriver` | 15 | [`one_driver`] | what else a deposed driver asks of Asterisk: only ids of legs carry an epoch |
//!
//! A property whose observations are missing says so (`Findings::not_judged`). Who judges states
//! which properties must be judged; a demand that is not met is a violation itself.

pub mod bridged_once;
pub mod deadlines;
pub mod ends_once;
mod given_up;
pub mod heals;
pub mod one_driver;
pub mod one_hand;
pub mod order;
pub mod pauses;
pub mod positions;
pub mod replicas;
pub mod violation;
pub mod writes;

use super::story::{Story, When};
use super::verdict::Limits;
use std::collections::BTreeMap;
use std::fmt;
pub use violation::Violation;

/// A promise of docs/SPECIFICATION.md that is judged from histories, under its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Property {
    EndsOnce = 1,
    OneHand,
    BridgedOnce,
    Order,
    Deadlines,
    Writes,
    Pauses,
    Replicas,
    Heals,
    Positions,
    OneDriver = 15,
}

type Check = fn(&Story, &Limits, &mut Findings);

const CHECKS: [(Property, Check); 11] = [
    (Property::EndsOnce, ends_once::check),
    (Property::OneHand, one_hand::check),
    (Property::BridgedOnce, bridged_once::check),
    (Property::Order, order::check),
    (Property::Deadlines, deadlines::check),
    (Property::Writes, writes::check),
    (Property::Pauses, pauses::check),
    (Property::Replicas, replicas::check),
    (Property::Heals, heals::check),
    (Property::Positions, positions::check),
    (Property::OneDriver, one_driver::check),
];

/// A violation, when it was seen, and whom the events around it are about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    pub violation: Violation,
    pub when: When,
    pub about: Vec<String>,
}

/// What the properties find.
#[derive(Debug, Default)]
pub struct Findings {
    pub broken: Vec<Broken>,
    /// How many things of each property were judged.
    pub judged: BTreeMap<Property, u64>,
    pub not_judged: BTreeMap<Property, String>,
    now: Option<Property>,
}

impl Findings {
    pub(super) fn all(story: &Story, limits: &Limits) -> Findings {
        let mut found = Findings::default();
        for (property, check) in CHECKS {
            found.now = Some(property);
            check(story, limits, &mut found);
            let judged = found.judged.get(&property).copied().unwrap_or(0);
            if judged == 0 && !found.not_judged.contains_key(&property) {
                found.not_judged("nothing in the history is about it");
            }
        }
        found
    }

    fn judged(&mut self, more: u64) {
        if let Some(property) = self.now.filter(|_| more > 0) {
            *self.judged.entry(property).or_default() += more;
        }
    }

    fn not_judged(&mut self, why: &str) {
        if let Some(property) = self.now {
            self.not_judged.insert(property, why.to_owned());
        }
    }

    fn broken(&mut self, when: When, violation: Violation, about: &[&dyn fmt::Display]) {
        self.broken.push(Broken {
            violation,
            when,
            about: about.iter().map(ToString::to_string).collect(),
        });
    }
}

impl fmt::Display for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({self:?})", *self as u8)
    }
}
