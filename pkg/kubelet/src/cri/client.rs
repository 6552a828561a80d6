//! CRI over containerd's socket.

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use hyper_util::rt::TokioIo;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use super::{Error, Runtime, api};
use crate::containerd::{Exit, exits};
use api::image_service_client::ImageServiceClient;
use api::runtime_service_client::RuntimeServiceClient;

/// Upstream's `--runtime-request-timeout`.
const CALL: Duration = Duration::from_secs(120);
/// A sandbox waits for the pod network: twice the usual time, as upstream.
const SANDBOX: Duration = Duration::from_secs(240);
/// containerd's own bound for a message.
const MESSAGE: usize = 16 << 20;

/// A connection to a CRI runtime; cloning shares it. It reconnects by itself.
#[derive(Clone, Debug)]
pub struct Cri {
    channel: Channel,
    runtime: RuntimeServiceClient<Channel>,
    images: ImageServiceClient<Channel>,
}

/// A gRPC channel over a Unix socket that is dialled when needed.
#[must_use]
pub fn unix_channel(socket: PathBuf) -> Channel {
    let connector = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move { Ok::<_, std::io::Error>(TokioIo::new(tokio::net::UnixStream::connect(socket).await?)) }
    });
    // The authority is required by HTTP/2 and read by nobody.
    Endpoint::from_static("http://containerd").connect_with_connector_lazy(connector)
}

impl Cri {
    /// Speaks CRI over `channel`.
    #[must_use]
    pub fn new(channel: Channel) -> Self {
        Self {
            runtime: RuntimeServiceClient::new(channel.clone()).max_decoding_message_size(MESSAGE),
            images: ImageServiceClient::new(channel.clone()).max_decoding_message_size(MESSAGE),
            channel,
        }
    }

    fn runtime(&self) -> RuntimeServiceClient<Channel> {
        self.runtime.clone()
    }

    fn images(&self) -> ImageServiceClient<Channel> {
        self.images.clone()
    }
}

fn within<T>(limit: Duration, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(limit);
    request
}

fn call<T>(message: T) -> Request<T> {
    within(CALL, message)
}

fn missing(field: &str) -> Error {
    Status::internal(format!("the runtime's answer lacks {field}")).into()
}

fn image_spec(image: &str) -> Option<api::ImageSpec> {
    Some(api::ImageSpec { image: image.into(), user_specified_image: image.into(), ..Default::default() })
}

fn selector(labels: &[(&str, &str)]) -> std::collections::HashMap<String, String> {
    labels.iter().map(|&(key, value)| (key.into(), value.into())).collect()
}

#[async_trait]
impl Runtime for Cri {
    async fn version(&self) -> Result<api::VersionResponse, Error> {
        Ok(self.runtime().version(call(api::VersionRequest { version: "v1".into() })).await?.into_inner())
    }

    async fn status(&self) -> Result<api::RuntimeStatus, Error> {
        let answer = self.runtime().status(call(api::StatusRequest { verbose: false })).await?.into_inner();
        answer.status.ok_or_else(|| missing("status"))
    }

    async fn run_sandbox(&self, config: api::PodSandboxConfig, handler: &str) -> Result<String, Error> {
        let request = api::RunPodSandboxRequest { config: Some(config), runtime_handler: handler.into() };
        Ok(self.runtime().run_pod_sandbox(within(SANDBOX, request)).await?.into_inner().pod_sandbox_id)
    }

    async fn stop_sandbox(&self, id: &str) -> Result<(), Error> {
        let request = api::StopPodSandboxRequest { pod_sandbox_id: id.into() };
        self.runtime().stop_pod_sandbox(call(request)).await?;
        Ok(())
    }

    async fn remove_sandbox(&self, id: &str) -> Result<(), Error> {
        let request = api::RemovePodSandboxRequest { pod_sandbox_id: id.into() };
        self.runtime().remove_pod_sandbox(call(request)).await?;
        Ok(())
    }

    async fn sandbox_status(&self, id: &str) -> Result<api::PodSandboxStatus, Error> {
        let request = api::PodSandboxStatusRequest { pod_sandbox_id: id.into(), verbose: false };
        let answer = self.runtime().pod_sandbox_status(call(request)).await?.into_inner();
        answer.status.ok_or_else(|| missing("status"))
    }

    async fn list_sandboxes(&self, labels: &[(&str, &str)]) -> Result<Vec<api::PodSandbox>, Error> {
        let filter = api::PodSandboxFilter { label_selector: selector(labels), ..Default::default() };
        let request = api::ListPodSandboxRequest { filter: Some(filter) };
        Ok(self.runtime().list_pod_sandbox(call(request)).await?.into_inner().items)
    }

    async fn create_container(
        &self,
        sandbox: &str,
        config: api::ContainerConfig,
        sandbox_config: api::PodSandboxConfig,
    ) -> Result<String, Error> {
        let request = api::CreateContainerRequest {
            pod_sandbox_id: sandbox.into(),
            config: Some(config),
            sandbox_config: Some(sandbox_config),
        };
        Ok(self.runtime().create_container(call(request)).await?.into_inner().container_id)
    }

    async fn start_container(&self, id: &str) -> Result<(), Error> {
        self.runtime().start_container(call(api::StartContainerRequest { container_id: id.into() })).await?;
        Ok(())
    }

    async fn stop_container(&self, id: &str, grace: Duration) -> Result<(), Error> {
        let timeout = i64::try_from(grace.as_secs()).unwrap_or(i64::MAX);
        let request = api::StopContainerRequest { container_id: id.into(), timeout };
        self.runtime().stop_container(within(CALL.saturating_add(grace), request)).await?;
        Ok(())
    }

    async fn remove_container(&self, id: &str) -> Result<(), Error> {
        self.runtime().remove_container(call(api::RemoveContainerRequest { container_id: id.into() })).await?;
        Ok(())
    }

    async fn container_status(&self, id: &str) -> Result<api::ContainerStatus, Error> {
        let request = api::ContainerStatusRequest { container_id: id.into(), verbose: false };
        let answer = self.runtime().container_status(call(request)).await?.into_inner();
        answer.status.ok_or_else(|| missing("status"))
    }

    async fn list_containers(&self, labels: &[(&str, &str)]) -> Result<Vec<api::Container>, Error> {
        let filter = api::ContainerFilter { label_selector: selector(labels), ..Default::default() };
        let request = api::ListContainersRequest { filter: Some(filter) };
        Ok(self.runtime().list_containers(call(request)).await?.into_inner().containers)
    }

    // CRI's own `GetContainerEvents` is in containerd since 1.7 only.
    async fn exits(&self) -> Result<BoxStream<'static, Exit>, Error> {
        Ok(exits(self.channel.clone()).await?.boxed())
    }

    async fn reopen_log(&self, id: &str) -> Result<(), Error> {
        self.runtime().reopen_container_log(call(api::ReopenContainerLogRequest { container_id: id.into() })).await?;
        Ok(())
    }

    async fn update_resources(&self, id: &str, linux: api::LinuxContainerResources) -> Result<(), Error> {
        let request =
            api::UpdateContainerResourcesRequest { container_id: id.into(), linux: Some(linux), ..Default::default() };
        self.runtime().update_container_resources(call(request)).await?;
        Ok(())
    }

    async fn exec_sync(&self, id: &str, command: &[String], timeout: Duration) -> Result<api::ExecSyncResponse, Error> {
        let seconds = i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX);
        let request = api::ExecSyncRequest { container_id: id.into(), cmd: command.to_vec(), timeout: seconds };
        // The runtime kills the command at its timeout; the call itself may take longer than that.
        let limit = CALL.saturating_add(timeout);
        Ok(self.runtime().exec_sync(within(limit, request)).await?.into_inner())
    }

    async fn exec_url(&self, request: api::ExecRequest) -> Result<String, Error> {
        Ok(self.runtime().exec(call(request)).await?.into_inner().url)
    }

    async fn attach_url(&self, request: api::AttachRequest) -> Result<String, Error> {
        Ok(self.runtime().attach(call(request)).await?.into_inner().url)
    }

    async fn port_forward_url(&self, request: api::PortForwardRequest) -> Result<String, Error> {
        Ok(self.runtime().port_forward(call(request)).await?.into_inner().url)
    }

    async fn container_stats(&self) -> Result<Vec<api::ContainerStats>, Error> {
        Ok(self
            .runtime()
            .list_container_stats(call(api::ListContainerStatsRequest::default()))
            .await?
            .into_inner()
            .stats)
    }

    async fn image_status(&self, image: &str) -> Result<Option<api::Image>, Error> {
        let request = api::ImageStatusRequest { image: image_spec(image), verbose: false };
        Ok(self.images().image_status(call(request)).await?.into_inner().image)
    }

    async fn list_images(&self) -> Result<Vec<api::Image>, Error> {
        Ok(self.images().list_images(call(api::ListImagesRequest::default())).await?.into_inner().images)
    }

    async fn pull_image(&self, image: &str, auth: Option<api::AuthConfig>) -> Result<String, Error> {
        // No deadline: a large image over a thin line takes hours. containerd 1.7 gives up by itself on a pull without
        // progress, 1.6 when the connection breaks; a pod that is deleted meanwhile gives up in any case.
        let request = api::PullImageRequest { image: image_spec(image), auth, sandbox_config: None };
        Ok(self.images().pull_image(request).await?.into_inner().image_ref)
    }

    async fn remove_image(&self, image: &str) -> Result<(), Error> {
        self.images().remove_image(call(api::RemoveImageRequest { image: image_spec(image) })).await?;
        Ok(())
    }

    async fn image_fs(&self) -> Result<Vec<api::FilesystemUsage>, Error> {
        Ok(self.images().image_fs_info(call(api::ImageFsInfoRequest {})).await?.into_inner().image_filesystems)
    }
}
