//! What a pod start costs by bare CRI calls: sandbox, create, start, one pod at a time. The yardstick for the kubelet's
//! own speed, on the containerd and the pod network of a running node.
//!
//!     bare_cri SOCKET IMAGE CGROUP_PARENT COUNT
//!
//! prints one line per step: `sandbox_p50_ms`, `create_p50_ms`, `start_p50_ms`, `total_p50_ms`.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Instant;

use knarr_kubelet::cri::{Cri, Error, Runtime as _, api, unix_channel};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [socket, image, parent, count] = arguments.as_slice() else {
        return Err("usage: bare_cri SOCKET IMAGE CGROUP_PARENT COUNT".into());
    };
    let cri = Cri::new(unix_channel(PathBuf::from(socket)));
    let mut times = [const { Vec::new() }; 4];
    for number in 0..count.parse()? {
        let steps = one(&cri, image, parent, number).await?;
        for (list, time) in times.iter_mut().zip(steps) {
            list.push(time);
        }
    }
    let mut out = std::io::stdout().lock();
    for (name, list) in ["sandbox", "create", "start", "total"].iter().zip(&mut times) {
        list.sort_by(f64::total_cmp);
        writeln!(out, "{name}_p50_ms {:.1}", list.get(list.len() / 2).copied().unwrap_or(f64::NAN))?;
    }
    Ok(())
}

/// Milliseconds of each step, and of all; the pod is removed again.
async fn one(cri: &Cri, image: &str, parent: &str, number: u32) -> Result<[f64; 4], Error> {
    let name = format!("bare-{}-{number}", std::process::id());
    let sandbox = api::PodSandboxConfig {
        metadata: Some(api::PodSandboxMetadata {
            name: name.clone(),
            uid: name.clone(),
            namespace: "bare".into(),
            attempt: 0,
        }),
        linux: Some(api::LinuxPodSandboxConfig {
            cgroup_parent: format!("{parent}/{name}"),
            security_context: Some(api::LinuxSandboxSecurityContext {
                namespace_options: Some(api::NamespaceOption {
                    pid: api::NamespaceMode::Container.into(),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    };
    let container = api::ContainerConfig {
        metadata: Some(api::ContainerMetadata { name: "main".into(), attempt: 0 }),
        image: Some(api::ImageSpec { image: image.into(), ..Default::default() }),
        linux: Some(api::LinuxContainerConfig::default()),
        ..Default::default()
    };
    let begin = Instant::now();
    let id = cri.run_sandbox(sandbox.clone(), "").await?;
    let made = begin.elapsed();
    let main = cri.create_container(&id, container, sandbox).await?;
    let created = begin.elapsed();
    cri.start_container(&main).await?;
    let started = begin.elapsed();
    cri.stop_sandbox(&id).await?;
    cri.remove_sandbox(&id).await?;
    let milli = |time: std::time::Duration| time.as_secs_f64() * 1000.0;
    Ok([milli(made), milli(created) - milli(made), milli(started) - milli(created), milli(started)])
}
