//! What is measured: who distributes the calls, how fast they come, which events the node is told, and
//! the same settings in the words of both systems.
//!
//! Each system has phones of its own, so that neither hears of what the other one's agents do.

use holdfast_drills::lab::CROWD_PHONES;
use serde_json::{Value, json};

/// How long each agent talks.
pub const TALK_MS: u64 = 1_000;
/// Agents of each system: more than talk at once at the highest rate, so that nobody waits for long.
pub const AGENTS: usize = 30;
/// The queue, in both.
pub const QUEUE: &str = "cost";

/// Who distributes the calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum System {
    AppQueue,
    Holdfast,
}

impl System {
    /// In the order in which they take turns.
    pub const ALL: [System; 2] = [System::AppQueue, System::Holdfast];

    pub fn name(self) -> &'static str {
        match self {
            System::AppQueue => "app_queue",
            System::Holdfast => "Holdfast",
        }
    }

    /// Phones of its agents.
    pub fn phones(self) -> Vec<String> {
        let skipped = match self {
            System::AppQueue => 0,
            System::Holdfast => AGENTS,
        };
        let own = CROWD_PHONES.skip(skipped).take(AGENTS);
        own.map(|number| number.to_string()).collect()
    }

    /// What callers dial. The dialplan before Holdfast's queue is the one that is shipped.
    pub fn exten(self) -> String {
        match self {
            System::AppQueue => format!("aq-{QUEUE}"),
            System::Holdfast => format!("m-{QUEUE}"),
        }
    }
}

/// Which events Asterisk sends to the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// No filter.
    All,
    /// All but the five types that are most of the traffic.
    NotTheFive,
    /// Those that are used: what the node asks for by itself.
    Used,
}

impl Told {
    pub const ALL: [Told; 3] = [Told::All, Told::NotTheFive, Told::Used];

    pub fn name(self) -> &'static str {
        match self {
            Told::All => "all events",
            Told::NotTheFive => "all but five types",
            Told::Used => "those that are used",
        }
    }

    /// The body of `PUT /applications/{app}/eventFilter`.
    pub fn filter(self) -> Value {
        let list =
            |names: &[&str]| -> Value { names.iter().map(|n| json!({ "type": n })).collect() };
        let five = [
            "ChannelVarset",
            "ChannelDialplan",
            "ChannelCallerId",
            "ChannelConnectedLine",
            "BridgeVideoSourceChanged",
        ];
        match self {
            Told::All => json!({ "allowed": [], "disallowed": [] }),
            Told::NotTheFive => json!({ "allowed": [], "disallowed": list(&five) }),
            Told::Used => json!({ "allowed": list(&holdfast_ari::USED_EVENTS), "disallowed": [] }),
        }
    }
}

/// How fast callers come, and how many in one turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    pub per_second: u64,
    pub callers: usize,
}

impl Pace {
    pub fn every_ms(self) -> u64 {
        1_000 / self.per_second
    }
}

/// What is done.
#[derive(Debug)]
pub struct Plan {
    /// Both systems at each of these, in turn.
    pub paces: Vec<Pace>,
    /// Holdfast with each filter at this, which is none of those.
    pub filters: Pace,
    pub rounds: usize,
    /// Seconds in which the idle processes are looked at, at the beginning and at the end.
    pub idle_s: f64,
    /// Requests of a kind in a turn, one after the other and several at once.
    pub requests: usize,
}

impl Plan {
    pub fn whole() -> Plan {
        let pace = |per_second, callers| Pace {
            per_second,
            callers,
        };
        Plan {
            paces: vec![pace(5, 75), pace(20, 300)],
            filters: pace(20, 200),
            rounds: 2,
            idle_s: 5.0,
            requests: 2_000,
        }
    }

    pub fn quick() -> Plan {
        let pace = |callers| Pace {
            per_second: 5,
            callers,
        };
        Plan {
            paces: vec![pace(5)],
            filters: pace(6),
            rounds: 1,
            idle_s: 0.5,
            requests: 50,
        }
    }
}

/// queues.conf: app_queue's defaults, but for `ringinuse = no`; by default it would call who talks.
pub fn queues_conf() -> String {
    let mut text = format!(
        "[general]\npersistentmembers = no\nautofill = yes\n\n[{QUEUE}]\nstrategy = rrmemory\n\
         ringinuse = no\ntimeout = 15\nmusicclass = default\n"
    );
    for phone in System::AppQueue.phones() {
        text += &format!("member => PJSIP/{phone}\n");
    }
    text
}

/// The same for `holdfast apply`.
pub fn holdfast_toml() -> String {
    let phones = System::Holdfast.phones();
    let mut text = String::new();
    for phone in &phones {
        text += &format!("[agent.{phone}]\nname = \"Agent {phone}\"\nhome = [\"a\"]\n");
    }
    text + &format!(
        "[queue.{QUEUE}]\nmembers = {phones:?}\nstrategy = \"rrmemory\"\nring_time = \"15s\"\n\
         wrap_up = \"0s\"\nannounce = {{ position = false }}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_systems_have_as_many_agents_and_none_in_common() {
        let (theirs, ours) = (System::AppQueue.phones(), System::Holdfast.phones());
        assert_eq!((theirs.len(), ours.len()), (AGENTS, AGENTS));
        assert!(theirs.iter().all(|phone| !ours.contains(phone)));
        assert_eq!(queues_conf().matches("member => ").count(), AGENTS);
        assert_eq!(holdfast_toml().matches("home = [\"a\"]").count(), AGENTS);
    }

    #[test]
    fn agents_are_enough_for_every_pace() {
        let (whole, quick) = (Plan::whole(), Plan::quick());
        for plan in [&whole, &quick] {
            // By its pace a turn is known to be of the one part or of the other.
            assert!(!plan.paces.contains(&plan.filters));
        }
        for pace in whole
            .paces
            .iter()
            .chain(&quick.paces)
            .chain([&whole.filters])
        {
            let talking = pace.per_second * TALK_MS / 1_000;
            assert!(talking + 5 <= AGENTS as u64, "{pace:?}");
        }
    }
}
