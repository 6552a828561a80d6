//! The zone's copy on disk.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use crate::records::ServiceRecords;

/// A file with all Services as DNS sees them.
#[derive(Debug)]
pub(crate) struct Copy(PathBuf);

impl Copy {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// What was written last; nothing when there is no copy or it cannot be used, which is only a slower start.
    pub(crate) fn read(&self) -> Vec<ServiceRecords> {
        let parsed = fs::read(&self.0).and_then(|bytes| serde_json::from_slice(&bytes).map_err(io::Error::from));
        parsed.unwrap_or_else(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!(file = %self.0.display(), %error, "cannot use the copy of the zone");
            }
            Vec::new()
        })
    }

    /// Replaces the copy at once or not at all.
    pub(crate) fn write(&self, services: &[ServiceRecords]) -> io::Result<()> {
        let new = self.0.with_extension("new");
        let mut file = fs::File::create(&new)?;
        serde_json::to_writer(&mut file, services)?;
        file.flush()?;
        fs::rename(new, &self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::Target;

    #[test]
    fn what_was_written_is_read_and_damage_is_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let copy = Copy::new(directory.path().join("zone.json"));
        assert!(copy.read().is_empty());
        let records = ServiceRecords {
            namespace: "shop".into(),
            name: "away".into(),
            target: Target::External("example.com".into()),
        };
        copy.write(std::slice::from_ref(&records)).unwrap();
        assert_eq!(copy.read(), [records]);
        fs::write(directory.path().join("zone.json"), "[{").unwrap();
        assert!(copy.read().is_empty());
    }
}
