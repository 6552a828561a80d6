//! Log rotation: a file beyond 10 MiB is moved aside and compressed; five are kept of each container.
//! <https://kubernetes.io/docs/concepts/cluster-administration/logging/#log-rotation>

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;

use crate::cri::{Error, Runtime, api};
use crate::pod::names;

const SIZE: u64 = 10 << 20;
/// The current file included.
const FILES: usize = 5;

/// Looks at the logs of all running containers.
///
/// # Errors
/// When the runtime does not answer.
pub(super) async fn rotate(runtime: &dyn Runtime, logs: &Path) -> Result<(), Error> {
    for container in runtime.list_containers(&[]).await? {
        if container.state() != api::ContainerState::ContainerRunning {
            continue;
        }
        let Some(log) = names::container_log(logs, &container) else { continue };
        if std::fs::metadata(&log).is_ok_and(|found| found.len() > SIZE) {
            one(runtime, &container.id, log).await;
        }
    }
    Ok(())
}

/// Removes the log of a container that is no more, with all that was moved aside.
pub(super) fn remove(log: &Path) {
    let moved = rotated(log).unwrap_or_else(|error| {
        tracing::warn!("{}: {error}", log.display());
        Vec::new()
    });
    for file in moved.iter().map(PathBuf::as_path).chain([log]) {
        match std::fs::remove_file(file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!("remove {}: {error}", file.display());
            }
            _ => {}
        }
    }
}

/// Moves the file aside and has the runtime begin a new one; if it will not, the file is put back.
async fn one(runtime: &dyn Runtime, id: &str, log: PathBuf) {
    let aside = PathBuf::from(format!("{}.{}", log.display(), Timestamp::now().strftime("%Y%m%d-%H%M%S")));
    if let Err(error) = std::fs::rename(&log, &aside) {
        tracing::warn!("rotate {}: {error}", log.display());
        return;
    }
    if let Err(error) = runtime.reopen_log(id).await {
        tracing::warn!("rotate {}: {error}", log.display());
        if let Err(error) = std::fs::rename(&aside, &log) {
            tracing::warn!("rotate {}: {error}", log.display());
        }
        return;
    }
    let tidied = tokio::task::spawn_blocking(move || tidy(&log, &aside)).await;
    if let Err(error) = tidied.map_err(io::Error::other).flatten() {
        tracing::warn!("rotate: {error}");
    }
}

/// Compresses all moved files but the newest, which may still be written to, and removes the oldest.
fn tidy(log: &Path, newest: &Path) -> io::Result<()> {
    for file in rotated(log)? {
        if file != newest && file.extension().is_none_or(|end| end != "gz") {
            compress(&file)?;
        }
    }
    let all = rotated(log)?;
    for file in all.iter().take(all.len().saturating_sub(FILES - 1)) {
        std::fs::remove_file(file)?;
    }
    Ok(())
}

fn compress(file: &Path) -> io::Result<()> {
    let partial = PathBuf::from(format!("{}.tmp", file.display()));
    let mut encoder = GzEncoder::new(File::create(&partial)?, Compression::default());
    io::copy(&mut File::open(file)?, &mut encoder)?;
    encoder.finish()?;
    std::fs::rename(&partial, format!("{}.gz", file.display()))?;
    std::fs::remove_file(file)
}

/// The files that were moved aside, the oldest first: their names begin with the log's and go on with the time.
fn rotated(log: &Path) -> io::Result<Vec<PathBuf>> {
    let prefix = format!("{}.", log.file_name().unwrap_or_default().to_string_lossy());
    let Some(directory) = log.parent().filter(|directory| directory.exists()) else { return Ok(Vec::new()) };
    let mut files: Vec<PathBuf> = std::fs::read_dir(directory)?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix)))
        .collect();
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_files_are_kept_and_old_ones_compressed() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("0.log");
        let name = |second: u32| directory.path().join(format!("0.log.20260101-0000{second:02}"));
        for second in 0..7 {
            std::fs::write(name(second), format!("{second}")).unwrap();
        }
        std::fs::write(&log, "now").unwrap();
        tidy(&log, &name(6)).unwrap();
        let names: Vec<String> =
            rotated(&log).unwrap().iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect();
        let expect = [
            "0.log.20260101-000003.gz",
            "0.log.20260101-000004.gz",
            "0.log.20260101-000005.gz",
            "0.log.20260101-000006",
        ];
        assert_eq!(names, expect);
        assert_eq!(std::fs::read_to_string(&log).unwrap(), "now");
        let next = directory.path().join("1.log");
        std::fs::write(&next, "").unwrap();
        remove(&log);
        let left: Vec<PathBuf> =
            std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(left, [next], "a container that is no more leaves no log");
    }
}
