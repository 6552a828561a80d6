//! What can be done at a path, apart from how a dialect writes it.

use serde_json::{Value, json};

use super::Dialect;
use crate::Object;

/// A parameter in the query or in the path.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parameter {
    pub name: &'static str,
    ty: &'static str,
    text: &'static str,
}

const fn text(name: &'static str, text: &'static str) -> Parameter {
    Parameter { name, ty: "string", text }
}

const fn flag(name: &'static str, text: &'static str) -> Parameter {
    Parameter { name, ty: "boolean", text }
}

const fn number(name: &'static str, text: &'static str) -> Parameter {
    Parameter { name, ty: "integer", text }
}

const DRY_RUN: Parameter = text("dryRun", "With All, everything is done but the write.");
const MANAGER: Parameter = text("fieldManager", "Names whoever makes the change.");
const VALIDATION: Parameter = text(
    "fieldValidation",
    "What to do about unknown and duplicate fields: Ignore them, Warn of them (the default), or be Strict and refuse.",
);
const PRETTY: Parameter = text("pretty", "If true, the answer is indented.");

pub(super) const WRITE: &[Parameter] = &[DRY_RUN, MANAGER, VALIDATION];
pub(super) const PATCH: &[Parameter] =
    &[DRY_RUN, MANAGER, VALIDATION, flag("force", "Takes over fields that others manage; for apply patches only.")];
pub(super) const LIST: &[Parameter] = &[
    flag("allowWatchBookmarks", "Asks a watch to tell how far it is, now and then, without a change."),
    text("continue", "Where the last page of the list ended."),
    text("fieldSelector", "Selects objects by their fields."),
    text("labelSelector", "Selects objects by their labels."),
    number("limit", "The most objects in one page of the list."),
    text("resourceVersion", "The version that the list must have reached, or that a watch starts from."),
    text("resourceVersionMatch", "How resourceVersion is understood: Exact or NotOlderThan."),
    flag("sendInitialEvents", "Starts a watch with all objects that exist."),
    number("timeoutSeconds", "Ends the call after that time."),
    flag("watch", "Answers with changes as they happen instead of a list."),
];
pub(super) const DELETE: &[Parameter] = &[
    DRY_RUN,
    number("gracePeriodSeconds", "How long the object may take to end; zero deletes at once."),
    flag("orphanDependents", "Old form of propagationPolicy."),
    text("propagationPolicy", "What becomes of dependents: Orphan, Background or Foreground."),
];
pub(super) const PATH: &[Parameter] = &[
    text("name", "Name of the object."),
    text("namespace", "Namespace of the object."),
    text("path", "The path to ask of the target."),
];

const SERVED: &[&str] = &["application/json", "application/yaml"];
const PATCHES: &[&str] =
    &["application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json"];

/// One method of a path.
#[derive(Clone, Debug)]
pub(super) struct Operation {
    /// `get`, `put`, ...
    pub method: &'static str,
    /// `x-kubernetes-action`: `list`, `deletecollection`, `connect`, ...
    pub action: &'static str,
    pub id: String,
    pub text: String,
    /// Group, version, kind.
    pub kind: (String, String, String),
    pub parameters: &'static [Parameter],
    /// Type of the request's body.
    pub body: Option<String>,
    /// Type of the answer; a string when there is none.
    pub answer: Option<String>,
}

impl Operation {
    /// The operation in a dialect. `tag` groups operations in generated documentation.
    pub(super) fn render(&self, tag: &str, dialect: Dialect) -> Value {
        let (group, version, kind) = &self.kind;
        let mut operation = Object::new();
        let mut put = |field: &str, value: Value| operation.insert(field.into(), value);
        put("description", self.text.clone().into());
        put("operationId", self.id.clone().into());
        put("tags", json!([tag]));
        put("x-kubernetes-action", self.action.into());
        put("x-kubernetes-group-version-kind", json!({"group": group, "version": version, "kind": kind}));
        let consumes = if self.action == "patch" { PATCHES } else { &["*/*"] };
        let mut parameters: Vec<Value> = self.parameters.iter().map(|parameter| query(parameter, dialect)).collect();
        let answer =
            self.answer.as_ref().map_or(json!({"type": "string"}), |name| json!({"$ref": dialect.reference(name)}));
        let unauthorized = json!({"description": "Unauthorized"});
        if dialect == Dialect::V2 {
            if let Some(name) = &self.body {
                let schema = json!({"$ref": dialect.reference(name)});
                let required = self.method != "delete";
                parameters.push(json!({"name": "body", "in": "body", "required": required, "schema": schema}));
            }
            put("consumes", json!(consumes));
            put("produces", json!(SERVED));
            put("schemes", json!(["https"]));
            put("responses", json!({"200": {"description": "OK", "schema": answer}, "401": unauthorized}));
        } else {
            if let Some(name) = &self.body {
                let schema = json!({"schema": {"$ref": dialect.reference(name)}});
                let content: Object = consumes.iter().map(|ty| ((*ty).to_owned(), schema.clone())).collect();
                put("requestBody", json!({"content": content, "required": self.method != "delete"}));
            }
            let content: Object = SERVED.iter().map(|ty| ((*ty).to_owned(), json!({"schema": answer}))).collect();
            put("responses", json!({"200": {"description": "OK", "content": content}, "401": unauthorized}));
        }
        if !parameters.is_empty() {
            put("parameters", parameters.into());
        }
        operation.into()
    }
}

fn query(parameter: &Parameter, dialect: Dialect) -> Value {
    place(parameter, "query", false, dialect)
}

/// The parameters that a path itself has, and those that all its operations share.
pub(super) fn common(path: &str, dialect: Dialect) -> Vec<Value> {
    let in_path = PATH.iter().filter(|parameter| path.contains(&format!("{{{}}}", parameter.name)));
    in_path.map(|parameter| place(parameter, "path", true, dialect)).chain([query(&PRETTY, dialect)]).collect()
}

fn place(parameter: &Parameter, place: &str, required: bool, dialect: Dialect) -> Value {
    let Parameter { name, ty, text } = parameter;
    let mut rendered = match dialect {
        Dialect::V2 => json!({"type": ty, "uniqueItems": true}),
        Dialect::V3 => json!({"schema": {"type": ty, "uniqueItems": true}}),
    };
    if let Value::Object(rendered) = &mut rendered {
        rendered.insert("name".into(), (*name).into());
        rendered.insert("in".into(), place.into());
        rendered.insert("description".into(), (*text).into());
        if required {
            rendered.insert("required".into(), true.into());
        }
    }
    rendered
}
