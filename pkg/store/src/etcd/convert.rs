//! etcd's messages in the store's words.

use etcd_client::proto::PbKeyValue;
use etcd_client::{Compare, CompareOp, GetOptions, ResponseHeader, TxnOp, TxnOpResponse, TxnResponse};

use super::keys::Keys;
use crate::error::Error;
use crate::limits::{guarded, written};
use crate::model::{Event, Guard, KeyValue, Op, Outcome, Revision, Txn};

/// etcd counts in signed numbers.
pub(super) fn signed(revision: Revision) -> i64 {
    i64::try_from(revision).unwrap_or(i64::MAX)
}

pub(super) fn unsigned(revision: i64) -> Revision {
    Revision::try_from(revision).unwrap_or_default()
}

/// The revision of etcd when it answered.
pub(super) fn revision(header: Option<&ResponseHeader>) -> Revision {
    header.map_or(0, |header| unsigned(header.revision()))
}

/// `None` for what is no key of the store.
pub(super) fn key_value(keys: &Keys, kv: PbKeyValue) -> Option<KeyValue> {
    Some(KeyValue {
        key: keys.inner(kv.key)?,
        value: kv.value.into(),
        create_revision: unsigned(kv.create_revision),
        mod_revision: unsigned(kv.mod_revision),
        version: unsigned(kv.version),
    })
}

/// The event of a change; `None` for one of no key of the store.
///
/// # Errors
/// [`Error::Compacted`] when etcd does not know any more what was there before.
pub(super) fn event(keys: &Keys, event: etcd_client::proto::PbEvent) -> Result<Option<Event>, Error> {
    // `DELETE` of `mvccpb.Event.EventType`.
    let deleted = event.r#type == 1;
    let Some(kv) = event.kv else { return Ok(None) };
    let revision = unsigned(kv.mod_revision);
    let created = kv.create_revision == kv.mod_revision;
    let Some(now) = key_value(keys, kv) else { return Ok(None) };
    let previous = event.prev_kv.and_then(|kv| key_value(keys, kv));
    let forgotten = Error::Compacted { asked: revision, oldest: revision + 1 };
    match previous {
        None if deleted || !created => Err(forgotten),
        Some(previous) if deleted => Ok(Some(Event::Delete { previous, revision })),
        previous => Ok(Some(Event::Put { now, previous })),
    }
}

/// The transaction as etcd does it: when a guard does not hold, what is there is answered for each of them.
pub(super) fn request(keys: &Keys, txn: &Txn) -> Result<etcd_client::Txn, Error> {
    let guards = txn.guards.iter().map(|guard| compare(keys, guard)).collect::<Result<Vec<_>, _>>()?;
    let ops = txn.ops.iter().map(|op| operation(keys, op)).collect::<Result<Vec<_>, _>>()?;
    let found = txn.guards.iter().map(|guard| Ok(TxnOp::get(keys.outer(guarded(guard))?, None::<GetOptions>)));
    let found = found.collect::<Result<Vec<_>, Error>>()?;
    Ok(etcd_client::Txn::new().when(guards).and_then(ops).or_else(found))
}

fn compare(keys: &Keys, guard: &Guard) -> Result<Compare, Error> {
    let key = keys.outer(guarded(guard))?;
    Ok(match guard {
        Guard::Absent(_) => Compare::mod_revision(key, CompareOp::Equal, 0),
        // For etcd an absent key was written at revision 0. No key that exists was: the guard never holds.
        Guard::Unchanged(_, 0) => Compare::version(key, CompareOp::Less, 0),
        Guard::Unchanged(_, revision) => Compare::mod_revision(key, CompareOp::Equal, signed(*revision)),
    })
}

fn operation(keys: &Keys, op: &Op) -> Result<TxnOp, Error> {
    let key = keys.outer(written(op))?;
    Ok(match op {
        Op::Put(_, value) => TxnOp::put(key, Vec::from(value.clone()), None),
        Op::Delete(_) => TxnOp::delete(key, None),
    })
}

/// What a transaction led to, and whether it changed anything.
pub(super) fn outcome(keys: &Keys, txn: &Txn, response: &TxnResponse) -> (Outcome, bool) {
    let answers = response.op_responses();
    if response.succeeded() {
        let changed = answers.iter().any(|answer| match answer {
            TxnOpResponse::Put(_) => true,
            TxnOpResponse::Delete(deleted) => deleted.deleted() > 0,
            TxnOpResponse::Get(_) | TxnOpResponse::Txn(_) => false,
        });
        return (Outcome::Done(revision(response.header())), changed);
    }
    let mut found = answers.into_iter().map(|answer| match answer {
        TxnOpResponse::Get(mut got) => got.take_kvs().pop().and_then(|kv| key_value(keys, kv.0)),
        _ => None,
    });
    let first = txn.guards.iter().zip(&mut found).enumerate().find(|(_, (guard, found))| !holds(guard, found.as_ref()));
    let (guard, found) = first.map_or((0, None), |(position, (_, found))| (position, found));
    (Outcome::Refused { guard, found }, false)
}

fn holds(guard: &Guard, found: Option<&KeyValue>) -> bool {
    match guard {
        Guard::Absent(_) => found.is_none(),
        Guard::Unchanged(_, revision) => found.is_some_and(|kv| kv.mod_revision == *revision),
    }
}
