//! One object of every built-in kind, from its creation to its end.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use knarr_tests::api::{Answer, Api, Connection, Watch};
use knarr_tests::lab::Lab;
use knarr_tests::space::Space;
use serde_json::{Value, json};

use crate::malformed::JSON;

/// What Kubernetes v1.35.4 serves by default; the first six words of a line are used here.
const UPSTREAM: &str = include_str!("../../../pkg/api/src/discovery/upstream.txt");
/// Kinds that upstream does not have.
const OURS: &str = "metallb.io/v1beta1";
/// An object of each kind and version, with the status that somebody reports of it.
const MINIMAL: &str = include_str!("minimal.jsonl");

const NAMESPACE: &str = "every-kind";
const SOON: Duration = Duration::from_secs(20);
const TABLE: (&str, &str) = ("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io");

/// A resource that the server says it serves; subresources count as resources.
#[derive(Clone, Debug)]
pub(crate) struct Resource {
    version: String,
    name: String,
    kind: String,
    namespaced: bool,
    verbs: Vec<String>,
}

impl Resource {
    /// Whether it has that verb.
    pub(crate) fn can(&self, verb: &str) -> bool {
        self.verbs.iter().any(|own| own == verb)
    }

    /// Where all objects are listed.
    pub(crate) fn everywhere(&self) -> String {
        let root = if self.version.contains('/') { "/apis" } else { "/api" };
        format!("{root}/{}/{}", self.version, self.name)
    }

    fn collection(&self) -> String {
        let path = self.everywhere();
        match path.rsplit_once('/') {
            Some((root, name)) if self.namespaced => format!("{root}/namespaces/{NAMESPACE}/{name}"),
            _ => path,
        }
    }
}

/// Everything that the server's discovery names.
pub(crate) fn discovered(api: &Api) -> Result<Vec<Resource>> {
    let mut versions = vec!["v1".to_owned()];
    for group in api.get("/apis")?["groups"].as_array().context("no groups")? {
        for version in group["versions"].as_array().context("no versions")? {
            versions.push(version["groupVersion"].as_str().context("no groupVersion")?.to_owned());
        }
    }
    let mut found = Vec::new();
    for version in versions {
        let root = if version.contains('/') { "/apis" } else { "/api" };
        for resource in api.get(&format!("{root}/{version}"))?["resources"].as_array().context("no resources")? {
            let text = |field: &str| resource[field].as_str().map(str::to_owned).context(resource.to_string());
            let verbs = resource["verbs"].as_array().context("no verbs")?;
            found.push(Resource {
                version: version.clone(),
                name: text("name")?,
                kind: text("kind")?,
                namespaced: resource["namespaced"] == true,
                verbs: verbs.iter().filter_map(|verb| verb.as_str().map(str::to_owned)).collect(),
            });
        }
    }
    Ok(found)
}

pub(crate) fn those_of_upstream(lab: &Lab) -> Result<()> {
    let line = |resource: &Resource| {
        let scope = if resource.namespaced { "Namespaced" } else { "Cluster" };
        format!("{} {} {scope} {}", resource.version, resource.name, resource.verbs.join(","))
    };
    let served = discovered(&Api::admin(lab)?)?;
    let (ours, served): (Vec<_>, Vec<_>) = served.iter().partition(|resource| resource.version == OURS);
    let served: BTreeSet<String> = served.into_iter().map(line).collect();
    let upstream = UPSTREAM.lines().skip(1).map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        format!("{} {} {} {}", words[0].trim_start_matches('/'), words[1], words[3], words[7])
    });
    let upstream: BTreeSet<String> = upstream.collect();
    let (missing, more) = (upstream.difference(&served), served.difference(&upstream));
    let (missing, more): (Vec<_>, Vec<_>) = (missing.collect(), more.collect());
    ensure!(missing.is_empty() && more.is_empty(), "missing: {missing:#?}, not of upstream: {more:#?}");
    let ours: Vec<&str> = ours.iter().map(|resource| &*resource.name).filter(|name| !name.contains('/')).collect();
    ensure!(ours == ["ipaddresspools", "l2advertisements"], "{ours:?}");
    Ok(())
}

pub(crate) fn whole_lives(lab: &Lab) -> Result<()> {
    let api = Api::admin(lab)?;
    let _space = Space::new(lab, NAMESPACE)?;
    let resources = discovered(&api)?;
    let samples: Vec<Value> = MINIMAL.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let mut lives = Vec::new();
    for resource in resources.iter().filter(|resource| resource.can("create") && resource.can("get")) {
        if resource.name.contains('/') {
            continue;
        }
        let sample = samples.iter().find(|sample| {
            (sample["apiVersion"].as_str(), sample["kind"].as_str()) == (Some(&resource.version), Some(&resource.kind))
        });
        let sample = sample.with_context(|| format!("no object of {resource:?} in minimal.jsonl"))?;
        let status = resources
            .iter()
            .any(|other| other.version == resource.version && other.name == format!("{}/status", resource.name));
        lives.push(Life::new(&api, resource, sample, status)?);
    }
    ensure!(lives.len() == samples.len(), "minimal.jsonl has kinds that are not served");
    together(&mut lives, |life| life.begin())?;
    printed(lab, &lives)?;
    together(&mut lives, |life| life.end())
}

/// Lets the lives go on, some at once.
fn together(lives: &mut [Life], step: impl Fn(&mut Life) -> Result<()> + Sync) -> Result<()> {
    let one = |life: &mut Life| step(life).with_context(|| format!("{} {}", life.resource.version, life.resource.kind));
    let part = |part: &mut [Life]| part.iter_mut().map(one).collect::<Vec<_>>();
    std::thread::scope(|scope| {
        let parts = lives.chunks_mut(lives.len().div_ceil(4));
        let threads: Vec<_> = parts.map(|lives| scope.spawn(|| part(lives))).collect();
        let results: Vec<Vec<Result<()>>> =
            threads.into_iter().map(|thread| thread.join().map_err(|_| anyhow!("panicked"))).collect::<Result<_>>()?;
        let failed: Vec<String> =
            results.into_iter().flatten().filter_map(|result| result.err().map(|error| format!("{error:#}"))).collect();
        ensure!(failed.is_empty(), "{}", failed.join("\n    "));
        Ok(())
    })
}

/// `kubectl get` of all of them at once, each with its own columns.
fn printed(lab: &Lab, lives: &[Life]) -> Result<()> {
    let typed = |life: &Life| {
        let (group, version) = life.resource.version.rsplit_once('/').unwrap_or(("", &life.resource.version));
        format!("{}.{version}.{group}/{}", life.resource.name, life.name)
    };
    let names: Vec<String> = lives.iter().map(typed).collect();
    let mut arguments = vec!["--namespace", NAMESPACE, "get"];
    arguments.extend(names.iter().map(String::as_str));
    let told = lab.kubectl_output(&arguments)?;
    let header = |line: &&str| line.starts_with("NAME ") || line.starts_with("LAST SEEN ");
    let (headers, rows): (Vec<&str>, Vec<&str>) = told.lines().filter(|line| !line.is_empty()).partition(header);
    ensure!(rows.len() == lives.len() && !headers.is_empty(), "{} of {} rows:\n{told}", rows.len(), lives.len());
    Ok(())
}

/// An object and who watches it.
struct Life {
    resource: Resource,
    name: String,
    path: String,
    sample: Value,
    /// What is written through `/status`, where there is such a subresource.
    status: Option<Value>,
    connection: Connection,
    watch: Watch,
}

impl Life {
    fn new(api: &Api, resource: &Resource, sample: &Value, has_status: bool) -> Result<Self> {
        let mut sample = sample.clone();
        let name = sample["metadata"]["name"].as_str().context("a name")?.to_owned();
        let status = sample.as_object_mut().and_then(|fields| fields.remove("status"));
        let collection = resource.collection();
        let version = api.get(&collection)?["metadata"]["resourceVersion"].as_str().context("a version")?.to_owned();
        let selector = format!("fieldSelector=metadata.name%3D{name}");
        Ok(Self {
            resource: resource.clone(),
            path: format!("{collection}/{name}"),
            sample,
            status: status.or(Some(Value::Null)).filter(|_| has_status),
            connection: api.connect()?,
            watch: api.watch(&format!("{collection}?watch=1&resourceVersion={version}&{selector}"))?,
            name,
        })
    }

    fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Answer> {
        self.connection.request(method, path, headers, body)
    }

    /// Sends what must be answered with `status`.
    fn ask(&mut self, status: u16, method: &str, path: &str, kind: &str, body: &Value) -> Result<Value> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = self.send(method, path, &[("Content-Type", kind)], body.as_bytes())?;
        ensure!(answer.status == status, "{method} {path} {body}: {answer}");
        answer.json()
    }

    fn read(&mut self) -> Result<Value> {
        let path = self.path.clone();
        self.ask(200, "GET", &path, JSON.1, &Value::Null)
    }

    fn create(&mut self) -> Result<Value> {
        let (collection, sample) = (self.resource.collection(), self.sample.clone());
        let made = self.ask(201, "POST", &collection, JSON.1, &sample)?;
        let metadata = &made["metadata"];
        for field in ["uid", "resourceVersion", "creationTimestamp"] {
            ensure!(metadata[field].is_string(), "no {field}: {made}");
        }
        ensure!(made["kind"] == *self.resource.kind && made["apiVersion"] == *self.resource.version, "{made}");
        self.event("ADDED", |object| object["metadata"]["uid"] == metadata["uid"])?;
        Ok(made)
    }

    /// Waits for an event; the events between are those of controllers.
    fn event(&mut self, kind: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let event = self.watch.find(SOON, |event| event["type"] == kind && wanted(&event["object"]));
        event.with_context(|| format!("no event {kind}"))
    }

    fn begin(&mut self) -> Result<()> {
        self.dry()?;
        self.create()?;
        self.change()?;
        self.report()?;
        self.seen()?;
        self.unchanged(JSON.1)?;
        self.unchanged("application/yaml")
    }

    /// A dry run answers and leaves nothing.
    fn dry(&mut self) -> Result<()> {
        let (sample, path) = (self.sample.clone(), self.path.clone());
        let collection = format!("{}?dryRun=All&fieldValidation=Strict", self.resource.collection());
        self.ask(201, "POST", &collection, JSON.1, &sample)?;
        self.ask(404, "GET", &path, JSON.1, &Value::Null).map(drop)
    }

    /// All forms of patches.
    fn change(&mut self) -> Result<()> {
        let path = self.path.clone();
        let label = |value: &str| json!({"metadata": {"labels": {"walk": value}}});
        self.ask(200, "PATCH", &path, "application/merge-patch+json", &label("merge"))?;
        self.event("MODIFIED", |object| object["metadata"]["labels"]["walk"] == "merge")?;
        self.ask(200, "PATCH", &path, "application/strategic-merge-patch+json", &label("strategic"))?;
        let operations = json!([{"op": "replace", "path": "/metadata/labels/walk", "value": "json"}]);
        let patched = self.ask(200, "PATCH", &path, "application/json-patch+json", &operations)?;
        ensure!(patched["metadata"]["labels"]["walk"] == "json", "{patched}");
        Ok(())
    }

    /// The status changes through its subresource, and only there.
    fn report(&mut self) -> Result<()> {
        let Some(status) = self.status.clone() else { return Ok(()) };
        let (path, mine) = (self.path.clone(), json!({"status": status}));
        let merge = "application/merge-patch+json";
        let before = self.ask(200, "GET", &path, JSON.1, &Value::Null)?;
        if !holds(&before["status"], &status) {
            let after = self.ask(200, "PATCH", &path, merge, &mine)?;
            ensure!(!holds(&after["status"], &status), "the status changed with the object: {after}");
        }
        let after = self.ask(200, "PATCH", &format!("{path}/status"), merge, &mine)?;
        ensure!(holds(&after["status"], &status), "{status} is not in {after}");
        let read = self.ask(200, "GET", &format!("{path}/status"), JSON.1, &Value::Null)?;
        ensure!(read["kind"] == *self.resource.kind, "{read}");
        let body = json!({"metadata": {"labels": {"walk": "no"}}, "spec": {}});
        let after = self.ask(200, "PATCH", &format!("{path}/status"), merge, &body)?;
        ensure!(after["spec"] == read["spec"], "the spec changed with the status: {after}");
        Ok(())
    }

    /// In lists, and as rows of tables.
    fn seen(&mut self) -> Result<()> {
        let (path, name) = (self.path.clone(), self.name.clone());
        let uid = self.read()?["metadata"]["uid"].clone();
        for selector in [format!("fieldSelector=metadata.name%3D{name}"), "limit=500".into()] {
            let collection = format!("{}?{selector}", self.resource.collection());
            let list = self.ask(200, "GET", &collection, JSON.1, &Value::Null)?;
            ensure!(list["kind"] == format!("{}List", self.resource.kind), "{list}");
            let items = list["items"].as_array().context("items")?;
            ensure!(items.iter().any(|item| item["metadata"]["uid"] == uid), "{collection}: {list}");
        }
        let table = self.send("GET", &path, &[TABLE], b"")?.json()?;
        let columns = table["columnDefinitions"].as_array().context("columns")?;
        let cells = table["rows"][0]["cells"].as_array().context("cells")?;
        ensure!(columns.len() == cells.len() && columns.len() > 1, "{table}");
        // Events have no column of their names, as upstream.
        ensure!(self.resource.kind == "Event" || (columns[0]["name"] == "Name" && cells[0] == *name), "{table}");
        Ok(())
    }

    /// An update with what was read, in that form, changes nothing.
    fn unchanged(&mut self, form: &str) -> Result<()> {
        let path = self.path.clone();
        // Controllers may change it between reading and writing, but not for ever.
        for _ in 0..20 {
            let read = self.send("GET", &path, &[("Accept", form)], b"")?;
            ensure!(read.status == 200 && read.header("Content-Type") == Some(form), "{:?}: {read}", read.headers);
            let before = self.read()?;
            let headers = [("Content-Type", form), ("Accept", JSON.1)];
            let put = self.send("PUT", &path, &headers, &read.body)?;
            if put.status == 409 {
                continue;
            }
            ensure!(put.status == 200, "PUT {form} {read}: {put}");
            let after = put.json()?;
            let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
            ensure!(version(&before) == version(&after), "{form} changed {before}\n    into {after}");
            return Ok(());
        }
        bail!("somebody changes it all the time")
    }

    fn end(&mut self) -> Result<()> {
        let path = self.path.clone();
        self.ask(200, "DELETE", &format!("{path}?dryRun=All"), JSON.1, &Value::Null)?;
        self.delete(&path)?;
        if self.resource.can("deletecollection") {
            self.create()?;
            let collection = format!("{}?fieldSelector=metadata.name%3D{}", self.resource.collection(), self.name);
            self.delete(&collection)?;
        }
        Ok(())
    }

    /// Deletes, and waits until the object is gone.
    fn delete(&mut self, what: &str) -> Result<()> {
        let answer = self.send("DELETE", what, &[], b"")?;
        ensure!(matches!(answer.status, 200 | 202), "DELETE {what}: {answer}");
        let path = self.path.clone();
        if let Ok(left) = self.read()
            && left["metadata"]["finalizers"].as_array().is_some_and(|all| !all.is_empty())
        {
            // What guards an object that is in use: its controller is not what is looked at here.
            let none = json!({"metadata": {"finalizers": null}});
            self.send(
                "PATCH",
                &path,
                &[("Content-Type", "application/merge-patch+json")],
                none.to_string().as_bytes(),
            )?;
        }
        self.event("DELETED", |_| true)?;
        self.ask(404, "GET", &path, JSON.1, &Value::Null).map(drop)
    }
}

/// Whether `value` has everything that `part` has.
fn holds(value: &Value, part: &Value) -> bool {
    match (value, part) {
        (Value::Object(value), Value::Object(part)) => {
            part.iter().all(|(key, part)| value.get(key).is_some_and(|value| holds(value, part)))
        }
        (Value::Array(value), Value::Array(part)) => {
            part.iter().all(|part| value.iter().any(|value| holds(value, part)))
        }
        (value, part) => value == part,
    }
}
