use super::*;
use crate::kinds;

const RELEASE: &str = "v1.35.4";

fn document(group: &str, version: &str) -> Value {
    let packed = v3(kinds::builtin(), group, version, RELEASE).unwrap().unwrap();
    serde_json::from_slice(&packed.unpack().unwrap()).unwrap()
}

/// Every `$ref` in a document.
fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(reference)) = fields.get("$ref") {
                found.push(reference);
            }
            fields.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[test]
fn every_group_version_has_a_whole_document() {
    let index = index(kinds::builtin());
    let places = index["paths"].as_object().unwrap();
    assert_eq!(
        places["apis/apps/v1"]["serverRelativeURL"].as_str().unwrap().len(),
        "/openapi/v3/apis/apps/v1?hash=".len() + 64
    );
    for place in places.keys() {
        let (group, version) = match place.strip_prefix("apis/") {
            Some(rest) => rest.split_once('/').unwrap(),
            None => ("", "v1"),
        };
        let document = document(group, version);
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(!found.is_empty());
        for reference in found {
            let name = reference.strip_prefix("#/components/schemas/").unwrap();
            assert!(document["components"]["schemas"].get(name).is_some(), "{place} lacks {name}");
        }
    }
    assert!(v3(kinds::builtin(), "nope", "v1", RELEASE).unwrap().is_none());
}

/// `kubectl apply` looks for the PATCH of the object's kind and in it for `fieldValidation` and `dryRun`.
#[test]
fn writes_say_that_they_validate_fields_and_run_dry() {
    let document = document("apps", "v1");
    let patch = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
    assert_eq!(
        patch["x-kubernetes-group-version-kind"],
        json!({"group": "apps", "version": "v1", "kind": "Deployment"})
    );
    assert_eq!(patch["x-kubernetes-action"], "patch");
    let names: Vec<_> = patch["parameters"].as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["dryRun", "fieldManager", "fieldValidation", "force"]);
    let scale = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale"]["put"];
    assert_eq!(scale["x-kubernetes-group-version-kind"]["kind"], "Scale");
    assert_eq!(
        scale["requestBody"]["content"]["*/*"]["schema"]["$ref"],
        "#/components/schemas/io.k8s.api.autoscaling.v1.Scale"
    );
}

/// `kubectl explain` finds the kind by the path of its list and then the schema by its kind.
#[test]
fn schemas_carry_their_kinds_descriptions_and_defaults() {
    let document = document("apps", "v1");
    let list = &document["paths"]["/apis/apps/v1/deployments"]["get"];
    assert_eq!(
        (&list["x-kubernetes-action"], &list["x-kubernetes-group-version-kind"]["kind"]),
        (&json!("list"), &json!("Deployment"))
    );
    let schemas = &document["components"]["schemas"];
    let deployment = &schemas["io.k8s.api.apps.v1.Deployment"];
    assert_eq!(deployment["x-kubernetes-group-version-kind"][0]["kind"], "Deployment");
    let spec = &deployment["properties"]["spec"];
    assert_eq!(spec["allOf"][0]["$ref"], "#/components/schemas/io.k8s.api.apps.v1.DeploymentSpec");
    assert_eq!(spec["default"], json!({}));
    assert!(spec["description"].as_str().unwrap().starts_with("Specification of the desired behavior"));
    let quantity = &schemas["io.k8s.apimachinery.pkg.api.resource.Quantity"];
    assert_eq!(quantity["oneOf"], json!([{"type": "string"}, {"type": "number"}]));
    assert!(schemas.get("io.k8s.api.core.v1.Node").is_none());
}

#[test]
fn version_2_holds_everything() {
    let packed = v2(kinds::builtin(), RELEASE).unwrap();
    assert!(packed.gzip.len() < 400_000, "{}", packed.gzip.len());
    let document: Value = serde_json::from_slice(&packed.unpack().unwrap()).unwrap();
    assert_eq!((&document["swagger"], &document["info"]["version"]), (&json!("2.0"), &json!(RELEASE)));
    let mut found = Vec::new();
    references(&document, &mut found);
    for reference in found {
        assert!(
            document["definitions"].get(reference.strip_prefix("#/definitions/").unwrap()).is_some(),
            "{reference}"
        );
    }
    let ports = &document["definitions"]["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
    assert_eq!(ports["x-kubernetes-patch-merge-key"], "name");
    let pool = &document["paths"]["/apis/metallb.io/v1beta1/namespaces/{namespace}/ipaddresspools"]["post"];
    assert_eq!(pool["parameters"].as_array().unwrap().last().unwrap()["in"], "body");
    let mut ids: Vec<_> = document["paths"]
        .as_object()
        .unwrap()
        .values()
        .flat_map(|item| item.as_object().unwrap().values().filter_map(|operation| operation["operationId"].as_str()))
        .collect();
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count, "operation ids are unique");
}

#[test]
fn the_protobuf_form_is_a_row_of_document_fields() {
    let bytes = v2_protobuf(kinds::builtin(), RELEASE).unwrap().unpack().unwrap();
    let varint = |at: &mut usize| {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let byte = bytes[*at];
            *at += 1;
            value |= usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return value;
            }
        }
        unreachable!()
    };
    let (mut at, mut fields) = (0, std::collections::BTreeMap::new());
    while at < bytes.len() {
        let tag = varint(&mut at);
        assert_eq!(tag & 7, 2, "every field of a document has a length");
        at += varint(&mut at);
        *fields.entry(tag >> 3).or_insert(0) += 1;
    }
    assert_eq!(at, bytes.len());
    assert_eq!((fields[&1], fields[&2]), (1, 1));
    assert!(fields[&8] > 200 && fields[&9] > 500, "{fields:?}");
}

#[test]
fn hashes_follow_the_kinds() {
    let kinds = kinds::builtin();
    let fewer: Vec<KindRef> = kinds.iter().filter(|kind| kind.kind != "DaemonSet").cloned().collect();
    assert_ne!(hash(kinds, "apps", "v1"), hash(&fewer, "apps", "v1"));
    assert_eq!(hash(kinds, "batch", "v1"), hash(&fewer, "batch", "v1"));
}
