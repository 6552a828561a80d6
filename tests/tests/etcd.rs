//! A server that keeps its state in etcd, over TLS: its own restarts and those of etcd lose nothing.

use std::process::Command;

use anyhow::{Result, ensure};
use knarr_tests::command::output;
use knarr_tests::etcd::Etcd;
use knarr_tests::lab::Host;
use knarr_tests::suite::{OwnLab, beside};

const VALUE: &str = "--output=jsonpath={.data.said}";

#[test]
fn a_server_keeps_its_state_in_etcd() -> Result<()> {
    let mut own = OwnLab::new(&[])?;
    own.lab().boot()?;
    let mut etcd = Etcd::start_in(&own.lab().namespace(Host::Node), 1)?;
    let arguments = [
        format!("--etcd-servers={}", etcd.servers().join(",")),
        format!("--etcd-cafile={}", etcd.ca_file().display()),
        format!("--etcd-certfile={}", etcd.cert_file().display()),
        format!("--etcd-keyfile={}", etcd.key_file().display()),
        "--etcd-prefix=/labs/one".to_owned(),
    ];
    own.add_arguments(&arguments.each_ref().map(String::as_str));
    own.up()?;
    let lab = own.lab();
    let say = |name: &str, text: &str| {
        lab.kubectl_output(&["create", "configmap", name, &format!("--from-literal=said={text}")])
    };
    let said = |name: &str| lab.kubectl_output(&["get", "configmap", name, VALUE]);

    say("first", "before")?;
    ensure!(!lab.paths().state().join("store").exists(), "there is a log beside etcd");
    lab.kill_server()?;
    own.up()?;
    ensure!(said("first")? == "before");

    // Saved as from a log, but back into a log only.
    let knarr = beside("knarr")?;
    let directory = tempfile::tempdir()?;
    let (file, elsewhere) = (directory.path().join("a.snapshot"), directory.path().join("elsewhere"));
    let mut save = lab.on_node(&knarr.to_string_lossy())?;
    save.args(["snapshot", "save", "--without-keys", "--data-dir"]).arg(lab.paths().state()).arg(&file);
    let saved = output(&mut save)?;
    ensure!(saved.contains(", without the cluster's keys, "), "{saved}");
    let mut restore = Command::new(&knarr);
    let restored = output(restore.args(["snapshot", "restore", "--data-dir"]).arg(&elsewhere).arg(&file))?;
    ensure!(restored.starts_with("restored ") && elsewhere.join("store").exists(), "{restored}");

    etcd.kill(0)?;
    etcd.restart(0)?;
    say("second", "after")?;
    let names = lab.kubectl_output(&["get", "configmaps", "--output=name"])?;
    ensure!(names.lines().filter(|name| name.ends_with("first") || name.ends_with("second")).count() == 2, "{names}");
    // The server's watches are whole again: a controller acts on what it has seen.
    lab.kubectl_output(&["create", "namespace", "later"])?;
    lab.kubectl_output(&["wait", "--for=create", "--namespace=later", "--timeout=30s", "serviceaccount/default"])?;
    Ok(())
}
