//! From what the replica wants and what Asterisk has to the next steps for one call. Pure.
//!
//! Level-triggered: it never asks what happened, only what is. Given the same two views it gives
//! the same steps, and none once both agree. The order of the steps is the order of execution; it
//! holds the traps of ARI: stop a playback before any command that it would block, stop the music
//! before a bridge, hang up losers before joining the winner.

use crate::have::{Closing, Have, Leg, LegState, Place, PlaybackOf};
use crate::kept;
use crate::want::{Leave, Then, Want, WantLeg};
use holdfast_acd::call::Prompt;
use holdfast_acd::command::{EndedBy, FailCause, LeaveReason};
use holdfast_acd::settings::Exit;
use holdfast_acd::{AgentId, Attempt, CallId, Command};
use holdfast_ari::{CallerId, HangupReason};

/// One thing to do. Requests to Asterisk are made in order, each with a deadline.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// Proposes that the caller joins, with what is read from its channel.
    Join,
    /// Writes a fact.
    Propose(Command),
    /// Proposes that this agent is held for the talk that goes on.
    KeepTalk(AgentId),
    /// Writes that it is over.
    TalkOver,
    StartMusic(String),
    StopMusic,
    /// Plays an announcement as one playback, and queues music behind it.
    Announce {
        number: u32,
        prompts: Vec<Prompt>,
        music: String,
    },
    /// Plays the prompts before the caller is let go.
    Close(Vec<String>),
    StopPlayback,
    /// All at once.
    Originate {
        attempt: Attempt,
        ring_s: u32,
        legs: Vec<WantLeg>,
        shown: CallerId,
    },
    /// Looks whether a leg exists whose request had no answer.
    LookAtLeg(String),
    HangUpLeg {
        channel: String,
        reason: HangupReason,
    },
    MakeBridge(Attempt),
    /// Caller and leg in one request.
    Bridge {
        attempt: Attempt,
        channel: String,
    },
    DropBridge,
    /// Sets the dial string and continues in the dialplan.
    Dial {
        attempt: Attempt,
        ring_s: u32,
        legs: Vec<WantLeg>,
    },
    /// Sets the result variables.
    SetResults(Leave),
    Continue(Exit),
    HangUpCaller,
}

/// The next steps; empty when nothing is to be done until something changes.
pub(crate) fn plan(call: Option<CallId>, want: &Want, have: &Have) -> Vec<Step> {
    let mut steps = Vec::new();
    if have.transferred() {
        return after_transfer(call, want, have);
    }
    if let Want::TalkOn { leave, hold } = want {
        return kept::talk_on(leave, *hold, have);
    }
    hang_up_what_is_not_wanted(want, have, &mut steps);
    if have.place == Place::Gone {
        if have.bridge.is_some() {
            steps.push(Step::DropBridge);
        }
        steps.extend(
            call.and_then(|call| fact_of_the_end(call, want, have))
                .map(Step::Propose),
        );
        return steps;
    }
    if let Some(leave) = &have.sent_away {
        // Refused, or no quorum: decided here, whatever the state says later. A bridge that was made
        // while an agent rang for the caller is nobody else's to drop.
        drop_bridge(have, &mut steps);
        if let (Some(call), true) = (call, have.no_quorum && in_line(want)) {
            let reason = LeaveReason::NoQuorum;
            steps.push(Step::Propose(Command::CallerLeave { call, reason }));
        }
        if let (Some(call), true) = (call, have.left() && matches!(want, Want::Leave(_))) {
            steps.push(Step::Propose(Command::CallReleased { call }));
        }
        if let (Some(call), Want::Talk { attempt, .. }, true) = (call, want, have.left()) {
            // An answer was granted late, when the caller had gone: nobody else frees the agent.
            let (attempt, by) = (*attempt, EndedBy::Failure);
            steps.push(Step::Propose(Command::CallEnd { call, attempt, by }));
        }
        let_go(leave, have, &mut steps);
        return steps;
    }
    let Some(call) = call else {
        if have.place == Place::Stasis {
            keep_music("", have, &mut steps);
            steps.push(Step::Join);
        }
        return steps;
    };
    match want {
        Want::Nothing => {
            if have.place == Place::Stasis && !have.let_go {
                steps.push(Step::Join);
            }
        }
        Want::Wait {
            music,
            announcement,
            exit_keys,
        } => {
            drop_bridge(have, &mut steps);
            key(call, exit_keys, have, &mut steps);
            if have.place != Place::Stasis {
                return steps;
            }
            match announcement {
                Some(a) if a.number > have.announced && have.playback.is_none() => {
                    steps.push(Step::Announce {
                        number: a.number,
                        prompts: a.prompts.clone(),
                        music: music.clone(),
                    });
                }
                _ => keep_music(music, have, &mut steps),
            }
        }
        Want::Ring {
            music,
            exit_keys,
            attempt,
            ring_s,
            legs,
            shown,
        } => {
            #[cfg(feature = "planted")]
            if crate::planted::is("bridge-before-grant")
                && let Some(up) = have
                    .legs
                    .iter()
                    .find(|leg| leg.attempt == *attempt && leg.state == LegState::Up)
            {
                talk(call, *attempt, &up.agent, have, &mut steps);
                return steps;
            }
            key(call, exit_keys, have, &mut steps);
            if have
                .bridge
                .as_ref()
                .is_some_and(|bridge| bridge.attempt != *attempt)
            {
                steps.push(Step::DropBridge);
            }
            ring(call, *attempt, *ring_s, legs, shown, have, &mut steps);
            if have.place == Place::Stasis {
                keep_music(music, have, &mut steps);
            }
        }
        Want::Dial {
            attempt,
            ring_s,
            legs,
        } => {
            dial(call, *attempt, *ring_s, legs, have, &mut steps);
        }
        Want::Away => {
            if have.place == Place::Stasis {
                keep_music("", have, &mut steps);
                steps.push(Step::Join);
            }
        }
        Want::Talk { attempt, agent } => talk(call, *attempt, agent, have, &mut steps),
        // Planned above.
        Want::TalkOn { .. } => {}
        Want::TalkInDialplan { attempt, .. } => {
            if have.place == Place::Stasis {
                steps.push(Step::Propose(Command::CallEnd {
                    call,
                    attempt: *attempt,
                    by: EndedBy::Agent,
                }));
            }
        }
        Want::Leave(leave) => {
            if have.place != Place::Stasis || leave.then == Then::LetBe {
                steps.push(Step::Propose(Command::CallReleased { call }));
            } else {
                let_go(leave, have, &mut steps);
            }
            // After the caller: should this process die and the call be given up, then nothing else
            // tells the next one that he has talked.
            drop_bridge(have, &mut steps);
        }
    }
    steps
}

fn in_line(want: &Want) -> bool {
    matches!(
        want,
        Want::Wait { .. } | Want::Ring { .. } | Want::Dial { .. } | Want::Away
    )
}

/// Legs of no current offer, of losers, and those that were not granted.
fn hang_up_what_is_not_wanted(want: &Want, have: &Have, steps: &mut Vec<Step>) {
    for leg in have.legs.iter().filter(|leg| leg.lives() && !leg.hung_up) {
        let reason = match want {
            _ if have.place == Place::Gone || have.sent_away.is_some() => HangupReason::Normal,
            Want::Ring { attempt, legs, .. } => {
                let wanted = legs.iter().any(|want| want.agent == leg.agent);
                if leg.attempt == *attempt && wanted && !leg.refused {
                    continue;
                }
                HangupReason::Normal
            }
            Want::Talk { attempt, agent } => {
                if leg.attempt == *attempt && leg.agent == *agent {
                    continue;
                }
                HangupReason::AnsweredElsewhere
            }
            _ => HangupReason::Normal,
        };
        steps.push(Step::HangUpLeg {
            channel: leg.channel.clone(),
            reason,
        });
    }
}

/// What the end of the caller's channel means to the state.
fn fact_of_the_end(call: CallId, want: &Want, have: &Have) -> Option<Command> {
    match want {
        Want::Nothing => None,
        _ if have.no_quorum && in_line(want) => Some(Command::CallerLeave {
            call,
            reason: LeaveReason::NoQuorum,
        }),
        want if in_line(want) => Some(Command::CallerLeave {
            call,
            reason: LeaveReason::HungUp,
        }),
        Want::Talk { attempt, agent } => {
            let leg_first = have.leg(*attempt, agent).is_some_and(|leg| leg.ended_first);
            let by = if leg_first {
                EndedBy::Agent
            } else {
                EndedBy::Caller
            };
            Some(Command::CallEnd {
                call,
                attempt: *attempt,
                by,
            })
        }
        Want::TalkInDialplan { attempt, .. } => {
            let by = if have.dial_ended {
                EndedBy::Agent
            } else {
                EndedBy::Caller
            };
            Some(Command::CallEnd {
                call,
                attempt: *attempt,
                by,
            })
        }
        _ => Some(Command::CallReleased { call }),
    }
}

fn key(call: CallId, exit_keys: &[String], have: &Have, steps: &mut Vec<Step>) {
    if let Some(key) = exit_keys
        .iter()
        .find(|key| !key.is_empty() && have.keys.ends_with(*key))
    {
        let reason = LeaveReason::Key(key.clone());
        steps.push(Step::Propose(Command::CallerLeave { call, reason }));
    }
}

/// Music runs, unless a prompt does (which has music queued behind it). An empty class keeps
/// whatever class runs.
fn keep_music(class: &str, have: &Have, steps: &mut Vec<Step>) {
    if have.playback.is_some() {
        return;
    }
    match &have.music {
        Some(running) if class.is_empty() || running == class => {}
        _ => steps.push(Step::StartMusic(class.into())),
    }
}

pub(crate) fn drop_bridge(have: &Have, steps: &mut Vec<Step>) {
    if have.bridge.is_some() {
        steps.push(Step::DropBridge);
    }
}

fn ring(
    call: CallId,
    attempt: Attempt,
    ring_s: u32,
    legs: &[WantLeg],
    shown: &CallerId,
    have: &Have,
    steps: &mut Vec<Step>,
) {
    let missing = |leg: &&WantLeg| {
        let known = have.leg(attempt, &leg.agent);
        leg.endpoint.is_some() && known.is_none_or(|leg| leg.state == LegState::ToRepeat)
    };
    let missing: Vec<WantLeg> = legs.iter().filter(missing).cloned().collect();
    if !missing.is_empty() {
        let shown = shown.clone();
        steps.push(Step::Originate {
            attempt,
            ring_s,
            legs: missing,
            shown,
        });
    }
    if !have.has_bridge(attempt) {
        steps.push(Step::MakeBridge(attempt));
    }
    for want in legs {
        let agent = want.agent.clone();
        let fact = match have.leg(attempt, &agent) {
            None if want.endpoint.is_none() => Command::OfferFail {
                call,
                attempt,
                agent,
                cause: FailCause::Unreachable,
            },
            None => continue,
            Some(Leg {
                state: LegState::Unsure,
                channel,
                ..
            }) => {
                steps.push(Step::LookAtLeg(channel.clone()));
                continue;
            }
            Some(Leg {
                state: LegState::Ended(cause),
                ..
            }) => Command::OfferFail {
                call,
                attempt,
                agent,
                cause: *cause,
            },
            Some(Leg {
                state: LegState::Up,
                refused: false,
                ..
            }) => Command::OfferAnswer {
                call,
                attempt,
                agent,
            },
            Some(Leg {
                state: LegState::Ringing,
                ..
            }) if !want.ringing => Command::OfferRinging {
                call,
                attempt,
                agent,
            },
            Some(_) => continue,
        };
        steps.push(Step::Propose(fact));
    }
}

fn dial(
    call: CallId,
    attempt: Attempt,
    ring_s: u32,
    legs: &[WantLeg],
    have: &Have,
    steps: &mut Vec<Step>,
) {
    let can_dial = legs.iter().any(|leg| leg.endpoint.is_some());
    if have.place == Place::Stasis && can_dial {
        if have.dialled == Some(attempt) {
            // Back from the dialplan: the offer came to nothing.
            keep_music("", have, steps);
            steps.push(Step::Join);
            return;
        }
        if have.playback.is_some() {
            steps.push(Step::StopPlayback);
        }
        steps.push(Step::Dial {
            attempt,
            ring_s,
            legs: legs.to_vec(),
        });
        return;
    }
    for leg in legs {
        let agent = leg.agent.clone();
        let dialled = have
            .dial_legs
            .get(&agent)
            .filter(|_| have.dialled == Some(attempt));
        let fact = match dialled {
            _ if leg.endpoint.is_none() => Command::OfferFail {
                call,
                attempt,
                agent,
                cause: FailCause::Unreachable,
            },
            Some(LegState::Up) => Command::OfferAnswer {
                call,
                attempt,
                agent,
            },
            Some(LegState::Ringing) if !leg.ringing => Command::OfferRinging {
                call,
                attempt,
                agent,
            },
            // The caller's return says the same. Said before it, the agent would be free while this
            // caller cannot be offered yet, and the next in line would overtake.
            Some(LegState::Ended(FailCause::NoAnswer)) if have.place == Place::Dialplan => continue,
            Some(LegState::Ended(cause)) => Command::OfferFail {
                call,
                attempt,
                agent,
                cause: *cause,
            },
            _ => continue,
        };
        steps.push(Step::Propose(fact));
    }
}

fn talk(call: CallId, attempt: Attempt, agent: &AgentId, have: &Have, steps: &mut Vec<Step>) {
    let over = |by| Step::Propose(Command::CallEnd { call, attempt, by });
    let Some(leg) = have.leg(attempt, agent) else {
        // It was gone before this process looked. Unless the caller was found in their bridge, nobody
        // put the two together: whoever should have is dead, and the caller keeps the place.
        let connected = have.was_bridged == Some(attempt) || have.left();
        return steps.push(match connected {
            true => over(EndedBy::Failure),
            false => Step::Propose(Command::OfferFail {
                call,
                attempt,
                agent: agent.clone(),
                cause: FailCause::Cancelled,
            }),
        });
    };
    match leg.state {
        // Gone before the bridge was made: the caller heard nothing of it and keeps the place.
        LegState::Ended(cause) if !leg.bridged && !have.left() => {
            let agent = agent.clone();
            steps.push(Step::Propose(Command::OfferFail {
                call,
                attempt,
                agent,
                cause,
            }));
        }
        LegState::Ended(_) => steps.push(over(EndedBy::Agent)),
        _ if have.place != Place::Stasis => steps.push(over(EndedBy::Failure)),
        LegState::Up if have.bridging_failed => steps.push(over(EndedBy::Failure)),
        LegState::Up => {
            if have.bridged_with(attempt, agent) {
                return;
            }
            if have.playback.is_some() {
                steps.push(Step::StopPlayback);
            }
            // Also when we know of none: bridged with music, a caller hears both or the music alone.
            steps.push(Step::StopMusic);
            if !have.has_bridge(attempt) {
                steps.push(Step::MakeBridge(attempt));
            }
            steps.push(Step::Bridge {
                attempt,
                channel: leg.channel.clone(),
            });
        }
        LegState::Unsure => steps.push(Step::LookAtLeg(leg.channel.clone())),
        _ => {}
    }
}

/// Prompts to their end, then the results, then out.
pub(crate) fn let_go(leave: &Leave, have: &Have, steps: &mut Vec<Step>) {
    if have.place != Place::Stasis || have.let_go {
        return;
    }
    if leave.then == Then::HangUp {
        steps.push(Step::HangUpCaller);
        return;
    }
    match (&have.playback, have.closing) {
        (Some(playback), Closing::Playing) if playback.of == PlaybackOf::Closing => return,
        (Some(_), _) => steps.push(Step::StopPlayback),
        (None, _) => {}
    }
    if !leave.prompts.is_empty() && have.closing == Closing::No {
        steps.push(Step::Close(leave.prompts.clone()));
        return;
    }
    steps.push(Step::SetResults(leave.clone()));
    if let Then::Continue(exit) = &leave.then {
        steps.push(Step::Continue(exit.clone()));
    }
}

/// The agent's phone has put another channel in its place: the agent is free, the caller talks on
/// with that other, and both are cleaned up when one of them ends.
fn after_transfer(call: Option<CallId>, want: &Want, have: &Have) -> Vec<Step> {
    let mut steps = Vec::new();
    let other = have.replacement.as_ref();
    if have.place == Place::Gone {
        if let Some(other) = other.filter(|other| other.lives) {
            let (channel, reason) = (other.channel.clone(), HangupReason::Normal);
            steps.push(Step::HangUpLeg { channel, reason });
        }
        drop_bridge(have, &mut steps);
    } else if other.is_none_or(|other| !other.lives) {
        steps.push(Step::HangUpCaller);
    }
    let fact = match (call, want) {
        (Some(call), Want::Talk { attempt, .. }) => Some(Command::CallEnd {
            call,
            attempt: *attempt,
            by: EndedBy::Agent,
        }),
        (Some(call), Want::Leave(_)) => Some(Command::CallReleased { call }),
        _ => None,
    };
    if matches!(want, Want::TalkOn { .. }) {
        steps.push(Step::TalkOver);
    }
    steps.extend(fact.map(Step::Propose));
    steps
}
