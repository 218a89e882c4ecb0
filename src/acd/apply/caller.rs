//! A caller joins a line, leaves it, is released.

use super::Apply;
use crate::announce;
use crate::call::{Call, Outcome, Phase};
use crate::command::{CallerJoin, EndedBy, FailCause, LeaveReason};
use crate::event::Event;
use crate::id::{Attempt, CallId, QueueName};
use crate::limits::{CALLS_MAX, DURATION_MS_MAX};
use crate::queue::Place;
use crate::reply::{Done, Reject, Reply};
use crate::settings::Connect;
use crate::text;
use crate::wait::ResumeKey;

impl Apply<'_> {
    pub(super) fn caller_join(&mut self, join: &CallerJoin) -> Reply {
        if let Some(call) = self.state.call_of(&join.pbx, &join.channel) {
            let call = call.id;
            self.call_returns(call);
            let position = self.state.position(call).unwrap_or(0);
            return Ok(Done::Joined { call, position });
        }
        match self.admit(join) {
            Ok(()) => Ok(self.enter_line(join)),
            Err(reject) => {
                if let Some(queue) = self.state.queues.get_mut(&join.queue) {
                    queue.counters.refused += 1;
                }
                self.emit(Event::CallRefused {
                    queue: join.queue.clone(),
                    pbx: join.pbx.clone(),
                    channel: join.channel.clone(),
                    status: reject.queue_status().into(),
                });
                Err(reject)
            }
        }
    }

    /// The channel is back from the dialplan: what was tried there has failed.
    fn call_returns(&mut self, id: CallId) {
        let Some(call) = self.state.calls.get(&id) else {
            return;
        };
        match &call.phase {
            Phase::Offered(offer) if offer.connect == Connect::Dialplan => {
                self.end_offer(id, FailCause::NoAnswer);
            }
            Phase::Waiting { away: true } => {}
            _ => return,
        }
        if let Some(call) = self.state.calls.get_mut(&id) {
            call.phase = Phase::Waiting { away: false };
        }
        self.touch_call(id);
        self.emit(Event::CallReturned { call: id });
    }

    /// The rules at the door, in the order of `join_queue` of app_queue.
    fn admit(&mut self, join: &CallerJoin) -> Result<(), Reject> {
        if !self.state.queues.contains_key(&join.queue) {
            self.queue_from_template(&join.queue)?;
        }
        let name = || join.queue.clone();
        let queue = self
            .state
            .queues
            .get(&join.queue)
            .ok_or_else(|| Reject::UnknownQueue(name()))?;
        if !queue.settings.open {
            return Err(Reject::QueueClosed(name()));
        }
        let there = self
            .state
            .index
            .queues
            .get(&join.queue)
            .map_or(0, |index| index.there_join);
        if !queue.settings.join_empty.0.is_empty() && there == 0 {
            return Err(Reject::JoinEmpty(name()));
        }
        let maxlen = queue.settings.maxlen as usize;
        if maxlen > 0 && queue.line.len() >= maxlen {
            return Err(Reject::QueueFull(name()));
        }
        if self.state.calls.len() >= CALLS_MAX {
            return Err(Reject::LimitReached {
                what: "calls".into(),
                max: CALLS_MAX as u64,
            });
        }
        Ok(())
    }

    fn enter_line(&mut self, join: &CallerJoin) -> Done {
        let mut call = self.new_call(join);
        let resumed = self.resume(&mut call);
        let Some(queue) = self.state.queues.get_mut(&call.queue) else {
            return Done::Ok;
        };
        let wait = announce::begin(&call, &queue.settings, self.now);
        queue.line.insert(Place::of(&call));
        queue.counters.entered += 1;
        let position = u32::try_from(queue.position(&Place::of(&call)));
        let position = position.unwrap_or(u32::MAX);
        call.joined_position = position;
        self.emit(Event::CallJoined {
            call: call.id,
            queue: call.queue.clone(),
            pbx: call.pbx.clone(),
            channel: call.channel.clone(),
            number: call.number.clone(),
            position,
            resumed,
        });
        let id = call.id;
        self.touch_call(id);
        self.state.waits.insert(id, wait);
        self.state.calls.insert(id, call);
        Done::Joined { call: id, position }
    }

    fn new_call(&mut self, join: &CallerJoin) -> Call {
        self.state.calls_made += 1;
        let id = CallId(self.state.calls_made);
        // The state's own copies of names that all its calls have, so that they have them once.
        let queue = self.state.queues.get(&join.queue);
        let pbx = self.state.pbxes.get(&join.pbx);
        let settings = queue.map(|queue| &queue.settings);
        let options = &join.options;
        // A name that is not allowed must not cost the caller his call: the queue's own is used.
        let music = options
            .music_class
            .clone()
            .filter(|name| text::is_media(name));
        let timeout = options.timeout_ms.or(settings.and_then(|it| it.timeout_ms));
        let timeout = timeout
            .filter(|ms| *ms > 0)
            .map(|ms| ms.min(DURATION_MS_MAX));
        let announce = options
            .announce_ms
            .or(settings.map(|it| it.announce.frequency_ms));
        Call {
            id,
            pbx: pbx.map_or(&join.pbx, |pbx| &pbx.id).clone(),
            channel: join.channel.clone(),
            queue: queue.map_or(&join.queue, |queue| &queue.name).clone(),
            number: text::clean(&join.number),
            name: text::clean(&join.name),
            priority: join.priority,
            order: id.0,
            joined_at: self.now,
            joined_wall_ms: self.stamp.wall_ms,
            joined_position: 0,
            music_class: music
                .or(settings.map(|it| it.music_class.clone()))
                .unwrap_or_default(),
            timeout_at: timeout.map(|ms| self.now.saturating_add(ms)),
            announce_frequency_ms: announce.unwrap_or(0).min(DURATION_MS_MAX),
            announcement: None,
            attempts: Attempt(0),
            phase: Phase::Waiting { away: false },
        }
    }

    /// Gives back the place of a call that was lost with its Asterisk, and the time waited for it.
    fn resume(&mut self, call: &mut Call) -> bool {
        let key = ResumeKey {
            queue: call.queue.clone(),
            number: call.number.clone(),
        };
        let Some(kept) = self
            .forget_resume(&key)
            .filter(|kept| self.now < kept.until)
        else {
            return false;
        };
        call.order = kept.order;
        call.joined_at = kept.joined_at;
        true
    }

    pub(super) fn caller_leave(&mut self, id: CallId, reason: &LeaveReason) -> Reply {
        let call = self.state.calls.get(&id).ok_or(Reject::UnknownCall(id))?;
        let outcome = match reason {
            LeaveReason::HungUp => {
                self.call_gone(id, Outcome::Abandoned, EndedBy::Caller);
                return Ok(Done::Ok);
            }
            LeaveReason::NoQuorum => Outcome::NoQuorum,
            LeaveReason::Key(key) => Outcome::Key(key.clone()),
        };
        if let Phase::Leaving { outcome: known, .. } = &call.phase
            && *known == outcome
        {
            return Ok(Done::Ok);
        }
        if !call.in_line() {
            return Err(Reject::WrongPhase(id));
        }
        if let LeaveReason::Key(key) = reason {
            self.check_exit_key(&call.queue, key)?;
        }
        self.end_waiting(id, outcome);
        Ok(Done::Ok)
    }

    fn check_exit_key(&self, queue: &QueueName, key: &str) -> Result<(), Reject> {
        let queue = self.state.queues.get(queue);
        if queue.is_some_and(|queue| queue.settings.exit_keys.iter().any(|it| it == key)) {
            return Ok(());
        }
        let problem = format!("{:?} is not an exit key of the queue", text::clean(key));
        Err(Reject::Invalid {
            what: "key".into(),
            problem,
        })
    }

    /// Only a call that is leaving can be released; a second time it is known no longer.
    pub(super) fn call_released(&mut self, id: CallId) -> Reply {
        let call = self.state.calls.get(&id).ok_or(Reject::UnknownCall(id))?;
        if !matches!(call.phase, Phase::Leaving { .. }) {
            return Err(Reject::WrongPhase(id));
        }
        self.remove_call(id);
        Ok(Done::Ok)
    }
}
