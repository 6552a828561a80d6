//! Keys that values are sealed with, and the bytes that come of it.
//!
//! The form is that of upstream's providers of the same names:
//! <https://kubernetes.io/docs/tasks/administer-cluster/encrypt-data/#providers>
//!
//! ```text
//! k8s:enc:aesgcm:v1:NAME:     nonce (12 bytes)  ciphertext  tag (16 bytes)     associated data: the key in the store
//! k8s:enc:aescbc:v1:NAME:     IV (16 bytes)     ciphertext, padded by PKCS #7
//! k8s:enc:secretbox:v1:NAME:  nonce (24 bytes)  tag (16 bytes)  ciphertext
//! ```

use aws_lc_rs::aead::{AES_128_GCM, AES_192_GCM, AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::cipher::{
    AES_128, AES_192, AES_256, DecryptionContext, PaddedBlockDecryptingKey, PaddedBlockEncryptingKey, UnboundCipherKey,
};
use aws_lc_rs::iv::FixedLength;
use bytes::Bytes;
use crypto_secretbox::aead::{AeadInPlace, KeyInit};
use crypto_secretbox::{Nonce as BoxNonce, Tag, XSalsa20Poly1305};

/// What every sealed value begins with.
pub(super) const SEALED: &[u8] = b"k8s:enc:";
const AES_SIZES: &str = "[16 24 32]";
const IV: usize = 16;
const BOX_NONCE: usize = 24;
const BOX_TAG: usize = 16;

/// A key with a name.
#[derive(Debug)]
pub struct SealingKey {
    prefix: Vec<u8>,
    cipher: Cipher,
}

#[derive(Debug)]
enum Cipher {
    Gcm(LessSafeKey),
    Cbc(Box<(PaddedBlockEncryptingKey, PaddedBlockDecryptingKey)>),
    SecretBox(SecretBox),
}

/// Without the key in what it tells of itself.
struct SecretBox(XSalsa20Poly1305);

impl std::fmt::Debug for SecretBox {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("SecretBox")
    }
}

/// The name or the length of a key does not fit.
#[derive(Clone, Debug, thiserror::Error)]
pub enum KeyError {
    /// AES has keys of 16, 24 and 32 bytes, a secret box has one of 32.
    #[error("secret is not of the expected length, got {0}, expected one of {1}")]
    Length(usize, &'static str),
    /// The name becomes part of every value, ended by a colon.
    #[error("secret name {0:?} is empty or has a colon")]
    Name(String),
}

impl std::fmt::Display for SealingKey {
    /// Provider and name, as in what it seals.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let prefix = self.prefix.strip_prefix(SEALED).unwrap_or_default();
        write!(out, "{}", String::from_utf8_lossy(prefix).trim_end_matches(':'))
    }
}

impl SealingKey {
    /// A key of the provider `aesgcm`: nobody can change or move what it sealed unnoticed.
    ///
    /// # Errors
    /// When name or length do not fit.
    pub fn aes_gcm(name: &str, secret: &[u8]) -> Result<Self, KeyError> {
        let algorithm = match secret.len() {
            16 => &AES_128_GCM,
            24 => &AES_192_GCM,
            32 => &AES_256_GCM,
            other => return Err(KeyError::Length(other, AES_SIZES)),
        };
        let key = UnboundKey::new(algorithm, secret).map_err(|_| KeyError::Length(secret.len(), AES_SIZES))?;
        Ok(Self { prefix: prefix("aesgcm", name)?, cipher: Cipher::Gcm(LessSafeKey::new(key)) })
    }

    /// A key of the provider `aescbc`, which hides values but does not notice that they were changed.
    ///
    /// # Errors
    /// When name or length do not fit.
    pub fn aes_cbc(name: &str, secret: &[u8]) -> Result<Self, KeyError> {
        let algorithm = match secret.len() {
            16 => &AES_128,
            24 => &AES_192,
            32 => &AES_256,
            other => return Err(KeyError::Length(other, AES_SIZES)),
        };
        let key = || UnboundCipherKey::new(algorithm, secret);
        let (Ok(seal), Ok(open)) =
            (key().and_then(PaddedBlockEncryptingKey::cbc_pkcs7), key().and_then(PaddedBlockDecryptingKey::cbc_pkcs7))
        else {
            return Err(KeyError::Length(secret.len(), AES_SIZES));
        };
        Ok(Self { prefix: prefix("aescbc", name)?, cipher: Cipher::Cbc(Box::new((seal, open))) })
    }

    /// A key of the provider `secretbox`: nobody can change what it sealed unnoticed.
    ///
    /// # Errors
    /// When name or length do not fit.
    pub fn secret_box(name: &str, secret: &[u8]) -> Result<Self, KeyError> {
        let key = XSalsa20Poly1305::new_from_slice(secret).map_err(|_| KeyError::Length(secret.len(), "[32]"))?;
        Ok(Self { prefix: prefix("secretbox", name)?, cipher: Cipher::SecretBox(SecretBox(key)) })
    }

    /// Whether this key sealed the value.
    pub(super) fn sealed(&self, value: &[u8]) -> bool {
        value.starts_with(&self.prefix)
    }

    /// Seals the value of `key`; `None` when the machine has no random numbers.
    pub(super) fn seal(&self, key: &[u8], value: &[u8]) -> Option<Bytes> {
        let mut body = value.to_vec();
        let mut out = self.prefix.clone();
        match &self.cipher {
            Cipher::Gcm(cipher) => {
                let mut nonce = [0; NONCE_LEN];
                aws_lc_rs::rand::fill(&mut nonce).ok()?;
                cipher.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(key), &mut body).ok()?;
                out.extend_from_slice(&nonce);
            }
            Cipher::Cbc(keys) => match keys.0.encrypt(&mut body).ok()? {
                DecryptionContext::Iv128(iv) => out.extend_from_slice(iv.as_ref()),
                _ => return None,
            },
            Cipher::SecretBox(SecretBox(key)) => {
                let mut nonce = [0; BOX_NONCE];
                aws_lc_rs::rand::fill(&mut nonce).ok()?;
                let tag = key.encrypt_in_place_detached(BoxNonce::from_slice(&nonce), &[], &mut body).ok()?;
                out.extend_from_slice(&nonce);
                out.extend_from_slice(&tag);
            }
        }
        out.append(&mut body);
        Some(out.into())
    }

    /// Opens the value of `key`; `None` when it was not sealed by this key for that key of the store.
    pub(super) fn open(&self, key: &[u8], value: &[u8]) -> Option<Bytes> {
        let rest = value.strip_prefix(self.prefix.as_slice())?;
        let (start, body) = rest.split_at_checked(match &self.cipher {
            Cipher::Gcm(_) => NONCE_LEN,
            Cipher::Cbc(_) => IV,
            Cipher::SecretBox(_) => BOX_NONCE + BOX_TAG,
        })?;
        let mut buffer = body.to_vec();
        let length = match &self.cipher {
            Cipher::Gcm(cipher) => {
                let nonce = Nonce::try_assume_unique_for_key(start).ok()?;
                cipher.open_in_place(nonce, Aad::from(key), &mut buffer).ok()?.len()
            }
            Cipher::Cbc(keys) => {
                let iv = DecryptionContext::Iv128(FixedLength::try_from(start).ok()?);
                keys.1.decrypt(&mut buffer, iv).ok()?.len()
            }
            Cipher::SecretBox(SecretBox(key)) => {
                let (nonce, tag) = start.split_at(BOX_NONCE);
                let (nonce, tag) = (BoxNonce::from_slice(nonce), Tag::from_slice(tag));
                key.decrypt_in_place_detached(nonce, &[], &mut buffer, tag).ok()?;
                buffer.len()
            }
        };
        buffer.truncate(length);
        Some(buffer.into())
    }
}

fn prefix(provider: &str, name: &str) -> Result<Vec<u8>, KeyError> {
    if name.is_empty() || name.contains(':') {
        return Err(KeyError::Name(name.to_owned()));
    }
    Ok([SEALED, provider.as_bytes(), b":v1:", name.as_bytes(), b":"].concat())
}
