//! A small TCP proxy in front of an ARI port, or of a node, to hurt what passes: cut event sockets,
//! slow answers, lost answers, nothing at all. It serves real and simulated Asterisks alike.
//!
//! It looks at the first bytes of a connection only, to tell an event socket from REST.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::LabError;
use super::block::Block;

/// Port of the proxy before the ARI of an Asterisk.
pub const PORT: u16 = 8188;

/// What happens to REST answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// Each piece of an answer comes so much later.
    Slow(Duration),
    /// Each piece of an answer comes later by up to `most`, by seeded dice.
    Jitter { most: Duration, seed: u64 },
    /// Requests arrive, answers are lost and the connection is closed.
    LoseAnswers,
    /// Nothing arrives, and connections stay open.
    Hole,
}

#[derive(Debug)]
struct State {
    fault: Fault,
    refuse_until: Option<Instant>,
}

#[derive(Debug, Clone)]
struct Shared {
    target: SocketAddr,
    state: Arc<Mutex<State>>,
    cuts: watch::Sender<u64>,
    /// Counts pieces that were hurt; also for the dice of [`Fault::Jitter`].
    hurt: Arc<AtomicU64>,
    /// Event sockets that were cut.
    cut: Arc<AtomicU64>,
}

/// A running proxy. Dropping it closes everything.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Shared,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Stands before the ARI of the Asterisk of this name.
    pub async fn before(block: &Block, name: &str, ari: SocketAddr) -> Result<Proxy, LabError> {
        let Some(hosts) = block.hosts() else {
            return Proxy::start(SocketAddr::from((block.pbx(name), PORT)), ari).await;
        };
        let listener = hosts.listen(name, PORT)?;
        let listener = TcpListener::from_std(listener).map_err(|source| LabError::Io {
            what: format!("proxy on host {name}"),
            source,
        })?;
        Proxy::serve(listener, ari)
    }

    /// Listens at `listen` and passes on to `target`.
    pub async fn start(listen: SocketAddr, target: SocketAddr) -> Result<Proxy, LabError> {
        let failed = |source| LabError::Io {
            what: format!("proxy at {listen}"),
            source,
        };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        Proxy::serve(listener, target)
    }

    /// Passes on to `target` what comes to a listener that was made elsewhere.
    pub fn serve(listener: TcpListener, target: SocketAddr) -> Result<Proxy, LabError> {
        let failed = |source| LabError::Io {
            what: "address of a proxy".into(),
            source,
        };
        let address = listener.local_addr().map_err(failed)?;
        let state = Arc::new(Mutex::new(State {
            fault: Fault::None,
            refuse_until: None,
        }));
        let shared = Shared {
            target,
            state,
            cuts: watch::Sender::new(0),
            hurt: Arc::default(),
            cut: Arc::default(),
        };
        let task = tokio::spawn(accept(listener, shared.clone()));
        Ok(Proxy {
            address,
            shared,
            task,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Drops all event sockets and refuses new ones for so long.
    pub fn cut_websockets(&self, how_long: Duration) {
        self.shared.lock().refuse_until = Some(Instant::now() + how_long);
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// How many pieces were hurt so far.
    pub fn hurt(&self) -> u64 {
        self.shared.hurt.load(Ordering::Relaxed)
    }

    /// How many event sockets were cut so far.
    pub fn cut(&self) -> u64 {
        self.shared.cut.load(Ordering::Relaxed)
    }

    /// Hurts REST answers from now on.
    pub fn fault(&self, fault: Fault) {
        self.shared.lock().fault = fault;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
        self.shared.cuts.send_modify(|cuts| *cuts = u64::MAX);
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what came for as long as nothing passes. False when it was swallowed by a hole, after
    /// which the connection cannot go on.
    async fn passes(&self) -> bool {
        let mut swallowed = false;
        while self.lock().fault == Fault::Hole {
            if !swallowed {
                swallowed = true;
                self.hurt.fetch_add(1, Ordering::Relaxed);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        !swallowed
    }

    fn jitter(&self, most: Duration, seed: u64) -> Duration {
        let piece = self.hurt.load(Ordering::Relaxed);
        let mut dice = StdRng::seed_from_u64(seed ^ piece);
        Duration::from_millis(dice.random_range(0..=most.as_millis() as u64))
    }
}

async fn accept(listener: TcpListener, shared: Shared) {
    while let Ok((client, _)) = listener.accept().await {
        let shared = shared.clone();
        tokio::spawn(async move {
            // A broken connection is what this proxy is for.
            let _ = serve(client, shared).await;
        });
    }
}

async fn serve(mut client: TcpStream, shared: Shared) -> std::io::Result<()> {
    let mut cuts = shared.cuts.subscribe();
    let mut server = TcpStream::connect(shared.target).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let mut first = vec![0; 16 * 1024];
    let length = tokio::select! {
        length = client.read(&mut first) => length?,
        _ = cuts.wait_for(|cuts| *cuts == u64::MAX) => return Ok(()),
    };
    if length == 0 {
        return Ok(());
    }
    let head = String::from_utf8_lossy(&first[..length]);
    let is_events = head
        .lines()
        .next()
        .is_some_and(|line| line.contains("/events?"));
    if is_events
        && shared
            .lock()
            .refuse_until
            .is_some_and(|until| Instant::now() < until)
    {
        return Ok(());
    }
    if !shared.passes().await {
        return Ok(());
    }
    server.write_all(&first[..length]).await?;
    if is_events {
        cuts.mark_unchanged();
        tokio::select! {
            result = tokio::io::copy_bidirectional(&mut client, &mut server) => result.map(drop),
            _ = cuts.changed() => {
                shared.cut.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
        }
    } else {
        tokio::select! {
            result = rest(client, server, &shared) => result,
            _ = cuts.wait_for(|cuts| *cuts == u64::MAX) => Ok(()),
        }
    }
}

async fn rest(
    mut client: TcpStream,
    mut server: TcpStream,
    shared: &Shared,
) -> std::io::Result<()> {
    let mut from_client = vec![0; 16 * 1024];
    let mut from_server = vec![0; 16 * 1024];
    loop {
        tokio::select! {
            length = client.read(&mut from_client) => match length? {
                0 => return Ok(()),
                length => {
                    if !shared.passes().await {
                        return Ok(());
                    }
                    server.write_all(&from_client[..length]).await?;
                }
            },
            length = server.read(&mut from_server) => {
                let length = length?;
                if length == 0 {
                    return Ok(());
                }
                let fault = shared.lock().fault;
                if fault != Fault::None {
                    shared.hurt.fetch_add(1, Ordering::Relaxed);
                }
                match fault {
                    Fault::None => {}
                    Fault::Slow(delay) => tokio::time::sleep(delay).await,
                    Fault::Jitter { most, seed } => tokio::time::sleep(shared.jitter(most, seed)).await,
                    Fault::Hole => {
                        if !shared.passes().await {
                            return Ok(());
                        }
                    }
                    Fault::LoseAnswers => return Ok(()),
                }
                client.write_all(&from_server[..length]).await?;
            }
        }
    }
}
