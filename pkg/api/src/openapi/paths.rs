//! The paths of a kind, from its row.

use serde_json::Value;

use super::operations::{DELETE, LIST, Operation, PATCH, Parameter, WRITE, common};
use super::{Dialect, place, schema};
use crate::Object;
use crate::kind::{Kind, Subresource};

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";

/// A path with what can be done there.
#[derive(Clone, Debug)]
pub(super) struct PathItem {
    pub path: String,
    tag: String,
    operations: Vec<Operation>,
}

impl PathItem {
    /// The types that its operations name.
    pub(super) fn schemas(&self) -> impl Iterator<Item = String> {
        self.operations.iter().flat_map(|operation| operation.body.iter().chain(&operation.answer).cloned())
    }

    pub(super) fn render(&self, dialect: Dialect) -> Value {
        let mut rendered = Object::new();
        for operation in &self.operations {
            rendered.insert(operation.method.into(), operation.render(&self.tag, dialect));
        }
        rendered.insert("parameters".into(), common(&self.path, dialect).into());
        rendered.into()
    }
}

/// The paths of a kind in one of its versions.
pub(super) fn of(kind: &Kind, version: &str) -> Vec<PathItem> {
    let Some(served) = kind.version(version) else { return Vec::new() };
    let maker = Maker { kind, version, schema: &served.schema };
    let base = format!("/{}", place(&kind.group, version));
    let plural = &kind.plural;
    let home =
        if kind.namespaced { format!("{base}/namespaces/{{namespace}}/{plural}") } else { format!("{base}/{plural}") };
    let mut paths = Vec::new();
    if kind.namespaced && kind.verbs.contains(&"list") {
        paths.push(maker.item(format!("{base}/{plural}"), vec![maker.list("ForAllNamespaces")]));
    }
    paths.push(maker.item(home.clone(), maker.collection()));
    paths.push(maker.item(format!("{home}/{{name}}"), maker.object()));
    for sub in &kind.subresources {
        paths.push(maker.item(format!("{home}/{{name}}/{}", sub.name), maker.subresource(sub)));
    }
    paths.retain(|item| !item.operations.is_empty());
    paths
}

struct Maker<'a> {
    kind: &'a Kind,
    version: &'a str,
    schema: &'a str,
}

impl Maker<'_> {
    fn item(&self, path: String, operations: Vec<Operation>) -> PathItem {
        let group = self.kind.group.trim_end_matches(".k8s.io").replace('.', "_");
        let group = if group.is_empty() { "core" } else { &group };
        PathItem { path, tag: format!("{group}_{}", self.version), operations }
    }

    /// An operation on the kind itself. `verb` is what its name and description start with.
    fn make(
        &self,
        method: &'static str,
        action: &'static str,
        verb: &str,
        parameters: &'static [Parameter],
    ) -> Operation {
        let Kind { group, kind, namespaced, .. } = self.kind;
        let scope = if *namespaced { "Namespaced" } else { "" };
        Operation {
            method,
            action,
            id: format!("{verb}{}{}{scope}{kind}", camel(group), camel(self.version)),
            text: format!("{verb} {kind}"),
            kind: (group.to_string(), self.version.to_owned(), kind.to_string()),
            parameters,
            body: None,
            answer: Some(self.schema.to_owned()),
        }
    }

    fn has(&self, verb: &str) -> bool {
        self.kind.verbs.contains(&verb)
    }

    fn list(&self, suffix: &str) -> Operation {
        let mut operation = self.make("get", "list", "list", LIST);
        operation.id.push_str(suffix);
        operation.answer = Some(format!("{}List", self.schema));
        operation
    }

    fn collection(&self) -> Vec<Operation> {
        let mut operations = Vec::new();
        if self.has("list") {
            operations.push(self.list(""));
        }
        if self.has("create") {
            let body = Some(self.schema.to_owned());
            operations.push(Operation { body, ..self.make("post", "post", "create", WRITE) });
        }
        if self.has("deletecollection") {
            let (body, answer) = (Some(format!("{META}.DeleteOptions")), Some(format!("{META}.Status")));
            let operation = self.make("delete", "deletecollection", "deleteCollection", DELETE);
            operations.push(Operation { body, answer, ..operation });
        }
        operations
    }

    fn object(&self) -> Vec<Operation> {
        let mut operations = self.change(self.kind.verbs);
        if self.has("delete") {
            let (body, answer) = (Some(format!("{META}.DeleteOptions")), Some(format!("{META}.Status")));
            operations.push(Operation { body, answer, ..self.make("delete", "delete", "delete", DELETE) });
        }
        operations
    }

    /// Those of get, update and patch that are among `verbs`.
    fn change(&self, verbs: &[&str]) -> Vec<Operation> {
        let body = Some(self.schema.to_owned());
        let patch = Some(format!("{META}.Patch"));
        let all = [
            ("get", self.make("get", "get", "read", &[])),
            ("update", Operation { body, ..self.make("put", "put", "replace", WRITE) }),
            ("patch", Operation { body: patch, ..self.make("patch", "patch", "patch", PATCH) }),
        ];
        all.into_iter().filter(|(verb, _)| verbs.contains(verb)).map(|(_, operation)| operation).collect()
    }

    fn subresource(&self, sub: &Subresource) -> Vec<Operation> {
        let suffix = camel(&sub.name);
        let mut operations = match sub.body {
            Some((group, version, kind)) => self.foreign(sub, (group, version, kind)),
            None => self.change(sub.verbs),
        };
        for operation in &mut operations {
            operation.id.push_str(&suffix);
            operation.text = format!("{} ({})", operation.text, sub.name);
            if sub.name == "log" {
                operation.answer = None;
            }
        }
        operations
    }

    /// A subresource whose body is of another kind. Those that are not types of their own, such as `PodExecOptions`, are
    /// connections: they take query parameters and answer with a stream.
    fn foreign(&self, sub: &Subresource, (group, version, kind): (&str, &str, &str)) -> Vec<Operation> {
        let of = (group.to_owned(), version.to_owned(), kind.to_owned());
        let Some(schema) = self.body_schema(group, version, kind) else {
            let methods =
                [("create", "post"), ("delete", "delete"), ("get", "get"), ("patch", "patch"), ("update", "put")];
            let served = methods.into_iter().filter(|(verb, _)| sub.verbs.contains(verb));
            let connect = |(verb, method)| {
                let operation = self.make(method, "connect", "connect", &[]);
                Operation {
                    kind: of.clone(),
                    answer: None,
                    id: format!("{}{}", operation.id, camel(verb)),
                    ..operation
                }
            };
            return served.map(connect).collect();
        };
        let maker = Maker { kind: self.kind, version: self.version, schema: &schema };
        let mut operations = maker.change(sub.verbs);
        if sub.verbs.contains(&"create") {
            let body = Some(schema.clone());
            operations.push(Operation { body, ..maker.make("post", "post", "create", WRITE) });
        }
        operations.iter_mut().for_each(|operation| operation.kind = of.clone());
        operations
    }

    fn body_schema(&self, group: &str, version: &str, kind: &str) -> Option<String> {
        let package = if group.is_empty() { "core" } else { group.trim_end_matches(".k8s.io") };
        let name = format!("io.k8s.api.{package}.{version}.{kind}");
        schema::root(&name).map(|ty| ty.name().to_owned())
    }
}

/// `rbac.authorization.k8s.io` as a part of a name: `RbacAuthorization`.
fn camel(text: &str) -> String {
    if text.is_empty() {
        return "Core".into();
    }
    let parts = text.trim_end_matches(".k8s.io").split(['.', '-']);
    let capital = |part: &str| {
        let (head, rest) = part.split_at_checked(1).unwrap_or((part, ""));
        head.to_ascii_uppercase() + rest
    };
    parts.map(capital).collect()
}
