//! One question to a name server, as a client of cluster DNS asks it.

use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

/// Asks for the IPv4 address of `name`; fails when there is not exactly one, or no answer within `limit`.
///
/// # Errors
/// As said.
pub fn resolve(name: &str, server: IpAddr, limit: Duration) -> Result<()> {
    let socket = UdpSocket::bind(("0.0.0.0", 0))?;
    socket.set_read_timeout(Some(limit))?;
    // RFC 1035, 4.1: an id, recursion desired, one question; its name, type A, class IN.
    let mut query = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.').chain([""]) {
        query.push(u8::try_from(label.len())?);
        query.extend(label.as_bytes());
    }
    query.extend([0, 1, 0, 1]);
    socket.send_to(&query, (server, 53))?;
    let mut buffer = [0; 512];
    let (count, _) = socket.recv_from(&mut buffer).with_context(|| format!("{server} says nothing about {name}"))?;
    let answer = buffer.get(..count).unwrap_or_default();
    // 4.1.1: no error, one answer.
    let one = matches!(answer, [0, 7, _, flags, _, _, _, 1, ..] if flags & 0xf == 0);
    ensure!(one, "{server} says about {name}: {answer:?}");
    Ok(())
}
