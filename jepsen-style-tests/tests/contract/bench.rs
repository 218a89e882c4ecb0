//! What every contract needs: one Asterisk, a client, and a record of its events.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use holdfast_ari::{
    AriClient, AriConfig, CallerId, Channel, ChannelId, Endpoint, Event, EventStream, MediaUri,
    Originate, StreamControl, StreamItem, events,
};
use holdfast_drills::lab::wait::until;
use holdfast_drills::lab::{CallSpec, Caller, Habit, Kind, Lab, Pbx, Phone};
use tokio::task::JoinHandle;

/// One Asterisk with a client whose event socket is up.
pub struct Bench {
    pub pbx: Pbx,
    pub client: AriClient,
    pub watch: Watch,
    pub lab: Lab,
}

impl Bench {
    pub async fn start(kind: Kind) -> Bench {
        let lab = Lab::new(kind).unwrap();
        let pbx = lab.start("a").await.unwrap();
        let mut config = pbx.ari();
        // A loaded machine is no fault of the contract; tests of deadlines set their own.
        config.request_timeout = Duration::from_secs(20);
        let client = AriClient::new(&config).unwrap();
        let watch = Watch::open(&config);
        watch.up(1).await;
        Bench {
            pbx,
            client,
            watch,
            lab,
        }
    }

    /// A caller in the queue `support`, and the id of the channel.
    pub async fn caller(&self, number: &str) -> (Caller, String) {
        self.call(CallSpec::new("q-support", number)).await
    }

    /// A caller who reaches Stasis, and the id of the channel.
    pub async fn call(&self, spec: CallSpec) -> (Caller, String) {
        let number = spec.number.clone();
        let caller = self.pbx.call(spec).await.unwrap();
        let (channel, _) = self.watch.start_of(&number).await;
        (caller, channel.id)
    }

    /// Calls a phone under this id and waits until it has answered.
    pub async fn talk_to(&self, leg: &str, number: &str) {
        self.client.originate(&leg_to(leg, number)).await.unwrap();
        self.watch.start_of_id(leg).await;
    }

    /// A phone that answers at once.
    pub async fn willing_phone(&self, number: &str) -> Phone {
        let habit = Habit::Answer {
            after_ms: 50,
            talk_ms: None,
        };
        self.pbx.phone(number, habit).await.unwrap()
    }
}

/// A leg to a phone of this Asterisk.
pub fn leg_to(leg: &str, number: &str) -> Originate {
    Originate {
        channel_id: id(leg),
        endpoint: endpoint(number),
        app_args: vec!["leg".into(), number.into()],
        caller_id: CallerId {
            name: "Queue".into(),
            number: "5550000".into(),
        },
        originator: None,
        timeout_s: 20,
        variables: Vec::new(),
    }
}

pub fn id(text: &str) -> ChannelId {
    ChannelId::new(text).unwrap()
}

pub fn endpoint(number: &str) -> Endpoint {
    Endpoint::new(&format!("PJSIP/{number}")).unwrap()
}

pub fn media(names: &[&str]) -> Vec<MediaUri> {
    names
        .iter()
        .map(|name| MediaUri::new(name).unwrap())
        .collect()
}

/// Waits until `look` gives true.
pub async fn eventually<F, Fut>(what: &str, mut look: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = bool>,
{
    let pending = || {
        let look = look();
        async move { look.await.then_some(()) }
    };
    until(what, pending).await.unwrap();
}

/// Everything an event stream gave, in order.
pub struct Watch {
    items: Arc<Mutex<Vec<StreamItem>>>,
    control: StreamControl,
    task: JoinHandle<()>,
}

impl Watch {
    pub fn open(config: &AriConfig) -> Watch {
        Watch::of(events(config))
    }

    fn of(mut stream: EventStream) -> Watch {
        let items = Arc::new(Mutex::new(Vec::new()));
        let control = stream.control();
        let kept = items.clone();
        let task = tokio::spawn(async move {
            while let Some(item) = stream.next().await {
                kept.lock().unwrap().push(item);
            }
        });
        Watch {
            items,
            control,
            task,
        }
    }

    pub fn control(&self) -> &StreamControl {
        &self.control
    }

    /// All items so far.
    pub fn items(&self) -> Vec<StreamItem> {
        self.items.lock().unwrap().clone()
    }

    /// All events so far.
    pub fn events(&self) -> Vec<Event> {
        let only = |item| match item {
            StreamItem::Event(event) => Some(event),
            _ => None,
        };
        self.items().into_iter().filter_map(only).collect()
    }

    /// Types of the events of one channel so far, in order.
    pub fn types_of(&self, channel: &str) -> Vec<&'static str> {
        let about = |event: &Event| event.channel().is_some_and(|c| c.id == channel);
        self.events()
            .iter()
            .filter(|event| about(event))
            .map(Event::type_name)
            .collect()
    }

    /// Waits until an item fits.
    pub async fn item<T>(&self, what: &str, fit: impl Fn(&StreamItem) -> Option<T>) -> T {
        let look = || {
            let found = self.items.lock().unwrap().iter().find_map(&fit);
            std::future::ready(found)
        };
        match until(what, look).await {
            Ok(found) => found,
            Err(error) => {
                let told: Vec<String> = self.items().iter().map(short).collect();
                panic!("{error}; the stream told: {told:?}");
            }
        }
    }

    /// Waits until an event fits.
    pub async fn event<T>(&self, what: &str, fit: impl Fn(&Event) -> Option<T>) -> T {
        self.item(what, |item| match item {
            StreamItem::Event(event) => fit(event),
            _ => None,
        })
        .await
    }

    /// Waits for an event of this type about this channel.
    pub async fn told(&self, type_name: &str, channel: &str) {
        let what = format!("{type_name} of {channel}");
        self.event(&what, |event| {
            let fits =
                event.type_name() == type_name && event.channel().is_some_and(|c| c.id == channel);
            fits.then_some(())
        })
        .await;
    }

    /// Waits for the n-th opening of the socket.
    pub async fn up(&self, n: u64) {
        let up = |item: &StreamItem| {
            matches!(item, StreamItem::Up { connection } if *connection >= n).then_some(())
        };
        self.item("an open event socket", up).await;
    }

    /// Waits for the StasisStart of the caller with this number.
    pub async fn start_of(&self, number: &str) -> (Channel, Vec<String>) {
        self.event(&format!("StasisStart of {number}"), |event| match event {
            Event::StasisStart { channel, args, .. } if channel.caller.number == number => {
                Some(((**channel).clone(), args.clone()))
            }
            _ => None,
        })
        .await
    }

    /// Waits for the StasisStart of the channel with this id.
    pub async fn start_of_id(&self, id: &str) -> Vec<String> {
        self.event(&format!("StasisStart of {id}"), |event| match event {
            Event::StasisStart { channel, args, .. } if channel.id == id => Some(args.clone()),
            _ => None,
        })
        .await
    }

    /// Waits for the end of a leg and gives its cause and SIP status.
    pub async fn destroyed(&self, id: &str) -> (Option<i64>, Option<i64>) {
        self.event(&format!("ChannelDestroyed of {id}"), |event| match event {
            Event::ChannelDestroyed {
                channel,
                cause,
                tech_cause,
                ..
            } if channel.id == id => Some((*cause, *tech_cause)),
            _ => None,
        })
        .await
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn short(item: &StreamItem) -> String {
    match item {
        StreamItem::Event(event) => {
            let channel = event.channel().map(|c| c.id.clone()).unwrap_or_default();
            format!("{} {channel}", event.type_name())
        }
        other => format!("{other:?}"),
    }
}
