//! Values that are sealed at rest: a [`Store`] above another one, which keeps ciphertext below chosen prefixes of keys.
//!
//! Everything below this layer (log, snapshot, etcd) has ciphertext, everything above it plaintext. Revisions and
//! guards pass through untouched.

mod key;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;

pub use key::{KeyError, SealingKey};

use crate::error::Error;
use crate::model::{Batch, Event, Guard, KeyValue, Op, Outcome, Page, Range, Revision, Txn, prefix_end};
use crate::store::{Shared, Store, Watch};

/// Values looked at together when all are sealed anew.
const STEP: usize = 64;

/// How values are written, and by whom they may have been written.
#[derive(Clone, Debug)]
pub enum Provider {
    /// As they are.
    Identity,
    /// Sealed.
    Key(Arc<SealingKey>),
}

/// What holds for the keys of the store that begin with a prefix: the first provider writes, each of them may have written.
/// Of several prefixes that fit, the first one counts.
pub type Rules = Vec<(Bytes, Vec<Provider>)>;

/// A store that seals.
#[derive(Debug)]
pub struct Sealed {
    inner: Shared,
    rules: Arc<ArcSwap<Rules>>,
}

impl Sealed {
    /// Seals what is written to `inner`, by these rules.
    #[must_use]
    pub fn new(inner: Shared, rules: Rules) -> Arc<Self> {
        Arc::new(Self { inner, rules: Arc::new(ArcSwap::from_pointee(rules)) })
    }

    /// Goes on by other rules. What is stored stays as it is: see [`Sealed::reseal`].
    pub fn replace(&self, rules: Rules) {
        self.rules.store(Arc::new(rules));
    }

    /// Writes every value again that is not as its rule would write it now; how many there were. A write that was under way
    /// when the rules changed may still come as the old ones say.
    ///
    /// # Errors
    /// Those of the store. What was done until then stays.
    pub async fn reseal(&self) -> Result<usize, Error> {
        let mut done = 0;
        for (prefix, _) in self.rules.load_full().iter() {
            let mut start = prefix.clone();
            loop {
                let range = Range { start, end: prefix_end(prefix), limit: STEP, ..Range::default() };
                let page = self.inner.range(range).await?;
                let rules = self.rules.load_full();
                let stale = page.items.iter().filter(|item| !is_fresh(&rules, item));
                let writes = stale.map(|item| self.rewrite(&rules, item)).collect::<Result<Vec<_>, _>>()?;
                for outcome in futures::future::join_all(writes.into_iter().map(|txn| self.inner.txn(txn))).await {
                    done += usize::from(matches!(outcome?, Outcome::Done(_)));
                }
                match page.items.last().filter(|_| page.more) {
                    Some(last) => start = [&last.key[..], &[0]].concat().into(),
                    None => break,
                }
            }
        }
        Ok(done)
    }

    /// Whether something below the prefix is sealed in that store, which need not be one that seals.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn is_sealed(store: &dyn Store, prefix: Bytes) -> Result<bool, Error> {
        let end = prefix_end(&prefix);
        let page = store.range(Range { start: prefix, end, ..Range::default() }).await?;
        Ok(page.items.iter().any(|item| is_sealed(&item.value)))
    }

    fn rewrite(&self, rules: &Rules, item: &KeyValue) -> Result<Txn, Error> {
        let value = seal(rules, &item.key, open(rules, &item.key, item.value.clone())?)?;
        Ok(Txn {
            guards: vec![Guard::Unchanged(item.key.clone(), item.mod_revision)],
            ops: vec![Op::Put(item.key.clone(), value)],
            ..Txn::default()
        })
    }
}

/// The rule of a key. Without one, values are as they are.
fn rule<'a>(rules: &'a [(Bytes, Vec<Provider>)], key: &[u8]) -> Option<&'a [Provider]> {
    rules.iter().find(|(prefix, _)| key.starts_with(prefix)).map(|(_, providers)| providers.as_slice())
}

/// Whether a value is a sealed one.
#[must_use]
pub fn is_sealed(value: &[u8]) -> bool {
    value.starts_with(key::SEALED)
}

/// Whether a value can be read by these rules.
///
/// # Errors
/// [`Error::Unsealable`], with the reason, when it cannot.
pub fn check_readable(rules: &Rules, item: &KeyValue) -> Result<(), Error> {
    open(rules, &item.key, item.value.clone()).map(drop)
}

fn is_fresh(rules: &Rules, item: &KeyValue) -> bool {
    match rule(rules, &item.key).and_then(<[_]>::first) {
        Some(Provider::Key(key)) => key.sealed(&item.value),
        Some(Provider::Identity) | None => !is_sealed(&item.value),
    }
}

fn seal(rules: &Rules, key: &[u8], value: Bytes) -> Result<Bytes, Error> {
    match rule(rules, key).and_then(<[_]>::first) {
        Some(Provider::Key(sealing)) => {
            sealing.seal(key, &value).ok_or_else(|| unsealable(key, "there are no random numbers to seal it with"))
        }
        Some(Provider::Identity) | None => Ok(value),
    }
}

fn open(rules: &Rules, key: &[u8], value: Bytes) -> Result<Bytes, Error> {
    let Some(providers) = rule(rules, key) else { return Ok(value) };
    let is_sealed = is_sealed(&value);
    let mut why = if is_sealed { "no key is known that sealed it" } else { "it is not sealed, and has to be" };
    for provider in providers {
        match provider {
            Provider::Identity if !is_sealed => return Ok(value),
            // Several keys may have one name, as upstream allows: the right one opens it.
            Provider::Key(sealing) if sealing.sealed(&value) => match sealing.open(key, &value) {
                Some(opened) => return Ok(opened),
                None => why = "it was damaged, moved, or sealed with another key of the same name",
            },
            _ => {}
        }
    }
    Err(unsealable(key, why))
}

fn unsealable(key: &[u8], why: &'static str) -> Error {
    Error::Unsealable { key: String::from_utf8_lossy(key).into_owned(), why }
}

fn opened(rules: &Rules, item: KeyValue) -> Result<KeyValue, Error> {
    Ok(KeyValue { value: open(rules, &item.key, item.value)?, ..item })
}

fn opened_batch(rules: &Rules, batch: Batch) -> Result<Batch, Error> {
    let events = batch.events.into_iter().map(|event| {
        Ok(match event {
            Event::Put { now, previous } => Event::Put {
                now: opened(rules, now)?,
                previous: previous.map(|previous| opened(rules, previous)).transpose()?,
            },
            Event::Delete { previous, revision } => Event::Delete { previous: opened(rules, previous)?, revision },
        })
    });
    Ok(Batch { events: events.collect::<Result<_, Error>>()?, ..batch })
}

#[async_trait]
impl Store for Sealed {
    fn revision(&self) -> Revision {
        self.inner.revision()
    }

    async fn newest(&self) -> Result<Revision, Error> {
        self.inner.newest().await
    }

    fn durable_revision(&self) -> Revision {
        self.inner.durable_revision()
    }

    async fn get(&self, key: &[u8]) -> Result<Option<KeyValue>, Error> {
        let item = self.inner.get(key).await?;
        item.map(|item| opened(&self.rules.load(), item)).transpose()
    }

    async fn range(&self, range: Range) -> Result<Page, Error> {
        let page = self.inner.range(range).await?;
        let rules = self.rules.load();
        let items = page.items.into_iter().map(|item| opened(&rules, item)).collect::<Result<_, _>>()?;
        Ok(Page { items, ..page })
    }

    async fn txn(&self, mut txn: Txn) -> Result<Outcome, Error> {
        let rules = self.rules.load_full();
        for op in &mut txn.ops {
            if let Op::Put(key, value) = op {
                *value = seal(&rules, key, std::mem::take(value))?;
            }
        }
        match self.inner.txn(txn).await? {
            Outcome::Refused { guard, found: Some(found) } => {
                Ok(Outcome::Refused { guard, found: Some(opened(&self.rules.load(), found)?) })
            }
            outcome => Ok(outcome),
        }
    }

    async fn watch(&self, prefix: Bytes, from: Option<Revision>) -> Result<Watch, Error> {
        let watch = self.inner.watch(prefix, from).await?;
        let rules = self.rules.clone();
        Ok(Watch::new(watch.stream.map(move |batch| opened_batch(&rules.load(), batch?))))
    }

    async fn compact(&self, revision: Revision) -> Result<(), Error> {
        self.inner.compact(revision).await
    }

    async fn close(&self) -> Result<(), Error> {
        self.inner.close().await
    }
}
