//! What a transaction may hold: the same on every backend, so that nothing fits in one place and not in the other.
//!
//! They are etcd's, in its default configuration: a request of at most 1.5 MiB (`--max-request-bytes`), everything in it
//! counted, and at most 128 comparisons and 128 operations in it (`--max-txn-ops`).
//! <https://etcd.io/docs/v3.5/dev-guide/limit/>

use std::collections::HashSet;

use bytes::Bytes;

use crate::error::Error;
use crate::model::{Guard, Op, Txn};

/// Longest key in bytes.
pub const MAX_KEY: usize = 4096;

/// Largest transaction in bytes: 1.5 MiB.
pub const MAX_TXN: usize = 1536 * 1024;

/// Largest value in bytes: what [`MAX_TXN`] leaves beside the longest key, its guard, and some small companions.
pub const MAX_VALUE: usize = MAX_TXN - 32 * 1024;

/// Most guards, and most writes, of one transaction.
pub const MAX_OPS: usize = 128;

/// Longest prefix that a backend may put before its keys.
pub(crate) const MAX_PREFIX: usize = 64;

/// What a guard or a write takes in a request beside its keys and values: names of fields, lengths, revisions.
const FRAME: usize = 64;

/// Refuses what no store takes.
pub(crate) fn check(txn: &Txn) -> Result<(), Error> {
    if txn.guards.len() > MAX_OPS || txn.ops.len() > MAX_OPS {
        return Err(Error::Invalid("more than 128 guards or writes"));
    }
    for key in txn.guards.iter().map(guarded).chain(txn.ops.iter().map(written)) {
        match key.len() {
            0 => return Err(Error::Invalid("a key is empty")),
            length if length > MAX_KEY => return Err(Error::Invalid("a key is too long")),
            _ => {}
        }
    }
    let mut named = HashSet::new();
    for op in &txn.ops {
        if !named.insert(written(op)) {
            return Err(Error::Invalid("a key is written twice"));
        }
        if value_size(op) > MAX_VALUE {
            return Err(Error::TooLarge(value_size(op)));
        }
    }
    match size(txn) {
        size if size > MAX_TXN => Err(Error::TooLarge(size)),
        _ => Ok(()),
    }
}

/// A bound of what etcd counts. It sees the key of a guard twice: it answers what it found when the guard does not hold.
fn size(txn: &Txn) -> usize {
    let key = |key: &Bytes| key.len() + MAX_PREFIX + FRAME;
    let guards = txn.guards.iter().map(|guard| 2 * key(guarded(guard)));
    let ops = txn.ops.iter().map(|op| key(written(op)) + value_size(op));
    FRAME + guards.sum::<usize>() + ops.sum::<usize>()
}

/// What an operation writes.
pub(crate) fn value_size(op: &Op) -> usize {
    match op {
        Op::Put(_, value) => value.len(),
        Op::Delete(_) => 0,
    }
}

/// The key that a guard is about.
pub(crate) fn guarded(guard: &Guard) -> &Bytes {
    match guard {
        Guard::Absent(key) | Guard::Unchanged(key, _) => key,
    }
}

/// The key that an operation writes.
pub(crate) fn written(op: &Op) -> &Bytes {
    match op {
        Op::Put(key, _) | Op::Delete(key) => key,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_value_fits_with_the_longest_key_and_companions() {
        let (key, companion) = (Bytes::from(vec![b'k'; MAX_KEY]), Bytes::from(vec![b'c'; 256]));
        let txn = |value: usize| Txn {
            guards: vec![Guard::Unchanged(key.clone(), 7), Guard::Absent(companion.clone())],
            ops: vec![Op::Put(key.clone(), vec![0; value].into()), Op::Put(companion.clone(), vec![0; 8192].into())],
            ..Txn::default()
        };
        check(&txn(MAX_VALUE)).unwrap();
        assert!(matches!(check(&txn(MAX_VALUE + 1)), Err(Error::TooLarge(size)) if size == MAX_VALUE + 1));
    }

    #[test]
    fn many_values_count_together() {
        let put = |index: u8| Op::Put(vec![index].into(), vec![0; MAX_TXN / 8].into());
        let txn = |count: u8| Txn { ops: (0..count).map(put).collect(), ..Txn::default() };
        check(&txn(7)).unwrap();
        assert!(matches!(check(&txn(8)), Err(Error::TooLarge(size)) if size > MAX_TXN));
    }
}
