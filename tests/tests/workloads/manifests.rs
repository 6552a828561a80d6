//! Changing objects: apply, patch, edit, label, replace, dry runs.

use anyhow::{Result, ensure};
use knarr_tests::lab::Lab;
use knarr_tests::space::Space;

const DEPLOYMENT: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {tier: front}}
spec:
  replicas: 0
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: a, image: "busybox:1", env: [{name: ONE, value: "1"}, {name: TWO, value: "2"}], ports: [{containerPort: 80}]}
"#;

pub(crate) fn apply_and_patch(lab: &Lab) -> Result<()> {
    let space = Space::new(lab, "applying")?;
    for (documents, told) in [
        (DEPLOYMENT.to_owned(), "deployment.apps/web created\n"),
        (DEPLOYMENT.to_owned(), "deployment.apps/web unchanged\n"),
        (
            DEPLOYMENT.replace("{name: TWO, value: \"2\"}", "{name: THREE, value: \"3\"}"),
            "deployment.apps/web configured\n",
        ),
    ] {
        let seen = space.apply(&documents)?;
        ensure!(seen == told, "{seen:?}, expected {told:?}");
    }
    let names = |path: &str| space.field("deployment/web", path);
    ensure!(names(".spec.template.spec.containers[0].env[*].name")? == "ONE THREE", "apply removes what it once set");
    space.kubectl(&["set", "env", "deployment/web", "FOUR=4"])?;
    space.apply(DEPLOYMENT)?;
    let kept = names(".spec.template.spec.containers[0].env[*].name")?;
    ensure!(kept == "ONE FOUR TWO", "apply keeps what others set: {kept}");

    for (kind, patch, path, value) in [
        (
            "strategic",
            r#"{"spec":{"template":{"spec":{"containers":[{"name":"b","image":"busybox:1"}]}}}}"#,
            ".spec.template.spec.containers[*].name",
            "b a",
        ),
        (
            "strategic",
            r#"{"spec":{"template":{"spec":{"containers":[{"$patch":"delete","name":"b"}]}}}}"#,
            ".spec.template.spec.containers[*].name",
            "a",
        ),
        ("merge", r#"{"metadata":{"labels":{"tier":null,"new":"yes"}}}"#, ".metadata.labels.new", "yes"),
        ("merge", r#"{"spec":{"replicas":null}}"#, ".spec.replicas", "1"),
        (
            "json",
            r#"[{"op":"test","path":"/spec/replicas","value":1},{"op":"replace","path":"/spec/replicas","value":0}]"#,
            ".spec.replicas",
            "0",
        ),
        ("json", r#"[{"op":"add","path":"/metadata/annotations/a~1b","value":"c"}]"#, ".metadata.annotations.a/b", "c"),
    ] {
        space.kubectl(&["patch", "deployment/web", &format!("--type={kind}"), "--patch", patch])?;
        ensure!(names(path)? == value, "{kind} {patch}: {} is {:?}", path, names(path)?);
    }
    let refused = space.refused(&[
        "patch",
        "deployment/web",
        "--type=json",
        "--patch",
        r#"[{"op":"test","path":"/spec/replicas","value":9}]"#,
    ])?;
    ensure!(refused.contains("testing value /spec/replicas failed: test failed"), "{refused}");
    let refused = space.refused(&[
        "patch",
        "deployment/web",
        "--patch",
        r#"{"spec":{"selector":{"matchLabels":{"app":"x"}}}}"#,
    ])?;
    ensure!(refused.contains("is invalid"), "{refused}");
    let told = space.kubectl(&["patch", "deployment/web", "--patch", "{}"])?;
    ensure!(told == "deployment.apps/web patched (no change)\n", "{told}");
    let told = space.kubectl(&[
        "patch",
        "deployment/web",
        "--subresource=scale",
        "--type=merge",
        "-p",
        r#"{"spec":{"replicas":0}}"#,
    ])?;
    ensure!(told.contains("patched"), "{told}");
    Ok(())
}

pub(crate) fn edits(lab: &Lab) -> Result<()> {
    let space = Space::new(lab, "editing")?;
    space.apply(DEPLOYMENT)?;
    let told = space.kubectl(&["apply", "--dry-run=server", "--filename=/dev/null"]);
    ensure!(told.is_err(), "nothing to apply is told");
    let dry = space.feed(&["apply", "--dry-run=server", "-f-"], &DEPLOYMENT.replace("replicas: 0", "replicas: 3"))?;
    ensure!(dry.stdout == b"deployment.apps/web configured (server dry run)\n", "{dry:?}");
    ensure!(space.field("deployment/web", ".spec.replicas")? == "0", "a dry run changes nothing");
    let diff = space.feed(&["diff", "-f-"], &DEPLOYMENT.replace("replicas: 0", "replicas: 3"))?;
    let text = String::from_utf8_lossy(&diff.stdout);
    ensure!(diff.status.code() == Some(1) && text.contains("-  replicas: 0\n+  replicas: 3\n"), "{diff:?}");

    space.kubectl(&["label", "deployment/web", "colour=red"])?;
    let refused = space.refused(&["label", "deployment/web", "colour=blue"])?;
    ensure!(refused.contains("already has a value (red), and --overwrite is false"), "{refused}");
    space.kubectl(&["label", "deployment/web", "colour=blue", "--overwrite"])?;
    space.kubectl(&["annotate", "deployment/web", "note=a longer text"])?;
    for (selector, found) in [
        ("colour=blue", true),
        ("colour in (red, green)", false),
        ("colour,colour!=red", true),
        ("!colour", false),
        ("tier notin (back)", true),
    ] {
        let told = space.kubectl(&["get", "deployments", "-l", selector, "-o", "name"])?;
        ensure!(told.is_empty() != found, "-l {selector}: {told:?}");
    }
    space.kubectl(&["label", "deployment/web", "colour-"])?;
    ensure!(space.field("deployment/web", ".metadata.labels")? == r#"{"tier":"front"}"#);

    let mut object = space.get(&["deployment", "web"])?;
    object["metadata"]["labels"]["tier"] = "back".into();
    let told = space.feed(&["replace", "-f-"], &object.to_string())?;
    ensure!(told.stdout == b"deployment.apps/web replaced\n", "{told:?}");
    let stale = space.feed(&["replace", "-f-"], &object.to_string())?;
    let text = String::from_utf8_lossy(&stale.stderr);
    ensure!(
        text.contains("the object has been modified; please apply your changes to the latest version and try again"),
        "{text}"
    );
    let again = space.feed(&["create", "-f-"], DEPLOYMENT)?;
    let text = String::from_utf8_lossy(&again.stderr);
    ensure!(text.contains(r#"deployments.apps "web" already exists"#), "{text}");
    let typo = space.feed(&["apply", "-f-"], &DEPLOYMENT.replace("replicas: 0", "replica: 0"))?;
    let text = String::from_utf8_lossy(&typo.stderr);
    ensure!(!typo.status.success() && text.contains(r#"unknown field "spec.replica""#), "{text}");
    let told = space.feed(&["delete", "-f-"], DEPLOYMENT)?;
    ensure!(told.stdout.starts_with(br#"deployment.apps "web" deleted"#), "{told:?}");
    let told = space.kubectl(&["delete", "deployment", "web", "--ignore-not-found"])?;
    ensure!(told.is_empty(), "{told}");
    Ok(())
}
