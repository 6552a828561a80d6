//! A real containerd, started by us in private directories: adopted, replaced, restarted, filled with images made here.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

mod node;

use std::path::Path;
use std::time::Duration;

use knarr_base::Shutdown;
use knarr_kubelet::containerd::{Containerd, Host, Importer, Settings, Starter, State};
use knarr_kubelet::cri::{Cri, Runtime as _, api};

#[test]
fn a_sandbox_runs_from_an_image_built_here() {
    node::on_a_node("a_sandbox_runs_from_an_image_built_here", async |node| {
        let host = Host::look(&node.directory).unwrap();
        let settings = node.settings(host.restrict_oom_score_adj, host.snapshotter);
        let starter = Starter::Detached { cgroup: "containerd".into() };
        let containerd = Containerd::new(settings.clone(), &host, starter, node.cgroups());
        let (channel, cri, mut state) = (containerd.channel(), containerd.cri(), containerd.state());
        let shutdown = Shutdown::new();
        let running = tokio::spawn(containerd.run(shutdown.clone()));
        state.wait_for(|state| matches!(state, State::Up(_))).await.unwrap();

        let importer = Importer::new(channel, node.directory.clone());
        let pause: &'static [u8] = knarr_images::pause_archive().unwrap().leak();
        importer.embedded("pause", pause).await.unwrap();
        importer.embedded("pause", pause).await.unwrap();
        let images = node.directory.join("images");
        std::fs::create_dir(&images).unwrap();
        let busybox = knarr_images::busybox(Path::new("/bin/busybox"), knarr_images::BUSYBOX_NAMES).unwrap();
        let file = std::fs::File::create(images.join("busybox.tar")).unwrap();
        knarr_images::write_archive(&[busybox], file).unwrap();
        importer.directory(&images).await.unwrap();
        let pinned = importer.pinned().await.unwrap();
        for name in [knarr_images::PAUSE_NAME, "docker.io/library/busybox:latest"] {
            assert!(pinned.iter().any(|known| known == name), "{name} is not among {pinned:?}");
        }

        let sandbox = run_sandbox(&cri, &node).await;
        let status = cri.sandbox_status(&sandbox).await.unwrap();
        assert_eq!(status.state(), api::PodSandboxState::SandboxReady);
        let output = run(&cri, &node, &sandbox, &["sh", "-c", "echo hello; ls /bin/httpd"]).await;
        assert_eq!(output, "hello\n/bin/httpd\n");

        shutdown.start();
        running.await.unwrap().unwrap();
        assert!(cri.version().await.is_ok(), "containerd outlives us");
        let again =
            Containerd::new(settings.clone(), &host, Starter::Detached { cgroup: "containerd".into() }, node.cgroups());
        let (mut state, shutdown) = (again.state(), Shutdown::new());
        let running = tokio::spawn(again.run(shutdown.clone()));
        state.wait_for(|state| matches!(state, State::Up(1))).await.unwrap();
        assert_eq!(pids_of_containerd().len(), 1, "it was adopted, not started again");

        let old = pids_of_containerd();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(old[0]), nix::sys::signal::Signal::SIGKILL).unwrap();
        state.wait_for(|state| matches!(state, State::Up(2))).await.unwrap();
        assert_ne!(pids_of_containerd(), old);
        let status = cri.sandbox_status(&sandbox).await.unwrap();
        assert_eq!(status.state(), api::PodSandboxState::SandboxReady, "pods survive containerd");
        shutdown.start();
        running.await.unwrap().unwrap();

        let old = pids_of_containerd();
        let changed = Settings { handlers: vec!["other".into()], ..settings };
        let starter = Starter::Detached { cgroup: "containerd".into() };
        let replacement = Containerd::new(changed, &host, starter, node.cgroups());
        let (mut state, shutdown) = (replacement.state(), Shutdown::new());
        let running = tokio::spawn(replacement.run(shutdown.clone()));
        state.wait_for(|state| matches!(state, State::Up(1))).await.unwrap();
        let new = pids_of_containerd();
        assert!(new.len() == 1 && new != old, "another configuration needs another process: {old:?}, {new:?}");
        let status = cri.sandbox_status(&sandbox).await.unwrap();
        assert_eq!(status.state(), api::PodSandboxState::SandboxReady, "pods survive the change");
        cri.stop_sandbox(&sandbox).await.unwrap();
        cri.remove_sandbox(&sandbox).await.unwrap();
        shutdown.start();
        running.await.unwrap().unwrap();
    });
}

fn sandbox_config(node: &node::Node) -> api::PodSandboxConfig {
    let host = api::NamespaceOption { network: api::NamespaceMode::Node.into(), ..Default::default() };
    let security = api::LinuxSandboxSecurityContext { namespace_options: Some(host), ..Default::default() };
    api::PodSandboxConfig {
        metadata: Some(api::PodSandboxMetadata {
            name: "p".into(),
            uid: "u".into(),
            namespace: "n".into(),
            attempt: 0,
        }),
        log_directory: node.directory.join("logs").display().to_string(),
        linux: Some(api::LinuxPodSandboxConfig {
            cgroup_parent: format!("{}/kubepods/podu", node.cgroup_root),
            security_context: Some(security),
            ..Default::default()
        }),
        ..Default::default()
    }
}

async fn run_sandbox(cri: &Cri, node: &node::Node) -> String {
    cri.run_sandbox(sandbox_config(node), "").await.unwrap()
}

async fn run(cri: &Cri, node: &node::Node, sandbox: &str, command: &[&str]) -> String {
    let config = api::ContainerConfig {
        metadata: Some(api::ContainerMetadata { name: "c".into(), attempt: 0 }),
        image: Some(api::ImageSpec { image: "docker.io/library/busybox:latest".into(), ..Default::default() }),
        command: vec!["sleep".into(), "1000".into()],
        linux: Some(api::LinuxContainerConfig::default()),
        ..Default::default()
    };
    let id = cri.create_container(sandbox, config, sandbox_config(node)).await.unwrap();
    cri.start_container(&id).await.unwrap();
    let command: Vec<String> = command.iter().map(|&word| word.into()).collect();
    let answer = cri.exec_sync(&id, &command, Duration::from_secs(10)).await.unwrap();
    assert_eq!(answer.exit_code, 0, "{}", String::from_utf8_lossy(&answer.stderr));
    String::from_utf8(answer.stdout).unwrap()
}

fn pids_of_containerd() -> Vec<i32> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "containerd")
    })
    .collect()
}
