//! The judge: what really happened at the Asterisks, seen from outside.
//!
//! It listens to every Asterisk as an ARI application of its own (`oracle`) that is subscribed to
//! everything, and never asks a node. From the channels and bridges it derives who talks to whom,
//! keeps the history, and writes down what must never happen. Who is a phone, a trunk or a caller
//! is read off a channel's name; a caller is known by his number, which each test gives once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;

use super::eventually::{SOON, check, eventually};

/// Kept of the events for the report of a failed test.
const TOLD_MAX: usize = 200;

/// How to reach the ARI of one Asterisk.
#[derive(Debug, Clone)]
pub struct AriDoor {
    /// The Asterisk's name.
    pub pbx: String,
    /// `http://127.0.0.1:8088/ari`
    pub url: String,
    pub username: String,
    pub password: String,
}

impl AriDoor {
    /// One GET, as JSON.
    pub async fn get(&self, path: &str) -> Result<Value, String> {
        let request = reqwest::Client::new()
            .get(format!("{}/{path}", self.url))
            .basic_auth(&self.username, Some(&self.password))
            .timeout(Duration::from_secs(5));
        let answer = request.send().await.map_err(|error| error.to_string())?;
        let status = answer.status();
        let text = answer.text().await.map_err(|error| error.to_string())?;
        if !status.is_success() {
            return Err(format!("{path} at {}: {status} {text}", self.pbx));
        }
        serde_json::from_str(&text).map_err(|error| format!("{path} at {}: {error}", self.pbx))
    }
}

/// A caller and an agent who heard each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Talk {
    /// The caller's number.
    pub caller: String,
    /// The agent's phone.
    pub agent: String,
    pub begun: Instant,
    pub ended: Option<Instant>,
}

/// A sound that began to be played to a caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Played {
    pub pbx: String,
    /// Number of the caller, empty if unknown.
    pub caller: String,
    /// `sound:queue-thereare`, `number:3` ...
    pub media: String,
    pub at: Instant,
}

/// Watches all Asterisks of a test.
pub struct Oracle {
    doors: Vec<AriDoor>,
    book: Arc<Mutex<Book>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Oracle {
    /// Begins to watch, and returns when it hears every Asterisk. `phones` are the agents' numbers.
    pub async fn watch(doors: Vec<AriDoor>, phones: &[&str]) -> Oracle {
        let book = Arc::new(Mutex::new(Book {
            phones: phones.iter().map(|phone| (*phone).to_owned()).collect(),
            ..Book::default()
        }));
        let watcher = |door: &AriDoor| tokio::spawn(listen(door.clone(), book.clone()));
        let tasks = doors.iter().map(watcher).collect();
        let oracle = Oracle { doors, book, tasks };
        oracle.hears_all().await;
        oracle
    }

    /// Waits until it is connected to every Asterisk.
    pub async fn hears_all(&self) {
        eventually(SOON, "the oracle hears every asterisk", async || {
            let heard = self.book().heard.clone();
            check(heard.len() == self.doors.len(), || {
                format!("it hears {heard:?}")
            })
        })
        .await;
    }

    /// All conversations so far, in the order in which they began.
    pub fn talks(&self) -> Vec<Talk> {
        self.book().talks.clone()
    }

    /// Callers in the order in which they were connected.
    pub fn order(&self) -> Vec<String> {
        self.book()
            .talks
            .iter()
            .map(|talk| talk.caller.clone())
            .collect()
    }

    /// Conversations going on now: caller and agent.
    pub fn talking(&self) -> BTreeSet<(String, String)> {
        let book = self.book();
        let open = book.talks.iter().filter(|talk| talk.ended.is_none());
        open.map(|talk| (talk.caller.clone(), talk.agent.clone()))
            .collect()
    }

    /// Who talks to this caller now.
    pub fn agent_of(&self, caller: &str) -> Option<String> {
        self.talking()
            .into_iter()
            .find(|(number, _)| number == caller)
            .map(|(_, agent)| agent)
    }

    /// How often each phone began to ring, by channels created towards it.
    pub fn rings(&self, phone: &str) -> usize {
        self.book().rings.get(phone).copied().unwrap_or(0)
    }

    /// Phones that ring or are called at this moment and have not answered.
    pub fn ringing(&self) -> BTreeSet<String> {
        let book = self.book();
        let legs = book
            .channels
            .values()
            .filter(|channel| channel.state != "Up");
        legs.filter_map(|channel| book.phone_of(&channel.name))
            .collect()
    }

    /// What was played to a caller, oldest first.
    pub fn played_to(&self, caller: &str) -> Vec<Played> {
        let book = self.book();
        book.played
            .iter()
            .filter(|played| played.caller == caller)
            .cloned()
            .collect()
    }

    /// Ids of the living channels of the callers at one Asterisk, by number.
    pub fn callers_at(&self, pbx: &str) -> BTreeMap<String, String> {
        let book = self.book();
        let of_pbx = book.channels.iter().filter(|((at, _), _)| at == pbx);
        let callers = of_pbx.filter(|(_, channel)| book.side(&channel.name) == Side::Caller);
        callers
            .map(|((_, id), channel)| (channel.number.clone(), id.clone()))
            .collect()
    }

    /// Waits until this caller talks to somebody, and says to whom.
    pub async fn connected(&self, caller: &str) -> String {
        eventually(SOON, &format!("caller {caller} is connected"), async || {
            self.agent_of(caller)
                .ok_or_else(|| format!("talking are {:?}", self.talking()))
        })
        .await
    }

    /// Waits until this many conversations have begun.
    pub async fn talked(&self, count: usize, within: Duration) {
        eventually(
            within,
            &format!("{count} conversations have begun"),
            async || {
                let order = self.order();
                check(order.len() >= count, || {
                    format!("{} have: {order:?}", order.len())
                })
            },
        )
        .await;
    }

    /// Waits until the phone rings.
    pub async fn rung(&self, phone: &str) {
        eventually(SOON, &format!("phone {phone} rings"), async || {
            let ringing = self.ringing();
            check(ringing.contains(phone), || {
                format!("ringing are {ringing:?}")
            })
        })
        .await;
    }

    /// Waits until no Asterisk has a channel or a bridge, asking each by REST.
    pub async fn all_released(&self) {
        eventually(
            SOON,
            "no channel and no bridge is left in any asterisk",
            async || {
                for door in &self.doors {
                    for kind in ["channels", "bridges"] {
                        let left = door.get(kind).await?;
                        let none = left.as_array().is_some_and(Vec::is_empty);
                        check(none, || format!("{kind} of {}: {left}", door.pbx))?;
                    }
                }
                Ok(())
            },
        )
        .await;
    }

    /// What must never happen and did.
    pub fn faults(&self) -> Vec<String> {
        self.book().faults.clone()
    }

    /// # Panics
    /// When something happened that must never happen.
    pub fn assert_no_faults(&self) {
        let faults = self.faults();
        assert!(
            faults.is_empty(),
            "what must never happen:\n{}",
            faults.join("\n")
        );
    }

    /// The latest events and the history, for the report of a failed test.
    pub fn report(&self) -> String {
        let book = self.book();
        let talks: Vec<String> = book.talks.iter().map(|talk| format!("{talk:?}")).collect();
        format!(
            "=== the oracle\nfaults: {:?}\nconversations:\n{}\nlast events:\n{}\n",
            book.faults,
            talks.join("\n"),
            book.told.join("\n")
        )
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        lock(&self.book)
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

fn lock(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    book.lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Caller,
    Trunk,
    Phone,
}

#[derive(Debug, Clone, Default)]
struct Channel {
    name: String,
    number: String,
    state: String,
    bridge: Option<String>,
}

/// The state of all Asterisks, and its history.
#[derive(Default)]
struct Book {
    phones: BTreeSet<String>,
    heard: BTreeSet<String>,
    /// By Asterisk and channel id.
    channels: BTreeMap<(String, String), Channel>,
    rings: BTreeMap<String, usize>,
    talks: Vec<Talk>,
    played: Vec<Played>,
    faults: Vec<String>,
    told: Vec<String>,
}

impl Book {
    fn side(&self, name: &str) -> Side {
        if name.starts_with("PJSIP/trunk-") {
            Side::Trunk
        } else if self.phone_of(name).is_some() {
            Side::Phone
        } else {
            Side::Caller
        }
    }

    /// `PJSIP/1001-00000003` is phone `1001`, if that is one.
    fn phone_of(&self, name: &str) -> Option<String> {
        let (endpoint, _) = name.strip_prefix("PJSIP/")?.rsplit_once('-')?;
        self.phones.get(endpoint).cloned()
    }

    fn take(&mut self, pbx: &str, event: &Value) {
        let kind = event["type"].as_str().unwrap_or_default();
        // Most of all events, and nothing in them for the judge.
        if matches!(
            kind,
            "ChannelVarset" | "ChannelDialplan" | "DeviceStateChanged"
        ) {
            return;
        }
        self.tell(pbx, kind, event);
        match kind {
            "ChannelDestroyed" => {
                self.update(pbx, &event["channel"]);
                let id = event["channel"]["id"].as_str().unwrap_or_default();
                self.channels.remove(&(pbx.to_owned(), id.to_owned()));
            }
            "ChannelEnteredBridge" | "ChannelLeftBridge" => {
                if let Some(channel) = self.update(pbx, &event["channel"]) {
                    let bridge = event["bridge"]["id"].as_str().unwrap_or_default();
                    if kind == "ChannelEnteredBridge" {
                        channel.bridge = Some(bridge.to_owned());
                    } else if channel.bridge.as_deref() == Some(bridge) {
                        channel.bridge = None;
                    }
                }
            }
            "PlaybackStarted" | "PlaybackContinuing" => self.playback(pbx, kind, event),
            _ => {
                self.update(pbx, &event["channel"]);
            }
        }
        self.judge();
    }

    fn update(&mut self, pbx: &str, seen: &Value) -> Option<&mut Channel> {
        let id = seen["id"].as_str()?;
        let name = seen["name"].as_str()?;
        let key = (pbx.to_owned(), id.to_owned());
        if !self.channels.contains_key(&key)
            && let Some(phone) = self.phone_of(name)
        {
            *self.rings.entry(phone).or_default() += 1;
        }
        let channel = self.channels.entry(key).or_default();
        channel.name = name.to_owned();
        channel.number = seen["caller"]["number"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        channel.state = seen["state"].as_str().unwrap_or_default().to_owned();
        Some(channel)
    }

    fn playback(&mut self, pbx: &str, kind: &str, event: &Value) {
        let playback = &event["playback"];
        let target = playback["target_uri"].as_str().unwrap_or_default();
        let id = target.strip_prefix("channel:").unwrap_or_default();
        let channel = self.channels.get(&(pbx.to_owned(), id.to_owned()));
        let caller = channel
            .map(|channel| channel.number.clone())
            .unwrap_or_default();
        let field = if kind == "PlaybackStarted" {
            "media_uri"
        } else {
            "next_media_uri"
        };
        // Some versions move the list on before they tell of it.
        let media = playback[field].as_str().or(playback["media_uri"].as_str());
        self.played.push(Played {
            pbx: pbx.to_owned(),
            caller,
            media: media.unwrap_or_default().to_owned(),
            at: Instant::now(),
        });
    }

    /// Derives who talks to whom now, and what must not be.
    fn judge(&mut self) {
        let book: &Book = self;
        let mut bridges: BTreeMap<(&str, &str), Vec<&Channel>> = BTreeMap::new();
        for ((pbx, _), channel) in &book.channels {
            if let Some(bridge) = &channel.bridge {
                bridges.entry((pbx, bridge)).or_default().push(channel);
            }
        }
        // A caller is connected when his own Asterisk has bridged him; which phone that is, is told
        // by the Asterisk where the phone is, for a leg through a trunk carries his number there.
        let mut served: BTreeMap<String, usize> = BTreeMap::new();
        let mut reached: BTreeSet<(String, String)> = BTreeSet::new();
        let mut faults = Vec::new();
        for ((pbx, bridge), members) in &bridges {
            let of = |side| {
                members
                    .iter()
                    .filter(move |member| book.side(&member.name) == side)
            };
            if members.len() > 2 || of(Side::Caller).count() > 1 || of(Side::Phone).count() > 1 {
                let names: Vec<&str> = members.iter().map(|member| member.name.as_str()).collect();
                faults.push(format!("bridge {bridge} at {pbx} holds {names:?}"));
            }
            if members.len() == 2 {
                for caller in of(Side::Caller) {
                    *served.entry(caller.number.clone()).or_default() += 1;
                }
                for phone in of(Side::Phone).filter_map(|member| book.phone_of(&member.name)) {
                    for other in members.iter().filter(|m| book.side(&m.name) != Side::Phone) {
                        reached.insert((other.number.clone(), phone.clone()));
                    }
                }
            }
        }
        for (caller, times) in &served {
            if *times > 1 {
                faults.push(format!("caller {caller} is in {times} bridges"));
            }
        }
        let talking: BTreeSet<(String, String)> = reached
            .into_iter()
            .filter(|(caller, _)| served.contains_key(caller))
            .collect();
        self.enter(talking, faults);
    }

    fn enter(&mut self, mut talking: BTreeSet<(String, String)>, mut faults: Vec<String>) {
        // Two phones that answer at once may both be bridged behind their trunks for the moment
        // until the loser is hung up; who was there first keeps the caller, a second is not yet one.
        let mut phones_of: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (caller, phone) in &talking {
            phones_of
                .entry(caller.clone())
                .or_default()
                .push(phone.clone());
        }
        talking.retain(|(caller, _)| phones_of[caller].len() == 1);
        let mut callers_of: BTreeMap<&String, Vec<&String>> = BTreeMap::new();
        for (caller, phone) in &talking {
            callers_of.entry(phone).or_default().push(caller);
        }
        for (phone, callers) in callers_of {
            if callers.len() > 1 {
                faults.push(format!(
                    "agent {phone} talks to {callers:?} at the same time"
                ));
            }
        }
        let now = Instant::now();
        for talk in self.talks.iter_mut().filter(|talk| talk.ended.is_none()) {
            if !talking.remove(&(talk.caller.clone(), talk.agent.clone()))
                && !phones_of
                    .get(&talk.caller)
                    .is_some_and(|phones| phones.contains(&talk.agent))
            {
                talk.ended = Some(now);
            }
        }
        let begun = talking.into_iter();
        self.talks.extend(begun.map(|(caller, agent)| Talk {
            caller,
            agent,
            begun: now,
            ended: None,
        }));
        for fault in faults {
            if !self.faults.contains(&fault) {
                self.faults.push(fault);
            }
        }
    }

    /// The Asterisk is out of sight: what it had is not known, and counts as gone.
    fn lose(&mut self, pbx: &str) {
        self.heard.remove(pbx);
        self.channels.retain(|(at, _), _| at != pbx);
        self.judge();
    }

    fn tell(&mut self, pbx: &str, kind: &str, event: &Value) {
        if self.told.len() >= TOLD_MAX {
            self.told.remove(0);
        }
        let channel = &event["channel"];
        let bridge = event["bridge"]["id"].as_str().unwrap_or_default();
        let media = event["playback"]["media_uri"].as_str().unwrap_or_default();
        let name = channel["name"].as_str().unwrap_or_default();
        let state = channel["state"].as_str().unwrap_or_default();
        let number = channel["caller"]["number"].as_str().unwrap_or_default();
        let at = event["timestamp"].as_str().unwrap_or_default();
        self.told.push(format!(
            "{at} {pbx} {kind} {name} {state} {number} {bridge} {media}"
        ));
    }
}

/// Keeps one event socket open for as long as the oracle lives.
async fn listen(door: AriDoor, book: Arc<Mutex<Book>>) {
    loop {
        if let Err(why) = hear(&door, &book).await {
            tracing::debug!(pbx = door.pbx, why, "the oracle does not hear");
        }
        lock(&book).lose(&door.pbx);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn hear(door: &AriDoor, book: &Mutex<Book>) -> Result<(), String> {
    let url = door.url.replacen("http://", "ws://", 1);
    let mut request = format!("{url}/events?app=oracle&subscribeAll=true")
        .into_client_request()
        .map_err(|error| error.to_string())?;
    let plain = format!("{}:{}", door.username, door.password);
    let value = HeaderValue::from_str(&format!("Basic {}", base64(plain.as_bytes())))
        .map_err(|error| error.to_string())?;
    request.headers_mut().insert("Authorization", value);
    let connecting = tokio_tungstenite::connect_async(request);
    let connected = tokio::time::timeout(Duration::from_secs(5), connecting).await;
    let (mut socket, _) = connected
        .map_err(|e| e.to_string())?
        .map_err(|e| e.to_string())?;

    let channels = door.get("channels").await?;
    let bridges = door.get("bridges").await?;
    {
        let mut book = lock(book);
        for channel in channels.as_array().into_iter().flatten() {
            book.update(&door.pbx, channel);
        }
        for bridge in bridges.as_array().into_iter().flatten() {
            for member in bridge["channels"].as_array().into_iter().flatten() {
                let key = (
                    door.pbx.clone(),
                    member.as_str().unwrap_or_default().to_owned(),
                );
                if let Some(channel) = book.channels.get_mut(&key) {
                    channel.bridge = bridge["id"].as_str().map(str::to_owned);
                }
            }
        }
        book.heard.insert(door.pbx.clone());
        book.judge();
    }
    while let Some(message) = socket.next().await {
        let message = message.map_err(|error| error.to_string())?;
        if let Ok(text) = message.to_text()
            && let Ok(event) = serde_json::from_str::<Value>(text)
        {
            lock(book).take(&door.pbx, &event);
        }
    }
    Ok(())
}

/// RFC 4648 with padding.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = (0..3).fold(0, |word, i| {
            word << 8 | u32::from(*chunk.get(i).unwrap_or(&0))
        });
        for i in 0..4 {
            let letter = ALPHABET[(word >> (18 - 6 * i)) as usize & 63] as char;
            text.push(if i <= chunk.len() { letter } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn book() -> Book {
        Book {
            phones: ["1001", "1002"].map(str::to_owned).into(),
            ..Book::default()
        }
    }

    fn moved(book: &mut Book, kind: &str, pbx: &str, name: &str, number: &str, bridge: &str) {
        let channel =
            json!({"id": name, "name": name, "state": "Up", "caller": {"number": number}});
        book.take(
            pbx,
            &json!({"type": kind, "channel": channel, "bridge": {"id": bridge}}),
        );
    }

    fn enters(book: &mut Book, pbx: &str, name: &str, number: &str, bridge: &str) {
        moved(book, "ChannelEnteredBridge", pbx, name, number, bridge);
    }

    #[test]
    fn a_talk_through_a_trunk_is_one_talk() {
        let mut book = book();
        enters(&mut book, "b", "PJSIP/trunk-a-01", "5551", "y");
        enters(&mut book, "b", "PJSIP/1001-02", "", "y");
        assert!(
            book.talks.is_empty(),
            "the caller himself is not connected yet"
        );
        enters(&mut book, "a", "PJSIP/outside-01", "5551", "x");
        enters(&mut book, "a", "PJSIP/trunk-b-02", "1001", "x");
        assert_eq!(book.talks.len(), 1);
        assert_eq!(
            (book.talks[0].caller.as_str(), book.talks[0].agent.as_str()),
            ("5551", "1001")
        );
        moved(
            &mut book,
            "ChannelLeftBridge",
            "a",
            "PJSIP/outside-01",
            "5551",
            "x",
        );
        assert!(book.talks[0].ended.is_some());
        assert!(book.faults.is_empty(), "{:?}", book.faults);
    }

    #[test]
    fn two_phones_with_one_caller_are_a_fault() {
        let mut book = book();
        enters(&mut book, "a", "PJSIP/outside-01", "5551", "x");
        enters(&mut book, "a", "PJSIP/1001-02", "", "x");
        assert!(book.faults.is_empty());
        enters(&mut book, "a", "PJSIP/1002-03", "", "x");
        assert_eq!(book.faults.len(), 1);
    }

    #[test]
    fn one_agent_in_two_calls_is_a_fault() {
        let mut book = book();
        for (number, bridge) in [("5551", "x"), ("5552", "y")] {
            enters(
                &mut book,
                "a",
                &format!("PJSIP/outside-{number}"),
                number,
                bridge,
            );
            enters(&mut book, "a", &format!("PJSIP/1001-{number}"), "", bridge);
        }
        assert_eq!(book.faults.len(), 1, "{:?}", book.faults);
    }

    #[test]
    fn base64_matches_the_vectors_of_rfc_4648() {
        for (plain, coded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v")] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }
}
