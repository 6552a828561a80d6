//! Snapshots: a store at one revision, in one file.
//!
//! ```text
//! snapshot := "knarr snapshot\n"  format (u32)  head  [keys]  chunk*  end
//! frame    := kind (u8)  length (u32)  payload
//! head     := revision (u64)  seconds since the epoch (u64)  node  version       (texts: length (u16)  bytes)
//! keys     := iterations (u32)  salt (32)  nonce (12)  files, encrypted
//! chunk    := size of its records (u32)  records, deflated
//! record   := key length (u16)  value length (u32)  created  written  version (u64 each)  key  value
//! end      := number of records (u64)  sealed ones of them (u64)  [mac (32)]  digest (32)
//! ```
//!
//! All numbers are little-endian. Values are as the store has them: what is sealed stays sealed.
//!
//! The *digest* is the SHA-256 of everything before it, and nothing follows it: a file that was cut or damaged anywhere is
//! recognised without any secret. What a new cluster needs to be the old one (keys of its authorities, keys that sealed its
//! Secrets) is in the frame *keys*, under a passphrase: PBKDF2-HMAC-SHA256 gives a key for AES-256-GCM, whose associated data
//! is all of the file before the nonce. Beside these files it holds a key for the *mac*, an HMAC-SHA256 of the SHA-256 of
//! everything before it: who does not know the passphrase can change nothing in such a snapshot, not even an object that is
//! not sealed.
//!
//! Writing and reading take the memory of one chunk, whatever the size of the store.

mod frame;
mod read;
mod records;
mod restore;
mod save;
#[cfg(test)]
mod tests;
mod vault;

pub use read::{Reader, Summary};
pub use restore::{JUMP, restore};
pub use save::Saving;
pub use vault::{File, Passphrase};

use crate::error::Error as StoreError;
use crate::model::Revision;

/// What a snapshot says of itself at its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// What the store was at this revision is in the snapshot.
    pub revision: Revision,
    /// When it was made, in seconds since the epoch.
    pub created: u64,
    /// The node that made it.
    pub node: String,
    /// The knarr that made it.
    pub version: String,
}

/// Why there is no snapshot, or nothing to be had of one.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store did not give what was to be saved.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store has forgotten the revision before all of it was read.
    #[error("the snapshot took longer than history is kept")]
    Late,
    /// The file could not be written or read.
    #[error(transparent)]
    File(#[from] std::io::Error),
    /// It is no snapshot.
    #[error("this is no snapshot of knarr")]
    Foreign,
    /// It is one of another version of knarr.
    #[error("the snapshot has format {0}; this knarr reads format {format}", format = frame::FORMAT)]
    Format(u32),
    /// Bytes are missing at its end.
    #[error("the snapshot is cut off: it was not written to its end, or not copied to it")]
    Cut,
    /// Its bytes are not those that were written.
    #[error("the snapshot is damaged: {0}")]
    Damaged(&'static str),
    /// The keys in it are not opened by this passphrase.
    #[error("the passphrase is not that of this snapshot")]
    Passphrase,
    /// Its keys are sound, but what comes with them was not written by who knows the passphrase.
    #[error("somebody who does not know its passphrase has changed the snapshot")]
    Forged,
    /// The machine has no random numbers.
    #[error("there are no random numbers")]
    NoRandom,
}
