//! Objects as the bytes that clients get.
//!
//! JSON of the stored version is copied together from four segments (see [`knarr_api::object`]); nothing is decoded. All
//! other forms are made from the tree.

use bytes::{BufMut, Bytes, BytesMut};
use knarr_api::kind::{KindRef, Version};
use knarr_api::object::{SERVED_HEAD, SERVED_NECK, tail};
use knarr_api::status::Result;
use knarr_api::{Object, Status, object, table};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::media::{Form, Format, Media};
use crate::cache::{Item, Stored};
use crate::registry::Resource;

/// Writes objects of one resource in one version.
#[derive(Clone, Debug)]
pub(crate) struct Encoder {
    pub(crate) kind: KindRef,
    stored: KindRef,
    version: Version,
    /// Position of the version in the row; distinguishes encodings that are shared.
    index: u8,
    pub(crate) media: Media,
    /// `{"kind":"Pod","apiVersion":"v1",`
    typemeta: Bytes,
    /// What of the object a row of a table carries.
    pub(crate) include: Include,
}

/// `includeObject` of `meta/v1 TableOptions`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Include {
    None,
    #[default]
    Metadata,
    Object,
}

impl Encoder {
    /// An encoder for a version that the kind has.
    ///
    /// # Errors
    /// 404 for other versions.
    pub(crate) fn new(resource: &Resource, version: &str, media: Media, include: Include) -> Result<Self> {
        let kind = &resource.kind;
        let found = kind.versions.iter().zip(0u8..).find(|(own, _)| own.name == version);
        let (version, index) = found.ok_or_else(Status::no_such_path)?;
        let typemeta = typemeta(&kind.kind, &kind.api_version(&version.name));
        let (kind, stored) = (kind.clone(), resource.stored.clone());
        Ok(Self { kind, stored, version: version.clone(), index, media, typemeta, include })
    }

    /// A number for everything that an encoding depends on but the object: watchers with the same number share bytes.
    pub(crate) fn shared_form(&self) -> u8 {
        let form = match self.media.form {
            Form::Full => 0,
            Form::Metadata => 1,
            Form::Table => 2 + self.include as u8,
        };
        self.index * 8 + form
    }

    pub(crate) fn api_version(&self) -> String {
        self.kind.api_version(&self.version.name)
    }

    /// Whether a list can be sent while it is written: in JSON that is not indented.
    pub(crate) fn is_streamed(&self) -> bool {
        self.media.format == Format::Json && !self.media.pretty
    }

    /// The object in the version of the request.
    pub(crate) fn object(&self, stored: &Stored) -> Result<Object> {
        let mut object = stored.object(&self.stored)?;
        self.convert(&mut object);
        Ok(object)
    }

    /// From the stored version to that of the request.
    pub(crate) fn convert(&self, object: &mut Object) {
        if let Some(convert) = &self.version.convert {
            (convert.from_stored)(object);
        }
        object.insert("apiVersion".into(), self.api_version().into());
        object.insert("kind".into(), self.kind.kind.as_ref().into());
    }

    /// From the version of the request to the stored one.
    pub(crate) fn to_stored(&self, object: &mut Object) {
        if let Some(convert) = &self.version.convert {
            (convert.to_stored)(object);
        }
        let stored = self.stored.versions.first().map(|version| &*version.name).unwrap_or_default();
        object.insert("apiVersion".into(), self.stored.api_version(stored).into());
        object.insert("kind".into(), self.stored.kind.as_ref().into());
    }

    /// Appends one object as JSON in the form that was asked for (not a table).
    pub(crate) fn put_json(&self, out: &mut BytesMut, stored: &Stored, typed: bool) -> Result<()> {
        match (self.media.form, &self.version.convert) {
            (Form::Metadata, _) => put_metadata(out, stored),
            (_, None) => {
                out.put_slice(if typed { &self.typemeta } else { b"{" });
                put_meta_start(out, stored.revision);
                out.put_slice(tail(&stored.bytes).map_err(Status::internal)?);
                Ok(())
            }
            (_, Some(_)) => put_value(out, &self.typed(self.object(stored)?, typed)),
        }
    }

    /// Like [`Encoder::put_json`], but a conversion is made at most once per object and version.
    pub(crate) fn put_item(&self, out: &mut BytesMut, item: &Item, typed: bool) -> Result<()> {
        if self.version.convert.is_none() || self.media.form != Form::Full {
            return self.put_json(out, &item.stored, typed);
        }
        let convert = || {
            let mut bytes = BytesMut::new();
            put_value(&mut bytes, &self.typed(self.object(&item.stored)?, typed))?;
            Ok(bytes.freeze())
        };
        out.put_slice(&item.form(self.index * 2 + u8::from(typed), convert)?);
        Ok(())
    }

    fn typed(&self, mut object: Object, typed: bool) -> Object {
        if !typed {
            object.remove("kind");
            object.remove("apiVersion");
        }
        object
    }

    /// The whole answer for one object.
    pub(crate) fn one(&self, stored: &Stored) -> Result<Bytes> {
        let mut out = BytesMut::with_capacity(stored.bytes.len() + 128);
        if self.media.form == Form::Table {
            let objects = [self.object(stored)?];
            put_value(&mut out, &self.table(&objects, &ListMeta::of(stored.revision), true)?)?;
        } else {
            self.put_json(&mut out, stored, true)?;
        }
        finish(out, self.media)
    }

    /// A `Table` of objects in the version of the request.
    pub(crate) fn table(&self, objects: &[Object], metadata: &ListMeta, columns: bool) -> Result<Value> {
        // Cells are made of the stored version, whichever was asked for: as upstream prints its internal one.
        let stored: Option<Vec<Object>> = self.version.convert.as_ref().map(|convert| {
            let mut stored = objects.to_vec();
            stored.iter_mut().for_each(|object| (convert.to_stored)(object));
            stored
        });
        let shown = stored.as_deref().unwrap_or(objects);
        let table = table::table(&self.kind, shown.iter(), jiff::Timestamp::now());
        let mut rows = Vec::with_capacity(objects.len());
        for (row, object) in table.rows.iter().zip(objects) {
            let mut row = serde_json::to_value(row).map_err(Status::internal)?;
            if let Some(included) = self.included(object) {
                object::object_in(&mut row).insert("object".into(), included.into());
            }
            rows.push(row);
        }
        let definitions = if columns { table.column_definitions } else { Vec::new() };
        Ok(serde_json::json!({
            "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
            "columnDefinitions": definitions, "rows": rows,
        }))
    }

    fn included(&self, object: &Object) -> Option<Object> {
        match self.include {
            Include::None => None,
            Include::Object => Some(object.clone()),
            Include::Metadata => {
                let mut partial = Object::new();
                partial.insert("kind".into(), "PartialObjectMetadata".into());
                partial.insert("apiVersion".into(), "meta.k8s.io/v1".into());
                partial.insert("metadata".into(), object.get("metadata").cloned().unwrap_or_default());
                Some(partial)
            }
        }
    }
}

/// `meta/v1 ListMeta`.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ListMeta {
    pub(crate) resource_version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) r#continue: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) remaining_item_count: Option<usize>,
}

impl ListMeta {
    pub(crate) fn of(revision: u64) -> Self {
        Self { resource_version: revision.to_string(), ..Self::default() }
    }
}

/// `{"kind":"Pod","apiVersion":"v1",`
pub(crate) fn typemeta(kind: &str, api_version: &str) -> Bytes {
    format!("{{\"kind\":\"{kind}\",\"apiVersion\":\"{api_version}\",").into()
}

/// `"metadata":{"resourceVersion":"42",`; nothing but `"metadata":{` for what has no revision, such as a dry run's result.
fn put_meta_start(out: &mut BytesMut, revision: u64) {
    if revision == 0 {
        out.put_slice(b"\"metadata\":{");
        return;
    }
    out.put_slice(SERVED_HEAD);
    out.put_slice(revision.to_string().as_bytes());
    out.put_slice(SERVED_NECK);
}

/// A `PartialObjectMetadata`: the stored metadata as it is, and nothing else.
fn put_metadata(out: &mut BytesMut, stored: &Stored) -> Result<()> {
    #[derive(serde::Deserialize)]
    struct Partial<'a> {
        #[serde(borrow)]
        metadata: &'a RawValue,
    }
    let partial: Partial<'_> = serde_json::from_slice(&stored.bytes).map_err(Status::internal)?;
    out.put_slice(br#"{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","#);
    put_meta_start(out, stored.revision);
    out.put_slice(partial.metadata.get().as_bytes().get(1..).unwrap_or_default());
    out.put_u8(b'}');
    Ok(())
}

/// Appends a value as JSON.
pub(crate) fn put_value(out: &mut BytesMut, value: &impl Serialize) -> Result<()> {
    serde_json::to_writer(out.writer(), value).map_err(Status::internal)
}

/// Turns JSON into what the client asked for: itself, indented JSON, or YAML.
pub(crate) fn finish(mut json: BytesMut, media: Media) -> Result<Bytes> {
    if media.format == Format::Json && !media.pretty {
        json.put_u8(b'\n');
        return Ok(json.freeze());
    }
    let value: Value = serde_json::from_slice(&json).map_err(Status::internal)?;
    render(&value, media)
}

/// A value in the format that the client asked for.
pub(crate) fn render(value: &impl Serialize, media: Media) -> Result<Bytes> {
    let text = match media.format {
        Format::Json if media.pretty => serde_json::to_string_pretty(value).map_err(Status::internal)?,
        Format::Json => serde_json::to_string(value).map_err(Status::internal)?,
        Format::Yaml => return serde_saphyr::to_string(value).map(Into::into).map_err(Status::internal),
    };
    Ok((text + "\n").into())
}
