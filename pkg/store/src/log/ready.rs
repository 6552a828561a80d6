//! Files that are ready to become segments.
//!
//! The first write to a block of a file changes the file system's own records, and a commit has to wait for its journal.
//! So segments are made of files that were written before: of segments that are not needed any more, as many as the log
//! will soon need again; or, while there are none, of one that is filled with zeros ahead of time. What such a file holds
//! is not looked at: no batch of another segment is ever taken for one of this (see [`format`]).
//!
//! [`format`]: crate::log::format

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::log::direct::Aligned;
use crate::log::disk::{Disk, DiskFile, write_all};

/// A file while it is filled.
const UNFINISHED: &str = "ready.new";
/// Written at once when a file is filled, so that commits need not wait long behind it.
const PIECE: usize = 256 << 10;

/// See the module.
#[derive(Debug)]
pub(crate) struct Ready {
    /// The names end with these.
    numbers: Mutex<Vec<u32>>,
    /// The newest number. None comes twice: whoever took a name renames that file only later.
    newest: AtomicU32,
    /// How many segments were begun since the last [`Ready::settle`].
    begun: AtomicU32,
    /// How many there should be: as many as were begun between the last two.
    wanted: AtomicU32,
    /// Whether one is to be filled with zeros if there is none. That costs as much again as the log itself, so only where
    /// commits are so small that a journal's part in each would cost more.
    is_filled: AtomicBool,
}

impl Default for Ready {
    fn default() -> Self {
        let (numbers, newest, begun, wanted) = Default::default();
        Self { numbers, newest, begun, wanted, is_filled: AtomicBool::new(true) }
    }
}

impl Ready {
    /// Takes over what an earlier process left.
    pub(super) fn find(&self, disk: &dyn Disk, names: &[String]) -> io::Result<()> {
        let found: Vec<u32> = names.iter().filter_map(|name| number_of(name)).collect();
        self.newest.store(found.iter().copied().max().unwrap_or_default(), Ordering::Relaxed);
        *self.numbers() = found;
        if names.iter().any(|name| name == UNFINISHED) { disk.remove(UNFINISHED) } else { Ok(()) }
    }

    /// The name of a file that nobody else will get; the last segment took small commits or large ones.
    pub(super) fn take(&self, small_commits: bool) -> Option<String> {
        self.is_filled.store(small_commits, Ordering::Relaxed);
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.give()
    }

    /// The same for another purpose.
    pub(super) fn give(&self) -> Option<String> {
        self.numbers().pop().map(name)
    }

    /// Takes back a file that was given and is still there.
    pub(super) fn put_back(&self, file: &str) {
        self.numbers().extend(number_of(file));
    }

    /// Takes a file over instead of having it removed, if it is needed; answers whether it was.
    pub(super) fn keep(&self, disk: &dyn Disk, file: &str) -> io::Result<bool> {
        let wanted = self.wanted.load(Ordering::Relaxed).max(self.begun.load(Ordering::Relaxed)).max(1);
        if self.numbers().len() >= wanted as usize {
            return Ok(false);
        }
        self.add(disk, file).map(|()| true)
    }

    /// Makes a file of `size` bytes unless there is one, if it is worth it.
    pub(super) fn prepare(&self, disk: &dyn Disk, size: u32) -> io::Result<()> {
        if !self.numbers().is_empty() || !self.is_filled.load(Ordering::Relaxed) {
            return Ok(());
        }
        if let Err(error) = filled(disk, UNFINISHED, size) {
            // What is left of it would only take space; the next start tries that again.
            let _unfinished = disk.remove(UNFINISHED);
            return Err(error);
        }
        self.add(disk, UNFINISHED)
    }

    /// Looks back at how many were needed since the last time, and removes what is too much.
    pub(super) fn settle(&self, disk: &dyn Disk) -> io::Result<()> {
        let begun = self.begun.swap(0, Ordering::Relaxed);
        self.wanted.store(begun, Ordering::Relaxed);
        let enough = begun.max(1) as usize;
        let too_many = |numbers: &mut Vec<u32>| if numbers.len() > enough { numbers.pop() } else { None };
        loop {
            // The lock is free again before the disk is waited for: the writer needs it.
            let number = too_many(&mut self.numbers());
            let Some(number) = number else { return Ok(()) };
            disk.remove(&name(number))?;
        }
    }

    fn add(&self, disk: &dyn Disk, file: &str) -> io::Result<()> {
        let number = self.newest.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        disk.rename(file, &name(number))?;
        self.numbers().push(number);
        Ok(())
    }

    fn numbers(&self) -> MutexGuard<'_, Vec<u32>> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes a file and fills it with zeros, durably.
pub(super) fn filled(disk: &dyn Disk, file: &str, size: u32) -> io::Result<Box<dyn DiskFile>> {
    let made = disk.create(file, size.into())?;
    let (direct, _) = disk.open_direct(file)?;
    let mut zeros = Aligned::default();
    zeros.begin(PIECE).extend(std::iter::repeat_n(0, PIECE));
    let mut offset = 0;
    while let Some(left) = (size as usize).checked_sub(offset).filter(|left| *left > 0) {
        let piece = zeros.bytes().get(..left.min(PIECE)).unwrap_or_default();
        write_all(direct.as_ref(), piece, offset as u64)?;
        offset += piece.len();
    }
    made.sync()?;
    Ok(made)
}

fn number_of(name: &str) -> Option<u32> {
    name.strip_prefix("ready-")?.parse().ok()
}

fn name(number: u32) -> String {
    format!("ready-{number}")
}
