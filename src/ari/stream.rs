//! The event WebSocket: kept open, watched for stalls, and honest about its gaps.
//!
//! Asterisk replays nothing that happened while the socket was down and does not notice a reader
//! that stopped reading, so both are handled here: each gap is told by [`StreamItem::Down`] and
//! [`StreamItem::Up`], and a consumer that does not drain its events loses the socket instead of
//! letting new calls fall into a black hole. Subscribing, filtering and reconciling after an `Up`
//! is the consumer's work.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use crate::config::AriConfig;
use crate::event::{Event, decode};
use crate::http::encode;
use crate::transport::{Frame, Socket, Tcp, Transport};

/// What the stream yields, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum StreamItem {
    /// The socket is open and the application active. Subscribe, filter and reconcile now: what
    /// happened before was not told.
    Up {
        /// 1 for the first time, one more at each reconnect.
        connection: u64,
    },
    /// Something happened.
    Event(Event),
    /// The socket is closed or could not be opened. It is being opened again; the same reason is
    /// not told twice in a row.
    Down {
        /// Why.
        reason: DownReason,
    },
    /// Another client took the application over. The socket is closed and stays so until
    /// [`StreamControl::resume`]: stop acting.
    Replaced,
}

/// Why the socket is down.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DownReason {
    /// No connection could be made in time.
    #[error("asterisk cannot be reached: {0}")]
    Unreachable(String),
    /// 401 or 403: the user, the password or the ACL.
    #[error("asterisk refused the event socket with status {0}, check username and password")]
    Refused(u16),
    /// Asterisk or the network closed it.
    #[error("the event socket was closed")]
    Closed,
    /// Nothing came for the stall timeout, not even a pong.
    #[error("the event socket stalled")]
    Stalled,
    /// The consumer did not drain its events.
    #[error("events came faster than they were taken, the event socket was closed")]
    Overrun,
    /// A frame that is no WebSocket, or too long.
    #[error("the event socket sent what cannot be read")]
    Protocol,
    /// [`StreamControl::cut`].
    #[error("the event socket was cut on request")]
    Cut,
}

/// Receives events. Dropping it closes the socket.
#[derive(Debug)]
pub struct EventStream {
    items: mpsc::Receiver<StreamItem>,
    control: StreamControl,
    task: JoinHandle<()>,
}

impl EventStream {
    /// The next item. `None` only if the stream's task has ended, which it never does by itself.
    pub async fn next(&mut self) -> Option<StreamItem> {
        self.items.recv().await
    }

    /// A handle to steer the stream from elsewhere.
    pub fn control(&self) -> StreamControl {
        self.control.clone()
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Steers an [`EventStream`].
#[derive(Debug, Clone, Default)]
pub struct StreamControl {
    resume: Arc<Notify>,
    cut: Arc<Notify>,
}

impl StreamControl {
    /// Opens the socket again after [`StreamItem::Replaced`], taking the application back.
    pub fn resume(&self) {
        self.resume.notify_one();
    }

    /// Drops the socket without a close frame, if it is open; it is then opened again. For tests,
    /// and for a consumer that wants to start over.
    pub fn cut(&self) {
        self.cut.notify_waiters();
    }
}

/// Opens the event socket of the configured application and keeps it open (`GET /events`).
///
/// Must be called inside a tokio runtime.
pub fn events(config: &AriConfig) -> EventStream {
    let (sender, items) = mpsc::channel(config.events_max.max(2));
    let control = StreamControl::default();
    let transport: Result<Arc<dyn Transport>, String> = match &config.transport {
        Some(transport) => Ok(transport.clone()),
        None => match Tcp::new(config) {
            Ok(tcp) => Ok(Arc::new(tcp)),
            Err(error) => Err(error.to_string()),
        },
    };
    let keeper = Keeper {
        transport,
        config: config.clone(),
        items: sender,
        control: control.clone(),
    };
    let task = tokio::spawn(keeper.run());
    EventStream {
        items,
        control,
        task,
    }
}

/// How one connection ended.
enum Ended {
    Down(DownReason),
    Replaced,
    ConsumerGone,
}

struct Keeper {
    /// Or why there is none.
    transport: Result<Arc<dyn Transport>, String>,
    config: AriConfig,
    items: mpsc::Sender<StreamItem>,
    control: StreamControl,
}

impl Keeper {
    async fn run(self) {
        let (first, longest) = self.config.backoff;
        let mut wait = first;
        let mut connection = 0;
        let mut told: Option<DownReason> = None;
        loop {
            let ended = match self.connect().await {
                Err(reason) => Ended::Down(reason),
                Ok(socket) => {
                    connection += 1;
                    told = None;
                    let opened = Instant::now();
                    tracing::info!(connection, "event socket is up");
                    let ended = match self.items.send(StreamItem::Up { connection }).await {
                        Ok(()) => self.read(socket).await,
                        Err(_) => Ended::ConsumerGone,
                    };
                    if opened.elapsed() > longest {
                        wait = first;
                    }
                    ended
                }
            };
            let item = match ended {
                Ended::ConsumerGone => return,
                Ended::Replaced => StreamItem::Replaced,
                Ended::Down(reason) if told.as_ref() == Some(&reason) => {
                    self.pause(&mut wait, longest).await;
                    continue;
                }
                Ended::Down(reason) => {
                    tracing::warn!(%reason, "event socket is down");
                    told = Some(reason.clone());
                    StreamItem::Down { reason }
                }
            };
            // The socket is closed by now, so waiting for a slow consumer does no harm.
            let replaced = item == StreamItem::Replaced;
            if self.items.send(item).await.is_err() {
                return;
            }
            if replaced {
                tracing::error!("another client took the application over, waiting to be resumed");
                tokio::select! {
                    () = self.control.resume.notified() => {}
                    () = self.items.closed() => return,
                }
                wait = first;
            } else {
                self.pause(&mut wait, longest).await;
            }
        }
    }

    /// Waits a random time between half of `wait` and `wait`, and doubles it for the next time.
    async fn pause(&self, wait: &mut Duration, longest: Duration) {
        let part = rand::rng().random_range(0.5..=1.0);
        tokio::select! {
            () = sleep(wait.mul_f64(part)) => {}
            () = self.items.closed() => {}
        }
        *wait = (*wait * 2).min(longest);
    }

    async fn connect(&self) -> Result<Box<dyn Socket>, DownReason> {
        let limit = self.config.connect_timeout + self.config.request_timeout;
        timeout(limit, self.open())
            .await
            .unwrap_or_else(|_| Err(DownReason::Unreachable("no answer in time".into())))
    }

    async fn open(&self) -> Result<Box<dyn Socket>, DownReason> {
        let app = encode(self.config.app.as_str());
        let path = format!("/events?app={app}&subscribeAll=false");
        match &self.transport {
            Ok(transport) => transport.open(path).await,
            Err(error) => Err(DownReason::Unreachable(error.clone())),
        }
    }

    /// Reads one socket to its end.
    async fn read(&self, mut socket: Box<dyn Socket>) -> Ended {
        let mut ping = interval(self.config.ping_interval);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        let cut = self.control.cut.notified();
        tokio::pin!(cut);
        loop {
            tokio::select! {
                frame = socket.next() => {
                    heard = Instant::now();
                    match frame {
                        Ok(Frame::Text(text)) => match self.hand_over(&text) {
                            Ok(()) => {}
                            Err(ended) => {
                                if matches!(ended, Ended::Replaced) {
                                    let _ = timeout(self.config.request_timeout, socket.close()).await;
                                }
                                return ended;
                            }
                        },
                        Ok(Frame::Pong) => {}
                        Err(reason) => return Ended::Down(reason),
                    }
                }
                _ = ping.tick() => {
                    if heard.elapsed() >= self.config.stall_timeout {
                        return Ended::Down(DownReason::Stalled);
                    }
                    match timeout(self.config.ping_interval, socket.ping()).await {
                        Ok(Ok(())) => {}
                        Ok(Err(reason)) => return Ended::Down(reason),
                        Err(_) => return Ended::Down(DownReason::Stalled),
                    }
                }
                () = &mut cut => return Ended::Down(DownReason::Cut),
                () = self.items.closed() => return Ended::ConsumerGone,
            }
        }
    }

    fn hand_over(&self, text: &str) -> Result<(), Ended> {
        let event = decode(text);
        match &event {
            Event::ApplicationReplaced { application }
                if application.is_empty() || application == self.config.app.as_str() =>
            {
                return Err(Ended::Replaced);
            }
            Event::Malformed { why, .. } => tracing::warn!(why, "malformed event"),
            _ => tracing::trace!(event = event.type_name(), "event"),
        }
        match self.items.try_send(StreamItem::Event(event)) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_)) => Err(Ended::Down(DownReason::Overrun)),
            Err(TrySendError::Closed(_)) => Err(Ended::ConsumerGone),
        }
    }
}
