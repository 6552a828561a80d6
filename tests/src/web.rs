//! One plain HTTP request, as a client of a Service makes it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// Fetches `path` over a new connection and gives back the body of a 200.
///
/// # Errors
/// When `limit` passes at connecting, sending or reading, or the answer is no 200.
pub fn fetch(address: SocketAddr, path: &str, limit: Duration) -> Result<String> {
    let stream = TcpStream::connect_timeout(&address, limit).with_context(|| format!("cannot connect to {address}"))?;
    stream.set_nodelay(true)?;
    request(stream, address, path, limit)
}

/// Like [`fetch`], over a connection that is there.
///
/// # Errors
/// As [`fetch`].
pub fn request(mut stream: TcpStream, address: SocketAddr, path: &str, limit: Duration) -> Result<String> {
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")
        .with_context(|| format!("cannot ask {address}"))?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).with_context(|| format!("cannot read from {address} after {answer:?}"))?;
    let answer = String::from_utf8_lossy(&answer);
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.split(' ').nth(1) == Some("200") => Ok(body.to_owned()),
        _ => bail!("{address} answered {answer:?}"),
    }
}
