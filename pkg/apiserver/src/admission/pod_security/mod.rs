//! PodSecurity: namespaces say by labels how much their pods may do:
//! <https://kubernetes.io/docs/concepts/security/pod-security-admission/>.

mod checks;
mod policy;
mod restricted;
mod words;

use std::collections::BTreeMap;

use async_trait::async_trait;
use knarr_api::object::Meta;
use knarr_api::status::Result;
use knarr_api::tree::Tree;
use knarr_api::{Object, Status};

use super::{Admission, AdmissionRequest, Operation};
use checks::{Template, evaluate};
use policy::{Level, Policy, Standard};

/// Where kinds that make pods have the template.
const CONTROLLERS: [(&str, &str, &str); 9] = [
    ("", "replicationcontrollers", "spec.template"),
    ("", "podtemplates", "template"),
    ("apps", "replicasets", "spec.template"),
    ("apps", "deployments", "spec.template"),
    ("apps", "statefulsets", "spec.template"),
    ("apps", "daemonsets", "spec.template"),
    ("batch", "jobs", "spec.template"),
    ("batch", "cronjobs", "spec.jobTemplate.spec.template"),
    ("extensions", "daemonsets", "spec.template"),
];

/// Of a namespace that becomes stricter, so many pods are looked at.
const MAX_PODS: usize = 3000;

/// See the module.
#[derive(Debug)]
pub(super) struct PodSecurity;

#[async_trait]
impl Admission for PodSecurity {
    fn name(&self) -> &'static str {
        "PodSecurity"
    }

    async fn validate(&self, request: &AdmissionRequest<'_>) -> Result<()> {
        let writes = matches!(request.operation, Operation::Create | Operation::Update);
        let Some(object) = request.object.as_deref().filter(|_| writes) else { return Ok(()) };
        let (group, plural) = (&*request.kind.group, &*request.kind.plural);
        match (group, plural, request.subresource) {
            ("", "namespaces", None) => self.namespace(request, object).await,
            ("", "pods", None | Some("ephemeralcontainers")) => self.pod(request, object).await,
            (_, _, None) => {
                let path = CONTROLLERS.iter().find(|row| (row.0, row.1) == (group, plural)).map(|row| row.2);
                match path.and_then(|path| object.object(path)) {
                    Some(template) => self.controller(request, template).await,
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }
}

impl PodSecurity {
    async fn namespace(&self, request: &AdmissionRequest<'_>, namespace: &Object) -> Result<()> {
        let (policy, errors) = Policy::of(namespace.map("metadata.labels"));
        let before = request.old.map(|old| Policy::of(old.map("metadata.labels")));
        let known = before.as_ref().is_some_and(|(_, old)| old == &errors);
        if !errors.is_empty() && !known {
            return Err(Status::invalid(request.kind, namespace.name(), &errors));
        }
        let Some((old, _)) = before else { return Ok(()) };
        let relaxed = policy.enforce.minor == old.enforce.minor && policy.enforce.level <= old.enforce.level;
        if policy.enforce.level == Level::Privileged || policy.enforce == old.enforce || relaxed {
            return Ok(());
        }
        let pods = request.all("", "pods", namespace.name()).await?;
        for text in existing(namespace.name(), &pods, policy.enforce) {
            request.cx.warnings.add(text);
        }
        Ok(())
    }

    async fn pod(&self, request: &AdmissionRequest<'_>, pod: &Object) -> Result<()> {
        if request.old.is_some_and(|old| !is_significant(pod, old)) {
            return Ok(());
        }
        let policy = policy_of(request).await?;
        let template = template(pod);
        let forbidden = evaluate(&template, policy.enforce);
        if !forbidden.is_empty() {
            let why = format!("violates PodSecurity \"{}\": {}", policy.enforce, details(&forbidden));
            return Err(request.forbidden(why));
        }
        warn(request, &template, policy.warn);
        Ok(())
    }

    /// What makes pods is warned about: its pods are what is refused.
    async fn controller(&self, request: &AdmissionRequest<'_>, template_of: &Object) -> Result<()> {
        let policy = policy_of(request).await?;
        warn(request, &template(template_of), policy.warn);
        Ok(())
    }
}

async fn policy_of(request: &AdmissionRequest<'_>) -> Result<Policy> {
    let namespace = request.find("", "namespaces", "", request.namespace).await?;
    let lost = || Status::internal(format!("failed to lookup namespace {:?}", request.namespace));
    Ok(Policy::of(namespace.ok_or_else(lost)?.map("metadata.labels")).0)
}

fn template(pod: &Object) -> Template<'_> {
    Template { annotations: pod.map("metadata.annotations"), spec: pod.map("spec") }
}

fn warn(request: &AdmissionRequest<'_>, template: &Template<'_>, standard: Standard) {
    let found = evaluate(template, standard);
    if !found.is_empty() {
        let text = format!("would violate PodSecurity \"{standard}\": {}", details(&found));
        request.cx.warnings.add(text);
    }
}

fn details(findings: &[(String, String)]) -> String {
    let texts: Vec<_> = findings.iter().map(|(reason, detail)| format!("{reason} ({detail})")).collect();
    texts.join(", ")
}

/// Whether an update touches what the standards look at: of what may change in a pod that is its containers' images, and
/// containers that are added to debug it.
fn is_significant(pod: &Object, old: &Object) -> bool {
    let changed = |field: &str| {
        let images = |pod: &Object| -> Vec<String> {
            pod.objects(field).map(|container| container.text("image").to_owned()).collect()
        };
        images(pod) != images(old)
    };
    changed("spec.containers") || changed("spec.initContainers") || changed("spec.ephemeralContainers")
}

/// Warnings about pods that a stricter namespace would not have let in, those with the same fault together.
fn existing(namespace: &str, pods: &[Object], enforce: Standard) -> Vec<String> {
    let mut by_reason: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for pod in pods.iter().take(MAX_PODS) {
        let found = evaluate(&template(pod), enforce);
        if !found.is_empty() {
            let reasons: Vec<_> = found.into_iter().map(|(reason, _)| reason).collect();
            by_reason.entry(reasons.join(", ")).or_default().push(pod.name());
        }
    }
    let mut texts = Vec::new();
    if pods.len() > MAX_PODS {
        let total = pods.len();
        texts.push(format!(
            "new PodSecurity enforce level only checked against the first {MAX_PODS} of {total} existing pods"
        ));
    }
    if !by_reason.is_empty() {
        texts.push(format!(
            "existing pods in namespace {namespace:?} violate the new PodSecurity enforce level \"{enforce}\""
        ));
    }
    let mut lines: Vec<_> = by_reason.iter().map(|(reason, pods)| affected(reason, pods)).collect();
    lines.sort();
    texts.extend(lines);
    texts
}

fn affected(reason: &str, pods: &[&str]) -> String {
    let first = pods.iter().min().copied().unwrap_or_default();
    match pods.len() {
        0 | 1 => format!("{first}: {reason}"),
        2 => format!("{first} (and 1 other pod): {reason}"),
        count => format!("{first} (and {} other pods): {reason}", count - 1),
    }
}

#[cfg(test)]
mod tests;
