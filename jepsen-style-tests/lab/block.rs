//! Where the Asterisks and the people of one lab are: a piece of the loopback network, 127.x.y.0/24,
//! held by one lab, so that two test runs on one machine never meet; or hosts of their own, see
//! [`Hosts`]. Every Asterisk has an address of its own with the usual ports.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use super::LabError;
use super::hosts::Hosts;

/// The port whose listener marks a block as taken.
const MARK_PORT: u16 = 47_808;

/// A held block. Clones share it; the last one gives it back.
#[derive(Debug, Clone)]
pub struct Block {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    ground: Ground,
    next_port: AtomicU16,
}

#[derive(Debug)]
enum Ground {
    Loopback { x: u8, y: u8, _mark: TcpListener },
    Hosts(Arc<Hosts>),
}

impl Block {
    /// Takes a free block.
    pub fn take() -> Result<Block, LabError> {
        let seed = std::process::id() as usize;
        for step in 0..8_000 {
            let number = (seed.wrapping_mul(7919) + step) % 16_000;
            let (x, y) = (64 + (number / 254) as u8, 1 + (number % 254) as u8);
            let at = SocketAddr::from((Ipv4Addr::new(127, x, y, 1), MARK_PORT));
            if let Ok(_mark) = TcpListener::bind(at) {
                return Ok(Block::on(Ground::Loopback { x, y, _mark }));
            }
        }
        Err(LabError::Refused(
            "no free block of the loopback network".into(),
        ))
    }

    /// Hosts of their own, which nobody else has.
    pub fn of_hosts(hosts: Arc<Hosts>) -> Block {
        Block::on(Ground::Hosts(hosts))
    }

    fn on(ground: Ground) -> Block {
        let next_port = AtomicU16::new(20_000);
        Block {
            inner: Arc::new(Inner { ground, next_port }),
        }
    }

    /// The hosts, if this is not loopback.
    pub fn hosts(&self) -> Option<&Arc<Hosts>> {
        match &self.inner.ground {
            Ground::Hosts(hosts) => Some(hosts),
            Ground::Loopback { .. } => None,
        }
    }

    /// Address of the Asterisk of this name.
    pub fn pbx(&self, name: &str) -> Ipv4Addr {
        let (x, y) = match &self.inner.ground {
            Ground::Hosts(hosts) => return hosts.address(name),
            Ground::Loopback { x, y, .. } => (*x, *y),
        };
        let last = match name.as_bytes().first() {
            Some(letter @ b'a'..=b'z') => 11 + (letter - b'a'),
            _ => 99,
        };
        Ipv4Addr::new(127, x, y, last)
    }

    /// Address of callers and phones.
    pub fn people(&self) -> Ipv4Addr {
        match &self.inner.ground {
            Ground::Hosts(hosts) => hosts.observer(),
            Ground::Loopback { x, y, .. } => Ipv4Addr::new(127, *x, *y, 1),
        }
    }

    /// A port at [`Block::people`] that nobody else gets. Even, with the next three free too: sipp
    /// takes four for media.
    pub fn port(&self) -> u16 {
        let port = self.inner.next_port.fetch_add(4, Ordering::Relaxed);
        assert!(port < 47_000, "a lab has no more than 6,750 ports");
        port
    }

    /// The address with a new port.
    pub fn people_port(&self) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(self.people()), self.port())
    }

    /// For folders.
    pub fn label(&self) -> String {
        match &self.inner.ground {
            Ground::Hosts(hosts) => hosts.host("lab"),
            Ground::Loopback { x, y, .. } => format!("{}-{x}-{y}", std::process::id()),
        }
    }
}
