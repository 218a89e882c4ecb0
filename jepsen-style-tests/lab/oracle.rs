//! The judge: what really happened at the Asterisks, seen from outside.
//!
//! It listens to every Asterisk as an ARI application of its own (`oracle`) that is subscribed to
//! everything, and never asks a node. From the channels and bridges it derives who talks to whom,
//! keeps the history, and writes down what must never happen. Who is a phone, a trunk or a caller
//! is read off a channel's name; a caller is known by his number, which each test gives once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;

use super::eventually::{SOON, check, eventually};
use super::moments::{Moment, What};
use super::oracle_book::{Book, Side};

/// Calls of phones that are looked back at.
const LATEST: usize = 500;

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
    /// When the last of those who take part entered his bridge, by the Asterisks' timestamps:
    /// milliseconds since the Unix epoch.
    pub begun_ms: i64,
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
    tap: Tap,
    tasks: Vec<JoinHandle<()>>,
}

/// Somebody who hears every event too: the Asterisk's name, and the event.
type Listener = Box<dyn Fn(&str, &Value) + Send + Sync>;
type Tap = Arc<OnceLock<Listener>>;

impl Oracle {
    /// Begins to watch, and returns when it hears every Asterisk. `phones` are the agents' numbers.
    pub async fn watch(doors: Vec<AriDoor>, phones: &[&str]) -> Oracle {
        let book = Arc::new(Mutex::new(Book {
            phones: phones.iter().map(|phone| (*phone).to_owned()).collect(),
            ..Book::default()
        }));
        let tap = Tap::default();
        let watcher =
            |door: &AriDoor| tokio::spawn(listen(door.clone(), book.clone(), tap.clone()));
        let tasks = doors.iter().map(watcher).collect();
        let oracle = Oracle {
            doors,
            book,
            tap,
            tasks,
        };
        oracle.hears_all().await;
        oracle
    }

    /// Lets somebody hear every event from now on. Only the first who asks is let.
    pub fn tell(&self, listener: impl Fn(&str, &Value) + Send + Sync + 'static) {
        let told = self.tap.set(Box::new(listener));
        assert!(told.is_ok(), "the oracle tells one listener");
    }

    /// Listens no more, and knows nothing from now on: for measuring what others cost. An Asterisk then
    /// keeps nothing of it.
    pub fn stop(&mut self) {
        self.tasks.drain(..).for_each(|task| task.abort());
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

    /// When channels were created, answered and gone, in the order in which it was heard.
    pub fn moments(&self) -> Vec<Moment> {
        self.book().moments.clone()
    }

    /// When a phone was called for the first time after this moment, both by the Asterisks' stamps.
    pub fn phone_called(&self, after_ms: i64) -> Option<i64> {
        let book = self.book();
        let called = |moment: &&Moment| moment.what == What::Created && moment.phone.is_some();
        let stamps = book.moments.iter().rev().filter(called).map(|m| m.at_ms);
        // Stamps of several Asterisks are not quite in order.
        stamps.take(LATEST).filter(|at| *at > after_ms).min()
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

/// Keeps one event socket open for as long as the oracle lives.
async fn listen(door: AriDoor, book: Arc<Mutex<Book>>, tap: Tap) {
    loop {
        if let Err(why) = hear(&door, &book, &tap).await {
            tracing::debug!(pbx = door.pbx, why, "the oracle does not hear");
        }
        lock(&book).lose(&door.pbx);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn hear(door: &AriDoor, book: &Mutex<Book>, tap: &Tap) -> Result<(), String> {
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
            if let Some(listener) = tap.get() {
                listener(&door.pbx, &event);
            }
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

    #[test]
    fn base64_matches_the_vectors_of_rfc_4648() {
        for (plain, coded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v")] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }
}
