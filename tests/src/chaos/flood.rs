//! Requests by the thousand, as cheaply as they can be sent: from a thread of its own, over kept connections, and with as much understanding of the
//! answers as it takes to find their end.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

/// What has no answer by then gets none.
const PATIENCE: Duration = Duration::from_secs(10);

/// A thousand connections take so long.
const CONNECTING: Duration = Duration::from_millis(800);

/// How much is sent.
#[derive(Debug, Clone, Copy)]
pub struct Volley {
    pub connections: usize,
    /// Requests a second over all connections, whatever the answers are. `None`: each sends the next one as soon as it has an answer, or when it may
    /// come again if it was refused.
    pub rate: Option<f64>,
    pub length: Duration,
}

/// What came back: how long each answer took, by its status.
#[derive(Debug, Default)]
pub struct Tally {
    pub answers: BTreeMap<u16, Vec<Duration>>,
    pub broken: usize,
    pub length: Duration,
}

impl Tally {
    pub fn count(&self, status: u16) -> usize {
        self.answers.get(&status).map_or(0, Vec::len)
    }

    /// A second.
    pub fn goodput(&self) -> f64 {
        self.count(200) as f64 / self.length.as_secs_f64()
    }

    pub fn sent(&self) -> usize {
        self.broken + self.answers.values().map(Vec::len).sum::<usize>()
    }

    /// The time that so many of the answers of a status took at most.
    pub fn quantile(&mut self, status: u16, quantile: f64) -> Duration {
        let Some(times) = self.answers.get_mut(&status) else { return Duration::ZERO };
        times.sort_unstable();
        times[((times.len() - 1) as f64 * quantile) as usize]
    }

    /// Adds what came back at another time, or on another connection in the same.
    pub fn add(&mut self, other: Self) {
        for (status, times) in other.answers {
            self.answers.entry(status).or_default().extend(times);
        }
        self.broken += other.broken;
        self.length += other.length;
    }
}

/// Sends the requests in turn, and waits for the end.
pub async fn send(gateway: SocketAddr, requests: Vec<Vec<u8>>, volley: Volley) -> Tally {
    let flood = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.unwrap_or_else(|error| panic!("no runtime for a flood: {error}"));
        runtime.block_on(flood(gateway, requests, volley))
    };
    tokio::task::spawn_blocking(flood).await.unwrap_or_else(|error| panic!("a flood broke off: {error}"))
}

async fn flood(gateway: SocketAddr, requests: Vec<Vec<u8>>, volley: Volley) -> Tally {
    let requests = Arc::new(requests);
    // Everybody is connected before it begins: a queue of connections is not what is measured.
    let began = Instant::now() + CONNECTING.mul_f64(1.0 + volley.connections as f64 / 1000.0);
    let mut connections = JoinSet::new();
    for number in 0..volley.connections {
        connections.spawn(one_connection(gateway, requests.clone(), volley, number, began));
    }
    let mut tally = Tally { length: volley.length, ..Tally::default() };
    while let Some(one) = connections.join_next().await {
        tally.add(one.unwrap_or_default());
    }
    tally
}

async fn one_connection(
    gateway: SocketAddr,
    requests: Arc<Vec<Vec<u8>>>,
    volley: Volley,
    number: usize,
    began: Instant,
) -> Tally {
    let (mut tally, end) = (Tally::default(), began + volley.length);
    let pause = volley.rate.map(|rate| Duration::from_secs_f64(volley.connections as f64 / rate));
    let mut next = began + pause.unwrap_or_default().mul_f64(number as f64 / volley.connections as f64);
    tokio::time::sleep(began.saturating_duration_since(Instant::now()).mul_f64(0.8 * fastrand::f64())).await;
    let mut stream = TcpStream::connect(gateway).await.ok();
    for request in requests.iter().cycle().skip(number % requests.len()) {
        sleep_until(next.min(end)).await;
        let sent = Instant::now();
        if sent >= end {
            break;
        }
        let answer = timeout(PATIENCE, exchange(gateway, &mut stream, request)).await;
        let refused_for = match &answer {
            Ok(Ok(Answer { retry_after: Some(pause), .. })) => *pause,
            _ => Duration::ZERO,
        };
        match answer {
            // What comes after the end was not part of it.
            Ok(Ok(_)) if Instant::now() > end && volley.rate.is_none() => {}
            Ok(Ok(Answer { status, .. })) => tally.answers.entry(status).or_default().push(sent.elapsed()),
            _ => {
                stream = None;
                tally.broken += 1;
            }
        }
        // One that was late is not made up for: nobody sends two requests at once on one connection.
        next = pause.map_or_else(|| Instant::now() + refused_for, |pause| (next + pause).max(Instant::now()));
    }
    tally
}

async fn exchange(
    gateway: SocketAddr,
    stream: &mut Option<TcpStream>,
    request: &[u8],
) -> std::io::Result<Answer> {
    let stream = match stream {
        Some(stream) => stream,
        none => none.insert(TcpStream::connect(gateway).await?),
    };
    stream.write_all(request).await?;
    let mut received = Vec::with_capacity(2048);
    loop {
        if stream.read_buf(&mut received).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(answer) = whole(&received) {
            return Ok(answer);
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Answer {
    status: u16,
    retry_after: Option<Duration>,
}

/// An answer that is there to its end.
fn whole(received: &[u8]) -> Option<Answer> {
    let end = received.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&received[..end]).ok()?;
    let number = |header: &str| {
        head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case(header).then(|| value.trim().parse::<u32>().ok())?
        })
    };
    let length = number("content-length").unwrap_or_default() as usize;
    let answer = Answer {
        status: head.get(9..12)?.parse().ok()?,
        retry_after: number("retry-after").map(|seconds| Duration::from_secs(seconds.into())),
    };
    (received.len() >= end + 4 + length).then_some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_with_its_last_byte() {
        let answer = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\nretry-after: 3\r\n\r\n{}";
        let refused = Answer { status: 503, retry_after: Some(Duration::from_secs(3)) };
        assert_eq!(whole(answer), Some(refused));
        assert_eq!(whole(&answer[..answer.len() - 1]), None);
        let empty = Answer { status: 204, retry_after: None };
        assert_eq!(whole(b"HTTP/1.1 204 No Content\r\n\r\n"), Some(empty));
    }
}
