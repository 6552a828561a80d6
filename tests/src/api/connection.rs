//! One HTTP/1.1 connection over TLS.

use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use serde_json::Value;

use super::LIMIT;

/// An answer of the server, whatever its status.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The head's lines after the status line.
    pub headers: Vec<String>,
    /// The whole body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// When it is none.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("no JSON: {self}"))
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = String::from_utf8_lossy(&self.body);
        write!(f, "{} {}", self.status, text.chars().take(2000).collect::<String>())
    }
}

/// A connection that is kept between requests.
pub struct Connection {
    stream: StreamOwned<ClientConnection, TcpStream>,
    received: Vec<u8>,
    token: Option<String>,
}

impl Connection {
    pub(super) fn new(
        address: SocketAddr,
        name: ServerName<'static>,
        tls: Arc<ClientConfig>,
        token: Option<String>,
    ) -> Result<Self> {
        let tcp =
            TcpStream::connect_timeout(&address, LIMIT).with_context(|| format!("cannot connect to {address}"))?;
        tcp.set_nodelay(true)?;
        tcp.set_read_timeout(Some(LIMIT))?;
        tcp.set_write_timeout(Some(LIMIT))?;
        let stream = StreamOwned::new(ClientConnection::new(tls, name)?, tcp);
        Ok(Self { stream, received: Vec::new(), token })
    }

    /// Sends a request and reads its answer.
    ///
    /// # Errors
    /// When the connection breaks or the answer is no HTTP.
    pub fn request(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Answer> {
        self.send(method, path, headers, body)?;
        self.answer().with_context(|| format!("{method} {path}"))
    }

    /// Sends a whole request.
    ///
    /// # Errors
    /// When the connection breaks.
    pub fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<()> {
        self.send_part(method, path, headers, body.len(), body)
    }

    /// Sends a head that promises `length` bytes, and the given bytes only.
    ///
    /// # Errors
    /// When the connection breaks.
    pub fn send_part(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        length: usize,
        body: &[u8],
    ) -> Result<()> {
        let mut bytes = format!("{method} {path} HTTP/1.1\r\nHost: knarr\r\nContent-Length: {length}\r\n");
        for (name, value) in headers {
            bytes.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(token) = &self.token {
            bytes.push_str(&format!("Authorization: Bearer {token}\r\n"));
        }
        bytes.push_str("\r\n");
        let mut bytes = bytes.into_bytes();
        bytes.extend_from_slice(body);
        self.stream.write_all(&bytes).and_then(|()| self.stream.flush()).context("cannot send")
    }

    /// Reads the answer to what was sent.
    ///
    /// # Errors
    /// When the connection breaks or the answer is no HTTP.
    pub fn answer(&mut self) -> Result<Answer> {
        let deadline = Instant::now() + LIMIT;
        let mut answer = self.head(deadline)?;
        let length = answer.header("Content-Length").map(str::parse).transpose().context("Content-Length")?;
        match length {
            Some(length) => {
                while self.received.len() < length {
                    self.read(deadline)?;
                }
                answer.body = self.received.drain(..length).collect();
            }
            None if answer.header("Transfer-Encoding").is_some() => {
                while let Some(chunk) = self.chunk(deadline)? {
                    answer.body.extend(chunk);
                }
            }
            None => {}
        }
        Ok(answer)
    }

    pub(super) fn head(&mut self, deadline: Instant) -> Result<Answer> {
        loop {
            if let Some(end) = find(&self.received, b"\r\n\r\n") {
                let head: Vec<u8> = self.received.drain(..end + 4).collect();
                let head = String::from_utf8_lossy(&head).into_owned();
                let mut lines = head.trim_end().lines();
                let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
                let status = status.with_context(|| format!("no HTTP: {head:?}"))?;
                return Ok(Answer { status, headers: lines.map(str::to_owned).collect(), body: Vec::new() });
            }
            self.read(deadline)?;
        }
    }

    /// The next chunk of a chunked body; `None` at its end. A deadline that passes loses nothing.
    pub(super) fn chunk(&mut self, deadline: Instant) -> Result<Option<Vec<u8>>> {
        loop {
            if let Some(line) = find(&self.received, b"\r\n") {
                let size = String::from_utf8_lossy(self.received.get(..line).unwrap_or_default()).into_owned();
                let size = usize::from_str_radix(size.trim(), 16).with_context(|| format!("chunk of {size:?}"))?;
                if self.received.len() >= line + 2 + size + 2 {
                    let chunk: Vec<u8> = self.received.drain(..line + 2 + size + 2).collect();
                    let chunk = chunk.get(line + 2..line + 2 + size).unwrap_or_default().to_vec();
                    return Ok(if size == 0 { None } else { Some(chunk) });
                }
            }
            self.read(deadline)?;
        }
    }

    fn read(&mut self, deadline: Instant) -> Result<()> {
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        self.stream.sock.set_read_timeout(Some(left))?;
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => bail!("the server closed the connection"),
            Ok(count) => {
                self.received.extend_from_slice(buffer.get(..count).unwrap_or_default());
                Ok(())
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                bail!("the server sent nothing in time")
            }
            Err(error) => Err(error).context("cannot read"),
        }
    }
}

fn find(bytes: &[u8], pattern: &[u8]) -> Option<usize> {
    bytes.windows(pattern.len()).position(|window| window == pattern)
}
