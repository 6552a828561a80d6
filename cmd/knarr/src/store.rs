//! `knarr store`: what is wrong with the store of a node whose server does not start, and making it sound.

use anyhow::{Result, bail};
use knarr_store::{Findings, check, repair};

use crate::cli::{Directories, say};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Read all of the store, and say what is damaged and what a repair would lose; the server must not run
    Check(Directories),
    /// Make a sound store of what can be read of a damaged one, which is kept beside it; the server must not run
    Repair(Directories),
}

pub(crate) fn run(command: &Command) -> Result<()> {
    match command {
        Command::Check(directories) => {
            let findings = check(&directories.data_dir.join("store"))?;
            tell(&findings);
            if !findings.damage.is_empty() {
                bail!("the store is damaged: `knarr store repair` makes a sound one of what is left");
            }
        }
        Command::Repair(directories) => {
            let (findings, kept) = repair(&directories.data_dir.join("store"))?;
            tell(&findings);
            if let Some(kept) = kept {
                say(&format!("the store is sound again; the damaged one is in {}", kept.display()));
            }
        }
    }
    Ok(())
}

fn tell(findings: &Findings) {
    for damage in &findings.damage {
        say(&format!("damaged: {} at offset {}: {}", damage.file, damage.offset, damage.what));
    }
    for (first, last) in &findings.lost {
        let last = last.map_or("the last one".to_owned(), |last| last.to_string());
        say(&format!("lost: what was written at the revisions {first} to {last}, and not again later"));
    }
    let left = if findings.damage.is_empty() { "sound" } else { "left" };
    say(&format!("{left}: {} keys", findings.keys));
}
