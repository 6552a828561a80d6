//! Reading a pod's specification: which containers it has, and what each of them is.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::LazyLock;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Written;
use knarr_api::quantity::Quantity;

use crate::cgroup::{Limits, Qos};

/// What a container is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Runs to its end before the next one starts.
    Init,
    /// An init container that goes on beside the others (`restartPolicy: Always`).
    Sidecar,
    /// The pod's purpose.
    Regular,
    /// Added to a running pod, never restarted.
    Ephemeral,
}

/// A container of a pod with its role.
#[derive(Clone, Debug)]
pub(crate) struct Part<'a> {
    pub(crate) role: Role,
    pub(crate) container: Cow<'a, Container>,
    /// For an ephemeral container: the container whose processes it wants to see.
    pub(crate) target: Option<&'a str>,
}

impl Part<'_> {
    pub(crate) fn name(&self) -> &str {
        &self.container.name
    }
}

/// What a pod without a specification has; the API refuses such pods.
static NO_SPEC: LazyLock<PodSpec> = LazyLock::new(PodSpec::default);

/// The identity and the specification of a pod, without the options of the wire format.
pub(crate) trait PodExt {
    fn spec(&self) -> &PodSpec;
    fn uid(&self) -> &str;
    fn name(&self) -> &str;
    fn namespace(&self) -> &str;
    /// `name_namespace(uid)`, as upstream writes a pod in events.
    fn full_name(&self) -> String;
    fn parts(&self) -> Vec<Part<'_>>;
    fn part(&self, name: &str) -> Option<Part<'_>>;
    fn init(&self) -> &[Container];
    fn restart_policy(&self) -> &str;
    fn host_network(&self) -> bool;
    fn deleted(&self) -> bool;
    fn terminal(&self) -> bool;
    fn qos(&self) -> Qos;
}

impl PodExt for Pod {
    fn spec(&self) -> &PodSpec {
        self.spec.as_ref().unwrap_or(&NO_SPEC)
    }

    fn uid(&self) -> &str {
        self.metadata.uid.as_deref().unwrap_or_default()
    }

    fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    fn namespace(&self) -> &str {
        self.metadata.namespace.as_deref().unwrap_or_default()
    }

    fn full_name(&self) -> String {
        format!("{}_{}({})", self.name(), self.namespace(), self.uid())
    }

    fn parts(&self) -> Vec<Part<'_>> {
        let part = |role, container| Part { role, container: Cow::Borrowed(container), target: None };
        let init = self.init().iter().map(|container| part(init_role(container), container));
        let regular = PodExt::spec(self).containers.iter().map(|container| part(Role::Regular, container));
        let ephemeral = PodExt::spec(self).ephemeral_containers.iter().flatten().map(|ephemeral| Part {
            role: Role::Ephemeral,
            container: Cow::Owned(plain(ephemeral)),
            target: ephemeral.target_container_name.as_deref().filter(|name| !name.is_empty()),
        });
        init.chain(regular).chain(ephemeral).collect()
    }

    fn part(&self, name: &str) -> Option<Part<'_>> {
        self.parts().into_iter().find(|part| part.name() == name)
    }

    fn init(&self) -> &[Container] {
        PodExt::spec(self).init_containers.as_deref().unwrap_or_default()
    }

    fn restart_policy(&self) -> &str {
        PodExt::spec(self).restart_policy.as_deref().unwrap_or("Always")
    }

    fn host_network(&self) -> bool {
        PodExt::spec(self).host_network.unwrap_or_default()
    }

    fn deleted(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }

    fn terminal(&self) -> bool {
        let phase = self.status.as_ref().and_then(|status| status.phase.as_deref());
        matches!(phase, Some("Succeeded" | "Failed"))
    }

    fn qos(&self) -> Qos {
        qos(PodExt::spec(self))
    }
}

/// The role of a container that stands under `initContainers`.
pub(crate) fn init_role(container: &Container) -> Role {
    if container.restart_policy.as_deref() == Some("Always") { Role::Sidecar } else { Role::Init }
}

/// Whether a container that ended with `code` is to run again: its own rules, its own policy, the pod's policy, in this
/// order (<https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#individual-container-restarts>).
pub(crate) fn restarts_after(container: &Container, pod: &Pod, code: i32) -> bool {
    let matching = container.restart_policy_rules.iter().flatten().find(|rule| {
        rule.exit_codes.as_ref().is_some_and(|codes| {
            let listed = codes.values.iter().flatten().any(|value| *value == code);
            if codes.operator == "NotIn" { !listed } else { listed }
        })
    });
    if let Some(rule) = matching {
        return rule.action == "Restart" || rule.action == "RestartAllContainers";
    }
    match container.restart_policy.as_deref().unwrap_or_else(|| pod.restart_policy()) {
        "Always" => true,
        "OnFailure" => code != 0,
        // An init container that has succeeded is never run again, whatever the pod's policy.
        _ => false,
    }
}

/// A container's resource as a number of whole units; `None` when it is absent or malformed.
pub(crate) fn amount(resources: Option<&BTreeMap<String, Written>>, name: &str) -> Option<i64> {
    quantity(resources, name).map(Quantity::value)
}

/// A container's resource in thousandths.
pub(crate) fn milli(resources: Option<&BTreeMap<String, Written>>, name: &str) -> Option<i64> {
    quantity(resources, name).map(Quantity::milli_value)
}

fn quantity(resources: Option<&BTreeMap<String, Written>>, name: &str) -> Option<Quantity> {
    resources?.get(name)?.0.parse().ok()
}

/// <https://kubernetes.io/docs/concepts/workloads/pods/pod-qos/>
pub(crate) fn qos(spec: &PodSpec) -> Qos {
    let pod_level = spec.resources.as_ref().filter(|own| own.requests.is_some() || own.limits.is_some());
    let own = pod_level.map(|resources| (resources.requests.as_ref(), resources.limits.as_ref()));
    let containers = spec.init_containers.iter().flatten().chain(&spec.containers).map(|container| {
        let resources = container.resources.as_ref();
        (
            resources.and_then(|resources| resources.requests.as_ref()),
            resources.and_then(|resources| resources.limits.as_ref()),
        )
    });
    let all: Vec<_> = own.map_or_else(|| containers.collect(), |own| vec![own]);
    let counts = |map: Option<&BTreeMap<String, Written>>| {
        ["cpu", "memory"].iter().any(|name| quantity(map, name).is_some_and(|amount| !amount.is_zero()))
    };
    if !all.iter().any(|(requests, limits)| counts(*requests) || counts(*limits)) {
        return Qos::BestEffort;
    }
    let guaranteed = all.iter().all(|(requests, limits)| {
        ["cpu", "memory"].iter().all(|name| {
            let limit = quantity(*limits, name).filter(|limit| !limit.is_zero());
            limit.is_some() && quantity(*requests, name).or(limit) == limit
        })
    });
    if guaranteed { Qos::Guaranteed } else { Qos::Burstable }
}

/// What the pod as a whole may use: the limits of its cgroup. As upstream's `ResourceConfigForPod`.
pub(crate) fn pod_limits(spec: &PodSpec, pids: Option<i64>) -> Limits {
    let cpu = Total::of(spec, "cpu", milli);
    let memory = Total::of(spec, "memory", amount);
    let qos = qos(spec);
    Limits {
        cpu_shares: Some(if qos == Qos::BestEffort { 2 } else { shares(cpu.request) }),
        cpu_quota: cpu.limit.map(quota),
        memory: memory.limit,
        pids,
    }
}

/// The sum over a pod's containers of one resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Total {
    pub(crate) request: i64,
    /// Only when every container has a limit.
    pub(crate) limit: Option<i64>,
}

type Read = fn(Option<&BTreeMap<String, Written>>, &str) -> Option<i64>;

impl Total {
    /// Regular containers and sidecars run together; an init container runs with the sidecars before it.
    pub(crate) fn of(spec: &PodSpec, name: &str, read: Read) -> Self {
        let of = |container: &Container| {
            let resources = container.resources.as_ref();
            let limit = read(resources.and_then(|all| all.limits.as_ref()), name).filter(|limit| *limit > 0);
            let request = read(resources.and_then(|all| all.requests.as_ref()), name).or(limit).unwrap_or(0);
            Self { request, limit }
        };
        let add = |sum: Self, other: Self| Self {
            request: sum.request.saturating_add(other.request),
            limit: sum.limit.zip(other.limit).map(|(a, b)| a.saturating_add(b)),
        };
        let max = |a: Self, b: Self| Self {
            request: a.request.max(b.request),
            limit: a.limit.zip(b.limit).map(|(a, b)| a.max(b)),
        };
        let zero = Self { request: 0, limit: Some(0) };
        let (mut sidecars, mut peak) = (zero, zero);
        for container in spec.init_containers.iter().flatten() {
            if init_role(container) == Role::Sidecar {
                sidecars = add(sidecars, of(container));
                peak = max(peak, sidecars);
            } else {
                peak = max(peak, add(sidecars, of(container)));
            }
        }
        let together = spec.containers.iter().map(of).fold(sidecars, add);
        let mut total = max(peak, together);
        if let Some(own) = &spec.resources {
            if let Some(limit) = read(own.limits.as_ref(), name) {
                total.limit = Some(limit);
                total.request = limit;
            }
            total.request = read(own.requests.as_ref(), name).unwrap_or(total.request);
        }
        total
    }
}

/// CPU shares of thousandths of a CPU.
pub(crate) fn shares(milli: i64) -> u64 {
    u64::try_from(milli.saturating_mul(1024) / 1000).unwrap_or(0).clamp(2, 262_144)
}

/// CPU quota in microseconds per 100 ms of thousandths of a CPU; at least 1 ms.
pub(crate) fn quota(milli: i64) -> i64 {
    milli.saturating_mul(crate::cgroup::PERIOD).saturating_div(1000).max(1000)
}

fn plain(ephemeral: &k8s_openapi::api::core::v1::EphemeralContainer) -> Container {
    let e = ephemeral.clone();
    Container {
        args: e.args,
        command: e.command,
        env: e.env,
        env_from: e.env_from,
        image: e.image,
        image_pull_policy: e.image_pull_policy,
        name: e.name,
        security_context: e.security_context,
        stdin: e.stdin,
        stdin_once: e.stdin_once,
        termination_message_path: e.termination_message_path,
        termination_message_policy: e.termination_message_policy,
        tty: e.tty,
        volume_mounts: e.volume_mounts,
        working_dir: e.working_dir,
        ..Container::default()
    }
}
