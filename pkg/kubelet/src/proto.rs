//! The generated interfaces: CRI v1 and the parts of containerd's own API that CRI lacks.
#![allow(missing_docs, unreachable_pub, dead_code, reason = "generated code")]
#![allow(clippy::all, clippy::allow_attributes_without_reason, reason = "generated code")]

include!(concat!(env!("OUT_DIR"), "/protos.rs"));
