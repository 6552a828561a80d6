//! Passphrases, from a file or from the terminal; never from an argument, which everybody on the machine can see.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};

/// Fewer characters are guessed, whatever is made of them.
const SHORTEST: usize = 8;

/// The one in a file, which may end with a line break.
pub(crate) fn read(file: &Path) -> Result<String> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let passphrase = text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    ensure!(!passphrase.is_empty(), "{} is empty", file.display());
    Ok(passphrase.to_owned())
}

/// One for a new snapshot.
pub(super) fn choose(file: Option<&Path>) -> Result<String> {
    let passphrase = match file {
        Some(file) => read(file)?,
        None => {
            let wanted = "give --passphrase-file, or --without-keys";
            let first = ask("Passphrase for the cluster's keys: ", wanted)?;
            ensure!(ask("The same once more: ", wanted)? == first, "these were two different passphrases");
            first
        }
    };
    check(&passphrase)?;
    Ok(passphrase)
}

/// The one of a snapshot that exists.
pub(super) fn recall(file: Option<&Path>) -> Result<String> {
    file.map_or_else(|| ask("Passphrase of the snapshot's keys: ", "give --passphrase-file"), read)
}

/// Whether it is good enough for a new snapshot.
pub(crate) fn check(passphrase: &str) -> Result<()> {
    let length = passphrase.chars().count();
    ensure!(length >= SHORTEST, "a passphrase of {length} characters protects nothing: take {SHORTEST} or more");
    Ok(())
}

fn ask(prompt: &str, instead: &str) -> Result<String> {
    let terminal = File::options().read(true).write(true).open("/dev/tty");
    let mut terminal =
        terminal.with_context(|| format!("{instead}: there is no terminal to ask for a passphrase on"))?;
    let quiet = Quiet::begin(terminal.try_clone()?)?;
    write!(terminal, "{prompt}")?;
    let mut line = String::new();
    let read = BufReader::new(&terminal).read_line(&mut line);
    drop(quiet);
    writeln!(terminal)?;
    read?;
    let passphrase = line.trim_end_matches(['\r', '\n']);
    // Ctrl-C is a character like any other meanwhile, lest it leave the terminal mute.
    if passphrase.is_empty() || passphrase.contains('\u{3}') {
        bail!("no passphrase was given");
    }
    Ok(passphrase.to_owned())
}

/// A terminal that shows nothing of what is typed, as in `getpass(3)`.
struct Quiet {
    terminal: File,
    before: Termios,
}

impl Quiet {
    fn begin(terminal: File) -> Result<Self> {
        let before = tcgetattr(&terminal)?;
        let mut quiet = before.clone();
        quiet.local_flags.remove(LocalFlags::ECHO | LocalFlags::ISIG);
        tcsetattr(&terminal, SetArg::TCSAFLUSH, &quiet)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        if let Err(error) = tcsetattr(&self.terminal, SetArg::TCSAFLUSH, &self.before) {
            eprintln!("knarr: the terminal stays mute ({error}): `stty sane` helps");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_may_end_with_a_line_break() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("passphrase");
        for (text, expected) in [
            ("correct horse", Some("correct horse")),
            ("correct horse\n", Some("correct horse")),
            ("correct horse\r\n", Some("correct horse")),
            (" correct\nhorse \n", Some(" correct\nhorse ")),
            ("\n", None),
            ("", None),
        ] {
            fs::write(&file, text).unwrap();
            assert_eq!(read(&file).ok().as_deref(), expected, "{text:?}");
        }
        assert!(check("1234567").is_err() && check("12345678").is_ok());
    }
}
