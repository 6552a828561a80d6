use serde_json::json;

use crate::testing::Fixture;

fn config_map(name: &str) -> serde_json::Value {
    json!({"metadata": {"name": name, "labels": {"app": name}}, "data": {"a": "1"}})
}

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test]
async fn an_object_is_served_as_the_bytes_that_were_stored() {
    let api = Fixture::new().await;
    let created = api.post(MAPS, config_map("a")).await;
    assert_eq!(created.code, 201);
    let object = created.ok();
    let (uid, time) = (&object["metadata"]["uid"], &object["metadata"]["creationTimestamp"]);
    let expected = format!(
        "{{\"kind\":\"ConfigMap\",\"apiVersion\":\"v1\",\"metadata\":{{\"resourceVersion\":\"2\",\"creationTimestamp\":{time},\
         \"labels\":{{\"app\":\"a\"}},\"name\":\"a\",\"namespace\":\"default\",\"uid\":{uid}}},\"data\":{{\"a\":\"1\"}}}}\n"
    );
    assert_eq!(created.text(), expected);
    assert_eq!(api.get(&format!("{MAPS}/a")).await.text(), expected);
    let item = expected.trim_end().replacen("\"kind\":\"ConfigMap\",\"apiVersion\":\"v1\",", "", 1);
    let list = format!(
        "{{\"kind\":\"ConfigMapList\",\"apiVersion\":\"v1\",\"metadata\":{{\"resourceVersion\":\"2\"}},\"items\":[{item}]}}\n"
    );
    assert_eq!(api.get(MAPS).await.text(), list);
}
