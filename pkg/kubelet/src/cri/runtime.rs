//! The calls as a trait, so that pods can be driven without a containerd.

use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;

use super::{Error, api};
use crate::containerd::Exit;

/// A container runtime. Every call is idempotent where CRI says so, and safe to give up on: what a dropped call has
/// begun is found again by listing.
#[async_trait]
pub trait Runtime: Send + Sync + 'static {
    /// Name and version of the runtime.
    async fn version(&self) -> Result<api::VersionResponse, Error>;
    /// Whether runtime and pod network are ready.
    async fn status(&self) -> Result<api::RuntimeStatus, Error>;

    /// Creates and starts a sandbox; its id.
    async fn run_sandbox(&self, config: api::PodSandboxConfig, handler: &str) -> Result<String, Error>;
    /// Kills what runs in a sandbox and frees its network.
    async fn stop_sandbox(&self, id: &str) -> Result<(), Error>;
    /// Removes a sandbox and its containers.
    async fn remove_sandbox(&self, id: &str) -> Result<(), Error>;
    /// One sandbox.
    async fn sandbox_status(&self, id: &str) -> Result<api::PodSandboxStatus, Error>;
    /// All sandboxes with these labels.
    async fn list_sandboxes(&self, labels: &[(&str, &str)]) -> Result<Vec<api::PodSandbox>, Error>;

    /// Creates a container; its id.
    async fn create_container(
        &self,
        sandbox: &str,
        config: api::ContainerConfig,
        sandbox_config: api::PodSandboxConfig,
    ) -> Result<String, Error>;
    /// Starts a created container.
    async fn start_container(&self, id: &str) -> Result<(), Error>;
    /// Stops a container: its stop signal, and SIGKILL after `grace`. Returns once it has ended.
    async fn stop_container(&self, id: &str, grace: Duration) -> Result<(), Error>;
    /// Removes a container, killing it if need be.
    async fn remove_container(&self, id: &str) -> Result<(), Error>;
    /// One container.
    async fn container_status(&self, id: &str) -> Result<api::ContainerStatus, Error>;
    /// All containers with these labels.
    async fn list_containers(&self, labels: &[(&str, &str)]) -> Result<Vec<api::Container>, Error>;
    /// The ends of containers and sandboxes from now on. The stream ends with the runtime. An end may be told some
    /// milliseconds before [`Runtime::container_status`] knows of it.
    async fn exits(&self) -> Result<BoxStream<'static, Exit>, Error>;
    /// Makes the runtime continue in a new file after the log was moved away.
    async fn reopen_log(&self, id: &str) -> Result<(), Error>;
    /// Changes the limits of a running container.
    async fn update_resources(&self, id: &str, linux: api::LinuxContainerResources) -> Result<(), Error>;

    /// Runs a command to its end.
    async fn exec_sync(&self, id: &str, command: &[String], timeout: Duration) -> Result<api::ExecSyncResponse, Error>;
    /// The address at which the runtime's streaming server will run a command.
    async fn exec_url(&self, request: api::ExecRequest) -> Result<String, Error>;
    /// The address at which the runtime's streaming server attaches to a container.
    async fn attach_url(&self, request: api::AttachRequest) -> Result<String, Error>;
    /// The address at which the runtime's streaming server forwards to a sandbox's ports.
    async fn port_forward_url(&self, request: api::PortForwardRequest) -> Result<String, Error>;

    /// CPU and memory of all running containers.
    async fn container_stats(&self) -> Result<Vec<api::ContainerStats>, Error>;

    /// An image by name or id; `None` when it is not there.
    async fn image_status(&self, image: &str) -> Result<Option<api::Image>, Error>;
    /// All images.
    async fn list_images(&self) -> Result<Vec<api::Image>, Error>;
    /// Pulls an image; its reference.
    async fn pull_image(&self, image: &str, auth: Option<api::AuthConfig>) -> Result<String, Error>;
    /// Removes an image with all its names.
    async fn remove_image(&self, image: &str) -> Result<(), Error>;
    /// The file systems that images use.
    async fn image_fs(&self) -> Result<Vec<api::FilesystemUsage>, Error>;
}
