//! One node of Holdfast's store as a process of its own, with a door for writers over TCP: what a member
//! of etcd is, so that the two can be compared. It keeps values by key and notes when it applied which
//! log entry.
//!
//! The product has no such door: its commands come from inside the process. Here it costs Holdfast what
//! gRPC costs etcd and RESP costs Redis.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::stream::FuturesOrdered;
use futures_util::{FutureExt, StreamExt};
use holdfast_raft::{Config, Machine, Raft, Secret, Stamp, codec};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader, BufWriter};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::Error;

/// First byte of a request: a key and a value follow, each with its length in two bytes. Answered by
/// `DONE` or `REFUSED`.
pub const PUT: u8 = 1;
/// Answered by one byte: whether this node leads.
pub const LEADS: u8 = 2;
/// Forgets when which entry was applied. Answered by `DONE`.
pub const FORGET: u8 = 3;
/// Answered by a count in four bytes and as many pairs of eight: log index, microseconds since 1970.
pub const APPLIED: u8 = 4;
pub const DONE: u8 = 0;
pub const REFUSED: u8 = 1;

const DEADLINE: Duration = Duration::from_secs(10);
const SCHEMA_BYTES_MAX: usize = 64 << 20;
/// Requests of one connection that are not answered yet.
const REQUESTS: usize = 256;
/// Of later entries it is not noted when they were applied.
const NOTED_MAX: usize = 100_000;

/// How one node is started.
#[derive(clap::Args, Debug)]
pub struct NodeArgs {
    #[arg(long)]
    pub name: String,
    #[arg(long)]
    pub dir: PathBuf,
    #[arg(long)]
    pub listen: SocketAddr,
    #[arg(long, value_delimiter = ',')]
    pub join: Vec<String>,
    /// Where writers are let in.
    #[arg(long)]
    pub door: SocketAddr,
}

static NOTED: Mutex<Vec<(u64, u64)>> = Mutex::new(Vec::new());

fn noted() -> std::sync::MutexGuard<'static, Vec<(u64, u64)>> {
    NOTED.lock().expect("nothing panics while it holds this")
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Put {
    key: ByteBuf,
    value: ByteBuf,
}

impl Put {
    pub fn new(key: &[u8], value: &[u8]) -> Put {
        let (key, value) = (ByteBuf::from(key), ByteBuf::from(value));
        Put { key, value }
    }
}

/// Values by key, shared with the copy of which a snapshot is made.
#[derive(Clone, Default)]
pub struct Table(BTreeMap<Arc<[u8]>, Arc<[u8]>>);

impl Machine for Table {
    type Command = Put;
    type Reply = ();
    /// What goes into the journal: the key.
    type Event = ByteBuf;
    const SCHEMA: u16 = 1;

    fn apply(&mut self, stamp: Stamp, put: &Put, events: &mut Vec<ByteBuf>) {
        let value = Arc::from(put.value.as_slice());
        match self.0.get_mut(put.key.as_slice()) {
            Some(there) => *there = value,
            None => {
                self.0.insert(Arc::from(put.key.as_slice()), value);
            }
        }
        events.push(put.key.clone());
        let mut noted = noted();
        // The first command of an entry stands for it.
        let new = noted.last().is_none_or(|(index, _)| *index < stamp.index);
        if new && noted.len() < NOTED_MAX {
            noted.push((stamp.index, now_us()));
        }
    }

    fn snapshot(&self) -> Result<Vec<u8>, String> {
        let bytes = serde_bytes::Bytes::new;
        let all: Vec<_> = self.0.iter().map(|(k, v)| (bytes(k), bytes(v))).collect();
        codec::encode_long(&all).map_err(|e| e.to_string())
    }

    fn restore(_: u16, bytes: &[u8]) -> Result<Self, String> {
        let all: Vec<(ByteBuf, ByteBuf)> =
            codec::decode(bytes, SCHEMA_BYTES_MAX).map_err(|e| e.to_string())?;
        let shared = |bytes: ByteBuf| Arc::from(bytes.into_vec());
        let all = all.into_iter().map(|(k, v)| (shared(k), shared(v)));
        Ok(Table(all.collect()))
    }

    fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.0.hash(&mut hasher);
        hasher.finish()
    }
}

/// All nodes run on one machine, so their wall clocks are one.
fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |t| u64::try_from(t.as_micros()).unwrap_or(u64::MAX))
}

/// Runs until standard input ends, which it does when the process that started this one is gone.
pub async fn run(args: NodeArgs) -> Result<(), Error> {
    let config = Config {
        name: args.name,
        data_dir: args.dir,
        listen: args.listen,
        bootstrap_expect: args.join.len(),
        join: args.join,
        secret: Secret::new("only-for-measuring"),
        ..Config::default()
    };
    let raft = Raft::<Table>::start(config);
    let raft = raft.await.map_err(|e| Error::new("starting a node", e))?;
    let door = TcpListener::bind(args.door).await;
    let door = door.map_err(|e| Error::new(format!("listening on {}", args.door), e))?;
    let letting_in = async {
        loop {
            if let Ok((guest, _)) = door.accept().await {
                // A writer that went away is no matter of the node's.
                tokio::spawn(serve(raft.clone(), guest));
            }
        }
    };
    let mut fatal = raft.fatal();
    let mut nothing = Vec::new();
    let mut parent = tokio::io::stdin();
    tokio::select! {
        () = letting_in => Ok(()),
        _ = parent.read_to_end(&mut nothing) => Ok(()),
        why = fatal.wait_for(Option::is_some) => {
            let why = why.ok().and_then(|why| why.clone());
            Err(Error::new("the store", why.unwrap_or_default()))
        }
    }
}

/// Answers in the order of the requests, without waiting for one before it reads the next.
async fn serve(raft: Raft<Table>, guest: TcpStream) -> std::io::Result<()> {
    guest.set_nodelay(true)?;
    let (reading, writing) = guest.into_split();
    let (requests, asked) = mpsc::channel(REQUESTS);
    tokio::spawn(answer(raft, writing, asked));
    let mut reading = BufReader::new(reading);
    loop {
        let request = match reading.read_u8().await? {
            PUT => {
                let key = field(&mut reading).await?;
                let value = field(&mut reading).await?;
                Request::Put(Put { key, value })
            }
            LEADS => Request::Leads,
            FORGET => Request::Forget,
            APPLIED => Request::Applied,
            other => {
                let why = format!("no request begins with {other}");
                return Err(std::io::Error::other(why));
            }
        };
        if requests.send(request).await.is_err() {
            return Ok(());
        }
    }
}

enum Request {
    Put(Put),
    Leads,
    Forget,
    Applied,
}

async fn done(raft: Raft<Table>, request: Request) -> Vec<u8> {
    match request {
        Request::Put(put) => {
            let done = raft.propose(put, DEADLINE).await;
            vec![if done.is_ok() { DONE } else { REFUSED }]
        }
        Request::Leads => vec![u8::from(raft.leadership().borrow().is_some())],
        Request::Forget => {
            noted().clear();
            vec![DONE]
        }
        Request::Applied => applied(),
    }
}

async fn answer(
    raft: Raft<Table>,
    writing: OwnedWriteHalf,
    mut asked: mpsc::Receiver<Request>,
) -> std::io::Result<()> {
    let mut writing = BufWriter::new(writing);
    let mut due = FuturesOrdered::new();
    loop {
        tokio::select! {
            request = asked.recv(), if due.len() < REQUESTS => match request {
                Some(request) => due.push_back(done(raft.clone(), request)),
                None => return Ok(()),
            },
            Some(answer) = due.next() => {
                let mut answer = Some(answer);
                // What is ready goes together, and does not wait for what is not.
                while let Some(bytes) = answer {
                    writing.write_all(&bytes).await?;
                    answer = due.next().now_or_never().flatten();
                }
                writing.flush().await?;
            }
        }
    }
}

fn applied() -> Vec<u8> {
    let all = noted().clone();
    let count = u32::try_from(all.len()).expect("it is bounded");
    let mut out = count.to_be_bytes().to_vec();
    for (index, at) in all {
        out.extend(index.to_be_bytes());
        out.extend(at.to_be_bytes());
    }
    out
}

async fn field(from: &mut (impl AsyncReadExt + Unpin)) -> std::io::Result<ByteBuf> {
    let mut bytes = vec![0; usize::from(from.read_u16().await?)];
    from.read_exact(&mut bytes).await?;
    Ok(ByteBuf::from(bytes))
}
