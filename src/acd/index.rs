//! What is derived from the facts so that nothing has to be searched: channels, offerable callers,
//! agents who can be rung, deadlines.
//!
//! `apply` marks what it changed (`touch`); `settle` then computes the entries of exactly those
//! things anew. `Index::of` computes everything from nothing, after a snapshot was read. The two must
//! agree, which `invariants::check` compares. Nothing here is written to a snapshot or the digest.

use crate::agent::{Agent, Member};
use crate::call::{Call, Phase};
use crate::deadline::{self, Deadline, Due};
use crate::empty;
use crate::id::{AgentId, CallId, ChannelId, Millis, PbxId, QueueName, RequestId};
use crate::queue::{Place, Queue};
use crate::settings::Strategy;
use crate::shelves::Shelves;
use crate::state::State;
use crate::strategy::Rank;
use crate::wait::ResumeKey;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Index {
    pub channels: BTreeMap<PbxId, BTreeMap<ChannelId, CallId>>,
    pub on_pbx: BTreeMap<PbxId, BTreeSet<CallId>>,
    /// Calls of a queue, whatever their phase.
    pub users: BTreeMap<QueueName, u64>,
    pub queues: BTreeMap<QueueName, QueueIndex>,
    /// Queues in which a decision can be made, the most urgent first.
    pub ready: BTreeSet<Ready>,
    pub deadlines: BTreeSet<Due>,
    /// Kept answers, oldest first.
    pub requests: BTreeSet<(Millis, RequestId)>,
    calls: BTreeMap<CallId, CallEntry>,
    due: BTreeMap<Subject, Vec<Due>>,
    touched: BTreeSet<Subject>,
}

/// Of queues with work the heavier first, then whose first caller came first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ready {
    pub weight: Reverse<u32>,
    pub since: Millis,
    pub call: CallId,
    pub queue: QueueName,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct QueueIndex {
    /// One for each step of the plan.
    pub steps: Vec<StepIndex>,
    /// Callers who wait, are not in the dialplan and whose owner is in sight, whatever their step.
    pub waiting: BTreeSet<Place>,
    pub members: BTreeMap<AgentId, MemberEntry>,
    /// Members who count as being there for `joinempty` and for `leavewhenempty`.
    pub there_join: u64,
    pub there_leave: u64,
    ready: Option<Ready>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct StepIndex {
    /// Callers at this step who can be offered.
    pub offerable: BTreeSet<Place>,
    /// Members admitted by this step who can be rung, in the order of its strategy.
    pub available: BTreeSet<Rank>,
    /// The same ones, if its strategy is random.
    pub shelves: Option<Shelves>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MemberEntry {
    /// For each step, the rank if the member can be rung now.
    pub ranks: Vec<Option<Rank>>,
    there_join: bool,
    there_leave: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct CallEntry {
    pbx: PbxId,
    channel: ChannelId,
    queue: QueueName,
    waiting: Option<Place>,
    step: Option<usize>,
}

/// A thing with entries.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subject {
    Queue(QueueName),
    Member(QueueName, AgentId),
    Agent(AgentId),
    Pbx(PbxId),
    Call(CallId),
    Resume(ResumeKey),
}

impl Index {
    /// All entries, from the facts alone.
    pub fn of(facts: &State) -> Index {
        let mut index = Index::default();
        index
            .touched
            .extend(facts.queues.keys().cloned().map(Subject::Queue));
        index
            .touched
            .extend(facts.agents.keys().cloned().map(Subject::Agent));
        index
            .touched
            .extend(facts.pbxes.keys().cloned().map(Subject::Pbx));
        index
            .touched
            .extend(facts.calls.keys().copied().map(Subject::Call));
        index
            .touched
            .extend(facts.resumes.keys().cloned().map(Subject::Resume));
        index
            .requests
            .extend(facts.requests.iter().map(|(id, kept)| (kept.at, *id)));
        index.settle(facts);
        index
    }

    /// To be called for whatever was changed, before `settle`.
    pub fn touch(&mut self, subject: Subject) {
        self.touched.insert(subject);
    }

    /// Computes the entries of all that was touched anew.
    pub fn settle(&mut self, facts: &State) {
        let mut queues = BTreeSet::new();
        // Queues come before members and calls in the order of `Subject`: their shape is new first.
        for subject in std::mem::take(&mut self.touched) {
            match &subject {
                Subject::Queue(queue) => {
                    self.renew_queue(facts, queue);
                    queues.insert(queue.clone());
                }
                Subject::Member(queue, agent) => {
                    self.renew_member(facts, queue, agent);
                    queues.insert(queue.clone());
                }
                Subject::Agent(id) => {
                    let agent = facts.agents.get(id);
                    for queue in agent.iter().flat_map(|agent| &agent.queues) {
                        self.renew_member(facts, queue, id);
                        queues.insert(queue.clone());
                    }
                    let due = deadline::of_agent(facts, id);
                    self.set_due(subject, due);
                }
                Subject::Pbx(pbx) => {
                    let due = deadline::of_pbx(facts, pbx);
                    for call in self.on_pbx.get(pbx).cloned().unwrap_or_default() {
                        self.renew_call(facts, call, &mut queues);
                    }
                    self.set_due(subject, due);
                }
                Subject::Call(call) => self.renew_call(facts, *call, &mut queues),
                Subject::Resume(key) => {
                    let due = deadline::of_resume(facts, key);
                    self.set_due(subject, due);
                }
            }
        }
        for queue in queues {
            self.renew_ready(facts, queue);
        }
    }

    /// Where a call stands among those that can be offered: its step and its place.
    pub fn offerable(&self, call: CallId) -> Option<(usize, Place)> {
        let entry = self.calls.get(&call)?;
        Some((entry.step?, entry.waiting?))
    }

    fn renew_queue(&mut self, facts: &State, name: &QueueName) {
        if let Some(ready) = self.queues.remove(name).and_then(|old| old.ready) {
            self.ready.remove(&ready);
        }
        let Some(queue) = facts.queues.get(name) else {
            self.set_due(Subject::Queue(name.clone()), Vec::new());
            return;
        };
        let settings = &queue.settings;
        let plan = settings.plan().iter();
        let steps = plan.map(|step| StepIndex::of(step.strategy.unwrap_or(settings.strategy)));
        let steps = steps.collect();
        self.queues.insert(
            name.clone(),
            QueueIndex {
                steps,
                ..QueueIndex::default()
            },
        );
        for agent in queue.members.keys() {
            self.renew_member(facts, name, agent);
        }
        let mut touched = BTreeSet::new();
        for place in &queue.line {
            self.calls
                .remove(&place.call)
                .inspect(|old| self.forget(place.call, old));
            self.renew_call(facts, place.call, &mut touched);
        }
    }

    fn renew_member(&mut self, facts: &State, name: &QueueName, agent: &AgentId) {
        let Some(index) = self.queues.get_mut(name) else {
            return;
        };
        if let Some(old) = index.members.remove(agent) {
            index.leave_member(&old);
        }
        let queue = facts.queues.get(name);
        let member = queue.and_then(|queue| Some((queue, queue.members.get(agent)?)));
        if let (Some((queue, member)), Some(agent)) = (member, facts.agents.get(agent)) {
            index.enter_member(MemberEntry::of(facts, queue, agent, member), &agent.id);
        }
    }

    fn renew_call(&mut self, facts: &State, id: CallId, queues: &mut BTreeSet<QueueName>) {
        let call = facts.calls.get(&id);
        let new = call.map(|call| CallEntry::of(facts, call));
        let due = call
            .map(|call| deadline::of_call(facts, call))
            .unwrap_or_default();
        self.set_due(Subject::Call(id), due);
        if self.calls.get(&id) == new.as_ref() {
            return;
        }
        if let Some(old) = self.calls.remove(&id) {
            self.forget(id, &old);
            queues.insert(old.queue);
        }
        if let Some(new) = new {
            self.enter(id, &new);
            queues.insert(new.queue.clone());
            self.calls.insert(id, new);
        }
    }

    fn enter(&mut self, id: CallId, entry: &CallEntry) {
        let channels = self.channels.entry(entry.pbx.clone()).or_default();
        channels.insert(entry.channel.clone(), id);
        self.on_pbx.entry(entry.pbx.clone()).or_default().insert(id);
        *self.users.entry(entry.queue.clone()).or_default() += 1;
        let Some((index, place)) = self.queues.get_mut(&entry.queue).zip(entry.waiting) else {
            return;
        };
        index.waiting.insert(place);
        if let Some(step) = entry.step.and_then(|step| index.steps.get_mut(step)) {
            step.offerable.insert(place);
        }
    }

    fn forget(&mut self, id: CallId, entry: &CallEntry) {
        if let Some(channels) = self.channels.get_mut(&entry.pbx) {
            channels.remove(&entry.channel);
            if channels.is_empty() {
                self.channels.remove(&entry.pbx);
            }
        }
        if let Some(calls) = self.on_pbx.get_mut(&entry.pbx) {
            calls.remove(&id);
            if calls.is_empty() {
                self.on_pbx.remove(&entry.pbx);
            }
        }
        if let Some(users) = self.users.get_mut(&entry.queue) {
            *users -= 1;
            if *users == 0 {
                self.users.remove(&entry.queue);
            }
        }
        let Some((index, place)) = self.queues.get_mut(&entry.queue).zip(entry.waiting) else {
            return;
        };
        index.waiting.remove(&place);
        if let Some(step) = entry.step.and_then(|step| index.steps.get_mut(step)) {
            step.offerable.remove(&place);
        }
    }

    fn renew_ready(&mut self, facts: &State, name: QueueName) {
        let Some(index) = self.queues.get_mut(&name) else {
            return;
        };
        let Some(queue) = facts.queues.get(&name) else {
            return;
        };
        if let Some(old) = index.ready.take() {
            self.ready.remove(&old);
        }
        index.ready = index
            .head()
            .and_then(|place| Ready::of(facts, queue, place));
        self.ready.extend(index.ready.clone());
        let rule = &queue.settings.leave_when_empty;
        let empty = !rule.0.is_empty() && index.there_leave == 0 && !index.waiting.is_empty();
        let due = empty.then(|| (0, Deadline::LeaveEmpty(name.clone())));
        self.set_due(Subject::Queue(name), due.into_iter().collect());
    }

    fn set_due(&mut self, subject: Subject, new: Vec<Due>) {
        if self.due.get(&subject).map_or(&[][..], |old| old.as_slice()) == new.as_slice() {
            return;
        }
        for old in self.due.remove(&subject).unwrap_or_default() {
            self.deadlines.remove(&old);
        }
        if !new.is_empty() {
            self.deadlines.extend(new.iter().cloned());
            self.due.insert(subject, new);
        }
    }
}

impl Ready {
    pub fn of(facts: &State, queue: &Queue, place: Place) -> Option<Ready> {
        let since = facts.calls.get(&place.call)?.joined_at;
        let weight = Reverse(queue.settings.weight);
        Some(Ready {
            weight,
            since,
            call: place.call,
            queue: queue.name.clone(),
        })
    }
}

impl QueueIndex {
    /// The first caller for whom somebody can be rung.
    fn head(&self) -> Option<Place> {
        let served = self.steps.iter().filter(|step| !step.available.is_empty());
        served
            .filter_map(|step| step.offerable.first().copied())
            .min()
    }

    fn enter_member(&mut self, entry: MemberEntry, agent: &AgentId) {
        for (step, rank) in self.steps.iter_mut().zip(&entry.ranks) {
            if let Some(rank) = rank {
                step.put(rank);
            }
        }
        self.there_join += u64::from(entry.there_join);
        self.there_leave += u64::from(entry.there_leave);
        self.members.insert(agent.clone(), entry);
    }

    fn leave_member(&mut self, entry: &MemberEntry) {
        for (step, rank) in self.steps.iter_mut().zip(&entry.ranks) {
            if let Some(rank) = rank {
                step.take(rank);
            }
        }
        self.there_join -= u64::from(entry.there_join);
        self.there_leave -= u64::from(entry.there_leave);
    }
}

impl StepIndex {
    fn of(strategy: Strategy) -> StepIndex {
        StepIndex {
            shelves: (strategy == Strategy::Random).then(Shelves::default),
            ..StepIndex::default()
        }
    }

    fn put(&mut self, rank: &Rank) {
        self.available.insert(rank.clone());
        if let Some(shelves) = &mut self.shelves {
            shelves.put(rank.penalty, &rank.agent);
        }
    }

    fn take(&mut self, rank: &Rank) {
        self.available.remove(rank);
        if let Some(shelves) = &mut self.shelves {
            shelves.take(rank.penalty, &rank.agent);
        }
    }
}

impl MemberEntry {
    fn of(facts: &State, queue: &Queue, agent: &Agent, member: &Member) -> MemberEntry {
        let settings = &queue.settings;
        let (plan, strategy) = (settings.plan(), settings.strategy);
        let device = facts.device(agent);
        let free = member.pause.is_none() && agent.is_free(device, settings.ring_in_use);
        let ranks = plan.iter().map(|step| {
            let admitted = free && step.admits(&agent.id, &member.settings);
            admitted.then(|| Rank::of(step.strategy.unwrap_or(strategy), agent, member))
        });
        let (join, leave) = (&settings.join_empty, &settings.leave_when_empty);
        MemberEntry {
            ranks: ranks.collect(),
            there_join: empty::is_there(join, plan.first(), agent, member, device),
            there_leave: empty::is_there(leave, plan.last(), agent, member, device),
        }
    }
}

impl CallEntry {
    fn of(facts: &State, call: &Call) -> CallEntry {
        let waits = call.phase == Phase::Waiting { away: false } && facts.in_sight(&call.pbx);
        let step = facts
            .waits
            .get(&call.id)
            .and_then(|wait| wait.step.checked_sub(1));
        CallEntry {
            pbx: call.pbx.clone(),
            channel: call.channel.clone(),
            queue: call.queue.clone(),
            waiting: waits.then(|| Place::of(call)),
            step: step.filter(|_| waits).map(|step| step as usize),
        }
    }
}
