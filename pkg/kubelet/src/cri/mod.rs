//! The Container Runtime Interface, v1: what the kubelet asks of containerd.
//! <https://github.com/kubernetes/cri-api/blob/master/pkg/apis/runtime/v1/api.proto>

mod client;
mod error;
mod runtime;

pub use crate::proto::runtime::v1 as api;
pub use client::{Cri, unix_channel};
pub use error::Error;
pub use runtime::Runtime;
