//! Tracked connections: what `conntrack -L -p udp` shows (`nfnetlink_conntrack`).

use std::net::{IpAddr, SocketAddr};

use rtnetlink::packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST};

use super::socket::Socket;
use crate::error::{Doing, unless};
use crate::{Family, Result};

const NFNL_SUBSYS_CTNETLINK: u16 = 1;
const IPCTNL_MSG_CT_GET: u16 = NFNL_SUBSYS_CTNETLINK << 8 | 1;
const IPCTNL_MSG_CT_DELETE: u16 = NFNL_SUBSYS_CTNETLINK << 8 | 2;

const NLA_F_NESTED: u16 = 1 << 15;
const NLA_TYPE_MASK: u16 = 0x3fff;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V4_DST: u16 = 2;
const CTA_IP_V6_SRC: u16 = 3;
const CTA_IP_V6_DST: u16 = 4;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_SRC_PORT: u16 = 2;
const CTA_PROTO_DST_PORT: u16 = 3;

/// `struct nfgenmsg`: family, version, resource id.
const GENERIC_HEADER: usize = 4;

/// One direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tuple {
    /// Who sends.
    pub source: SocketAddr,
    /// To whom.
    pub destination: SocketAddr,
    /// `IPPROTO_UDP` and so on.
    pub protocol: u8,
}

/// A tracked connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// As the client sent it: its destination is the Service.
    pub original: Tuple,
    /// As the answer comes: its source is the endpoint.
    pub reply: Tuple,
}

/// A connection to the connection tracking of a network namespace.
#[derive(Debug)]
pub struct Conntrack(Socket);

impl Conntrack {
    /// Talks to the calling thread's network namespace.
    ///
    /// # Errors
    /// When the process may not open such a socket.
    pub fn open() -> Result<Self> {
        Socket::open(libc::NETLINK_NETFILTER).map(Self).doing(|| "open a conntrack socket")
    }

    /// All tracked connections of a family that have ports.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn list(&mut self, family: Family) -> Result<Vec<Flow>> {
        let answers = self
            .0
            .request(IPCTNL_MSG_CT_GET, NLM_F_REQUEST | NLM_F_DUMP, &header(family))
            .doing(|| "list tracked connections")?;
        Ok(answers.iter().filter_map(|answer| parse_flow(answer.payload.get(GENERIC_HEADER..)?)).collect())
    }

    /// Forgets a connection, so that its next packet is treated like the first one of a new connection. No error when it
    /// is forgotten already.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn delete(&mut self, flow: &Flow) -> Result<()> {
        let original = &flow.original;
        let mut payload = header(Family::of(original.source.ip())).to_vec();
        attribute(&mut payload, CTA_TUPLE_ORIG | NLA_F_NESTED, &tuple_attributes(original));
        let deleted = self.0.request(IPCTNL_MSG_CT_DELETE, NLM_F_REQUEST | NLM_F_ACK, &payload);
        let what = || format!("forget the connection {} -> {}", original.source, original.destination);
        unless(libc::ENOENT, deleted.map(drop).doing(what))
    }
}

fn header(family: Family) -> [u8; GENERIC_HEADER] {
    let family = match family {
        Family::V4 => libc::AF_INET,
        Family::V6 => libc::AF_INET6,
    };
    [u8::try_from(family).unwrap_or_default(), 0, 0, 0]
}

fn attribute(into: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
    into.extend(length.to_ne_bytes());
    into.extend(kind.to_ne_bytes());
    into.extend(value);
    into.resize(into.len().next_multiple_of(4), 0);
}

fn tuple_attributes(tuple: &Tuple) -> Vec<u8> {
    let mut ip = Vec::new();
    for (address, v4, v6) in
        [(tuple.source.ip(), CTA_IP_V4_SRC, CTA_IP_V6_SRC), (tuple.destination.ip(), CTA_IP_V4_DST, CTA_IP_V6_DST)]
    {
        match address {
            IpAddr::V4(address) => attribute(&mut ip, v4, &address.octets()),
            IpAddr::V6(address) => attribute(&mut ip, v6, &address.octets()),
        }
    }
    let mut protocol = Vec::new();
    attribute(&mut protocol, CTA_PROTO_NUM, &[tuple.protocol]);
    attribute(&mut protocol, CTA_PROTO_SRC_PORT, &tuple.source.port().to_be_bytes());
    attribute(&mut protocol, CTA_PROTO_DST_PORT, &tuple.destination.port().to_be_bytes());
    let mut both = Vec::new();
    attribute(&mut both, CTA_TUPLE_IP | NLA_F_NESTED, &ip);
    attribute(&mut both, CTA_TUPLE_PROTO | NLA_F_NESTED, &protocol);
    both
}

fn parse_flow(attributes: &[u8]) -> Option<Flow> {
    Some(Flow {
        original: parse_tuple(find(attributes, CTA_TUPLE_ORIG)?)?,
        reply: parse_tuple(find(attributes, CTA_TUPLE_REPLY)?)?,
    })
}

fn parse_tuple(attributes: &[u8]) -> Option<Tuple> {
    let (ip, protocol) = (find(attributes, CTA_TUPLE_IP)?, find(attributes, CTA_TUPLE_PROTO)?);
    let address = |v4, v6| {
        let v4 = find(ip, v4).and_then(|bytes| bytes.first_chunk::<4>()).map(|octets| IpAddr::from(*octets));
        v4.or_else(|| find(ip, v6).and_then(|bytes| bytes.first_chunk::<16>()).map(|octets| IpAddr::from(*octets)))
    };
    let port = |kind| find(protocol, kind).and_then(|bytes| bytes.first_chunk()).map(|port| u16::from_be_bytes(*port));
    Some(Tuple {
        source: SocketAddr::new(address(CTA_IP_V4_SRC, CTA_IP_V6_SRC)?, port(CTA_PROTO_SRC_PORT)?),
        destination: SocketAddr::new(address(CTA_IP_V4_DST, CTA_IP_V6_DST)?, port(CTA_PROTO_DST_PORT)?),
        protocol: *find(protocol, CTA_PROTO_NUM)?.first()?,
    })
}

/// The value of the first attribute of a kind.
fn find(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let (length, rest) = attributes.split_first_chunk()?;
        let (kind, _) = rest.split_first_chunk()?;
        let length = usize::from(u16::from_ne_bytes(*length));
        let value = attributes.get(4..length)?;
        if u16::from_ne_bytes(*kind) & NLA_TYPE_MASK == wanted {
            return Some(value);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tuple(source: &str, destination: &str) -> Tuple {
        Tuple { source: source.parse().unwrap(), destination: destination.parse().unwrap(), protocol: 17 }
    }

    #[test]
    fn a_flow_is_read_from_its_attributes() {
        for flow in [
            Flow {
                original: tuple("10.42.0.9:4321", "10.43.0.10:53"),
                reply: tuple("10.42.0.5:5353", "10.42.0.9:4321"),
            },
            Flow { original: tuple("[fd00::9]:1", "[fd01::1]:53"), reply: tuple("[fd00::5]:53", "[fd00::9]:1") },
        ] {
            let mut attributes = Vec::new();
            attribute(&mut attributes, CTA_TUPLE_ORIG | NLA_F_NESTED, &tuple_attributes(&flow.original));
            attribute(&mut attributes, CTA_TUPLE_REPLY | NLA_F_NESTED, &tuple_attributes(&flow.reply));
            assert_eq!(parse_flow(&attributes), Some(flow));
            for cut in 0..attributes.len() - 4 {
                assert_eq!(parse_flow(&attributes[..cut]), None);
            }
        }
    }
}
