//! GET of an object and of a collection.

use axum::response::Response;
use bytes::BytesMut;
use http::StatusCode;
use knarr_api::Object;
use knarr_api::status::Result;

use super::encode::{ListMeta, finish, put_value};
use super::list_body::ListBody;
use super::media::Form;
use super::{Operation, answer};
use crate::cache::{Listing, Position, Selection};
use crate::request::{ListOptions, Query};

impl Operation<'_> {
    pub(super) async fn get(&self) -> Result<Response> {
        let item = self.api.registry.item(self.resource, self.namespace(), &self.cx.info.name).await?;
        Ok(answer(StatusCode::OK, self.encoder.media.format, self.encoder.one(&item.stored)?))
    }

    pub(super) async fn list(&self, query: Query<'_>) -> Result<Response> {
        let options = ListOptions::new(query, false)?;
        let selection = self.selection(&options)?;
        let position = Position::new(&options, &selection)?;
        let listing = self.resource.cache()?.list(&selection, position, options.limit).await?;
        self.answer_list(listing)
    }

    pub(super) fn selection(&self, options: &ListOptions) -> Result<Selection> {
        let resource = self.resource;
        let ListOptions { label_selector, field_selector, .. } = options;
        // The old paths `/watch/.../pods/NAME` name one object.
        let only = Some(&*self.cx.info.name).filter(|name| !name.is_empty() && field_selector.is_empty());
        let field_selector = &only.map_or_else(|| field_selector.clone(), |name| format!("metadata.name={name}"));
        Selection::new(&resource.kind, &resource.stored, self.namespace(), label_selector, field_selector)
    }

    pub(super) fn answer_list(&self, listing: Listing) -> Result<Response> {
        let metadata = ListMeta {
            resource_version: listing.revision.to_string(),
            r#continue: listing.next,
            remaining_item_count: listing.remaining,
        };
        let media = self.encoder.media;
        if media.form == Form::Table {
            let objects: Vec<Object> =
                listing.items.iter().map(|item| self.encoder.object(&item.stored)).collect::<Result<_>>()?;
            let mut json = BytesMut::new();
            put_value(&mut json, &self.encoder.table(&objects, &metadata, true)?)?;
            return Ok(answer(StatusCode::OK, media.format, finish(json, media)?));
        }
        let body = ListBody::new(self.encoder.clone(), listing.items, &metadata)?;
        let body = if self.encoder.is_streamed() { body.into_body()? } else { finish(body.whole()?, media)?.into() };
        Ok(answer(StatusCode::OK, media.format, body))
    }
}
