//! Container logs.

use std::io::SeekFrom;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use bytes::Bytes;
use futures::StreamExt;
use http::header;
use inotify::{EventMask, Inotify, WatchMask};
use jiff::Timestamp;
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
    let found = find::containers(&node.runtime, &namespace, &pod, &container).await?;
    let started = |found: &&api::Container| found.state != api::ContainerState::ContainerCreated as i32;
    let mut started = found.iter().filter(started);
    let chosen = if on(query.previous.as_ref()) {
        started.nth(1).ok_or_else(|| {
            Refusal::bad_request(format!("previous terminated container \"{container}\" in pod \"{pod}\" not found"))
        })?
    } else {
        started.next().ok_or_else(|| {
            Refusal::bad_request(format!(
                "container \"{container}\" in pod \"{pod}\" is waiting to start: ContainerCreating"
            ))
        })?
    };
    let status = node.runtime.container_status(&chosen.id).await.map_err(Refusal::internal)?;
    let path = PathBuf::from(status.log_path);
    let file = File::open(&path).await.map_err(|error| {
        Refusal::internal(format!("failed to try resolving symlinks in path \"{}\": {error}", path.display()))
    })?;
    let (blocks, body) = mpsc::channel(WAITING);
    let follow = on(query.follow.as_ref()).then(|| (node.runtime.clone(), chosen.id.clone()));
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
    async fn run(mut self, tail: Option<u64>, follow: Option<(Arc<dyn Runtime>, String)>) -> std::io::Result<()> {
        // Watched from before the first read, so that nothing that is written meanwhile is missed.
        let mut changes = follow.is_some().then(|| Changes::new(&self.path)).transpose()?;
        if let Some(lines) = tail {
            let start = tail_start(&mut self.file, lines).await?;
            self.file.seek(SeekFrom::Start(start)).await?;
        }
        let mut more = self.read().await?;
        let (Some((runtime, id)), Some(changes)) = (follow, &mut changes) else { return Ok(()) };
        while more == More::Yes {
            let running = is_running(&runtime, &id).await;
            // What was written before the container ended is there by now.
            more = self.read().await?;
            if !running || more == More::No {
                break;
            }
            let happened = tokio::select! {
                happened = changes.next() => happened?,
                () = self.blocks.closed() => break,
            };
            more = self.read().await?;
            if happened == Happened::Moved {
                self.reopen(changes).await?;
                more = self.read().await?;
            }
        }
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

    /// The log was rotated: the runtime continues in a new file of the same name.
    async fn reopen(&mut self, changes: &mut Changes) -> std::io::Result<()> {
        loop {
            match File::open(&self.path).await {
                Ok(file) => {
                    self.file = file;
                    self.pending.clear();
                    return Ok(());
                }
                // The directory is watched too: the new file announces itself.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    changes.next().await?;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

async fn is_running(runtime: &Arc<dyn Runtime>, id: &str) -> bool {
    let mut backoff = knarr_base::backoff::Backoff::new(Duration::from_millis(50), Duration::from_secs(1));
    loop {
        match runtime.container_status(id).await {
            Ok(status) => return status.state == api::ContainerState::ContainerRunning as i32,
            // The runtime is being restarted; containers do not mind.
            Err(error) if error.unavailable() => tokio::time::sleep(backoff.delay()).await,
            Err(_) => return false,
        }
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
    /// It was written to, or its writer closed it.
    Written,
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
            return Ok(if event.mask.intersects(moved) { Happened::Moved } else { Happened::Written });
        }
        Err(std::io::ErrorKind::UnexpectedEof.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(content: &str, tail: Option<u64>, limit: Option<usize>) -> String {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("0.log");
        std::fs::write(&path, content).unwrap();
        let file = File::open(&path).await.unwrap();
        let (blocks, mut body) = mpsc::channel(WAITING);
        let (pending, selection) = (Vec::new(), Selection::default());
        let reader = Reader { path, file, pending, continued: false, selection, left: limit, blocks };
        let reading = tokio::spawn(reader.run(tail, None));
        let mut got = Vec::new();
        while let Some(block) = body.recv().await {
            got.extend_from_slice(&block);
        }
        reading.await.unwrap().unwrap();
        String::from_utf8(got).unwrap()
    }

    fn log(lines: usize) -> String {
        (0..lines).map(|number| format!("2026-11-23T10:00:00Z stdout F line {number}\n")).collect()
    }

    #[tokio::test]
    async fn all_some_or_the_last_lines() {
        assert_eq!(read(&log(2), None, None).await, "line 0\nline 1\n");
        assert_eq!(read(&log(3), Some(2), None).await, "line 1\nline 2\n");
        assert_eq!(read(&log(3), Some(0), None).await, "");
        assert_eq!(read(&log(3), Some(9), None).await, "line 0\nline 1\nline 2\n");
        assert_eq!(read(&log(3), None, Some(8)).await, "line 0\nl");
        assert_eq!(read("", Some(5), None).await, "");
        // A line that is being written is not shown before its end.
        assert_eq!(read(&format!("{}2026-11-23T10:00:00Z stdout F hal", log(1)), None, None).await, "line 0\n");
    }

    #[tokio::test]
    async fn the_last_lines_of_a_long_file() {
        let read = read(&log(5000), Some(3000), None).await;
        assert_eq!(read.lines().count(), 3000);
        assert!(read.starts_with("line 2000\n") && read.ends_with("line 4999\n"));
    }
}
