//! A full disk under a running server: what takes space is refused in words that help, everything else goes on, and space
//! that comes back is used without anybody's doing.
#![allow(clippy::indexing_slicing, reason = "a test: a panic is its failure")]

use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use knarr_tests::api::{Answer, Api};
use knarr_tests::lab::Lab;
use knarr_tests::small_disk::SmallDisk;
use knarr_tests::suite::OwnLab;
use knarr_tests::wait::until;
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use serde_json::json;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const SOON: Duration = Duration::from_secs(30);
/// What a user reads when the disk is full.
const ADVICE: &str = "no space left for writes: the disk of the store is full: only deletes are possible until there is \
                      space on it again";

/// A lab whose state has a disk of its own.
struct Node {
    // The disk goes first, when nobody uses it any more.
    disk: SmallDisk,
    own: OwnLab,
}

impl Node {
    fn new() -> Result<Self> {
        let own = OwnLab::new(&["--etcd-compaction-interval=3s"])?;
        let disk = SmallDisk::new(tempfile::tempdir_in("/var/lib")?, "256M", own.lab().paths().state(), "defaults")?;
        Ok(Self { disk, own })
    }

    fn lab(&self) -> &Lab {
        self.own.lab()
    }

    /// Somebody else's file, which takes all the space there is.
    fn fill(&self) -> Result<PathBuf> {
        let path = self.disk.path().join("somebody-elses");
        let file = File::create(&path)?;
        let (mut end, mut step) = (0, 16 << 20);
        while step >= 1024 {
            match fallocate(&file, FallocateFlags::empty(), end, step) {
                Ok(()) => end += step,
                Err(Errno::ENOSPC) => step /= 2,
                Err(error) => bail!("cannot fill the disk: {error}"),
            }
        }
        Ok(path)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Err(error) = self.lab().power_off() {
            eprintln!("{error:#}");
        }
    }
}

/// ConfigMaps of almost a megabyte, and which of them must exist.
struct Maps {
    api: Api,
    there: Vec<String>,
    made: usize,
}

impl Maps {
    fn new(lab: &Lab) -> Result<Self> {
        Ok(Self { api: Api::admin(lab)?, there: Vec::new(), made: 0 })
    }

    fn create(&mut self) -> Result<Answer> {
        let name = format!("large-{:03}", self.made);
        self.made += 1;
        let data = "x".repeat(900 << 10);
        let answer = self.api.post(MAPS, &json!({"metadata": {"name": name}, "data": {"name": name, "data": data}}))?;
        if answer.status == 201 {
            self.there.push(name);
        }
        Ok(answer)
    }

    /// Creates until one is refused; the answer to that one.
    fn create_until_refused(&mut self) -> Result<Answer> {
        for _ in 0..100 {
            let answer = self.create()?;
            if answer.status != 201 {
                return Ok(answer);
            }
        }
        bail!("100 ConfigMaps fit on a full disk")
    }

    fn delete_oldest(&mut self) -> Result<String> {
        let name = self.there.remove(0);
        let answer = self.api.request("DELETE", &format!("{MAPS}/{name}"), &[], b"")?;
        ensure!(answer.status == 200, "{answer}");
        Ok(name)
    }

    /// Everything acknowledged is there, and nothing else.
    fn check(&self) -> Result<()> {
        let list = self.api.get(&format!("{MAPS}?limit=500"))?;
        let items = list["items"].as_array().context("items")?;
        let large =
            items.iter().filter(|item| item["data"]["data"].as_str().is_some_and(|data| data.len() == 900 << 10));
        let names: Vec<_> = large.filter_map(|item| item["data"]["name"].as_str()).collect();
        ensure!(names == self.there, "{names:?} instead of {:?}", self.there);
        Ok(())
    }
}

fn check_refusal(answer: &Answer) -> Result<()> {
    let status = answer.json()?;
    let told = (answer.status, status["code"].clone(), status["reason"].clone(), status["message"].clone());
    ensure!(told == (507, 507.into(), "InsufficientStorage".into(), ADVICE.into()), "{answer}");
    Ok(())
}

#[test]
fn a_full_disk_refuses_what_takes_space_and_nothing_else() -> Result<()> {
    let node = Node::new()?;
    node.own.up()?;
    let lab = node.lab();
    let mut maps = Maps::new(lab)?;
    for _ in 0..3 {
        ensure!(maps.create()?.status == 201);
    }
    let first = maps.api.get(MAPS)?["metadata"]["resourceVersion"].as_str().context("a revision")?.to_owned();
    let mut watch = maps.api.watch(&format!("{MAPS}?watch=1&resourceVersion={first}"))?;

    let somebody_elses = node.fill()?;
    check_refusal(&maps.create_until_refused()?)?;
    let refused = lab.kubectl().args(["create", "configmap", "small", "--from-literal=a=b"]).output()?;
    let told = String::from_utf8_lossy(&refused.stderr);
    ensure!(told == format!("error: failed to create configmap: {ADVICE}\n"), "{refused:?}");
    maps.check()?;

    // Deletes get through, watches tell of them, and history is forgotten, as ever.
    let deleted = maps.delete_oldest()?;
    let event = watch.find(SOON, |event| event["type"] == "DELETED")?;
    ensure!(event["object"]["metadata"]["name"] == *deleted, "{event}");
    until("history is compacted", SOON, || {
        let answer =
            maps.api.request("GET", &format!("{MAPS}?resourceVersion={first}&resourceVersionMatch=Exact"), &[], b"");
        match answer {
            Ok(answer) if answer.status == 410 => Ok(()),
            Ok(answer) => Err(answer.status.to_string()),
            Err(error) => Err(format!("{error:#}")),
        }
    })?;
    maps.check()?;

    // So it is after a start.
    lab.kill_server()?;
    node.fill()?;
    lab.up()?;
    maps.api = Api::admin(lab)?;
    maps.check()?;
    check_refusal(&maps.create_until_refused()?)?;
    maps.delete_oldest()?;
    maps.check()?;

    std::fs::remove_file(somebody_elses)?;
    until("writes go on", SOON, || match maps.create() {
        Ok(answer) if answer.status == 201 => Ok(()),
        Ok(answer) => Err(answer.to_string()),
        Err(error) => Err(format!("{error:#}")),
    })?;
    lab.kubectl_output(&["create", "configmap", "small", "--from-literal=a=b"])?;
    maps.check()?;
    lab.kill_server()?;
    lab.up()?;
    maps.api = Api::admin(lab)?;
    maps.check()
}
