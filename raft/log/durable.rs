//! How far the log is on the disk: the writing thread tells, and who must not run ahead of it waits.
//!
//! A leader sends an entry to the others while its own disk still writes it, so that both take their time
//! at once (the thesis on Raft, 10.2.1). openraft then counts the leader among those who have it. What it
//! makes of that, that the entry is committed, reaches nobody before the leader's disk has it: neither the
//! leader's own state (`LogStore::save_committed`) nor the others (`Link::append_entries`).

use tokio::sync::watch;

/// How far, and whether it goes on.
#[derive(Debug)]
struct Reached {
    /// All entries up to this index are on the disk, or purged.
    upto: u64,
    /// The disk broke, and how: nothing more will be.
    broken: Option<String>,
}

/// The writing thread's end.
pub struct Durable(watch::Sender<Reached>);

impl Durable {
    /// All entries up to this index are on the disk.
    pub fn new(upto: u64) -> Self {
        let broken = None;
        Durable(watch::Sender::new(Reached { upto, broken }))
    }

    /// Up to here, and no entry behind it.
    pub fn reached(&self, upto: u64) {
        self.0.send_modify(|it| it.upto = upto);
    }

    /// Up to here at least.
    pub fn reached_at_least(&self, upto: u64) {
        self.0.send_modify(|it| it.upto = it.upto.max(upto));
    }

    /// The disk broke in this way. Whoever waits may be the first to tell the operator.
    pub fn broke(&self, why: String) {
        self.0.send_modify(|it| it.broken = Some(why));
    }

    pub fn watch(&self) -> DurableView {
        DurableView(self.0.subscribe())
    }
}

/// Waits for the disk.
#[derive(Clone)]
pub struct DurableView(watch::Receiver<Reached>);

impl DurableView {
    /// Returns when all entries up to this index are on the disk. The error: that will not be.
    pub async fn upto(&self, index: u64) -> std::io::Result<()> {
        let mut told = self.0.clone();
        let reached = told.wait_for(|it| it.broken.is_some() || it.upto >= index);
        let why = match reached.await.as_deref() {
            Ok(Reached { broken: None, .. }) => return Ok(()),
            Ok(Reached {
                broken: Some(why), ..
            }) => why.clone(),
            Err(_) => "the log is closed".to_string(),
        };
        let error = format!("entry {index} of the log cannot be written any more: {why}");
        Err(std::io::Error::other(error))
    }

    /// Up to where all is on the disk at this moment.
    #[cfg(test)]
    pub fn now(&self) -> u64 {
        self.0.borrow().upto
    }
}
