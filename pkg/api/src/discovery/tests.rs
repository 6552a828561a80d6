use super::*;

fn texts(value: &Value) -> String {
    let texts: Vec<&str> = value.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if texts.is_empty() { "-".into() } else { texts.join(",") }
}

/// A resource in the form of `upstream.txt`.
fn line(group_version: &str, resource: &Value) -> String {
    let text = |field: &str| resource[field].as_str().filter(|text| !text.is_empty()).unwrap_or("-");
    let kind = match (resource["group"].as_str(), resource["version"].as_str()) {
        (Some(group), Some(version)) => format!("{group}/{version}.{}", text("kind")),
        _ => text("kind").to_owned(),
    };
    let scope = if resource["namespaced"] == true { "Namespaced" } else { "Cluster" };
    format!(
        "{group_version} {} {kind} {scope} {} {} {} {} {}",
        text("name"),
        text("singularName"),
        texts(&resource["shortNames"]),
        texts(&resource["categories"]),
        texts(&resource["verbs"]),
        text("storageVersionHash"),
    )
}

#[test]
fn what_is_served_is_what_upstream_serves() {
    let kinds = kinds::builtin();
    let mut ours = Vec::new();
    for group in group_names(kinds).into_iter().filter(|group| *group != "metallb.io") {
        for version in versions(kinds, group) {
            let list = resources(kinds, group, version).unwrap();
            let resources = list["resources"].as_array().unwrap();
            let mut lines: Vec<String> = resources.iter().map(|r| line(&format!("{group}/{version}"), r)).collect();
            ours.append(&mut lines);
        }
    }
    let upstream: Vec<&str> = include_str!("upstream.txt").lines().skip(1).collect();
    for (ours, upstream) in ours.iter().zip(&upstream) {
        // Two kinds that upstream still stores in a version that is not served.
        let upstream = upstream.replace("Bl3MtjZ/n/s=", "tIjydgKBC5w=").replace("jfWCUB31mvA=", "M5uH+AlWATY=");
        assert_eq!(*ours, upstream);
    }
    assert_eq!(ours.len(), upstream.len());
}

#[test]
fn the_aggregated_form_says_the_same_as_the_old_one() {
    let kinds = kinds::builtin();
    let mut seen = 0;
    for legacy in [true, false] {
        let list = aggregated(kinds, legacy, "v2");
        assert_eq!(list["apiVersion"], "apidiscovery.k8s.io/v2");
        for group in list["items"].as_array().unwrap() {
            let name = group["metadata"]["name"].as_str().unwrap_or_default();
            for version in group["versions"].as_array().unwrap() {
                let old = resources(kinds, name, version["version"].as_str().unwrap()).unwrap();
                let mut new = Vec::new();
                for resource in version["resources"].as_array().unwrap() {
                    let plural = resource["resource"].as_str().unwrap();
                    new.push((plural.to_owned(), resource["responseKind"]["kind"].clone(), resource["verbs"].clone()));
                    for sub in resource["subresources"].as_array().into_iter().flatten() {
                        let name = format!("{plural}/{}", sub["subresource"].as_str().unwrap());
                        new.push((name, sub["responseKind"]["kind"].clone(), sub["verbs"].clone()));
                    }
                }
                let old = old["resources"].as_array().unwrap();
                assert_eq!(old.len(), new.len());
                for (old, (name, kind, verbs)) in old.iter().zip(&new) {
                    assert_eq!((&old["name"], &old["kind"], &old["verbs"]), (&Value::from(&**name), kind, verbs));
                }
                seen += new.len();
            }
        }
    }
    assert!(seen > 100);
    let deployment = &aggregated(kinds, false, "v2")["items"][1]["versions"][0]["resources"][2];
    let change = json!(["get", "patch", "update"]);
    assert_eq!(
        deployment["subresources"],
        json!([
            {"subresource": "scale", "responseKind": {"group": "autoscaling", "version": "v1", "kind": "Scale"}, "verbs": change},
            {"subresource": "status", "responseKind": {"group": "", "version": "", "kind": "Deployment"}, "verbs": change},
        ])
    );
}

#[test]
fn groups_name_their_preferred_version() {
    let kinds = kinds::builtin();
    let autoscaling = group(kinds, "autoscaling").unwrap();
    assert_eq!(autoscaling["kind"], "APIGroup");
    assert_eq!(autoscaling["preferredVersion"], json!({"groupVersion": "autoscaling/v2", "version": "v2"}));
    assert_eq!(autoscaling["versions"].as_array().unwrap().len(), 2);
    assert!(group(kinds, "").is_none() && group(kinds, "nope").is_none());
    assert!(resources(kinds, "apps", "v2").is_none());
    let all = groups(kinds);
    assert_eq!(all["groups"][1]["name"], "apps");
}

#[test]
fn versions_are_ordered_by_priority() {
    let mut kind = Kind::clone(&kinds::builtin()[0]);
    let names = ["v1alpha1", "v10", "foo1", "v2", "v1beta2", "v11beta2", "v1"];
    kind.group = "x.io".into();
    kind.versions =
        names.iter().map(|name| crate::kind::Version { name: (*name).into(), ..kind.versions[0].clone() }).collect();
    let kinds = [KindRef::new(kind)];
    assert_eq!(versions(&kinds, "x.io"), ["v10", "v2", "v1", "v11beta2", "v1beta2", "v1alpha1", "foo1"]);
}
