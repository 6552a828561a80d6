//! A store that has lost what was safe: the server says where and does not start, and its user gets the rest back.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::process::{Command, Output};

use anyhow::{Result, ensure};
use knarr_tests::suite::{OwnLab, beside};

#[test]
fn a_damaged_store_is_refused_and_repaired() -> Result<()> {
    let own = OwnLab::new(&[])?;
    let lab = own.lab();
    let (knarr, state) = (beside("knarr")?, lab.paths().state().to_owned());
    let store = |what: &str| -> Result<Output> {
        Ok(Command::new(&knarr).args(["store", what, "--data-dir"]).arg(&state).output()?)
    };
    lab.up()?;
    lab.kubectl_output(&["create", "configmap", "kept", "--from-literal=said=before"])?;
    let busy = store("check")?;
    ensure!(String::from_utf8_lossy(&busy.stderr).contains("is in use by another process"), "{busy:?}");
    lab.stop()?;
    ensure!(store("check")?.stdout.starts_with(b"sound: "));

    // Within the first bootstrap objects, with all that follows to prove that they were safe.
    let log = File::options().read(true).write(true).open(state.join("store/00000001.log"))?;
    let mut bytes = [0; 16];
    log.read_exact_at(&mut bytes, 4000)?;
    log.write_all_at(&bytes.map(|byte| byte ^ 0x5a), 4000)?;
    fs::remove_dir_all(state.join("store/index"))?;
    ensure!(lab.up().is_err(), "it starts");
    let told = fs::read_to_string(lab.paths().log())?;
    ensure!(told.contains("00000001.log is damaged at offset ") && told.contains("`knarr store check`"), "{told}");

    let checked = store("check")?;
    let (said, why) = (String::from_utf8_lossy(&checked.stdout), String::from_utf8_lossy(&checked.stderr));
    ensure!(said.contains("damaged: 00000001.log at offset ") && said.contains("lost: "), "{checked:?}");
    ensure!(checked.status.code() == Some(1) && why.contains("`knarr store repair`"), "{checked:?}");
    let repaired = store("repair")?;
    ensure!(repaired.status.success(), "{repaired:?}");
    ensure!(state.join("store.damaged-1/00000001.log").exists(), "{repaired:?}");
    lab.up()?;
    let kept = lab.kubectl_output(&["get", "configmap", "kept", "--output=jsonpath={.data.said}"])?;
    ensure!(kept == "before", "{kept}");
    lab.kubectl_output(&["create", "configmap", "after", "--from-literal=said=after"])?;
    Ok(())
}
