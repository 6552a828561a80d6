//! Exec and attach: a client's WebSocket on one side, the runtime's SPDY streams on the other.

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, close_code};
use bytes::Bytes;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use tokio::sync::mpsc;

use crate::Error;
use crate::channel::{Channel, Protocol, Said};
use crate::spdy::{Connection, Sender, Stream};

/// Which streams the client asked for (`PodExecOptions`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The client sends input.
    pub stdin: bool,
    /// The client takes output.
    pub stdout: bool,
    /// The client takes errors; never with a terminal.
    pub stderr: bool,
    /// There is a terminal, whose size may change.
    pub tty: bool,
}

/// What the runtime's streams are used for, in the version that every runtime knows.
pub const STREAM_PROTOCOL: &str = "v4.channel.k8s.io";

/// Pieces of output that may wait for a slow client; then the container waits.
const WAITING: usize = 16;

/// Joins both sides until the command has ended or the client has gone.
///
/// # Errors
/// When the runtime refuses a stream or the connection breaks. A client that goes away is no error.
pub async fn run(socket: WebSocket, protocol: Protocol, mut runtime: Connection, wanted: Wanted) -> Result<(), Error> {
    // The order is the protocol's: the runtime waits for all that the request named.
    let mut open = async |name: &str, wanted: bool| match wanted {
        true => runtime.open(&[("streamType", name)]).await.map(Some),
        false => Ok(None),
    };
    let error = open("error", true).await?;
    let stdin = open("stdin", wanted.stdin).await?;
    let stdout = open("stdout", wanted.stdout).await?;
    let stderr = open("stderr", wanted.stderr && !wanted.tty).await?;
    let resize = open("resize", wanted.tty).await?;

    let (sink, source) = socket.split();
    let (messages, outgoing) = mpsc::channel(WAITING);
    let first = [(Channel::Stdout, wanted.stdout), (Channel::Stderr, wanted.stderr), (Channel::Error, true)];
    if let Some((channel, _)) = first.into_iter().find(|(_, wanted)| *wanted) {
        // Tells the client that the connection stands, as upstream does.
        let _gone = messages.send(protocol.message(channel, b"")).await;
    }
    let output = async {
        tokio::join!(
            pump(stdout, Channel::Stdout, protocol, &messages),
            pump(stderr, Channel::Stderr, protocol, &messages),
            end(error, protocol, &messages),
        );
        drop(messages);
    };
    let input = take(source, protocol, stdin, resize);
    tokio::pin!(input);
    let answer = async { tokio::join!(output, give(sink, outgoing)).1 };
    tokio::pin!(answer);
    tokio::select! {
        ended = &mut answer => ended,
        gone = &mut input => match gone {
            // The client has no more input but still listens.
            Ok(Ended::Input) => answer.await,
            Ok(Ended::Client) => Ok(()),
            Err(error) => Err(error),
        },
    }
}

/// Why no more input comes.
enum Ended {
    /// The runtime takes none.
    Input,
    /// The client is gone.
    Client,
}

async fn pump(stream: Option<Stream>, channel: Channel, protocol: Protocol, messages: &mpsc::Sender<Message>) {
    let Some(mut stream) = stream else { return };
    while let Some(data) = stream.next().await {
        if messages.send(protocol.message(channel, &data)).await.is_err() {
            return;
        }
    }
}

/// The command's end. Versions before 4 tell it in words, and only a failure.
async fn end(stream: Option<Stream>, protocol: Protocol, messages: &mpsc::Sender<Message>) {
    let Some(mut stream) = stream else { return };
    let mut told = Vec::new();
    while let Some(data) = stream.next().await {
        told.extend_from_slice(&data);
    }
    let text = if protocol.status { told } else { failure(&told) };
    if !text.is_empty() {
        let _gone = messages.send(protocol.message(Channel::Error, &text)).await;
    }
}

fn failure(status: &[u8]) -> Vec<u8> {
    let parsed: serde_json::Value = serde_json::from_slice(status).unwrap_or_default();
    match parsed.get("status").and_then(serde_json::Value::as_str) {
        Some("Success") => Vec::new(),
        _ => parsed.get("message").and_then(serde_json::Value::as_str).unwrap_or_default().as_bytes().to_vec(),
    }
}

async fn give(mut sink: SplitSink<WebSocket, Message>, mut outgoing: mpsc::Receiver<Message>) -> Result<(), Error> {
    while let Some(message) = outgoing.recv().await {
        if sink.send(message).await.is_err() {
            return Ok(());
        }
    }
    // client-go takes any other code, and none, for a broken connection. A client that is gone already needs none.
    let normal = CloseFrame { code: close_code::NORMAL, reason: Utf8Bytes::default() };
    let _gone = sink.send(Message::Close(Some(normal))).await;
    let _gone = sink.close().await;
    Ok(())
}

async fn take(
    mut source: SplitStream<WebSocket>,
    protocol: Protocol,
    stdin: Option<Stream>,
    resize: Option<Stream>,
) -> Result<Ended, Error> {
    let (mut stdin, resize) = (stdin.map(writer), resize.map(writer));
    while let Some(message) = source.next().await {
        let Ok(message) = message else { return Ok(Ended::Client) };
        match protocol.read(message)? {
            Said::Data(Channel::Stdin, data) => {
                if !write(stdin.as_ref(), data).await {
                    stdin = None;
                }
            }
            Said::Data(Channel::Resize, data) => {
                write(resize.as_ref(), data).await;
            }
            Said::Closed(Channel::Stdin) => {
                if let Some(stdin) = stdin.take() {
                    // The command may have ended meanwhile.
                    let _ended = stdin.finish().await;
                }
            }
            Said::Data(..) | Said::Closed(_) | Said::Nothing => {}
            Said::Gone => return Ok(Ended::Client),
        }
    }
    Ok(if stdin.is_some() { Ended::Client } else { Ended::Input })
}

/// Only the writing side of a stream on which nothing comes back.
fn writer(stream: Stream) -> Sender {
    stream.split().1
}

async fn write(stream: Option<&Sender>, data: Bytes) -> bool {
    match stream {
        Some(stream) => stream.send(data).await.is_ok(),
        None => false,
    }
}
