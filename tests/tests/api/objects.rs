//! Single objects: concurrency, deletion, subresources, forms.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use knarr_tests::api::{Answer, Api};
use knarr_tests::lab::Lab;
use knarr_tests::space::{POD, Space};
use knarr_tests::wait::until;
use serde_json::json;

use crate::malformed::{JSON, expect};

const MERGE: (&str, &str) = ("Content-Type", "application/merge-patch+json");

pub(crate) fn conflicts(lab: &Lab) -> Result<()> {
    let space = Space::new(lab, "conflicts")?;
    let api = Api::admin(lab)?;
    let all = format!("/api/v1/namespaces/{}/configmaps", space.name());
    let path = format!("{all}/counter");
    let first = api.post(&all, &json!({"metadata": {"name": "counter"}, "data": {"n": "0"}}))?.json()?;
    // Eight writers that each add one ten times, with optimistic retries: nothing is lost.
    let rounds = |api: Api, path: String| -> Result<()> {
        let mut connection = api.connect()?;
        let mut done = 0;
        while done < 10 {
            let mut object = connection.request("GET", &path, &[], b"")?.json()?;
            let number: u32 = object["data"]["n"].as_str().context("n")?.parse()?;
            object["data"]["n"] = (number + 1).to_string().into();
            let answer = connection.request("PUT", &path, &[JSON], object.to_string().as_bytes())?;
            ensure!(matches!(answer.status, 200 | 409), "{answer}");
            done += u32::from(answer.status == 200);
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..8).map(|_| scope.spawn(|| rounds(api.clone(), path.clone()))).collect();
        writers.into_iter().try_for_each(|writer| writer.join().map_err(|_| anyhow::anyhow!("panicked"))?)
    })?;
    ensure!(api.get(&path)?["data"]["n"] == "80");
    let answer = api.request("PUT", &path, &[JSON], first.to_string().as_bytes())?;
    ensure!(answer.status == 409 && answer.json()?["reason"] == "Conflict", "{answer}");
    let last = api.get(&path)?;
    let same = api.request("PUT", &path, &[JSON], last.to_string().as_bytes())?.json()?;
    ensure!(
        same["metadata"]["resourceVersion"] == last["metadata"]["resourceVersion"],
        "no change, no revision: {same}"
    );
    let blind = json!({"metadata": {"name": "counter"}, "data": {"n": "81"}});
    let answer = api.request("PUT", &path, &[JSON], blind.to_string().as_bytes())?;
    ensure!(answer.status == 200, "an update without resourceVersion is unconditional: {answer}");
    Ok(())
}

pub(crate) fn deletion(lab: &Lab) -> Result<()> {
    let space = Space::new(lab, "deletion")?;
    let api = Api::admin(lab)?;
    let all = format!("/api/v1/namespaces/{}/configmaps", space.name());
    let path = format!("{all}/held");
    let made = api.post(&all, &json!({"metadata": {"name": "held", "finalizers": ["example.com/hold"]}}))?.json()?;
    for preconditions in [json!({"uid": "other"}), json!({"resourceVersion": "1"})] {
        let body = json!({"preconditions": preconditions}).to_string();
        let answer = api.request("DELETE", &path, &[JSON], body.as_bytes())?;
        ensure!(answer.status == 409 && answer.json()?["reason"] == "Conflict", "{body}: {answer}");
    }
    let body = json!({"preconditions": {"uid": made["metadata"]["uid"]}}).to_string();
    let answer = api.request("DELETE", &path, &[JSON], body.as_bytes())?;
    ensure!(answer.status == 200, "{answer}");
    ensure!(api.get(&path)?["metadata"]["deletionTimestamp"].is_string(), "a finalizer holds it");
    let answer = api.request(
        "PATCH",
        &path,
        &[MERGE],
        br#"{"metadata":{"finalizers":["example.com/hold","example.com/more"]}}"#,
    )?;
    ensure!(answer.status == 422, "no new finalizers while it goes: {answer}");
    let answer = api.request("PATCH", &path, &[MERGE], br#"{"metadata":{"finalizers":null}}"#)?;
    ensure!(answer.status == 200, "{answer}");
    ensure!(api.request("GET", &path, &[], b"")?.status == 404, "it goes with its last finalizer");
    let answer = api.request("DELETE", &format!("{all}/kube-root-ca.crt?dryRun=All"), &[], b"")?;
    ensure!(answer.status == 200, "{answer}");
    ensure!(
        api.request("GET", &format!("{all}/kube-root-ca.crt"), &[], b"")?.status == 200,
        "a dry run deletes nothing"
    );
    Ok(())
}

pub(crate) fn collections(lab: &Lab) -> Result<()> {
    let space = Space::new(lab, "collections")?;
    let api = Api::admin(lab)?;
    let all = format!("/api/v1/namespaces/{}/secrets", space.name());
    let mut names = BTreeSet::new();
    for number in 0..10 {
        let object = json!({"metadata": {"generateName": "gen-", "labels": {"half": (number % 2).to_string()}}});
        let name = api.post(&all, &object)?.json()?["metadata"]["name"].as_str().context("name")?.to_owned();
        ensure!(name.len() == 9 && name.starts_with("gen-"), "{name}");
        names.insert(name);
    }
    ensure!(names.len() == 10, "{names:?}");
    let answer = api.request("DELETE", &format!("{all}?labelSelector=half%3D1"), &[], b"")?;
    ensure!(answer.status == 200, "{answer}");
    let left = api.get(&all)?["items"].as_array().map(Vec::len);
    ensure!(left == Some(5), "{left:?}");
    api.request("DELETE", &all, &[], b"")?;
    ensure!(api.get(&all)?["items"] == json!([]));
    Ok(())
}

pub(crate) fn binding(lab: &Lab) -> Result<()> {
    let space = Space::new(lab, "binding")?;
    let api = Api::admin(lab)?;
    space.apply(
        r#"{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {schedulerName: nobody, restartPolicy: Never,
            containers: [{name: c, image: "busybox:1", command: ["true"]}]}}"#,
    )?;
    let node = lab.kubectl_output(&["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"])?;
    let path = format!("/api/v1/namespaces/{}/pods/a/binding", space.name());
    let target = json!({"metadata": {"name": "a"}, "target": {"kind": "Node", "name": node}});
    let answer = api.post(&path, &target)?;
    ensure!(answer.status == 201 && answer.json()?["status"] == "Success", "{answer}");
    let answer = api.post(&path, &target)?;
    expect("a second binding", &answer, 409, "Conflict", &format!("pod a is already assigned to node \"{node}\""))?;
    space.until_is("pod/a", ".status.phase", "Succeeded")
}

pub(crate) fn subresources(lab: &Lab) -> Result<()> {
    let space = Space::new(lab, "subresources")?;
    let api = Api::admin(lab)?;
    space.kubectl(&["create", "deployment", "web", "--image=busybox:1", "--replicas=0"])?;
    let path = format!("/apis/apps/v1/namespaces/{}/deployments/web", space.name());
    let scale = api.get(&format!("{path}/scale"))?;
    ensure!(scale["kind"] == "Scale" && scale["apiVersion"] == "autoscaling/v1", "{scale}");
    ensure!(scale["status"]["selector"] == "app=web", "{scale}");
    let patched = api.request("PATCH", &path, &[MERGE], br#"{"status":{"replicas":9}}"#)?.json()?;
    ensure!(patched["status"]["replicas"] != 9, "status is its own subresource: {patched}");
    let body = br#"{"spec":{"replicas":5},"status":{"conditions":[{"type":"Mine","status":"True"}]}}"#;
    let patched = api.request("PATCH", &format!("{path}/status"), &[MERGE], body)?.json()?;
    ensure!(patched["spec"]["replicas"] == 0, "spec does not change through status: {patched}");
    let generation = api.get(&path)?["metadata"]["generation"].clone();
    space.kubectl(&["label", "deployment/web", "a=b"])?;
    ensure!(api.get(&path)?["metadata"]["generation"] == generation, "labels are no new generation");
    let body = br#"{"spec":{"minReadySeconds":1}}"#;
    let patched = api.request("PATCH", &path, &[MERGE], body)?.json()?;
    ensure!(patched["metadata"]["generation"].as_i64() > generation.as_i64(), "a spec is a new generation: {patched}");
    until("the controller has seen it", POD, || {
        let seen = api.get(&path).map_err(|error| format!("{error:#}"))?;
        let (observed, generation) = (&seen["status"]["observedGeneration"], &seen["metadata"]["generation"]);
        if observed == generation { Ok(()) } else { Err(format!("{observed} of {generation}")) }
    })
}

pub(crate) fn representations(lab: &Lab) -> Result<()> {
    let space = Space::new(lab, "forms")?;
    let api = Api::admin(lab)?;
    space.kubectl(&["create", "secret", "generic", "one", "--from-literal=a=b"])?;
    let path = format!("/api/v1/namespaces/{}/secrets", space.name());
    for (accept, status, part) in [
        ("application/json", 200, r#""kind":"SecretList""#),
        ("*/*", 200, r#""kind":"SecretList""#),
        ("application/yaml", 200, "kind: SecretList"),
        ("application/json;as=Table;v=v1;g=meta.k8s.io", 200, r#""columnDefinitions""#),
        (
            "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
            200,
            r#""kind":"PartialObjectMetadataList""#,
        ),
        ("application/json;as=Table;v=v1;g=meta.k8s.io, application/json", 200, r#""kind":"Table""#),
        ("text/html, application/json;q=0.5", 200, r#""kind":"SecretList""#),
        ("image/png", 406, "NotAcceptable"),
    ] {
        let answer = api.request("GET", &path, &[("Accept", accept)], b"")?;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        ensure!(answer.status == status && text.contains(part), "Accept: {accept}: {answer}");
    }
    let plain = api.request("GET", &path, &[], b"")?;
    ensure!(plain.header("Cache-Control") == Some("no-cache, private"), "{:?}", plain.headers);
    ensure!(plain.header("Audit-Id").is_some(), "{:?}", plain.headers);
    for path in ["/openapi/v2", "/openapi/v3", "/openapi/v3/api/v1", "/version", "/api", "/apis"] {
        let start = std::time::Instant::now();
        let answer = api.request("GET", path, &[("Accept", "application/json")], b"")?;
        ensure!(answer.status == 200, "{path}: {answer}");
        answer.json()?;
        ensure!(start.elapsed() < Duration::from_secs(20), "{path} took {:?}", start.elapsed());
    }
    Ok(())
}

/// What two Services cannot both have: of many that ask for the same at once one gets it, and whoever asks for nothing in
/// particular gets what nobody has.
pub(crate) fn service_addresses(lab: &Lab) -> Result<()> {
    const AT_ONCE: usize = 8;
    let space = Space::new(lab, "given-once")?;
    let api = Api::admin(lab)?;
    let all = format!("/api/v1/namespaces/{}/services", space.name());
    let make = |name: String, address: &str, port: u16| -> Result<Answer> {
        let ports = json!([{"port": 80, "nodePort": port}]);
        api.post(
            &all,
            &json!({"metadata": {"name": name}, "spec": {"type": "NodePort", "clusterIP": address, "ports": ports}}),
        )
    };
    let race = |address: &str, port: u16| -> Result<Vec<Answer>> {
        std::thread::scope(|scope| {
            let start = |number: usize| scope.spawn(move || make(format!("s{number}-{port}"), address, port));
            let threads: Vec<_> = (0..AT_ONCE).map(start).collect();
            threads.into_iter().map(|thread| thread.join().map_err(|_| anyhow::anyhow!("panicked"))?).collect()
        })
    };
    for (address, port, message) in
        [("10.43.77.7", 0, "provided IP is already allocated"), ("", 30_777, "provided port is already allocated")]
    {
        let answers = race(address, port)?;
        let winners: Vec<_> = answers.iter().filter(|answer| answer.status == 201).collect();
        ensure!(winners.len() == 1, "{address} {port}: {answers:?}");
        for loser in answers.iter().filter(|answer| answer.status != 201) {
            expect("what another has", loser, 422, "Invalid", message)?;
        }
        let name = winners[0].json()?["metadata"]["name"].as_str().context("name")?.to_owned();
        space.kubectl(&["delete", "service", &name])?;
        let again = make(format!("again-{port}"), address, port)?;
        ensure!(again.status == 201, "it is free with its owner's end: {again}");
    }
    let (mut addresses, mut ports) = (BTreeSet::new(), BTreeSet::new());
    for answer in race("", 0)? {
        ensure!(answer.status == 201, "{answer}");
        let spec = answer.json()?["spec"].clone();
        addresses.insert(spec["clusterIP"].to_string());
        ports.insert(spec["ports"][0]["nodePort"].to_string());
    }
    ensure!(addresses.len() == AT_ONCE && ports.len() == AT_ONCE, "{addresses:?} {ports:?}");
    Ok(())
}
