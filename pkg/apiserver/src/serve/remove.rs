//! DELETE of an object and of a collection.

use axum::body::Body;
use axum::response::Response;
use http::{Request, StatusCode};
use knarr_api::Status;
use knarr_api::object::Meta;
use knarr_api::status::{Details, Result};

use super::{Operation, answer, answer_status, body};
use crate::cache::{Position, Stored};
use crate::registry::Deletion;
use crate::request::{DeleteOptions, ListOptions, Query, RequestContext};

/// The resources whose deletion is answered with the deleted object: upstream's `ReturnDeletedObject`.
const RETURN_OBJECT: &[(&str, &str)] = &[
    ("", "namespaces"),
    ("", "persistentvolumeclaims"),
    ("", "persistentvolumes"),
    ("", "pods"),
    ("", "podtemplates"),
    ("", "resourcequotas"),
    ("", "serviceaccounts"),
    ("", "services"),
    ("resource.k8s.io", "deviceclasses"),
    ("resource.k8s.io", "resourceclaims"),
    ("resource.k8s.io", "resourceclaimtemplates"),
    ("resource.k8s.io", "resourceslices"),
    ("storage.k8s.io", "csidrivers"),
    ("storage.k8s.io", "csinodes"),
    ("storage.k8s.io", "storageclasses"),
    ("storage.k8s.io", "volumeattachments"),
    ("storage.k8s.io", "volumeattributesclasses"),
];

impl Operation<'_> {
    pub(super) async fn delete(&self, request: Request<Body>) -> Result<Response> {
        let (cx, options) = self.delete_options(request).await?;
        let write = crate::registry::Write { cx: &cx, ..self.write() };
        match self.api.registry.delete(&write, &options).await? {
            Deletion::Pending(stored) => self.answer_object(&stored),
            Deletion::Gone(stored) if self.returns_object() => self.answer_object(&stored),
            Deletion::Gone(stored) => self.answer_gone(&stored),
        }
    }

    pub(super) async fn delete_collection(&self, request: Request<Body>) -> Result<Response> {
        let list = ListOptions::new(Query::new(request.uri().query().unwrap_or_default()), false)?;
        let (cx, options) = self.delete_options(request).await?;
        let selection = self.selection(&list)?;
        let position = Position::new(&list, &selection)?;
        let listing = self.resource.cache()?.list(&selection, position, list.limit).await?;
        let write = crate::registry::Write { cx: &cx, ..self.write() };
        self.api.registry.delete_collection(&write, &listing.items, &options).await?;
        self.answer_list(listing)
    }

    /// The options are in the body, or else in the query; a dry run may be asked for in either.
    async fn delete_options(&self, request: Request<Body>) -> Result<(RequestContext, DeleteOptions)> {
        let (parts, content) = request.into_parts();
        let bytes = body::read(content).await?;
        let value = body::delete_options(&parts.headers, &bytes)?;
        let query = Query::new(parts.uri.query().unwrap_or_default());
        let options = match value {
            None => DeleteOptions::from_query(query)?,
            Some(value) => DeleteOptions::from_body(value)?,
        };
        let mut write = self.cx.options.clone();
        write.dry_run |= !options.dry_run.is_empty();
        let cx = RequestContext { options: write, ..self.cx.clone() };
        Ok((cx, options))
    }

    fn returns_object(&self) -> bool {
        let kind = &self.resource.kind;
        RETURN_OBJECT.iter().any(|(group, plural)| *group == kind.group && *plural == kind.plural)
    }

    fn answer_object(&self, stored: &Stored) -> Result<Response> {
        Ok(answer(StatusCode::OK, self.encoder.media.format, self.encoder.one(stored)?))
    }

    /// Says which object went, so that a client can tell that from one that waits for finalizers.
    fn answer_gone(&self, stored: &Stored) -> Result<Response> {
        let kind = &self.resource.kind;
        let object = stored.object(&self.resource.stored)?;
        let mut status = Status::success();
        status.details = Some(Box::new(Details {
            name: object.name().into(),
            group: kind.group.to_string(),
            kind: kind.plural.to_string(),
            uid: object.uid().into(),
            ..Details::default()
        }));
        Ok(answer_status(&status, self.encoder.media))
    }
}
