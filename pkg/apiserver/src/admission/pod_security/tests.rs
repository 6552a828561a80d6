use serde_json::{Value, json};

use super::*;
use crate::admission::fixture::object;

fn check(pod: &Value, level: Level, minor: u32) -> String {
    let pod = object(pod.clone());
    details(&evaluate(&template(&pod), Standard { level, minor }))
}

fn baseline(spec: Value) -> String {
    check(&json!({"spec": spec}), Level::Baseline, u32::MAX)
}

/// A container with a security context.
fn container(name: &str, context: Value) -> Value {
    json!({"name": name, "securityContext": context})
}

#[test]
fn baseline_reads_as_upstreams() {
    let one = |context: Value| json!({"containers": [container("a", context)]});
    let table = [
        (json!({"containers": [{"name": "a"}]}), ""),
        (json!({"hostNetwork": true, "hostPID": true}), "host namespaces (hostNetwork=true, hostPID=true)"),
        (
            one(json!({"privileged": true})),
            r#"privileged (container "a" must not set securityContext.privileged=true)"#,
        ),
        (
            json!({"containers": [container("a", json!({"capabilities": {"add": ["SYS_ADMIN", "CHOWN"]}})), container("b", json!({"capabilities": {"add": ["NET_RAW"]}}))]}),
            r#"non-default capabilities (containers "a", "b" must not include "NET_RAW", "SYS_ADMIN" in securityContext.capabilities.add)"#,
        ),
        (json!({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}), r#"hostPath volumes (volume "v")"#),
        (
            json!({"containers": [{"name": "a", "ports": [{"hostPort": 80}, {"hostPort": 443}]}]}),
            r#"hostPort (container "a" uses hostPorts 443, 80)"#,
        ),
        (
            json!({"containers": [{"name": "a", "livenessProbe": {"httpGet": {"host": "10.0.0.1"}}}]}),
            r#"probe or lifecycle host (container "a" uses probe or lifecycle host "10.0.0.1")"#,
        ),
        (
            one(json!({"procMount": "Unmasked"})),
            r#"procMount (container "a" must not set securityContext.procMount to "Unmasked")"#,
        ),
        (
            json!({"securityContext": {"seLinuxOptions": {"type": "spc_t", "user": "u"}}}),
            r#"seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: type "spc_t"; user may not be set)"#,
        ),
        (
            json!({"securityContext": {"seccompProfile": {"type": "Unconfined"}}, "containers": [container("a", json!({"seccompProfile": {"type": "Unconfined"}}))]}),
            r#"seccompProfile (pod and container "a" must not set securityContext.seccompProfile.type to "Unconfined")"#,
        ),
        (
            json!({"securityContext": {"sysctls": [{"name": "kernel.msgmax"}, {"name": "net.ipv4.tcp_rmem"}]}}),
            "forbidden sysctls (kernel.msgmax)",
        ),
        (
            json!({"securityContext": {"windowsOptions": {"hostProcess": true}}}),
            "hostProcess (pod must not set securityContext.windowsOptions.hostProcess=true)",
        ),
        (
            one(json!({"appArmorProfile": {"type": "Unconfined"}})),
            r#"forbidden AppArmor profile (container "a" must not set AppArmor profile type to "Unconfined")"#,
        ),
    ];
    for (spec, expected) in table {
        assert_eq!(baseline(spec.clone()), expected, "{spec}");
    }
}

#[test]
fn restricted_names_everything_that_is_missing() {
    let bare = json!({"spec": {"containers": [{"name": "a"}], "volumes": [{"name": "v", "hostPath": {}}, {"name": "w", "nfs": {}}]}});
    assert_eq!(
        check(&bare, Level::Restricted, u32::MAX),
        "allowPrivilegeEscalation != false (container \"a\" must set securityContext.allowPrivilegeEscalation=false), \
         unrestricted capabilities (container \"a\" must set securityContext.capabilities.drop=[\"ALL\"]), \
         restricted volume types (volumes \"v\", \"w\" use restricted volume types \"hostPath\", \"nfs\"), \
         runAsNonRoot != true (pod or container \"a\" must set securityContext.runAsNonRoot=true), \
         seccompProfile (pod or container \"a\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")"
    );
    let good = json!({"spec": {
        "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container("a", json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}}))],
    }});
    assert_eq!(check(&good, Level::Restricted, u32::MAX), "");
    let root = json!({"spec": {"hostUsers": false, "containers": [container("a", json!({"runAsUser": 0, "runAsNonRoot": false, "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "Localhost"}}))]}});
    assert_eq!(check(&root, Level::Restricted, 35), "");
    assert_eq!(
        check(&root, Level::Restricted, 34),
        "runAsNonRoot != true (container \"a\" must not set securityContext.runAsNonRoot=false), \
         runAsUser=0 (container \"a\" must not set runAsUser=0)"
    );
}

#[test]
fn a_version_is_what_it_was_then() {
    let sysctl = json!({"spec": {"securityContext": {"sysctls": [{"name": "net.ipv4.tcp_rmem"}]}}});
    assert_eq!(check(&sysctl, Level::Baseline, 32), "");
    assert_eq!(check(&sysctl, Level::Baseline, 31), "forbidden sysctls (net.ipv4.tcp_rmem)");
    let annotated =
        json!({"metadata": {"annotations": {"seccomp.security.alpha.kubernetes.io/pod": "unconfined"}}, "spec": {}});
    assert_eq!(
        check(&annotated, Level::Baseline, 18),
        "seccompProfile (forbidden annotation seccomp.security.alpha.kubernetes.io/pod=\"unconfined\")"
    );
    assert_eq!(check(&annotated, Level::Baseline, 19), "");
}

#[test]
fn pods_that_are_there_already_are_named_by_fault() {
    let pod = |name: &str, spec: Value| object(json!({"metadata": {"name": name}, "spec": spec}));
    let pods = [
        pod("c", json!({"hostNetwork": true})),
        pod("a", json!({"hostNetwork": true})),
        pod("b", json!({"hostNetwork": true})),
        pod("x", json!({"volumes": [{"name": "v", "hostPath": {}}]})),
        pod("good", json!({})),
    ];
    assert_eq!(
        existing("ns", &pods, Standard { level: Level::Baseline, minor: u32::MAX }),
        [
            "existing pods in namespace \"ns\" violate the new PodSecurity enforce level \"baseline:latest\"",
            "a (and 2 other pods): host namespaces",
            "x: hostPath volumes",
        ]
    );
}
