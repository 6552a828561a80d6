//! Taking an IPv4 address on a LAN: asking whether somebody has it, and telling everybody (RFC 5227).

use std::net::Ipv4Addr;
use std::time::Duration;

use futures::future::try_join_all;

use crate::Result;
use crate::error::Doing;
use crate::netlink::{Link, Mac};
use crate::packet::{Arp, ArpSocket};

/// `PROBE_NUM` of the RFC.
const PROBES: u32 = 3;

/// The RFC's one to two seconds between probes are for hosts that start all at once and for radio links; a host on the same
/// LAN answers within a millisecond, and a user waits for the address.
const BETWEEN_PROBES: Duration = Duration::from_millis(100);
const AFTER_PROBES: Duration = Duration::from_millis(200);

/// How often an address is announced after it was taken, as MetalLB does: for five seconds.
const ANNOUNCEMENTS: u32 = 6;
const BETWEEN_ANNOUNCEMENTS: Duration = Duration::from_millis(1100);

/// Who has an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probed {
    /// The link on which it answers.
    pub link: String,
    /// Its Ethernet address.
    pub mac: Mac,
}

/// Asks on all `links` whether somebody has `ip`. Takes less than half a second. Must be called within a tokio runtime.
///
/// # Errors
/// When a link cannot send.
pub async fn probe(links: &[Link], ip: Ipv4Addr) -> Result<Option<Probed>> {
    let answers = try_join_all(links.iter().map(|link| probe_link(link, ip))).await?;
    Ok(answers.into_iter().flatten().next())
}

async fn probe_link(link: &Link, ip: Ipv4Addr) -> Result<Option<Probed>> {
    let Some(own) = link.mac else { return Ok(None) };
    let socket = ArpSocket::open(link)?;
    let what = || format!("probe {ip} on {}", link.name);
    let listen = async {
        loop {
            if let Some(mac) = socket.receive().await?.conflict(own, ip) {
                return Ok::<_, std::io::Error>(mac);
            }
        }
    };
    let ask = async {
        for _ in 0..PROBES {
            socket.broadcast(&Arp::probe(own, ip)).await?;
            tokio::time::sleep(BETWEEN_PROBES).await;
        }
        tokio::time::sleep(AFTER_PROBES).await;
        Ok::<_, std::io::Error>(())
    };
    tokio::select! {
        mac = listen => Ok(Some(Probed { link: link.name.clone(), mac: mac.doing(what)? })),
        asked = ask => asked.map(|()| None).doing(what),
    }
}

/// Tells all hosts of `links` where `ip` is, at once and some times more. Must be called within a tokio runtime.
pub async fn announce(links: Vec<Link>, ip: Ipv4Addr) {
    for time in 0..ANNOUNCEMENTS {
        if time > 0 {
            tokio::time::sleep(BETWEEN_ANNOUNCEMENTS).await;
        }
        announce_once(&links, ip).await;
    }
}

/// Tells all hosts of `links` once where `ip` is, in both ways that hosts learn from. A link that cannot send now is told
/// again later, by the next time.
pub(super) async fn announce_once(links: &[Link], ip: Ipv4Addr) {
    for link in links {
        if let Err(error) = announce_on(link, ip).await {
            tracing::debug!(%error, "an announcement was not sent");
        }
    }
}

async fn announce_on(link: &Link, ip: Ipv4Addr) -> Result<()> {
    let Some(own) = link.mac else { return Ok(()) };
    let socket = ArpSocket::open(link)?;
    for packet in [Arp::announcement(own, ip), Arp::unasked_reply(own, ip)] {
        socket.broadcast(&packet).await.doing(|| format!("announce {ip} on {}", link.name))?;
    }
    Ok(())
}
