//! POST, PUT and PATCH of objects.

use axum::body::Body;
use axum::response::Response;
use http::{Request, StatusCode};
use knarr_api::Status;
use knarr_api::kind::Version;
use knarr_api::object::Meta;
use knarr_api::status::Result;

use super::{Incoming, Operation, answer, body};
use crate::cache::Stored;
use crate::registry::Updated;

impl Operation<'_> {
    fn version(&self) -> Result<&Version> {
        self.resource.kind.version(&self.cx.info.version).ok_or_else(Status::no_such_path)
    }

    fn answer_one(&self, code: StatusCode, stored: &Stored) -> Result<Response> {
        Ok(answer(code, self.encoder.media.format, self.encoder.one(stored)?))
    }

    pub(super) async fn create(&self, request: Request<Body>) -> Result<Response> {
        let (parts, content) = request.into_parts();
        let bytes = body::read(content).await?;
        let mut object = body::object(self.cx, &parts.headers, &bytes, &self.resource.kind, self.version()?)?;
        self.encoder.to_stored(&mut object);
        let name = object.name().to_owned();
        let write = crate::registry::Write { name: &name, ..self.write() };
        let stored = self.api.registry.create(&write, object).await?;
        self.answer_one(StatusCode::CREATED, &stored)
    }

    pub(super) async fn change(&self, request: Request<Body>) -> Result<Response> {
        let version = self.version()?;
        let api_version = self.encoder.api_version();
        let incoming =
            Incoming::read(self.cx, request, (&api_version, &self.resource.kind.kind), &version.schema).await?;
        let mut change = |old: &knarr_api::Object| {
            let current = || {
                let mut current = old.clone();
                self.encoder.convert(&mut current);
                Ok(current)
            };
            let mut new = incoming.apply(self.cx, current)?;
            self.encoder.to_stored(&mut new);
            Ok(new)
        };
        let (write, registry) = (self.write(), &self.api.registry);
        let may_create = self.resource.strategy.allow_create_on_update()
            && write.subresource.is_none()
            && self.cx.info.verb == "update";
        let updated = if may_create {
            registry.create_or_update(&write, &mut change).await?
        } else {
            registry.update(&write, &mut change).await?
        };
        let code = if matches!(updated, Updated::Created(_)) { StatusCode::CREATED } else { StatusCode::OK };
        self.answer_one(code, &updated.into_stored())
    }
}
