//! The sockets, which are opened while the process may still open them.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use hickory_server::server::{RequestHandler, Server};
use socket2::{Domain, Protocol, Socket, Type};

use crate::Error;

/// How long a TCP client may be silent.
const TCP_IDLE: Duration = Duration::from_secs(10);
/// Answers that may wait for one slow TCP client.
const TCP_BUFFER: usize = 32;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;

/// Open sockets, UDP and TCP per address. They can be opened before the address exists on any link (`IP_FREEBIND`), and
/// beside those of a process that is about to end (`SO_REUSEPORT`), so that a successor takes over without a gap.
#[derive(Debug)]
pub struct Listeners(Vec<(SocketAddr, UdpSocket, TcpListener)>);

impl Listeners {
    /// Opens the sockets of all addresses.
    ///
    /// # Errors
    /// When one is in use by somebody else, or the process may not use it.
    pub fn open(addresses: &[SocketAddr]) -> Result<Self, Error> {
        let open = |&address: &SocketAddr| {
            let failed = |cause| Error::Listen { address, cause };
            let udp = socket(address, Type::DGRAM, Protocol::UDP).map_err(failed)?;
            let tcp = socket(address, Type::STREAM, Protocol::TCP).map_err(failed)?;
            tcp.listen(BACKLOG).map_err(failed)?;
            Ok((address, udp.into(), tcp.into()))
        };
        addresses.iter().map(open).collect::<Result<_, _>>().map(Self)
    }

    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.0.iter().map(|(address, ..)| *address).collect()
    }

    pub(crate) fn register<H: RequestHandler>(self, server: &mut Server<H>) -> Result<(), Error> {
        for (address, udp, tcp) in self.0 {
            let failed = |cause| Error::Listen { address, cause };
            server.register_socket(tokio::net::UdpSocket::from_std(udp).map_err(failed)?);
            let listener = tokio::net::TcpListener::from_std(tcp).map_err(failed)?;
            server.register_listener(listener, TCP_IDLE, TCP_BUFFER);
        }
        Ok(())
    }
}

fn socket(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
        socket.set_freebind_v6(true)?;
    } else {
        socket.set_freebind_v4(true)?;
    }
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}
