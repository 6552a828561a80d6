//! The table. Names, verbs, short names and categories are those of Kubernetes v1.35 with its default flags
//! (`api/discovery/aggregated_v2.json` and `api__v1.json` of its sources); the order is discovery's.

use super::row::{Group, Row, Sub, cluster, namespaced, review};
use super::{autoscaler, event};
use crate::kind::{Relaxed, Storage};

const READ_ONLY: &[&str] = &["get", "list"];
const NO_COLLECTION: &[&str] = &["create", "delete", "get", "list", "patch", "update", "watch"];
const CHANGE: &[&str] = &["get", "patch", "update"];
const CONNECT: &[&str] = &["create", "get"];
const PROXY: &[&str] = &["create", "delete", "get", "patch", "update"];
const CREATE: &[&str] = &["create"];

const STATUS: Sub = Sub { name: "status", verbs: CHANGE, body: None };
const SCALE: Sub = Sub { name: "scale", verbs: CHANGE, body: Some(("autoscaling", "v1", "Scale")) };

const fn own(name: &'static str, verbs: &'static [&'static str]) -> Sub {
    Sub { name, verbs, body: None }
}

const fn with(
    name: &'static str,
    verbs: &'static [&'static str],
    body: (&'static str, &'static str, &'static str),
) -> Sub {
    Sub { name, verbs, body: Some(body) }
}

const fn core(name: &'static str, verbs: &'static [&'static str], kind: &'static str) -> Sub {
    with(name, verbs, ("", "v1", kind))
}

/// Every group, preferred version first.
pub(super) const GROUPS: &[Group] = &[
    Group { name: "", package: "io.k8s.api.core", versions: &["v1"], rows: CORE },
    Group {
        name: "apiregistration.k8s.io",
        package: "io.k8s.kube-aggregator.pkg.apis.apiregistration",
        versions: &["v1"],
        rows: &[cluster("APIService", "apiservices").categories(&["api-extensions"]).subs(&[STATUS])],
    },
    Group {
        name: "apps",
        package: "io.k8s.api.apps",
        versions: &["v1"],
        rows: &[
            namespaced("ControllerRevision", "controllerrevisions"),
            namespaced("DaemonSet", "daemonsets").short(&["ds"]).categories(&["all"]).subs(&[STATUS]),
            namespaced("Deployment", "deployments").short(&["deploy"]).categories(&["all"]).subs(&[SCALE, STATUS]),
            namespaced("ReplicaSet", "replicasets").short(&["rs"]).categories(&["all"]).subs(&[SCALE, STATUS]),
            namespaced("StatefulSet", "statefulsets").short(&["sts"]).categories(&["all"]).subs(&[SCALE, STATUS]),
        ],
    },
    Group {
        name: "events.k8s.io",
        package: "io.k8s.api.events",
        versions: &["v1"],
        rows: &[Row {
            storage: Storage::As { group: "", plural: "events" },
            convert: &[("v1", event::CONVERT)],
            relaxed: Relaxed::Always,
            selectable: &[
                ("regarding.kind", &["involvedObject.kind"], ""),
                ("regarding.namespace", &["involvedObject.namespace"], ""),
                ("regarding.name", &["involvedObject.name"], ""),
                ("regarding.uid", &["involvedObject.uid"], ""),
                ("regarding.apiVersion", &["involvedObject.apiVersion"], ""),
                ("regarding.resourceVersion", &["involvedObject.resourceVersion"], ""),
                ("regarding.fieldPath", &["involvedObject.fieldPath"], ""),
                ("reason", &["reason"], ""),
                ("reportingController", &["reportingComponent"], ""),
                ("type", &["type"], ""),
            ],
            ..namespaced("Event", "events").short(&["ev"])
        }],
    },
    Group {
        name: "authentication.k8s.io",
        package: "io.k8s.api.authentication",
        versions: &["v1"],
        rows: &[review("SelfSubjectReview", "selfsubjectreviews"), review("TokenReview", "tokenreviews")],
    },
    Group {
        name: "authorization.k8s.io",
        package: "io.k8s.api.authorization",
        versions: &["v1"],
        rows: &[
            Row { namespaced: true, ..review("LocalSubjectAccessReview", "localsubjectaccessreviews") },
            review("SelfSubjectAccessReview", "selfsubjectaccessreviews"),
            review("SelfSubjectRulesReview", "selfsubjectrulesreviews"),
            review("SubjectAccessReview", "subjectaccessreviews"),
        ],
    },
    Group {
        name: "autoscaling",
        package: "io.k8s.api.autoscaling",
        versions: &["v2", "v1"],
        rows: &[Row {
            convert: &[("v1", autoscaler::CONVERT)],
            ..namespaced("HorizontalPodAutoscaler", "horizontalpodautoscalers")
                .short(&["hpa"])
                .categories(&["all"])
                .subs(&[STATUS])
        }],
    },
    Group {
        name: "batch",
        package: "io.k8s.api.batch",
        versions: &["v1"],
        rows: &[
            namespaced("CronJob", "cronjobs").short(&["cj"]).categories(&["all"]).subs(&[STATUS]),
            Row {
                selectable: &[("status.successful", &["status.succeeded"], "0")],
                ..namespaced("Job", "jobs").categories(&["all"]).subs(&[STATUS])
            },
        ],
    },
    Group {
        name: "certificates.k8s.io",
        package: "io.k8s.api.certificates",
        versions: &["v1"],
        rows: &[Row {
            selectable: &[("spec.signerName", &["spec.signerName"], "")],
            ..cluster("CertificateSigningRequest", "certificatesigningrequests")
                .short(&["csr"])
                .subs(&[own("approval", CHANGE), STATUS])
        }],
    },
    Group {
        name: "networking.k8s.io",
        package: "io.k8s.api.networking",
        versions: &["v1"],
        rows: &[
            cluster("IngressClass", "ingressclasses"),
            namespaced("Ingress", "ingresses").short(&["ing"]).subs(&[STATUS]),
            cluster("IPAddress", "ipaddresses").short(&["ip"]),
            namespaced("NetworkPolicy", "networkpolicies").short(&["netpol"]),
            cluster("ServiceCIDR", "servicecidrs").subs(&[STATUS]),
        ],
    },
    Group {
        name: "policy",
        package: "io.k8s.api.policy",
        versions: &["v1"],
        rows: &[namespaced("PodDisruptionBudget", "poddisruptionbudgets").short(&["pdb"]).subs(&[STATUS])],
    },
    Group {
        name: "rbac.authorization.k8s.io",
        package: "io.k8s.api.rbac",
        versions: &["v1"],
        rows: &[
            cluster("ClusterRoleBinding", "clusterrolebindings"),
            cluster("ClusterRole", "clusterroles"),
            namespaced("RoleBinding", "rolebindings"),
            namespaced("Role", "roles"),
        ],
    },
    Group {
        name: "storage.k8s.io",
        package: "io.k8s.api.storage",
        versions: &["v1"],
        rows: &[
            cluster("CSIDriver", "csidrivers"),
            cluster("CSINode", "csinodes"),
            namespaced("CSIStorageCapacity", "csistoragecapacities"),
            cluster("StorageClass", "storageclasses").short(&["sc"]),
            cluster("VolumeAttachment", "volumeattachments").subs(&[STATUS]),
            cluster("VolumeAttributesClass", "volumeattributesclasses").short(&["vac"]),
        ],
    },
    Group {
        name: "admissionregistration.k8s.io",
        package: "io.k8s.api.admissionregistration",
        versions: &["v1"],
        rows: &[
            cluster("MutatingWebhookConfiguration", "mutatingwebhookconfigurations").categories(&["api-extensions"]),
            cluster("ValidatingAdmissionPolicy", "validatingadmissionpolicies")
                .categories(&["api-extensions"])
                .subs(&[STATUS]),
            cluster("ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings")
                .categories(&["api-extensions"]),
            cluster("ValidatingWebhookConfiguration", "validatingwebhookconfigurations")
                .categories(&["api-extensions"]),
        ],
    },
    Group {
        name: "apiextensions.k8s.io",
        package: "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions",
        versions: &["v1"],
        rows: &[cluster("CustomResourceDefinition", "customresourcedefinitions")
            .short(&["crd", "crds"])
            .categories(&["api-extensions"])
            .subs(&[STATUS])],
    },
    Group {
        name: "scheduling.k8s.io",
        package: "io.k8s.api.scheduling",
        versions: &["v1"],
        rows: &[cluster("PriorityClass", "priorityclasses").short(&["pc"])],
    },
    Group {
        name: "coordination.k8s.io",
        package: "io.k8s.api.coordination",
        versions: &["v1"],
        rows: &[Row { relaxed: Relaxed::In("kube-node-lease"), ..namespaced("Lease", "leases") }],
    },
    Group {
        name: "node.k8s.io",
        package: "io.k8s.api.node",
        versions: &["v1"],
        rows: &[cluster("RuntimeClass", "runtimeclasses")],
    },
    Group {
        name: "discovery.k8s.io",
        package: "io.k8s.api.discovery",
        versions: &["v1"],
        rows: &[namespaced("EndpointSlice", "endpointslices")],
    },
    Group {
        name: "resource.k8s.io",
        package: "io.k8s.api.resource",
        versions: &["v1"],
        rows: &[
            cluster("DeviceClass", "deviceclasses"),
            namespaced("ResourceClaim", "resourceclaims").subs(&[STATUS]),
            namespaced("ResourceClaimTemplate", "resourceclaimtemplates"),
            Row {
                selectable: &[("spec.nodeName", &["spec.nodeName"], ""), ("spec.driver", &["spec.driver"], "")],
                ..cluster("ResourceSlice", "resourceslices")
            },
        ],
    },
    Group {
        name: "flowcontrol.apiserver.k8s.io",
        package: "io.k8s.api.flowcontrol",
        versions: &["v1"],
        rows: &[
            cluster("FlowSchema", "flowschemas").subs(&[STATUS]),
            cluster("PriorityLevelConfiguration", "prioritylevelconfigurations").subs(&[STATUS]),
        ],
    },
    Group {
        name: "metallb.io",
        package: "io.metallb",
        versions: &["v1beta1"],
        rows: &[
            Row { item_typemeta: true, ..namespaced("IPAddressPool", "ipaddresspools").subs(&[STATUS]) },
            Row { item_typemeta: true, ..namespaced("L2Advertisement", "l2advertisements").subs(&[STATUS]) },
        ],
    },
];

const CORE: &[Row] = &[
    Row { namespaced: true, ..review("Binding", "bindings") },
    Row {
        storage: Storage::Nowhere,
        verbs: READ_ONLY,
        ..cluster("ComponentStatus", "componentstatuses").short(&["cs"])
    },
    namespaced("ConfigMap", "configmaps").short(&["cm"]),
    namespaced("Endpoints", "endpoints").short(&["ep"]),
    Row {
        relaxed: Relaxed::Always,
        selectable: &[
            ("involvedObject.kind", &["involvedObject.kind"], ""),
            ("involvedObject.namespace", &["involvedObject.namespace"], ""),
            ("involvedObject.name", &["involvedObject.name"], ""),
            ("involvedObject.uid", &["involvedObject.uid"], ""),
            ("involvedObject.apiVersion", &["involvedObject.apiVersion"], ""),
            ("involvedObject.resourceVersion", &["involvedObject.resourceVersion"], ""),
            ("involvedObject.fieldPath", &["involvedObject.fieldPath"], ""),
            ("reason", &["reason"], ""),
            ("reportingComponent", &["reportingComponent"], ""),
            ("source", &["source.component", "reportingComponent"], ""),
            ("type", &["type"], ""),
        ],
        ..namespaced("Event", "events").short(&["ev"])
    },
    namespaced("LimitRange", "limitranges").short(&["limits"]),
    Row {
        verbs: NO_COLLECTION,
        selectable: &[("status.phase", &["status.phase"], "")],
        ..cluster("Namespace", "namespaces").short(&["ns"]).subs(&[own("finalize", &["update"]), STATUS])
    },
    Row {
        selectable: &[("spec.unschedulable", &["spec.unschedulable"], "false")],
        ..cluster("Node", "nodes").short(&["no"]).subs(&[core("proxy", PROXY, "NodeProxyOptions"), STATUS])
    },
    namespaced("PersistentVolumeClaim", "persistentvolumeclaims").short(&["pvc"]).subs(&[STATUS]),
    cluster("PersistentVolume", "persistentvolumes").short(&["pv"]).subs(&[STATUS]),
    Row {
        selectable: &[
            ("spec.nodeName", &["spec.nodeName"], ""),
            ("spec.host", &["spec.nodeName"], ""),
            ("spec.restartPolicy", &["spec.restartPolicy"], ""),
            ("spec.schedulerName", &["spec.schedulerName"], ""),
            ("spec.serviceAccountName", &["spec.serviceAccountName"], ""),
            ("spec.hostNetwork", &["spec.hostNetwork"], "false"),
            ("status.phase", &["status.phase"], ""),
            ("status.podIP", &["status.podIP"], ""),
            // Known, but never set: upstream accepts the name and compares with nothing.
            ("status.podIPs", &[], ""),
            ("status.nominatedNodeName", &["status.nominatedNodeName"], ""),
        ],
        ..namespaced("Pod", "pods").short(&["po"]).categories(&["all"]).subs(&[
            core("attach", CONNECT, "PodAttachOptions"),
            core("binding", CREATE, "Binding"),
            own("ephemeralcontainers", CHANGE),
            with("eviction", CREATE, ("policy", "v1", "Eviction")),
            core("exec", CONNECT, "PodExecOptions"),
            own("log", &["get"]),
            core("portforward", CONNECT, "PodPortForwardOptions"),
            core("proxy", PROXY, "PodProxyOptions"),
            own("resize", CHANGE),
            STATUS,
        ])
    },
    namespaced("PodTemplate", "podtemplates"),
    Row {
        selectable: &[("status.replicas", &["status.replicas"], "0")],
        ..namespaced("ReplicationController", "replicationcontrollers")
            .short(&["rc"])
            .categories(&["all"])
            .subs(&[SCALE, STATUS])
    },
    namespaced("ResourceQuota", "resourcequotas").short(&["quota"]).subs(&[STATUS]),
    Row { sealed: true, selectable: &[("type", &["type"], "")], ..namespaced("Secret", "secrets") },
    namespaced("ServiceAccount", "serviceaccounts").short(&["sa"]).subs(&[with(
        "token",
        CREATE,
        ("authentication.k8s.io", "v1", "TokenRequest"),
    )]),
    Row {
        selectable: &[("spec.clusterIP", &["spec.clusterIP"], ""), ("spec.type", &["spec.type"], "")],
        ..namespaced("Service", "services")
            .short(&["svc"])
            .categories(&["all"])
            .subs(&[core("proxy", PROXY, "ServiceProxyOptions"), STATUS])
    },
];
