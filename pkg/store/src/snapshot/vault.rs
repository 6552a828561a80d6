//! What is under the passphrase: files, and the key that the rest of the snapshot is signed with.

use std::num::NonZeroU32;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::{hmac, pbkdf2};

use super::Error;
use super::frame::{DIGEST, Fields, put_text};

/// What OWASP recommends for PBKDF2-HMAC-SHA256.
/// <https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html>
const ITERATIONS: u32 = 600_000;
/// A file that asks for more only wants to keep its reader busy.
const MOST_ITERATIONS: u32 = 100_000_000;
const SALT: usize = 32;
const MAC_KEY: usize = 32;

/// What the keys of a snapshot are sealed under.
#[derive(Clone)]
pub struct Passphrase(String);

impl Passphrase {
    /// Any text but the empty one.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        Some(Self(text.to_owned())).filter(|passphrase| !passphrase.0.is_empty())
    }

    fn key(&self, salt: &[u8], iterations: NonZeroU32) -> Option<LessSafeKey> {
        let mut key = [0; 32];
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, salt, self.0.as_bytes(), &mut key);
        Some(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).ok()?))
    }
}

impl std::fmt::Debug for Passphrase {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Passphrase")
    }
}

/// A file that travels under the passphrase.
#[derive(Clone, PartialEq, Eq)]
pub struct File {
    /// What it is called.
    pub name: String,
    /// What is in it.
    pub content: String,
}

impl std::fmt::Debug for File {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("File").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Signs the snapshot as a whole.
#[derive(Clone, Debug)]
pub(super) struct Signer(hmac::Key);

impl Signer {
    pub(super) fn sign(&self, digest: &[u8; DIGEST]) -> [u8; DIGEST] {
        let tag = hmac::sign(&self.0, digest);
        let mut mac = [0; DIGEST];
        mac.iter_mut().zip(tag.as_ref()).for_each(|(to, from)| *to = *from);
        mac
    }

    pub(super) fn verify(&self, digest: &[u8; DIGEST], mac: &[u8]) -> Result<(), Error> {
        hmac::verify(&self.0, digest, mac).map_err(|_| Error::Forged)
    }
}

/// The frame of the keys, which will stand after `before`. Takes some tenths of a second.
pub(super) fn seal(passphrase: &Passphrase, files: &[File], before: &[u8]) -> Result<(Vec<u8>, Signer), Error> {
    seal_with(passphrase, files, before, ITERATIONS)
}

pub(super) fn seal_with(
    passphrase: &Passphrase,
    files: &[File],
    before: &[u8],
    iterations: u32,
) -> Result<(Vec<u8>, Signer), Error> {
    let (mut salt, mut nonce, mut mac_key) = ([0; SALT], [0; NONCE_LEN], [0; MAC_KEY]);
    for random in [&mut salt[..], &mut nonce, &mut mac_key] {
        aws_lc_rs::rand::fill(random).map_err(|_| Error::NoRandom)?;
    }
    let rounds = NonZeroU32::new(iterations).unwrap_or(NonZeroU32::MIN);
    let key = passphrase.key(&salt, rounds).ok_or(Error::NoRandom)?;
    let mut payload = [&iterations.to_le_bytes()[..], &salt].concat();
    let mut body = encode(&mac_key, files);
    let aad = Aad::from([before, &payload].concat());
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut body).map_err(|_| Error::NoRandom)?;
    payload.extend_from_slice(&nonce);
    payload.append(&mut body);
    Ok((payload, Signer(hmac::Key::new(hmac::HMAC_SHA256, &mac_key))))
}

/// Opens what [`seal`] made. Takes as long.
pub(super) fn open(passphrase: &Passphrase, payload: &[u8], before: &[u8]) -> Result<(Vec<File>, Signer), Error> {
    const MALFORMED: Error = Error::Damaged("its keys are malformed");
    let mut fields = Fields(payload);
    let iterations = fields.u32().filter(|iterations| *iterations <= MOST_ITERATIONS).and_then(NonZeroU32::new);
    let (Some(iterations), Some(salt), Some(nonce)) = (iterations, fields.array::<SALT>(), fields.array::<NONCE_LEN>())
    else {
        return Err(MALFORMED);
    };
    let key = passphrase.key(&salt, iterations).ok_or(MALFORMED)?;
    let parameters = payload.get(..size_of::<u32>() + SALT).unwrap_or_default();
    let aad = Aad::from([before, parameters].concat());
    let mut body = fields.0.to_vec();
    let plain = key.open_in_place(Nonce::assume_unique_for_key(nonce), aad, &mut body);
    let (mac_key, files) = decode(plain.map_err(|_| Error::Passphrase)?).ok_or(MALFORMED)?;
    Ok((files, Signer(hmac::Key::new(hmac::HMAC_SHA256, &mac_key))))
}

fn encode(mac_key: &[u8; MAC_KEY], files: &[File]) -> Vec<u8> {
    let mut out = mac_key.to_vec();
    for file in files {
        put_text(&mut out, &file.name);
        let length = u32::try_from(file.content.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(file.content.as_bytes());
    }
    out
}

fn decode(plain: &[u8]) -> Option<([u8; MAC_KEY], Vec<File>)> {
    let mut fields = Fields(plain);
    let mac_key = fields.array()?;
    let mut files = Vec::new();
    while !fields.0.is_empty() {
        let name = fields.text()?;
        let length = fields.u32()?;
        let content = String::from_utf8(fields.bytes(length as usize)?.to_vec()).ok()?;
        files.push(File { name, content });
    }
    Some((mac_key, files))
}
