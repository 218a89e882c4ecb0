//! The leader's duties: offers, due deadlines, nodes that fell silent. Nobody else decides.
//!
//! It works only between a leadership and its end, wakes on what was applied, on the next deadline
//! and on the next moment at which a silent node would count as away, and never polls. What it
//! decides is refused by the store if this node leads no longer; then the new leader decides anew
//! from the same state.

use crate::handle::Shared;
use holdfast_acd::pbx::{Pbx, Sight};
use holdfast_acd::{Command, NodeName, State, distribute};
use holdfast_raft::ProposeError;
use rand::Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Decisions in one entry.
const DECISIONS_MAX: usize = 256;
/// For one entry of decisions.
const DEADLINE: Duration = Duration::from_secs(5);
/// After an answer was lost, before looking again.
const PAUSE: Duration = Duration::from_millis(50);
/// When there is nothing to wait for but changes.
const IDLE: Duration = Duration::from_secs(3600);

/// Runs as long as the node does.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut leadership = shared.raft.leadership();
    loop {
        let Some(lead) = *leadership.borrow_and_update() else {
            if leadership.changed().await.is_err() {
                return;
            }
            continue;
        };
        #[cfg(feature = "planted")]
        if crate::planted::is("leader-sleeps") && lead.term > 1 {
            std::future::pending::<()>().await;
        }
        let node = &shared.config.node.name;
        tracing::info!(node, term = lead.term, "this node leads and distributes");
        tokio::select! {
            changed = leadership.wait_for(|now| *now != Some(lead)) => {
                if changed.is_err() {
                    return;
                }
            }
            () = duties(&shared, lead.term) => {}
        }
        tracing::info!(
            node,
            term = lead.term,
            "this node does not distribute any more"
        );
    }
}

/// Distributes until this node may not. Dropped at any await.
async fn duties(shared: &Shared, term: u64) {
    let mut applied = shared.raft.applied();
    let mut told = Told {
        since: Instant::now(),
        nodes: BTreeMap::new(),
    };
    loop {
        applied.borrow_and_update();
        let decisions = decide(shared, &mut told);
        if !decisions.is_empty() {
            match shared
                .raft
                .propose_as_leader(term, decisions.clone(), DEADLINE)
                .await
            {
                Ok(answers) => {
                    told.are_written(&decisions);
                    let made = |(command, answer): &(&Command, &holdfast_raft::Applied<_>)| {
                        matches!(command, Command::OfferMake { .. })
                            && Result::<holdfast_acd::Done, _>::is_ok(&answer.reply)
                    };
                    let offers = decisions.iter().zip(&answers).filter(made).count() as u64;
                    let all_refused = answers.iter().all(|answer| answer.reply.is_err());
                    shared
                        .metrics
                        .update(|metrics| metrics.offers_made += offers);
                    if !all_refused {
                        continue;
                    }
                    // Would be decided the same way again: wait for a change.
                    tracing::warn!(term, decision = ?decisions[0], "all decisions were refused");
                }
                Err(ProposeError::Unknown | ProposeError::Overloaded) => sleep(PAUSE).await,
                Err(error) => {
                    tracing::debug!(term, %error, "decisions were not taken");
                    sleep(PAUSE).await;
                }
            }
            if applied.has_changed().unwrap_or(false) {
                continue;
            }
        }
        let pause = until_next(shared, &told);
        tokio::select! {
            changed = applied.changed() => if changed.is_err() { return },
            () = sleep(pause) => {}
        }
    }
}

/// What this leader has said of the other nodes, so that it does not say it again at each turn.
struct Told {
    /// Since when it leads: a node that was not heard of yet has so much time.
    since: Instant,
    nodes: BTreeMap<NodeName, Word>,
}

struct Word {
    away: bool,
    at: Instant,
    /// It is in the log for sure.
    written: bool,
}

impl Told {
    fn are_written(&mut self, decisions: &[Command]) {
        for decision in decisions {
            if let Command::NodeAway { node, .. } | Command::NodeBack { node } = decision
                && let Some(word) = self.nodes.get_mut(node)
            {
                word.written = true;
            }
        }
    }
}

/// How long the same word on a node is not repeated.
const REPEAT: Duration = Duration::from_secs(1);

/// What can be decided now.
fn decide(shared: &Shared, told: &mut Told) -> Vec<Command> {
    let raft = &shared.raft;
    let now = raft.now_ms();
    #[cfg(feature = "planted")]
    let now = match crate::planted::is("deadline-early") {
        true => now + crate::planted::EARLY_MS,
        false => now,
    };
    let mut rng = rand::rng();
    let mut random = |below: u64| {
        if below == 0 {
            0
        } else {
            rng.random_range(0..below)
        }
    };
    let answering = answering_nodes(shared, told);
    raft.read(|machine| {
        let state = &machine.0;
        let mut decisions = sights(shared, state, &answering, told);
        if let Some(due) = state.next_deadline().filter(|due| *due <= now) {
            shared.metrics.update(|metrics| {
                metrics.ticks += 1;
                metrics.deadline_lateness_ms = now.saturating_sub(due);
            });
            decisions.push(Command::Tick);
        }
        decisions.extend(distribute(state, DECISIONS_MAX, &mut random));
        decisions
    })
}

/// Nodes that answered lately, as this leader sees it. One that was removed from the cluster does not.
fn answering_nodes(shared: &Shared, told: &Told) -> BTreeSet<String> {
    let limit = shared.config.timing.node_away_after.as_ms();
    let heard = |heard: Option<u64>| unheard_ms(heard, told) < limit;
    let peers = shared.raft.peers().into_iter();
    peers
        .filter(|peer| heard(peer.last_heard_ms))
        .map(|peer| peer.name)
        .chain([shared.config.node.name.clone()])
        .collect()
}

fn unheard_ms(heard: Option<u64>, told: &Told) -> u64 {
    heard.unwrap_or_else(|| u64::try_from(told.since.elapsed().as_millis()).unwrap_or(u64::MAX))
}

/// Says of each Asterisk's node whether it fell silent or answers again.
fn sights(
    shared: &Shared,
    state: &State,
    answering: &BTreeSet<String>,
    told: &mut Told,
) -> Vec<Command> {
    let mut commands = Vec::new();
    for pbx in state.pbxes() {
        let node = &pbx.node;
        let away = !answering.contains(node.as_str());
        let said = told.nodes.get(node).filter(|word| word.away == away);
        if !is_to_be_said(pbx, away, said) {
            continue;
        }
        let word = Word {
            away,
            at: Instant::now(),
            written: false,
        };
        told.nodes.insert(node.clone(), word);
        let this = &shared.config.node.name;
        if away {
            tracing::warn!(node = this, other = %node, "node does not answer, its callers are not offered");
        } else {
            tracing::info!(node = this, other = %node, "node answers again");
        }
        commands.push(if away {
            Command::NodeAway {
                node: node.clone(),
                node_lost_after_ms: shared.config.timing.node_lost_after.as_ms(),
            }
        } else {
            Command::NodeBack { node: node.clone() }
        });
    }
    commands
}

fn is_to_be_said(pbx: &Pbx, away: bool, said: Option<&Word>) -> bool {
    let needed = if away {
        // Of an Asterisk that was down before, it is written once: when it is given up.
        let unwritten = said.is_none_or(|word| !word.written);
        pbx.sight == Sight::Up || (pbx.lost_at.is_none() && unwritten)
    } else {
        // Who has taken one over is believed when it has compared, not when it answers.
        pbx.sight == Sight::NodeAway || (pbx.lost_at.is_some() && pbx.sight != Sight::Taken)
    };
    needed && said.is_none_or(|word| word.at.elapsed() >= REPEAT)
}

/// How long nothing is due: the next deadline, and the next node to count as silent.
fn until_next(shared: &Shared, told: &Told) -> Duration {
    let raft = &shared.raft;
    let now = raft.now_ms();
    let deadline = raft.read(|machine| machine.0.next_deadline());
    let to_deadline = deadline.map(|due| due.saturating_sub(now).max(1));
    let limit = shared.config.timing.node_away_after.as_ms();
    let to_silence = raft.peers().into_iter().map(|peer| {
        let unheard = unheard_ms(peer.last_heard_ms, told);
        // A silent node's return shows in its answers alone: look again after a while.
        if unheard < limit {
            limit - unheard + 1
        } else {
            limit.min(500)
        }
    });
    let ms = to_deadline.into_iter().chain(to_silence).min();
    ms.map_or(IDLE, Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_acd::PbxId;

    #[test]
    fn the_silence_of_a_node_is_said_until_it_is_written_and_once_of_an_asterisk_that_was_down() {
        let node = NodeName::new("b").unwrap();
        let down = Pbx {
            id: PbxId::new("b").unwrap(),
            node: node.clone(),
            epoch: 1,
            sight: Sight::Down,
            lost_at: None,
            home: node.clone(),
            takeover: false,
            away_at: None,
            since_wall_ms: 0,
        };
        let word = Word {
            away: true,
            at: Instant::now(),
            written: false,
        };
        let mut told = Told {
            since: word.at,
            nodes: BTreeMap::from([(node.clone(), word)]),
        };
        assert!(is_to_be_said(&down, true, None));
        assert!(
            !is_to_be_said(&down, true, told.nodes.get(&node)),
            "a moment ago"
        );
        told.nodes.get_mut(&node).unwrap().at -= REPEAT;
        assert!(
            is_to_be_said(&down, true, told.nodes.get(&node)),
            "the answer was lost"
        );

        let node_lost_after_ms = 60_000;
        let away = Command::NodeAway {
            node: node.clone(),
            node_lost_after_ms,
        };
        told.are_written(&[away]);
        assert!(
            !is_to_be_said(&down, true, told.nodes.get(&node)),
            "it was given up"
        );
    }
}
