//! Frames of SPDY/3.1: pure encoding and decoding.
//!
//! ```text
//! control  |1| version 3 (15) | type (16) | flags (8) | length (24) | payload
//! data     |0| stream (31)                | flags (8) | length (24) | payload
//! ```

use bytes::{Buf, BufMut, Bytes, BytesMut};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

use crate::Error;

/// The text that both sides prime their compression with (section 2.6.10.1).
const DICTIONARY: &[u8] = include_bytes!("dictionary.bin");
/// Frames are at most this long on the wire; ours are much shorter.
const MAX_LENGTH: usize = 0x00ff_ffff;
/// Headers of one frame, unpacked, are at most this long: names and small numbers travel there.
const MAX_HEADERS: usize = 64 * 1024;
/// The sender will send nothing more on this stream.
const FIN: u8 = 1;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;

/// A frame, as far as this side cares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// Opens a stream.
    Open {
        stream: u32,
        headers: Vec<(String, String)>,
        fin: bool,
    },
    /// The peer's answer to `Open`.
    Reply {
        stream: u32,
        fin: bool,
    },
    /// The stream is over for both sides.
    Reset {
        stream: u32,
        status: u32,
    },
    Data {
        stream: u32,
        data: Bytes,
        fin: bool,
    },
    /// To be sent back.
    Ping(u32),
    /// The peer takes no new streams.
    GoAway,
    /// Nothing that matters here: settings, windows, further headers.
    Other,
}

/// Turns frames into bytes; the compression of headers has a memory that spans the connection.
#[derive(Debug)]
pub(super) struct Encoder(Compress);

impl Encoder {
    pub(super) fn new() -> Result<Self, Error> {
        let mut compress = Compress::new(Compression::default(), true);
        compress.set_dictionary(DICTIONARY).map_err(|error| Error::Spdy(error.to_string()))?;
        Ok(Self(compress))
    }

    pub(super) fn encode(&mut self, frame: &Frame) -> Result<BytesMut, Error> {
        let mut bytes = BytesMut::new();
        match frame {
            Frame::Open { stream, headers, fin } => {
                let packed = self.pack(headers)?;
                control(&mut bytes, SYN_STREAM, *fin, packed.len() + 10);
                bytes.put_u32(*stream);
                bytes.put_u32(0);
                bytes.put_u16(0);
                bytes.put_slice(&packed);
            }
            Frame::Reply { stream, fin } => {
                let packed = self.pack(&[])?;
                control(&mut bytes, SYN_REPLY, *fin, packed.len() + 4);
                bytes.put_u32(*stream);
                bytes.put_slice(&packed);
            }
            Frame::Reset { stream, status } => {
                control(&mut bytes, RST_STREAM, false, 8);
                bytes.put_u32(*stream);
                bytes.put_u32(*status);
            }
            Frame::Data { stream, data, fin } => {
                bytes.reserve(data.len() + 8);
                bytes.put_u32(*stream);
                bytes.put_u32(flags_and_length(*fin, data.len()));
                bytes.put_slice(data);
            }
            Frame::Ping(id) => {
                control(&mut bytes, PING, false, 4);
                bytes.put_u32(*id);
            }
            Frame::GoAway => {
                control(&mut bytes, GOAWAY, false, 8);
                bytes.put_u64(0);
            }
            Frame::Other => {}
        }
        Ok(bytes)
    }

    fn pack(&mut self, headers: &[(String, String)]) -> Result<Vec<u8>, Error> {
        let mut plain = BytesMut::new();
        plain.put_u32(u32::try_from(headers.len()).unwrap_or(u32::MAX));
        for text in headers.iter().flat_map(|(name, value)| [name, value]) {
            plain.put_u32(u32::try_from(text.len()).unwrap_or(u32::MAX));
            plain.put_slice(text.as_bytes());
        }
        // A flush of small input always fits into this much more.
        let mut packed = Vec::with_capacity(plain.len() * 2 + 128);
        self.0
            .compress_vec(&plain, &mut packed, FlushCompress::Sync)
            .map_err(|error| Error::Spdy(format!("cannot pack headers: {error}")))?;
        Ok(packed)
    }
}

fn control(bytes: &mut BytesMut, kind: u16, fin: bool, length: usize) {
    bytes.put_u16(0x8003);
    bytes.put_u16(kind);
    bytes.put_u32(flags_and_length(fin, length));
}

fn flags_and_length(fin: bool, length: usize) -> u32 {
    u32::from(u8::from(fin) * FIN) << 24 | u32::try_from(length.min(MAX_LENGTH)).unwrap_or(0)
}

/// Turns bytes into frames.
#[derive(Debug)]
pub(super) struct Decoder(Decompress);

impl Decoder {
    pub(super) fn new() -> Self {
        Self(Decompress::new(true))
    }

    /// Takes the first frame out of `buffer`; `None` when it is not there whole.
    pub(super) fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, Error> {
        let mut head: &[u8] = buffer.get(..8).unwrap_or_default();
        if head.len() < 8 {
            return Ok(None);
        }
        let (first, second) = (head.get_u32(), head.get_u32());
        let (fin, length) = ((second >> 24) as u8 & FIN != 0, (second & 0x00ff_ffff) as usize);
        if buffer.len() < 8 + length {
            buffer.reserve(8 + length - buffer.len());
            return Ok(None);
        }
        buffer.advance(8);
        let payload = buffer.split_to(length).freeze();
        if first >> 31 == 0 {
            return Ok(Some(Frame::Data { stream: first, data: payload, fin }));
        }
        if first >> 16 != 0x8003 {
            return Err(Error::Spdy(format!("version {} instead of 3", first >> 16 & 0x7fff)));
        }
        self.control((first & 0xffff) as u16, fin, payload).map(Some)
    }

    fn control(&mut self, kind: u16, fin: bool, mut payload: Bytes) -> Result<Frame, Error> {
        let number = |payload: &mut Bytes| {
            payload.try_get_u32().map_err(|_| Error::Spdy(format!("a frame of type {kind} is too short")))
        };
        Ok(match kind {
            SYN_STREAM => {
                let stream = number(&mut payload)?;
                let _associated = number(&mut payload)?;
                if payload.len() < 2 {
                    return Err(Error::Spdy("a frame of type 1 is too short".to_owned()));
                }
                payload.advance(2);
                Frame::Open { stream, headers: self.unpack(&payload)?, fin }
            }
            SYN_REPLY => {
                let stream = number(&mut payload)?;
                self.unpack(&payload)?;
                Frame::Reply { stream, fin }
            }
            RST_STREAM => Frame::Reset { stream: number(&mut payload)?, status: number(&mut payload)? },
            PING => Frame::Ping(number(&mut payload)?),
            GOAWAY => Frame::GoAway,
            // HEADERS: unpacked for the compression's memory only.
            8 => {
                number(&mut payload)?;
                self.unpack(&payload)?;
                Frame::Other
            }
            _ => Frame::Other,
        })
    }

    fn unpack(&mut self, packed: &[u8]) -> Result<Vec<(String, String)>, Error> {
        let failed = |what: &str| Error::Spdy(format!("cannot unpack headers: {what}"));
        let start = self.0.total_in();
        let mut plain = Vec::with_capacity(4096);
        loop {
            let used = usize::try_from(self.0.total_in() - start).unwrap_or(usize::MAX);
            let rest = packed.get(used..).unwrap_or_default();
            if rest.is_empty() {
                break;
            }
            if let Err(error) = self.0.decompress_vec(rest, &mut plain, FlushDecompress::Sync) {
                if error.needs_dictionary().is_none() {
                    return Err(failed(&error.to_string()));
                }
                self.0.set_dictionary(DICTIONARY).map_err(|error| failed(&error.to_string()))?;
            }
            if plain.len() > MAX_HEADERS {
                return Err(failed("they are too long"));
            }
            plain.reserve(4096);
        }
        pairs(plain.into()).ok_or_else(|| failed("they end early"))
    }
}

fn pairs(mut plain: Bytes) -> Option<Vec<(String, String)>> {
    let mut text = {
        let count = plain.try_get_u32().ok()?;
        let mut texts = Vec::new();
        for _ in 0..count.checked_mul(2)? {
            let length = plain.try_get_u32().ok()? as usize;
            if plain.len() < length {
                return None;
            }
            texts.push(String::from_utf8_lossy(&plain.split_to(length)).into_owned());
        }
        texts.into_iter()
    };
    let mut pairs = Vec::new();
    while let (Some(name), Some(value)) = (text.next(), text.next()) {
        pairs.push((name, value));
    }
    Some(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(stream: u32, name: &str) -> Frame {
        Frame::Open { stream, headers: vec![("streamtype".into(), name.into())], fin: false }
    }

    #[test]
    fn frames_survive_the_wire() {
        let frames = [
            open(1, "error"),
            open(3, "stdin"),
            Frame::Reply { stream: 1, fin: false },
            Frame::Data { stream: 3, data: Bytes::from_static(b"hello"), fin: true },
            Frame::Reset { stream: 3, status: 5 },
            Frame::Ping(7),
            open(5, "stdout"),
        ];
        let (mut encoder, mut decoder) = (Encoder::new().unwrap(), Decoder::new());
        let mut wire = BytesMut::new();
        for frame in &frames {
            wire.extend_from_slice(&encoder.encode(frame).unwrap());
        }
        // One byte at a time, as a network may deliver them.
        let (mut buffer, mut read) = (BytesMut::new(), Vec::new());
        for byte in wire {
            buffer.put_u8(byte);
            while let Some(frame) = decoder.decode(&mut buffer).unwrap() {
                read.push(frame);
            }
        }
        assert_eq!(read, frames);
    }

    #[test]
    fn nonsense_is_refused() {
        let refused = |bytes: &[u8]| Decoder::new().decode(&mut BytesMut::from(bytes)).unwrap_err().to_string();
        assert_eq!(refused(&[0x80, 2, 0, 1, 0, 0, 0, 0]), "SPDY: version 2 instead of 3");
        assert_eq!(refused(&[0x80, 3, 0, 3, 0, 0, 0, 0]), "SPDY: a frame of type 3 is too short");
        assert!(
            refused(&[0x80, 3, 0, 2, 0, 0, 0, 8, 0, 0, 0, 1, 1, 2, 3, 4]).starts_with("SPDY: cannot unpack headers")
        );
    }

    #[test]
    fn a_bomb_of_headers_is_refused() {
        let headers = vec![("a".to_owned(), "x".repeat(MAX_HEADERS * 4))];
        let mut bytes = Encoder::new().unwrap().encode(&Frame::Open { stream: 1, headers, fin: false }).unwrap();
        let refused = Decoder::new().decode(&mut bytes).unwrap_err();
        assert_eq!(refused.to_string(), "SPDY: cannot unpack headers: they are too long");
    }
}
