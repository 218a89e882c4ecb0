//! The ears and the voice of a caller or phone: counts RTP packets and tells music from a person.
//!
//! A person's packets carry one byte all through, the marker, so that "who hears whom" can be
//! counted; everything else that is not silence is music or a prompt.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use super::LabError;

/// The byte that persons speak, as G.711 u-law.
const MARKER: u8 = 0x2a;
/// Packets of a listening time that may be left over from before.
const STRAY_MAX: u64 = 2;

/// What was heard in a moment of listening.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// Nothing.
    Silence,
    /// Music or a prompt.
    Music,
    /// A person.
    Person,
    /// Both at once, or one in place of the other's packets: somebody forgot to stop the music.
    Both,
}

#[derive(Debug, Default)]
struct Counts {
    person: AtomicU64,
    music: AtomicU64,
}

/// A bound RTP port with a task that counts.
#[derive(Debug)]
pub struct Rtp {
    port: u16,
    counts: Arc<Counts>,
    socket: Arc<UdpSocket>,
    tasks: Vec<JoinHandle<()>>,
}

impl Rtp {
    /// Binds and counts.
    pub async fn open(at: SocketAddr) -> Result<Rtp, LabError> {
        let failed = |source| LabError::Io {
            what: format!("rtp port {at}"),
            source,
        };
        let socket = Arc::new(UdpSocket::bind(at).await.map_err(failed)?);
        let counts = Arc::new(Counts::default());
        let task = tokio::spawn(listen(socket.clone(), counts.clone()));
        Ok(Rtp {
            port: at.port(),
            counts,
            socket,
            tasks: vec![task],
        })
    }

    /// The port, for the SDP.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Speaks to this address from now on, 50 packets a second, and to no other any more.
    pub fn speak(&mut self, to: SocketAddr) {
        self.tasks.drain(1..).for_each(|task| task.abort());
        self.tasks.push(tokio::spawn(talk(self.socket.clone(), to)));
    }

    /// Listens for 400 ms.
    pub async fn hears(&self) -> Heard {
        let count = || {
            let load = |n: &AtomicU64| n.load(Ordering::Relaxed);
            (load(&self.counts.person), load(&self.counts.music))
        };
        let before = count();
        tokio::time::sleep(Duration::from_millis(400)).await;
        let after = count();
        match (
            after.0 - before.0 > STRAY_MAX,
            after.1 - before.1 > STRAY_MAX,
        ) {
            (false, false) => Heard::Silence,
            (false, true) => Heard::Music,
            (true, false) => Heard::Person,
            (true, true) => Heard::Both,
        }
    }
}

impl Drop for Rtp {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn listen(socket: Arc<UdpSocket>, counts: Arc<Counts>) {
    let mut packet = [0; 2048];
    loop {
        // An ICMP error of an earlier packet shows up here and means nothing.
        let Ok(length) = socket.recv(&mut packet).await else {
            continue;
        };
        let Some(sound) = packet.get(12..length) else {
            continue;
        };
        let count = match sound {
            [] => continue,
            sound if sound.iter().all(|byte| *byte == MARKER) => &counts.person,
            // u-law silence, which bridges send while nobody speaks.
            sound if sound.iter().all(|byte| matches!(byte, 0x7f | 0xff)) => continue,
            _ => &counts.music,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

async fn talk(socket: Arc<UdpSocket>, to: SocketAddr) {
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    let mut sequence: u16 = 0;
    loop {
        tick.tick().await;
        let mut packet = vec![0x80, 0];
        packet.extend(sequence.to_be_bytes());
        packet.extend((u32::from(sequence) * 160).to_be_bytes());
        packet.extend(0x4846_0001_u32.to_be_bytes());
        packet.extend([MARKER; 160]);
        // Nobody there yet is no reason to stop speaking.
        let _ = socket.send_to(&packet, to).await;
        sequence = sequence.wrapping_add(1);
    }
}
