//! That something is committed is told to a follower beside the messages that openraft waits for.
//!
//! openraft 0.9 tells it by an append without entries, and sends the next entries only when that is answered:
//! each commit held up what came after it for as long as a message takes. Here such an append is answered
//! at once and travels by itself. While commands wait it does not travel at all, for the entry that takes them
//! tells it too.
//!
//! Only what is new is told like this, and once. A heartbeat says nothing new, or says it again, and is waited for
//! as ever: so a follower that is gone is found, and one that missed a notice is told by the next heartbeat.

use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::batcher::Group;
use crate::types::{LogId, NodeId, Types, Vote};

/// Whether commands wait for an entry.
#[derive(Clone)]
pub struct Queue(mpsc::WeakSender<Group>);

impl Queue {
    pub fn new(groups: &mpsc::Sender<Group>) -> Self {
        Queue(groups.downgrade())
    }

    fn is_empty(&self) -> bool {
        let groups = self.0.upgrade();
        groups.is_none_or(|groups| groups.capacity() == groups.max_capacity())
    }
}

/// What one follower was told, and what it answered.
pub struct Notices {
    queue: Queue,
    /// It has the log up to here, by its last answer, under this vote.
    has: Option<(Vote, Option<LogId>)>,
    /// The newest commit that it was told, or will be by the next entry.
    told: Option<LogId>,
    /// The notice that is under way, at most one. It goes with this.
    under_way: JoinSet<()>,
}

impl Notices {
    pub fn new(queue: Queue) -> Self {
        Notices {
            queue,
            has: None,
            told: None,
            under_way: JoinSet::new(),
        }
    }

    /// Takes an append that says nothing but that more is committed, to a follower who has it, and lets `send`
    /// carry it. False: it is to be sent and waited for.
    pub fn takes<F>(&mut self, rpc: &AppendEntriesRequest<Types>, send: impl FnOnce() -> F) -> bool
    where
        F: Future<Output = ()> + Send + 'static,
    {
        while self.under_way.try_join_next().is_some() {}
        let is_new = rpc.entries.is_empty() && rpc.leader_commit > self.told;
        if !is_new || self.has != Some((rpc.vote, rpc.prev_log_id)) {
            return false;
        }
        if self.queue.is_empty() {
            if !self.under_way.is_empty() {
                return false;
            }
            self.under_way.spawn(send());
        }
        self.told = rpc.leader_commit;
        true
    }

    /// Notes what became of an append that was waited for.
    pub fn note(
        &mut self,
        rpc: &AppendEntriesRequest<Types>,
        answer: Option<&AppendEntriesResponse<NodeId>>,
    ) {
        let last = rpc.entries.last().map(|entry| entry.log_id);
        let upto = match answer {
            Some(AppendEntriesResponse::Success) => last.or(rpc.prev_log_id),
            Some(AppendEntriesResponse::PartialSuccess(upto)) => *upto,
            _ => {
                self.has = None;
                return;
            }
        };
        self.has = Some((rpc.vote, upto));
        self.told = self.told.max(rpc.leader_commit);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use openraft::CommittedLeaderId;
    use tokio::sync::oneshot;
    use tokio::time::Instant;

    use super::*;

    fn log_id(index: u64) -> LogId {
        LogId::new(CommittedLeaderId::new(1, 1), index)
    }

    /// An append without entries, to one who has the log up to `has`.
    fn commits(has: u64, commit: u64) -> AppendEntriesRequest<Types> {
        AppendEntriesRequest {
            vote: Vote::new_committed(1, 1),
            prev_log_id: Some(log_id(has)),
            entries: Vec::new(),
            leader_commit: Some(log_id(commit)),
        }
    }

    struct Told {
        notices: Notices,
        sent: Arc<AtomicUsize>,
        groups: mpsc::Sender<Group>,
        _inbox: mpsc::Receiver<Group>,
    }

    impl Told {
        /// A follower that has confirmed the log up to 9, of which 5 were committed then.
        fn new() -> Self {
            let (groups, inbox) = mpsc::channel(4);
            let mut notices = Notices::new(Queue::new(&groups));
            notices.note(&commits(9, 5), Some(&AppendEntriesResponse::Success));
            Told {
                notices,
                sent: Arc::default(),
                groups,
                _inbox: inbox,
            }
        }

        fn takes(&mut self, rpc: &AppendEntriesRequest<Types>) -> bool {
            let sent = self.sent.clone();
            self.notices.takes(rpc, || async move {
                sent.fetch_add(1, Ordering::SeqCst);
            })
        }

        async fn sent(&mut self) -> usize {
            while self.notices.under_way.join_next().await.is_some() {}
            self.sent.load(Ordering::SeqCst)
        }
    }

    #[tokio::test]
    async fn what_is_new_to_one_who_has_it_travels_once_and_a_heartbeat_is_waited_for() {
        let mut told = Told::new();
        assert!(!told.takes(&commits(9, 5)), "it knows");
        assert!(!told.takes(&commits(8, 6)), "it has not said that it has 8");
        assert!(told.takes(&commits(9, 6)));
        assert!(!told.takes(&commits(9, 7)), "one is under way");
        assert_eq!(told.sent().await, 1);
        assert!(!told.takes(&commits(9, 6)), "said again it is a heartbeat");
        assert!(told.takes(&commits(9, 7)));
        assert_eq!(told.sent().await, 2);
    }

    #[tokio::test]
    async fn while_commands_wait_nothing_travels_and_the_next_heartbeat_tells_it() {
        let mut told = Told::new();
        let group = Group {
            items: Vec::new(),
            until: Instant::now(),
            reply: oneshot::channel().0,
        };
        assert!(told.groups.try_send(group).is_ok());
        assert!(told.takes(&commits(9, 6)));
        assert_eq!(told.sent().await, 0);
        assert!(!told.takes(&commits(9, 6)));
    }

    #[tokio::test]
    async fn a_follower_that_failed_or_has_another_log_is_asked_and_waited_for() {
        for answer in [None, Some(AppendEntriesResponse::Conflict)] {
            let mut told = Told::new();
            told.notices.note(&commits(9, 5), answer.as_ref());
            assert!(!told.takes(&commits(9, 6)));
        }
        let mut told = Told::new();
        let mut newer = commits(9, 6);
        newer.vote = Vote::new_committed(2, 1);
        assert!(!told.takes(&newer), "confirmed under another vote");
    }
}
