//! What the chains and sets of a Service are called, as kube-proxy does it.

use std::net::SocketAddr;

use sha2::{Digest, Sha256};

/// nftables takes names of up to 255 bytes; 16 are left for what the name begins with.
const LONGEST: usize = 239;

/// RFC 4648.
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// The common part of the names of one port of a Service: `ULMVA6XW-ns1/svc1/tcp/p80`.
pub(super) fn port(namespace: &str, service: &str, protocol: &str, port: &str) -> String {
    hashed(&format!("{namespace}/{service}/{protocol}/{port}"))
}

/// The common part of the names of one endpoint of a port: `5OJB2KTY-ns1/svc1/tcp/p80__10.180.0.1/80`.
pub(super) fn endpoint(namespace: &str, service: &str, protocol: &str, port: &str, endpoint: SocketAddr) -> String {
    let ip = endpoint.ip().to_string().replace(':', ".");
    hashed(&format!("{namespace}/{service}/{protocol}/{port}__{ip}/{}", endpoint.port()))
}

/// A hash first, so that names stay different when they are cut, and look different.
fn hashed(name: &str) -> String {
    let digest = Sha256::digest(name);
    let bits = digest.iter().take(5).fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
    let letter = |place: u32| {
        let index = usize::try_from(bits >> (35 - 5 * place) & 31).unwrap_or_default();
        char::from(BASE32.get(index).copied().unwrap_or(b'A'))
    };
    let hash: String = (0..8).map(letter).collect();
    let name = format!("{hash}-{name}");
    match name.get(..LONGEST - 3) {
        Some(cut) if name.len() > LONGEST => format!("{cut}..."),
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_kube_proxy() {
        assert_eq!(port("ns1", "svc1", "tcp", "p80"), "ULMVA6XW-ns1/svc1/tcp/p80");
        assert_eq!(
            endpoint("ns1", "svc1", "tcp", "p80", "10.180.0.1:80".parse().unwrap()),
            "5OJB2KTY-ns1/svc1/tcp/p80__10.180.0.1/80"
        );
        let v6 = endpoint("ns1", "svc1", "tcp", "p80", "[fd00::1]:80".parse().unwrap());
        assert!(v6.ends_with("-ns1/svc1/tcp/p80__fd00..1/80"), "{v6}");
    }

    #[test]
    fn long_names_are_cut_and_stay_different() {
        let long = |last: char| port(&"n".repeat(63), &"s".repeat(63), "sctp", &format!("{}{last}", "p".repeat(200)));
        assert_eq!(long('a').len(), LONGEST);
        assert_ne!(long('a'), long('b'));
    }
}
