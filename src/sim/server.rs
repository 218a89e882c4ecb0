//! The sockets of one simulated Asterisk: HTTP for REST, WebSockets for events, and its driver.
//!
//! Every input goes through [`Shared::act`], which holds one lock while the core works and its
//! outputs are handed on, so that events leave in the order in which they happened. Requests are
//! carried out in tasks of their own: a client that has gone away does not undo its request.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::FromRequestParts;
use axum::extract::ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::http::{Method, Request as HttpRequest, Response as HttpResponse, StatusCode, header};
use futures_util::{SinkExt, StreamExt};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::asterisk::SimConfig;
use crate::caller::CallerEnd;
use crate::faults::Faults;
use crate::http::basic;
use crate::moments::Moment;
use crate::pbx::{Output, Pbx, Request, Response};
use crate::rest::error;
use crate::rest_frames::answer_rest;
use crate::trunk::TrunkMessage;

/// Events that may wait for a WebSocket's reader; then it is closed.
const EVENTS_MAX: usize = 2000;
/// Acts that may be kept while paused.
const PARKED_MAX: usize = 100_000;
/// Messages that may wait on a trunk.
pub(crate) const TRUNK_MAX: usize = 10_000;
/// REST-over-WebSocket requests that may wait on one socket.
const WS_REQUESTS_MAX: usize = 1000;
/// The largest request body.
const BODY_MAX: usize = 64 * 1024;

type Act = Box<dyn FnOnce(&mut Pbx) + Send>;

/// The answer is lost on purpose: the connection ends without one.
#[derive(Debug, thiserror::Error)]
#[error("the answer is lost")]
struct Lost;

pub(crate) struct Shared {
    pub config: SimConfig,
    pub addr: SocketAddr,
    pub faults: Faults,
    pub changed: watch::Sender<u64>,
    /// Counts crashes; connections of an earlier life end.
    pub lives: watch::Sender<u64>,
    pub serials: AtomicU64,
    pub trunk_in: mpsc::Sender<(String, TrunkMessage)>,
    /// The accepting task; none while killed.
    pub listener: tokio::sync::Mutex<Option<JoinHandle<()>>>,
    sessions: Arc<AtomicUsize>,
    wake: Notify,
    started: Instant,
    authorization: String,
    state: Mutex<State>,
}

pub(crate) struct State {
    pub pbx: Pbx,
    pub links: BTreeMap<String, mpsc::Sender<(String, TrunkMessage)>>,
    conns: BTreeMap<u64, Conn>,
    answers: BTreeMap<u64, oneshot::Sender<Response>>,
    enders: BTreeMap<u64, Vec<oneshot::Sender<CallerEnd>>>,
    /// Not taken yet.
    pub moments: Vec<(std::time::Instant, Moment)>,
    parked: Vec<Act>,
    armed: Option<u64>,
}

/// The sending side of a WebSocket. Dropping it ends the socket.
struct Conn {
    events: mpsc::Sender<Utf8Bytes>,
    cut: Arc<Notify>,
}

impl Drop for Conn {
    fn drop(&mut self) {
        self.cut.notify_one();
    }
}

/// Counts as one connection while it lives.
struct Session(Arc<AtomicUsize>);

impl Drop for Session {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// When a connection was last at work, for closing idle ones.
struct Activity {
    busy: AtomicUsize,
    idle_since: Mutex<Instant>,
}

impl Shared {
    pub(crate) fn new(
        config: SimConfig,
        addr: SocketAddr,
        pbx: Pbx,
        trunk_in: mpsc::Sender<(String, TrunkMessage)>,
    ) -> Shared {
        let authorization = basic(&config.username, &config.password);
        Shared {
            config,
            addr,
            faults: Faults::new(),
            changed: watch::Sender::new(0),
            lives: watch::Sender::new(0),
            serials: AtomicU64::new(1),
            trunk_in,
            listener: tokio::sync::Mutex::new(None),
            sessions: Arc::new(AtomicUsize::new(0)),
            wake: Notify::new(),
            started: Instant::now(),
            authorization,
            state: Mutex::new(State {
                pbx,
                links: BTreeMap::new(),
                conns: BTreeMap::new(),
                answers: BTreeMap::new(),
                enders: BTreeMap::new(),
                moments: Vec::new(),
                parked: Vec::new(),
                armed: None,
            }),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("the core does not panic while it holds the lock")
    }

    /// Does something to the core now, or once it is no longer paused.
    pub(crate) fn act(&self, act: impl FnOnce(&mut Pbx) + Send + 'static) {
        let mut state = self.lock();
        if self.faults.paused() {
            if state.parked.len() < PARKED_MAX {
                state.parked.push(Box::new(act));
            }
            return;
        }
        state.pbx.advance(self.now());
        act(&mut state.pbx);
        self.flush(state);
    }

    /// After a pause: time catches up, then comes what was kept, in order.
    pub(crate) fn catch_up(&self) {
        let mut state = self.lock();
        state.pbx.advance(self.now());
        for act in std::mem::take(&mut state.parked) {
            act(&mut state.pbx);
        }
        self.flush(state);
    }

    /// Hands on what came out of the core.
    fn flush(&self, mut guard: MutexGuard<'_, State>) {
        let state = &mut *guard;
        loop {
            let outputs = state.pbx.take_outputs();
            if outputs.is_empty() {
                break;
            }
            for output in outputs {
                self.hand_on(state, output);
            }
        }
        state.stamp_moments();
        let next = state.pbx.next_deadline();
        let rearm = next != state.armed;
        state.armed = next;
        drop(guard);
        if rearm {
            self.wake.notify_one();
        }
        self.changed.send_modify(|count| *count += 1);
    }

    fn hand_on(&self, state: &mut State, output: Output) {
        match output {
            Output::Event { conn, text } => {
                let sent = state
                    .conns
                    .get(&conn)
                    .map(|conn| conn.events.try_send(text.into()));
                if let Some(Err(reason)) = sent {
                    tracing::warn!(name = %self.config.name, %reason, "closing event websocket");
                    state.conns.remove(&conn);
                    state.pbx.ws_close(conn);
                }
            }
            Output::Answer { token, response } => {
                if let Some(answer) = state.answers.remove(&token) {
                    // Nobody waits when the connection was reset meanwhile.
                    let _ = answer.send(response);
                }
            }
            Output::CallerEnded { caller } => {
                let end = state
                    .pbx
                    .callers
                    .get(&caller)
                    .and_then(|caller| caller.end.clone());
                for ender in state.enders.remove(&caller).unwrap_or_default() {
                    if let Some(end) = &end {
                        // The waiting task may have gone.
                        let _ = ender.send(end.clone());
                    }
                }
            }
            Output::Trunk { to, message } => {
                let link = state.links.get(&to);
                let sent = link.map(|link| link.try_send((self.config.name.clone(), message)));
                if let Some(Err(reason)) = sent {
                    tracing::warn!(%to, %reason, "trunk message lost");
                }
            }
        }
    }

    /// A receiver for the end of a caller's call.
    pub(crate) fn end_of(&self, caller: u64) -> oneshot::Receiver<CallerEnd> {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.lock();
        match state
            .pbx
            .callers
            .get(&caller)
            .and_then(|caller| caller.end.clone())
        {
            Some(end) => drop(sender.send(end)),
            None => state.enders.entry(caller).or_default().push(sender),
        }
        receiver
    }

    /// Resets all event WebSockets.
    pub(crate) fn cut_websockets(&self) {
        let mut state = self.lock();
        let conns: Vec<u64> = state.conns.keys().copied().collect();
        for conn in conns {
            state.conns.remove(&conn);
            state.pbx.ws_close(conn);
        }
        self.flush(state);
    }

    /// Everything is gone; open connections end.
    pub(crate) fn crash(&self) {
        let mut state = self.lock();
        state.pbx.advance(self.now());
        state.parked.clear();
        state.pbx.crash();
        state.answers.clear();
        state.conns.clear();
        self.flush(state);
        self.lives.send_modify(|life| *life += 1);
    }

    /// Carries out one request, waiting while paused. None when its answer is lost.
    pub(crate) async fn execute(&self, request: Request) -> Option<Response> {
        let life = *self.lives.borrow();
        self.faults.running().await;
        if self.faults.fails_this(&request.path) {
            return Some(error(500, "Internal Server Error"));
        }
        let response = self.submit(request, life)?.await.ok()?;
        let slow = self.faults.slow();
        if !slow.is_zero() {
            tokio::time::sleep(slow).await;
        }
        (!self.faults.loses_this()).then_some(response)
    }

    /// Gives a request to the core, unless the process it was sent to has died meanwhile.
    fn submit(&self, request: Request, life: u64) -> Option<oneshot::Receiver<Response>> {
        let token = self.serials.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        let mut state = self.lock();
        if !state.pbx.alive || *self.lives.borrow() != life {
            return None;
        }
        state.answers.insert(token, sender);
        drop(state);
        self.act(move |pbx| {
            if pbx.alive {
                pbx.request(token, &request);
            }
        });
        Some(receiver)
    }
}

/// Lets timers fire when they are due. Ends with the Asterisk.
pub(crate) async fn run_timers(shared: Weak<Shared>) {
    loop {
        let Some(strong) = shared.upgrade() else {
            return;
        };
        let deadline = strong.lock().armed;
        let wait = deadline.map(|at| strong.started + Duration::from_millis(at));
        tokio::select! {
            () = strong.wake.notified() => continue,
            () = sleep_until(wait) => {}
            // Looks up now and then, so that the task can end.
            () = tokio::time::sleep(Duration::from_secs(1)) => continue,
        }
        strong.faults.running().await;
        strong.act(|_| {});
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Delivers what comes over trunks. Ends with the Asterisk.
pub(crate) async fn run_trunks(
    shared: Weak<Shared>,
    mut messages: mpsc::Receiver<(String, TrunkMessage)>,
) {
    while let Some((from, message)) = messages.recv().await {
        let Some(shared) = shared.upgrade() else {
            return;
        };
        shared.act(move |pbx| pbx.trunk_message(&from, message));
    }
}

/// Accepts connections until the Asterisk is killed.
pub(crate) async fn run_listener(shared: Arc<Shared>, listener: TcpListener) {
    let mut lives = shared.lives.subscribe();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = lives.changed() => return,
        };
        let Ok((stream, _)) = accepted else { continue };
        let count = shared.sessions.fetch_add(1, Ordering::Relaxed);
        let session = Session(shared.sessions.clone());
        // Beyond the limit a connection is closed without a word (trap 11).
        if count < shared.config.session_limit {
            tokio::spawn(run_connection(shared.clone(), stream, Arc::new(session)));
        }
    }
}

async fn run_connection(shared: Arc<Shared>, stream: TcpStream, session: Arc<Session>) {
    let mut lives = shared.lives.subscribe();
    // Small answers go out at once; without this, latencies would be the simulator's own.
    let _ = stream.set_nodelay(true);
    let activity = Arc::new(Activity {
        busy: AtomicUsize::new(0),
        idle_since: Mutex::new(Instant::now()),
    });
    let service = hyper::service::service_fn(|request| {
        let (shared, activity, session) = (shared.clone(), activity.clone(), session.clone());
        async move {
            activity.busy.fetch_add(1, Ordering::Relaxed);
            let response = respond(shared, request, session).await;
            *activity
                .idle_since
                .lock()
                .expect("no holder of this lock can panic") = Instant::now();
            activity.busy.fetch_sub(1, Ordering::Relaxed);
            response
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::select! {
        // Errors here are clients that went away, or answers lost on purpose.
        _ = connection => {}
        () = idle(&activity, shared.config.keep_alive) => {}
        _ = lives.changed() => {}
    }
}

/// Returns when nothing was asked for as long as `keep_alive`.
async fn idle(activity: &Activity, keep_alive: Duration) {
    loop {
        let since = *activity
            .idle_since
            .lock()
            .expect("no holder of this lock can panic");
        let busy = activity.busy.load(Ordering::Relaxed) > 0;
        if !busy && since.elapsed() >= keep_alive {
            return;
        }
        let until = if busy {
            Instant::now() + keep_alive
        } else {
            since + keep_alive
        };
        tokio::time::sleep_until(until).await;
    }
}

async fn respond(
    shared: Arc<Shared>,
    request: HttpRequest<Incoming>,
    session: Arc<Session>,
) -> Result<HttpResponse<Body>, Lost> {
    let (mut parts, body) = request.into_parts();
    let query = parts.uri.query().unwrap_or_default().to_owned();
    let Some(path) = parts.uri.path().strip_prefix("/ari/").map(str::to_owned) else {
        return Ok(http_response(error(404, "Resource not found")));
    };
    let empty = Request::parse(parts.method.as_str(), &path, &query, b"");
    let header = parts
        .headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let api_key = empty.param("api_key");
    let (user, password) = (&shared.config.username, &shared.config.password);
    let reader = shared.config.read_only.as_ref();
    let reads = |(user, password): &(String, String)| {
        header == Some(&basic(user, password)) || api_key == Some(format!("{user}:{password}"))
    };
    if header != Some(&shared.authorization) && api_key != Some(format!("{user}:{password}")) {
        if !reader.is_some_and(reads) {
            return Ok(http_response(error(401, "Authentication required")));
        }
        if parts.method != Method::GET {
            return Ok(http_response(error(403, "Write access denied")));
        }
    }
    if empty.path == ["events"] {
        shared.faults.running().await;
        if shared.faults.refuses_ws() {
            return Err(Lost);
        }
        let apps = empty.list("app");
        if apps.is_empty() {
            return Ok(http_response(error(
                400,
                "HTTP request is missing param: [app]",
            )));
        }
        let all = empty
            .param("subscribeAll")
            .is_some_and(|text| text == "true");
        let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &()).await;
        return Ok(match upgrade {
            Ok(upgrade) => open_websocket(shared, upgrade, apps, all, session),
            Err(_) => http_response(error(426, "Upgrade to a WebSocket is required")),
        });
    }
    let Ok(bytes) = to_bytes(Body::new(body), BODY_MAX).await else {
        return Ok(http_response(error(413, "Request body too large")));
    };
    let request = Request::parse(parts.method.as_str(), &path, &query, &bytes);
    // In a task of its own: it is carried out even if the client goes away.
    let task = tokio::spawn(async move { shared.execute(request).await });
    match task.await {
        Ok(Some(response)) => Ok(http_response(response)),
        Ok(None) | Err(_) => Err(Lost),
    }
}

fn http_response(response: Response) -> HttpResponse<Body> {
    let mut http = HttpResponse::new(Body::from(response.body));
    *http.status_mut() = StatusCode::from_u16(response.status)
        .expect("every status in this crate is a constant between 200 and 599");
    let headers = http.headers_mut();
    headers.insert(
        header::SERVER,
        header::HeaderValue::from_static("Asterisk/22.10.1"),
    );
    headers.insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("application/json"),
    );
    if response.status == 401 {
        let realm = header::HeaderValue::from_static("Basic realm=\"Asterisk REST Interface\"");
        headers.insert(header::WWW_AUTHENTICATE, realm);
    }
    http
}

/// The application is registered before the client hears that the WebSocket is open.
fn open_websocket(
    shared: Arc<Shared>,
    upgrade: WebSocketUpgrade,
    apps: Vec<String>,
    all: bool,
    session: Arc<Session>,
) -> HttpResponse<Body> {
    let conn = shared.serials.fetch_add(1, Ordering::Relaxed);
    let (sender, events) = mpsc::channel(EVENTS_MAX);
    let cut = Arc::new(Notify::new());
    shared.lock().conns.insert(
        conn,
        Conn {
            events: sender.clone(),
            cut: cut.clone(),
        },
    );
    shared.act(move |pbx| pbx.ws_open(conn, &apps, all));
    upgrade
        .protocols(["ari"])
        .on_upgrade(move |socket| run_websocket(shared, socket, conn, events, sender, cut, session))
}

async fn run_websocket(
    shared: Arc<Shared>,
    socket: WebSocket,
    conn: u64,
    mut events: mpsc::Receiver<Utf8Bytes>,
    answers: mpsc::Sender<Utf8Bytes>,
    cut: Arc<Notify>,
    _session: Arc<Session>,
) {
    let (mut sink, mut stream) = socket.split();
    let (requests, waiting) = mpsc::channel(WS_REQUESTS_MAX);
    let serial = tokio::spawn(answer_rest(shared.clone(), waiting, answers));
    let mut paused = shared.faults.watch_pause();
    let work = async {
        loop {
            // A stopped process neither sends nor answers pings.
            shared.faults.running().await;
            tokio::select! {
                biased;
                _ = paused.changed() => {}
                event = events.recv() => {
                    let Some(event) = event else { return };
                    if sink.feed(Message::Text(event)).await.is_err() {
                        return;
                    }
                    while let Ok(event) = events.try_recv() {
                        if sink.feed(Message::Text(event)).await.is_err() {
                            return;
                        }
                    }
                    if sink.flush().await.is_err() {
                        return;
                    }
                }
                frame = stream.next() => match frame {
                    Some(Ok(Message::Text(text))) => {
                        if requests.try_send(text).is_err() {
                            return;
                        }
                    }
                    // Pings are answered by the WebSocket library.
                    Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Binary(_))) => {}
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                },
            }
        }
    };
    tokio::select! {
        () = work => {}
        () = cut.notified() => {}
    }
    serial.abort();
    shared.lock().conns.remove(&conn);
    shared.act(move |pbx| pbx.ws_close(conn));
}
