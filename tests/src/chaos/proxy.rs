//! A TCP proxy that a test puts between a client and a server to make the network between them bad. It forwards bytes, and
//! knows nothing of what they mean.
//!
//! All proxies share one thread of their own, so that what they add does not depend on what the test does meanwhile.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Handle};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// Bytes that are forwarded in one piece.
const PIECE_BYTES: usize = 16 * 1024;
/// Pieces on their way in one direction of a slow connection.
const PIECES_UNDER_WAY: usize = 256;

/// What the network is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    Fair,
    /// Everything arrives so much later, each way.
    Slow(Duration),
    /// Packets vanish, both ways, and nobody is told. What was sent meanwhile arrives when the weather clears, as TCP sends it
    /// again.
    BlackHole,
    /// What the client sends arrives, and no answer does.
    AnswersLost,
    /// Every connection is reset, the new ones too.
    Reset,
}

/// The weather, and somebody for whom there is a black hole in any case.
#[derive(Debug, Clone, Copy)]
struct Sky {
    weather: Weather,
    cut_off: Option<IpAddr>,
}

impl Sky {
    fn over(&self, client: IpAddr) -> Weather {
        if self.cut_off == Some(client) { Weather::BlackHole } else { self.weather }
    }
}

/// One bad network, which ends when this is dropped.
pub struct Proxy {
    address: SocketAddr,
    sky: watch::Sender<Sky>,
    target: Arc<Mutex<SocketAddr>>,
    hindered: Hindered,
}

/// How often the weather kept something from going its way.
#[derive(Clone, Default)]
struct Hindered(Arc<AtomicU64>);

impl Hindered {
    fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Proxy {
    /// Listens on a port of its own.
    ///
    /// # Errors
    /// There is no port to listen on.
    pub fn start(target: SocketAddr) -> std::io::Result<Self> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (sky, seen) = watch::channel(Sky { weather: Weather::Fair, cut_off: None });
        let target = Arc::new(Mutex::new(target));
        let current = target.clone();
        let hindered = Hindered::default();
        let counter = hindered.clone();
        spawn(async move {
            // Without the runtime's help there is no proxy; whoever connects will notice.
            if let Ok(listener) = TcpListener::from_std(listener) {
                serve(listener, current, seen, counter).await;
            }
        });
        Ok(Self { address, sky, target, hindered })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn set(&self, weather: Weather) {
        self.sky.send_modify(|sky| sky.weather = weather);
    }

    /// How many pieces were delayed or held back so far, and connections reset.
    pub fn hindered(&self) -> u64 {
        self.hindered.0.load(Ordering::Relaxed)
    }

    /// Who connects from this address gets nothing through, nor anything back, and is not told.
    pub fn cut_off(&self, client: Option<IpAddr>) {
        self.sky.send_modify(|sky| sky.cut_off = client);
    }

    /// New connections lead to another server, as when an address moves from one machine to the other.
    pub fn lead_to(&self, target: SocketAddr) {
        *self.target.lock().unwrap_or_else(PoisonError::into_inner) = target;
    }
}

/// Each task ends with its proxy or its connection.
fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    static RUNTIME: LazyLock<Handle> = LazyLock::new(|| {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.unwrap_or_else(|error| panic!("no runtime for proxies: {error}"));
        let handle = runtime.handle().clone();
        std::thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
        handle
    });
    RUNTIME.spawn(task);
}

type Seen = watch::Receiver<Sky>;

/// Until the proxy is dropped.
async fn serve(listener: TcpListener, target: Arc<Mutex<SocketAddr>>, mut seen: Seen, hindered: Hindered) {
    loop {
        // Nobody is let in by a black hole; the kernel queues whom it can.
        if seen.wait_for(|sky| sky.weather != Weather::BlackHole).await.is_err() {
            return;
        }
        tokio::select! {
            changed = seen.changed() => if changed.is_err() { return },
            accepted = listener.accept() => match accepted {
                Ok((client, from)) => {
                    let target = *target.lock().unwrap_or_else(PoisonError::into_inner);
                    spawn(connect(client, from.ip(), target, seen.clone(), hindered.clone()));
                }
                // Out of file descriptors, most likely: the queue keeps.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
        }
    }
}

async fn connect(mut client: TcpStream, from: IpAddr, target: SocketAddr, seen: Seen, hindered: Hindered) {
    let Ok(mut server) = TcpStream::connect(target).await else {
        let _ = client.set_zero_linger();
        return;
    };
    if client.set_nodelay(true).is_err() || server.set_nodelay(true).is_err() {
        return;
    }
    let is_reset = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let requests = pump(from_client, to_server, from, seen.clone(), Direction::Request, &hindered);
        let answers = pump(from_server, to_client, from, seen.clone(), Direction::Answer, &hindered);
        let mut seen = seen.clone();
        tokio::select! {
            turned = seen.wait_for(|sky| sky.over(from) == Weather::Reset) => turned.is_ok(),
            _ = async { tokio::join!(requests, answers) } => false,
        }
    };
    if is_reset {
        hindered.count();
        for socket in [&client, &server] {
            let _ = socket.set_zero_linger();
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Request,
    Answer,
}

/// Until one of the ends closes its side, and with that the other's.
async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    client: IpAddr,
    mut seen: Seen,
    direction: Direction,
    hindered: &Hindered,
) {
    let (pieces, mut under_way) = mpsc::channel::<(Instant, Vec<u8>)>(PIECES_UNDER_WAY);
    let delay = seen.clone();
    let read = async move {
        let mut buffer = vec![0; PIECE_BYTES];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            let due = match delay.borrow().over(client) {
                Weather::Slow(delay) => {
                    hindered.count();
                    Instant::now() + delay
                }
                _ => Instant::now(),
            };
            if pieces.send((due, buffer[..length].to_vec())).await.is_err() {
                return;
            }
        }
    };
    let passes = |sky: &Sky| match sky.over(client) {
        Weather::Fair | Weather::Slow(_) => true,
        Weather::AnswersLost => direction == Direction::Request,
        Weather::BlackHole | Weather::Reset => false,
    };
    let write = async move {
        while let Some((due, piece)) = under_way.recv().await {
            tokio::time::sleep_until(due).await;
            if !passes(&seen.borrow()) {
                hindered.count();
            }
            if seen.wait_for(passes).await.is_err() || to.write_all(&piece).await.is_err() {
                return;
            }
        }
        // Nor does the end get through.
        if seen.wait_for(passes).await.is_ok() {
            let _ = to.shutdown().await;
        }
    };
    tokio::join!(read, write);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that sends back what it gets.
    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                spawn(async move {
                    let (mut from, mut to) = socket.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        address
    }

    async fn exchange(stream: &mut TcpStream) -> std::io::Result<u8> {
        stream.write_all(b"x").await?;
        stream.read_u8().await
    }

    /// Nothing comes for so long.
    async fn is_silent(stream: &mut TcpStream) -> bool {
        tokio::time::timeout(Duration::from_millis(100), stream.read_u8()).await.is_err()
    }

    #[tokio::test]
    async fn what_vanishes_arrives_when_the_weather_clears() {
        let proxy = Proxy::start(echo().await).unwrap();
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(exchange(&mut stream).await.unwrap(), b'x');
        for weather in [Weather::BlackHole, Weather::AnswersLost] {
            proxy.set(weather);
            stream.write_all(b"y").await.unwrap();
            assert!(is_silent(&mut stream).await, "{weather:?}");
            proxy.set(Weather::Fair);
            assert_eq!(stream.read_u8().await.unwrap(), b'y');
        }
        assert_eq!(proxy.hindered(), 2);
    }

    #[tokio::test]
    async fn a_reset_ends_old_connections_and_new_ones() {
        let proxy = Proxy::start(echo().await).unwrap();
        let mut old = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(exchange(&mut old).await.unwrap(), b'x');
        proxy.set(Weather::Reset);
        assert!(old.read_u8().await.is_err());
        let mut new = TcpStream::connect(proxy.address()).await.unwrap();
        assert!(exchange(&mut new).await.is_err());
        proxy.set(Weather::Fair);
        let mut next = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(exchange(&mut next).await.unwrap(), b'x');
    }

    #[tokio::test]
    async fn one_client_is_cut_off_and_the_others_are_not() {
        let proxy = Proxy::start(echo().await).unwrap();
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        proxy.cut_off(Some(Ipv4Addr::new(127, 0, 0, 2).into()));
        assert_eq!(exchange(&mut stream).await.unwrap(), b'x');
        proxy.cut_off(Some(Ipv4Addr::LOCALHOST.into()));
        stream.write_all(b"y").await.unwrap();
        assert!(is_silent(&mut stream).await);
        proxy.cut_off(None);
        assert_eq!(stream.read_u8().await.unwrap(), b'y');
    }

    #[tokio::test]
    async fn a_slow_network_delays_each_way() {
        let proxy = Proxy::start(echo().await).unwrap();
        proxy.set(Weather::Slow(Duration::from_millis(30)));
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        let began = Instant::now();
        assert_eq!(exchange(&mut stream).await.unwrap(), b'x');
        assert!(began.elapsed() >= Duration::from_millis(60));
    }
}
