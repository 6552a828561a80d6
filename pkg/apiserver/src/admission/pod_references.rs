//! Where a pod names secrets and config maps.

use std::fmt;

use knarr_api::Object;
use knarr_api::tree::Tree;

/// Something of the pod's namespace that it needs.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum PodReference<'a> {
    /// A secret.
    Secret {
        /// Its name.
        name: &'a str,
        /// Where the pod names it.
        place: Place<'a>,
    },
    /// A config map.
    ConfigMap,
}

/// Where a pod names a secret; its `Display` is upstream's beginning of a complaint about it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Place<'a> {
    /// `spec.imagePullSecrets[index]`.
    Pull(usize, &'a str),
    /// A volume of type secret.
    Volume(&'a str),
    /// Another type of volume.
    OtherVolume,
    /// A variable of a container.
    Variable { what: &'static str, container: &'a str, variable: &'a str, secret: &'a str },
    /// All variables of a container.
    Variables { what: &'static str, container: &'a str, secret: &'a str },
}

impl Place<'_> {
    /// Whether it is a pull secret.
    pub(super) fn is_pull_secret(&self) -> bool {
        matches!(self, Self::Pull(..))
    }

    /// Whether `enforce-mountable-secrets` looks there.
    pub(super) fn is_limited(&self) -> bool {
        !matches!(self, Self::OtherVolume)
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pull(index, secret) => write!(out, "imagePullSecrets[{index}].name=\"{secret}\""),
            Self::Volume(secret) => write!(out, "volume with secret.secretName=\"{secret}\""),
            Self::OtherVolume => out.write_str("volume"),
            Self::Variable { what, container, variable, secret } => {
                write!(out, "{what} {container} with envVar {variable} referencing secret.secretName=\"{secret}\"")
            }
            Self::Variables { what, container, secret } => {
                write!(out, "{what} {container} with envFrom referencing secret.secretName=\"{secret}\"")
            }
        }
    }
}

const CONTAINERS: [(&str, &str); 3] = [
    ("spec.initContainers", "init container"),
    ("spec.containers", "container"),
    ("spec.ephemeralContainers", "ephemeral container"),
];

/// Fields of other volume types that name a secret.
const OTHER_VOLUMES: [&str; 9] = [
    "azureFile.secretName",
    "cephfs.secretRef.name",
    "cinder.secretRef.name",
    "flexVolume.secretRef.name",
    "rbd.secretRef.name",
    "scaleIO.secretRef.name",
    "iscsi.secretRef.name",
    "storageos.secretRef.name",
    "csi.nodePublishSecretRef.name",
];

/// Everything that the pod refers to, in upstream's order of complaint.
pub(super) fn references(pod: &Object) -> impl Iterator<Item = PodReference<'_>> {
    let pulls = pod.objects("spec.imagePullSecrets").enumerate().map(|(index, secret)| {
        let name = secret.text("name");
        PodReference::Secret { name, place: Place::Pull(index, name) }
    });
    let volumes = pod.objects("spec.volumes").flat_map(of_volume);
    let containers = CONTAINERS
        .into_iter()
        .flat_map(|(path, what)| pod.objects(path).flat_map(move |container| of_container(container, what)));
    let named = |reference: &PodReference<'_>| !matches!(reference, PodReference::Secret { name: "", .. });
    volumes.chain(containers).chain(pulls).filter(named)
}

fn of_volume(volume: &Object) -> Vec<PodReference<'_>> {
    let mut found = Vec::new();
    let secret = volume.text("secret.secretName");
    found.push(PodReference::Secret { name: secret, place: Place::Volume(secret) });
    let mut other = |name| found.push(PodReference::Secret { name, place: Place::OtherVolume });
    OTHER_VOLUMES.iter().for_each(|path| other(volume.text(path)));
    volume.objects("projected.sources").for_each(|source| other(source.text("secret.name")));
    let maps = volume.objects("projected.sources").filter(|source| source.has("configMap")).count();
    let maps = maps + usize::from(volume.has("configMap"));
    found.extend(std::iter::repeat_n(PodReference::ConfigMap, maps));
    found
}

fn of_container<'a>(container: &'a Object, what: &'static str) -> Vec<PodReference<'a>> {
    let mut found = Vec::new();
    let name = container.text("name");
    for variable in container.objects("env") {
        let secret = variable.text("valueFrom.secretKeyRef.name");
        let place = Place::Variable { what, container: name, variable: variable.text("name"), secret };
        found.push(PodReference::Secret { name: secret, place });
        if variable.has("valueFrom.configMapKeyRef") {
            found.push(PodReference::ConfigMap);
        }
    }
    for source in container.objects("envFrom") {
        let secret = source.text("secretRef.name");
        found.push(PodReference::Secret { name: secret, place: Place::Variables { what, container: name, secret } });
        if source.has("configMapRef") {
            found.push(PodReference::ConfigMap);
        }
    }
    found
}
