//! Certificate authorities, leaf certificates, service account keys and kubeconfigs.
//!
//! ```text
//! ClusterPki ── Authority (ca, front-proxy-ca)      signs leaves and requests
//!            ├─ Rotating (apiserver, kubelet, ...)  a Leaf on disk, swapped while running
//!            └─ TokenKeys (sa.key, sa.pub)          signs and verifies service account tokens
//! ```
//!
//! Files are named as kubeadm names them, so that an administrator finds what they know:
//! <https://kubernetes.io/docs/setup/best-practices/certificates/>. All keys are ECDSA P-256.

pub mod authority;
pub mod cluster;
pub mod disk;
pub mod kubeconfig;
pub mod leaf;
pub mod request;
pub mod rotating;
pub mod tls;
pub mod token;

mod validity;

use std::path::PathBuf;

pub use authority::Authority;
pub use cluster::{ClusterPki, Names};
pub use kubeconfig::Kubeconfig;
pub use leaf::{Leaf, Profile, SubjectAltName, Usage};
pub use request::SigningRequest;
pub use rotating::Rotating;
pub use token::TokenKeys;

/// What can go wrong with certificates and keys.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// A file's content cannot be used, and replacing it would lose something.
    #[error("{path}: {what}")]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A certificate or request of somebody else is malformed.
    #[error("malformed certificate data: {0}")]
    Malformed(String),
    /// Making or signing a certificate failed.
    #[error("certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// rustls refuses a certificate or key.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// Signing or verifying a token failed.
    #[error("token: {0}")]
    Token(#[from] jsonwebtoken::errors::Error),
}
