//! ARP for IPv4 over Ethernet, and the uses that RFC 5227 makes of it.

use std::net::Ipv4Addr;

use crate::netlink::Mac;

/// Ethernet's number for ARP.
pub(super) const ETHERTYPE: u16 = 0x0806;

const ETHERNET: u16 = 1;
const IPV4: u16 = 0x0800;

/// An Ethernet header and an ARP packet; what follows is padding.
const LENGTH: usize = 14 + 28;

/// Whether a packet asks or answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Who has the target address?
    Request,
    /// The sender has the sender address.
    Reply,
}

/// An ARP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    /// Whether it asks or answers.
    pub operation: Operation,
    /// Who sends it.
    pub sender_mac: Mac,
    /// The address that the sender says it has; unspecified in a probe.
    pub sender_ip: Ipv4Addr,
    /// Whom it is for, in an answer.
    pub target_mac: Mac,
    /// The address that it is about.
    pub target_ip: Ipv4Addr,
}

const NOBODY: Mac = Mac([0; 6]);

impl Arp {
    /// Tells every host of the link that `ip` is at `mac`: a request for the own address (RFC 5227, 2.3).
    #[must_use]
    pub const fn announcement(mac: Mac, ip: Ipv4Addr) -> Self {
        Self { operation: Operation::Request, sender_mac: mac, sender_ip: ip, target_mac: NOBODY, target_ip: ip }
    }

    /// The same as an answer that nobody asked for: some hosts learn from the one, some from the other.
    #[must_use]
    pub const fn unasked_reply(mac: Mac, ip: Ipv4Addr) -> Self {
        Self { operation: Operation::Reply, sender_mac: mac, sender_ip: ip, target_mac: Mac::BROADCAST, target_ip: ip }
    }

    /// Asks whether somebody has `ip`, without saying that the own host has it (RFC 5227, 2.1.1).
    #[must_use]
    pub const fn probe(mac: Mac, ip: Ipv4Addr) -> Self {
        let sender_ip = Ipv4Addr::UNSPECIFIED;
        Self { operation: Operation::Request, sender_mac: mac, sender_ip, target_mac: NOBODY, target_ip: ip }
    }

    /// Who else has `ip`, or is about to take it, going by this packet (RFC 5227, 2.1.1). `own` is the prober's address.
    #[must_use]
    pub fn conflict(&self, own: Mac, ip: Ipv4Addr) -> Option<Mac> {
        let has = self.sender_ip == ip;
        let probes = self.operation == Operation::Request && self.sender_ip.is_unspecified() && self.target_ip == ip;
        ((has || probes) && self.sender_mac != own).then_some(self.sender_mac)
    }

    /// The packet as a frame to every host of the link.
    #[must_use]
    pub fn broadcast(&self) -> Vec<u8> {
        let operation: u16 = match self.operation {
            Operation::Request => 1,
            Operation::Reply => 2,
        };
        let mut frame = Vec::with_capacity(LENGTH);
        frame.extend(Mac::BROADCAST.0);
        frame.extend(self.sender_mac.0);
        frame.extend(ETHERTYPE.to_be_bytes());
        frame.extend(ETHERNET.to_be_bytes());
        frame.extend(IPV4.to_be_bytes());
        frame.extend([6, 4]);
        frame.extend(operation.to_be_bytes());
        frame.extend(self.sender_mac.0);
        frame.extend(self.sender_ip.octets());
        frame.extend(self.target_mac.0);
        frame.extend(self.target_ip.octets());
        frame
    }

    /// Reads a frame; `None` when it is anything but ARP for IPv4 over Ethernet.
    #[must_use]
    pub fn parse(frame: &[u8]) -> Option<Self> {
        let (_ethernet_addresses, rest) = frame.split_first_chunk::<12>()?;
        let (kinds, rest) = rest.split_first_chunk::<8>()?;
        let mut expected = Vec::with_capacity(8);
        expected.extend(ETHERTYPE.to_be_bytes());
        expected.extend(ETHERNET.to_be_bytes());
        expected.extend(IPV4.to_be_bytes());
        expected.extend([6, 4]);
        let (operation, rest) = rest.split_first_chunk()?;
        let operation = match u16::from_be_bytes(*operation) {
            1 => Operation::Request,
            2 => Operation::Reply,
            _ => return None,
        };
        let (sender_mac, rest) = rest.split_first_chunk()?;
        let (sender_ip, rest) = rest.split_first_chunk::<4>()?;
        let (target_mac, rest) = rest.split_first_chunk()?;
        let (target_ip, _padding) = rest.split_first_chunk::<4>()?;
        (kinds[..] == expected[..]).then_some(Self {
            operation,
            sender_mac: Mac(*sender_mac),
            sender_ip: Ipv4Addr::from(*sender_ip),
            target_mac: Mac(*target_mac),
            target_ip: Ipv4Addr::from(*target_ip),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const OTHER: Mac = Mac([2, 0, 0, 0, 0, 2]);
    const IP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 240);
    const ELSE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);

    #[test]
    fn a_probe_is_the_frame_of_the_rfc() {
        let frame = Arp::probe(OWN, IP).broadcast();
        assert_eq!(
            frame,
            [
                [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 8, 6].as_slice(),
                &[0, 1, 8, 0, 6, 4, 0, 1],
                &[2, 0, 0, 0, 0, 1, 0, 0, 0, 0],
                &[0, 0, 0, 0, 0, 0, 192, 0, 2, 240],
            ]
            .concat()
        );
    }

    #[test]
    fn a_frame_is_read_as_it_was_written() {
        for arp in [Arp::announcement(OWN, IP), Arp::unasked_reply(OTHER, IP), Arp::probe(OWN, IP)] {
            let mut frame = arp.broadcast();
            assert_eq!(Arp::parse(&frame), Some(arp));
            for cut in 0..frame.len() {
                assert_eq!(Arp::parse(&frame[..cut]), None);
            }
            frame.resize(60, 0);
            assert_eq!(Arp::parse(&frame), Some(arp), "frames are padded");
            for wrong in [12, 14, 16, 18, 19, 20] {
                let mut frame = frame.clone();
                frame[wrong] ^= 0x40;
                assert_eq!(Arp::parse(&frame), None, "byte {wrong}");
            }
        }
    }

    #[test]
    fn who_has_or_probes_the_address_is_a_conflict() {
        let request = |sender_ip, target_ip| Arp {
            operation: Operation::Request,
            sender_mac: OTHER,
            sender_ip,
            target_mac: NOBODY,
            target_ip,
        };
        for (case, packet, conflict) in [
            ("an answer", Arp { sender_mac: OTHER, ..Arp::unasked_reply(OWN, IP) }, true),
            ("an announcement", Arp::announcement(OTHER, IP), true),
            ("its holder asks for somebody else", request(IP, ELSE), true),
            ("somebody else probes it too", Arp::probe(OTHER, IP), true),
            ("the own probe comes back", Arp::probe(OWN, IP), false),
            ("somebody asks for it", request(ELSE, IP), false),
            ("somebody else's probe", Arp::probe(OTHER, ELSE), false),
        ] {
            assert_eq!(packet.conflict(OWN, IP), conflict.then_some(OTHER), "{case}");
        }
    }
}
