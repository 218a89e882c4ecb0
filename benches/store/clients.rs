//! Those who write to the stores, over the network as a program of its own would: frames over TCP to
//! Holdfast's node, gRPC to etcd, RESP to Redis. A writer has one command on its way at a time.
//!
//! They do not try again: what a store refused is counted by who asked.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};

use crate::Error;
use crate::node::{APPLIED, FORGET, LEADS, PUT};
use crate::resp;
use crate::servers::System;
use crate::shared::Shared;

/// Writers who share one connection.
const SHARE: usize = 16;
const CONNECT: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(30);

// What is needed of etcd's `rpc.proto`, by hand: generating it would take protoc.
#[derive(Clone, PartialEq, prost::Message)]
struct PutRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Nothing {}

#[derive(Clone, PartialEq, prost::Message)]
struct StatusResponse {
    #[prost(message, optional, tag = "1")]
    header: Option<Header>,
    #[prost(uint64, tag = "4")]
    leader: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Header {
    #[prost(uint64, tag = "2")]
    member_id: u64,
}

#[derive(Clone)]
pub enum Writer {
    Holdfast(Shared),
    Etcd(Grpc<Channel>),
    Redis(Shared),
}

impl Writer {
    /// Lets so many writers connect to the server there.
    pub async fn connect(
        system: System,
        to: SocketAddr,
        count: usize,
    ) -> Result<Vec<Writer>, Error> {
        let mut writers: Vec<Writer> = Vec::with_capacity(count);
        for number in 0..count {
            let writer = match writers.last() {
                Some(writer) if number % SHARE != 0 => writer.clone(),
                _ => match system {
                    System::Holdfast => Writer::Holdfast(Shared::new(system, tcp(to).await?)),
                    System::Redis => Writer::Redis(Shared::new(system, tcp(to).await?)),
                    System::Etcd => Writer::Etcd(Grpc::new(channel(to).await?)),
                },
            };
            writers.push(writer);
        }
        Ok(writers)
    }

    /// Whether the store has acknowledged it; an error when the store is not there any more.
    pub async fn put(&mut self, key: &[u8], value: &[u8]) -> Result<bool, Error> {
        let put = async {
            match self {
                Writer::Holdfast(node) => {
                    let mut out = vec![PUT];
                    for field in [key, value] {
                        let length = u16::try_from(field.len()).map_err(std::io::Error::other)?;
                        out.extend(length.to_be_bytes());
                        out.extend(field);
                    }
                    node.ask(out).await
                }
                Writer::Redis(redis) => redis.ask(resp::command(&[b"SET", key, value])).await,
                Writer::Etcd(etcd) => {
                    let (key, value) = (key.to_vec(), value.to_vec());
                    let put = PutRequest { key, value };
                    let done: Result<Nothing, _> = ask(etcd, "/etcdserverpb.KV/Put", put).await;
                    Ok(done.is_ok())
                }
            }
        };
        answered("a write", put).await
    }
}

/// Which of the servers leads; None while there is no leader or a server is not up.
pub async fn leader(system: System, servers: &[SocketAddr]) -> Option<usize> {
    for (place, server) in servers.iter().enumerate() {
        let leads = match system {
            System::Holdfast => holdfast_leads(*server).await.ok()?,
            System::Etcd => etcd_leads(*server).await.ok()?,
            System::Redis => tcp(*server).await.is_ok(),
        };
        if leads {
            return Some(place);
        }
    }
    None
}

async fn holdfast_leads(node: SocketAddr) -> Result<bool, Error> {
    let mut node = tcp(node).await?;
    let asked = async {
        node.write_all(&[LEADS]).await?;
        node.read_u8().await
    };
    Ok(answered("asking who leads", asked).await? == 1)
}

async fn etcd_leads(member: SocketAddr) -> Result<bool, Error> {
    let mut etcd = Grpc::new(channel(member).await?);
    let asked = async {
        let path = "/etcdserverpb.Maintenance/Status";
        ask::<_, StatusResponse>(&mut etcd, path, Nothing {})
            .await
            .map_err(std::io::Error::other)
    };
    let status = answered("asking who leads", asked).await?;
    let own = status.header.map_or(0, |h| h.member_id);
    Ok(own != 0 && own == status.leader)
}

/// Lets a node of Holdfast forget when it applied what.
pub async fn forget(node: SocketAddr) -> Result<(), Error> {
    let mut node = tcp(node).await?;
    let asked = async {
        node.write_all(&[FORGET]).await?;
        node.read_u8().await
    };
    answered("forgetting", asked).await.map(|_| ())
}

/// When a node of Holdfast applied which log entry since then, in microseconds since 1970.
pub async fn applied(node: SocketAddr) -> Result<Vec<(u64, u64)>, Error> {
    let mut node = tcp(node).await?;
    let asked = async {
        node.write_all(&[APPLIED]).await?;
        let mut all = Vec::new();
        for _ in 0..node.read_u32().await? {
            all.push((node.read_u64().await?, node.read_u64().await?));
        }
        Ok(all)
    };
    answered("asking what was applied", asked).await
}

async fn tcp(to: SocketAddr) -> Result<TcpStream, Error> {
    let connecting = async {
        let stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    };
    answered(format!("connecting to {to}"), connecting).await
}

async fn channel(to: SocketAddr) -> Result<Channel, Error> {
    let endpoint =
        Endpoint::from_shared(format!("http://{to}")).map(|e| e.connect_timeout(CONNECT));
    let endpoint = endpoint.map_err(|e| Error::new(format!("connecting to {to}"), e))?;
    let channel = endpoint.connect().await;
    channel.map_err(|e| Error::new(format!("connecting to {to}"), e))
}

async fn ask<Q, A>(
    etcd: &mut Grpc<Channel>,
    path: &'static str,
    what: Q,
) -> Result<A, tonic::Status>
where
    Q: prost::Message + Default + 'static,
    A: prost::Message + Default + 'static,
{
    let ready = etcd.ready().await;
    ready.map_err(|e| tonic::Status::unavailable(e.to_string()))?;
    let codec = tonic_prost::ProstCodec::<Q, A>::default();
    let path = PathAndQuery::from_static(path);
    let answer = etcd.unary(tonic::Request::new(what), path, codec).await?;
    Ok(answer.into_inner())
}

async fn answered<T>(
    what: impl Into<String>,
    asked: impl Future<Output = std::io::Result<T>>,
) -> Result<T, Error> {
    match tokio::time::timeout(ANSWER, asked).await {
        Ok(answer) => answer.map_err(|e| Error::new(what, e)),
        Err(_) => Err(Error::new(what, format!("no answer within {ANSWER:?}"))),
    }
}
