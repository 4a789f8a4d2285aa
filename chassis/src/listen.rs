//! Where listening sockets come from: handed down by a supervisor, or bound here.
//!
//! A supervisor passes them as systemd does (`LISTEN_FDS`, from file descriptor 3): the service's first, the admin server's
//! second. A restarted process then takes over its predecessor's queue, and no connection is reset.

use std::io;
use std::net::{SocketAddr, TcpListener};

use listenfd::ListenFd;

/// The sockets of one process.
#[derive(Debug)]
pub struct Listeners {
    pub service: TcpListener,
    pub admin: TcpListener,
}

impl Listeners {
    /// Takes the inherited sockets, and binds those that were not handed down.
    ///
    /// # Errors
    /// The address that cannot be bound, with the system's reason.
    pub fn open(service: SocketAddr, admin: SocketAddr) -> io::Result<Self> {
        let mut inherited = ListenFd::from_env();
        Ok(Self {
            service: take_or_bind(&mut inherited, 0, service)?,
            admin: take_or_bind(&mut inherited, 1, admin)?,
        })
    }
}

fn take_or_bind(inherited: &mut ListenFd, index: usize, address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if index < inherited.len() { inherited.take_tcp_listener(index)? } else { None };
    let listener = match socket {
        Some(socket) => socket,
        None => TcpListener::bind(address)
            .map_err(|error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}")))?,
    };
    listener.set_nonblocking(true)?;
    Ok(listener)
}
