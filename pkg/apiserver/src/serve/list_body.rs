//! The body of a list, written while it is sent: a list of a gigabyte costs the size of a chunk beside the cache.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{BufMut, Bytes, BytesMut};
use http_body::{Body, Frame};
use knarr_api::Status;
use knarr_api::status::Result;

use super::encode::{Encoder, ListMeta, put_value};
use super::media::Form;
use crate::cache::Item;

/// Frames are about this large: few enough to be cheap for the connection, small enough to be sent while the next is made.
const CHUNK: usize = 64 * 1024;

/// A list as JSON.
pub(crate) struct ListBody {
    encoder: Encoder,
    items: std::vec::IntoIter<Arc<Item>>,
    /// Begins with the head of the list.
    buffer: BytesMut,
    first: bool,
    done: bool,
}

impl ListBody {
    pub(crate) fn new(encoder: Encoder, items: Vec<Arc<Item>>, metadata: &ListMeta) -> Result<Self> {
        let mut buffer = BytesMut::with_capacity(1024);
        let (kind, api_version) = match encoder.media.form {
            Form::Metadata => ("PartialObjectMetadataList".to_owned(), "meta.k8s.io/v1".to_owned()),
            Form::Full | Form::Table => (format!("{}List", encoder.kind.kind), encoder.api_version()),
        };
        buffer.put_slice(&super::encode::typemeta(&kind, &api_version));
        buffer.put_slice(b"\"metadata\":");
        put_value(&mut buffer, metadata)?;
        buffer.put_slice(b",\"items\":[");
        Ok(Self { encoder, items: items.into_iter(), buffer, first: true, done: false })
    }

    /// The body of an answer: in one piece, whose length is known, when it is small.
    pub(crate) fn into_body(mut self) -> Result<axum::body::Body> {
        if self.fill(CHUNK)? {
            return Ok(axum::body::Body::new(self));
        }
        self.buffer.put_u8(b'\n');
        Ok(self.buffer.freeze().into())
    }

    /// Writes all of it at once, for formats that need the whole text.
    pub(crate) fn whole(mut self) -> Result<BytesMut> {
        while self.fill(usize::MAX)? {}
        Ok(self.buffer)
    }

    /// Writes items until there are `enough` bytes; false when the list is complete.
    fn fill(&mut self, enough: usize) -> Result<bool> {
        let typed = self.encoder.kind.item_typemeta || self.encoder.media.form == Form::Metadata;
        while self.buffer.len() < enough {
            let Some(item) = self.items.next() else {
                self.done = true;
                self.buffer.put_slice(b"]}");
                return Ok(false);
            };
            if !std::mem::take(&mut self.first) {
                self.buffer.put_u8(b',');
            }
            self.encoder.put_item(&mut self.buffer, &item, typed)?;
        }
        Ok(true)
    }
}

impl Body for ListBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        if self.done {
            return Poll::Ready(None);
        }
        match self.fill(CHUNK) {
            Ok(true) => {}
            Ok(false) => self.buffer.put_u8(b'\n'),
            Err(status) => {
                self.done = true;
                return Poll::Ready(Some(Err(status)));
            }
        }
        Poll::Ready(Some(Ok(Frame::data(self.buffer.split().freeze()))))
    }

    fn is_end_stream(&self) -> bool {
        self.done
    }
}
