//! The node's name, kept from its first start.

use std::io;
use std::path::Path;

/// The name under which this node is known: the one it was first started with, whatever the host is called since. On the
/// first start `wanted` is written down in `data`.
///
/// # Errors
/// When the name cannot be read or written.
pub fn name(data: &Path, wanted: &str) -> io::Result<String> {
    let file = data.join("node-name");
    match std::fs::read_to_string(&file) {
        Ok(kept) if !kept.trim().is_empty() => {
            let kept = kept.trim().to_owned();
            if kept != wanted {
                tracing::warn!("this node stays {kept}, although the host is called {wanted} now");
            }
            Ok(kept)
        }
        Ok(_) => keep(&file, wanted),
        Err(error) if error.kind() == io::ErrorKind::NotFound => keep(&file, wanted),
        Err(error) => Err(error),
    }
}

fn keep(file: &Path, wanted: &str) -> io::Result<String> {
    let name = wanted.trim().to_lowercase();
    if let Some(directory) = file.parent() {
        std::fs::create_dir_all(directory)?;
    }
    let partial = file.with_extension("partial");
    std::fs::write(&partial, format!("{name}\n"))?;
    std::fs::rename(partial, file)?;
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_hostname_makes_no_second_node() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("kubelet");
        assert_eq!(name(&data, "Edge-1").unwrap(), "edge-1");
        assert_eq!(name(&data, "renamed").unwrap(), "edge-1");
    }
}
