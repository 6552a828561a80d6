//! Facts about time and boots that survive a wrong wall clock.

use std::io;

/// The kernel's id of this boot: it changes with every boot and with nothing else (`random(4)`).
///
/// # Errors
/// When `/proc` is not mounted.
pub fn boot_id() -> io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_boot_id_is_stable() {
        let first = super::boot_id().unwrap();
        assert_eq!(first.len(), 36);
        assert_eq!(first, super::boot_id().unwrap());
    }
}
