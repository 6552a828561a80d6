//! What a container finds around itself: configuration, volumes, limits, identity.

use anyhow::{Context, Result, ensure};
use knarr_tests::api::Api;
use knarr_tests::lab::Lab;
use knarr_tests::space::{POD, Space};
use knarr_tests::wait::until;
use serde_json::json;

pub(crate) fn config_maps_and_secrets(lab: &Lab) -> Result<()> {
    let space = Space::new(lab, "config")?;
    space.kubectl(&["create", "configmap", "plain", "--from-literal=colour=blue", "--from-literal=size=7"])?;
    space.kubectl(&["create", "secret", "generic", "hidden", "--from-literal=password=s3cret"])?;
    space.apply(
        r#"
apiVersion: v1
kind: Pod
metadata: {name: reader}
spec:
  terminationGracePeriodSeconds: 1
  securityContext: {fsGroup: 2000}
  volumes:
  - {name: plain, configMap: {name: plain, items: [{key: colour, path: deep/colour.txt}]}}
  - {name: whole, configMap: {name: plain}}
  - {name: hidden, secret: {secretName: hidden, defaultMode: 0400}}
  - {name: missing, configMap: {name: missing, optional: true}}
  - name: both
    projected: {sources: [
      {configMap: {name: plain, items: [{key: size, path: size}]}}, {secret: {name: hidden}},
      {downwardAPI: {items: [{path: name, fieldRef: {fieldPath: metadata.name}}]}}]}
  containers:
  - name: c
    image: busybox:1
    command: [sleep, "1000"]
    envFrom: [{prefix: P_, configMapRef: {name: plain}}, {secretRef: {name: hidden}}, {configMapRef: {name: missing, optional: true}}]
    env:
    - {name: COLOUR, valueFrom: {configMapKeyRef: {name: plain, key: colour}}}
    - {name: BOTH, value: "$(COLOUR) and $(P_size) and $$(COLOUR)"}
    volumeMounts:
    - {name: plain, mountPath: /plain}
    - {name: whole, mountPath: /whole}
    - {name: whole, mountPath: /single/size, subPath: size}
    - {name: hidden, mountPath: /hidden, readOnly: true}
    - {name: missing, mountPath: /missing}
    - {name: both, mountPath: /both}
"#,
    )?;
    space.wait("condition=Ready", &["pod/reader"])?;
    for (script, expected) in [
        ("echo $P_colour $P_size $password $COLOUR", "blue 7 s3cret blue\n"),
        ("echo \"$BOTH\"", "blue and 7 and $(COLOUR)\n"),
        ("cat /plain/deep/colour.txt; ls /plain", "bluedeep\n"),
        ("cat /whole/colour /single/size", "blue7"),
        ("cat /hidden/password; stat -L -c %a:%g /hidden/password", "s3cret440:2000\n"),
        ("ls /missing", ""),
        ("cd /both; ls; cat size password name", "name\npassword\nsize\n7s3cretreader"),
        ("touch /whole/new 2>/dev/null || echo read-only", "read-only\n"),
        ("stat -f -c %T /hidden", "tmpfs\n"),
    ] {
        let told = space.exec("reader", &["sh", "-c", script])?;
        ensure!(told == expected, "{script}: {told:?}");
    }
    space.kubectl(&["patch", "configmap", "plain", "--patch", r#"{"data":{"colour":"red"}}"#])?;
    until("the volume shows the change", POD, || {
        match space.exec("reader", &["cat", "/whole/colour", "/single/size"]) {
            Ok(told) if told == "red7" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })?;

    space.apply(
        r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"waits"},"spec":{"terminationGracePeriodSeconds":1,"containers":[
            {"name":"c","image":"busybox:1","command":["sleep","1000"],"envFrom":[{"configMapRef":{"name":"late"}}]}]}}"#,
    )?;
    let waiting = ".status.containerStatuses[0].state.waiting";
    space.until_is("pod/waits", &format!("{waiting}.reason"), "CreateContainerConfigError")?;
    ensure!(space.field("pod/waits", &format!("{waiting}.message"))? == r#"configmap "late" not found"#);
    space.kubectl(&["create", "configmap", "late"])?;
    space.wait("condition=Ready", &["pod/waits"])
}

pub(crate) fn downward_api(lab: &Lab) -> Result<()> {
    let space = Space::new(lab, "downward")?;
    space.kubectl(&["create", "service", "clusterip", "early-bird", "--tcp=81:80"])?;
    let address = space.field("service/early-bird", ".spec.clusterIP")?;
    space.apply(
        r#"
apiVersion: v1
kind: Pod
metadata: {name: self, labels: {a: b}, annotations: {note: hello}}
spec:
  terminationGracePeriodSeconds: 1
  hostname: myself
  volumes: [{name: info, downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}}]
  containers:
  - name: c
    image: busybox:1
    command: [sleep, "1000"]
    workingDir: /tmp
    volumeMounts: [{name: info, mountPath: /info}]
    resources: {limits: {cpu: 500m, memory: 64Mi}}
    env:
    - {name: NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    - {name: NOTE, valueFrom: {fieldRef: {fieldPath: "metadata.annotations['note']"}}}
    - {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
    - {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    - {name: HOST, valueFrom: {fieldRef: {fieldPath: status.hostIP}}}
    - {name: MEMORY, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Mi}}}
    - {name: CPU, valueFrom: {resourceFieldRef: {resource: limits.cpu, divisor: 1m}}}
"#,
    )?;
    space.wait("condition=Ready", &["pod/self"])?;
    let (node, ip) = (space.field("pod/self", ".spec.nodeName")?, space.field("pod/self", ".status.podIP")?);
    for (script, expected) in [
        ("echo $NAME $NOTE $NODE $IP $HOST $MEMORY $CPU", format!("self hello {node} {ip} 192.168.1.10 64 500\n")),
        ("echo $EARLY_BIRD_SERVICE_HOST $EARLY_BIRD_PORT_81_TCP", format!("{address} tcp://{address}:81\n")),
        ("echo $KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT", "10.43.0.1:443\n".into()),
        ("hostname; pwd; cat /info/labels", "myself\n/tmp\na=\"b\"".into()),
        ("grep myself /etc/hosts", format!("{ip}\tmyself\n")),
        (
            "cat /etc/resolv.conf",
            "search downward.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.43.0.10\noptions ndots:5\n".into(),
        ),
    ] {
        let told = space.exec("self", &["sh", "-c", script])?;
        ensure!(told == expected, "{script}: {told:?}, expected {expected:?}");
    }
    Ok(())
}

pub(crate) fn volumes(lab: &Lab) -> Result<()> {
    let space = Space::new(lab, "volumes")?;
    space.apply(
        r#"
apiVersion: v1
kind: Pod
metadata: {name: shared}
spec:
  terminationGracePeriodSeconds: 1
  volumes:
  - {name: scratch, emptyDir: {}}
  - {name: fast, emptyDir: {medium: Memory, sizeLimit: 1Mi}}
  - {name: host, hostPath: {path: /etc/hostname, type: File}}
  containers:
  - {name: writer, image: "busybox:1", command: [sh, -c, "echo shared > /scratch/file; exec sleep 1000"],
     volumeMounts: [{name: scratch, mountPath: /scratch}, {name: fast, mountPath: /fast}]}
  - {name: reader, image: "busybox:1", command: [sleep, "1000"],
     securityContext: {runAsUser: 1000, readOnlyRootFilesystem: true, allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}},
     volumeMounts: [{name: scratch, mountPath: /scratch, readOnly: true}, {name: host, mountPath: /host}]}
---
apiVersion: v1
kind: Pod
metadata: {name: wrong}
spec:
  volumes: [{name: host, hostPath: {path: /absent/directory, type: Directory}}]
  containers: [{name: c, image: "busybox:1", command: [sleep, "1000"], volumeMounts: [{name: host, mountPath: /host}]}]
"#,
    )?;
    space.wait("condition=Ready", &["pod/shared"])?;
    let host = std::fs::read_to_string("/etc/hostname")?;
    for (container, script, expected) in [
        ("reader", "cat /scratch/file; touch /scratch/new 2>/dev/null || echo read-only", "shared\nread-only\n"),
        ("reader", "cat /host", host.as_str()),
        ("reader", "id -u; touch /root-file 2>/dev/null || echo read-only", "1000\nread-only\n"),
        (
            "reader",
            "grep CapEff /proc/self/status | cut -f2; grep NoNewPrivs /proc/self/status | cut -f2",
            "0000000000000000\n1\n",
        ),
        ("writer", "stat -f -c %T /fast; df -k /fast | tail -1 | tr -s ' ' | cut -d' ' -f2", "tmpfs\n1024\n"),
    ] {
        let told = space.kubectl(&["exec", "shared", "-c", container, "--", "sh", "-c", script])?;
        ensure!(told == expected, "{container}: {script}: {told:?}");
    }
    until("the missing directory is told", POD, || {
        let told = space.kubectl(&["get", "events", "--field-selector=involvedObject.name=wrong"]);
        let told = told.map_err(|error| format!("{error:#}"))?;
        if told.contains("FailedMount") && told.contains("is not a directory") { Ok(()) } else { Err(told) }
    })
}

pub(crate) fn limits(lab: &Lab) -> Result<()> {
    let space = Space::new(lab, "limits")?;
    space.apply(
        r#"
apiVersion: v1
kind: Pod
metadata: {name: small}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: c
    image: busybox:1
    command: [sleep, "1000"]
    resources: {requests: {cpu: 250m, memory: 32Mi}, limits: {cpu: 500m, memory: 64Mi}}
---
apiVersion: v1
kind: Pod
metadata: {name: greedy}
spec:
  restartPolicy: Never
  containers:
  - name: c
    image: busybox:1
    command: [sh, -c, "dd if=/dev/zero of=/dev/null bs=200M count=1"]
    resources: {limits: {memory: 32Mi}}
"#,
    )?;
    space.wait("condition=Ready", &["pod/small"])?;
    let script = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max";
    ensure!(space.exec("small", &["sh", "-c", script])? == format!("{}\n", 64 << 20));
    let script = "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null || cut -d' ' -f1 /sys/fs/cgroup/cpu.max";
    ensure!(space.exec("small", &["sh", "-c", script])? == "50000\n");
    ensure!(space.field("pod/small", ".status.qosClass")? == "Burstable");
    space.until_is("pod/greedy", ".status.phase", "Failed")?;
    let ended = space.get(&["pod", "greedy"])?["status"]["containerStatuses"][0]["state"]["terminated"].clone();
    ensure!(ended["reason"] == "OOMKilled" && ended["exitCode"] == 137, "{ended}");
    Ok(())
}

pub(crate) fn service_account_token(lab: &Lab) -> Result<()> {
    const REVIEWS: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let space = Space::new(lab, "identity")?;
    space.kubectl(&["create", "serviceaccount", "robot"])?;
    space.apply(
        r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"robot"},"spec":{"serviceAccountName":"robot",
            "terminationGracePeriodSeconds":1,"containers":[{"name":"c","image":"busybox:1","command":["sleep","1000"]}]}}"#,
    )?;
    space.wait("condition=Ready", &["pod/robot"])?;
    let file =
        |name: &str| space.exec("robot", &["cat", &format!("/var/run/secrets/kubernetes.io/serviceaccount/{name}")]);
    ensure!(file("namespace")? == "identity");
    ensure!(file("ca.crt")?.starts_with("-----BEGIN CERTIFICATE-----"));
    let token = file("token")?;
    let api = Api::with_token(lab, token.trim())?;
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let answer = api.post(REVIEWS, &review)?;
    let user = answer.json()?["status"]["userInfo"].clone();
    ensure!(user["username"] == "system:serviceaccount:identity:robot", "{answer}");
    ensure!(user["extra"]["authentication.kubernetes.io/pod-name"] == json!(["robot"]), "{answer}");

    let pods = "/api/v1/namespaces/identity/pods";
    let answer = api.request("GET", pods, &[], b"")?;
    let message = r#"pods is forbidden: User "system:serviceaccount:identity:robot" cannot list resource "pods" in API group "" in the namespace "identity""#;
    ensure!(answer.status == 403 && answer.json()?["message"] == message, "{answer}");
    space.kubectl(&["create", "rolebinding", "robot", "--clusterrole=view", "--serviceaccount=identity:robot"])?;
    until("the binding counts", POD, || match api.request("GET", pods, &[], b"") {
        Ok(answer) if answer.status == 200 => Ok(()),
        other => Err(format!("{other:?}")),
    })?;
    let answer = api.request("GET", "/api/v1/namespaces/identity/secrets", &[], b"")?;
    ensure!(answer.status == 403, "view shows no secrets: {answer}");

    space.kubectl(&["delete", "pod", "robot"])?;
    until("the token ends with its pod", POD, || match api.request("GET", pods, &[], b"") {
        Ok(answer) if answer.status == 401 => Ok(()),
        other => Err(format!("{other:?}")),
    })?;
    let made = space.kubectl(&["create", "token", "robot", "--duration=10m"])?;
    let answer = Api::with_token(lab, made.trim())?.request("GET", pods, &[], b"")?;
    ensure!(answer.status == 200, "{answer}");
    space.kubectl(&["delete", "serviceaccount", "robot"])?;
    until("the token ends with its account", POD, || {
        match Api::with_token(lab, made.trim()).and_then(|api| api.request("GET", pods, &[], b"")) {
            Ok(answer) if answer.status == 401 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .context("kubectl create token")
}
