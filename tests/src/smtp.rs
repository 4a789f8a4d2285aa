//! A mail server that takes what it is given: enough of SMTP (RFC 5321) for a client that sends.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::mail::Mail;

/// A place where a mail server will be: nobody else gets the port, and nobody is let in.
pub struct Away {
    socket: TcpSocket,
    address: SocketAddr,
}

impl Away {
    pub fn new() -> Self {
        let socket = TcpSocket::new_v4().and_then(|socket| {
            socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
            Ok(socket)
        });
        let socket = socket.unwrap_or_else(|error| panic!("no socket for a mail server: {error}"));
        let address = socket.local_addr().unwrap_or_else(|error| panic!("a socket without address: {error}"));
        Self { socket, address }
    }

    pub fn url(&self) -> String {
        format!("smtp://{}", self.address)
    }

    /// Opens the server.
    pub fn come(self) -> Smtp {
        let listener = self.socket.listen(64).unwrap_or_else(|error| panic!("no mail server: {error}"));
        let (mails, behaviour) = (Arc::<Mutex<Vec<Mail>>>::default(), Arc::new(Mutex::new(Behaviour::Take)));
        let mut server = JoinSet::new();
        server.spawn(serve(listener, mails.clone(), behaviour.clone()));
        Smtp { address: self.address, mails, behaviour, _server: server }
    }
}

impl Default for Away {
    fn default() -> Self {
        Self::new()
    }
}

/// What the server does with a mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    Take,
    /// There is no such mailbox, it says, and repeats the address.
    Refuse,
    /// Not now.
    PutOff,
    /// It takes the mail, and closes the connection instead of saying so.
    TakeInSilence,
    /// It says nothing at all.
    Hang,
}

/// A running mail server; it ends when this is dropped.
pub struct Smtp {
    address: SocketAddr,
    mails: Arc<Mutex<Vec<Mail>>>,
    behaviour: Arc<Mutex<Behaviour>>,
    _server: JoinSet<()>,
}

impl Smtp {
    pub fn start() -> Self {
        Away::new().come()
    }

    pub fn url(&self) -> String {
        format!("smtp://{}", self.address)
    }

    /// What has arrived, the oldest first.
    pub fn mails(&self) -> Vec<Mail> {
        self.mails.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From the next connection on.
    pub fn behave(&self, behaviour: Behaviour) {
        *self.behaviour.lock().unwrap_or_else(PoisonError::into_inner) = behaviour;
    }
}

async fn serve(listener: TcpListener, mails: Arc<Mutex<Vec<Mail>>>, behaviour: Arc<Mutex<Behaviour>>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let behaviour = *behaviour.lock().unwrap_or_else(PoisonError::into_inner);
        let mails = mails.clone();
        // A client that goes away has nothing to be told.
        connections.spawn(async move { drop(converse(stream, &mails, behaviour).await) });
    }
}

async fn converse(stream: TcpStream, mails: &Mutex<Vec<Mail>>, behaviour: Behaviour) -> std::io::Result<()> {
    if behaviour == Behaviour::Hang {
        return std::future::pending().await;
    }
    let mut stream = BufReader::new(stream);
    stream.write_all(b"220 mail.example ESMTP\r\n").await?;
    let mut line = String::new();
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let verb = line.split([' ', '\r', ':']).next().unwrap_or_default().to_uppercase();
        let answer = match (verb.as_str(), behaviour) {
            ("EHLO", _) => "250-mail.example\r\n250 8BITMIME\r\n".to_owned(),
            ("RCPT", Behaviour::Refuse) => format!("550 5.1.1 {}: no such mailbox\r\n", line.trim()),
            ("MAIL", Behaviour::PutOff) => "451 4.7.1 come again\r\n".to_owned(),
            ("DATA", _) => {
                stream.write_all(b"354 go on\r\n").await?;
                let mail = read_mail(&mut stream).await?;
                mails.lock().unwrap_or_else(PoisonError::into_inner).push(mail);
                if behaviour == Behaviour::TakeInSilence {
                    return Ok(());
                }
                "250 2.0.0 taken\r\n".to_owned()
            }
            ("QUIT", _) => {
                stream.write_all(b"221 bye\r\n").await?;
                return stream.shutdown().await;
            }
            ("HELO" | "MAIL" | "RCPT" | "RSET" | "NOOP", _) => "250 fine\r\n".to_owned(),
            _ => "502 not here\r\n".to_owned(),
        };
        stream.write_all(answer.as_bytes()).await?;
    }
}

/// Up to the lonely dot, with the doubled dots of its lines made single again.
async fn read_mail(stream: &mut BufReader<TcpStream>) -> std::io::Result<Mail> {
    let mut text = String::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if line == ".\r\n" {
            return Ok(Mail { text });
        }
        text.push_str(line.strip_prefix('.').unwrap_or(&line));
    }
}
