//! Secrets at rest: sealed from the first start, by a key that can be changed while the server runs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Result, ensure};
use knarr_tests::lab::Lab;
use knarr_tests::suite::OwnLab;
use knarr_tests::wait::until;

const SECRET: &str = "correct-horse-battery-staple";
const LATER: &str = "Tr0ub4dor-and-3";
const PLAIN: &str = "no-secret-at-all";

/// Whether some file of the store has these bytes.
fn is_stored(lab: &Lab, text: &str) -> Result<bool> {
    let base64 = base64_of(text);
    for entry in fs::read_dir(lab.paths().state().join("store"))? {
        let path = entry?.path();
        if path.is_file() {
            let content = fs::read(path)?;
            let holds = |text: &str| content.windows(text.len()).any(|window| window == text.as_bytes());
            if holds(text) || holds(&base64) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

fn base64_of(text: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(text)
}

fn secret(lab: &Lab, name: &str) -> Result<String> {
    lab.kubectl_output(&["get", "secret", name, "--output=jsonpath={.data.password}"])
}

fn create(lab: &Lab, kind: &[&str], name: &str, text: &str) -> Result<()> {
    let literal = format!("--from-literal=password={text}");
    lab.kubectl_output(&[&["create"], kind, &[name, &literal]].concat()).map(drop)
}

fn rotate(lab: &Lab, knarr: &Path) -> Result<std::process::Output> {
    let mut rotation = lab.on_node(&knarr.to_string_lossy())?;
    rotation.args(["secrets", "rotate-key", "--data-dir"]).arg(lab.paths().state());
    Ok(rotation.output()?)
}

#[test]
fn secrets_are_sealed_and_their_key_can_be_rotated() -> Result<()> {
    let mut own = OwnLab::new(&[])?;
    let knarr = knarr_tests::suite::beside("knarr")?;
    own.lab().up()?;
    let lab = own.lab();
    create(lab, &["secret", "generic"], "first", SECRET)?;
    create(lab, &["configmap"], "plain", PLAIN)?;
    ensure!(is_stored(lab, PLAIN)?, "the search finds what is stored as it is");
    ensure!(!is_stored(lab, SECRET)?, "the Secret is readable on the disk");
    let keys = lab.paths().state().join("encryption-config.yaml");
    ensure!(fs::metadata(&keys)?.permissions().mode() & 0o777 == 0o600);

    let rotated = rotate(lab, &knarr)?;
    let told = String::from_utf8_lossy(&rotated.stdout);
    ensure!(told.ends_with("objects are sealed with the new key key2\n"), "{rotated:?}");
    create(lab, &["secret", "generic"], "second", LATER)?;
    lab.kill_server()?;
    lab.up()?;
    ensure!(secret(lab, "first")? == base64_of(SECRET) && secret(lab, "second")? == base64_of(LATER));
    ensure!(!is_stored(lab, LATER)? && is_stored(lab, "k8s:enc:aesgcm:v1:key2:")?);

    // A configuration of the user's own: his key first, knarr's still known; ConfigMaps, too.
    lab.stop()?;
    let given = lab.paths().files().join("encryption.yaml");
    let own_key = base64_of("0123456789abcdef0123456789abcdef");
    let known = fs::read_to_string(&keys)?.replace(
        "providers:",
        &format!("providers:\n  - secretbox:\n      keys:\n      - name: mine\n        secret: {own_key}"),
    );
    fs::write(&given, known.replace("- secrets", "- secrets\n  - configmaps"))?;
    own.add_arguments(&[&format!("--encryption-provider-config={}", given.display())]);
    own.lab().up()?;
    let lab = own.lab();
    until("what was there is sealed anew", std::time::Duration::from_secs(30), || {
        let log = fs::read_to_string(lab.paths().log()).unwrap_or_default();
        if log.contains("sealed what was written by other rules") { Ok(()) } else { Err(lab.log_tail()) }
    })?;
    ensure!(is_stored(lab, "k8s:enc:secretbox:v1:mine:")?);
    ensure!(secret(lab, "first")? == base64_of(SECRET));
    let refused = rotate(lab, &knarr)?;
    let told = String::from_utf8_lossy(&refused.stderr);
    let why = "the keys are those of --encryption-provider-config: add one there, at the first place, and restart";
    ensure!(refused.status.code() == Some(1) && told.contains(why) && told.lines().count() == 1, "{refused:?}");
    Ok(())
}

#[test]
fn a_server_without_its_keys_starts_no_other_cluster() -> Result<()> {
    let own = OwnLab::new(&[])?;
    let lab = own.lab();
    lab.up()?;
    create(lab, &["secret", "generic"], "first", SECRET)?;
    lab.stop()?;
    let keys = lab.paths().state().join("encryption-config.yaml");
    let kept = keys.with_extension("kept");
    fs::rename(&keys, &kept)?;
    let failed = lab.up().expect_err("it starts").to_string();
    let log = fs::read_to_string(lab.paths().log())?;
    ensure!(log.contains("has the keys of the Secrets that are stored: bring it back"), "{failed}: {log}");
    ensure!(!keys.exists(), "other keys were made");
    fs::rename(&kept, &keys)?;
    lab.up()?;
    ensure!(secret(lab, "first")? == base64_of(SECRET));
    Ok(())
}
