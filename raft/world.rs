//! What a node takes from the machine it runs on: a disk, a wire to the other nodes, a wall clock,
//! and threads for what blocks. The default is the real machine; a simulation gives its own, and
//! then a node draws nothing from the process it runs in but tokio's time and randomness.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::StartError;
use crate::disk::{Disk, Files};
use crate::net::Wire;

/// The machine that a node runs on. Clones are the same machine.
#[derive(Clone)]
pub struct World {
    /// Where everything is kept.
    pub disk: Arc<dyn Disk>,
    /// How the other nodes are reached; `None` is HTTP.
    pub wire: Option<Arc<dyn Wire>>,
    /// The wall clock in milliseconds since 1970; for display only.
    pub wall_ms: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// Whether blocking work runs on threads. Without, it runs as tasks among all others, as a
    /// simulation of one thread needs it.
    pub threads: bool,
}

impl Default for World {
    fn default() -> Self {
        World {
            disk: Arc::new(Files),
            wire: None,
            wall_ms: Arc::new(system_wall_ms),
            threads: true,
        }
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "World(threads: {})", self.threads)
    }
}

impl World {
    /// Runs a writer that owns its part of the disk, until it ends by itself.
    pub(crate) fn run(
        &self,
        name: &str,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), StartError> {
        if !self.threads {
            tokio::spawn(work);
            return Ok(());
        }
        let runtime = tokio::runtime::Handle::current();
        let thread = std::thread::Builder::new().name(name.into());
        let started = thread.spawn(move || runtime.block_on(work));
        started.map(drop).map_err(|source| StartError::Io {
            what: "cannot start a thread".into(),
            source,
        })
    }

    /// Does something that blocks; the error says that it panicked.
    pub(crate) async fn block<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, tokio::task::JoinError> {
        if self.threads {
            return tokio::task::spawn_blocking(work).await;
        }
        self.pause(self.disk.sync_time()).await;
        Ok(work())
    }

    /// Lets time pass in a writer.
    pub(crate) async fn pause(&self, time: Duration) {
        match time {
            Duration::ZERO => {}
            _ if self.threads => std::thread::sleep(time),
            _ => tokio::time::sleep(time).await,
        }
    }

    /// Wall clock in milliseconds since 1970.
    pub(crate) fn wall_ms(&self) -> u64 {
        (self.wall_ms)()
    }
}

/// This machine's wall clock in milliseconds since 1970.
pub(crate) fn system_wall_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_millis() as u64)
}
