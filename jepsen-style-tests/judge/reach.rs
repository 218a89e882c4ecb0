//! For how long an Asterisk may have been out of every node's reach: what nobody could end there.

use super::story::{Fault, Story, covered_ms};

impl Story {
    /// How long, between these moments, this Asterisk (`None`: any) may have been out of every
    /// node's reach.
    pub fn cut_ms(&self, pbx: Option<&str>, from_ms: u64, to_ms: u64) -> u64 {
        let Some(pbx) = pbx else {
            return self.fault_ms(from_ms, to_ms, |fault| !fault.cut.is_empty());
        };
        covered_ms(from_ms, to_ms, self.out_of_reach(pbx))
    }

    /// What cuts this Asterisk off, and the isolations that begin before it is reached again and
    /// outlast that: its node has begun anew meanwhile, and may not take it up before a majority has
    /// said whose it is.
    fn out_of_reach(&self, pbx: &str) -> Vec<&Fault> {
        let faults = || self.faults.iter();
        let mut out: Vec<&Fault> = faults().filter(|fault| cuts(fault, pbx)).collect();
        let mut isolations: Vec<&Fault> = faults().filter(|it| isolates(it, pbx)).collect();
        isolations.sort_by_key(|fault| fault.until());
        for fault in isolations {
            let mut ends = out.iter().map(|before| before.until());
            let within = fault.from.early()..=fault.until();
            if ends.any(|end| within.contains(&end)) {
                out.push(fault);
            }
        }
        out
    }
}

fn cuts(fault: &Fault, pbx: &str) -> bool {
    fault.cut.iter().any(|cut| cut == pbx)
}

/// The node of this Asterisk hears no majority, or may not; its process goes on.
fn isolates(fault: &Fault, pbx: &str) -> bool {
    let name = fault.name.to_ascii_lowercase();
    let network = ["isolate", "cut", "partition", "network"];
    fault.cut.is_empty()
        && fault.no_quorum
        && fault.targets.iter().any(|target| target == pbx)
        && network.iter().any(|word| name.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::story::When;

    fn when(at_ms: u64) -> When {
        When {
            at_ms,
            within_ms: 0,
        }
    }

    fn fault(name: &str, cut: &[&str], from: u64, to: u64) -> Fault {
        Fault {
            name: name.into(),
            targets: vec!["a".into()],
            no_quorum: true,
            cut: cut.iter().map(ToString::to_string).collect(),
            from: when(from),
            to: Some(when(to)),
        }
    }

    #[test]
    fn a_node_that_begins_while_it_is_isolated_reaches_its_asterisk_after_that() {
        let mut story = Story {
            faults: vec![
                fault("PowerCut", &["a"], 1_000, 3_000),
                fault("IsolateNode", &[], 2_500, 6_000),
                fault("CutOneWay", &[], 5_900, 8_000),
                fault("WallJump", &[], 7_000, 9_000),
            ],
            ..Story::default()
        };
        assert_eq!(story.cut_ms(Some("a"), 0, 10_000), 7_000);
        assert_eq!(story.cut_ms(Some("b"), 0, 10_000), 0);
        // It was up before, and goes on seeing its Asterisk.
        story.faults[0].to = Some(when(2_000));
        assert_eq!(story.cut_ms(Some("a"), 0, 10_000), 1_000);
    }
}
