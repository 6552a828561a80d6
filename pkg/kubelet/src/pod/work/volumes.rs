//! Making the volumes of a pod, or bringing them up to date.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Volume};

use super::{Turn, in_turn};
use crate::objects::References;
use crate::pod::shared::Shared;
use crate::pod::spec::PodExt as _;
use crate::volume::payload::{self, Objects};
use crate::volume::place::Place;
use crate::volume::token::Tokens;
use crate::volume::{self, Failed, Mounted};

/// What a pod refers to in the API.
#[derive(Clone, Debug, Default)]
pub(in crate::pod) struct Sources {
    pub(in crate::pod) config_maps: References<ConfigMap>,
    pub(in crate::pod) secrets: References<Secret>,
}

/// Makes every volume. Those that exist are brought up to date.
///
/// # Errors
/// The first volume that cannot be had.
pub(in crate::pod) async fn set_up(
    shared: &Shared,
    pod: &Arc<Pod>,
    sources: &Sources,
    mut tokens: Tokens,
    turn: &Turn,
) -> Result<(Mounted, Tokens), Failed> {
    let volumes: Vec<Volume> = pod.spec().volumes.clone().unwrap_or_default();
    let from_api = volumes.iter().find(|volume| volume::from_api(volume));
    let (config_maps, secrets) = if let Some(first) = from_api {
        tokens
            .renew(&shared.client, pod, Timestamp::now())
            .await
            .map_err(|(volume, cause)| Failed { volume, cause })?;
        let found = tokio::try_join!(sources.config_maps.get(), sources.secrets.get());
        found.map_err(|cause| Failed { volume: first.name.clone(), cause })?
    } else {
        Default::default()
    };
    let (values, allocatable) = (tokens.values(), shared.allocatable());
    let (pods, pod) = (shared.pods.clone(), pod.clone());
    let work = move || {
        let objects = Objects {
            pod: &pod,
            config_maps: &config_maps,
            secrets: &secrets,
            tokens: &values,
            allocatable: &allocatable,
            user: common_user(&pod),
        };
        let place = Place { pods: &pods, pod: &pod };
        let mut mounted = Mounted::new();
        for volume in &volumes {
            let files = if volume::from_api(volume) {
                let failed = |cause| Failed { volume: volume.name.clone(), cause };
                Some(payload::of(volume, &objects).map_err(failed)?)
            } else {
                None
            };
            mounted.insert(volume.name.clone(), volume::set_up(&place, volume, files)?);
        }
        Ok(mounted)
    };
    in_turn(turn, work)
        .await
        .map_err(|error| Failed { volume: String::new(), cause: error.to_string() })?
        .map(|mounted| (mounted, tokens))
}

/// The user that all containers run as, where they agree on one.
fn common_user(pod: &Pod) -> Option<i64> {
    let pods = pod.spec().security_context.as_ref().and_then(|context| context.run_as_user);
    let mut users = pod
        .parts()
        .into_iter()
        .map(|part| part.container.security_context.as_ref().and_then(|context| context.run_as_user).or(pods));
    let first = users.next()??;
    users.all(|user| user == Some(first)).then_some(first)
}
