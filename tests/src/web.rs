//! One plain HTTP request, as a client of a Service makes it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, socket};

/// Fetches `path` over a new connection and gives back the body of a 200.
///
/// # Errors
/// When `limit` passes at connecting, sending or reading, or the answer is no 200.
pub fn fetch(address: SocketAddr, path: &str, limit: Duration) -> Result<String> {
    let stream = TcpStream::connect_timeout(&address, limit).with_context(|| format!("cannot connect to {address}"))?;
    stream.set_nodelay(true)?;
    request(stream, address, path, limit)
}

/// Like [`fetch`], from one of this host's own addresses.
///
/// # Errors
/// As [`fetch`], or when this host has no such address.
pub fn fetch_from(source: Ipv4Addr, address: SocketAddr, path: &str, limit: Duration) -> Result<String> {
    let SocketAddr::V4(target) = address else { bail!("{address} is no IPv4 address") };
    let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    let stream = TcpStream::from(socket);
    // It bounds the connecting too (socket(7), SO_SNDTIMEO).
    stream.set_write_timeout(Some(limit))?;
    bind(stream.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(source, 0)))
        .with_context(|| format!("cannot be {source}"))?;
    connect(stream.as_raw_fd(), &SockaddrIn::from(target))
        .with_context(|| format!("cannot connect to {address} from {source}"))?;
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
    let mut buffer = [0; 4096];
    while !is_whole(&answer) {
        let count = stream.read(&mut buffer).with_context(|| format!("cannot read from {address} after {answer:?}"))?;
        if count == 0 {
            break;
        }
        answer.extend(buffer.iter().take(count));
    }
    let answer = String::from_utf8_lossy(&answer);
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.split(' ').nth(1) == Some("200") => Ok(body.to_owned()),
        _ => bail!("{address} answered {answer:?}"),
    }
}

/// Whether all is there that the head announces; without `Content-Length` the end of the connection is the answer's end.
fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let fields = head.lines().filter_map(|line| line.split_once(':'));
    let length = fields
        .filter(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .find_map(|(_, length)| length.trim().parse().ok());
    length.is_some_and(|length: usize| body.len() >= length)
}
