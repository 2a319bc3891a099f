//! A proxy before an S3 server that misbehaves on purpose: it throttles, fails, and loses replies.
//!
//! There is one request on each connection, passed on byte for byte, so that signatures hold. The number of a request
//! decides its fate, so that a retry meets another one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Fate of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The request is answered.
    Answered,
    /// The request is refused with this status and S3 code.
    Refused(&'static str, &'static str),
    /// The request is carried out, and the connection breaks before the reply.
    ReplyLost,
}

/// A running proxy; dropping it ends it.
pub struct Proxy {
    address: String,
    refused: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Starts a proxy before a server, with fates by the number of the request.
    pub async fn start(server: &str, fate: impl Fn(u64) -> Fate + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let server = server.trim_start_matches("http://").to_owned();
        let refused = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&refused);
        let task = tokio::spawn(async move {
            let mut number = 0;
            while let Ok((client, _)) = listener.accept().await {
                let fate = fate(number);
                number += 1;
                counter.fetch_add(u64::from(fate != Fate::Answered), Ordering::Relaxed);
                // A connection that breaks is the client's to notice.
                let server = server.clone();
                tokio::spawn(async move { pass_on(client, &server, fate).await });
            }
        });
        Self { address, refused, task }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns how many requests did not get their answer so far.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass_on(mut client: TcpStream, server: &str, fate: Fate) -> std::io::Result<()> {
    let request = read_request(&mut client).await?;
    if let Fate::Refused(status, code) = fate {
        let body = format!("<Error><Code>{code}</Code><Message>on purpose</Message></Error>");
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
        return client.write_all(answer.as_bytes()).await;
    }
    let mut upstream = TcpStream::connect(server).await?;
    upstream.write_all(&request).await?;
    let mut answer = Vec::new();
    upstream.read_to_end(&mut answer).await?;
    if fate == Fate::ReplyLost { Ok(()) } else { client.write_all(&answer).await }
}

/// Reads a request to the end of its body, and makes sure that no other follows on the same connection.
async fn read_request(client: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut request = Vec::new();
    let head_end = loop {
        if client.read_buf(&mut request).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(end) = request.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
    };
    let head = String::from_utf8_lossy(&request[..head_end]).into_owned();
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    while request.len() < head_end + 4 + length.unwrap_or(0) {
        if client.read_buf(&mut request).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    let mut closing = head.into_bytes();
    closing.extend_from_slice(b"\r\nConnection: close");
    closing.extend_from_slice(&request[head_end..]);
    Ok(closing)
}
