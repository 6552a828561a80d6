//! The Pod Security Standards, check by check: <https://kubernetes.io/docs/concepts/security/pod-security-standards/>.
//! Texts and order are those of `k8s.io/pod-security-admission/policy`.

use std::collections::BTreeSet;

use knarr_api::Object;
use knarr_api::tree::Tree;
use serde_json::Value;

use super::policy::{Level, Standard};
use super::restricted;
use super::words::{Setters, plural, quoted};

/// What is checked: a pod, or what a controller makes pods from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Template<'a> {
    pub(super) annotations: &'a Object,
    pub(super) spec: &'a Object,
}

/// What is wrong: why, and where.
pub(super) type Finding = (String, String);

/// A check, as of a minor version.
type Check = fn(&Template<'_>, u32) -> Option<Finding>;

/// Level, first minor version, check, and from when on a check of the restricted level stands in for it.
const CHECKS: [(Level, u32, Check, u32); 19] = [
    (Level::Baseline, 0, app_armor, NEVER),
    (Level::Baseline, 0, added_capabilities, 22),
    (Level::Baseline, 0, host_namespaces, NEVER),
    (Level::Baseline, 0, host_paths, 0),
    (Level::Baseline, 0, host_ports, NEVER),
    (Level::Baseline, 34, probe_hosts, NEVER),
    (Level::Baseline, 0, privileged, NEVER),
    (Level::Baseline, 0, proc_mount, 35),
    (Level::Baseline, 0, se_linux, NEVER),
    (Level::Baseline, 0, seccomp, 19),
    (Level::Baseline, 0, sysctls, NEVER),
    (Level::Baseline, 0, windows_host_process, NEVER),
    (Level::Restricted, 8, restricted::privilege_escalation, NEVER),
    (Level::Restricted, 22, restricted::dropped_capabilities, NEVER),
    (Level::Restricted, 35, any_proc_mount, NEVER),
    (Level::Restricted, 0, restricted::volume_types, NEVER),
    (Level::Restricted, 0, restricted::run_as_non_root, NEVER),
    (Level::Restricted, 23, restricted::run_as_user, NEVER),
    (Level::Restricted, 19, restricted::required_seccomp, NEVER),
];

const NEVER: u32 = u32::MAX;

/// Everything about the template that the standard forbids.
pub(super) fn evaluate(template: &Template<'_>, standard: Standard) -> Vec<Finding> {
    let minor = standard.minor.min(LAST);
    let applies = |(level, since, _, replaced): &&(Level, u32, Check, u32)| {
        standard.level >= *level && minor >= *since && !(standard.level == Level::Restricted && minor >= *replaced)
    };
    CHECKS.iter().filter(applies).filter_map(|(_, _, check, _)| check(template, minor)).collect()
}

/// The newest version whose meaning is known: what upstream calls `latest`.
const LAST: u32 = 35;

impl<'a> Template<'a> {
    fn containers(&self) -> impl Iterator<Item = &'a Object> {
        let spec = self.spec;
        ["initContainers", "containers", "ephemeralContainers"].into_iter().flat_map(|field| spec.objects(field))
    }

    /// The names of containers that are as `bad` says.
    pub(super) fn bad(&self, bad: impl FnMut(&&'a Object) -> bool) -> Vec<&'a str> {
        self.containers().filter(bad).map(|container| container.text("name")).collect()
    }

    pub(super) fn is_windows(&self) -> bool {
        self.spec.text("os.name") == "windows"
    }

    /// With a user namespace of its own, root in the pod is nobody outside.
    pub(super) fn has_user_namespace(&self) -> bool {
        self.spec.flag("hostUsers") == Some(false)
    }
}

pub(super) fn finding(reason: &str, detail: String) -> Option<Finding> {
    Some((reason.into(), detail))
}

fn app_armor(template: &Template<'_>, _: u32) -> Option<Finding> {
    let mut values = BTreeSet::new();
    let mut bad = |owner: &Object, path: &str| {
        let kind = owner.object(path).map(|profile| profile.text("type"));
        let kind = kind.filter(|kind| !["RuntimeDefault", "Localhost"].contains(kind));
        kind.map(|kind| values.insert(kind.to_owned())).is_some()
    };
    let pod = bad(template.spec, "securityContext.appArmorProfile");
    let containers = template.bad(|container| bad(container, "securityContext.appArmorProfile"));
    let mut setters = Setters::new(pod, &containers);
    let allowed = |value: &str| value.is_empty() || value == "runtime/default" || value.starts_with("localhost/");
    let annotations: BTreeSet<_> = template
        .annotations
        .iter()
        .filter(|(key, _)| key.starts_with("container.apparmor.security.beta.kubernetes.io/"))
        .filter_map(|(key, value)| Some((key, value.as_str()?)))
        .filter(|(_, value)| !allowed(value))
        .map(|(key, value)| format!("{key}={value:?}"))
        .collect();
    let mut all: Vec<String> = values.into_iter().collect();
    if !annotations.is_empty() {
        setters.push(plural("annotation", annotations.len()));
        all.extend(annotations);
    }
    let detail = || format!("{setters} must not set AppArmor profile type to {}", quoted(&all));
    (!setters.is_empty()).then(|| (plural("forbidden AppArmor profile", all.len()), detail()))
}

const DEFAULT_CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// The containers that add capabilities other than `allowed`, as upstream says it.
pub(super) fn capabilities_beyond(template: &Template<'_>, allowed: &[&str]) -> Option<String> {
    let mut found = BTreeSet::new();
    let containers = template.bad(|container| {
        let added = container.texts("securityContext.capabilities.add").filter(|name| !allowed.contains(name));
        let before = added.map(|name| found.insert(name)).count();
        before > 0
    });
    let found: Vec<_> = found.into_iter().collect();
    let setters = Setters::new(false, &containers);
    (!containers.is_empty())
        .then(|| format!("{setters} must not include {} in securityContext.capabilities.add", quoted(&found)))
}

fn added_capabilities(template: &Template<'_>, _: u32) -> Option<Finding> {
    finding("non-default capabilities", capabilities_beyond(template, &DEFAULT_CAPABILITIES)?)
}

fn host_namespaces(template: &Template<'_>, _: u32) -> Option<Finding> {
    let used = ["hostNetwork", "hostPID", "hostIPC"].into_iter().filter(|field| template.spec.is_true(field));
    let used: Vec<_> = used.map(|field| format!("{field}=true")).collect();
    if used.is_empty() { None } else { finding("host namespaces", used.join(", ")) }
}

fn host_paths(template: &Template<'_>, _: u32) -> Option<Finding> {
    let volumes = template.spec.objects("volumes").filter(|volume| volume.has("hostPath"));
    let names: Vec<_> = volumes.map(|volume| volume.text("name")).collect();
    let detail = || format!("{} {}", plural("volume", names.len()), quoted(&names));
    if names.is_empty() { None } else { finding("hostPath volumes", detail()) }
}

fn host_ports(template: &Template<'_>, _: u32) -> Option<Finding> {
    let mut ports = BTreeSet::new();
    let containers = template.bad(|container| {
        let used = container.objects("ports").map(|port| port.number("hostPort")).filter(|port| *port != 0);
        used.map(|port| ports.insert(port.to_string())).count() > 0
    });
    if containers.is_empty() {
        return None;
    }
    let ports: Vec<_> = ports.into_iter().collect();
    let verb = if containers.len() == 1 { "uses" } else { "use" };
    let setters = Setters::new(false, &containers);
    finding("hostPort", format!("{setters} {verb} {} {}", plural("hostPort", ports.len()), ports.join(", ")))
}

const HANDLERS: [&str; 5] =
    ["livenessProbe", "readinessProbe", "startupProbe", "lifecycle.postStart", "lifecycle.preStop"];

fn probe_hosts(template: &Template<'_>, _: u32) -> Option<Finding> {
    let mut hosts = BTreeSet::new();
    let containers = template.bad(|container| {
        let paths =
            HANDLERS.iter().flat_map(|handler| ["httpGet", "tcpSocket"].map(|by| format!("{handler}.{by}.host")));
        let named: Vec<_> = paths.map(|path| container.text(&path)).filter(|host| !host.is_empty()).collect();
        hosts.extend(named.iter().copied());
        !named.is_empty()
    });
    if containers.is_empty() {
        return None;
    }
    let containers: Vec<_> = containers.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
    let hosts: Vec<_> = hosts.into_iter().collect();
    let verb = if containers.len() == 1 { "uses" } else { "use" };
    let setters = Setters::new(false, &containers);
    let what = plural("probe or lifecycle host", hosts.len());
    finding("probe or lifecycle host", format!("{setters} {verb} {what} {}", quoted(&hosts)))
}

fn privileged(template: &Template<'_>, _: u32) -> Option<Finding> {
    let containers = template.bad(|container| container.is_true("securityContext.privileged"));
    let setters = Setters::new(false, &containers);
    let detail = || format!("{setters} must not set securityContext.privileged=true");
    if containers.is_empty() { None } else { finding("privileged", detail()) }
}

fn proc_mount(template: &Template<'_>, minor: u32) -> Option<Finding> {
    if minor >= 35 && template.has_user_namespace() { None } else { any_proc_mount(template, minor) }
}

fn any_proc_mount(template: &Template<'_>, _: u32) -> Option<Finding> {
    let mut kinds = BTreeSet::new();
    let containers = template.bad(|container| {
        let kind = container.value("securityContext.procMount").and_then(Value::as_str);
        kind.filter(|kind| *kind != "Default").map(|kind| kinds.insert(kind)).is_some()
    });
    let kinds: Vec<_> = kinds.into_iter().collect();
    let setters = Setters::new(false, &containers);
    let detail = || format!("{setters} must not set securityContext.procMount to {}", quoted(&kinds));
    if containers.is_empty() { None } else { finding("procMount", detail()) }
}

fn se_linux(template: &Template<'_>, minor: u32) -> Option<Finding> {
    let mut allowed = vec!["", "container_t", "container_init_t", "container_kvm_t"];
    if minor >= 31 {
        allowed.push("container_engine_t");
    }
    let (mut types, mut user, mut role) = (BTreeSet::new(), false, false);
    let mut bad = |owner: &Object| {
        let Some(options) = owner.object("securityContext.seLinuxOptions") else { return false };
        let kind = options.text("type");
        let wrong_type = !allowed.contains(&kind);
        if wrong_type {
            types.insert(kind.to_owned());
        }
        let (sets_user, sets_role) = (!options.text("user").is_empty(), !options.text("role").is_empty());
        user |= sets_user;
        role |= sets_role;
        wrong_type || sets_user || sets_role
    };
    let pod = bad(template.spec);
    let containers = template.bad(|container| bad(container));
    let setters = Setters::new(pod, &containers);
    if setters.is_empty() {
        return None;
    }
    let types: Vec<_> = types.into_iter().collect();
    let mut what = Vec::new();
    if !types.is_empty() {
        what.push(format!("{} {}", plural("type", types.len()), quoted(&types)));
    }
    what.extend(user.then(|| "user may not be set".to_owned()));
    what.extend(role.then(|| "role may not be set".to_owned()));
    let what = what.join("; ");
    finding("seLinuxOptions", format!("{setters} set forbidden securityContext.seLinuxOptions: {what}"))
}

fn is_seccomp(kind: &str) -> bool {
    matches!(kind, "RuntimeDefault" | "Localhost")
}

pub(super) fn seccomp(template: &Template<'_>, minor: u32) -> Option<Finding> {
    if minor < 19 {
        return seccomp_annotations(template);
    }
    let mut values = BTreeSet::new();
    let mut bad = |owner: &Object| {
        let kind = owner.object("securityContext.seccompProfile").map(|profile| profile.text("type").to_owned());
        kind.filter(|kind| !is_seccomp(kind)).map(|kind| values.insert(kind)).is_some()
    };
    let pod = bad(template.spec);
    let containers = template.bad(|container| bad(container));
    let setters = Setters::new(pod, &containers);
    let values: Vec<_> = values.into_iter().collect();
    let detail = || format!("{setters} must not set securityContext.seccompProfile.type to {}", quoted(&values));
    if setters.is_empty() { None } else { finding("seccompProfile", detail()) }
}

/// Before profiles were fields they were annotations.
fn seccomp_annotations(template: &Template<'_>) -> Option<Finding> {
    let pod = "seccomp.security.alpha.kubernetes.io/pod".to_owned();
    let containers = template.containers();
    let keys = containers.map(|c| format!("container.seccomp.security.alpha.kubernetes.io/{}", c.text("name")));
    let allowed =
        |value: &str| matches!(value, "runtime/default" | "docker/default") || value.starts_with("localhost/");
    let value = |key: String| {
        let value = template.annotations.get(&key)?.as_str()?;
        (!allowed(value)).then(|| format!("{key}={value:?}"))
    };
    let found: BTreeSet<_> = std::iter::once(pod).chain(keys).filter_map(value).collect();
    let list: Vec<_> = found.into_iter().collect();
    let detail = || format!("forbidden {} {}", plural("annotation", list.len()), list.join(", "));
    if list.is_empty() { None } else { finding("seccompProfile", detail()) }
}

/// Since which minor version a sysctl is harmless.
const SYSCTLS: [(&str, u32); 12] = [
    ("kernel.shm_rmid_forced", 0),
    ("net.ipv4.ip_local_port_range", 0),
    ("net.ipv4.tcp_syncookies", 0),
    ("net.ipv4.ping_group_range", 0),
    ("net.ipv4.ip_unprivileged_port_start", 0),
    ("net.ipv4.ip_local_reserved_ports", 27),
    ("net.ipv4.tcp_keepalive_time", 29),
    ("net.ipv4.tcp_fin_timeout", 29),
    ("net.ipv4.tcp_keepalive_intvl", 29),
    ("net.ipv4.tcp_keepalive_probes", 29),
    ("net.ipv4.tcp_rmem", 32),
    ("net.ipv4.tcp_wmem", 32),
];

fn sysctls(template: &Template<'_>, minor: u32) -> Option<Finding> {
    let allowed = |name: &str| SYSCTLS.iter().any(|(known, since)| *known == name && minor >= *since);
    let names = template.spec.objects("securityContext.sysctls").map(|sysctl| sysctl.text("name"));
    let names: Vec<_> = names.filter(|name| !allowed(name)).collect();
    if names.is_empty() { None } else { finding("forbidden sysctls", names.join(", ")) }
}

fn windows_host_process(template: &Template<'_>, _: u32) -> Option<Finding> {
    let bad = |owner: &Object| owner.is_true("securityContext.windowsOptions.hostProcess");
    let containers = template.bad(|container| bad(container));
    let setters = Setters::new(bad(template.spec), &containers);
    let detail = || format!("{setters} must not set securityContext.windowsOptions.hostProcess=true");
    if setters.is_empty() { None } else { finding("hostProcess", detail()) }
}
