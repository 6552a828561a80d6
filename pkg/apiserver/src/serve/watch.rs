//! Watches: a stream of events, one JSON object a line.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::{BufMut, Bytes, BytesMut};
use futures::FutureExt;
use http::StatusCode;
use knarr_api::status::Result;
use knarr_api::{Object, Status};
use knarr_base::Shutdown;
use rand::Rng;
use serde_json::json;
use tokio::time::{Instant, Interval, interval_at, sleep_until};

use super::encode::{Encoder, ListMeta, put_value};
use super::media::{Form, Format};
use super::{Operation, answer};
use crate::cache::{ChangeType, Item, Notice, Start, Stored, Watcher};
use crate::request::{ListOptions, Query};

/// A watch whose client names no timeout ends after this and up to twice that, as with upstream's `--min-request-timeout`.
const MIN_TIMEOUT: Duration = Duration::from_secs(1800);

/// How often a watch that asked for bookmarks gets one.
const BOOKMARKS: Duration = Duration::from_secs(60);

/// Events that are ready together are sent together, up to about this size.
const CHUNK: usize = 64 * 1024;

impl Operation<'_> {
    pub(super) async fn watch(&self, query: Query<'_>) -> Result<Response> {
        let options = ListOptions::new(query, true)?;
        let selection = Arc::new(self.selection(&options)?);
        let start = match (options.resource_version, options.send_initial_events) {
            (None, Some(false)) => Start::After(self.api.registry.revision()),
            (Some(revision), Some(true)) => Start::AtLeast(revision),
            (None, _) => Start::Now,
            (Some(0), None) => Start::AtLeast(0),
            (Some(revision), _) => Start::After(revision),
        };
        let timeout = options.timeout.unwrap_or_else(|| MIN_TIMEOUT.mul_f64(rand::rng().random_range(1.0..2.0)));
        let body = match self.resource.cache()?.watch(selection, start).await {
            Ok(watcher) => {
                let stream = Stream {
                    watcher,
                    encoder: self.encoder.clone(),
                    drain: self.api.drain.clone(),
                    end: Instant::now() + timeout,
                    ticks: interval_at(Instant::now() + BOOKMARKS, BOOKMARKS),
                    bookmarks: options.bookmarks,
                    announce: options.send_initial_events == Some(true),
                    columns_sent: false,
                    over: false,
                };
                Body::from_stream(futures::stream::unfold(stream, Stream::next))
            }
            // Clients look for this one in the stream, as upstream sends it there.
            Err(status) if status.is("Expired") => Body::from(error_line(&status)?),
            Err(status) => return Err(status),
        };
        Ok(answer(StatusCode::OK, Format::Json, body))
    }
}

/// One client's watch.
struct Stream {
    watcher: Watcher,
    encoder: Encoder,
    drain: Shutdown,
    end: Instant,
    ticks: Interval,
    /// Whether the client wants bookmarks.
    bookmarks: bool,
    /// Whether it wants to be told where the initial objects end.
    announce: bool,
    /// A table names its columns once.
    columns_sent: bool,
    over: bool,
}

enum Wake {
    Notice(Option<Result<Notice>>),
    Tick,
    End,
}

impl Stream {
    /// The next lines; `None` when the watch is over.
    async fn next(mut self) -> Option<(Result<Bytes, Infallible>, Self)> {
        let mut lines = BytesMut::new();
        while lines.is_empty() {
            if self.over {
                return None;
            }
            let wake = tokio::select! {
                biased;
                () = self.drain.wait() => Wake::End,
                notice = self.watcher.next() => Wake::Notice(notice),
                () = sleep_until(self.end) => Wake::End,
                _ = self.ticks.tick(), if self.bookmarks => Wake::Tick,
            };
            self.write(&mut lines, wake);
            while !self.over && lines.len() < CHUNK {
                let Some(notice) = self.watcher.next().now_or_never() else { break };
                self.write(&mut lines, Wake::Notice(notice));
            }
        }
        Some((Ok(lines.freeze()), self))
    }

    fn write(&mut self, lines: &mut BytesMut, wake: Wake) {
        let complete = lines.len();
        let written = match wake {
            Wake::Notice(Some(Ok(notice))) => self.notice(lines, notice),
            Wake::Notice(Some(Err(status))) => Err(status),
            Wake::Notice(None) => {
                self.over = true;
                Ok(())
            }
            Wake::Tick => self.bookmark(lines),
            Wake::End => {
                self.over = true;
                if self.bookmarks { self.bookmark(lines) } else { Ok(()) }
            }
        };
        if let Err(status) = written {
            lines.truncate(complete);
            self.over = true;
            lines.extend(error_line(&status));
        }
    }

    fn notice(&mut self, lines: &mut BytesMut, notice: Notice) -> Result<()> {
        match notice {
            Notice::Existing(item) => self.existing(lines, &item),
            Notice::Synced(revision) if self.announce => self.put_bookmark(lines, revision, true),
            Notice::Synced(_) => Ok(()),
            Notice::Change(change, event) => {
                let stored = event.object(change).ok_or_else(|| Status::internal("an event without an object"))?;
                if self.needs_columns() {
                    return self.line(lines, change, &stored);
                }
                let make = || {
                    let mut line = BytesMut::with_capacity(stored.bytes.len() + 160);
                    self.line_of(&mut line, change, &stored, false)?;
                    Ok(line.freeze())
                };
                lines.put(event.frame((change, self.encoder.shared_form()), make)?);
                Ok(())
            }
        }
    }

    fn existing(&mut self, lines: &mut BytesMut, item: &Item) -> Result<()> {
        if self.encoder.media.form == Form::Table {
            return self.line(lines, ChangeType::Added, &item.stored);
        }
        put_start(lines, ChangeType::Added.text());
        self.encoder.put_item(lines, item, true)?;
        lines.put_slice(b"}\n");
        Ok(())
    }

    fn needs_columns(&self) -> bool {
        self.encoder.media.form == Form::Table && !self.columns_sent
    }

    fn line(&mut self, lines: &mut BytesMut, change: ChangeType, stored: &Stored) -> Result<()> {
        let columns = self.needs_columns();
        self.columns_sent = true;
        self.line_of(lines, change, stored, columns)
    }

    fn line_of(&self, line: &mut BytesMut, change: ChangeType, stored: &Stored, columns: bool) -> Result<()> {
        put_start(line, change.text());
        if self.encoder.media.form == Form::Table {
            let objects = [self.encoder.object(stored)?];
            put_value(line, &self.encoder.table(&objects, &ListMeta::of(stored.revision), columns)?)?;
        } else {
            self.encoder.put_json(line, stored, true)?;
        }
        line.put_slice(b"}\n");
        Ok(())
    }

    /// Says how far the client has come, if everything up to there has been sent.
    fn bookmark(&self, lines: &mut BytesMut) -> Result<()> {
        self.watcher.bookmark().map_or(Ok(()), |revision| self.put_bookmark(lines, revision, false))
    }

    fn put_bookmark(&self, lines: &mut BytesMut, revision: u64, initial_end: bool) -> Result<()> {
        let mut metadata = json!({"resourceVersion": revision.to_string()});
        if initial_end && let Some(metadata) = metadata.as_object_mut() {
            metadata.insert("annotations".into(), json!({"k8s.io/initial-events-end": "true"}));
        }
        let (kind, api_version) = match self.encoder.media.form {
            Form::Full => (self.encoder.kind.kind.to_string(), self.encoder.api_version()),
            Form::Metadata => ("PartialObjectMetadata".into(), "meta.k8s.io/v1".into()),
            Form::Table => ("Table".into(), "meta.k8s.io/v1".into()),
        };
        let mut object = Object::new();
        object.insert("kind".into(), kind.into());
        object.insert("apiVersion".into(), api_version.into());
        object.insert("metadata".into(), metadata);
        if self.encoder.media.form == Form::Table {
            object.insert("columnDefinitions".into(), json!([]));
            object.insert("rows".into(), json!([]));
        }
        put_start(lines, "BOOKMARK");
        put_value(lines, &object)?;
        lines.put_slice(b"}\n");
        Ok(())
    }
}

fn put_start(line: &mut BytesMut, event: &str) {
    line.put_slice(b"{\"type\":\"");
    line.put_slice(event.as_bytes());
    line.put_slice(b"\",\"object\":");
}

fn error_line(status: &Status) -> Result<Bytes> {
    let mut line = BytesMut::new();
    put_start(&mut line, "ERROR");
    put_value(&mut line, status)?;
    line.put_slice(b"}\n");
    Ok(line.freeze())
}
