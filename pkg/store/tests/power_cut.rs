//! Power cuts on a real file system: the writer is stopped at a random moment, and the disk as it is then, without what the
//! kernel still holds back, is mounted again. Needs root, for loop devices; the mounts are in a namespace of the test's own.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail that way")]
#![allow(missing_docs, unreachable_pub, dead_code, reason = "the suite's own modules")]

mod contract;
mod writer;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use knarr_tests::command::run;
use knarr_tests::small_disk::SmallDisk;
use knarr_tests::wait::until;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rand::Rng;
use tempfile::{TempDir, tempdir};
use writer::{Said, Writer};

/// The file system writes nothing of its own accord.
const OPTIONS: &str = "commit=600";
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    writer::child().await;
}

/// Runs on a thread of its own, whose mounts nobody else sees and which go with it, beside a small disk. The machine's boot
/// id is what the file `boot_id` says in the directory that is handed over.
fn beside_a_disk(work: impl AsyncFnOnce(&Path, SmallDisk) + Send + 'static) {
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNS).expect("this test needs root");
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
        let place = tempdir().unwrap();
        let boot_id = place.path().join("boot_id");
        fs::write(&boot_id, "the first\n").unwrap();
        mount(Some(&boot_id), BOOT_ID, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
        let image = TempDir::new_in(place.path()).unwrap();
        let disk = SmallDisk::new(image, "64M", &place.path().join("mount"), OPTIONS).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(work(place.path(), disk));
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Cuts the power when the writer has said that many lines: the disk as it is found afterwards, and all that was said.
fn cut(disk: &SmallDisk, place: &Path, round: u32, lines: usize, environment: &[(&str, &Path)]) -> (SmallDisk, Said) {
    let mut running = Writer::start(&disk.path().join("store"), environment);
    running.listen(lines);
    let pid = Pid::from_raw(running.process.id().cast_signed());
    kill(pid, Signal::SIGSTOP).unwrap();
    until("every thread has stopped", Duration::from_secs(60), || has_stopped(pid)).unwrap();
    let copy = TempDir::new_in(place).unwrap();
    let after = disk.after_power_cut(copy, &place.join(format!("after-{round}")), OPTIONS).unwrap();
    // The machine is started again.
    fs::write(place.join("boot_id"), format!("{round:0>36}\n")).unwrap();
    (after, running.kill())
}

fn has_stopped(pid: Pid) -> Result<(), String> {
    for task in fs::read_dir(format!("/proc/{pid}/task")).map_err(|error| error.to_string())? {
        let stat = task.and_then(|task| fs::read_to_string(task.path().join("stat")));
        let stat = stat.map_err(|error| error.to_string())?;
        let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        if state != Some('T') {
            return Err(stat);
        }
    }
    Ok(())
}

#[test]
fn what_was_acknowledged_survives_the_power() {
    beside_a_disk(async |place, mut disk| {
        for round in 0..writer::rounds(5, 100) {
            let (after, said) = cut(&disk, place, round, rand::rng().random_range(1..300), &[]);
            eprintln!("round {round}: {} acknowledged, durable up to {}", said.acknowledged.len(), said.durable);
            writer::check(&after.path().join("store"), &said, said.durable).await;
            disk = after;
        }
    });
}

/// The C library's calls that make data durable, doing nothing.
fn lies(place: &Path) -> PathBuf {
    let (source, library) = (place.join("lies.c"), place.join("lies.so"));
    let calls = ["fdatasync", "fsync", "syncfs", "sync_file_range"];
    let text: String = calls.iter().map(|call| format!("int {call}() {{ return 0; }}\n")).collect();
    fs::write(&source, text).unwrap();
    run("cc", &["-shared", "-fPIC", "-o", &library.to_string_lossy(), &source.to_string_lossy()]).unwrap();
    library
}

#[test]
fn without_fdatasync_the_power_cut_is_noticed() {
    beside_a_disk(async |place, disk| {
        let library = lies(place);
        let (after, said) = cut(&disk, place, 0, 100, &[("LD_PRELOAD", &library)]);
        assert!(said.durable > 0, "nothing was written");
        let store = after.path().join("store");
        let checked = tokio::spawn(async move { writer::check(&store, &said, said.durable).await });
        assert!(checked.await.unwrap_err().is_panic(), "everything is there although nothing was synced");
    });
}
