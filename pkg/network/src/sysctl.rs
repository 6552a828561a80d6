//! Settings of the calling thread's network namespace.

use std::io::ErrorKind;

use crate::Result;
use crate::error::Doing;

/// Reads a setting below `/proc/sys/net`; `None` when this kernel does not have it.
pub(crate) fn read(path: &str) -> Result<Option<String>> {
    match std::fs::read_to_string(format!("/proc/sys/net/{path}")) {
        Ok(value) => Ok(Some(value.trim().to_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).doing(|| format!("read the sysctl net/{path}")),
    }
}

/// Writes a setting unless it has that value already, since `/proc/sys` may be read-only where it is as it should be.
pub(crate) fn write(path: &str, value: &str) -> Result<()> {
    if read(path)?.as_deref() == Some(value) {
        return Ok(());
    }
    std::fs::write(format!("/proc/sys/net/{path}"), value).doing(|| format!("set the sysctl net/{path} to {value}"))
}
