//! Commands on their way into the log and linearizable reads, from any node.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::batcher::{self, Fate, Group, Written};
use crate::net::transport::CallError;
use crate::net::wire::{Forward, Forwarded, Kind, ReadIndex};
use crate::node::Node;
use crate::types::{BATCH_BYTES, Blob, COMMAND_BYTES, Item, NodeId};
use crate::{Applied, Machine, Member, ProposeError, codec, fence};

/// First and longest pause before another try.
const PAUSE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(80));
/// A linearizable read is tried anew after this.
const READ_TRY: Duration = Duration::from_millis(500);
/// Commands on their way to the leader at a time. Each takes a connection there, and a storm of them
/// must leave room for votes and pings.
pub const FORWARDS: usize = 128;

/// What one try came to.
enum Try {
    Applied(Written),
    /// Not applied; try again.
    Again,
    /// May be applied; try again, for every command may be sent twice.
    Maybe,
    Failed(ProposeError),
}

impl<M: Machine> Node<M> {
    pub async fn propose(
        &self,
        command: &M::Command,
        deadline: Duration,
    ) -> Result<Applied<M::Reply>, ProposeError> {
        let command = encode::<M>(command)?;
        let until = Instant::now() + deadline;
        let mut maybe = false;
        let mut pause = PAUSE.0;
        loop {
            if Instant::now() >= until {
                return Err(if maybe {
                    ProposeError::Unknown
                } else {
                    ProposeError::NoLeader
                });
            }
            if self.is_closing() || self.has_broken() {
                return Err(if maybe {
                    ProposeError::Unknown
                } else {
                    ProposeError::ShuttingDown
                });
            }
            let tried = if self.leads() {
                self.enqueue(
                    vec![Item {
                        term: 0,
                        command: command.clone(),
                    }],
                    until,
                )
                .await
            } else if let Some(leader) = self.leader() {
                self.forward(&leader, command.clone(), until).await
            } else {
                Try::Again
            };
            match tried {
                Try::Applied(written) => return applied::<M>(written)?.pop().flatten_reply(),
                Try::Again => {}
                Try::Maybe => maybe = true,
                Try::Failed(e) if maybe && e != ProposeError::Unknown => {
                    return Err(ProposeError::Unknown);
                }
                Try::Failed(e) => return Err(e),
            }
            // A change of leader is worth looking at once; otherwise with growing pauses.
            let mut changes = self.core.server_metrics();
            changes.mark_unchanged();
            let wake = (Instant::now() + pause).min(until);
            let _ = timeout_at(wake, changes.changed()).await;
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    pub async fn propose_as_leader(
        &self,
        term: u64,
        commands: &[M::Command],
        deadline: Duration,
    ) -> Result<Vec<Applied<M::Reply>>, ProposeError> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        if term == 0 || fence::acting(self) != Some(term) {
            return Err(ProposeError::NoLeader);
        }
        let mut items = Vec::with_capacity(commands.len());
        for command in commands {
            items.push(Item {
                term,
                command: encode::<M>(command)?,
            });
        }
        let len = batcher::size(&items);
        if len > BATCH_BYTES {
            return Err(ProposeError::TooLarge {
                len,
                limit: BATCH_BYTES,
            });
        }
        let written = match self.enqueue(items, Instant::now() + deadline).await {
            Try::Applied(written) => written,
            Try::Again => return Err(ProposeError::NoLeader),
            Try::Maybe => return Err(ProposeError::Unknown),
            Try::Failed(e) => return Err(e),
        };
        // All items of a group share the entry and the term, so either all are void or none is.
        applied::<M>(written)?
            .into_iter()
            .collect::<Option<_>>()
            .ok_or(ProposeError::NoLeader)
    }

    /// Hands items to the batcher and waits for what becomes of them.
    async fn enqueue(&self, items: Vec<Item>, until: Instant) -> Try {
        let (reply, answer) = oneshot::channel();
        match self.groups.try_send(Group {
            items,
            until,
            reply,
        }) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return Try::Failed(ProposeError::Overloaded),
            Err(TrySendError::Closed(_)) => return Try::Failed(ProposeError::ShuttingDown),
        }
        match timeout_at(until, answer).await {
            Ok(Ok(Ok(written))) => Try::Applied(written),
            Ok(Ok(Err(Fate::NotAppended))) => Try::Again,
            Ok(Ok(Err(Fate::Unknown))) | Ok(Err(_)) => Try::Maybe,
            Err(_) => Try::Failed(ProposeError::Unknown),
        }
    }

    /// Sends a command to the leader; gives up when another one is known.
    async fn forward(&self, (id, member): &(NodeId, Member), command: Blob, until: Instant) -> Try {
        let Ok(Ok(_place)) = timeout_at(until, self.forwards.acquire()).await else {
            return Try::Again;
        };
        let left = until.saturating_duration_since(Instant::now());
        let request = Forward {
            command,
            deadline_ms: left.as_millis() as u64,
        };
        let to = (*id, member.name.as_str(), member.addr.as_str());
        let mut changes = self.core.server_metrics();
        let answer = tokio::select! {
            answer = self.links.call(Kind::Forward, to, &request, left) => answer,
            _ = changes.wait_for(|m| m.current_leader != Some(*id)) => return Try::Maybe,
        };
        match answer {
            Ok(Forwarded::Applied {
                index,
                at_ms,
                reply,
            }) => Try::Applied(Written {
                index,
                at_ms,
                replies: vec![Some(reply)],
            }),
            Ok(Forwarded::NotLeader) => Try::Again,
            Ok(Forwarded::Failed(ProposeError::Unknown)) => Try::Maybe,
            Ok(Forwarded::Failed(ProposeError::NoLeader | ProposeError::ShuttingDown)) => {
                Try::Again
            }
            Ok(Forwarded::Failed(e)) => Try::Failed(e),
            Err(CallError::NotReached(_) | CallError::NobodyListens(_) | CallError::Refused(_)) => {
                Try::Again
            }
            Err(CallError::Lost(_) | CallError::Late) => Try::Maybe,
        }
    }

    /// Answers a forwarded command.
    pub async fn forwarded(&self, request: Forward) -> Forwarded {
        if !self.leads() {
            return Forwarded::NotLeader;
        }
        let len = request.command.0.len();
        if len > COMMAND_BYTES {
            let limit = COMMAND_BYTES;
            return Forwarded::Failed(ProposeError::TooLarge { len, limit });
        }
        // Whatever gets into the log must be readable on every node.
        if let Err(e) = codec::decode::<M::Command>(&request.command.0, COMMAND_BYTES) {
            return Forwarded::Failed(ProposeError::Unreadable(e.to_string()));
        }
        let until = Instant::now() + Duration::from_millis(request.deadline_ms.min(600_000));
        let items = vec![Item {
            term: 0,
            command: request.command,
        }];
        match self.enqueue(items, until).await {
            Try::Applied(Written {
                index,
                at_ms,
                mut replies,
            }) => match replies.pop().flatten() {
                Some(reply) => Forwarded::Applied {
                    index,
                    at_ms,
                    reply,
                },
                None => Forwarded::Failed(ProposeError::Unknown),
            },
            Try::Again => Forwarded::NotLeader,
            Try::Maybe => Forwarded::Failed(ProposeError::Unknown),
            Try::Failed(e) => Forwarded::Failed(e),
        }
    }

    pub async fn barrier(&self, deadline: Duration) -> Result<u64, ProposeError> {
        let until = Instant::now() + deadline;
        let mut applied = self.state.applied();
        while Instant::now() < until {
            if self.is_closing() || self.has_broken() {
                return Err(ProposeError::ShuttingDown);
            }
            let left = until
                .saturating_duration_since(Instant::now())
                .min(READ_TRY);
            let index = if self.leads() {
                tokio::time::timeout(left, self.read_index())
                    .await
                    .ok()
                    .flatten()
            } else if let Some((id, member)) = self.leader() {
                let to = (id, member.name.as_str(), member.addr.as_str());
                self.links
                    .call(Kind::Read, to, &ReadIndex, left)
                    .await
                    .ok()
                    .flatten()
            } else {
                None
            };
            if let Some(index) = index {
                let reached = timeout_at(until, applied.wait_for(|a| *a >= index)).await;
                if let Ok(Ok(at)) = reached {
                    return Ok(*at);
                }
            } else {
                tokio::time::sleep_until((Instant::now() + PAUSE.0).min(until)).await;
            }
        }
        Err(ProposeError::NoLeader)
    }

    /// The log index that holds everything acknowledged so far, confirmed by a quorum; `None`
    /// unless this node leads and has applied an entry of its own term: before, a new leader does not know
    /// what of earlier terms is committed.
    pub async fn read_index(&self) -> Option<u64> {
        let term = self.core.metrics().borrow().current_term;
        if self.opened.load(Ordering::Acquire) != term {
            return None;
        }
        let read = self.core.get_read_log_id();
        let (read, _) = tokio::time::timeout(READ_TRY, read).await.ok()?.ok()?;
        Some(read.map_or(0, |l| l.index))
    }
}

fn encode<M: Machine>(command: &M::Command) -> Result<Blob, ProposeError> {
    let bytes = codec::encode(command).map_err(|e| ProposeError::Unreadable(e.to_string()))?;
    if bytes.len() > COMMAND_BYTES {
        return Err(ProposeError::TooLarge {
            len: bytes.len(),
            limit: COMMAND_BYTES,
        });
    }
    Ok(bytes.into())
}

/// Decoded replies; `None` for a void decision.
fn applied<M: Machine>(written: Written) -> Result<Vec<Option<Applied<M::Reply>>>, ProposeError> {
    let Written {
        index,
        at_ms,
        replies,
    } = written;
    let decode = |reply: Option<Blob>| {
        let reply = reply
            .map(|r| codec::decode(&r.0, 2 * BATCH_BYTES))
            .transpose();
        // Applied, but what it answered cannot be told.
        let reply = reply.map_err(|_| ProposeError::Unknown)?;
        Ok(reply.map(|reply| Applied {
            index,
            at_ms,
            reply,
        }))
    };
    replies.into_iter().map(decode).collect()
}

trait FlattenReply<R> {
    fn flatten_reply(self) -> Result<R, ProposeError>;
}

impl<R> FlattenReply<R> for Option<Option<R>> {
    fn flatten_reply(self) -> Result<R, ProposeError> {
        self.flatten().ok_or(ProposeError::Unknown)
    }
}
