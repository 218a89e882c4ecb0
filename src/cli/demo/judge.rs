//! The demo's judge: does anybody lose their place, is an agent taken twice?
//!
//! Phones, talks and leftovers are judged from the simulated Asterisks alone. The order of a line is
//! judged from what a living node claims, against what was claimed before: who was once seen ahead
//! stays ahead, over the leader's death. A second leg at a phone counts once it lasts longer than the
//! hanging up of a loser takes.

use super::crowd::Crowd;
use holdfast_admin::api::CallView;
use holdfast_sim::{DeviceState, Phone, SimAsterisk};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;
use tokio::time::Instant;

/// Two legs at one phone for so long are two offers; for less, one is being hung up.
const OVERLAP_MAX: Duration = Duration::from_millis(750);
/// A caller on hold who is in no line for so long was forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(6);
/// Channels whose rank in line is remembered.
const RANKS_MAX: usize = 200_000;
/// Violations that are told.
const VIOLATIONS_MAX: usize = 50;

/// An agent's phone and where it is registered.
pub struct Desk {
    pub number: String,
    pub asterisk: usize,
    pub phone: Phone,
}

/// Collects what must not be.
#[derive(Default)]
pub struct Judge {
    pub violations: Vec<String>,
    /// Lines that were compared.
    pub lines: u64,
    /// Callers whose place was compared with the one before, over all lines.
    pub places: u64,
    overlaps: HashMap<String, Instant>,
    /// Channel -> order of first being seen, by queue.
    ranks: BTreeMap<String, HashMap<String, u64>>,
    next_rank: u64,
    missing: HashMap<String, Instant>,
}

impl Judge {
    pub fn violation(&mut self, what: String) {
        if self.violations.len() < VIOLATIONS_MAX && !self.violations.contains(&what) {
            self.violations.push(what);
        }
    }

    /// No phone has two calls, ringing or talking.
    pub fn phones(&mut self, asterisks: &[SimAsterisk], desks: &[Desk]) {
        let channels: Vec<_> = asterisks.iter().map(SimAsterisk::channels).collect();
        for desk in desks {
            let own = format!("PJSIP/{}-", desk.number);
            let legs = channels[desk.asterisk]
                .iter()
                .filter(|leg| leg.name.starts_with(&own));
            let twice = legs.count() > 1 || desk.phone.device_state() == DeviceState::Ringinuse;
            if !twice {
                self.overlaps.remove(&desk.number);
                continue;
            }
            let since = *self
                .overlaps
                .entry(desk.number.clone())
                .or_insert_with(Instant::now);
            if since.elapsed() > OVERLAP_MAX {
                self.violation(format!(
                    "agent {} has two calls at the same time",
                    desk.number
                ));
            }
        }
    }

    /// No phone ever talked to two callers at once.
    pub fn desks(&mut self, desks: &[Desk]) {
        for desk in desks.iter().filter(|desk| desk.phone.max_concurrent() > 1) {
            self.violation(format!("agent {} was in two calls at once", desk.number));
        }
    }

    /// Whoever was seen in a line stays before everybody who was seen later.
    pub fn line(&mut self, queue: &str, calls: &[CallView]) {
        self.lines += 1;
        let mut last = 0;
        let mut overtaken = Vec::new();
        let ranks = self.ranks.entry(queue.to_owned()).or_default();
        if ranks.len() > RANKS_MAX {
            ranks.clear();
        }
        for call in calls {
            let key = format!("{}|{}", call.pbx, call.channel);
            let known = ranks.get(&key).copied();
            let rank = known.unwrap_or_else(|| {
                self.next_rank += 1;
                ranks.insert(key, self.next_rank);
                self.next_rank
            });
            if rank < last {
                overtaken.push(call.number.clone());
            }
            self.places += u64::from(known.is_some());
            last = last.max(rank);
        }
        for number in overtaken {
            self.violation(format!("caller {number} lost the place in queue {queue}"));
        }
    }

    /// Whoever hears music at an Asterisk whose node lives is known to the cluster.
    pub fn known(&mut self, crowd: &Crowd, lives: &[bool], calls: &[CallView]) {
        let known: std::collections::HashSet<&str> =
            calls.iter().map(|call| call.channel.as_str()).collect();
        let mut missing = HashMap::new();
        for placed in crowd.under_way() {
            let channel = placed.caller.channel_id();
            if !lives[placed.asterisk] || !placed.waits() || known.contains(channel.as_str()) {
                continue;
            }
            let since = self
                .missing
                .get(&channel)
                .copied()
                .unwrap_or_else(Instant::now);
            if since.elapsed() > FORGOTTEN_AFTER && placed.at.elapsed() > FORGOTTEN_AFTER {
                self.violation(format!("channel {channel} is on hold, but in no line"));
            }
            missing.insert(channel, since);
        }
        self.missing = missing;
    }

    /// When everybody has gone, nothing is left in any Asterisk.
    pub async fn left_over(&mut self, asterisks: &[SimAsterisk]) {
        for asterisk in asterisks {
            let empty = |a: &SimAsterisk| a.channels().is_empty() && a.bridges().is_empty();
            if !asterisk.until(Duration::from_secs(10), empty).await {
                let channels: Vec<String> = asterisk
                    .channels()
                    .into_iter()
                    .map(|channel| channel.name)
                    .collect();
                let bridges = asterisk.bridges().len();
                let what = format!(
                    "left over at {}: channels {channels:?}, {bridges} bridges",
                    asterisk.name()
                );
                self.violation(what);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(channels: &[&str]) -> Vec<CallView> {
        let call = |channel: &&str| CallView {
            id: 0,
            queue: "q".into(),
            pbx: "a".into(),
            channel: (*channel).into(),
            number: (*channel).into(),
            name: String::new(),
            priority: 0,
            position: None,
            joined_position: 1,
            joined: String::new(),
            age_ms: 0,
            phase: "waiting".into(),
            agents: Vec::new(),
            attempts: 0,
            timeout_in_ms: None,
            outcome: None,
        };
        channels.iter().map(call).collect()
    }

    #[test]
    fn who_leaves_or_joins_behind_costs_nobody_the_place() {
        let mut judge = Judge::default();
        for channels in [
            &["1", "2", "3"][..],
            &["2", "3", "4"],
            &["3", "4", "5", "6"],
            &["6"],
        ] {
            judge.line("q", &line(channels));
        }
        assert!(judge.violations.is_empty());
        assert_eq!((judge.lines, judge.places), (4, 5));
    }

    #[test]
    fn a_swap_and_a_newcomer_ahead_are_found() {
        let mut judge = Judge::default();
        judge.line("q", &line(&["1", "2"]));
        judge.line("q", &line(&["2", "1"]));
        assert_eq!(judge.violations, ["caller 1 lost the place in queue q"]);
        let mut judge = Judge::default();
        judge.line("q", &line(&["1", "2"]));
        judge.line("q", &line(&["3", "2"]));
        assert_eq!(judge.violations, ["caller 2 lost the place in queue q"]);
    }
}
