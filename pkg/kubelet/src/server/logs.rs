//! Container logs.

use std::io::SeekFrom;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path as FilePath, PathBuf};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use bytes::Bytes;
use futures::StreamExt;
use http::header;
use inotify::{EventMask, Inotify, WatchMask};
use jiff::Timestamp;
use knarr_base::backoff::Backoff;
use serde::Deserialize;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::mpsc;

use super::log_line::{Line, Selection};
use super::{Node, Refusal, find};
use crate::cri::{Runtime, api};

/// Read at once.
const BLOCK: usize = 32 * 1024;
/// Blocks that may wait for a slow reader.
const WAITING: usize = 4;
/// The runtime calls a container ended a moment before it has written its last line and closed the log.
const LAST_LINE: Duration = Duration::from_millis(100);

/// The query: `PodLogOptions`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct LogQuery {
    follow: Option<String>,
    previous: Option<String>,
    timestamps: Option<String>,
    since_seconds: Option<i64>,
    since_time: Option<Timestamp>,
    tail_lines: Option<u64>,
    limit_bytes: Option<usize>,
    stream: Option<String>,
}

fn on(flag: Option<&String>) -> bool {
    flag.is_some_and(|value| !matches!(value.as_str(), "false" | "0"))
}

impl LogQuery {
    fn selection(&self) -> Selection {
        let ago = self
            .since_seconds
            .and_then(|seconds| Timestamp::now().checked_sub(jiff::SignedDuration::from_secs(seconds)).ok());
        Selection {
            since: self.since_time.or(ago),
            stream: self.stream.as_ref().filter(|stream| *stream != "All").map(|stream| stream.to_ascii_lowercase()),
            timestamps: on(self.timestamps.as_ref()),
        }
    }
}

/// `/containerLogs/NAMESPACE/POD/CONTAINER`.
pub(super) async fn container_logs(
    State(node): State<Node>,
    Path((namespace, pod, container)): Path<(String, String, String)>,
    Query(query): Query<LogQuery>,
) -> Result<Response, Refusal> {
    let status = chosen(&node, &query, [&namespace, &pod, &container]).await?;
    let path = PathBuf::from(status.log_path);
    let file = File::open(&path).await.map_err(|error| {
        Refusal::internal(format!("failed to try resolving symlinks in path \"{}\": {error}", path.display()))
    })?;
    let (blocks, body) = mpsc::channel(WAITING);
    let (runtime, id) = (node.runtime.clone(), status.id);
    let follow = on(query.follow.as_ref()).then_some(async move { ended(runtime.as_ref(), &id).await });
    let reader = Reader {
        path,
        file,
        pending: Vec::new(),
        continued: false,
        selection: query.selection(),
        left: query.limit_bytes,
        blocks,
    };
    tokio::spawn(async move {
        if let Some(Err(error)) = node.shutdown.or(reader.run(query.tail_lines, follow)).await {
            tracing::debug!(%error, "a log could not be read to its end");
        }
    });
    let body = tokio_stream::wrappers::ReceiverStream::new(body).map(Ok::<_, std::convert::Infallible>);
    let response = Response::builder().header(header::CONTENT_TYPE, "text/plain");
    response.body(Body::from_stream(body)).map_err(Refusal::internal)
}

/// The container of that name whose log is asked for.
async fn chosen(
    node: &Node,
    query: &LogQuery,
    [namespace, pod, container]: [&str; 3],
) -> Result<api::ContainerStatus, Refusal> {
    let mut started = find::containers(&node.runtime, namespace, pod, container).await?;
    started.retain(|found| found.state != api::ContainerState::ContainerCreated as i32);
    let newest = started.first().ok_or_else(|| {
        Refusal::bad_request(format!(
            "container \"{container}\" in pod \"{pod}\" is waiting to start: ContainerCreating"
        ))
    })?;
    let mut status = node.runtime.container_status(&newest.id).await.map_err(Refusal::internal)?;
    if on(query.previous.as_ref()) && !is_previous(&status, started.len()) {
        let previous = started.get(1).ok_or_else(|| {
            Refusal::bad_request(format!("previous terminated container \"{container}\" in pod \"{pod}\" not found"))
        })?;
        status = node.runtime.container_status(&previous.id).await.map_err(Refusal::internal)?;
    }
    Ok(status)
}

/// Whether the newest of `count` containers is what users call the previous one: it has crashed and waits for its next
/// start. One that has ended for good is not, as far as this can be told without the pod's policy.
fn is_previous(newest: &api::ContainerStatus, count: usize) -> bool {
    let restarted = newest.metadata.as_ref().is_some_and(|metadata| metadata.attempt > 0);
    newest.state == api::ContainerState::ContainerExited as i32 && restarted && (newest.exit_code != 0 || count == 1)
}

/// Reads a log file for one client.
struct Reader {
    path: PathBuf,
    file: File,
    /// The start of a line whose end has not been read yet.
    pending: Vec<u8>,
    continued: bool,
    selection: Selection,
    /// Bytes that the client still wants.
    left: Option<usize>,
    blocks: mpsc::Sender<Bytes>,
}

/// Whether to go on reading.
#[derive(PartialEq, Eq)]
enum More {
    Yes,
    /// The client has what it wanted, or is gone.
    No,
}

impl Reader {
    /// Reads to the file's end; with `ended`, goes on until the container has ended and all that it wrote is read.
    async fn run(mut self, tail: Option<u64>, ended: Option<impl Future<Output = ()>>) -> std::io::Result<()> {
        // Watched from before the first read, so that nothing that is written meanwhile is missed.
        let mut changes = ended.is_some().then(|| Changes::new(&self.path)).transpose()?;
        if let Some(lines) = tail {
            let start = tail_start(&mut self.file, lines).await?;
            self.file.seek(SeekFrom::Start(start)).await?;
        }
        let mut more = self.read().await?;
        let (Some(ended), Some(changes)) = (ended, &mut changes) else { return Ok(()) };
        let mut ended = std::pin::pin!(ended);
        while more == More::Yes {
            let happened = tokio::select! {
                happened = changes.next() => happened?,
                () = &mut ended => return self.read_last(changes).await,
                () = self.blocks.closed() => break,
            };
            more = self.read().await?;
            if happened == Happened::Moved && more == More::Yes {
                more = self.reopen().await?;
            }
        }
        Ok(())
    }

    async fn read_last(&mut self, changes: &mut Changes) -> std::io::Result<()> {
        let closed = async {
            while changes.next().await? != Happened::Closed {}
            Ok::<_, std::io::Error>(())
        };
        if let Ok(closed) = tokio::time::timeout(LAST_LINE, closed).await {
            closed?;
        }
        self.read().await?;
        Ok(())
    }

    /// Sends what the file has from here to its end.
    async fn read(&mut self) -> std::io::Result<More> {
        let mut block = vec![0; BLOCK];
        loop {
            let length = self.file.read(&mut block).await?;
            if length == 0 {
                return Ok(More::Yes);
            }
            self.pending.extend_from_slice(block.get(..length).unwrap_or_default());
            let out = self.take_lines();
            if !out.is_empty() && self.blocks.send(out.into()).await.is_err() || self.left == Some(0) {
                return Ok(More::No);
            }
        }
    }

    /// What the client gets of the whole lines that have been read.
    fn take_lines(&mut self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.pending.len());
        let mut taken = 0;
        for line in self.pending.split_inclusive(|&byte| byte == b'\n') {
            let Some(line) = line.strip_suffix(b"\n") else { break };
            taken += line.len() + 1;
            if let Some(line) = Line::parse(line) {
                self.selection.write(&line, self.continued, &mut out);
                self.continued = line.partial;
            }
        }
        self.pending.drain(..taken);
        if let Some(left) = &mut self.left {
            out.truncate(*left);
            *left -= out.len();
        }
        out
    }

    /// The log may have been rotated: the runtime continues in a new file of the same name. As long as there is none, it
    /// continues in this one.
    async fn reopen(&mut self) -> std::io::Result<More> {
        let file = match File::open(&self.path).await {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(More::Yes),
            Err(error) => return Err(error),
        };
        let (new, old) = (file.metadata().await?, self.file.metadata().await?);
        if (new.dev(), new.ino()) == (old.dev(), old.ino()) || self.read().await? == More::No {
            return Ok(More::Yes);
        }
        self.file = file;
        self.pending.clear();
        self.read().await
    }
}

/// Returns once a container has ended by the runtime's own books, which is after all of its output has been taken.
async fn ended(runtime: &dyn Runtime, id: &str) {
    let mut backoff = Backoff::new(Duration::from_millis(1), Duration::from_secs(1));
    let mut told = false;
    loop {
        // Subscribed before the look, so that no end falls between the two.
        let exits = if told { None } else { runtime.exits().await.ok() };
        if !is_running(runtime, id).await {
            return;
        }
        if let Some(exits) = exits {
            // Without an end, the stream has ended with the runtime, which is being restarted; containers do not mind.
            told = exits.any(|exit| std::future::ready(exit.id == id)).await;
        }
        tokio::time::sleep(backoff.delay()).await;
    }
}

async fn is_running(runtime: &dyn Runtime, id: &str) -> bool {
    match runtime.container_status(id).await {
        Ok(status) => status.state == api::ContainerState::ContainerRunning as i32,
        Err(error) => !error.not_found(),
    }
}

/// Where the last `lines` lines start.
async fn tail_start(file: &mut File, lines: u64) -> std::io::Result<u64> {
    let mut end = file.metadata().await?.len();
    let (mut found, mut block) = (0, vec![0; BLOCK]);
    let size = end;
    while end > 0 {
        let start = end.saturating_sub(BLOCK as u64);
        let part = block.get_mut(..usize::try_from(end - start).unwrap_or(BLOCK)).unwrap_or_default();
        file.seek(SeekFrom::Start(start)).await?;
        file.read_exact(part).await?;
        for (position, _) in part.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            let after = start + position as u64 + 1;
            // The end of the last line starts nothing.
            if after < size {
                found += 1;
            }
            if found == lines || lines == 0 {
                return Ok(if lines == 0 { size } else { after });
            }
        }
        end = start;
    }
    Ok(0)
}

/// What happened to the file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Happened {
    /// It was written to.
    Written,
    /// Its writer closed it.
    Closed,
    /// It got another name, or there is a new one of its name.
    Moved,
}

/// Follows a file and its directory.
struct Changes {
    events: inotify::EventStream<Vec<u8>>,
    name: std::ffi::OsString,
}

impl Changes {
    fn new(path: &FilePath) -> std::io::Result<Self> {
        let inotify = Inotify::init()?;
        let written = WatchMask::MODIFY | WatchMask::CLOSE_WRITE | WatchMask::CREATE | WatchMask::MOVE;
        let directory = path.parent().ok_or(std::io::ErrorKind::NotFound)?;
        inotify.watches().add(directory, written)?;
        let name = path.file_name().ok_or(std::io::ErrorKind::NotFound)?.to_owned();
        Ok(Self { events: inotify.into_event_stream(vec![0; 4096])?, name })
    }

    async fn next(&mut self) -> std::io::Result<Happened> {
        while let Some(event) = self.events.next().await {
            let event = event?;
            if event.name.as_ref() != Some(&self.name) {
                continue;
            }
            let moved = EventMask::MOVED_FROM | EventMask::MOVED_TO | EventMask::CREATE;
            return Ok(match event.mask {
                mask if mask.intersects(moved) => Happened::Moved,
                mask if mask.contains(EventMask::CLOSE_WRITE) => Happened::Closed,
                _ => Happened::Written,
            });
        }
        Err(std::io::ErrorKind::UnexpectedEof.into())
    }
}

#[cfg(test)]
mod tests;
