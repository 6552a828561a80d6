//! Asking the node's resolvers about names outside the cluster.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use hickory_proto::op::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// How long one resolver has.
const PATIENCE: Duration = Duration::from_secs(2);
/// Resolvers that are asked one after the other; `resolv.conf(5)` reads as many.
const RESOLVERS: usize = 3;
/// Largest answer over UDP that is believed (RFC 6891 lets clients ask for up to this).
const DATAGRAM: usize = 4096;

/// Why nobody answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{0} names no resolver")]
    NoResolver(PathBuf),
    #[error("resolver {0}: no answer within {PATIENCE:?}")]
    Timeout(SocketAddr),
    #[error("resolver {0}: {1}")]
    Failed(SocketAddr, io::Error),
    #[error("cannot read {0}: {1}")]
    Configuration(PathBuf, io::Error),
}

/// Asks the resolvers of a `resolv.conf`, which is read for each question: it is a small file in memory, and networks change.
#[derive(Clone, Debug)]
pub(crate) struct Forwarder {
    resolv_conf: PathBuf,
    /// Never asked: that would be a loop.
    ourselves: Vec<SocketAddr>,
}

impl Forwarder {
    pub(crate) fn new(resolv_conf: PathBuf, ourselves: Vec<SocketAddr>) -> Self {
        Self { resolv_conf, ourselves }
    }

    /// The first resolver's answer to a query, given as it came from the client.
    pub(crate) async fn ask(&self, query: &[u8], over_tcp: bool) -> Result<Message, Error> {
        let text = tokio::fs::read_to_string(&self.resolv_conf)
            .await
            .map_err(|error| Error::Configuration(self.resolv_conf.clone(), error))?;
        let mut failure = Error::NoResolver(self.resolv_conf.clone());
        for resolver in self.resolvers(&text) {
            let asked =
                async { if over_tcp { ask_tcp(resolver, query).await } else { ask_udp(resolver, query).await } };
            match timeout(PATIENCE, asked).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => failure = Error::Failed(resolver, error),
                Err(_) => failure = Error::Timeout(resolver),
            }
        }
        Err(failure)
    }

    fn resolvers(&self, text: &str) -> Vec<SocketAddr> {
        let lines = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
        let addresses = lines.filter_map(|rest| rest.trim().parse::<IpAddr>().ok());
        let sockets = addresses.map(|address| SocketAddr::new(address, 53));
        sockets.filter(|socket| !self.ourselves.contains(socket)).take(RESOLVERS).collect()
    }
}

/// A socket of its own per question: the random source port is what makes forging answers hard (RFC 5452).
async fn ask_udp(resolver: SocketAddr, query: &[u8]) -> io::Result<Message> {
    let any: IpAddr = if resolver.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(resolver).await?;
    socket.send(query).await?;
    let mut buffer = vec![0; DATAGRAM];
    loop {
        let length = socket.recv(&mut buffer).await?;
        let answer = buffer.get(..length).unwrap_or_default();
        if answer.get(..2) == query.get(..2) {
            return parse(answer);
        }
    }
}

async fn ask_tcp(resolver: SocketAddr, query: &[u8]) -> io::Result<Message> {
    let mut stream = TcpStream::connect(resolver).await?;
    let length = u16::try_from(query.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    stream.write_all(&[&length.to_be_bytes(), query].concat()).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    parse(&answer)
}

fn parse(answer: &[u8]) -> io::Result<Message> {
    Message::from_vec(answer).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_of_a_file() {
        let forwarder = Forwarder::new("/etc/resolv.conf".into(), vec!["10.43.0.10:53".parse().unwrap()]);
        let text = "# nameserver 9.9.9.9\nsearch lan\nnameserver 10.43.0.10\nnameserver\t192.168.1.1 \nnameserver fd00::1\n\
                    nameserver nonsense\nnameserver 1.0.0.1\nnameserver 8.8.8.8\n";
        let resolvers: Vec<_> = forwarder.resolvers(text).iter().map(ToString::to_string).collect();
        assert_eq!(resolvers, ["192.168.1.1:53", "[fd00::1]:53", "1.0.0.1:53"]);
    }
}
