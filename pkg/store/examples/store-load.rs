//! knarr's side of `make bench-store`: one case on a store of its own, in process, as the API server uses it.
//!
//! `store-load CASE DIRECTORY [ARGUMENT...]`; the peer's side, with the same cases, is `tests/bench/store/etcd`. Every case
//! counts its answers and checks a sample of them: a store that lost or garbled something prints no figure.

#![allow(clippy::print_stdout, reason = "a program whose output is its result")]
#![allow(missing_docs, reason = "a program")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use knarr_store::{LogStore, Op, Options, Range, Revision, Shared, Store as _, Txn, prefix_end};

/// As in the knarr binary.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const KEYS: usize = 10_000;
const PREFIX: &[u8] = b"/registry/pods/default/";

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [case, directory, rest @ ..] = arguments.as_slice() else {
        bail!("usage: store-load CASE DIRECTORY ARGUMENT...")
    };
    let numbers: Vec<usize> = rest.iter().map(|word| word.parse().context("a number")).collect::<Result<_>>()?;
    let directory = Path::new(directory);
    std::fs::create_dir_all(directory)?;
    match (case.as_str(), numbers.as_slice()) {
        ("puts", &[clients, count, size]) => puts(open(directory)?, clients, count, size).await,
        ("range", &[size, seconds]) => ranges(open(directory)?, size, seconds).await,
        ("watch", &[watchers, writes, size]) => watch(open(directory)?, watchers, writes, size).await,
        ("fill", &[objects, size]) => fill(open(directory)?, objects, size).await,
        ("steady", &[rate, size, ref minutes @ ..]) => steady(open(directory)?, rate, size, minutes).await,
        ("reopen", &[keys]) => reopen(directory, keys).await,
        _ => bail!("no such case, or not with these arguments: {case} {rest:?}"),
    }
}

fn open(directory: &Path) -> Result<Shared> {
    Ok(LogStore::open(directory, Options::default())?)
}

fn key(index: usize) -> Bytes {
    [PREFIX, format!("pod-{index:06}").as_bytes()].concat().into()
}

/// A value says which key and round it is of, so that a sample can be checked.
fn value(index: usize, round: usize, size: usize) -> Bytes {
    let mut value = format!("{index}/{round}/").into_bytes();
    value.resize(size, b'v');
    value.into()
}

async fn put(store: &Shared, index: usize, round: usize, size: usize) -> Result<()> {
    store.txn(Txn { ops: vec![Op::Put(key(index), value(index, round, size))], ..Txn::default() }).await?;
    Ok(())
}

/// Runs `work(number)` `count` times, shared out over so many clients at once; how long each took.
async fn each<F>(
    clients: usize,
    count: usize,
    work: impl Fn(usize) -> F + Send + Sync + 'static,
) -> Result<Vec<Duration>>
where
    F: Future<Output = Result<()>> + Send,
{
    let (next, work) = (Arc::new(AtomicUsize::new(0)), Arc::new(work));
    let clients = (0..clients).map(|_| {
        let (next, work) = (next.clone(), work.clone());
        tokio::spawn(async move {
            let mut taken = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return anyhow::Ok(taken);
                }
                let start = Instant::now();
                work(number).await?;
                taken.push(start.elapsed());
            }
        })
    });
    let mut taken = Vec::with_capacity(count);
    for client in clients.collect::<Vec<_>>() {
        taken.extend(client.await??);
    }
    ensure!(taken.len() == count, "{} of {count} answers", taken.len());
    Ok(taken)
}

/// Puts by so many clients at once, round the keys.
async fn put_all(store: &Shared, clients: usize, count: usize, keys: usize, size: usize) -> Result<Vec<Duration>> {
    let shared = store.clone();
    each(clients, count, move |number| {
        let store = shared.clone();
        async move { put(&store, number % keys, number / keys, size).await }
    })
    .await
}

/// A key holds a value that was written to it.
async fn sample(store: &Shared, index: usize, size: usize) -> Result<()> {
    let held = store.get(&key(index)).await?.with_context(|| format!("key {index} is missing"))?.value;
    ensure!(held.len() == size && held.starts_with(format!("{index}/").as_bytes()), "key {index} holds {held:.20?}");
    Ok(())
}

async fn puts(store: Shared, clients: usize, count: usize, size: usize) -> Result<()> {
    let before = store.revision();
    let start = Instant::now();
    let mut taken = put_all(&store, clients, count, KEYS, size).await?;
    let rate = per_second(count, start);
    ensure!(store.revision() - before == count as Revision, "{count} puts, {} revisions", store.revision() - before);
    sample(&store, count.min(KEYS) / 2, size).await?;
    taken.sort_unstable();
    let slow = taken.get(count * 99 / 100).context("no puts")?;
    println!("per_second {rate:.1}\np99_milliseconds {:.3}", slow.as_secs_f64() * 1e3);
    Ok(())
}

async fn ranges(store: Shared, size: usize, seconds: usize) -> Result<()> {
    put_all(&store, 64, KEYS, KEYS, size).await?;
    let (start, mut read) = (Instant::now(), 0);
    while start.elapsed() < Duration::from_secs(seconds as u64) {
        let range = Range { start: Bytes::from_static(PREFIX), end: prefix_end(PREFIX), ..Range::default() };
        let page = store.range(range).await?;
        ensure!(page.items.len() == KEYS, "{} keys", page.items.len());
        let held = page.items.get(read % KEYS).context("no item")?;
        ensure!(held.key == key(read % KEYS) && held.value.len() == size, "key {} is {:?}", read % KEYS, held.key);
        read += 1;
    }
    println!("per_second {:.2}", per_second(read, start));
    Ok(())
}

async fn watch(store: Shared, watchers: usize, writes: usize, size: usize) -> Result<()> {
    let mut running = Vec::with_capacity(watchers);
    for _ in 0..watchers {
        let mut watch = store.watch(Bytes::from_static(PREFIX), None).await?;
        running.push(tokio::spawn(async move {
            let (mut seen, mut last) = (0, 0);
            while seen < writes {
                let batch = watch.next().await.context("the watch ended")??;
                ensure!(batch.revision > last, "{} after {last}", batch.revision);
                last = batch.revision;
                for event in &batch.events {
                    let knarr_store::Event::Put { now, .. } = event else { bail!("{event:?}") };
                    ensure!(now.value.len() == size, "{} bytes", now.value.len());
                    seen += 1;
                }
            }
            Ok(())
        }));
    }
    let start = Instant::now();
    put_all(&store, 8, writes, KEYS, size).await?;
    for watcher in running {
        watcher.await??;
    }
    println!("deliveries_per_second {:.0}", per_second(watchers * writes, start));
    Ok(())
}

/// Fills the store and stays, so that its memory can be looked at.
async fn fill(store: Shared, objects: usize, size: usize) -> Result<()> {
    put_all(&store, 64, objects, objects, size).await?;
    sample(&store, objects / 2, size).await?;
    println!("filled");
    std::future::pending().await
}

/// Puts at a fixed rate by 64 clients, five minutes of history kept; says how many there were at each of these minutes.
async fn steady(store: Shared, rate: usize, size: usize, minutes: &[usize]) -> Result<()> {
    let (start, count) = (tokio::time::Instant::now(), Arc::new(AtomicUsize::new(0)));
    let minute = |minute: &usize| start + Duration::from_secs(60 * *minute as u64);
    let end = minute(minutes.last().context("no minutes")?);
    let pause = Duration::from_secs(64).div_f64(rate as f64);
    let clients = (0..64_u32).map(|client| {
        let (store, count) = (store.clone(), count.clone());
        tokio::spawn(async move {
            let (mut due, mut round) = (start + pause * client / 64, client as usize);
            while due < end {
                tokio::time::sleep_until(due).await;
                put(&store, round % KEYS, round / KEYS, size).await?;
                count.fetch_add(1, Ordering::Relaxed);
                due += pause;
                round += 64;
            }
            anyhow::Ok(())
        })
    });
    let clients: Vec<_> = clients.collect();
    let compaction = tokio::spawn(compact(store));
    for at in minutes {
        tokio::time::sleep_until(minute(at)).await;
        println!("puts {}", count.load(Ordering::Relaxed));
    }
    for client in clients {
        client.await??;
    }
    compaction.abort();
    Ok(())
}

/// As etcd's periodic compaction with a retention of five minutes: every half minute, what is older is forgotten.
async fn compact(store: Shared) -> Result<()> {
    let mut marks = std::collections::VecDeque::new();
    let mut ticks = tokio::time::interval(Duration::from_secs(30));
    loop {
        ticks.tick().await;
        marks.push_back(store.revision());
        if marks.len() > 10
            && let Some(revision) = marks.pop_front()
        {
            store.compact(revision).await?;
        }
    }
}

/// The time to serve again with one GiB of log: after an orderly end, after a crash, and without the index.
async fn reopen(directory: &Path, keys: usize) -> Result<()> {
    let store = LogStore::open(directory, Options::default())?;
    let shared: Shared = store.clone();
    let size = 4096;
    put_all(&shared, 64, (1 << 30) / size, keys, size).await?;
    store.close().await?;
    drop((store, shared));
    let timed = async |name: &str| -> Result<Arc<LogStore>> {
        let start = Instant::now();
        let store = LogStore::open(directory, Options::default())?;
        let shared: Shared = store.clone();
        sample(&shared, keys / 2, size).await?;
        println!("{name} {:.3}", start.elapsed().as_secs_f64());
        Ok(store)
    };
    let store = timed("orderly_seconds").await?;
    let shared: Shared = store.clone();
    put_all(&shared, 64, 20_000, keys, size).await?;
    drop((store, shared));
    drop(timed("crashed_seconds").await?);
    std::fs::remove_dir_all(directory.join("index"))?;
    drop(timed("without_index_seconds").await?);
    Ok(())
}

#[allow(clippy::cast_precision_loss, reason = "a rate for people")]
fn per_second(count: usize, since: Instant) -> f64 {
    count as f64 / since.elapsed().as_secs_f64()
}
