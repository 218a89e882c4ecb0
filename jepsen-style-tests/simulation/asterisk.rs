//! One simulated Asterisk in the world: the pure `Pbx` of the simulator behind a network of its own.
//!
//! Requests and events take seeded times; answers can be lost after the request was done, the event
//! socket can be cut with all that is under way, or go silent without being closed; the whole can
//! stop and go on late, or die and come back. [`Way`] is what a node's ARI client holds of it.

use crate::book::{Book, Clock};
use holdfast_ari::DownReason;
use holdfast_ari::transport::{Answer, Frame, NoAnswer, Pending, Socket, Transport};
use holdfast_sim::{Output, Pbx, PbxConfig, Request, Response, TrunkMessage};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{mpsc, oneshot};

/// The connection by which the judge watches; no fault touches it.
const JUDGE: u64 = 0;
/// Its application.
const JUDGE_APP: &str = "Judge";

/// What goes wrong on the way between a node and its Asterisk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WayFaults {
    /// Each answer comes this much later.
    pub slow_ms: u64,
    /// How many of 1000 answers are lost after the request was done.
    pub lose_permille: u32,
    /// How many of 1000 requests get a 500 without being done.
    pub fail_permille: u32,
    /// No packet passes: requests and sockets hang.
    pub cut: bool,
    /// The event socket is not accepted.
    pub refuse_socket: bool,
}

/// What an Asterisk told the world.
pub enum Told {
    /// An event, as somebody who watches everything got it.
    Event(Value),
    CallerEnded(u64),
    Trunk {
        to: String,
        message: TrunkMessage,
    },
}

/// Clones are the same Asterisk.
#[derive(Clone)]
pub struct Asterisk {
    pub name: String,
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    name: String,
    book: Book,
    pbx: Pbx,
    rng: StdRng,
    alive: bool,
    stopped: bool,
    faults: WayFaults,
    serial: u64,
    inbound: BTreeMap<(u64, u64), In>,
    /// What the others last sent by a trunk arrives then; what they send later arrives no sooner.
    trunk_due: u64,
    outbound: BTreeMap<(u64, u64), Out>,
    answers: BTreeMap<u64, oneshot::Sender<Result<Answer, NoAnswer>>>,
    conns: BTreeMap<u64, Conn>,
    told: Vec<Told>,
}

struct Conn {
    frames: mpsc::UnboundedSender<Frame>,
    /// Nothing overtakes on one socket.
    last_due: u64,
    /// Open for both ends, and nothing passes.
    mute: bool,
}

enum In {
    Request {
        request: Box<Request>,
        answer: oneshot::Sender<Result<Answer, NoAnswer>>,
    },
    Open {
        apps: Vec<String>,
        all: bool,
        opened: oneshot::Sender<Result<Opened, DownReason>>,
    },
    Ping(u64),
    Close(u64),
    Trunk(String, TrunkMessage),
}

enum Out {
    Answer(
        oneshot::Sender<Result<Answer, NoAnswer>>,
        Result<Answer, NoAnswer>,
    ),
    Frame(u64, Frame),
}

type Opened = (u64, mpsc::UnboundedReceiver<Frame>);

impl Asterisk {
    pub fn new(config: PbxConfig, book: Book) -> Asterisk {
        let name = config.name.clone();
        let inner = Inner {
            name: name.clone(),
            book,
            rng: StdRng::seed_from_u64(config.seed ^ 0x00a5_7e21),
            pbx: Pbx::new(config),
            alive: true,
            stopped: false,
            faults: WayFaults::default(),
            serial: JUDGE,
            inbound: BTreeMap::new(),
            trunk_due: 0,
            outbound: BTreeMap::new(),
            answers: BTreeMap::new(),
            conns: BTreeMap::new(),
            told: Vec::new(),
        };
        let asterisk = Asterisk {
            name,
            inner: Arc::new(Mutex::new(inner)),
        };
        asterisk.lock().let_the_judge_watch();
        asterisk
    }

    /// What a node's client holds of it.
    pub fn way(&self) -> Arc<dyn Transport> {
        Arc::new(Way(self.clone()))
    }

    pub fn is_alive(&self) -> bool {
        self.lock().alive
    }

    /// It lives and is not stopped.
    pub fn runs(&self) -> bool {
        let inner = self.lock();
        inner.alive && !inner.stopped
    }

    /// Does something to the core now; nothing if it is stopped or dead.
    pub fn act(&self, act: impl FnOnce(&mut Pbx)) {
        let mut inner = self.lock();
        if inner.alive && !inner.stopped {
            let now = inner.book.clock.now();
            inner.pbx.advance(now);
            act(&mut inner.pbx);
            inner.flush();
        }
    }

    pub fn look<T>(&self, look: impl FnOnce(&Pbx) -> T) -> T {
        look(&self.lock().pbx)
    }

    /// As by SIGKILL: all is gone, connections end.
    pub fn kill(&self) {
        let mut inner = self.lock();
        let now = inner.book.clock.now();
        inner.pbx.advance(now);
        inner.pbx.crash();
        inner.flush();
        inner.alive = false;
        inner.stopped = false;
        // Dropping them is what their other ends see.
        inner.inbound.clear();
        inner.outbound.clear();
        inner.answers.clear();
        inner.conns.clear();
    }

    /// Comes back after [`Asterisk::kill`].
    pub fn start(&self) {
        let mut inner = self.lock();
        if !inner.alive {
            let now = inner.book.clock.now();
            inner.alive = true;
            inner.pbx.advance(now);
            inner.pbx.boot();
            inner.let_the_judge_watch();
        }
    }

    /// As by SIGSTOP and SIGCONT: what was asked meanwhile is done late.
    pub fn stop(&self, stopped: bool) {
        self.lock().stopped = stopped;
    }

    pub fn set_faults(&self, change: impl FnOnce(&mut WayFaults)) {
        change(&mut self.lock().faults);
    }

    /// Closes every event socket; what was under way on it is lost.
    pub fn cut_sockets(&self) {
        let mut inner = self.lock();
        for conn in std::mem::take(&mut inner.conns).into_keys() {
            inner.pbx.ws_close(conn);
        }
        inner.flush();
    }

    /// The open event sockets go silent without being closed.
    pub fn mute_sockets(&self) {
        for conn in self.lock().conns.values_mut() {
            conn.mute = true;
        }
    }

    /// Event sockets that went silent end, as when the way is good again and the other end knows
    /// nothing of them.
    pub fn cut_muted(&self) {
        let mut inner = self.lock();
        let muted = inner.conns.iter().filter(|(_, conn)| conn.mute);
        for conn in muted.map(|(id, _)| *id).collect::<Vec<_>>() {
            inner.conns.remove(&conn);
            inner.pbx.ws_close(conn);
        }
        inner.flush();
    }

    /// A message from another Asterisk.
    pub fn trunk(&self, from: &str, message: TrunkMessage) {
        let mut inner = self.lock();
        if inner.alive {
            inner.arrives(In::Trunk(from.to_string(), message));
        }
    }

    /// Lets everything happen that is due, and gives what it told meanwhile.
    pub fn step(&self) -> Vec<Told> {
        let mut inner = self.lock();
        inner.step();
        std::mem::take(&mut inner.told)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn let_the_judge_watch(&mut self) {
        self.pbx.ws_open(JUDGE, &[JUDGE_APP.to_string()], true);
        self.flush();
    }

    fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// Between the two: mostly at once, sometimes a few milliseconds.
    fn latency(&mut self) -> u64 {
        match self.rng.random_range(0..10u32) {
            0..7 => 0,
            7..9 => 1,
            _ => self.rng.random_range(2..6),
        }
    }

    fn arrives(&mut self, what: In) {
        let mut due = self.book.clock.now() + self.latency();
        if let In::Trunk(..) = what {
            // A CANCEL never comes before its INVITE: it waits for a provisional response.
            due = due.max(self.trunk_due);
            self.trunk_due = due;
        }
        let serial = self.next_serial();
        self.inbound.insert((due, serial), what);
    }

    fn leaves(&mut self, due: u64, what: Out) {
        let serial = self.next_serial();
        self.outbound.insert((due, serial), what);
    }

    fn step(&mut self) {
        let now = self.book.clock.now();
        if self.alive && !self.stopped {
            let timers = self.pbx.next_deadline().is_some_and(|due| due <= now);
            if timers {
                self.pbx.advance(now);
                self.flush();
            }
            while let Some(entry) = self.inbound.first_entry() {
                if entry.key().0 > now {
                    break;
                }
                let what = entry.remove();
                self.pbx.advance(now);
                self.take(what);
                self.flush();
            }
        }
        while let Some(entry) = self.outbound.first_entry() {
            if entry.key().0 > now {
                break;
            }
            match entry.remove() {
                // Who asked may have given up.
                Out::Answer(to, answer) => drop(to.send(answer)),
                Out::Frame(conn, frame) => {
                    if let Some(conn) = self.conns.get(&conn).filter(|conn| !conn.mute) {
                        // The reader may have gone; its close is under way.
                        let _ = conn.frames.send(frame);
                    }
                }
            }
        }
    }

    fn take(&mut self, what: In) {
        match what {
            In::Request { request, answer } => {
                let (name, verb, path) = (&self.name, &request.method, request.path.join("/"));
                let query = &request.query;
                self.book
                    .tell(format_args!("{name} <- {verb} {path} {query:?}"));
                if self.rng.random_range(0..1000) < self.faults.fail_permille {
                    let body = br#"{"message":"Internal Server Error"}"#.to_vec();
                    let refusal = Answer { status: 500, body };
                    let due = self.book.clock.now() + self.faults.slow_ms;
                    return self.leaves(due, Out::Answer(answer, Ok(refusal)));
                }
                let token = self.next_serial();
                self.answers.insert(token, answer);
                self.pbx.request(token, &request);
            }
            In::Open { apps, all, opened } => {
                if self.faults.refuse_socket {
                    let _ = opened.send(Err(DownReason::Closed));
                    return;
                }
                let (frames, receiver) = mpsc::unbounded_channel();
                let id = self.next_serial();
                let conn = Conn {
                    frames,
                    last_due: 0,
                    mute: false,
                };
                self.conns.insert(id, conn);
                if opened.send(Ok((id, receiver))).is_err() {
                    self.conns.remove(&id);
                    return;
                }
                self.book
                    .tell(format_args!("{} event socket {id} opens", self.name));
                self.pbx.ws_open(id, &apps, all);
            }
            In::Ping(conn) => {
                let due = self.book.clock.now();
                self.frame(conn, due, Frame::Pong);
            }
            In::Close(conn) => {
                self.conns.remove(&conn);
                self.pbx.ws_close(conn);
            }
            In::Trunk(from, message) => self.pbx.trunk_message(&from, message),
        }
    }

    fn frame(&mut self, conn: u64, due: u64, frame: Frame) {
        if let Some(open) = self.conns.get_mut(&conn) {
            open.last_due = open.last_due.max(due);
            let due = open.last_due;
            self.leaves(due, Out::Frame(conn, frame));
        }
    }

    fn flush(&mut self) {
        loop {
            let outputs = self.pbx.take_outputs();
            if outputs.is_empty() {
                return;
            }
            for output in outputs {
                self.hand_on(output);
            }
        }
    }

    fn hand_on(&mut self, output: Output) {
        let now = self.book.clock.now();
        match output {
            Output::Event { conn: JUDGE, text } => {
                let event = serde_json::from_str(&text);
                let event = event.expect("the simulator sends JSON");
                self.told.push(Told::Event(event));
            }
            Output::Event { conn, text } => {
                self.book.tell(format_args!("{} -> {text}", self.name));
                let due = now + self.latency();
                self.frame(conn, due, Frame::Text(text));
            }
            Output::Answer { token, response } => {
                let Some(to) = self.answers.remove(&token) else {
                    return;
                };
                let Response { status, body } = response;
                self.book
                    .tell(format_args!("{} -> {status} {body}", self.name));
                let due = now + self.latency() + self.faults.slow_ms;
                let lost = self.rng.random_range(0..1000) < self.faults.lose_permille;
                let answer = match lost {
                    true => Err(NoAnswer::Lost),
                    false => Ok(Answer {
                        status,
                        body: body.into_bytes(),
                    }),
                };
                self.leaves(due, Out::Answer(to, answer));
            }
            Output::CallerEnded { caller } => self.told.push(Told::CallerEnded(caller)),
            Output::Trunk { to, message } => self.told.push(Told::Trunk { to, message }),
        }
    }
}

/// One node's way to an Asterisk.
struct Way(Asterisk);

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Way").field(&self.0.name).finish()
    }
}

impl Way {
    /// Sends something off, if there is anybody; `Err(true)`: it will hang.
    fn send(&self, what: In) -> Result<(), bool> {
        let mut inner = self.0.lock();
        if inner.faults.cut {
            return Err(true);
        }
        if !inner.alive {
            return Err(false);
        }
        inner.arrives(what);
        Ok(())
    }
}

impl Transport for Way {
    fn request<'a>(
        &'a self,
        method: &'static str,
        path: String,
        body: Option<Value>,
    ) -> Pending<'a, Result<Answer, NoAnswer>> {
        Box::pin(async move {
            let (path, query) = path.split_once('?').unwrap_or((&path, ""));
            let body = body.map(|body| body.to_string()).unwrap_or_default();
            let request =
                Request::parse(method, path.trim_matches('/'), query, body.as_bytes()).into();
            let (answer, answered) = oneshot::channel();
            match self.send(In::Request { request, answer }) {
                Ok(()) => answered.await.unwrap_or(Err(NoAnswer::Lost)),
                Err(true) => std::future::pending().await,
                Err(false) => Err(NoAnswer::Unreachable { refused: true }),
            }
        })
    }

    fn open<'a>(&'a self, path: String) -> Pending<'a, Result<Box<dyn Socket>, DownReason>> {
        Box::pin(async move {
            let query = path.split_once('?').map_or("", |(_, query)| query);
            let request = Request::parse("GET", "events", query, b"");
            let value = |name: &str| {
                let mut all = request.query.iter().filter(|(key, _)| key == name);
                all.next().map(|(_, value)| value.clone())
            };
            let apps = value("app").into_iter().collect();
            let all = value("subscribeAll").as_deref() == Some("true");
            let (opened, answer) = oneshot::channel();
            match self.send(In::Open { apps, all, opened }) {
                Ok(()) => {
                    let (conn, frames) = answer.await.unwrap_or(Err(DownReason::Closed))?;
                    let home = self.0.clone();
                    Ok(Box::new(Open { conn, frames, home }) as Box<dyn Socket>)
                }
                Err(true) => std::future::pending().await,
                Err(false) => Err(DownReason::Unreachable("connection refused".into())),
            }
        })
    }
}

/// The node's end of an event socket.
struct Open {
    conn: u64,
    frames: mpsc::UnboundedReceiver<Frame>,
    home: Asterisk,
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut inner = self.home.lock();
        if inner.alive {
            let close = In::Close(self.conn);
            inner.arrives(close);
        }
    }
}

impl Socket for Open {
    fn next(&mut self) -> Pending<'_, Result<Frame, DownReason>> {
        Box::pin(async { self.frames.recv().await.ok_or(DownReason::Closed) })
    }

    fn ping(&mut self) -> Pending<'_, Result<(), DownReason>> {
        Box::pin(async {
            let mut inner = self.home.lock();
            let mute = inner.conns.get(&self.conn).is_none_or(|conn| conn.mute);
            if inner.alive && !mute && !inner.faults.cut {
                let ping = In::Ping(self.conn);
                inner.arrives(ping);
            }
            Ok(())
        })
    }

    fn close(&mut self) -> Pending<'_, ()> {
        // Its drop closes it.
        Box::pin(async {})
    }
}

/// The time that an Asterisk's stamps begin with: a day in 2026.
pub const WALL_MS: u64 = 1_795_000_000_000;

/// The wall clock of a machine, `skew_ms` off.
pub fn wall(clock: &Clock, skew_ms: i64) -> u64 {
    (WALL_MS + clock.now()).saturating_add_signed(skew_ms)
}
