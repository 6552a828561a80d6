//! The machine while it runs.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::guest;
use super::image::Image;

/// For everything; an emulated processor is some twenty times slower than a real one.
const LIMIT: Duration = Duration::from_secs(15 * 60);
/// The guest's kernel looks for hardware that this machine only seems to have.
const KERNEL: &str = "root=/dev/nvme0n1 rw init=/usr/sbin/knarr-vm-init console=ttyS0 panic=-1 loglevel=4 \
    systemd.show_status=auto systemd.wants=lan.service systemd.wants=checks.service \
    modprobe.blacklist=kvm_amd,kvm_intel,ata_piix,powernow_k8";

/// What the checks said.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Checks that held.
    pub passed: usize,
    /// Checks that did not, those that were never reached among them.
    pub failed: usize,
    /// Whether the last check was reached.
    pub complete: bool,
    /// What the machine's console showed.
    pub console: String,
}

/// Ends the process when the test ends in whatever way.
struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        // It has ended by itself unless something went wrong.
        let _ended = self.0.kill().and_then(|()| self.0.wait());
    }
}

pub(super) fn boot(image: &Image, payload: &Path, scratch: &Path) -> Result<Outcome> {
    let console = scratch.join("console");
    eprintln!("booting the virtual machine ...");
    let mut machine = Machine(qemu(image, payload, &console).spawn().context("cannot start qemu-system-x86_64")?);
    let lines = BufReader::new(machine.0.stdout.take().context("qemu has no standard output")?).lines();
    let (sender, received) = mpsc::channel();
    let reading = std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
    let end = Instant::now() + LIMIT;
    let mut outcome = Outcome::default();
    while let Ok(line) = received.recv_timeout(end.saturating_duration_since(Instant::now())) {
        outcome.read(line.trim_end());
    }
    drop(machine);
    drop(reading);
    outcome.console = String::from_utf8_lossy(&fs::read(console).unwrap_or_default()).into_owned();
    Ok(outcome)
}

/// Two disks, two serial lines, and nothing that leads out of the machine. It dies with us even when we are killed.
fn qemu(image: &Image, payload: &Path, console: &Path) -> Command {
    let mut qemu = Command::new("setpriv");
    qemu.args(["--pdeathsig", "KILL", "qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-m", "2G", "-smp", "2"]);
    qemu.args(["-nodefaults", "-nographic", "-nic", "none", "-no-reboot"]);
    qemu.args(["-serial", &format!("file:{}", console.display()), "-serial", "stdio"]);
    qemu.args(["-device", "nvme,id=disks,serial=vm"]);
    for (number, (path, mode)) in [(&*image.disk, "snapshot=on"), (payload, "readonly=on")].into_iter().enumerate() {
        let drive = format!("id=disk{number},file={},if=none,format=raw,{mode}", path.display());
        let device = format!("nvme-ns,bus=disks,nsid={},drive=disk{number}", number + 1);
        qemu.args(["-drive", &drive, "-device", &device]);
    }
    qemu.arg("-kernel").arg(&image.kernel).args(["-append", KERNEL]);
    qemu.stdin(Stdio::null()).stdout(Stdio::piped());
    qemu
}

impl Outcome {
    fn read(&mut self, line: &str) {
        if line.starts_with(guest::PASS) {
            self.passed += 1;
        } else if line.starts_with(guest::FAIL) {
            self.failed += 1;
        } else if line == guest::END {
            self.complete = true;
            return;
        }
        eprintln!("{line}");
    }
}
