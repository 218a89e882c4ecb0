//! One machine with a node on it: a runtime of its own, a disk, a clock.
//!
//! Each node has its own single-threaded runtime with paused time, and the world steps them one
//! after the other by the same quantum. So a node can be killed as a process is: its runtime is
//! dropped and with it every task, openraft's included, at once and without a word. Stopping one
//! (SIGSTOP) is not stepping it, and letting its clock jump when it goes on.

use crate::asterisk::{Asterisk, wall};
use crate::book::Book;
use crate::log_reader::LogReader;
use crate::switchboard::Switchboard;
use holdfast_node::{Handle, Node, NodeConfig, StartError, World};
use holdfast_raft::sim::{Keep, SimDisk};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

/// A machine.
pub struct Host {
    pub name: String,
    pub asterisk: Asterisk,
    pub disk: SimDisk,
    config: NodeConfig,
    board: Switchboard,
    book: Book,
    log: LogReader,
    /// All Asterisks, by the host of their address.
    ways: Ways,
    skew_ms: Arc<AtomicI64>,
    process: Option<Process>,
    /// Milliseconds that it missed while it was stopped.
    missed_ms: u64,
    stopped: bool,
    /// Applied index at the last look.
    pub looked_at: u64,
}

struct Process {
    // Dropped in this order: what holds the node before what runs it.
    handle: Option<Handle>,
    starting: Option<JoinHandle<Result<Node, StartError>>>,
    runtime: Runtime,
}

/// Each Asterisk with the host of its address.
pub type Ways = Arc<Vec<(String, Asterisk)>>;

/// What became of a process in one step.
pub enum Stepped {
    Runs,
    /// It ended by itself, for this reason.
    Ended(String),
}

impl Host {
    pub fn new(
        config: NodeConfig,
        asterisk: Asterisk,
        disk: SimDisk,
        board: Switchboard,
        book: Book,
        log: LogReader,
        ways: Ways,
    ) -> Host {
        Host {
            name: config.node.name.clone(),
            asterisk,
            disk,
            config,
            board,
            book,
            log,
            ways,
            skew_ms: Arc::default(),
            process: None,
            missed_ms: 0,
            stopped: false,
            looked_at: 0,
        }
    }

    /// Starts the process, if it does not run.
    pub fn start(&mut self) {
        if self.process.is_some() {
            return;
        }
        let runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime without IO needs nothing of the system");
        let (clock, skew) = (self.book.clock.clone(), self.skew_ms.clone());
        let (ways, own) = (self.ways.clone(), self.asterisk.way());
        let world = World {
            store: holdfast_raft::World {
                disk: self.disk.boot(),
                wire: Some(self.board.wire(&self.name)),
                wall_ms: Arc::new(move || wall(&clock, skew.load(Ordering::Relaxed))),
                threads: false,
            },
            reach: Some(Arc::new(move |url| {
                let other = ways.iter().find(|(host, _)| url.host_str() == Some(host));
                other.map_or_else(|| own.clone(), |(_, asterisk)| asterisk.way())
            })),
            ..World::default()
        };
        let config = self.config.clone();
        let log = self.log.clone();
        let starting = runtime.spawn(async move {
            let node = Node::start_in(config, world).await?;
            log.follow(&node.handle());
            Ok(node)
        });
        self.process = Some(Process {
            handle: None,
            starting: Some(starting),
            runtime,
        });
        self.missed_ms = 0;
        self.stopped = false;
        self.looked_at = 0;
        self.book.tell(format_args!("{} starts", self.name));
    }

    /// As by SIGKILL; or as by a power cut, with what is left then of what was not synced.
    pub fn kill(&mut self, power: Option<Keep>) {
        if power.is_none() {
            self.board.hang_up(&self.name);
        }
        if self.process.take().is_some() {
            self.book
                .tell(format_args!("{} is killed, power {power:?}", self.name));
        }
        match power {
            Some(keep) => self.disk.power_loss(keep),
            None => self.disk.kill(),
        }
    }

    /// As by SIGSTOP and SIGCONT.
    pub fn stop(&mut self, stopped: bool) {
        self.stopped = stopped;
    }

    pub fn skew(&self, ms: i64) {
        self.skew_ms.store(ms, Ordering::Relaxed);
    }

    pub fn is_up(&self) -> bool {
        self.process.is_some()
    }

    /// Up and not stopped.
    pub fn runs(&self) -> bool {
        self.is_up() && !self.stopped
    }

    /// The node, once it has started.
    pub fn handle(&self) -> Option<Handle> {
        self.process.as_ref()?.handle.clone()
    }

    /// Runs something in the process, beside the node. It ends with it.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(process) = &self.process {
            process.runtime.spawn(task);
        }
    }

    /// Lets so much time pass for it.
    pub fn step(&mut self, ms: u64) -> Stepped {
        let Some(process) = &mut self.process else {
            return Stepped::Runs;
        };
        if self.stopped {
            self.missed_ms += ms;
            return Stepped::Runs;
        }
        let missed = std::mem::take(&mut self.missed_ms);
        process.runtime.block_on(async {
            if missed > 0 {
                tokio::time::advance(Duration::from_millis(missed)).await;
            }
            tokio::time::sleep(Duration::from_millis(ms)).await;
        });
        if process
            .starting
            .as_ref()
            .is_some_and(JoinHandle::is_finished)
            && let Some(starting) = process.starting.take()
        {
            match process.runtime.block_on(starting) {
                Ok(Ok(node)) => process.handle = Some(node.handle()),
                Ok(Err(error)) => return self.ended(format!("did not start: {error}")),
                Err(error) => return self.ended(format!("did not start: {error}")),
            }
        }
        let handle = self.process.as_ref().and_then(|it| it.handle.as_ref());
        match handle.and_then(|handle| handle.fatal().borrow().clone()) {
            Some(why) => self.ended(why),
            None => Stepped::Runs,
        }
    }

    /// A process whose storage broke exits.
    fn ended(&mut self, why: String) -> Stepped {
        self.book.tell(format_args!("{} ends: {why}", self.name));
        self.board.hang_up(&self.name);
        self.process = None;
        self.disk.kill();
        Stepped::Ended(why)
    }
}
