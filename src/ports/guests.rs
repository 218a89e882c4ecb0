//! Who is connected: places for strangers and for the known, and who must go when they are full.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::task::AbortHandle;

/// What a port counts; read at any time.
#[derive(Debug, Default)]
pub struct Stats {
    strangers: AtomicUsize,
    known: AtomicUsize,
    accepted: AtomicU64,
    evicted: AtomicU64,
    refused: AtomicU64,
}

impl Stats {
    /// Open connections that have not shown a secret.
    pub fn strangers(&self) -> usize {
        self.strangers.load(Ordering::Relaxed)
    }

    /// Open connections that have.
    pub fn known(&self) -> usize {
        self.known.load(Ordering::Relaxed)
    }

    /// Connections taken since the start.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Strangers who were thrown out for a newer connection.
    pub fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    /// Connections that showed a secret when all places of the known were taken.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    pub(crate) fn count_accepted(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }
}

/// All connections of a port.
#[derive(Debug)]
pub(crate) struct Guests {
    strangers_max: usize,
    known_max: usize,
    places: Mutex<Places>,
    stats: Arc<Stats>,
}

#[derive(Debug, Default)]
struct Places {
    /// Strangers by where they come from, the oldest first; `None`: not over TCP.
    strangers: HashMap<Option<IpAddr>, BTreeMap<u64, AbortHandle>>,
    count: usize,
    known: usize,
    next: u64,
}

impl Places {
    fn remove(&mut self, from: Option<IpAddr>, id: u64) -> bool {
        let Some(here) = self.strangers.get_mut(&from) else {
            return false;
        };
        let found = here.remove(&id).is_some();
        if here.is_empty() {
            self.strangers.remove(&from);
        }
        self.count -= usize::from(found);
        found
    }

    /// The oldest stranger of the address that holds the most.
    fn pop_most(&mut self) -> Option<AbortHandle> {
        let most = self.strangers.iter().max_by_key(|(_, here)| here.len());
        let from = *most?.0;
        let here = self.strangers.get_mut(&from)?;
        let (_, oldest) = here.pop_first()?;
        if here.is_empty() {
            self.strangers.remove(&from);
        }
        self.count -= 1;
        Some(oldest)
    }
}

impl Guests {
    pub(crate) fn new(strangers_max: usize, known_max: usize, stats: Arc<Stats>) -> Arc<Self> {
        Arc::new(Self {
            strangers_max,
            known_max,
            places: Mutex::default(),
            stats,
        })
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place for a new connection, whose task `spawn` starts. The guest goes with the task:
    /// when the last of its clones is dropped, the place is free.
    pub(crate) fn enter(
        self: &Arc<Self>,
        from: Option<IpAddr>,
        known: bool,
        spawn: impl FnOnce(Guest) -> AbortHandle,
    ) {
        self.stats.count_accepted();
        // Held while the task is made, so that it cannot be known before it is a stranger.
        let mut places = self.places();
        let out = match places.count >= self.strangers_max && !known {
            true => places.pop_most(),
            false => None,
        };
        let id = places.next;
        places.next += 1;
        let guest = Guest {
            seat: Arc::new(Seat {
                guests: self.clone(),
                from,
                id,
                known: Mutex::new(false),
                gone: OnceLock::new(),
            }),
        };
        let handle = spawn(guest.clone());
        places.strangers.entry(from).or_default().insert(id, handle);
        places.count += 1;
        self.tell(&places);
        drop(places);
        if known {
            guest.is_known();
        }
        if let Some(out) = out {
            self.stats.evicted.fetch_add(1, Ordering::Relaxed);
            out.abort();
        }
    }

    fn tell(&self, places: &Places) {
        self.stats.strangers.store(places.count, Ordering::Relaxed);
        self.stats.known.store(places.known, Ordering::Relaxed);
    }
}

/// One connection, for the requests on it to say who it is. Clones stand for the same connection.
#[derive(Clone, Debug)]
pub struct Guest {
    seat: Arc<Seat>,
}

struct Seat {
    guests: Arc<Guests>,
    from: Option<IpAddr>,
    id: u64,
    known: Mutex<bool>,
    gone: OnceLock<Tell>,
}

/// Who wants to hear that a connection has ended. It must not wait for anything.
pub type Tell = Box<dyn Fn() + Send + Sync>;

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Seat({}, {:?})", self.id, self.from)
    }
}

impl Guest {
    /// The secret or a token was right: the connection leaves the strangers' places. False if the
    /// places of the known are all taken; then the request is to be refused.
    pub fn is_known(&self) -> bool {
        let seat = &self.seat;
        let mut known = seat.known.lock().unwrap_or_else(PoisonError::into_inner);
        if *known {
            return true;
        }
        let guests = &seat.guests;
        let mut places = guests.places();
        if places.known >= guests.known_max {
            guests.stats.refused.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        // One that was thrown out this very moment is no longer there, and ends by itself.
        if places.remove(seat.from, seat.id) {
            places.known += 1;
            *known = true;
        }
        guests.tell(&places);
        true
    }

    /// Has somebody told when the connection has ended, whoever ended it. The first who asks is.
    pub fn when_gone(&self, tell: impl FnOnce() -> Tell) {
        self.seat.gone.get_or_init(tell);
    }

    /// Where it comes from; `None`: not over TCP.
    pub fn address(&self) -> Option<IpAddr> {
        self.seat.from
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let known = *self.known.get_mut().unwrap_or_else(PoisonError::into_inner);
        let mut places = self.guests.places();
        match known {
            true => places.known -= 1,
            false => drop(places.remove(self.from, self.id)),
        }
        self.guests.tell(&places);
        drop(places);
        if let Some(tell) = self.gone.get() {
            tell();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([10, 0, 0, last]))
    }

    /// A guest whose task waits for ever.
    fn enter(guests: &Arc<Guests>, from: u8) -> (Guest, tokio::task::JoinHandle<()>) {
        let mut made = None;
        guests.enter(address(from), false, |guest| {
            let task = tokio::spawn(std::future::pending());
            let handle = task.abort_handle();
            made = Some((guest, task));
            handle
        });
        made.expect("enter spawns")
    }

    #[tokio::test]
    async fn a_flood_throws_out_its_own_oldest_and_nobody_else() {
        let guests = Guests::new(3, 2, Arc::default());
        let other = enter(&guests, 9);
        let flood: Vec<_> = (0..5).map(|_| enter(&guests, 1)).collect();
        assert_eq!(guests.stats.strangers(), 3);
        assert_eq!(guests.stats.evicted(), 3);
        for (n, (_, task)) in flood.into_iter().enumerate() {
            if n < 3 {
                assert!(task.await.is_err(), "{n} was thrown out");
            } else {
                assert!(!task.is_finished());
            }
        }
        assert!(!other.1.is_finished());
    }

    #[tokio::test]
    async fn the_end_of_a_connection_is_told_once_and_after_its_place_is_free() {
        let guests = Guests::new(2, 2, Arc::default());
        let (guest, task) = enter(&guests, 1);
        let (clone, stats) = (guest.clone(), guests.stats.clone());
        let heard = Arc::new(Mutex::new(Vec::new()));
        for name in ["first", "second"] {
            let (heard, stats) = (heard.clone(), stats.clone());
            guest.when_gone(|| {
                Box::new(move || heard.lock().unwrap().push((name, stats.strangers())))
            });
        }
        drop(guest);
        assert!(heard.lock().unwrap().is_empty(), "a request is still open");
        drop((clone, task));
        assert_eq!(*heard.lock().unwrap(), [("first", 0)]);
    }

    #[tokio::test]
    async fn the_known_have_places_of_their_own_that_a_flood_cannot_take() {
        let guests = Guests::new(2, 2, Arc::default());
        let peer = enter(&guests, 1);
        assert!(peer.0.is_known() && peer.0.is_known());
        let flood: Vec<_> = (0..9).map(|_| enter(&guests, 1)).collect();
        assert!(!peer.1.is_finished());
        assert_eq!((guests.stats.strangers(), guests.stats.known()), (2, 1));
        assert!(flood[8].0.is_known());
        assert!(!flood[7].0.is_known(), "all places of the known are taken");
        assert_eq!(guests.stats.refused(), 1);
        drop((peer, flood));
        assert_eq!((guests.stats.strangers(), guests.stats.known()), (0, 0));
    }
}
