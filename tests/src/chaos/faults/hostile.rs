//! Clients that mean no good.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::generous;
use crate::chaos::bars::Bars;
use crate::chaos::load::Crowd;
use crate::chaos::report::Chapter;
use crate::chaos::stage::{Form, Stage};

const TEXT: &str = "Two gateways, one replica of each service; the attack goes to both gateways for twelve seconds, longer than it waits for headers. Nobody else notices: nothing fails, and \
    connections and memory are given back.";
const ATTACK: Duration = Duration::from_secs(12);
/// Attackers are on the same machine, and it is not their appetite for its processors that is looked at.
const PAUSE: Duration = Duration::from_millis(50);

#[derive(Debug, Clone, Copy)]
enum Attack {
    /// Headers that come a byte at a time, or a body that does.
    SlowLoris,
    /// Sends a request, closes its side, and reads nothing.
    HalfClosed,
    /// Sends a request and resets the connection.
    Reset,
    /// Opens HTTP/2 streams and cancels each at once.
    RapidReset,
    /// HTTP/2 headers that never end.
    Continuation,
    /// HTTP/1 headers that never end.
    Headers,
    /// A body that never ends.
    Body,
}

pub(super) async fn run(form: Form) -> Chapter {
    let mut stage = Stage::set(generous().gateways(2).start(), form, Crowd::USUAL).await;
    for (name, attack, attackers) in [
        ("500 slow-loris clients", Attack::SlowLoris, 500),
        ("200 clients that close their side and read nothing", Attack::HalfClosed, 200),
        ("50 clients that reset connections in the middle of a request", Attack::Reset, 50),
        ("4 clients with HTTP/2 rapid resets", Attack::RapidReset, 4),
        ("4 clients with HTTP/2 headers that never end", Attack::Continuation, 4),
        ("20 clients with HTTP/1 headers that never end", Attack::Headers, 20),
        ("20 clients with bodies that never end", Attack::Body, 20),
    ] {
        let connections = Arc::new(AtomicUsize::new(0));
        let attacked = async |stage: &Stage| {
            let mut clients = JoinSet::new();
            for number in 0..attackers {
                let gateways = &stage.stack.gateways;
                let gateway = gateways[number % gateways.len()].address();
                let connections = connections.clone();
                clients.spawn(async move {
                    loop {
                        if let Ok(stream) = TcpStream::connect(gateway).await {
                            connections.fetch_add(1, Ordering::Relaxed);
                            // However it ends, the next one follows.
                            let _ = timeout(ATTACK, attack.over(stream)).await;
                        }
                        sleep(PAUSE).await;
                    }
                });
            }
            stage.hold(ATTACK).await;
            clients.shutdown().await;
        };
        stage.fault(name, Bars::nothing_fails(), attacked).await;
        let connections = connections.load(Ordering::Relaxed);
        let missed = (connections < attackers).then(|| "not all of them have come".to_owned());
        stage.note(format!("{connections} connections"), missed);
    }
    Chapter { title: "Hostile clients", text: TEXT, rows: stage.end().await, skipped: Vec::new() }
}

impl Attack {
    /// Until the client or the server has had enough.
    async fn over(self, mut stream: TcpStream) -> std::io::Result<()> {
        match self {
            Self::SlowLoris => {
                let request: &[u8] = if fastrand::bool() {
                    b"GET /v1/me HTTP/1.1\r\nHost: x\r\nX-Slow: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"
                } else {
                    b"POST /v1/login HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\nContent-Type: application/json\r\n\r\n{"
                };
                let at_once = request.len() - 30;
                stream.write_all(&request[..at_once]).await?;
                for byte in request[at_once..].chunks(1) {
                    sleep(Duration::from_millis(500)).await;
                    stream.write_all(byte).await?;
                }
                sleep(ATTACK).await;
            }
            Self::HalfClosed => {
                stream.write_all(b"GET /v1/users/nobody/profile HTTP/1.1\r\nHost: x\r\n\r\n").await?;
                stream.shutdown().await?;
                sleep(Duration::from_secs(1)).await;
            }
            Self::Reset => {
                stream.write_all(b"GET /v1/users/nobody/profile HTTP/1.1\r\nHost: x\r\n\r\n").await?;
                stream.set_zero_linger()?;
            }
            Self::RapidReset => rapid_reset(stream).await?,
            Self::Continuation => {
                stream.write_all(PREFACE).await?;
                stream.write_all(&frame(FRAME_HEADERS, END_STREAM, 1, HEADERS)).await?;
                // A header that is not indexed: name and value of 100 bytes each.
                let header: Vec<u8> =
                    [&[0x00, 100][..], &[b'a'; 100], &[100], &[b'b'; 100]].concat().repeat(40);
                loop {
                    stream.write_all(&frame(FRAME_CONTINUATION, 0, 1, &header)).await?;
                }
            }
            Self::Headers => {
                stream.write_all(b"GET /v1/me HTTP/1.1\r\nHost: x\r\n").await?;
                let line = [b"X-", &[b'a'; 60][..], b": ", &[b'b'; 900], b"\r\n"].concat();
                loop {
                    stream.write_all(&line).await?;
                }
            }
            Self::Body => {
                let head = b"POST /v1/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
                stream.write_all(head).await?;
                let chunk = [b"4000\r\n", &[b' '; 0x4000][..], b"\r\n"].concat();
                loop {
                    stream.write_all(&chunk).await?;
                }
            }
        }
        Ok(())
    }
}

/// The client's preface and its settings, which change nothing.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const FRAME_HEADERS: u8 = 1;
const FRAME_RESET: u8 = 3;
const FRAME_CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// `GET http://x/` by HPACK's table.
const HEADERS: &[u8] = b"\x82\x86\x84\x41\x01x";
const CANCEL: &[u8] = &[0, 0, 0, 8];

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Until the server has had enough.
async fn rapid_reset(mut stream: TcpStream) -> std::io::Result<()> {
    stream.write_all(PREFACE).await?;
    let (mut from, mut to) = stream.split();
    let send = async {
        for first in (1_u32..).step_by(200) {
            let burst = (first..first + 200).filter(|id| id % 2 == 1).flat_map(|id| {
                [
                    frame(FRAME_HEADERS, END_STREAM | END_HEADERS, id, HEADERS),
                    frame(FRAME_RESET, 0, id, CANCEL),
                ]
                .concat()
            });
            to.write_all(&burst.collect::<Vec<_>>()).await?;
        }
        Ok(())
    };
    let listen = async {
        let mut buffer = [0; 4096];
        while from.read(&mut buffer).await? > 0 {}
        Ok(())
    };
    tokio::select! {
        sent = send => sent,
        heard = listen => heard,
    }
}
