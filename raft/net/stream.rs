//! Appends go over one connection that stays open: an HTTP request for each took a fifth of all the processor
//! time of a lone command. The connection begins as a request like any other, with the secret, and is then
//! upgraded (RFC 9110, 7.8). A node of an older version refuses that, and gets HTTP as before.
//!
//! ```text
//! GET /raft/stream       Authorization: Bearer <cluster secret>      Upgrade: holdfast-appends
//! request := length:u32 number:u32 body                 (body as in `wire`, of an append)
//! answer  := length:u32 number:u32 status:u16 body      (200, or the status and the reason of a refusal)
//! ```
//! Numbers are little-endian; a length counts what is behind it. Answers come when they are ready, in any order.
//!
//! A stream on which somebody waited in vain gets nothing more to carry: it may hang on a network that
//! comes back, and a new connection is through sooner. Long messages are not sent here, nor any other kind: they would
//! hold up the appends, whose delay costs the leader its office.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, WriteHalf};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};
use tokio_util::codec::{FramedRead, LengthDelimitedCodec};
use tokio_util::task::AbortOnDropHandle;

use super::transport::{CallError, Door, Refusal};
use super::wire::Kind;
use crate::node::lock;

/// Last part of the path at which a stream begins.
pub const PATH: &str = "stream";
/// What the connection is upgraded to.
pub const PROTOCOL: &str = "holdfast-appends";
/// Longest body that is sent.
pub const BODY_MAX: usize = 1024 * 1024;
/// Number and status of a frame.
const FRAME_HEAD: usize = 6;
/// Requests that wait for their answers on one stream, at either end.
const OPEN: usize = 64;
/// A stream without requests for so long is not used any more,
const UNUSED: Duration = Duration::from_secs(4);
/// and ended from the other side.
const IDLE: Duration = Duration::from_secs(10);
/// A node that knows no streams is asked again after this.
const ASK_AGAIN: Duration = Duration::from_secs(10);
const OK: u16 = 200;

fn frames<R: AsyncRead>(reading: R) -> FramedRead<R, LengthDelimitedCodec> {
    LengthDelimitedCodec::builder()
        .little_endian()
        .max_frame_length(BODY_MAX + FRAME_HEAD)
        .new_read(reading)
}

async fn write(out: &mut (impl AsyncWrite + Unpin), head: &[u8], body: &[u8]) -> io::Result<()> {
    let length = (head.len() + body.len()) as u32;
    let length = length.to_le_bytes();
    out.write_all_buf(&mut length.chain(head).chain(body))
        .await?;
    out.flush().await
}

/// The streams to other nodes, by address.
#[derive(Default)]
pub struct Streams(Mutex<BTreeMap<String, To>>);

/// What is known of a node.
pub enum To {
    Open(Arc<Stream>),
    /// It knew no streams then.
    Http(Instant),
}

impl Streams {
    /// How appends go to this address; `None`: it is to be asked.
    pub fn to(&self, addr: &str) -> Option<To> {
        match lock(&self.0).get(addr)? {
            To::Open(stream) if stream.is_good() => Some(To::Open(stream.clone())),
            To::Http(since) if since.elapsed() < ASK_AGAIN => Some(To::Http(*since)),
            _ => None,
        }
    }

    pub fn opened(&self, addr: &str, stream: Arc<Stream>) {
        let mut all = lock(&self.0);
        // Nodes come and go.
        all.retain(|_, to| matches!(to, To::Open(stream) if stream.is_good()));
        all.insert(addr.to_string(), To::Open(stream));
    }

    pub fn refused(&self, addr: &str) {
        let http = To::Http(Instant::now());
        lock(&self.0).insert(addr.to_string(), http);
    }
}

/// One stream to a node. It ends when it is dropped.
pub struct Stream {
    out: tokio::sync::Mutex<Out>,
    askers: Arc<Mutex<Askers>>,
    next: AtomicU32,
    used: Mutex<Instant>,
    /// Somebody waited in vain.
    hung: AtomicBool,
    _reading: AbortOnDropHandle<()>,
}

struct Out {
    writing: WriteHalf<reqwest::Upgraded>,
    /// A frame was begun and is not whole.
    torn: bool,
}

type Answer = Result<Vec<u8>, Refusal>;
/// Who waits for an answer, by the number of the request; `None`: the stream has ended.
type Askers = Option<BTreeMap<u32, oneshot::Sender<Answer>>>;

impl Stream {
    pub fn new(io: reqwest::Upgraded) -> Arc<Self> {
        let (reading, writing) = tokio::io::split(io);
        let askers = Arc::new(Mutex::new(Some(BTreeMap::new())));
        let reading = tokio::spawn(hear(frames(reading), askers.clone()));
        Arc::new(Stream {
            out: tokio::sync::Mutex::new(Out {
                writing,
                torn: false,
            }),
            askers,
            next: AtomicU32::new(0),
            used: Mutex::new(Instant::now()),
            hung: AtomicBool::new(false),
            _reading: AbortOnDropHandle::new(reading),
        })
    }

    /// Whether it may carry one more request.
    fn is_good(&self) -> bool {
        !self.hung.load(Ordering::Acquire)
            && lock(&self.used).elapsed() < UNUSED
            && lock(&self.askers).is_some()
    }

    /// Sends a request and waits for its answer. Given up before that, it takes the stream out of use.
    pub async fn ask(&self, body: &[u8]) -> Result<Vec<u8>, CallError> {
        let ended = || CallError::NotReached("the stream has ended".into());
        *lock(&self.used) = Instant::now();
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (tell, answer) = oneshot::channel();
        match &mut *lock(&self.askers) {
            Some(askers) if askers.len() < OPEN => askers.insert(number, tell),
            Some(_) => return Err(CallError::NotReached("too many appends wait".into())),
            None => return Err(ended()),
        };
        let mut asked = Asked {
            stream: self,
            number,
            answered: false,
        };
        let mut out = self.out.lock().await;
        if out.torn {
            return Err(ended());
        }
        out.torn = true;
        let written = write(&mut out.writing, &number.to_le_bytes(), body).await;
        written.map_err(|e| CallError::Lost(e.to_string()))?;
        out.torn = false;
        drop(out);
        let answer = answer.await;
        let answer = answer.map_err(|_| CallError::Lost("the stream has ended".into()))?;
        asked.answered = true;
        Ok(answer?)
    }
}

/// A request that is on its way.
struct Asked<'a> {
    stream: &'a Stream,
    number: u32,
    answered: bool,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if let Some(askers) = &mut *lock(&self.stream.askers) {
            askers.remove(&self.number);
        }
        if !self.answered {
            self.stream.hung.store(true, Ordering::Release);
        }
    }
}

/// Hands out the answers, until the stream ends.
async fn hear<R: AsyncRead + Unpin>(
    mut frames: FramedRead<R, LengthDelimitedCodec>,
    askers: Arc<Mutex<Askers>>,
) {
    while let Some(Ok(mut frame)) = frames.next().await {
        let (Ok(number), Ok(status)) = (frame.try_get_u32_le(), frame.try_get_u16_le()) else {
            break;
        };
        let answer = match status {
            OK => Ok(frame.into()),
            _ => Err(Refusal::new(status, String::from_utf8_lossy(&frame))),
        };
        let asker = lock(&askers).as_mut().and_then(|all| all.remove(&number));
        if let Some(asker) = asker {
            // Who has given up needs no answer.
            let _ = asker.send(answer);
        }
    }
    *lock(&askers) = None;
}

/// Answers the appends of a stream that another node has opened, until it ends or is silent for too long.
pub async fn serve(io: impl AsyncRead + AsyncWrite, door: Arc<dyn Door>) {
    let (reading, mut writing) = tokio::io::split(io);
    let mut frames = std::pin::pin!(frames(reading));
    let mut open = FuturesUnordered::new();
    let mut heard = Instant::now();
    loop {
        tokio::select! {
            frame = frames.next(), if open.len() < OPEN => {
                let Some(Ok(frame)) = frame else { return };
                heard = Instant::now();
                open.push(answer(&*door, frame));
            }
            Some(answer) = open.next() => {
                let Some((number, status, body)) = answer else { return };
                let mut head = [0; FRAME_HEAD];
                head[..4].copy_from_slice(&u32::to_le_bytes(number));
                head[4..].copy_from_slice(&u16::to_le_bytes(status));
                if write(&mut writing, &head, &body).await.is_err() {
                    return;
                }
            }
            _ = sleep_until(heard + IDLE), if open.is_empty() => return,
        }
    }
}

/// Number, status and body of an answer; `None`: that was no request.
async fn answer(door: &dyn Door, mut frame: BytesMut) -> Option<(u32, u16, Vec<u8>)> {
    let number = frame.try_get_u32_le().ok()?;
    Some(match door.answer(Kind::Append.name(), &frame).await {
        Ok(body) => (number, OK, body),
        Err(Refusal(status, why)) => (number, status, why.into_bytes()),
    })
}
