//! A SPDY connection and its streams.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use knarr_base::Shutdown;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot};

use super::frame::{Decoder, Encoder, Frame};
use crate::Error;

/// Pieces of data that may wait in either direction of a stream.
const WAITING: usize = 16;
/// Data frames carry at most so much.
const PIECE: usize = 32 * 1024;

/// Where the pieces of open streams go.
#[derive(Debug, Default)]
struct Table {
    streams: HashMap<u32, Entry>,
    /// Set when the connection has ended: nothing can be opened any more.
    ended: bool,
}

#[derive(Debug)]
struct Entry {
    data: mpsc::Sender<Bytes>,
    reply: Option<oneshot::Sender<()>>,
}

/// A connection; it ends when it and all its streams have been dropped, or when the peer ends it.
#[derive(Debug)]
pub struct Connection {
    table: Arc<Mutex<Table>>,
    frames: mpsc::Sender<Frame>,
    next: u32,
}

/// One stream of a connection.
#[derive(Debug)]
pub struct Stream {
    id: u32,
    data: mpsc::Receiver<Bytes>,
    frames: mpsc::Sender<Frame>,
}

impl Connection {
    /// Speaks SPDY over what [`super::connect`] gave.
    #[must_use]
    pub fn new<I>(io: I, shutdown: &Shutdown) -> Self
    where
        I: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (reader, writer) = tokio::io::split(io);
        let (frames, outgoing) = mpsc::channel(WAITING);
        let table = Arc::<Mutex<Table>>::default();
        let (drain, read_table, pings) = (shutdown.clone(), table.clone(), frames.downgrade());
        tokio::spawn(async move {
            if let Some(Err(error)) = drain.or(read(reader, &read_table, pings)).await {
                tracing::debug!(%error, "a SPDY connection broke");
            }
            // Dropping the senders tells every stream that nothing more will come.
            let mut table = read_table.lock().unwrap_or_else(PoisonError::into_inner);
            table.ended = true;
            table.streams.clear();
        });
        let drain = shutdown.clone();
        tokio::spawn(async move {
            if let Some(Err(error)) = drain.or(write(writer, outgoing)).await {
                tracing::debug!(%error, "a SPDY connection broke");
            }
        });
        Self { table, frames, next: 1 }
    }

    /// Opens a stream, described by its headers, and waits until the peer has accepted it.
    ///
    /// # Errors
    /// When the connection has ended or the peer refuses the stream.
    pub async fn open(&mut self, headers: &[(&str, &str)]) -> Result<Stream, Error> {
        let id = self.next;
        self.next += 2;
        let (data, incoming) = mpsc::channel(WAITING);
        let (reply, accepted) = oneshot::channel();
        {
            let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
            if table.ended {
                return Err(Error::Spdy("the connection has ended".to_owned()));
            }
            table.streams.insert(id, Entry { data, reply: Some(reply) });
        }
        let headers = headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), (*value).to_owned())).collect();
        let sent = self.frames.send(Frame::Open { stream: id, headers, fin: false }).await;
        sent.map_err(|_| Error::Spdy("the connection has ended".to_owned()))?;
        accepted.await.map_err(|_| Error::Spdy("the peer refused a stream".to_owned()))?;
        Ok(Stream { id, data: incoming, frames: self.frames.clone() })
    }
}

impl Stream {
    /// The next piece of what the peer sends; `None` when it has sent all.
    pub async fn next(&mut self) -> Option<Bytes> {
        self.data.recv().await
    }

    /// Sends data.
    ///
    /// # Errors
    /// When the connection has ended.
    pub async fn send(&self, mut data: Bytes) -> Result<(), Error> {
        while !data.is_empty() {
            let piece = data.split_to(data.len().min(PIECE));
            self.push(Frame::Data { stream: self.id, data: piece, fin: false }).await?;
        }
        Ok(())
    }

    /// Says that nothing more will be sent; the peer may still send.
    ///
    /// # Errors
    /// When the connection has ended.
    pub async fn finish(&self) -> Result<(), Error> {
        self.push(Frame::Data { stream: self.id, data: Bytes::new(), fin: true }).await
    }

    /// The two directions apart, so that one task can read while another writes.
    #[must_use]
    pub fn split(self) -> (mpsc::Receiver<Bytes>, Sender) {
        let (_, closed) = mpsc::channel(1);
        (self.data, Sender(Self { id: self.id, data: closed, frames: self.frames }))
    }

    async fn push(&self, frame: Frame) -> Result<(), Error> {
        self.frames.send(frame).await.map_err(|_| Error::Spdy("the connection has ended".to_owned()))
    }
}

/// The writing direction of a [`Stream`].
#[derive(Debug)]
pub struct Sender(Stream);

impl Sender {
    /// As [`Stream::send`].
    ///
    /// # Errors
    /// When the connection has ended.
    pub async fn send(&self, data: Bytes) -> Result<(), Error> {
        self.0.send(data).await
    }

    /// As [`Stream::finish`].
    ///
    /// # Errors
    /// When the connection has ended.
    pub async fn finish(&self) -> Result<(), Error> {
        self.0.finish().await
    }
}

async fn read<I: AsyncRead>(
    mut io: ReadHalf<I>,
    table: &Mutex<Table>,
    pings: mpsc::WeakSender<Frame>,
) -> Result<(), Error> {
    let (mut decoder, mut buffer) = (Decoder::new(), BytesMut::with_capacity(PIECE));
    loop {
        while let Some(frame) = decoder.decode(&mut buffer)? {
            match frame {
                Frame::Data { stream, data, fin } => {
                    let sender = {
                        let table = table.lock().unwrap_or_else(PoisonError::into_inner);
                        table.streams.get(&stream).map(|entry| entry.data.clone())
                    };
                    if let Some(sender) = sender.filter(|_| !data.is_empty()) {
                        // A stream that was dropped wants nothing any more; its data is lost on purpose.
                        let _dropped = sender.send(data).await;
                    }
                    if fin {
                        close(table, stream);
                    }
                }
                Frame::Reply { stream, fin } => {
                    let mut open = table.lock().unwrap_or_else(PoisonError::into_inner);
                    if let Some(reply) = open.streams.get_mut(&stream).and_then(|entry| entry.reply.take()) {
                        let _gave_up = reply.send(());
                    }
                    drop(open);
                    if fin {
                        close(table, stream);
                    }
                }
                Frame::Reset { stream, .. } => close(table, stream),
                Frame::Ping(id) => {
                    if let Some(frames) = pings.upgrade() {
                        // The connection is about to end when nobody takes the answer.
                        let _ending = frames.send(Frame::Ping(id)).await;
                    }
                }
                Frame::GoAway | Frame::Open { .. } | Frame::Other => {}
            }
        }
        if io.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
    }
}

fn close(table: &Mutex<Table>, stream: u32) {
    table.lock().unwrap_or_else(PoisonError::into_inner).streams.remove(&stream);
}

async fn write<I: AsyncWrite>(mut io: WriteHalf<I>, mut frames: mpsc::Receiver<Frame>) -> Result<(), Error> {
    let mut encoder = Encoder::new()?;
    while let Some(frame) = frames.recv().await {
        io.write_all(&encoder.encode(&frame)?).await?;
        if frames.is_empty() {
            io.flush().await?;
        }
    }
    io.shutdown().await?;
    Ok(())
}
