//! The leader's duties: offers, due deadlines, nodes that fell silent. Nobody else decides.
//!
//! It works only between a leadership and its end, wakes on what was applied, on the next deadline
//! and on the next moment at which a silent node would count as away, and never polls. What it
//! decides is refused by the store if this node leads no longer; then the new leader decides anew
//! from the same state.

use crate::handle::Shared;
use crate::machine::AcdMachine;
use holdfast_acd::pbx::Sight;
use holdfast_acd::{Command, NodeName, State, distribute};
use holdfast_raft::{ProposeError, Raft};
use rand::Rng;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

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
        tracing::info!(node, term = lead.term, "this node does not distribute any more");
    }
}

/// Distributes until this node may not. Dropped at any await.
async fn duties(shared: &Shared, term: u64) {
    let mut applied = shared.raft.applied();
    loop {
        applied.borrow_and_update();
        let decisions = decide(shared);
        if !decisions.is_empty() {
            match shared.raft.propose_as_leader(term, decisions.clone(), DEADLINE).await {
                Ok(answers) => {
                    let made = |(command, answer): &(&Command, &holdfast_raft::Applied<_>)| {
                        matches!(command, Command::OfferMake { .. })
                            && Result::<holdfast_acd::Done, _>::is_ok(&answer.reply)
                    };
                    let offers = decisions.iter().zip(&answers).filter(made).count() as u64;
                    let all_refused = answers.iter().all(|answer| answer.reply.is_err());
                    shared.metrics.update(|metrics| metrics.offers_made += offers);
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
        let pause = until_next(shared);
        tokio::select! {
            changed = applied.changed() => if changed.is_err() { return },
            () = sleep(pause) => {}
        }
    }
}

/// What can be decided now.
fn decide(shared: &Shared) -> Vec<Command> {
    let raft = &shared.raft;
    let now = raft.now_ms();
    let mut rng = rand::rng();
    let mut random = |below: u64| if below == 0 { 0 } else { rng.random_range(0..below) };
    let silent = silent_nodes(shared);
    raft.read(|machine| {
        let state = &machine.0;
        let mut decisions = sights(shared, state, &silent);
        if let Some(due) = state.next_deadline().filter(|due| *due <= now) {
            shared.metrics.update(|metrics| {
                metrics.ticks += 1;
                metrics.deadline_lateness_ms = now - due;
            });
            decisions.push(Command::Tick);
        }
        decisions.extend(distribute(state, DECISIONS_MAX, &mut random));
        decisions
    })
}

/// Nodes that did not answer for too long, as this leader sees it.
fn silent_nodes(shared: &Shared) -> BTreeSet<String> {
    let limit = shared.config.timing.node_away_after.as_ms();
    let silent = |ms: Option<u64>| ms.is_none_or(|ms| ms >= limit);
    let peers = shared.raft.peers().into_iter();
    peers.filter(|peer| silent(peer.last_heard_ms)).map(|peer| peer.name).collect()
}

/// Says of each Asterisk's node whether it fell silent or answers again.
fn sights(shared: &Shared, state: &State, silent: &BTreeSet<String>) -> Vec<Command> {
    let mut told: BTreeSet<&NodeName> = BTreeSet::new();
    let mut commands = Vec::new();
    for pbx in state.pbxes() {
        let node = &pbx.node;
        if !told.insert(node) {
            continue;
        }
        let away = silent.contains(node.as_str());
        let known_away = pbx.sight == Sight::NodeAway;
        if away && !known_away && (pbx.sight == Sight::Up || pbx.lost_at.is_none()) {
            commands.push(Command::NodeAway {
                node: node.clone(),
                node_lost_after_ms: shared.config.timing.node_lost_after.as_ms(),
            });
        } else if !away && known_away {
            commands.push(Command::NodeBack { node: node.clone() });
        }
    }
    commands
}

/// How long nothing is due: the next deadline, and the next node to count as silent.
fn until_next(shared: &Shared) -> Duration {
    let raft: &Raft<AcdMachine> = &shared.raft;
    let now = raft.now_ms();
    let deadline = raft.read(|machine| machine.0.next_deadline());
    let to_deadline = deadline.map(|due| due.saturating_sub(now).max(1));
    let limit = shared.config.timing.node_away_after.as_ms();
    let to_silence = raft.peers().into_iter().filter_map(|peer| {
        let heard = peer.last_heard_ms?;
        // A silent node's return is told by its answers, which change what is applied on it only;
        // so look again after the same time.
        Some(if heard < limit { limit - heard + 1 } else { limit.min(500) })
    });
    let ms = to_deadline.into_iter().chain(to_silence).min();
    ms.map_or(IDLE, Duration::from_millis)
}
