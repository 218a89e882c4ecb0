//! How a step of a plan is carried out: the requests to Asterisk and what their answers mean.
//!
//! A request whose answer was lost is never taken as failed. 404 for the caller's channel means
//! that the caller is gone; for anything else, that it is done.

use crate::caller::Caller;
use crate::ctx::way_out;
use crate::have::{Bridge, Closing, Leg, LegState, Place, PlaybackOf};
use crate::join;
use crate::legs::{LegKey, bridge_id, leg_channel};
use crate::plan::Step;
use crate::sounds::{media, music};
use crate::want::WantLeg;
use futures_util::future::join_all;
use holdfast_acd::call::Prompt;
use holdfast_acd::command::FailCause;
use holdfast_acd::{Attempt, Command};
use holdfast_ari::{
    AriError, CallerId, ChannelLookup, Context, Continue, Endpoint, EventSource, Exten,
    HangupReason, MediaUri, Originate, Originated,
};
use std::sync::atomic::Ordering;
use tokio::time::Instant;

/// Requests for one leg before it counts as unreachable.
const LEG_TRIES_MAX: u32 = 3;
/// Failures in a row after which a step that only adds comfort is skipped.
pub(crate) const SKIP_AFTER: u32 = 3;

impl Caller {
    /// Carries a step out. False: the rest of the plan has to wait.
    pub(crate) async fn act(&mut self, step: Step) -> bool {
        let name = name(&step);
        match self.request(step).await {
            Ok(()) => {
                self.succeeded();
                true
            }
            Err(error) => {
                let (node, call) = (self.node(), self.call.map(|call| call.0));
                tracing::debug!(node, call, channel = %self.channel.id, step = name, %error, "step failed");
                self.ctx
                    .shared
                    .metrics
                    .update(|m| *m.ari_failures.entry(name).or_default() += 1);
                match error {
                    AriError::NotFound(_) => {
                        self.have.place = Place::Gone;
                        self.have.hanging_up = true;
                    }
                    AriError::NotInStasis => self.have.place = Place::Dialplan,
                    _ => self.failed(),
                }
                false
            }
        }
    }

    async fn request(&mut self, step: Step) -> Result<(), AriError> {
        let ari = self.ctx.ari.clone();
        let channel = self.channel.id.clone();
        match step {
            Step::Propose(fact) => self.note(fact),
            Step::KeepTalk(agent) => self.learn_queue_and_keep(agent).await?,
            Step::TalkOver => self.note_end_of_talk(),
            Step::Join => {
                if self.join.is_none() {
                    match join::read(&ari, &self.ctx.pbx, &self.channel, &self.args).await? {
                        Ok(join) => self.join = Some(join),
                        Err(error) => {
                            let node = self.node();
                            tracing::warn!(node, channel, %error, "caller refused");
                            self.send_away("UNKNOWN");
                        }
                    }
                }
                if let Some(join) = self.join.clone() {
                    self.note(Command::CallerJoin(join));
                }
            }
            Step::StartMusic(class) => {
                let asked = join::read_args(&self.args).options.music_class;
                let class = if class.is_empty() {
                    asked.unwrap_or_default()
                } else {
                    class
                };
                let class = music(&class);
                ari.start_moh(&channel, &class).await?;
                self.have.music = Some(class.as_str().into());
            }
            Step::StopMusic => {
                skip_gone(&ari.stop_moh(&channel).await)?;
                self.have.music = None;
            }
            Step::Announce {
                number,
                prompts,
                music: class,
            } => {
                let media: Vec<MediaUri> = prompts.iter().filter_map(media).collect();
                self.have.announced = number;
                if media.is_empty() {
                    return Ok(());
                }
                self.play(format!("a{number}"), &media, PlaybackOf::Announcement)
                    .await?;
                // Queued behind the playback, so that there is no silence after it.
                let class = music(&class);
                ari.start_moh(&channel, &class).await?;
                self.have.music = Some(class.as_str().into());
            }
            Step::Close(prompts) => {
                let sounds = prompts.into_iter().map(Prompt::Sound);
                let media: Vec<MediaUri> = sounds.filter_map(|p| media(&p)).collect();
                self.have.closing = Closing::Done;
                if !media.is_empty() {
                    self.play("end".into(), &media, PlaybackOf::Closing).await?;
                    self.have.closing = Closing::Playing;
                    self.have.music = None;
                }
            }
            Step::StopPlayback => {
                if let Some(playback) = self.have.playback.clone() {
                    self.stop_playback(&playback.id).await?;
                    self.have.playback_finished(&playback.id);
                }
            }
            Step::Originate {
                attempt,
                ring_s,
                legs,
                shown,
            } => {
                self.originate(attempt, ring_s, legs, shown).await;
            }
            Step::LookAtLeg(leg) => self.look_at_leg(&leg).await?,
            Step::HangUpLeg { channel, reason } => self.hang_up_leg(&channel, reason).await?,
            Step::MakeBridge(attempt) => {
                let Some(call) = self.call else { return Ok(()) };
                // Known before it is sure, so that it is dropped even if no answer comes.
                self.have.bridge = Some(Bridge {
                    attempt,
                    with: None,
                });
                self.have.bridge_unsure = true;
                match ari
                    .create_bridge(&bridge_id(&self.ctx.pbx, call, attempt))
                    .await
                {
                    Ok(()) | Err(AriError::Conflict(_)) => self.have.bridge_unsure = false,
                    Err(error) => return self.skip_after(SKIP_AFTER, error),
                }
            }
            Step::Bridge { attempt, channel } => self.bridge(attempt, &channel).await?,
            Step::DropBridge => {
                let call = self.call.or(self.have.kept);
                if let (Some(bridge), Some(call)) = (&self.have.bridge, call) {
                    let id = bridge_id(&self.ctx.pbx, call, bridge.attempt);
                    skip_gone(&ari.destroy_bridge(id.as_str()).await)?;
                }
                self.have.bridge = None;
            }
            Step::Dial {
                attempt,
                ring_s,
                legs,
            } => self.dial(attempt, ring_s, &legs).await?,
            Step::SetResults(leave) => {
                self.set_results(&leave).await?;
            }
            Step::Continue(exit) => {
                ari.continue_in_dialplan(&channel, &way_out(&exit)).await?;
                self.have.let_go = true;
                self.log("caller goes on in the dialplan");
            }
            Step::HangUpCaller => {
                skip_gone(&ari.hangup(&channel, HangupReason::Normal).await)?;
                self.have.let_go = true;
                self.have.hanging_up = true;
            }
        }
        Ok(())
    }

    /// After so many failures a step is taken as done, unless the channel itself is the reason.
    pub(crate) fn skip_after(&self, failures: u32, error: AriError) -> Result<(), AriError> {
        let skip = self.failures >= failures
            && !matches!(error, AriError::NotFound(_) | AriError::NotInStasis);
        if skip { Ok(()) } else { Err(error) }
    }

    async fn originate(
        &mut self,
        attempt: Attempt,
        ring_s: u32,
        legs: Vec<WantLeg>,
        shown: CallerId,
    ) {
        let Some(call) = self.call else { return };
        let epoch = self.ctx.epoch.load(Ordering::Acquire);
        let margin = u32::try_from(self.ctx.asterisk.originate_margin.as_ms() / 1000).unwrap_or(5);
        let mut requests = Vec::new();
        for leg in legs {
            let again = self
                .have
                .leg(attempt, &leg.agent)
                .map(|leg| leg.channel.clone());
            let key = LegKey {
                epoch,
                call,
                attempt,
                agent: leg.agent.clone(),
            };
            let id = match again {
                Some(id) => holdfast_ari::ChannelId::new(&id).ok(),
                None => leg_channel(&self.ctx.pbx, &key),
            };
            let (Some(id), Some(endpoint)) = (id, leg.endpoint) else {
                let ended = LegState::Ended(FailCause::Unreachable);
                self.have
                    .legs
                    .push(Leg::new(String::new(), attempt, leg.agent, ended));
                continue;
            };
            if self.have.leg_mut(id.as_str()).is_none() {
                let new = Leg::new(
                    id.as_str().into(),
                    attempt,
                    leg.agent.clone(),
                    LegState::Unsure,
                );
                self.have.legs.push(new);
            }
            requests.push(Originate {
                channel_id: id,
                endpoint,
                app_args: vec![
                    "leg".into(),
                    call.to_string(),
                    attempt.to_string(),
                    leg.agent.to_string(),
                ],
                caller_id: shown.clone(),
                originator: Some(self.channel.id.clone()),
                timeout_s: ring_s.saturating_add(margin),
                variables: Vec::new(),
            });
        }
        self.count_delays(attempt, requests.len());
        let ari = &self.ctx.ari;
        let answers = join_all(requests.iter().map(|request| ari.originate(request))).await;
        for (request, answer) in requests.iter().zip(answers) {
            let (node, channel) = (self.node(), request.channel_id.as_str());
            let endpoint = request.endpoint.as_str();
            let agent = request.app_args[3].as_str();
            tracing::info!(node, call = call.0, attempt = attempt.0, agent, endpoint, channel,
                answer = ?answer, "leg requested");
            let Some(leg) = self.have.leg_mut(request.channel_id.as_str()) else {
                continue;
            };
            leg.tries += 1;
            let tried_enough = leg.tries >= LEG_TRIES_MAX;
            leg.state = match answer {
                Ok(Originated::Created | Originated::AlreadyThere) => LegState::Made,
                Ok(Originated::Unreachable) => LegState::Ended(FailCause::Unreachable),
                Err(error) if error.maybe_done() => LegState::Unsure,
                Err(error) if error.not_sent() && !tried_enough => LegState::ToRepeat,
                Err(_) => LegState::Ended(FailCause::Unreachable),
            };
            if leg.state == LegState::ToRepeat {
                self.failed();
            }
        }
    }

    fn count_delays(&self, attempt: Attempt, legs: usize) {
        let now = self.ctx.shared.raft.now_ms();
        let Some(call) = self.call else { return };
        let moments = self.ctx.shared.raft.read(|machine| {
            let state = &machine.0;
            let call = state.call(call)?;
            let offer = call.offer()?;
            let free = offer.agents.iter().filter_map(|offered| {
                let agent = state.agent(&offered.agent)?;
                [
                    agent.login_at,
                    agent.last_call_at,
                    agent.wrap_up_until,
                    agent.retry_at,
                ]
                .into_iter()
                .flatten()
                .max()
            });
            Some((offer.made_at, free.min().unwrap_or(0).max(call.joined_at)))
        });
        self.ctx.shared.metrics.update(|metrics| {
            metrics.legs_requested += legs as u64;
            if let Some((made, free)) = moments {
                metrics.offer_to_leg.record(now.saturating_sub(made));
                if attempt == Attempt(1) {
                    metrics.dispatch_delay.record(now.saturating_sub(free));
                }
            }
        });
    }

    /// A request had no answer: whether the leg exists decides if it is repeated.
    async fn look_at_leg(&mut self, channel: &str) -> Result<(), AriError> {
        let found = match self.ctx.ari.channel(channel).await? {
            ChannelLookup::Gone => None,
            ChannelLookup::Unreadable => Some(LegState::Made),
            ChannelLookup::Found(found) => Some(match found.state {
                holdfast_ari::ChannelState::Up => LegState::Up,
                holdfast_ari::ChannelState::Ringing => LegState::Ringing,
                _ => LegState::Made,
            }),
        };
        let Some(leg) = self.have.leg_mut(channel) else {
            return Ok(());
        };
        leg.state = match found {
            Some(state) => state,
            None if leg.tries < LEG_TRIES_MAX => LegState::ToRepeat,
            None => LegState::Ended(FailCause::Unreachable),
        };
        Ok(())
    }

    async fn hang_up_leg(&mut self, channel: &str, reason: HangupReason) -> Result<(), AriError> {
        let ended = self.ctx.ari.hangup(channel, reason).await;
        let gone = ended.as_ref().is_err_and(AriError::is_gone);
        skip_gone(&ended)?;
        if let Some(replacement) = &mut self.have.replacement
            && replacement.channel == channel
        {
            replacement.lives = false;
        }
        let wanted_dead = self.have.leg_mut(channel).map(|leg| {
            leg.hung_up = true;
            if gone {
                // An unsure request may still make it: the id is watched, see `Have::observe`.
                leg.state = LegState::Ended(FailCause::Cancelled);
            }
            leg.agent.clone()
        });
        let agent = wanted_dead.map(|agent| agent.to_string());
        let (node, call) = (self.node(), self.call.map(|call| call.0));
        tracing::info!(node, call, agent, channel, ?reason, "leg hung up");
        Ok(())
    }

    async fn bridge(&mut self, attempt: Attempt, leg: &str) -> Result<(), AriError> {
        let Some(call) = self.call else { return Ok(()) };
        let answered = self.answered_at.unwrap_or_else(Instant::now);
        let ari = self.ctx.ari.clone();
        let id = bridge_id(&self.ctx.pbx, call, attempt);
        match ari
            .add_channels(id.as_str(), &[&self.channel.id, leg])
            .await
        {
            Ok(()) => {}
            // One of the two is gone, or the bridge is: all or none was done.
            Err(AriError::Invalid(_) | AriError::NotFound(_) | AriError::Conflict(_)) => {
                if ari.channel(&self.channel.id).await? == ChannelLookup::Gone {
                    self.have.place = Place::Gone;
                    self.have.hanging_up = true;
                    return Ok(());
                }
                let enough = self.bridging_trouble(attempt);
                let gone = ari.channel(leg).await? == ChannelLookup::Gone;
                // Of a leg that is gone events are on the way, and they tell whether a request that ran
                // late had put the two together. Only if they never come, it had not.
                if !gone {
                    self.have.bridge = None;
                    self.have.bridging_failed = enough;
                } else if enough && let Some(leg) = self.have.leg_mut(leg) {
                    leg.state = LegState::Ended(FailCause::Rejected);
                    leg.ended_first = true;
                }
                return Ok(());
            }
            Err(error) => {
                self.have.bridging_failed = self.bridging_trouble(attempt);
                return Err(error);
            }
        }
        if let Some(bridge) = &mut self.have.bridge {
            bridge.with = Some(leg.into());
        }
        let took = u64::try_from(answered.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.ctx
            .shared
            .metrics
            .update(|metrics| metrics.answer_to_bridge.record(took));
        self.log("caller bridged with the agent");
        Ok(())
    }

    /// The two are to be put together again a little later; true after enough of that.
    fn bridging_trouble(&mut self, attempt: Attempt) -> bool {
        self.failed();
        let (of, failures) = &mut self.bridge_failures;
        *failures = if *of == attempt { *failures + 1 } else { 1 };
        *of = attempt;
        *failures > SKIP_AFTER
    }

    /// The dial string is composed of checked endpoints, never of free text.
    async fn dial(
        &mut self,
        attempt: Attempt,
        ring_s: u32,
        legs: &[WantLeg],
    ) -> Result<(), AriError> {
        let (ari, channel) = (self.ctx.ari.clone(), self.channel.id.clone());
        let endpoints: Vec<Endpoint> = legs.iter().filter_map(|leg| leg.endpoint.clone()).collect();
        let (call_string, seconds) = (Endpoint::dial_string(&endpoints), ring_s.to_string());
        let values = [
            (self.ctx.vars.call_string.clone(), call_string.as_str()),
            (self.ctx.vars.ring_time.clone(), seconds.as_str()),
        ];
        ari.set_variables(&channel, &values).await?;
        // In the dialplan nothing is told of a channel unless it is listened to by name.
        ari.subscribe(ari.app(), &[EventSource::Channel(channel.clone())])
            .await?;
        let asterisk = &self.ctx.asterisk;
        let to = Continue {
            context: asterisk
                .dial_context
                .as_deref()
                .and_then(|text| Context::new(text).ok()),
            exten: asterisk
                .dial_exten
                .as_deref()
                .and_then(|text| Exten::new(text).ok()),
            priority: asterisk.dial_priority,
            label: None,
        };
        self.have.dialled = Some(attempt);
        self.have.dial_legs.clear();
        self.have.dial_ended = false;
        self.have.dial_names = legs
            .iter()
            .filter_map(|leg| Some((leg.agent.clone(), device_of(leg.endpoint.as_ref()?))))
            .collect();
        // Its events may come before the answer to the request.
        self.have.place = Place::Dialplan;
        if let Err(error) = ari.continue_in_dialplan(&channel, &to).await {
            if !error.maybe_done() {
                self.have.place = Place::Stasis;
                self.have.dialled = None;
            }
            return Err(error);
        }
        let (node, call) = (self.node(), self.call.map(|call| call.0));
        tracing::info!(
            node,
            call,
            channel,
            attempt = attempt.0,
            call_string,
            "caller goes to the dialplan to dial"
        );
        self.have.music = None;
        Ok(())
    }

    /// Events were lost on the way to this actor: looks at all that is ours.
    pub(crate) async fn look_again(&mut self) {
        tracing::warn!(node = self.node(), channel = %self.channel.id, "events were lost, looking again");
        let ari = self.ctx.ari.clone();
        if let Ok(ChannelLookup::Gone) = ari.channel(&self.channel.id).await {
            self.have.place = Place::Gone;
        }
        let legs: Vec<String> = self
            .have
            .legs
            .iter()
            .filter(|leg| leg.lives())
            .map(|leg| leg.channel.clone())
            .collect();
        for leg in legs {
            if let Ok(found) = ari.channel(&leg).await {
                let Some(known) = self.have.leg_mut(&leg) else {
                    continue;
                };
                known.state = match found {
                    ChannelLookup::Gone => LegState::Ended(FailCause::NoAnswer),
                    ChannelLookup::Found(found)
                        if found.state == holdfast_ari::ChannelState::Up =>
                    {
                        LegState::Up
                    }
                    _ => known.state,
                };
            }
        }
        self.playback_until = self.have.playback.as_ref().map(|_| Instant::now());
    }
}

/// For what is to end or to stop, "not there" is as good as done.
pub(crate) fn skip_gone(result: &Result<(), AriError>) -> Result<(), AriError> {
    match result {
        Err(error) if !error.is_gone() => Err(error.clone()),
        _ => Ok(()),
    }
}

/// The part of an endpoint that its channels are named by: `PJSIP/1001`, or the trunk.
fn device_of(endpoint: &Endpoint) -> String {
    let text = endpoint.as_str();
    match (text.split_once('/'), text.rsplit_once('@')) {
        (Some((technology, _)), Some((_, trunk))) => format!("{technology}/{trunk}"),
        _ => text.into(),
    }
}

fn name(step: &Step) -> &'static str {
    match step {
        Step::Join => "join",
        Step::Propose(_) => "propose",
        Step::KeepTalk(_) => "keep_talk",
        Step::TalkOver => "talk_over",
        Step::StartMusic(_) => "start_music",
        Step::StopMusic => "stop_music",
        Step::Announce { .. } => "announce",
        Step::Close(_) => "close",
        Step::StopPlayback => "stop_playback",
        Step::Originate { .. } => "originate",
        Step::LookAtLeg(_) => "look_at_leg",
        Step::HangUpLeg { .. } => "hang_up_leg",
        Step::MakeBridge(_) => "make_bridge",
        Step::Bridge { .. } => "bridge",
        Step::DropBridge => "drop_bridge",
        Step::Dial { .. } => "dial",
        Step::SetResults(_) => "set_results",
        Step::Continue(_) => "continue",
        Step::HangUpCaller => "hang_up_caller",
    }
}
