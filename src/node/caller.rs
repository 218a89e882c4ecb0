//! One actor per caller's channel: it makes Asterisk agree with what the replica wants of the call.
//!
//! It has a bounded mailbox of ARI events about the caller and its legs, is woken when the replica
//! changed something about its call, and then does what `plan` says, one step after the other, so
//! nothing of one call ever overlaps. Facts are proposed beside the requests to Asterisk (`facts`).

use crate::ctx::{Ctx, Sight};
use crate::facts::is_join;
use crate::have::{Closing, Found, Have, Leg, LegState, Place};
use crate::legs::parse_leg;
use crate::plan::{Step, plan};
use crate::quorum::Quorum;
use crate::turns::Turn;
use crate::want::{Leave, Then, Want, leave_unserved, want};
use holdfast_acd::command::CallerJoin;
use holdfast_acd::settings::Exit;
use holdfast_acd::{Attempt, CallId, ChannelId, Command, QueueName, Reply};
use holdfast_ari::{Channel, Event};
use holdfast_raft::{Applied, ProposeError};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;

/// Turns of planning without a pause, in case a plan never gets quiet.
const TURNS_MAX: usize = 16;
/// First and longest pause after a step failed.
pub(crate) const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3));
/// Until it is looked again whether a position may be told.
const TELL_AGAIN: Duration = Duration::from_millis(250);
/// A playback that was not reported finished by then is stopped.
pub(crate) const PLAYBACK_MAX: Duration = Duration::from_secs(60);

/// What an actor is told.
#[derive(Debug)]
pub(crate) enum Mail {
    Event(Box<Event>),
    /// What a comparison with Asterisk found.
    Compared(Box<Found>),
    /// When it may ask to join, anew. Rare, and must not make every place in a mailbox larger.
    Turn(Box<Turn>),
    /// Asterisk is gone, and with it all its channels.
    AsteriskGone,
    /// Position at the end of waiting.
    Position(u32),
}

impl Mail {
    /// Whether an actor for which nothing was left to do has something to do again.
    fn calls_back(&self) -> bool {
        match self {
            Mail::Compared(found) => found.place != Place::Gone,
            Mail::Event(event) => matches!(**event, Event::StasisStart { .. }),
            _ => false,
        }
    }
}

/// The rest of the node's end of an actor.
#[derive(Clone, Debug)]
pub(crate) struct CallerRef {
    mail: mpsc::Sender<Mail>,
    wake: Arc<Notify>,
    overrun: Arc<AtomicBool>,
    missed: Arc<AtomicBool>,
}

impl CallerRef {
    /// Hands something over. When the mailbox is full the actor looks at Asterisk instead.
    pub fn send(&self, mail: Mail) {
        match self.mail.try_send(mail) {
            Ok(()) => {}
            Err(TrySendError::Closed(mail)) => {
                self.missed.fetch_or(mail.calls_back(), Ordering::AcqRel);
            }
            Err(TrySendError::Full(_)) => {
                self.overrun.store(true, Ordering::Release);
                self.wake.notify_one();
            }
        }
    }

    /// It had ended when its channel came back: somebody has to look after that anew.
    pub fn missed(&self) -> bool {
        self.missed.load(Ordering::Acquire)
    }

    /// How much is in the mailbox.
    pub fn waiting(&self) -> usize {
        self.mail.max_capacity() - self.mail.capacity()
    }

    /// Its actor has ended.
    pub fn is_dead(&self) -> bool {
        self.mail.is_closed()
    }

    /// The replica has changed something about the call.
    pub fn wake(&self) {
        self.wake.notify_one();
    }
}

type Pending = AbortOnDropHandle<Result<Applied<Reply>, ProposeError>>;

/// The actor.
pub(crate) struct Caller {
    pub(crate) ctx: Arc<Ctx>,
    pub(crate) channel: Channel,
    pub(crate) args: Vec<String>,
    pub(crate) call: Option<CallId>,
    pub(crate) have: Have,
    pub(crate) join: Option<CallerJoin>,
    /// The queue by which a caller who talks met the agent, once it was read; it may have none.
    pub(crate) met_by: Option<Option<QueueName>>,
    /// A change of the state after this one may free an agent whom this caller waits to hold.
    pub(crate) looks_after: Option<u64>,
    /// Last position known while in the line.
    pub(crate) position: u32,
    pub(crate) playback_until: Option<Instant>,
    pub(crate) retry_at: Option<Instant>,
    pub(crate) pause: Duration,
    /// Log index of the last answer; this node's replica may be behind it.
    pub(crate) known: u64,
    /// When an agent answered last.
    pub(crate) answered_at: Option<Instant>,
    /// Since when the channel is in our hands.
    entered: Instant,
    /// When there was no quorum for long enough for this caller.
    fallback_at: Option<Instant>,
    /// A position waits to be told until this node knows again how things stand: when to look.
    tell_at: Option<Instant>,
    /// Failures in a row of steps that may be skipped.
    pub(crate) failures: u32,
    /// Failures to put caller and agent together, of one attempt: other requests in between may work.
    pub(crate) bridge_failures: (Attempt, u32),
    pub(crate) facts: VecDeque<Command>,
    pub(crate) in_flight: Option<(Command, Pending)>,
    pub(crate) settled: VecDeque<Command>,
    /// Kept until the first join is asked for.
    pub(crate) turn: Option<Turn>,
    mail: mpsc::Receiver<Mail>,
    wake: Arc<Notify>,
    overrun: Arc<AtomicBool>,
    missed: Arc<AtomicBool>,
    sight: watch::Receiver<Sight>,
    quorum: watch::Receiver<Quorum>,
}

impl Caller {
    /// For a channel that entered, or that a comparison found (`have` filled in).
    pub fn new(
        ctx: Arc<Ctx>,
        channel: Channel,
        args: Vec<String>,
        have: Have,
        turn: Option<Turn>,
    ) -> (Caller, CallerRef) {
        let (sender, mail) = mpsc::channel(ctx.shared.config.limits.mailbox_max);
        let wake = Arc::new(Notify::new());
        let overrun = Arc::new(AtomicBool::new(false));
        let missed = Arc::new(AtomicBool::new(false));
        let address = CallerRef {
            mail: sender,
            wake: wake.clone(),
            overrun: overrun.clone(),
            missed: missed.clone(),
        };
        // A playback that is taken over may have ended meanwhile.
        let playback_until = have.playback.as_ref().map(|_| Instant::now());
        let caller = Caller {
            call: None,
            join: None,
            met_by: None,
            looks_after: None,
            position: 0,
            playback_until,
            known: 0,
            answered_at: None,
            entered: Instant::now(),
            fallback_at: None,
            tell_at: None,
            retry_at: None,
            pause: PAUSE.0,
            failures: 0,
            bridge_failures: Default::default(),
            facts: VecDeque::new(),
            in_flight: None,
            settled: VecDeque::new(),
            turn,
            mail,
            wake,
            overrun,
            missed,
            sight: ctx.sight.subscribe(),
            quorum: ctx.shared.quorum.subscribe(),
            ctx,
            channel,
            args,
            have,
        };
        (caller, address)
    }

    /// Until the call is over and its channel out of our hands.
    pub async fn run(mut self) -> String {
        loop {
            let sight = self.converge().await;
            self.leave_turn(sight);
            // Also when another node drives the Asterisk: then the channel is that one's.
            if *self.sight.borrow() == Sight::Over || self.is_over() {
                self.mail.close();
                let mut left = std::iter::from_fn(|| self.mail.try_recv().ok());
                let missed = left.any(|mail| mail.calls_back());
                self.missed.fetch_or(missed, Ordering::AcqRel);
                return self.channel.id;
            }
            self.wait().await;
        }
    }

    /// Plans and acts until both views agree, or something has to be waited for. Answers by which
    /// sight it did so last.
    async fn converge(&mut self) -> Sight {
        let mut sight = Sight::Down;
        for _ in 0..TURNS_MAX {
            sight = *self.sight.borrow_and_update();
            self.quorum.borrow_and_update();
            if sight != Sight::Clear {
                self.withdraw_join();
            }
            // Set anew where they are looked at. Left as they were, they would wake without end.
            (self.fallback_at, self.tell_at) = (None, None);
            // After the look at the sight: what a comparison found was sent before it was clear, and
            // without it this actor would take for gone what it has not heard of.
            while let Ok(mail) = self.mail.try_recv() {
                self.take(mail);
            }
            let waits = self.retry_at.is_some_and(|at| Instant::now() < at);
            if waits || sight == Sight::Over {
                return sight;
            }
            self.retry_at = None;
            if self.overrun.swap(false, Ordering::AcqRel) && sight == Sight::Clear {
                Box::pin(self.look_again()).await;
            }
            let Some(wanted) = self.wanted(sight) else {
                return sight;
            };
            if sight != Sight::Down {
                // Who cannot send a caller away must not say so either.
                self.fall_back_without_quorum(&wanted);
            }
            let mut acted = false;
            // A replica that may be old is not obeyed.
            let call = self.call.filter(|_| sight != Sight::Blind);
            for step in plan(call, &wanted, &self.have) {
                match step {
                    Step::Propose(fact) => self.note(fact),
                    Step::Join if sight != Sight::Clear => {}
                    Step::Join if self.join.is_some() => {
                        let join = self.join.clone().map(Command::CallerJoin);
                        join.into_iter().for_each(|join| self.note(join));
                    }
                    Step::KeepTalk(_) if sight != Sight::Clear => {}
                    Step::KeepTalk(agent) if self.met_by.is_some() => self.keep_talk(agent),
                    Step::TalkOver => self.note_end_of_talk(),
                    _ if sight == Sight::Down => {}
                    _ if !self.ctx.may_act(sight) => break,
                    step => {
                        acted = true;
                        // A request is large while it is on its way. In a box of its own it costs nothing
                        // while the caller waits, which is nearly always.
                        if !Box::pin(self.act(step)).await {
                            break;
                        }
                    }
                }
            }
            self.start_next_fact();
            if !acted {
                return sight;
            }
        }
        self.retry_at = Some(Instant::now() + PAUSE.0);
        sight
    }

    /// `None`: another node drives the Asterisk by now, and what the state wants is wanted of that one.
    fn wanted(&mut self, sight: Sight) -> Option<Want> {
        self.looks_after = None;
        if sight == Sight::Blind {
            return Some(self.talk_on(false));
        }
        let (ctx, channel) = (&self.ctx, &self.channel.id);
        let (known, played) = (self.call, self.have.announced);
        // Before the state is read, which then is at least as new.
        let current = ctx.shared.raft.is_current();
        let (call, mut wanted) = ctx.shared.raft.read(|machine| {
            let state = &machine.0;
            if !ctx.mine(state) {
                return None;
            }
            let call = known.or_else(|| {
                let channel = ChannelId::new(channel.as_str()).ok()?;
                state.call_of(&ctx.pbx, &channel).map(|call| call.id)
            });
            let wanted = call.map(|call| want(state, &ctx.local, call, played));
            Some((call, wanted.unwrap_or(Want::Nothing)))
        })?;
        self.call = call;
        if let Want::Wait { announcement, .. } = &mut wanted
            && announcement
                .take_if(|it| it.position > 0 && !current)
                .is_some()
        {
            self.tell_at = Some(Instant::now() + TELL_AGAIN);
        }
        if let Want::Ring { legs, .. } = &mut wanted
            && *self.quorum.borrow() != Quorum::Heard
        {
            // By now this node counts as away, and the agents are offered to callers of others. Nor
            // can one who answers be granted here.
            legs.clear();
        }
        match wanted {
            Want::Nothing => Some(self.talk_on(true)),
            wanted => Some(wanted),
        }
    }

    /// Without a leader for too long, who waits goes to the fallback of the queue.
    fn fall_back_without_quorum(&mut self, wanted: &Want) {
        // Who sees nothing of the state takes for waiting whoever does not talk.
        let blind = *self.sight.borrow() == Sight::Blind;
        let waits = matches!(wanted, Want::Wait { .. } | Want::Ring { .. } | Want::Away)
            || ((self.call.is_none() || blind) && *wanted == Want::Nothing);
        let here = self.have.place == Place::Stasis && self.have.sent_away.is_none();
        if !self.quorum.borrow().is_missing() || !waits || !here {
            return;
        }
        // Also who came later, or comes back from the dialplan at once, gets the same patience.
        let due = self.entered + self.ctx.shared.config.timing.no_quorum_after.duration();
        if Instant::now() < due {
            self.fallback_at = Some(due);
            return;
        }
        let known = self.call;
        let asked = self.join.as_ref().map(|join| join.queue.clone());
        let leave = self.ctx.shared.raft.read(|machine| {
            let state = &machine.0;
            let queue = known
                .and_then(|call| state.call(call))
                .map(|call| call.queue.clone());
            leave_unserved(
                queue.or(asked).and_then(|queue| state.queue(&queue)),
                "NOQUORUM",
            )
        });
        self.log("no quorum, the caller goes to the fallback");
        self.ctx
            .shared
            .metrics
            .update(|metrics| metrics.callers_no_quorum += 1);
        self.have.sent_away = Some(leave);
        self.have.no_quorum = true;
    }

    /// Back to the dialplan with a `QUEUESTATUS`, by our own decision.
    pub(crate) fn send_away(&mut self, status: &str) {
        self.ctx
            .shared
            .metrics
            .update(|metrics| metrics.callers_refused += 1);
        self.have.sent_away = Some(Leave {
            status: Some(status.into()),
            prompts: Vec::new(),
            then: Then::Continue(Exit::default()),
            results: Vec::new(),
        });
    }

    /// Who could ask to join and does not, for it is in the line, or a request failed, holds up
    /// nobody. At the sight at which it was last planned: by now it may be clear, and then a caller who
    /// has only not asked yet would lose the turn.
    fn leave_turn(&mut self, sight: Sight) {
        if sight == Sight::Clear && !self.facts.iter().any(is_join) {
            self.turn = None;
        }
    }

    async fn wait(&mut self) {
        // Without sight nothing can be stopped: an overdue playback waits for the sight, not for time.
        let stoppable = self.have.playback.is_some() && *self.sight.borrow() != Sight::Down;
        let playback = self.playback_until.filter(|_| stoppable);
        let timers = [self.retry_at, playback, self.fallback_at, self.tell_at];
        let next = timers.into_iter().flatten().min();
        let timer = async {
            match next {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let mut applied = self.ctx.shared.raft.applied();
        let known = self
            .known
            .max(self.looks_after.map_or(0, |index| index + 1));
        let behind = *applied.borrow() < known;
        let caught_up = async {
            match behind {
                true => drop(applied.wait_for(|index| *index >= known).await),
                false => std::future::pending().await,
            }
        };
        let answer = async {
            match &mut self.in_flight {
                // It ends by itself and never panics; one that did has an unknown outcome.
                Some((_, pending)) => pending.await.unwrap_or(Err(ProposeError::Unknown)),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            answer = answer => self.answered(answer),
            Some(mail) = self.mail.recv() => self.take(mail),
            () = self.wake.notified() => {}
            () = caught_up => {}
            _ = self.sight.changed() => {}
            _ = self.quorum.changed() => {}
            () = timer => self.playback_overdue().await,
        }
    }

    fn take(&mut self, mail: Mail) {
        match mail {
            Mail::Event(event) => {
                let place = self.have.place;
                self.notice_stray(&event);
                self.have.observe(&event);
                if let Event::StasisStart { channel, args, .. } = event.as_ref()
                    && channel.id == self.channel.id
                    && place == Place::Dialplan
                {
                    // Back from the dialplan: the same join is asked for again.
                    self.args.clone_from(args);
                    self.entered = Instant::now();
                    self.settled.retain(|fact| !is_join(fact));
                    self.log("the caller is back from the dialplan");
                }
                self.retry_at = None;
            }
            Mail::Compared(found) => {
                self.have.compared(*found);
                self.settled.clear();
                self.retry_at = None;
                self.playback_until = self.have.playback.as_ref().map(|_| Instant::now());
            }
            Mail::Turn(turn) => self.turn = Some(*turn),
            Mail::AsteriskGone => {
                self.have.place = Place::Gone;
                self.have.legs.clear();
                self.have.bridge = None;
            }
            Mail::Position(position) => self.position = position,
        }
    }

    /// A leg of ours that nobody here has asked for: a request of a driver before this one ran late.
    /// It is hung up on sight.
    fn notice_stray(&mut self, event: &Event) {
        let channel = match event {
            Event::Dial { peer, .. } => peer,
            Event::ChannelStateChange { channel } => channel,
            Event::StasisStart { channel, .. } => channel,
            _ => return,
        };
        let clear = *self.sight.borrow() == Sight::Clear;
        if clear
            && self.have.leg_mut(&channel.id).is_none()
            && let Some(key) = parse_leg(&self.ctx.pbx, &channel.id)
        {
            let (id, made) = (channel.id.clone(), LegState::Made);
            let mut leg = Leg::new(id, key.attempt, key.agent, made);
            leg.refused = true;
            // In front: the newest of an offer is the one that counts.
            self.have.legs.insert(0, leg);
            self.log("a stray leg is hung up");
        }
    }

    fn is_over(&self) -> bool {
        let idle = self.in_flight.is_none() && self.facts.is_empty();
        let ours = self.have.place == Place::Stasis;
        let legs = self.have.legs.iter().any(|leg| leg.lives() && !leg.hung_up);
        let bridge = self.have.bridge.is_some();
        // An answer may be ahead of this replica: the call that was just made is still to come.
        let behind = *self.ctx.shared.raft.applied().borrow() < self.known;
        if ours || !idle || legs || bridge || behind || self.owes_end_of_talk() {
            return false;
        }
        match self.call {
            None => true,
            Some(call) => self
                .ctx
                .shared
                .raft
                .read(|machine| machine.0.call(call).is_none()),
        }
    }

    /// A playback that should be over is stopped; bogus media is never reported finished.
    async fn playback_overdue(&mut self) {
        let overdue = self.playback_until.is_some_and(|at| Instant::now() >= at);
        if !overdue || *self.sight.borrow() == Sight::Down {
            return;
        }
        let stopped = Box::pin(self.act(Step::StopPlayback)).await;
        if stopped && self.have.closing == Closing::Playing {
            self.have.closing = Closing::Done;
        }
        self.playback_until = None;
    }

    /// A step failed: the next one waits a little, longer each time.
    pub(crate) fn failed(&mut self) {
        self.failures += 1;
        self.retry_at = Some(Instant::now() + self.pause);
        self.pause = (self.pause * 2).min(PAUSE.1);
    }

    pub(crate) fn succeeded(&mut self) {
        self.failures = 0;
        self.pause = PAUSE.0;
    }

    pub(crate) fn node(&self) -> &str {
        &self.ctx.shared.config.node.name
    }

    pub(crate) fn log(&self, what: &'static str) {
        let call = self.call.map(|call| call.0);
        tracing::info!(node = self.node(), call, channel = %self.channel.id, "{what}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_a_mailbox_is_small() {
        // Each mailbox has dozens of them from the start, whether anything comes or not.
        let mail = size_of::<Mail>();
        assert!(mail <= 16, "it takes {mail} bytes");
    }
}
