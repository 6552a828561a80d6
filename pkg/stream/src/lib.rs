//! Remote command and port-forward framing over WebSocket and SPDY/3.1, used by API server and kubelet.
//!
//! ```text
//! kubectl  --- WebSocket v5 or SPDY --->  API server  ---the same bytes--->  kubelet  --- SPDY --->  containerd
//!                                         forward                            forward, bridge, tunnel
//! ```
//!
//! The API server only forwards ([`forward()`]): it is the kubelet that speaks for the container. Clients of SPDY are passed
//! on to the runtime as they are; clients of WebSocket are translated, because runtimes refuse newer versions of that
//! protocol: [`bridge`] for exec and attach, [`tunnel`] for port-forward.

pub mod bridge;
pub mod channel;
mod forward;
pub mod spdy;
pub mod tunnel;

pub use forward::{forward, is_upgrade};

/// Why a stream broke.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The peer could not be reached or the connection broke.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// The peer's HTTP is wrong, or ended early.
    #[error("{0}")]
    Http(#[from] hyper::Error),
    /// The peer refused to change protocols.
    #[error("unable to upgrade connection: {status}: {message}")]
    Refused {
        /// What it answered instead.
        status: http::StatusCode,
        /// The answer's text.
        message: String,
    },
    /// The peer sent what SPDY does not allow.
    #[error("SPDY: {0}")]
    Spdy(String),
    /// The client sent what its WebSocket protocol does not allow, or went away.
    #[error("WebSocket: {0}")]
    WebSocket(String),
}
