//! Compiles the CRI's and containerd's protocol definitions, without protoc.

const INTERFACES: &[&str] = &[
    "cri/api.proto",
    "github.com/containerd/containerd/api/services/content/v1/content.proto",
    "github.com/containerd/containerd/api/services/events/v1/events.proto",
    "github.com/containerd/containerd/api/services/images/v1/images.proto",
    "github.com/containerd/containerd/api/services/leases/v1/leases.proto",
    "github.com/containerd/containerd/api/events/task.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(INTERFACES, ["proto"])?;
    tonic_prost_build::configure()
        .build_server(false)
        .emit_rerun_if_changed(false)
        .disable_comments(["."])
        .include_file("protos.rs")
        .compile_fds(descriptors)?;
    Ok(())
}
