//! A door before an Asterisk's ARI: closed, connections are refused, as by an Asterisk that has died.

use std::net::SocketAddr;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

pub struct Door {
    pub address: SocketAddr,
    to: SocketAddr,
    open: Option<JoinHandle<()>>,
}

impl Door {
    /// Open, at a port of its own.
    pub fn before(to: SocketAddr) -> Door {
        let held = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = held.local_addr().expect("bound");
        drop(held);
        let mut door = Door {
            address,
            to,
            open: None,
        };
        door.open();
        door
    }

    pub fn open(&mut self) {
        let listener = std::net::TcpListener::bind(self.address).expect("the port is free again");
        listener.set_nonblocking(true).expect("a socket's option");
        let listener = TcpListener::from_std(listener).expect("within the runtime");
        let to = self.to;
        self.open = Some(tokio::spawn(async move {
            let mut passing = JoinSet::new();
            while let Ok((mut here, _)) = listener.accept().await {
                passing.spawn(async move {
                    if let Ok(mut there) = TcpStream::connect(to).await {
                        let _ = copy_bidirectional(&mut here, &mut there).await;
                    }
                });
            }
        }));
    }

    /// And whoever stands in it is cut off.
    pub async fn close(&mut self) {
        if let Some(open) = self.open.take() {
            open.abort();
            let _ = open.await;
        }
    }
}
