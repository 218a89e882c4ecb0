//! Addresses of nodes that no other test uses at the same time: on loopback, or on hosts of their own.
//!
//! Each test is a process of its own, so its process id gives it a block of four addresses out of
//! 127.0.0.0/8; within one process a counter gives each cluster its own ports. So listeners keep
//! fixed addresses over restarts, and tests run beside each other without asking anybody.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use super::cluster::NAMES;
use super::hosts::Hosts;

/// Ports that one cluster may use on each of its addresses.
const PORTS_EACH: u16 = 16;
const FIRST_PORT: u16 = 17_000;

static CLUSTERS: AtomicU16 = AtomicU16::new(0);

/// The addresses of one cluster.
#[derive(Debug, Clone)]
pub struct Place {
    base_port: u16,
    hosts: Option<Arc<Hosts>>,
}

impl Place {
    /// A place nobody else has.
    pub fn new() -> Place {
        let number = CLUSTERS.fetch_add(1, Ordering::Relaxed);
        Place {
            base_port: FIRST_PORT + number * PORTS_EACH,
            hosts: None,
        }
    }

    /// The place that these hosts are: the same ports on each.
    pub fn of_hosts(hosts: Arc<Hosts>) -> Place {
        Place {
            base_port: FIRST_PORT,
            hosts: Some(hosts),
        }
    }

    /// Address of the node with this index (from 0 to 3) for its service number `service`.
    pub fn addr(&self, node: usize, service: u16) -> SocketAddr {
        assert!(
            node < 4 && service < PORTS_EACH,
            "a place has four addresses of 16 ports"
        );
        let ip = match &self.hosts {
            Some(hosts) => hosts.address(NAMES[node]),
            None => ip(std::process::id(), node as u32),
        };
        SocketAddr::new(IpAddr::V4(ip), self.base_port + service)
    }
}

impl Default for Place {
    fn default() -> Self {
        Self::new()
    }
}

/// 127.128.0.0 and above: room for 21 bits of the process id (of at most 22), four times
/// over.
fn ip(process: u32, node: u32) -> Ipv4Addr {
    let [_, high, middle, low] = ((process << 2 | node) & 0x7f_ffff).to_be_bytes();
    Ipv4Addr::new(127, 128 + high, middle, low)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_processes_have_different_addresses() {
        let of = |process| (0..4).map(move |node| ip(process, node));
        let mut all: Vec<Ipv4Addr> = (4_194_000..4_194_100).flat_map(of).collect();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 400);
        assert!(all.iter().all(|ip| ip.is_loopback()));
    }
}
