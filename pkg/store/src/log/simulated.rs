//! A disk in memory that can lose what was not synced, fail at any call, be full, or lie about syncing. For tests.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::Rng;
use rand::rngs::StdRng;

use crate::log::disk::{Disk, DiskFile};

const SECTOR: usize = 512;

/// What goes wrong at a chosen call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The call fails with EIO, once.
    Eio,
    /// The call fails with ENOSPC, once.
    NoSpace,
    /// A write does only its first half, once; other calls work.
    Short,
    /// The machine loses power during the call: neither it nor anything after it has an effect.
    PowerOff,
}

/// What can go wrong: reads do not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Call {
    Create,
    Write,
    Sync,
    Clear,
    Rename,
    Remove,
    SyncNames,
}

/// Who calls: the store's threads work side by side, so only the calls of one of them have an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Caller {
    /// Who opens the store, and whoever else.
    Opening,
    Writer,
    Upkeep,
}

impl Caller {
    fn current() -> Self {
        match std::thread::current().name() {
            Some("store-writer") => Self::Writer,
            Some("store-upkeep") => Self::Upkeep,
            _ => Self::Opening,
        }
    }
}

/// The disk. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct SimulatedDisk(Arc<Mutex<World>>);

#[derive(Debug, Default)]
struct World {
    files: BTreeMap<u64, Content>,
    names: Names,
    /// The names after each change since the last sync; the first entry is what is durable.
    names_since: Vec<Names>,
    next: u64,
    calls: u64,
    calls_of: BTreeMap<Own, u64>,
    /// Whose call of which kind it is to be (any if `None`), the number of that call, and what happens to it.
    fault: Option<(Option<Own>, u64, Fault)>,
    removed: u32,
    /// Calls that wait, and whether one does.
    held: Option<Own>,
    is_waiting: bool,
    off: bool,
    lies: bool,
    capacity: Option<u64>,
}

/// A thread, and a kind of its calls.
pub(crate) type Own = (Caller, Call);

type Names = BTreeMap<String, u64>;

#[derive(Clone, Debug, Default)]
struct Content {
    cached: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Write(usize, Vec<u8>),
    /// Zeros from here on, up to this size.
    Clear(usize, usize),
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write(offset, bytes) => {
                let end = offset + bytes.len();
                content.resize(content.len().max(end), 0);
                content[*offset..end].copy_from_slice(bytes);
            }
            Self::Clear(offset, size) => {
                content.truncate(*offset);
                content.resize(*size, 0);
            }
        }
    }
}

impl SimulatedDisk {
    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same for a call, which waits while such calls of this thread are held.
    fn begin(&self, call: Call) -> MutexGuard<'_, World> {
        loop {
            let mut world = self.world();
            if world.held != Some((Caller::current(), call)) {
                return world;
            }
            world.is_waiting = true;
            drop(world);
            std::thread::yield_now();
        }
    }

    /// From now on this thread waits in calls of this kind; `None` lets it go on.
    pub(crate) fn hold(&self, held: Option<Own>) {
        let mut world = self.world();
        (world.held, world.is_waiting) = (held, false);
    }

    /// Whether somebody waits in a held call.
    pub(crate) fn is_waiting(&self) -> bool {
        self.world().is_waiting
    }

    /// After the end of a process whose calls had no effect any more: what the kernel had, it has.
    pub(crate) fn turn_on(&self) {
        self.world().off = false;
    }

    /// From now on no sync has an effect, though all say that they had.
    pub(crate) fn lie(&self) {
        self.world().lies = true;
    }

    /// The call with this number from now on (the next one is 1) goes wrong. Reads do not count.
    pub(crate) fn fail_at(&self, call: u64, fault: Fault) {
        let mut world = self.world();
        world.fault = Some((None, world.calls + call, fault));
    }

    /// The same, counting one kind of calls of one of the store's threads.
    pub(crate) fn fail_at_of(&self, of: (Caller, Call), number: u64, fault: Fault) {
        let mut world = self.world();
        let before = world.calls_of.get(&of).copied().unwrap_or_default();
        world.fault = Some((Some(of), before + number, fault));
    }

    /// How many files were removed.
    pub(crate) fn removed(&self) -> u32 {
        self.world().removed
    }

    /// Nothing goes wrong any more; answers whether something was still to come.
    pub(crate) fn clear_fault(&self) -> bool {
        self.world().fault.take().is_some()
    }

    /// Whether the power went off.
    pub(crate) fn is_off(&self) -> bool {
        self.world().off
    }

    /// Files may have so many bytes together; `None` for any number.
    pub(crate) fn limit(&self, capacity: Option<u64>) {
        self.world().capacity = capacity;
    }

    /// Changes a file's content under the store's feet.
    pub(crate) fn spoil(&self, name: &str, spoil: impl FnOnce(&mut Vec<u8>)) {
        let mut world = self.world();
        let inode = world.names[name];
        let content = world.files.get_mut(&inode).unwrap();
        spoil(&mut content.cached);
        content.durable = content.cached.clone();
    }

    /// What the disk holds after a power cut that took everything that was not synced.
    pub(crate) fn synced_only(&self) -> Self {
        let world = self.world();
        let names = world.names_since.first().unwrap_or(&world.names).clone();
        let files = names.values().map(|inode| {
            let durable = world.files[inode].durable.clone();
            (*inode, Content { cached: durable.clone(), durable, pending: Vec::new() })
        });
        let files = files.collect();
        Self(Arc::new(Mutex::new(World { files, names, next: world.next, ..World::default() })))
    }

    /// What the disk holds after a power cut: everything synced, and any part of what was not, in units of sectors, without
    /// regard to the order in which it was written.
    pub(crate) fn after_power_cut(&self, random: &mut StdRng) -> Self {
        let world = self.world();
        let kept = random.random_range(0..=world.names_since.len());
        let names = if kept == world.names_since.len() { &world.names } else { &world.names_since[kept] };
        let mut after = World { names: names.clone(), next: world.next, lies: world.lies, ..World::default() };
        let chance = [0.0, 0.3, 0.7, 1.0][random.random_range(0..4)];
        for inode in names.values() {
            let content = &world.files[inode];
            let mut durable = content.durable.clone();
            for change in &content.pending {
                match change {
                    Change::Clear(..) if random.random_bool(chance) => change.apply(&mut durable),
                    Change::Clear(..) => {}
                    Change::Write(offset, bytes) => {
                        for sector in sectors(*offset, bytes).filter(|_| random.random_bool(chance)) {
                            sector.apply(&mut durable);
                        }
                    }
                }
            }
            after.files.insert(*inode, Content { cached: durable.clone(), durable, pending: Vec::new() });
        }
        Self(Arc::new(Mutex::new(after)))
    }
}

fn sectors(offset: usize, bytes: &[u8]) -> impl Iterator<Item = Change> {
    let first = SECTOR - offset % SECTOR;
    let (head, rest) = bytes.split_at(first.min(bytes.len()));
    let mut at = offset;
    std::iter::once(head).chain(rest.chunks(SECTOR)).map(move |part| {
        let change = Change::Write(at, part.to_vec());
        at += part.len();
        change
    })
}

impl World {
    fn used(&self) -> u64 {
        self.names.values().map(|inode| self.files[inode].cached.len() as u64).sum()
    }

    /// Counts a call, and lets it go wrong when its time has come. `Ok(true)` asks for half of it.
    fn call(&mut self, call: Call) -> io::Result<bool> {
        const EIO: i32 = 5;
        const ENOSPC: i32 = 28;
        if self.off {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        let own = (Caller::current(), call);
        let of_caller = self.calls_of.entry(own).or_default();
        *of_caller += 1;
        self.calls += 1;
        let numbers = (*of_caller, self.calls);
        let fault = self.fault.take_if(|(of, number, _)| match of {
            Some(of) => *of == own && *number == numbers.0,
            None => *number == numbers.1,
        });
        match fault.map(|(_, _, fault)| fault) {
            None => Ok(false),
            Some(Fault::Short) => Ok(true),
            Some(Fault::Eio) => Err(io::Error::from_raw_os_error(EIO)),
            Some(Fault::NoSpace) => Err(io::Error::from_raw_os_error(ENOSPC)),
            Some(Fault::PowerOff) => {
                self.off = true;
                Err(io::Error::from_raw_os_error(EIO))
            }
        }
    }

    fn change(&mut self, inode: u64, change: Change) {
        let content = self.files.get_mut(&inode).unwrap();
        change.apply(&mut content.cached);
        content.pending.push(change);
    }

    fn rename(&mut self, change: impl FnOnce(&mut Names)) {
        self.names_since.push(self.names.clone());
        change(&mut self.names);
    }
}

#[derive(Debug)]
struct SimulatedFile {
    disk: SimulatedDisk,
    inode: u64,
}

impl Disk for SimulatedDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.world().names.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let inode = *self.world().names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(SimulatedFile { disk: self.clone(), inode }))
    }

    fn open_direct(&self, name: &str) -> io::Result<(Box<dyn DiskFile>, u32)> {
        Ok((self.open(name)?, SECTOR as u32))
    }

    fn create(&self, name: &str, size: u64) -> io::Result<Box<dyn DiskFile>> {
        let mut world = self.begin(Call::Create);
        world.call(Call::Create)?;
        if world.capacity.is_some_and(|capacity| world.used() + size > capacity) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        world.next += 1;
        let inode = world.next;
        world.files.insert(inode, Content::default());
        world.change(inode, Change::Clear(0, size as usize));
        world.rename(|names| {
            names.insert(name.to_owned(), inode);
        });
        Ok(Box::new(SimulatedFile { disk: self.clone(), inode }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut world = self.begin(Call::Rename);
        world.call(Call::Rename)?;
        let inode = *world.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        world.rename(|names| {
            names.remove(from);
            names.insert(to.to_owned(), inode);
        });
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut world = self.begin(Call::Remove);
        world.removed += 1;
        world.call(Call::Remove)?;
        world.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        world.rename(|names| {
            names.remove(name);
        });
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut world = self.begin(Call::SyncNames);
        world.call(Call::SyncNames)?;
        if !world.lies {
            world.names_since.clear();
        }
        Ok(())
    }
}

impl DiskFile for SimulatedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let world = self.disk.world();
        let rest = world.files[&self.inode].cached.get(offset as usize..).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut world = self.disk.begin(Call::Write);
        let bytes = match world.call(Call::Write) {
            Ok(true) => &bytes[..bytes.len().div_ceil(2)],
            Ok(false) => bytes,
            Err(error) => {
                // A write that fails may have done anything to the sectors that it was meant for.
                world.change(self.inode, Change::Write(offset as usize, bytes[..bytes.len() / 2].to_vec()));
                return Err(error);
            }
        };
        world.change(self.inode, Change::Write(offset as usize, bytes.to_vec()));
        Ok(bytes.len())
    }

    fn sync(&self) -> io::Result<()> {
        let mut world = self.disk.begin(Call::Sync);
        if let Err(error) = world.call(Call::Sync) {
            // As Linux does: what could not be written is dropped, and the next sync will not tell.
            let content = world.files.get_mut(&self.inode).unwrap();
            content.cached = content.durable.clone();
            content.pending.clear();
            return Err(error);
        }
        if !world.lies {
            let content = world.files.get_mut(&self.inode).unwrap();
            content.durable = content.cached.clone();
            content.pending.clear();
        }
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.disk.world().files[&self.inode].cached.len() as u64)
    }

    fn clear_from(&self, offset: u64) -> io::Result<()> {
        let mut world = self.disk.begin(Call::Clear);
        world.call(Call::Clear)?;
        let size = world.files[&self.inode].cached.len();
        world.change(self.inode, Change::Clear(offset as usize, size));
        Ok(())
    }
    fn expect(&self, _part: Range<u64>) {}
}
