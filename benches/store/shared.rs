//! One connection that several writers share, as gRPC lets them: requests go out in the order in which
//! they come, several in one write if they come together, and answers come back in the same order.

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};

use crate::node::DONE;
use crate::resp::{self, Reply};
use crate::servers::System;

/// Requests on their way on one connection; there are never more than writers on it.
const REQUESTS: usize = 64;

type Request = (Vec<u8>, oneshot::Sender<bool>);

/// A handle to the connection. It is closed when the last of them is gone.
#[derive(Clone)]
pub struct Shared(mpsc::Sender<Request>);

impl Shared {
    pub fn new(system: System, connection: TcpStream) -> Shared {
        let (reading, writing) = connection.into_split();
        let (requests, inbox) = mpsc::channel(REQUESTS);
        let (sent, due) = mpsc::channel(REQUESTS);
        // When one of them ends, the requests whose answers are due are dropped, which tells who asked.
        tokio::spawn(send(inbox, writing, sent));
        tokio::spawn(receive(system, reading, due));
        Shared(requests)
    }

    /// Whether the store has acknowledged it.
    pub async fn ask(&self, request: Vec<u8>) -> std::io::Result<bool> {
        let (answer, answered) = oneshot::channel();
        let closed = || std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
        let sent = self.0.send((request, answer)).await;
        sent.map_err(|_| closed())?;
        answered.await.map_err(|_| closed())
    }
}

async fn send(
    mut inbox: mpsc::Receiver<Request>,
    mut writing: OwnedWriteHalf,
    sent: mpsc::Sender<oneshot::Sender<bool>>,
) {
    let mut together = Vec::new();
    while inbox.recv_many(&mut together, REQUESTS).await > 0 {
        let mut bytes = Vec::new();
        for (request, answer) in together.drain(..) {
            bytes.extend(request);
            if sent.send(answer).await.is_err() {
                return;
            }
        }
        if writing.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

async fn receive(
    system: System,
    reading: OwnedReadHalf,
    mut due: mpsc::Receiver<oneshot::Sender<bool>>,
) {
    let mut reading = BufReader::new(reading);
    while let Some(answer) = due.recv().await {
        let acknowledged = match system {
            System::Redis => {
                let reply = resp::reply(&mut reading).await;
                reply.map(|reply| reply == Reply::Text("OK".into()))
            }
            _ => reading.read_u8().await.map(|byte| byte == DONE),
        };
        // A writer that has given up needs no answer.
        match acknowledged {
            Ok(acknowledged) => drop(answer.send(acknowledged)),
            Err(_) => return,
        }
    }
}
