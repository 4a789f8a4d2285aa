//! One kept HTTP/1.1 connection: a request out, an answer in. Understands what the contestants send, and calls everything else an
//! error.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use memchr::memmem;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Client, Judgement};

/// More than any answer has, in bytes.
const ANSWER_MAXIMUM: usize = 256 * 1024;

/// A status and a body.
pub struct Answer<'a> {
    pub status: u16,
    pub head: &'a [u8],
    pub body: &'a [u8],
}

impl Answer<'_> {
    pub fn contains(&self, text: &[u8]) -> bool {
        memmem::find(self.body, text).is_some()
    }

    /// For messages.
    pub fn text(&self) -> String {
        let body = String::from_utf8_lossy(self.body);
        format!("{} {}", self.status, body.chars().take(300).collect::<String>())
    }
}

pub struct Connection {
    address: SocketAddr,
    stream: Option<TcpStream>,
    request: Vec<u8>,
    received: Vec<u8>,
}

impl Connection {
    /// Connects with the first request.
    pub fn new(address: SocketAddr) -> Self {
        Self { address, stream: None, request: Vec::with_capacity(1024), received: Vec::with_capacity(4096) }
    }

    pub async fn exchange(&mut self, client: &mut dyn Client) -> io::Result<Judgement> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => {
                let stream = TcpStream::connect(self.address).await?;
                stream.set_nodelay(true)?;
                none.insert(stream)
            }
        };
        self.request.clear();
        client.ask(&mut self.request);
        stream.write_all(&self.request).await?;

        self.received.clear();
        loop {
            if stream.read_buf(&mut self.received).await? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            if let Some(layout) = Layout::of(&self.received)? {
                if layout.length != self.received.len() {
                    return Err(io::Error::other("more than one answer to one request"));
                }
                let (head, body) = self.received.split_at(layout.head);
                let judgement = client.judge(&Answer { status: layout.status, head, body });
                if layout.closes {
                    self.stream = None;
                }
                return Ok(judgement);
            }
        }
    }
}

/// Where the parts of an answer are.
#[derive(Debug, PartialEq)]
struct Layout {
    status: u16,
    head: usize,
    length: usize,
    closes: bool,
}

impl Layout {
    /// None: the answer is not complete.
    fn of(received: &[u8]) -> io::Result<Option<Self>> {
        let malformed = |what| Err(io::Error::other(what));
        let Some(end) = memmem::find(received, b"\r\n\r\n") else {
            return if received.len() > ANSWER_MAXIMUM {
                malformed("headers without an end")
            } else {
                Ok(None)
            };
        };
        let (head, end) = (&received[..end], end + 4);
        let status = head.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        let Some(status) = status.filter(|_| head.starts_with(b"HTTP/1.1 ")) else {
            return malformed("not HTTP/1.1");
        };
        let body = match header(head, b"content-length") {
            Some(length) => std::str::from_utf8(length).ok().and_then(|it| it.trim().parse::<usize>().ok()),
            None if status == 204 => Some(0),
            None => None,
        };
        let Some(body) = body.filter(|length| *length <= ANSWER_MAXIMUM) else {
            return malformed("no usable content-length");
        };
        let length = end + body;
        let closes =
            header(head, b"connection").is_some_and(|it| it.trim_ascii().eq_ignore_ascii_case(b"close"));
        Ok((received.len() >= length).then_some(Self { status, head: end, length, closes }))
    }
}

/// The value of a header, if it is there.
fn header<'a>(head: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    // The lines of a head are few, and most differ from the name in their length alone.
    for line in head.split(|byte| *byte == b'\n').skip(1) {
        if line.len() > name.len()
            && line[name.len()] == b':'
            && line[..name.len()].eq_ignore_ascii_case(name)
        {
            return Some(&line[name.len() + 1..]);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_complete_with_its_last_byte() {
        let answer = b"HTTP/1.1 200 OK\r\nX: y\r\nContent-Length: 5\r\n\r\nhello";
        for cut in 0..answer.len() {
            assert_eq!(Layout::of(&answer[..cut]).unwrap(), None, "{cut}");
        }
        let whole = Layout { status: 200, head: answer.len() - 5, length: answer.len(), closes: false };
        assert_eq!(Layout::of(answer).unwrap(), Some(whole));
    }

    #[test]
    fn an_answer_without_content_needs_no_length_and_may_close() {
        let answer = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
        let layout = Layout::of(answer).unwrap().unwrap();
        assert!(layout.closes && layout.length == answer.len() && layout.status == 204);
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        for answer in [
            &b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"[..],
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            b"HTTP/1.1 XYZ OK\r\nContent-Length: 0\r\n\r\n",
        ] {
            assert!(Layout::of(answer).is_err());
        }
    }
}
