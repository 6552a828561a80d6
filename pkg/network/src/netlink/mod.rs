//! Links, addresses, routes and tracked connections of one network namespace.
//!
//! rtnetlink's builders make the messages; the transport is ours and blocking, because the kernel carries out a request
//! within `send`: a call takes microseconds, needs no runtime (the CNI plugin has none), and a socket goes on talking to
//! the namespace in which it was opened.

mod address;
mod conntrack;
mod link;
mod netns;
mod route;
mod socket;

pub use address::Address;
pub use conntrack::{Conntrack, Flow, Tuple};
pub use link::{Link, Mac, Veth};
pub use netns::Netns;
pub use route::Route;

use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader, NetlinkSerializable,
};
use rtnetlink::packet_route::RouteNetlinkMessage;

use crate::error::Doing;
use crate::{Error, Result};
use socket::{Answer, Socket};

/// A connection to the routing part of a network namespace's kernel side.
#[derive(Debug)]
pub struct Netlink(Socket);

impl Netlink {
    /// Talks to the calling thread's network namespace.
    ///
    /// # Errors
    /// When the process may not open such a socket.
    pub fn open() -> Result<Self> {
        Socket::open(libc::NETLINK_ROUTE).map(Self).doing(|| "open a netlink socket")
    }

    /// A request that changes something: no answer but its success.
    fn change(&mut self, what: impl FnOnce() -> String, flags: u16, message: &RouteNetlinkMessage) -> Result<()> {
        self.request(flags | NLM_F_ACK, message).doing(what).map(drop)
    }

    /// A request whose answer is one object; `None` when the kernel says that there is none (`missing`).
    fn get(
        &mut self,
        what: impl FnOnce() -> String,
        missing: i32,
        message: &RouteNetlinkMessage,
    ) -> Result<Option<RouteNetlinkMessage>> {
        match self.request(0, message) {
            Err(error) if error.raw_os_error() == Some(missing) => Ok(None),
            answers => decode(answers.doing(what)?).map(|mut answers| answers.pop()),
        }
    }

    /// A request for all objects of a kind.
    fn dump(&mut self, what: impl Fn() -> String, message: &RouteNetlinkMessage) -> Result<Vec<RouteNetlinkMessage>> {
        decode(self.request(NLM_F_DUMP, message).doing(what)?)
    }

    fn request(&mut self, flags: u16, message: &RouteNetlinkMessage) -> std::io::Result<Vec<Answer>> {
        let mut payload = vec![0; NetlinkSerializable::buffer_len(message)];
        NetlinkSerializable::serialize(message, &mut payload);
        self.0.request(message.message_type(), NLM_F_REQUEST | flags, &payload)
    }
}

fn decode(answers: Vec<Answer>) -> Result<Vec<RouteNetlinkMessage>> {
    let decoded = answers.into_iter().map(|answer| {
        let mut header = NetlinkHeader::default();
        header.message_type = answer.kind;
        <RouteNetlinkMessage as NetlinkDeserializable>::deserialize(&header, &answer.payload)
    });
    decoded.collect::<Result<_, _>>().map_err(|error| Error::Malformed(error.to_string()))
}
