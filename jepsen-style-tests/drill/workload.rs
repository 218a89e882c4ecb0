//! What callers and agents do while things break: the queues there are, who works for which, and how
//! callers come. Named in the research that the drills follow (W1 to W9).
//!
//! Pauses, writes and reads of clients are the same in all of them.

use super::agents::AGENTS;
use crate::lab::Kind;

/// Agents of each of ten queues.
const OF_TEN: usize = 4;
/// Callers of a flood, if nothing else is said.
const FLOOD: u32 = 1_000;

/// A way of calling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Workload {
    /// Two queues that want the same agents, and a line in each.
    #[default]
    Usual,
    /// W5: ten queues with a caller or none, whose agents overlap.
    TenQueues,
    /// W9: as usual, and with each strike so many callers at once, who then drain away.
    Flood(u32),
}

/// One queue.
pub struct Line {
    pub name: String,
    pub strategy: &'static str,
    pub members: Vec<&'static str>,
}

impl Workload {
    /// As it is named on the command line: `usual`, `ten-queues`, `flood`, `flood:300`.
    pub fn named(text: &str) -> Option<Workload> {
        match text {
            "usual" => Some(Workload::Usual),
            "ten-queues" => Some(Workload::TenQueues),
            "flood" => Some(Workload::Flood(FLOOD)),
            _ => text
                .strip_prefix("flood:")?
                .parse()
                .ok()
                .map(Workload::Flood),
        }
    }

    /// What [`Workload::named`] takes.
    pub fn name(self) -> String {
        match self {
            Workload::Usual => "usual".into(),
            Workload::TenQueues => "ten-queues".into(),
            Workload::Flood(count) => format!("flood:{count}"),
        }
    }

    /// The queues.
    pub fn lines(self) -> Vec<Line> {
        let everybody = || AGENTS.iter().map(|(agent, _)| *agent);
        match self {
            Workload::Usual | Workload::Flood(_) => {
                let line = |(name, strategy): (&str, _)| Line {
                    name: name.to_owned(),
                    strategy,
                    members: everybody().collect(),
                };
                let two = [("support", "rrmemory"), ("sales", "leastrecent")];
                two.into_iter().map(line).collect()
            }
            Workload::TenQueues => {
                let strategies = [
                    "rrmemory",
                    "leastrecent",
                    "fewestcalls",
                    "linear",
                    "ringall",
                ];
                let line = |(n, strategy): (usize, _)| Line {
                    name: format!("team{n}"),
                    strategy,
                    members: everybody().cycle().skip(n).take(OF_TEN).collect(),
                };
                let ten = strategies.into_iter().cycle().take(10);
                ten.enumerate().map(line).collect()
            }
        }
    }

    /// So many callers come at once in the beginning, one queue after the other.
    pub fn first(self, kind: Kind) -> u64 {
        match kind {
            Kind::Sim => 10,
            Kind::Real => 5,
        }
    }

    /// So many come at once with a strike.
    pub fn flood(self) -> u32 {
        match self {
            Workload::Flood(count) => count,
            Workload::Usual | Workload::TenQueues => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_has_the_name_it_is_called_by() {
        for workload in [Workload::Usual, Workload::TenQueues, Workload::Flood(300)] {
            assert_eq!(Workload::named(&workload.name()), Some(workload));
        }
        assert_eq!(Workload::named("flood"), Some(Workload::Flood(FLOOD)));
        assert_eq!(Workload::named("flood:"), None);
        assert_eq!(Workload::named("drought"), None);
    }

    #[test]
    fn each_agent_is_wanted_by_several_of_ten_queues_and_no_queue_has_all() {
        let lines = Workload::TenQueues.lines();
        assert_eq!(lines.len(), 10);
        for (agent, _) in AGENTS {
            let wanted = lines.iter().filter(|line| line.members.contains(&agent));
            assert!((5..10).contains(&wanted.count()), "{agent}");
        }
        assert!(lines.iter().all(|line| line.members.len() == OF_TEN));
    }
}
