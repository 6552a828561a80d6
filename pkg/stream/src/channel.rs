//! The WebSocket protocols of exec and attach (`k8s.io/apimachinery/pkg/util/remotecommand`): one byte in front of each
//! message names the channel.

use axum::extract::ws::Message;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::{BufMut, Bytes, BytesMut};

use crate::Error;

/// A channel of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// To the container.
    Stdin,
    /// From the container.
    Stdout,
    /// From the container.
    Stderr,
    /// How the command ended.
    Error,
    /// To the container: the terminal's size.
    Resize,
}

const CHANNELS: [Channel; 5] = [Channel::Stdin, Channel::Stdout, Channel::Stderr, Channel::Error, Channel::Resize];
/// In front of a message that closes the channel which its next byte names; version 5 only.
const CLOSE: u8 = 255;

/// One version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocol {
    /// The WebSocket subprotocol's name; empty when the client names none.
    pub name: &'static str,
    base64: bool,
    close: bool,
    /// Whether the command's end is told as a `Status` in JSON; else as text, and only when it failed.
    pub status: bool,
}

/// All versions, the best first.
pub const PROTOCOLS: [Protocol; 5] = [
    Protocol { name: "v5.channel.k8s.io", base64: false, close: true, status: true },
    Protocol { name: "v4.channel.k8s.io", base64: false, close: false, status: true },
    Protocol { name: "v4.base64.channel.k8s.io", base64: true, close: false, status: true },
    Protocol { name: "channel.k8s.io", base64: false, close: false, status: false },
    Protocol { name: "base64.channel.k8s.io", base64: true, close: false, status: false },
];

/// What a client says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// Data for a channel.
    Data(Channel, Bytes),
    /// The client has nothing more for a channel.
    Closed(Channel),
    /// Nothing that concerns a channel.
    Nothing,
    /// The client is going.
    Gone,
}

impl Protocol {
    /// The version that was agreed on; clients that name none speak the first binary one.
    #[must_use]
    pub fn negotiated(name: Option<&str>) -> Option<Self> {
        let name = name.unwrap_or("channel.k8s.io");
        PROTOCOLS.into_iter().find(|protocol| protocol.name == name)
    }

    /// A message with data of a channel.
    #[must_use]
    pub fn message(&self, channel: Channel, data: &[u8]) -> Message {
        let number = CHANNELS.iter().position(|other| *other == channel).and_then(|number| u8::try_from(number).ok());
        let number = number.unwrap_or_default();
        if self.base64 {
            return Message::Text(format!("{number}{}", BASE64_STANDARD.encode(data)).into());
        }
        let mut message = BytesMut::with_capacity(data.len() + 1);
        message.put_u8(number);
        message.put_slice(data);
        Message::Binary(message.freeze())
    }

    /// What a client's message means.
    ///
    /// # Errors
    /// When it names no channel, or its text is no base64.
    pub fn read(&self, message: Message) -> Result<Said, Error> {
        let (first, data) = match message {
            Message::Close(_) => return Ok(Said::Gone),
            Message::Ping(_) | Message::Pong(_) => return Ok(Said::Nothing),
            Message::Text(text) => {
                let bytes = Bytes::from(text);
                let Some((&first, rest)) = bytes.split_first() else { return Ok(Said::Nothing) };
                if self.base64 {
                    let data = BASE64_STANDARD.decode(rest).map_err(|error| Error::WebSocket(error.to_string()))?;
                    (first.wrapping_sub(b'0'), Bytes::from(data))
                } else {
                    (first, bytes.slice(1..))
                }
            }
            Message::Binary(bytes) => {
                let Some(&first) = bytes.first() else { return Ok(Said::Nothing) };
                (first, bytes.slice(1..))
            }
        };
        if first == CLOSE && self.close {
            return Ok(Said::Closed(channel(data.first().copied().unwrap_or(CLOSE))?));
        }
        Ok(Said::Data(channel(first)?, data))
    }
}

fn channel(number: u8) -> Result<Channel, Error> {
    let found = CHANNELS.get(usize::from(number)).copied();
    found.ok_or_else(|| Error::WebSocket(format!("there is no channel {number}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(protocol: &str, message: Message) -> Result<Said, String> {
        Protocol::negotiated(Some(protocol)).unwrap().read(message).map_err(|error| error.to_string())
    }

    fn binary(bytes: &'static [u8]) -> Message {
        Message::Binary(Bytes::from_static(bytes))
    }

    #[test]
    fn messages_of_clients() {
        let data = |channel, text: &'static str| Ok(Said::Data(channel, Bytes::from_static(text.as_bytes())));
        assert_eq!(read("v5.channel.k8s.io", binary(b"\0ls\n")), data(Channel::Stdin, "ls\n"));
        assert_eq!(read("v5.channel.k8s.io", binary(b"\xff\0")), Ok(Said::Closed(Channel::Stdin)));
        assert_eq!(read("v4.channel.k8s.io", binary(b"\x04{}")), data(Channel::Resize, "{}"));
        assert_eq!(read("base64.channel.k8s.io", Message::Text("0bHMK".into())), data(Channel::Stdin, "ls\n"));
        assert_eq!(read("v5.channel.k8s.io", binary(b"")), Ok(Said::Nothing));
        assert_eq!(read("v5.channel.k8s.io", Message::Close(None)), Ok(Said::Gone));
        for nonsense in [binary(b"\x09x"), binary(b"\xff"), binary(b"\xff\x09")] {
            assert!(read("v5.channel.k8s.io", nonsense).is_err());
        }
        assert!(read("v4.channel.k8s.io", binary(b"\xff\0")).is_err(), "only version 5 closes channels");
        assert!(read("base64.channel.k8s.io", Message::Text("0???".into())).is_err());
    }

    #[test]
    fn messages_for_clients() {
        let v5 = Protocol::negotiated(Some("v5.channel.k8s.io")).unwrap();
        assert_eq!(v5.message(Channel::Stdout, b"a"), binary(b"\x01a"));
        let base64 = Protocol::negotiated(Some("v4.base64.channel.k8s.io")).unwrap();
        assert_eq!(base64.message(Channel::Error, b"a"), Message::Text("3YQ==".into()));
        assert_eq!(Protocol::negotiated(None).unwrap().name, "channel.k8s.io");
        assert_eq!(Protocol::negotiated(Some("v9.channel.k8s.io")), None);
    }
}
