//! The listening sockets a supervisor owns and passes down, and the ports it gives out. Serves nothing itself.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::Context as _;
use socket2::{Domain, Protocol, Socket, Type};

use crate::random;

mod holder;

/// Connections a socket queues while nobody accepts, for instance while its worker is being started again.
const BACKLOG: i32 = 1024;

/// Ports for servers that come and go: below the range systems hand out to outgoing connections (32768 and up on
/// Linux), so that a server started again on its port finds it free.
const SERVER_PORTS: std::ops::Range<u16> = 20_000..30_000;

/// Who wants a port, for the message when it is taken.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    pub who: &'a str,
    /// The flag that gives it another port, without dashes; the variable is the same in capitals.
    pub flag: &'a str,
}

/// A listening socket on any free loopback port.
pub fn loopback() -> io::Result<TcpListener> {
    let mut listeners = loopback_shared(1)?;
    listeners.pop().ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// `count` listening sockets that share any free loopback port.
pub fn loopback_shared(count: usize) -> io::Result<Vec<TcpListener>> {
    open_shared(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), count)
}

/// Binds `count` listening sockets on one port. The kernel spreads connections over them, and a connection stays
/// in its socket's queue while the worker that got the socket is started again. When the port is taken, the error
/// names it, who wanted it, who has it and what to change.
pub fn bind_shared(address: SocketAddr, count: usize, claim: Claim<'_>) -> anyhow::Result<Vec<TcpListener>> {
    check_free(address, claim)?;
    let listeners = open_shared(address, count);
    listeners.with_context(|| format!("cannot listen on {address} for {}", claim.who))
}

/// Fails when something else listens on `address`.
pub fn check_free(address: SocketAddr, claim: Claim<'_>) -> anyhow::Result<()> {
    // Without SO_REUSEPORT: with it, binding beside another program of the same user would succeed unnoticed.
    match TcpListener::bind(address) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let Claim { who, flag } = claim;
            let port = address.port();
            let holder = holder::of(port).map_or_else(|| "another program".to_owned(), |it| it.to_string());
            let variable = flag.to_uppercase().replace('-', "_");
            anyhow::bail!(
                "port {port} (for {who}) is taken by {holder}: end that, or choose another port with --{flag} or \
                 {variable}"
            )
        }
        Err(error) => Err(error).with_context(|| format!("cannot listen on {address} for {}", claim.who)),
    }
}

/// A loopback port that nothing listens on at the moment. This process gets each port once (until it has had all), so
/// servers that are started at the same time do not race for one.
pub fn free_port() -> io::Result<u16> {
    static NEXT: LazyLock<io::Result<AtomicU16>> = LazyLock::new(|| random::number().map(AtomicU16::new));
    let next = NEXT.as_ref().map_err(|error| io::Error::from(error.kind()))?;
    for _ in SERVER_PORTS {
        let port = SERVER_PORTS.start + next.fetch_add(1, Ordering::Relaxed) % SERVER_PORTS.len() as u16;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    Err(io::Error::new(io::ErrorKind::AddrInUse, "no free port found"))
}

fn open_shared(address: SocketAddr, count: usize) -> io::Result<Vec<TcpListener>> {
    let mut address = address;
    let mut listeners: Vec<TcpListener> = Vec::with_capacity(count);
    for _ in 0..count {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        // The flag is shared with every process that gets the socket, and asynchronous runtimes insist on it.
        socket.set_nonblocking(true)?;
        let listener = TcpListener::from(socket);
        // Port 0 means any port, but the same one for all.
        address = listener.local_addr()?;
        listeners.push(listener);
    }
    Ok(listeners)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_told_with_who_has_it_and_what_to_change() {
        let taken = loopback().unwrap();
        let address = taken.local_addr().unwrap();

        let claim = Claim { who: "gateway", flag: "gateway-port" };
        let error = bind_shared(address, 1, claim).unwrap_err().to_string();

        let expected = [
            format!("port {} (for gateway)", address.port()),
            "--gateway-port or GATEWAY_PORT".to_owned(),
            format!("(pid {})", std::process::id()),
        ];
        for part in expected {
            assert!(error.contains(&part), "{part} is missing in: {error}");
        }
    }

    #[test]
    fn shared_sockets_have_one_port_and_queue_connections_of_their_own() {
        let sockets = loopback_shared(3).unwrap();
        let addresses: Vec<SocketAddr> = sockets.iter().map(|it| it.local_addr().unwrap()).collect();
        assert!(addresses.iter().all(|it| *it == addresses[0]));

        let clients: Vec<_> = (0..60).map(|_| std::net::TcpStream::connect(addresses[0]).unwrap()).collect();

        let accepted = |socket: &TcpListener| std::iter::from_fn(|| socket.accept().ok()).count();
        let counts: Vec<usize> = sockets.iter().map(accepted).collect();
        assert_eq!(counts.iter().sum::<usize>(), clients.len());
        assert!(counts.iter().filter(|count| **count > 0).count() > 1, "{counts:?}");
    }
}
