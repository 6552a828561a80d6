//! What kubectl asks the server about itself, and how it shows things.

use anyhow::{Context, Result, ensure};
use knarr_tests::lab::Lab;
use knarr_tests::space::Space;

pub(crate) fn tables(lab: &Lab) -> Result<()> {
    let space = Space::new(lab, "tables")?;
    space.kubectl(&["create", "deployment", "web", "--image=busybox:1", "--", "sleep", "1000"])?;
    space.kubectl(&["expose", "deployment/web", "--port=80", "--type=NodePort"])?;
    space.kubectl(&["create", "configmap", "c", "--from-literal=a=b"])?;
    space.kubectl(&["create", "secret", "generic", "s"])?;
    space.kubectl(&["create", "role", "r", "--verb=get", "--resource=pods"])?;
    space.rolled_out("deployment/web")?;
    for (what, columns) in [
        ("pods", "NAME READY STATUS RESTARTS AGE"),
        ("pods -o wide", "NAME READY STATUS RESTARTS AGE IP NODE NOMINATED NODE READINESS GATES"),
        ("pods --show-labels", "NAME READY STATUS RESTARTS AGE LABELS"),
        ("pods -L app", "NAME READY STATUS RESTARTS AGE APP"),
        ("deployments", "NAME READY UP-TO-DATE AVAILABLE AGE"),
        ("deployments -o wide", "NAME READY UP-TO-DATE AVAILABLE AGE CONTAINERS IMAGES SELECTOR"),
        ("replicasets", "NAME DESIRED CURRENT READY AGE"),
        ("services", "NAME TYPE CLUSTER-IP EXTERNAL-IP PORT(S) AGE"),
        ("endpointslices", "NAME ADDRESSTYPE PORTS ENDPOINTS AGE"),
        ("configmaps", "NAME DATA AGE"),
        ("secrets", "NAME TYPE DATA AGE"),
        ("serviceaccounts", "NAME AGE"),
        ("roles", "NAME CREATED AT"),
        ("events", "LAST SEEN TYPE REASON OBJECT MESSAGE"),
        ("nodes", "NAME STATUS ROLES AGE VERSION"),
        (
            "nodes -o wide",
            "NAME STATUS ROLES AGE VERSION INTERNAL-IP EXTERNAL-IP OS-IMAGE KERNEL-VERSION CONTAINER-RUNTIME",
        ),
        ("namespaces", "NAME STATUS AGE"),
        ("clusterroles", "NAME CREATED AT"),
        ("priorityclasses", "NAME VALUE GLOBAL-DEFAULT AGE PREEMPTIONPOLICY"),
        ("leases -n kube-node-lease", "NAME HOLDER AGE"),
        ("pods -o custom-columns=N:.metadata.name", "N"),
    ] {
        let told = space.kubectl(&[&["get"][..], &what.split(' ').collect::<Vec<_>>()].concat())?;
        let head: Vec<_> = told.lines().next().unwrap_or_default().split_whitespace().collect();
        ensure!(head.join(" ") == columns, "{what}: {told}");
        ensure!(told.lines().count() > 1, "{what} shows nothing: {told}");
    }
    let nodes = lab.kubectl_output(&["get", "nodes", "--no-headers"])?;
    let words: Vec<_> = nodes.split_whitespace().collect();
    ensure!(
        words.get(1) == Some(&"Ready") && words.get(4).is_some_and(|version| version.starts_with("v1.35.")),
        "{nodes}"
    );
    let sorted = space.kubectl(&["get", "secrets,configmaps", "-o", "name"])?;
    ensure!(sorted == "secret/s\nconfigmap/c\nconfigmap/kube-root-ca.crt\n", "{sorted}");
    let refused = space.refused(&["get", "absent"])?;
    ensure!(refused.contains(r#"the server doesn't have a resource type "absent""#), "{refused}");
    let empty = space.command(&["get", "jobs"]).output().context("kubectl")?;
    ensure!(empty.stderr.starts_with(b"No resources found in tables namespace."), "{empty:?}");
    Ok(())
}

pub(crate) fn explain_and_discovery(lab: &Lab) -> Result<()> {
    for (path, parts) in [
        ("deployment", &["GROUP:      apps", "KIND:       Deployment", "VERSION:    v1", "FIELDS:"][..]),
        ("pod.spec.containers.livenessProbe", &["FIELD: livenessProbe <Probe>", "failureThreshold\t<integer>"]),
        ("service.spec.ports.port", &["FIELD: port <integer>", "The port that will be exposed"]),
        ("ipaddresspool.spec", &["addresses"]),
    ] {
        let told = lab.kubectl_output(&["explain", path])?;
        for part in parts {
            ensure!(told.contains(part), "explain {path}: {part:?} is not in {told}");
        }
    }
    let told = lab.kubectl_output(&["explain", "pod", "--recursive"])?;
    ensure!(told.contains("topologySpreadConstraints") && told.lines().count() > 500, "{} lines", told.lines().count());
    let resources = lab.kubectl_output(&["api-resources", "--no-headers"])?;
    for line in ["pods po v1 true Pod", "deployments deploy apps/v1 true Deployment", "nodes no v1 false Node"] {
        let found = resources.lines().any(|seen| seen.split_whitespace().eq(line.split(' ')));
        ensure!(found, "{line:?} is not in {resources}");
    }
    let versions = lab.kubectl_output(&["api-versions"])?;
    for version in
        ["v1", "apps/v1", "batch/v1", "metallb.io/v1beta1", "rbac.authorization.k8s.io/v1", "storage.k8s.io/v1"]
    {
        ensure!(versions.lines().any(|line| line == version), "{version} is not in {versions}");
    }
    let told = lab.kubectl_output(&["version"])?;
    ensure!(told.contains("Server Version: v1.35."), "{told}");
    let told = lab.kubectl_output(&["cluster-info"])?;
    ensure!(told.contains("Kubernetes control plane"), "{told}");
    for path in ["/healthz", "/livez", "/readyz", "/livez/ping"] {
        ensure!(lab.kubectl_output(&["get", "--raw", path])?.trim() == "ok", "{path}");
    }
    let metrics = lab.kubectl_output(&["get", "--raw", "/metrics"])?;
    ensure!(metrics.contains("apiserver_request_total{"), "{metrics}");
    Ok(())
}

pub(crate) fn auth_can_i(lab: &Lab) -> Result<()> {
    let space = Space::new(lab, "rights")?;
    space.kubectl(&["create", "role", "reader", "--verb=get,list,watch", "--resource=pods,pods/log"])?;
    space.kubectl(&["create", "rolebinding", "anna", "--role=reader", "--user=anna"])?;
    space.kubectl(&["create", "clusterrolebinding", "rights-group", "--clusterrole=edit", "--group=editors"])?;
    let can = |arguments: &str, who: &[&str]| -> Result<bool> {
        let words: Vec<_> = arguments.split(' ').collect();
        let told = space.command(&[&["auth", "can-i"], words.as_slice(), who].concat()).output()?;
        Ok(told.stdout.starts_with(b"yes"))
    };
    let (anna, editor) = (&["--as=anna"][..], &["--as=eve", "--as-group=editors"][..]);
    knarr_tests::wait::until("the binding counts", knarr_tests::space::POD, || match can("get pods", anna) {
        Ok(true) => Ok(()),
        other => Err(format!("{other:?}")),
    })?;
    for (arguments, who, expected) in [
        ("create deployments", &[][..], true),
        ("* *", &[], true),
        ("get pods --subresource=log", anna, true),
        ("delete pods", anna, false),
        ("get pods -n default", anna, false),
        ("create deployments", editor, true),
        ("get nodes", editor, false),
        ("get /version", anna, true),
        ("get /metrics", anna, false),
    ] {
        ensure!(can(arguments, who)? == expected, "can-i {arguments} {who:?} is not {expected}");
    }
    let told = space.kubectl(&["auth", "whoami", "-o", "jsonpath={.status.userInfo.groups}"])?;
    ensure!(told.contains("system:masters"), "{told}");
    let told = space.kubectl(&["auth", "can-i", "--list", "--as=anna"])?;
    ensure!(told.contains("pods/log"), "{told}");
    let refused = space.refused(&["get", "secrets", "--as=anna"])?;
    let message =
        r#"secrets is forbidden: User "anna" cannot list resource "secrets" in API group "" in the namespace "rights""#;
    ensure!(refused.contains(message), "{refused}");
    lab.kubectl_output(&["delete", "clusterrolebinding", "rights-group"]).map(drop)
}
