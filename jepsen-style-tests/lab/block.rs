//! A piece of the loopback network: 127.x.y.0/24, held by one lab, so that two test runs on one
//! machine never meet. Every Asterisk has an address of its own with the usual ports.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use super::LabError;

/// The port whose listener marks a block as taken.
const MARK_PORT: u16 = 47_808;

/// A held block. Clones share it; the last one gives it back.
#[derive(Debug, Clone)]
pub struct Block {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    x: u8,
    y: u8,
    _mark: TcpListener,
    next_port: AtomicU16,
}

impl Block {
    /// Takes a free block.
    pub fn take() -> Result<Block, LabError> {
        let seed = std::process::id() as usize;
        for step in 0..8_000 {
            let number = (seed.wrapping_mul(7919) + step) % 16_000;
            let (x, y) = (64 + (number / 254) as u8, 1 + (number % 254) as u8);
            let at = SocketAddr::from((Ipv4Addr::new(127, x, y, 1), MARK_PORT));
            if let Ok(mark) = TcpListener::bind(at) {
                let next_port = AtomicU16::new(20_000);
                return Ok(Block {
                    inner: Arc::new(Inner {
                        x,
                        y,
                        _mark: mark,
                        next_port,
                    }),
                });
            }
        }
        Err(LabError::Refused(
            "no free block of the loopback network".into(),
        ))
    }

    /// Address of the Asterisk of this name.
    pub fn pbx(&self, name: &str) -> Ipv4Addr {
        let last = match name.as_bytes().first() {
            Some(letter @ b'a'..=b'z') => 11 + (letter - b'a'),
            _ => 99,
        };
        Ipv4Addr::new(127, self.inner.x, self.inner.y, last)
    }

    /// Address of callers and phones.
    pub fn people(&self) -> Ipv4Addr {
        Ipv4Addr::new(127, self.inner.x, self.inner.y, 1)
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

    /// `x-y`, for folders.
    pub fn label(&self) -> String {
        format!("{}-{}-{}", std::process::id(), self.inner.x, self.inner.y)
    }
}
