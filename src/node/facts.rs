//! Facts of one caller on their way into the log: in the order in which they were seen, one at a time,
//! and each until its answer is known.
//!
//! What cannot be written is forgotten here and planned again as long as it is still true.

use crate::caller::{Caller, PAUSE};
use crate::have::Place;
use crate::status::masked;
use holdfast_acd::{Command, Done, Reply};
use holdfast_raft::{Applied, ProposeError};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

/// Facts that wait behind the one that is being written.
const FACTS_MAX: usize = 64;
/// Facts whose answer is known and that are not sent again.
const SETTLED_MAX: usize = 64;

/// Asks that the caller is put into the line.
pub(crate) fn is_join(fact: &Command) -> bool {
    matches!(fact, Command::CallerJoin(_))
}

impl Caller {
    /// Puts a fact in line, unless it is there or its answer is known.
    pub(crate) fn note(&mut self, fact: Command) {
        let in_flight = self
            .in_flight
            .as_ref()
            .is_some_and(|(command, _)| *command == fact);
        if in_flight || self.settled.contains(&fact) || self.facts.contains(&fact) {
            return;
        }
        if matches!(fact, Command::OfferAnswer { .. }) {
            self.answered_at = Some(Instant::now());
        }
        if self.facts.len() < FACTS_MAX {
            self.facts.push_back(fact);
        }
    }

    pub(crate) fn start_next_fact(&mut self) {
        if self.in_flight.is_some() {
            return;
        }
        if let Some(fact) = self.facts.pop_front() {
            let (proposer, command) = (self.ctx.proposer.clone(), fact.clone());
            let turn = self.turn.take_if(|_| is_join(&fact));
            // A task of its own: whatever else holds this caller up, those behind are not kept waiting.
            let pending = tokio::spawn(async move {
                // Held until the answer, so that the next caller is written behind this one.
                let mut turn = turn;
                if let Some(turn) = &mut turn {
                    turn.comes().await;
                }
                proposer.propose(command).await
            });
            self.in_flight = Some((fact, AbortOnDropHandle::new(pending)));
        }
    }

    /// A join that has no answer yet is not asked for any longer: it is asked for anew by whoever
    /// drives the Asterisk next, and an old one that came late would put a caller into the line who
    /// has been served since and is gone.
    pub(crate) fn withdraw_join(&mut self) {
        self.in_flight.take_if(|(fact, _)| is_join(fact));
        self.facts.retain(|fact| !is_join(fact));
    }

    pub(crate) fn answered(&mut self, answer: Result<Applied<Reply>, ProposeError>) {
        let Some((fact, _)) = self.in_flight.take() else {
            return;
        };
        let reply = match answer {
            Ok(applied) => {
                self.known = self.known.max(applied.index);
                applied.reply
            }
            Err(error) => {
                // It is planned again as long as it is still true.
                tracing::warn!(call = self.call.map(|c| c.0), %error, "a fact could not be written");
                self.retry_at = Some(Instant::now() + PAUSE.1);
                return;
            }
        };
        if self.settled.len() == SETTLED_MAX {
            self.settled.pop_front();
        }
        if !self.is_to_ask_again(&fact, &reply) {
            self.settled.push_back(fact.clone());
        }
        match (&fact, reply) {
            (Command::CallerJoin(join), Ok(Done::Joined { call, position })) => {
                let (queue, number) = (join.queue.clone(), masked(&join.number));
                if self.call != Some(call) {
                    let (node, channel) = (self.node(), &self.channel.id);
                    tracing::info!(node, call = call.0, %queue, channel, number, position, "caller joined");
                }
                self.call = Some(call);
                self.position = position;
            }
            (Command::CallerJoin(join), Err(reject)) => {
                let (node, channel) = (self.node(), &self.channel.id);
                let status = reject.queue_status();
                tracing::info!(node, queue = %join.queue, channel, status, %reject, "caller refused");
                self.send_away(status);
            }
            (Command::OfferAnswer { attempt, agent, .. }, reply) => {
                let granted = reply.is_ok();
                let (node, call) = (self.node(), self.call.map(|c| c.0));
                tracing::info!(node, call, %agent, attempt = attempt.0, granted, "agent answered");
                let channel = self
                    .have
                    .leg(*attempt, agent)
                    .map(|leg| leg.channel.clone());
                if let Some(leg) = channel.and_then(|channel| self.have.leg_mut(&channel)) {
                    leg.refused = !granted;
                }
            }
            (Command::TalkKept { .. }, Ok(_)) => {
                self.ctx.shared.metrics.update(|it| it.talks_kept += 1);
                self.log("the call was given up and the talk goes on, its agent is held");
            }
            (Command::CallReleased { .. }, _) => {
                self.log("call released");
                if self.have.place == Place::Stasis && !self.have.let_go {
                    // The state gave it up, but the caller is still there: joins anew.
                    self.call = None;
                    self.settled.clear();
                }
            }
            (fact, Err(reject)) => {
                tracing::debug!(call = self.call.map(|c| c.0), ?fact, %reject, "a fact came too late");
            }
            _ => {}
        }
    }
}
