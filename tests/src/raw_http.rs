//! HTTP by hand, for requests that no client would send.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Longer than the gateway's own limits on a request.
const LIMIT: Duration = Duration::from_secs(30);

/// Sends bytes on a connection of its own and reads until the server closes it. Tells the status of the first answer, and
/// everything that came; no status when the connection was closed without one. Panics when the server keeps it open for ever.
pub async fn exchange(gateway: SocketAddr, request: &[u8]) -> (Option<u16>, String) {
    let exchange = async {
        let mut stream = TcpStream::connect(gateway).await?;
        // The server may close before it has read everything.
        let _ = stream.write_all(request).await;
        let _ = stream.shutdown().await;
        read(&mut stream).await
    };
    finish(exchange).await
}

/// The same for a request whose end never comes: the client waits, and does not hang up.
pub async fn exchange_unfinished(gateway: SocketAddr, request: &[u8]) -> (Option<u16>, String) {
    let exchange = async {
        let mut stream = TcpStream::connect(gateway).await?;
        stream.write_all(request).await?;
        read(&mut stream).await
    };
    finish(exchange).await
}

async fn read(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut answer = Vec::new();
    // A reset after the answer is an end like any other.
    let _ = stream.read_to_end(&mut answer).await;
    Ok(answer)
}

async fn finish(exchange: impl Future<Output = std::io::Result<Vec<u8>>>) -> (Option<u16>, String) {
    let outcome = tokio::time::timeout(LIMIT, exchange).await;
    let answer = outcome.unwrap_or_else(|_| panic!("the server keeps a connection open for ever"));
    let answer = answer.unwrap_or_else(|error| panic!("the server cannot be reached: {error}"));
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)?.parse().ok());
    (status, answer)
}
