//! `knarr snapshot ls`.

use std::fs::{self, File};
use std::io::{BufReader, ErrorKind};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use knarr_store::snapshot::{Error, Reader, Summary};

use super::{List, SUFFIX, shown};
use crate::cli::say;

const HEAD: [&str; 7] = ["NAME", "TIME", "REVISION", "SIZE", "OBJECTS", "KEYS", "CHECKSUM"];

pub(super) fn run(arguments: &List) -> Result<()> {
    let usual = || arguments.directories.data_dir.join("snapshots");
    let scheduled = || arguments.snapshot_dir.clone().unwrap_or_else(usual);
    let directory = arguments.dir.clone().unwrap_or_else(scheduled);
    let (rows, damaged) = rows(&directory)?;
    table(&rows).iter().for_each(|line| say(line));
    match damaged {
        0 => Ok(()),
        1 => bail!("one snapshot is damaged"),
        more => bail!("{more} snapshots are damaged"),
    }
}

/// A row for each snapshot, by name, and how many of them are damaged.
fn rows(directory: &Path) -> Result<(Vec<[String; 7]>, usize)> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Default::default()),
        entries => entries.with_context(|| format!("cannot read {}", directory.display()))?,
    };
    let mut paths: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    paths.retain(|path| path.is_file());
    paths.sort();
    let (mut rows, mut damaged) = (Vec::new(), 0);
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let found = File::open(&path).map_err(Error::File);
        match found.and_then(|file| Reader::open(BufReader::new(file))?.verify()) {
            Ok(summary) => rows.push(row(name, &summary)),
            Err(Error::Foreign) if !name.ends_with(SUFFIX) => {}
            Err(error) => {
                let [time, revision, size, objects, keys] = ["-"; 5].map(str::to_owned);
                rows.push([name, time, revision, size, objects, keys, error.to_string()]);
                damaged += 1;
            }
        }
    }
    Ok((rows, damaged))
}

fn row(name: String, summary: &Summary) -> [String; 7] {
    let Summary { head, objects, has_keys, size, .. } = summary;
    let keys = if *has_keys { "yes" } else { "no" };
    let numbers = [head.revision, *size, *objects].map(|number| number.to_string());
    let [revision, size, objects] = numbers;
    [name, shown(head.created), revision, size, objects, keys.to_owned(), "ok".to_owned()]
}

/// Columns as wide as what is in them.
fn table(rows: &[[String; 7]]) -> Vec<String> {
    let all: Vec<[String; 7]> = std::iter::once(HEAD.map(str::to_owned)).chain(rows.iter().cloned()).collect();
    let mut widths = [0; HEAD.len()];
    for row in &all {
        widths.iter_mut().zip(row).for_each(|(width, cell)| *width = cell.len().max(*width));
    }
    let line = |row: &[String; 7]| {
        let cells: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        cells.join("   ").trim_end().to_owned()
    };
    all.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_snapshot_is_not_listed_unless_it_should_be_one() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("notes.txt"), "mine").unwrap();
        fs::write(directory.path().join("cut"), "knarr snapshot\n\x01\0\0\0").unwrap();
        fs::write(directory.path().join("empty.snapshot"), "").unwrap();
        let (rows, damaged) = rows(directory.path()).unwrap();
        assert_eq!(damaged, 2);
        let lines = table(&rows);
        assert!(lines[1].starts_with("cut              -") && lines[1].contains("is cut off"), "{lines:?}");
        assert!(lines[2].starts_with("empty.snapshot   -") && lines[2].ends_with("no snapshot of knarr"), "{lines:?}");
        assert_eq!(super::rows(Path::new("/nowhere")).unwrap().1, 0);
    }
}
