use super::*;

/// Pairs of lines: a body that upstream's Go serializer wrote (base64), and the same object in Go's JSON.
/// The last six are of upstream's own test data (`k8s.io/api/testdata`) and have every field of their kinds.
const WRITTEN_BY_GO: &str = include_str!("written_by_go.txt");

/// Go writes `null` for times and lists that are not set; to the API that is the same as nothing.
fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(object) => {
            object.retain(|_, value| !value.is_null());
            object.values_mut().for_each(without_nulls);
        }
        Value::Array(list) => list.iter_mut().for_each(without_nulls),
        _ => {}
    }
}

fn schema(api_version: &str, kind: &str) -> String {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let row = crate::kinds::by_kind(group, version, kind);
    row.map_or_else(
        || format!("io.k8s.apimachinery.pkg.apis.meta.v1.{kind}"),
        |row| row.version(version).unwrap().schema.to_string(),
    )
}

#[test]
fn what_go_writes_is_what_its_json_says() {
    let lines: Vec<&str> = WRITTEN_BY_GO.lines().collect();
    for pair in lines.chunks(2) {
        let body = STANDARD.decode(pair[0]).unwrap();
        let mut expected: Value = serde_json::from_str(pair[1]).unwrap();
        without_nulls(&mut expected);
        let envelope = open(&body).unwrap();
        let mut seen = decode(envelope.raw, &schema(&envelope.api_version, &envelope.kind)).unwrap();
        seen.insert("kind".into(), envelope.kind.clone().into());
        seen.insert("apiVersion".into(), envelope.api_version.clone().into());
        let mut seen = Value::Object(seen);
        without_nulls(&mut seen);
        assert_eq!(seen, expected, "{}", envelope.kind);
    }
    assert_eq!(lines.len() / 2, 14);
}

#[test]
fn cut_and_changed_bodies_are_errors_or_other_objects_but_no_panic() {
    for line in WRITTEN_BY_GO.lines().step_by(2) {
        let body = STANDARD.decode(line).unwrap();
        for at in 0..body.len() {
            let mut changed = body.clone();
            changed[at] ^= 0x55;
            for bytes in [&body[..at], &changed] {
                if let Ok(envelope) = open(bytes) {
                    let _ = decode(envelope.raw, &schema("apps/v1", "Deployment"));
                    let _ = decode(envelope.raw, &schema("apiextensions.k8s.io/v1", "CustomResourceDefinition"));
                }
            }
        }
    }
    assert_eq!(open(b"{}"), Err(Error::Magic));
}

#[test]
fn depth_is_bounded() {
    let mut raw = Vec::new();
    for _ in 0..200 {
        // JSONSchemaProps.not = 28, which is again a JSONSchemaProps.
        let length = u16::try_from(raw.len()).unwrap();
        let low = u8::try_from(length & 0x7f).unwrap() | 0x80;
        let mut outer = vec![0xe2, 0x01, low, u8::try_from(length >> 7).unwrap()];
        outer.extend(raw);
        raw = outer;
    }
    let schema = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";
    assert_eq!(decode(&raw, schema), Err(Error::Malformed("it is nested too deeply")));
}

#[test]
fn every_type_of_the_table_is_known() {
    for kind in
        crate::kinds::builtin().iter().filter(|kind| kind.group != "metallb.io" && kind.kind != "ComponentStatus")
    {
        for version in &kind.versions {
            assert!(layout::of(&version.schema).is_some(), "{}", version.schema);
        }
    }
}
