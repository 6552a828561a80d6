//! Large answers are compressed for clients that accept it: upstream's `APIResponseCompression`.

use std::io::Write;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderValue, header};
use http_body::{Body as _, Frame};

/// Smaller answers cost more to compress than to send.
const MIN_SIZE: u64 = 128 * 1024;

/// Compresses the body, unless it is known to be small.
pub(super) fn gzip(mut response: Response) -> Response {
    if response.body().size_hint().exact().is_some_and(|size| size < MIN_SIZE) {
        return response;
    }
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    response.map(|plain| {
        let encoder = GzEncoder::new(Vec::new(), Compression::fast());
        Body::new(Gzip { plain, encoder: Some(encoder) })
    })
}

struct Gzip {
    plain: Body,
    /// Taken when the end has been written.
    encoder: Option<GzEncoder<Vec<u8>>>,
}

impl http_body::Body for Gzip {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        loop {
            let Some(encoder) = &mut this.encoder else { return Poll::Ready(None) };
            if !encoder.get_ref().is_empty() {
                let chunk = std::mem::take(encoder.get_mut());
                return Poll::Ready(Some(Ok(Frame::data(chunk.into()))));
            }
            match ready!(Pin::new(&mut this.plain).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        encoder.write_all(&data).map_err(axum::Error::new)?;
                    }
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => {
                    let Some(encoder) = this.encoder.take() else { return Poll::Ready(None) };
                    let rest = encoder.finish().map_err(axum::Error::new)?;
                    return Poll::Ready(Some(Ok(Frame::data(rest.into()))));
                }
            }
        }
    }
}
