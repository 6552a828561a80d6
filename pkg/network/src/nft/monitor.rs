//! Notices when somebody removes our tables: `nft flush ruleset` stands at the top of every distribution's
//! `/etc/nftables.conf`, so a reload of the host's own firewall takes everybody's tables with it.
#![allow(unsafe_code, reason = "a multicast group of a netlink socket is joined by a raw setsockopt")]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use tokio::io::unix::AsyncFd;

use crate::Result;
use crate::error::Doing;
use crate::names::TABLES;

const HEADER: usize = 16;
/// `struct nfgenmsg`.
const GENERIC_HEADER: usize = 4;
const NFNLGRP_NFTABLES: libc::c_int = 7;
const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFT_MSG_DELTABLE: u16 = 2;
const NFTA_TABLE_NAME: u16 = 1;
const DATAGRAM: usize = 64 * 1024;

/// Hears of every change of nftables in the network namespace in which it was opened.
#[derive(Debug)]
pub struct Monitor(AsyncFd<OwnedFd>);

impl Monitor {
    /// Starts to listen. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When the process may not open such a socket.
    pub fn open() -> Result<Self> {
        // SAFETY: `OwnedFd` is a descriptor that stays open, and the same, as long as the `AsyncFd` that owns it.
        let register = |socket| unsafe { AsyncFd::register(socket) }.map_err(io::Error::from);
        open().and_then(register).map(Self).doing(|| "watch nftables")
    }

    /// Waits until a table of ours is removed, be it by ourselves. So many changes at once that some reports were lost
    /// count as well. Cancel-safe.
    pub async fn lost(&mut self) {
        let mut datagram = vec![0; DATAGRAM];
        loop {
            let Ok(mut guard) = self.0.readable().await else {
                // The runtime ends.
                return std::future::pending().await;
            };
            // SAFETY: the pointer and the length are those of a live buffer.
            let attempt = guard.try_io(|socket| unsafe {
                let length = libc::recv(socket.as_raw_fd(), datagram.as_mut_ptr().cast(), datagram.len(), 0);
                usize::try_from(length).map_err(|_| io::Error::last_os_error())
            });
            match attempt {
                Ok(Ok(length)) if removes_ours(datagram.get(..length).unwrap_or_default()) => return,
                Ok(Err(error)) if error.raw_os_error() == Some(libc::ENOBUFS) => return,
                _ => {}
            }
        }
    }
}

fn open() -> io::Result<OwnedFd> {
    let invalid = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let group = NFNLGRP_NFTABLES;
    let group_length = u32::try_from(size_of_val(&group)).map_err(invalid)?;
    // SAFETY: all fields of this structure are numbers.
    let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
    address.nl_family = u16::try_from(libc::AF_NETLINK).map_err(invalid)?;
    let address_length = u32::try_from(size_of_val(&address)).map_err(invalid)?;
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: socket(2) takes three numbers; a result that is not negative is a descriptor that nobody else owns.
    let socket = unsafe {
        let fd = checked(libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_NETFILTER))?;
        OwnedFd::from_raw_fd(fd)
    };
    // Reports go to sockets that have an address only, which the kernel chooses here.
    // SAFETY: the pointers and lengths are those of live values of the types that these calls take.
    unsafe {
        let fd = socket.as_raw_fd();
        checked(libc::bind(fd, (&raw const address).cast(), address_length))?;
        let (level, option) = (libc::SOL_NETLINK, libc::NETLINK_ADD_MEMBERSHIP);
        checked(libc::setsockopt(fd, level, option, (&raw const group).cast(), group_length))?;
    }
    Ok(socket)
}

fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Whether one of the messages of a datagram says that a table of ours is gone.
fn removes_ours(mut datagram: &[u8]) -> bool {
    let word = |bytes: &[u8], at: usize| bytes.get(at..at + 2)?.try_into().ok().map(u16::from_ne_bytes);
    while let Some(length) = datagram.first_chunk().map(|length| u32::from_ne_bytes(*length)) {
        let length = usize::try_from(length).unwrap_or_default().max(HEADER);
        let Some(message) = datagram.get(..length) else { return false };
        let removes = word(message, 4) == Some(NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_DELTABLE);
        if removes && message.get(HEADER + GENERIC_HEADER..).and_then(table_name).is_some_and(is_ours) {
            return true;
        }
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    false
}

/// The text of the first attribute that is a table's name.
fn table_name(mut attributes: &[u8]) -> Option<&[u8]> {
    loop {
        let (length, rest) = attributes.split_first_chunk()?;
        let (kind, _) = rest.split_first_chunk()?;
        let length = usize::from(u16::from_ne_bytes(*length));
        let value = attributes.get(4..length)?;
        if u16::from_ne_bytes(*kind) == NFTA_TABLE_NAME {
            return value.strip_suffix(&[0]);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

fn is_ours(name: &[u8]) -> bool {
    TABLES.iter().any(|(_, table)| table.as_bytes() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, name: &str) -> Vec<u8> {
        let mut attribute = Vec::new();
        attribute.extend(u16::try_from(4 + name.len() + 1).unwrap().to_ne_bytes());
        attribute.extend(NFTA_TABLE_NAME.to_ne_bytes());
        attribute.extend(name.as_bytes());
        attribute.push(0);
        attribute.resize(attribute.len().next_multiple_of(4), 0);
        let mut message = Vec::new();
        message.extend(u32::try_from(HEADER + GENERIC_HEADER + attribute.len()).unwrap().to_ne_bytes());
        message.extend((NFNL_SUBSYS_NFTABLES << 8 | kind).to_ne_bytes());
        message.extend([0; 10 + GENERIC_HEADER]);
        message.extend(attribute);
        message
    }

    #[test]
    fn only_the_end_of_our_tables_counts() {
        assert!(removes_ours(&message(NFT_MSG_DELTABLE, "knarr")));
        assert!(removes_ours(&[message(9, "knarr"), message(NFT_MSG_DELTABLE, "knarr-node")].concat()));
        assert!(!removes_ours(&message(NFT_MSG_DELTABLE, "filter")));
        assert!(!removes_ours(&message(0, "knarr")));
        let whole = message(NFT_MSG_DELTABLE, "knarr");
        for cut in 0..whole.len() {
            assert!(!removes_ours(&whole[..cut]));
        }
    }
}
