//! What a turn cost in commands: those that Redis served for the original, and those that Holdfast's nodes
//! wrote into their log, with the entries they stand in. app_queue has none.
//!
//! Both are read from the system itself, before a turn and after it, and only subtracted here.

use std::collections::BTreeMap;

use holdfast_drills::lab::cluster::Cluster;

/// Commands by kind, and log entries where there is a log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Costs {
    pub commands: BTreeMap<String, u64>,
    pub entries: Option<u64>,
}

impl Costs {
    /// What all of Holdfast's nodes have written so far, by their metrics.
    pub async fn of_nodes(cluster: &Cluster) -> Result<Costs, String> {
        let mut costs = Costs::default();
        for site in &cluster.sites {
            let answer = site.api.send("GET", "/metrics", None).await?;
            let seen = Costs::of_metrics(&answer.text)?;
            for (kind, count) in seen.commands {
                *costs.commands.entry(kind).or_default() += count;
            }
            // Each node has the same log; one may be a little behind.
            costs.entries = costs.entries.max(seen.entries);
        }
        Ok(costs)
    }

    fn of_metrics(text: &str) -> Result<Costs, String> {
        let sum = |name: &str| {
            let own = text.lines().filter_map(|line| {
                let rest = line.strip_prefix(name)?;
                let is_it = rest.starts_with('{') || rest.starts_with(' ');
                is_it.then(|| rest.rsplit_once(' ')?.1.parse::<f64>().ok())?
            });
            own.reduce(|sum, value| sum + value).map(|sum| sum as u64)
        };
        let there = |name: &str| sum(name).ok_or(format!("/metrics has no {name}"));
        let commands = [
            // No node that has proposed nothing has a line of this.
            ("facts", sum("holdfast_proposals_total").unwrap_or(0)),
            ("offers", there("holdfast_node_offers_made_total")?),
            ("ticks", there("holdfast_node_ticks_total")?),
        ];
        Ok(Costs {
            commands: commands.map(|(kind, n)| (kind.to_owned(), n)).into(),
            entries: Some(there("holdfast_raft_applied_index")?),
        })
    }

    /// What was added since.
    pub fn since(&self, before: &Costs) -> Costs {
        let grown = |(kind, count): (&String, &u64)| {
            let grown = count - before.commands.get(kind).unwrap_or(&0);
            (grown > 0).then(|| (kind.clone(), grown))
        };
        let (now, then) = (self.entries, before.entries);
        Costs {
            commands: self.commands.iter().filter_map(grown).collect(),
            entries: now.zip(then).map(|(now, then)| now - then),
        }
    }

    /// Adds those of another turn.
    pub fn add(&mut self, other: &Costs) {
        for (kind, count) in &other.commands {
            *self.commands.entry(kind.clone()).or_default() += count;
        }
        if let Some(entries) = other.entries {
            *self.entries.get_or_insert(0) += entries;
        }
    }

    pub fn total(&self) -> u64 {
        self.commands.values().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_all_labels_are_summed_and_others_are_not_taken_for_them() {
        let text = "holdfast_raft_applied_index 40\nholdfast_node_ticks_total 2\n\
                    holdfast_proposals_total{result=\"done\"} 7\n\
                    holdfast_proposals_total{result=\"unknown\"} 1\n\
                    holdfast_proposals_total_more 100\nholdfast_node_offers_made_total 3\n";
        let before = Costs::of_metrics(text).unwrap();
        assert_eq!((before.total(), before.entries), (13, Some(40)));
        let later = text.replace("} 7", "} 9").replace("index 40", "index 45");
        let grown = Costs::of_metrics(&later).unwrap().since(&before);
        assert_eq!(grown.commands, BTreeMap::from([("facts".to_owned(), 2)]));
        assert_eq!(grown.entries, Some(5));
        assert!(Costs::of_metrics("").is_err());
    }
}
