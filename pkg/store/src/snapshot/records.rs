//! The records of a chunk.

use std::io::{Read, Write};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;

use super::Error;
use super::frame::Fields;
use crate::model::KeyValue;

/// Past this, most of what is gained takes most of the time.
const LEVEL: u32 = 4;
/// No chunk is larger when it is unpacked.
const LARGEST: u32 = 64 << 20;

/// A chunk's payload.
pub(super) fn encode(items: &[KeyValue]) -> Result<Vec<u8>, Error> {
    let mut plain = Vec::new();
    for item in items {
        let (Ok(key), Ok(value)) = (u16::try_from(item.key.len()), u32::try_from(item.value.len())) else {
            return Err(std::io::Error::from(std::io::ErrorKind::FileTooLarge).into());
        };
        plain.extend_from_slice(&key.to_le_bytes());
        plain.extend_from_slice(&value.to_le_bytes());
        for number in [item.create_revision, item.mod_revision, item.version] {
            plain.extend_from_slice(&number.to_le_bytes());
        }
        plain.extend_from_slice(&item.key);
        plain.extend_from_slice(&item.value);
    }
    let size = u32::try_from(plain.len()).ok().filter(|size| *size <= LARGEST);
    let size = size.ok_or_else(|| std::io::Error::from(std::io::ErrorKind::FileTooLarge))?;
    let mut packed = DeflateEncoder::new(size.to_le_bytes().to_vec(), Compression::new(LEVEL));
    packed.write_all(&plain)?;
    Ok(packed.finish()?)
}

/// The records of a chunk's payload.
pub(super) fn decode(payload: &[u8]) -> Result<Vec<KeyValue>, Error> {
    const MALFORMED: Error = Error::Damaged("a chunk of it is malformed");
    let mut fields = Fields(payload);
    let size = fields.u32().filter(|size| *size <= LARGEST).ok_or(MALFORMED)?;
    let mut plain = Vec::new();
    // One byte more tells a chunk that is longer than it says.
    let unpacked = DeflateDecoder::new(fields.0).take(u64::from(size) + 1).read_to_end(&mut plain);
    if unpacked.is_err() || plain.len() != size as usize {
        return Err(MALFORMED);
    }
    let mut fields = Fields(&plain);
    let mut items = Vec::new();
    while !fields.0.is_empty() {
        items.push(record(&mut fields).ok_or(MALFORMED)?);
    }
    Ok(items)
}

fn record(fields: &mut Fields<'_>) -> Option<KeyValue> {
    let (key, value) = (fields.u16()?, fields.u32()?);
    let (create_revision, mod_revision, version) = (fields.u64()?, fields.u64()?, fields.u64()?);
    let key = Bytes::copy_from_slice(fields.bytes(key.into())?);
    let value = Bytes::copy_from_slice(fields.bytes(value as usize)?);
    Some(KeyValue { key, value, create_revision, mod_revision, version })
}
