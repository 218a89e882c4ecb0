//! One host of the original: it holds the callers of its Asterisk in a Stasis application, keeps their
//! elements and timers in Redis, and does what the manager orders.
//!
//! Everything happens in one task, so callers enter the list in the order in which they came. Requests to
//! the Asterisk are not waited for there.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use holdfast_ari::{
    AriClient, AriError, CallerId, Channel, ChannelId, Endpoint, Event, EventStream, HangupReason,
    MediaUri, MusicClass, Originate, Originated, StreamItem,
};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::redis::{Redis, text};
use super::{element, timer};

/// Between two heart-beats of a waiting caller, and how long one is good for.
const BEAT_EVERY: Duration = Duration::from_secs(3);
const BEAT_S: &str = "10";
/// How long a caller waits at most.
const TIMEOUT_S: &str = "600";
/// When a caller hears his place for the first time.
const FIRST_ANNOUNCE_S: &str = "3";
/// The mark of our own legs.
const LEG: &str = "leg";
/// A number that is being spoken is only stopped behind it: asked again until it is.
const STOP_EVERY: Duration = Duration::from_millis(20);
const STOPS_MAX: usize = 150;

/// What the manager orders.
pub enum Order {
    /// Ring this agent for that caller.
    Ring {
        caller: String,
        agent: String,
        phone: String,
        ring_s: u32,
    },
    /// Tell a caller his place.
    Announce {
        caller: String,
        place: usize,
    },
    /// The caller has waited too long.
    SendAway {
        caller: String,
    },
    /// From the host to itself: no leg came of it.
    NoLeg {
        leg: String,
    },
    /// The same: caller and agent talk, or cannot.
    Connected {
        leg: String,
        caller: String,
    },
    NotConnected {
        leg: String,
        caller: String,
    },
}

struct Caller {
    queue: String,
    number: String,
    /// What was played to him last.
    playback: Option<String>,
    leg: Option<String>,
}

struct Leg {
    caller: String,
    agent: String,
    /// Once the agent has answered.
    bridge: Option<ChannelId>,
    /// Both are in it.
    talking: bool,
}

pub struct Host {
    name: String,
    ari: AriClient,
    redis: Redis,
    orders: mpsc::Sender<Order>,
    /// Queues whose callers are told their places.
    announced: HashSet<String>,
    callers: HashMap<String, Caller>,
    legs: HashMap<String, Leg>,
    /// Ids given out so far.
    ids: u64,
}

impl Host {
    pub fn new(
        name: &str,
        ari: AriClient,
        redis: Redis,
        orders: mpsc::Sender<Order>,
        announced: HashSet<String>,
    ) -> Host {
        Host {
            name: name.to_owned(),
            ari,
            redis,
            orders,
            announced,
            callers: HashMap::new(),
            legs: HashMap::new(),
            ids: 0,
        }
    }

    /// Works until something breaks, and says what.
    pub async fn run(
        mut self,
        mut events: EventStream,
        mut orders: mpsc::Receiver<Order>,
    ) -> String {
        let mut beat = interval(BEAT_EVERY);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let done = tokio::select! {
                item = events.next() => match item {
                    Some(StreamItem::Event(event)) => self.take(event).await,
                    other => Err(format!("the event socket is lost: {other:?}")),
                },
                Some(order) = orders.recv() => self.obey(order).await,
                _ = beat.tick() => self.beat().await,
            };
            if let Err(why) = done {
                return why;
            }
        }
    }

    async fn take(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::StasisStart { channel, args, .. } => match args.first().map(String::as_str) {
                Some(LEG) => self.answered(&channel.id).await,
                Some(queue) => self.enqueue(&channel, queue).await,
                None => Ok(()),
            },
            Event::StasisEnd { channel } => self.caller_left(&channel.id).await,
            Event::ChannelDestroyed { channel, .. } => self.leg_ended(&channel.id).await,
            Event::PlaybackFinished {
                playback,
                target_uri,
                ..
            } => {
                let channel = target_uri.strip_prefix("channel:").unwrap_or_default();
                if let Some(caller) = self.callers.get_mut(channel) {
                    caller.playback.take_if(|own| *own == playback);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    async fn obey(&mut self, order: Order) -> Result<(), String> {
        match order {
            Order::Ring {
                caller,
                agent,
                phone,
                ring_s,
            } => self.ring(caller, agent, &phone, ring_s).await,
            Order::Announce { caller, place } => {
                self.announce(&caller, place);
                Ok(())
            }
            Order::SendAway { caller } => {
                self.hang_up(caller);
                Ok(())
            }
            Order::NoLeg { leg } => self.leg_ended(&leg).await,
            Order::Connected { leg, caller } => {
                match self.legs.get_mut(&leg) {
                    Some(leg) => leg.talking = true,
                    // The agent was quicker.
                    None => self.hang_up(caller),
                }
                Ok(())
            }
            Order::NotConnected { leg, caller } => {
                self.hang_up(leg);
                self.back(&caller).await
            }
        }
    }

    /// A caller is put at the end of the list, and hears music.
    async fn enqueue(&mut self, channel: &Channel, queue: &str) -> Result<(), String> {
        let element = element(&channel.id, &self.name);
        let (timeout, beat) = (
            timer("timeout", queue, &element),
            timer("beat", queue, &element),
        );
        let announce = timer("announce", queue, &element);
        let list = format!("queue:{queue}");
        let mut commands: Vec<&[&str]> = Vec::new();
        let (timeout, beat) = (
            ["SET", &timeout, "1", "EX", TIMEOUT_S],
            ["SET", &beat, "1", "EX", BEAT_S],
        );
        let announce = ["SET", &announce, "1", "EX", FIRST_ANNOUNCE_S];
        let push = ["LPUSH", &list, &element];
        commands.extend([&timeout[..], &beat[..]]);
        if self.announced.contains(queue) {
            commands.push(&announce);
        }
        commands.push(&push);
        self.redis.ask_all(&commands).await?;
        let caller = Caller {
            queue: queue.to_owned(),
            number: channel.caller.number.clone(),
            playback: None,
            leg: None,
        };
        self.callers.insert(channel.id.clone(), caller);
        let (ari, id) = (self.ari.clone(), channel.id.clone());
        tokio::spawn(async move { ari.start_moh(&id, &music()).await });
        Ok(())
    }

    async fn ring(
        &mut self,
        caller: String,
        agent: String,
        phone: &str,
        ring_s: u32,
    ) -> Result<(), String> {
        self.ids += 1;
        let id = ChannelId::new(&format!("original-{}", self.ids));
        let (id, phone) = (id.map_err(shown)?, Endpoint::new(phone).map_err(shown)?);
        let leg = id.as_str().to_owned();
        self.legs.insert(
            leg.clone(),
            Leg {
                caller: caller.clone(),
                agent,
                bridge: None,
                talking: false,
            },
        );
        let Some(known) = self.callers.get_mut(&caller) else {
            return self.leg_ended(&leg).await;
        };
        known.leg = Some(leg.clone());
        let call = Originate {
            channel_id: id,
            endpoint: phone,
            app_args: vec![LEG.to_owned()],
            caller_id: CallerId {
                name: String::new(),
                number: known.number.clone(),
            },
            originator: Some(caller),
            timeout_s: ring_s,
            variables: Vec::new(),
        };
        let (ari, orders) = (self.ari.clone(), self.orders.clone());
        tokio::spawn(async move {
            if !matches!(ari.originate(&call).await, Ok(Originated::Created)) {
                // Whoever would hear it is gone when this fails.
                let _ = orders.send(Order::NoLeg { leg }).await;
            }
        });
        Ok(())
    }

    /// An agent has answered: who is still in the list talks to him.
    async fn answered(&mut self, leg: &str) -> Result<(), String> {
        let Some(known) = self.legs.get(leg) else {
            self.hang_up(leg.to_owned());
            return Ok(());
        };
        let (caller, agent) = (known.caller.clone(), known.agent.clone());
        let Some(queue) = self.callers.get(&caller).map(|it| it.queue.clone()) else {
            self.hang_up(leg.to_owned());
            return Ok(());
        };
        if !self.unlist(&queue, &caller).await? {
            self.hang_up(leg.to_owned());
            return Ok(());
        }
        let bridge = ChannelId::new(&format!("bridge-{leg}")).map_err(shown)?;
        if let Some(known) = self.legs.get_mut(leg) {
            known.bridge = Some(bridge.clone());
        }
        let playback = self
            .callers
            .get_mut(&caller)
            .and_then(|it| it.playback.take());
        let (ari, orders) = (self.ari.clone(), self.orders.clone());
        let (caller, leg) = (caller.clone(), leg.to_owned());
        tokio::spawn(async move {
            let told = match connect(&ari, &bridge, &caller, &leg, playback).await {
                Ok(()) => Order::Connected { leg, caller },
                Err(_) => Order::NotConnected { leg, caller },
            };
            // Whoever would hear it is gone when this fails.
            let _ = orders.send(told).await;
        });
        let (row, lock) = (format!("agent:{agent}"), format!("lock:{agent}"));
        // The lock goes last: without it a look between the two would find a free agent.
        let talks = ["HSET", &row, "state", "talking"];
        let unlock = ["DEL", &lock];
        self.redis.ask_all(&[&talks, &unlock]).await.map(drop)
    }

    /// A caller whose agent hung up too soon is the first again.
    async fn back(&mut self, id: &str) -> Result<(), String> {
        let Some(caller) = self.callers.get_mut(id) else {
            return Ok(());
        };
        caller.leg = None;
        let element = element(id, &self.name);
        let list = format!("queue:{}", caller.queue);
        let timers = ["timeout", "beat"].map(|kind| timer(kind, &caller.queue, &element));
        let timeout = ["SET", &timers[0], "1", "EX", TIMEOUT_S];
        let beat = ["SET", &timers[1], "1", "EX", BEAT_S];
        let push = ["RPUSH", &list, &element];
        let (ari, channel) = (self.ari.clone(), id.to_owned());
        tokio::spawn(async move { ari.start_moh(&channel, &music()).await });
        let commands: [&[&str]; 3] = [&timeout, &beat, &push];
        self.redis.ask_all(&commands).await.map(drop)
    }

    /// A leg is gone: its agent is free, and so is the caller if they talked.
    async fn leg_ended(&mut self, id: &str) -> Result<(), String> {
        let Some(leg) = self.legs.remove(id) else {
            return Ok(());
        };
        if let Some(bridge) = leg.bridge {
            let row = format!("agent:{}", leg.agent);
            self.redis.ask(&["HSET", &row, "state", "free"]).await?;
            let ari = self.ari.clone();
            tokio::spawn(async move {
                if leg.talking {
                    // He may have hung up first.
                    let _ = ari.hangup(&leg.caller, HangupReason::Normal).await;
                }
                let _ = ari.destroy_bridge(bridge.as_str()).await;
            });
            return Ok(());
        }
        let lock = format!("lock:{}", leg.agent);
        let Some(caller) = self.callers.get_mut(&leg.caller) else {
            return self.redis.ask(&["DEL", &lock]).await.map(drop);
        };
        caller.leg = None;
        let ring = timer("ring", &caller.queue, &element(&leg.caller, &self.name));
        self.redis.ask(&["DEL", &lock, &ring]).await.map(drop)
    }

    async fn caller_left(&mut self, id: &str) -> Result<(), String> {
        let Some(caller) = self.callers.remove(id) else {
            return Ok(());
        };
        let Some(leg) = caller.leg else {
            return self.unlist(&caller.queue, id).await.map(drop);
        };
        if self.legs.get(&leg).is_some_and(|leg| leg.bridge.is_none()) {
            self.unlist(&caller.queue, id).await?;
        }
        if self.legs.contains_key(&leg) {
            self.hang_up(leg);
        }
        Ok(())
    }

    /// Takes a caller and his timers out of Redis; whether he was in the list.
    async fn unlist(&mut self, queue: &str, channel: &str) -> Result<bool, String> {
        let element = element(channel, &self.name);
        let list = format!("queue:{queue}");
        let timers = ["timeout", "announce", "ring", "beat"];
        let timers = timers.map(|kind| timer(kind, queue, &element));
        let mut delete = vec!["DEL"];
        delete.extend(timers.iter().map(String::as_str));
        let remove = ["LREM", &list, "1", &element];
        let replies = self.redis.ask_all(&[&remove, &delete]).await?;
        Ok(replies.into_iter().next().map(text).as_deref() == Some("1"))
    }

    /// Tells Redis which of the waiting callers live.
    async fn beat(&mut self) -> Result<(), String> {
        let waiting = self.callers.iter().filter(|(_, caller)| {
            let leg = caller.leg.as_ref().and_then(|leg| self.legs.get(leg));
            leg.is_none_or(|leg| leg.bridge.is_none())
        });
        let keys =
            waiting.map(|(id, caller)| timer("beat", &caller.queue, &element(id, &self.name)));
        let keys: Vec<String> = keys.collect();
        let commands: Vec<[&str; 3]> = keys.iter().map(|key| ["EXPIRE", key, BEAT_S]).collect();
        let commands: Vec<&[&str]> = commands.iter().map(|words| &words[..]).collect();
        self.redis.ask_all(&commands).await.map(drop)
    }

    fn announce(&mut self, id: &str, place: usize) {
        self.ids += 1;
        let playback = ChannelId::new(&format!("place-{}", self.ids));
        let (Some(caller), Ok(playback)) = (self.callers.get_mut(id), playback) else {
            return;
        };
        if caller.playback.is_some() {
            return;
        }
        let texts = match place {
            1 => vec!["sound:queue-youarenext".to_owned()],
            _ => vec![
                "sound:queue-thereare".to_owned(),
                format!("number:{place}"),
                "sound:queue-callswaiting".to_owned(),
            ],
        };
        let media: Vec<MediaUri> = texts.iter().flat_map(|it| MediaUri::new(it)).collect();
        caller.playback = Some(playback.as_str().to_owned());
        let (ari, id) = (self.ari.clone(), id.to_owned());
        tokio::spawn(async move {
            ari.play(&id, &playback, &media).await?;
            // It is queued behind the announcement.
            ari.start_moh(&id, &music()).await
        });
    }

    fn hang_up(&self, channel: String) {
        let ari = self.ari.clone();
        tokio::spawn(async move { ari.hangup(&channel, HangupReason::Normal).await });
    }
}

/// Caller and agent hear each other.
async fn connect(
    ari: &AriClient,
    bridge: &ChannelId,
    caller: &str,
    leg: &str,
    playback: Option<String>,
) -> Result<(), AriError> {
    ari.create_bridge(bridge).await?;
    if let Some(playback) = playback {
        for _ in 0..STOPS_MAX {
            if ari.stop_playback(&playback).await.is_err() {
                break;
            }
            sleep(STOP_EVERY).await;
        }
    }
    ari.stop_moh(caller).await?;
    ari.add_channels(bridge.as_str(), &[caller, leg]).await
}

fn music() -> MusicClass {
    MusicClass::new("default").expect("a constant name fits the grammar")
}

fn shown(error: impl std::fmt::Display) -> String {
    error.to_string()
}
