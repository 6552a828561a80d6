//! Port-forward: SPDY inside of a WebSocket (KEP-4006). The client speaks SPDY with the runtime, and the WebSocket's binary
//! messages are only an envelope, so that the bytes are passed on as they are.

use axum::extract::ws::{Message, WebSocket};
use bytes::BytesMut;
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::Error;

/// The subprotocol that a client asks for: SPDY for this purpose.
pub const PROTOCOL: &str = "SPDY/3.1+portforward.k8s.io";
/// What the runtime's streams are used for.
pub const STREAM_PROTOCOL: &str = "portforward.k8s.io";
/// Largest piece that is sent at once.
const PIECE: usize = 32 * 1024;

/// Passes bytes on until one of the sides ends.
///
/// # Errors
/// When the runtime's side breaks. A client that goes away is no error.
pub async fn run<I: AsyncRead + AsyncWrite>(socket: WebSocket, runtime: I) -> Result<(), Error> {
    let (mut sink, mut source) = socket.split();
    let (mut reader, mut writer) = tokio::io::split(runtime);
    let from_client = async {
        while let Some(Ok(message)) = source.next().await {
            match message {
                Message::Binary(data) => writer.write_all(&data).await?,
                Message::Close(_) => break,
                Message::Text(_) | Message::Ping(_) | Message::Pong(_) => {}
            }
        }
        Ok(())
    };
    let to_client = async {
        let mut buffer = BytesMut::with_capacity(PIECE);
        while reader.read_buf(&mut buffer).await? > 0 {
            if sink.send(Message::Binary(buffer.split().freeze())).await.is_err() {
                break;
            }
            buffer.reserve(PIECE);
        }
        let _gone = sink.close().await;
        Ok(())
    };
    tokio::select! {
        ended = from_client => ended,
        ended = to_client => ended,
    }
}
