//! `bare-cri SOCKET IMAGE CGROUP`: starts one sandbox with one container by bare CRI calls, prints the seconds that took,
//! and removes them. The peer of the benchmark `pod_post_to_running`.

use std::io::Write as _;
use std::time::{Duration, Instant};

use knarr_kubelet::cri::{Cri, Error, Runtime as _, api, unix_channel};

fn sandbox_config(cgroup: &str) -> api::PodSandboxConfig {
    let unique = format!("bare-{}", std::process::id());
    api::PodSandboxConfig {
        metadata: Some(api::PodSandboxMetadata {
            name: unique.clone(),
            uid: unique,
            namespace: "bare".into(),
            attempt: 0,
        }),
        hostname: "bare".into(),
        linux: Some(api::LinuxPodSandboxConfig { cgroup_parent: cgroup.into(), ..Default::default() }),
        ..Default::default()
    }
}

async fn once(cri: &Cri, image: &str, cgroup: &str) -> Result<Duration, Error> {
    let sandbox = sandbox_config(cgroup);
    let config = api::ContainerConfig {
        metadata: Some(api::ContainerMetadata { name: "c".into(), attempt: 0 }),
        image: Some(api::ImageSpec { image: image.into(), ..Default::default() }),
        command: vec!["sleep".into(), "100000".into()],
        linux: Some(api::LinuxContainerConfig::default()),
        ..Default::default()
    };
    let start = Instant::now();
    let id = cri.run_sandbox(sandbox.clone(), "").await?;
    let container = cri.create_container(&id, config, sandbox).await?;
    cri.start_container(&container).await?;
    let took = start.elapsed();
    cri.stop_sandbox(&id).await?;
    cri.remove_sandbox(&id).await?;
    Ok(took)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [socket, image, cgroup] = arguments.as_slice() else {
        return Err("usage: bare-cri SOCKET IMAGE CGROUP".into());
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let took = runtime.block_on(async {
        let cri = Cri::new(unix_channel(socket.into()));
        // The connection is not what is measured.
        cri.version().await?;
        once(&cri, image, cgroup).await
    })?;
    writeln!(std::io::stdout(), "{:.6}", took.as_secs_f64())?;
    Ok(())
}
