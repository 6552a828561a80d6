//! A raw socket of one link (`packet(7)`).
#![allow(unsafe_code, reason = "nix has no way to say which link a packet socket is bound to")]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use tokio::io::unix::AsyncFd;

use super::arp::{Arp, ETHERTYPE};
use crate::Result;
use crate::error::Doing;
use crate::netlink::Link;

/// Larger than any frame that can hold ARP; the rest of a frame is cut.
const FRAME: usize = 128;

/// Sends and receives ARP on a link of the network namespace in which it was opened.
#[derive(Debug)]
pub struct ArpSocket(AsyncFd<OwnedFd>);

impl ArpSocket {
    /// Opens a socket on `link`. From then on frames queue up.
    ///
    /// # Errors
    /// Without the right to, or when the link is gone. Must be called within a tokio runtime.
    pub fn open(link: &Link) -> Result<Self> {
        let register = |socket| {
            // SAFETY: `OwnedFd` is a descriptor that stays open, and the same, as long as the `AsyncFd` that owns it.
            unsafe { AsyncFd::register(socket) }.map_err(io::Error::from)
        };
        open(link.index).and_then(register).map(Self).doing(|| format!("open an ARP socket on {}", link.name))
    }

    /// Sends a packet to all hosts of the link.
    ///
    /// # Errors
    /// When the link is down or gone.
    pub async fn broadcast(&self, packet: &Arp) -> io::Result<()> {
        let frame = packet.broadcast();
        loop {
            let mut guard = self.0.writable().await?;
            // SAFETY: the pointer and the length are those of a live slice.
            let attempt = guard.try_io(|socket| unsafe {
                checked(libc::send(socket.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0))
            });
            if let Ok(sent) = attempt {
                return sent.map(drop);
            }
        }
    }

    /// Waits for the next packet; other frames and malformed ones are skipped. Cancel-safe.
    ///
    /// # Errors
    /// When the link is down or gone.
    pub async fn receive(&self) -> io::Result<Arp> {
        let mut frame = [0u8; FRAME];
        loop {
            let mut guard = self.0.readable().await?;
            // SAFETY: the pointer and the length are those of a live array.
            let attempt = guard.try_io(|socket| unsafe {
                checked(libc::recv(socket.as_raw_fd(), frame.as_mut_ptr().cast(), frame.len(), 0))
            });
            if let Ok(received) = attempt
                && let Some(packet) = Arp::parse(frame.get(..received?).unwrap_or_default())
            {
                return Ok(packet);
            }
        }
    }
}

fn open(link: u32) -> io::Result<OwnedFd> {
    let protocol = ETHERTYPE.to_be();
    // SAFETY: socket(2) takes three numbers; a result that is not negative is a descriptor that nobody else owns.
    let socket = unsafe {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        match libc::socket(libc::AF_PACKET, kind, i32::from(protocol)) {
            -1 => return Err(io::Error::last_os_error()),
            fd => OwnedFd::from_raw_fd(fd),
        }
    };
    let index = i32::try_from(link).map_err(|_| io::ErrorKind::InvalidInput)?;
    let family = u16::try_from(libc::AF_PACKET).map_err(|_| io::ErrorKind::InvalidInput)?;
    let address = libc::sockaddr_ll {
        sll_family: family,
        sll_protocol: protocol,
        sll_ifindex: index,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let length = u32::try_from(size_of_val(&address)).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the pointer and the length are those of a live `sockaddr_ll`, the type that this family of sockets takes.
    checked(unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) as isize })?;
    Ok(socket)
}

fn checked(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}
