//! Snapshots: a cluster that goes on elsewhere, and files that are none.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use knarr_tests::api::Api;
use knarr_tests::lab::Lab;
use knarr_tests::suite::{OwnLab, beside};
use knarr_tests::wait::until;
use serde_json::{Value, json};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const ELSEWHERE: &str = "192.168.1.77";
const DEPLOYMENT: &str = r#"
{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {
  "selector": {"matchLabels": {"app": "web"}}, "template": {"metadata": {"labels": {"app": "web"}}, "spec": {
    "terminationGracePeriodSeconds": 0,
    "containers": [{"name": "a", "image": "busybox:1", "command": ["sleep", "1000"]}]}}}}"#;

/// `knarr snapshot` as the operator of the lab's node types it, in a shell on that machine.
struct Operator {
    knarr: PathBuf,
    lab: Lab,
    files: tempfile::TempDir,
}

impl Operator {
    fn new(lab: &Lab) -> Result<Self> {
        let files = tempfile::tempdir()?;
        fs::write(files.path().join("passphrase"), "correct horse battery\n")?;
        fs::write(files.path().join("wrong"), "correct horse batteries\n")?;
        Ok(Self { knarr: beside("knarr")?, lab: lab.clone(), files })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    /// Saving needs the server, whose address is one of the node.
    fn save(&self, name: &str, arguments: &[&str]) -> Result<Output> {
        let mut command = self.lab.on_node(&self.knarr.to_string_lossy())?;
        command.args(["snapshot", "save"]).arg(self.file(name)).args(arguments);
        Ok(command.arg("--data-dir").arg(self.lab.paths().state()).output()?)
    }

    fn passphrase(&self, name: &str) -> String {
        format!("--passphrase-file={}", self.file(name).display())
    }

    fn restore(&self, name: &str, arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new(&self.knarr);
        command.args(["snapshot", "restore"]).arg(self.file(name)).args(arguments);
        Ok(command.arg("--data-dir").arg(self.lab.paths().state()).output()?)
    }

    fn list(&self, directory: &Path) -> Result<Output> {
        Ok(Command::new(&self.knarr).args(["snapshot", "ls"]).arg(directory).output()?)
    }

    /// One line, exit code 1, and nothing touched.
    fn refused(&self, name: &str, arguments: &[&str], why: &str) -> Result<()> {
        let before = names(self.lab.paths().state())?;
        let output = self.restore(name, arguments)?;
        let told = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(1) && told.lines().count() == 1 && told.contains(why), "{output:?}");
        ensure!(names(self.lab.paths().state())? == before, "it left something");
        Ok(())
    }
}

fn names(directory: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

fn worked(output: &Output) -> Result<String> {
    ensure!(output.status.success(), "{output:?}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn revision(list: &Value) -> Result<u64> {
    Ok(list.pointer("/metadata/resourceVersion").and_then(Value::as_str).context("no resourceVersion")?.parse()?)
}

/// Creates numbered objects one after the other until it is told to stop; how many there are.
fn count_up(api: &Api, stop: &AtomicBool) -> Result<usize> {
    let mut connection = api.connect()?;
    let mut made = 0;
    while !stop.load(Ordering::Relaxed) {
        let object = json!({"metadata": {"name": format!("count-{made:05}"), "labels": {"counted": ""}}});
        let answer =
            connection.request("POST", MAPS, &[("Content-Type", "application/json")], object.to_string().as_bytes())?;
        ensure!(answer.status == 201, "{answer}");
        made += 1;
    }
    Ok(made)
}

fn counted(api: &Api) -> Result<usize> {
    let list = api.get(&format!("{MAPS}?labelSelector=counted"))?;
    let items = list.get("items").and_then(Value::as_array).context("no items")?;
    for (number, item) in items.iter().enumerate() {
        let name = item.pointer("/metadata/name").and_then(Value::as_str);
        ensure!(name == Some(&format!("count-{number:05}")), "{number} is missing: {name:?}");
    }
    Ok(items.len())
}

fn field(lab: &Lab, object: &str, path: &str) -> Result<String> {
    lab.kubectl_output(&["get", object, &format!("--output=jsonpath={path}")])
}

#[test]
fn a_cluster_goes_on_on_another_machine() -> Result<()> {
    let mut own = OwnLab::new(&[])?;
    own.up()?;
    let operator = Operator::new(own.lab())?;
    let lab = own.lab();
    lab.kubectl_output(&["create", "secret", "generic", "safe", "--from-literal=password=hunter2"])?;
    lab.kubectl_output(&["create", "serviceaccount", "robot"])?;
    let token = lab.kubectl_output(&["create", "token", "robot", "--duration=24h"])?;
    lab.kubectl_output(&[
        "create",
        "clusterrolebinding",
        "robot",
        "--clusterrole=cluster-admin",
        "--serviceaccount=default:robot",
    ])?;
    let robbed = Api::with_token(lab, token.trim())?.post("/knarr/v1/snapshot", &json!({}))?;
    ensure!(robbed.status == 403 && robbed.to_string().contains("system:masters only"), "{robbed}");
    let deployment = operator.file("web.json");
    fs::write(&deployment, DEPLOYMENT)?;
    lab.kubectl_output(&["apply", "--filename", &deployment.to_string_lossy()])?;
    lab.kubectl_output(&["rollout", "status", "deployment/web", "--timeout=60s"])?;

    // While somebody writes.
    let (api, stop) = (Api::admin(lab)?, AtomicBool::new(false));
    let (saved, made) = std::thread::scope(|scope| {
        let writer = scope.spawn(|| count_up(&api, &stop));
        let begun = until("there are some", Duration::from_secs(10), || match counted(&api) {
            Ok(count) if count > 20 => Ok(count),
            other => Err(format!("{other:?}")),
        });
        let saved = operator.save("a.snapshot", &[&operator.passphrase("passphrase")]);
        stop.store(true, Ordering::Relaxed);
        let made = writer.join().map_err(|_| anyhow::anyhow!("the writer panicked"))?;
        anyhow::Ok(((begun?, worked(&saved?)?), made?))
    })?;
    ensure!(saved.1.contains(", with the cluster's keys, "), "{saved:?}");
    ensure!(fs::metadata(operator.file("a.snapshot"))?.permissions().mode() & 0o777 == 0o600);
    let again = operator.save("a.snapshot", &["--without-keys"])?;
    ensure!(String::from_utf8_lossy(&again.stderr).ends_with("a.snapshot exists\n"), "{again:?}");
    let mute = operator.save("b.snapshot", &[&operator.passphrase("nowhere")])?;
    ensure!(mute.status.code() == Some(1) && !operator.file("b.snapshot").exists(), "{mute:?}");
    ensure!(names(operator.files.path())? == ["a.snapshot", "passphrase", "web.json", "wrong"]);
    lab.kubectl_output(&["create", "configmap", "too-late"])?;
    let old = revision(&api.get(MAPS)?)?;
    operator.refused("a.snapshot", &[&operator.passphrase("passphrase")], "/store exists: ")?;
    let kubeconfig = fs::read_to_string(lab.paths().kubeconfig())?;
    let pod = lab.kubectl_output(&["get", "pods", "--output=name"])?;

    // Another machine: nothing of the old one is there, not even its address.
    lab.wipe()?;
    broken_ones_are_refused(&operator)?;
    let told = worked(&operator.restore("a.snapshot", &[&operator.passphrase("passphrase")])?)?;
    ensure!(told.ends_with("its kubeconfigs and tokens stay valid\n"), "{told}");
    operator.refused("a.snapshot", &[&operator.passphrase("passphrase")], "/store exists: ")?;
    lab.boot()?;
    lab.readdress(ELSEWHERE)?;
    own.add_arguments(&["--node-ip", ELSEWHERE]);
    own.up()?;
    let lab = own.lab();

    // The old administrator and the old robot are known, and know the server.
    fs::write(operator.file("kubeconfig"), kubeconfig)?;
    let old_config = format!("--kubeconfig={}", operator.file("kubeconfig").display());
    let password = lab.kubectl_output(&[&old_config, "get", "secret", "safe", "--output=jsonpath={.data.password}"])?;
    ensure!(password == "aHVudGVyMg==", "{password}");
    let mut reached = lab.on_node("kubectl")?;
    reached.arg("--kubeconfig").arg(lab.paths().state().join("admin.kubeconfig"));
    let reached = reached.args([&format!("--server=https://{ELSEWHERE}:6443"), "get", "--raw", "/readyz"]).output()?;
    ensure!(reached.status.success(), "{reached:?}");
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let answer =
        Api::with_token(lab, token.trim())?.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", &review)?;
    ensure!(answer.json()?["status"]["userInfo"]["username"] == "system:serviceaccount:default:robot", "{answer}");

    // One moment of the old cluster, and a time after all of it.
    let api = Api::admin(lab)?;
    let count = counted(&api)?;
    ensure!((saved.0..=made).contains(&count), "{count} of {made}");
    ensure!(api.request("GET", &format!("{MAPS}/too-late"), &[], b"")?.status == 404);
    ensure!(revision(&api.get(MAPS)?)? > old + (1 << 39));
    let watched = api.request("GET", &format!("{MAPS}?watch=1&resourceVersion={old}&timeoutSeconds=5"), &[], b"")?;
    ensure!(watched.to_string().contains("\"code\":410"), "{watched}");

    // The node is the old one, with the new address; its pods run again.
    let address = "{.status.addresses[?(@.type==\"InternalIP\")].address}";
    until("the node tells its address", Duration::from_secs(20), || match field(lab, "node", "{.items[*]}")?.len() {
        0 => anyhow::bail!("there is no node"),
        _ => {
            let seen = field(lab, &format!("node/{}-node", lab.name()), address)?;
            ensure!(seen == ELSEWHERE, "{seen}");
            Ok(())
        }
    })?;
    let endpoints = field(lab, "endpointslice/kubernetes", "{.endpoints[*].addresses[*]}")?;
    ensure!(endpoints == ELSEWHERE, "{endpoints}");
    until("the pod runs again", Duration::from_secs(60), || {
        let state = field(lab, pod.trim(), "{.status.containerStatuses[0].state.running.startedAt} {.status.hostIP}")?;
        let logged = lab.kubectl_output(&["exec", pod.trim(), "--", "echo", "here"])?;
        ensure!(state.ends_with(ELSEWHERE) && logged == "here\n", "{state} {logged}");
        Ok(())
    })
}

fn broken_ones_are_refused(operator: &Operator) -> Result<()> {
    let passphrase = operator.passphrase("passphrase");
    operator.refused("a.snapshot", &[&operator.passphrase("wrong")], "the passphrase is not that of this snapshot")?;
    operator.refused(
        "a.snapshot",
        &[&passphrase, "--etcd-servers=http://127.0.0.1:1"],
        "`etcdutl snapshot restore`",
    )?;
    operator.refused("absent", &[&passphrase], "cannot read ")?;
    operator.refused("passphrase", &[&passphrase], "this is no snapshot of knarr")?;
    let whole = fs::read(operator.file("a.snapshot"))?;
    fs::create_dir(operator.file("broken"))?;
    let (half, rest) = whole.split_at(whole.len() / 2);
    fs::write(operator.file("broken/cut.snapshot"), half)?;
    fs::write(
        operator.file("broken/damaged.snapshot"),
        [half, &rest.iter().map(|byte| !byte).collect::<Vec<_>>()].concat(),
    )?;
    operator.refused("broken/cut.snapshot", &[&passphrase], "the snapshot is cut off")?;
    operator.refused("broken/damaged.snapshot", &[&passphrase], "the snapshot is damaged: ")?;
    let listed = operator.list(&operator.file("broken"))?;
    let lines = String::from_utf8_lossy(&listed.stdout).lines().filter(|line| line.contains("snapshot is")).count();
    ensure!(listed.status.code() == Some(1) && lines == 2, "{listed:?}");
    let listed = worked(&operator.list(operator.files.path())?)?;
    let row = listed.lines().find(|line| line.starts_with("a.snapshot ")).context("it is not listed")?;
    ensure!(row.contains(&whole.len().to_string()) && row.split_whitespace().skip(5).eq(["yes", "ok"]), "{listed}");
    Ok(())
}

#[test]
fn missed_snapshots_are_made_up_for_and_old_ones_go() -> Result<()> {
    let mut own = OwnLab::new(&["--snapshot-retention=2", "--snapshot-schedule=0 0 * * *"])?;
    own.lab().up()?;
    let operator = Operator::new(own.lab())?;
    let lab = own.lab();
    let (state, snapshots) = (lab.paths().state().to_owned(), lab.paths().state().join("snapshots"));
    ensure!(!snapshots.exists(), "a new node has missed a snapshot");
    lab.kubectl_output(&["create", "secret", "generic", "safe", "--from-literal=password=hunter2"])?;
    lab.stop()?;
    fs::create_dir(&snapshots)?;
    let node = format!("{}-node", lab.name());
    let scheduled = |time: &str| format!("scheduled-{node}-{time}.snapshot");
    for day in 1..4 {
        fs::write(snapshots.join(scheduled(&format!("2026010{day}T000000Z"))), "")?;
    }
    fs::write(snapshots.join("mine.snapshot"), "")?;
    own.add_arguments(&[&operator.passphrase("passphrase").replace("--", "--snapshot-")]);
    own.lab().up()?;
    let lab = own.lab();
    let made = until("one is made", Duration::from_secs(20), || {
        let names = names(&snapshots)?;
        ensure!(names.len() == 3 && names.iter().all(|name| !name.starts_with('.')), "{names:?}");
        Ok(names)
    })?;
    ensure!(made[0] == "mine.snapshot" && made[1] == scheduled("20260103T000000Z"), "{made:?}");
    let listed = operator.list(&snapshots)?;
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let row = listed.lines().find(|line| line.starts_with(&made[2])).context("it is not listed")?;
    ensure!(row.split_whitespace().skip(5).eq(["yes", "ok"]), "{listed}");

    // A place that takes none: the server goes on and tells.
    worked(&operator.save("keyless.snapshot", &["--without-keys"])?)?;
    let keys = fs::read(state.join("encryption-config.yaml"))?;
    lab.stop()?;
    fs::remove_dir_all(&snapshots)?;
    fs::write(&snapshots, "")?;
    let yesterday = std::time::SystemTime::now() - Duration::from_secs(2 * 86_400);
    fs::File::open(state.join("node-name"))?.set_modified(yesterday)?;
    lab.up()?;
    until("the failure is told", Duration::from_secs(20), || {
        let told = lab.kubectl_output(&["get", "events", "--field-selector=reason=SnapshotFailed", "--output=name"])?;
        ensure!(!told.is_empty(), "there is no event");
        Ok(())
    })?;

    without_keys_their_owner_has_to_bring_them(&operator, &keys)?;
    own.lab().up()?;
    let password = field(own.lab(), "secret/safe", "{.data.password}")?;
    ensure!(password == "aHVudGVyMg==", "{password}");
    Ok(())
}

fn without_keys_their_owner_has_to_bring_them(operator: &Operator, keys: &[u8]) -> Result<()> {
    let state = operator.lab.paths().state();
    operator.lab.wipe()?;
    operator.refused("keyless.snapshot", &[], "--without-sealed leaves them out")?;
    let other = String::from_utf8_lossy(keys).replace("secret: ", "secret: AAAA");
    fs::write(operator.file("other"), other)?;
    let named = |name: &str| format!("--encryption-provider-config={}", operator.file(name).display());
    operator.refused("keyless.snapshot", &[&named("other")], "other")?;
    let told = worked(&operator.restore("keyless.snapshot", &["--without-sealed"])?)?;
    ensure!(told.contains("and are left out\n") && told.contains("makes new authorities"), "{told}");
    fs::remove_dir_all(state.join("store"))?;
    fs::write(state.join("encryption-config.yaml"), keys)?;
    let told = worked(&operator.restore("keyless.snapshot", &[])?)?;
    ensure!(!told.contains("left out") && told.contains("makes new authorities"), "{told}");
    Ok(())
}
