//! Starting a container: image, configuration, create, start, postStart.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, Pod};
use tokio::sync::mpsc;

use super::volumes::Sources;
use super::{Turn, in_turn, kill, mounts, observe, sandbox};
use crate::image::pull::{Absent, Present};
use crate::pod::Report;
use crate::pod::actor::Event;
use crate::pod::config::{self, ImageUser, Mounts};
use crate::pod::fields::Addresses;
use crate::pod::shared::Shared;
use crate::pod::spec::PodExt as _;
use crate::pod::state::{Failure, Sandbox};
use crate::probe::{Target, hook};
use crate::volume::Mounted;

/// How long until a container that could not be created or started is tried again.
const AGAIN: SignedDuration = SignedDuration::from_secs(10);

/// What a start needs to know.
pub(in crate::pod) struct Start {
    pub(in crate::pod) shared: Arc<Shared>,
    pub(in crate::pod) pod: Arc<Pod>,
    pub(in crate::pod) container: Container,
    pub(in crate::pod) restarts: u32,
    pub(in crate::pod) sandbox: Sandbox,
    pub(in crate::pod) mounted: Mounted,
    pub(in crate::pod) turn: Turn,
    pub(in crate::pod) sources: Sources,
    /// The container that an ephemeral one looks into.
    pub(in crate::pod) target: Option<String>,
    pub(in crate::pod) report: Report,
    /// Where a container that runs is announced before its postStart hook has ended.
    pub(in crate::pod) events: mpsc::UnboundedSender<Event>,
}

impl Start {
    /// Starts the container.
    ///
    /// # Errors
    /// What its status says meanwhile, and when to try again.
    pub(in crate::pod) async fn run(self) -> Result<(), Failure> {
        // Not every image needs credentials; a pull that lacks them says so.
        let secrets = self.sources.secrets.get().await.unwrap_or_else(|error| {
            tracing::warn!("{}: {error}", self.pod.full_name());
            BTreeMap::new()
        });
        let image = self.shared.puller.ensure(self.pod.uid(), &self.container, &secrets, &self.report).await;
        let image = image.map_err(|absent| self.without_image(absent))?;
        let configured = self.configure(image).await;
        let config = configured.map_err(|message| self.failed("CreateContainerConfigError", message, "Failed"))?;
        let runtime = &self.shared.runtime;
        let sandbox_config = sandbox::configuration(&self.shared, &self.pod, self.sandbox.attempt);
        let sandbox_config =
            sandbox_config.map_err(|error| self.failed("CreateContainerConfigError", error.to_string(), "Failed"))?;
        let created = runtime.create_container(&self.sandbox.id, config, sandbox_config).await;
        let id = created.map_err(|error| self.failed("CreateContainerError", error.to_string(), "Failed"))?;
        self.shared.owners.add(&id, self.pod.uid());
        self.report.normal("Created", "Container created");
        let started = runtime.start_container(&id).await;
        if started.is_ok() {
            self.report.normal("Started", "Container started");
        }
        if let Ok(instance) = observe::one(runtime.as_ref(), &id, &self.sandbox.id).await {
            // The actor outlives its work; should it be ending, nobody needs to know.
            let _ending = self.events.send(Event::Seen(Box::new(instance)));
        }
        started.map_err(|error| self.failed("RunContainerError", error.to_string(), "Failed"))?;
        self.post_start(&id).await
    }

    fn without_image(&self, absent: Absent) -> Failure {
        let Absent { reason, message, retry } = absent;
        let then = (reason == "ErrImagePull").then(|| {
            let image = self.container.image.as_deref().unwrap_or_default();
            ("ImagePullBackOff".to_owned(), format!("Back-off pulling image {image:?}: ErrImagePull: {message}"))
        });
        self.report.warning("Failed", &format!("Error: {reason}"));
        Failure { since: Timestamp::now(), retry, reason: reason.to_owned(), message, then }
    }

    fn failed(&self, reason: &str, message: String, event: &str) -> Failure {
        self.report.warning(event, &format!("Error: {message}"));
        let now = Timestamp::now();
        Failure { since: now, retry: now + AGAIN, reason: reason.to_owned(), message, then: None }
    }

    async fn configure(&self, image: Present) -> Result<crate::cri::api::ContainerConfig, String> {
        let (config_maps, secrets) = tokio::try_join!(self.sources.config_maps.get(), self.sources.secrets.get())?;
        let host_ips = self.shared.host_ips.clone();
        let pod_ips = if self.pod.host_network() { host_ips.clone() } else { self.sandbox.ips.clone() };
        let addresses = Addresses { pod_ips, host_ips };
        let sources = config::Sources {
            config_maps: &config_maps,
            secrets: &secrets,
            services: &self.shared.services(self.pod.namespace()),
            addresses: &addresses,
            allocatable: &self.shared.allocatable(),
        };
        let environment = config::environment(&self.pod, &self.container, &sources)?;
        let mounts = {
            let (shared, pod, container) = (self.shared.clone(), self.pod.clone(), self.container.clone());
            let (mounted, environment, restarts) = (self.mounted.clone(), environment.clone(), self.restarts);
            let work = move || {
                mounts::prepare(&shared, &pod, &container, restarts, &mounted, &environment, &addresses.pod_ips)
            };
            in_turn(&self.turn, work).await.map_err(|error| error.to_string())??
        };
        let made = Mounts {
            mounts,
            environment,
            image_ref: image.id,
            image_user: ImageUser { uid: image.uid, name: image.user },
            capacity: self.shared.capacity(),
            target: self.target.clone(),
        };
        config::container(&self.pod, &self.container, self.restarts, made)
    }

    /// A container whose postStart hook fails is killed.
    async fn post_start(&self, id: &str) -> Result<(), Failure> {
        let lifecycle = self.container.lifecycle.as_ref();
        let Some(handler) = lifecycle.and_then(|lifecycle| lifecycle.post_start.as_ref()) else { return Ok(()) };
        let ip = if self.pod.host_network() { self.shared.host_ips.first() } else { self.sandbox.ips.first() };
        let target = Target {
            runtime: self.shared.runtime.clone(),
            id: id.to_owned(),
            container: self.container.clone(),
            ip: ip.cloned().unwrap_or_default(),
        };
        let Err(message) = hook(&target, handler).await else { return Ok(()) };
        self.report.warning("FailedPostStartHook", "PostStartHook failed");
        self.report.normal("Killing", "FailedPostStartHook");
        let grace = self.pod.spec().termination_grace_period_seconds.unwrap_or(30);
        if let Err(error) = kill::kill(&target, &self.report, grace).await {
            tracing::warn!("{}: kill after a failed postStart hook: {error}", self.pod.full_name());
        }
        let now = Timestamp::now();
        Err(Failure { since: now, retry: now, reason: "PostStartHookError".into(), message, then: None })
    }
}
