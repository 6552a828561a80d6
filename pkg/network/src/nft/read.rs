//! Reads what `nft -j list table` writes (`libnftables-json(5)`).

use std::time::Duration;

use serde_json::Value;

use super::table::{Base, Set, State};

/// The objects of a table. What this program does not know is read as something that it did not make.
pub(super) fn table(objects: &[Value]) -> State {
    let mut state = State::default();
    for object in objects {
        if let Some(chain) = object.get("chain") {
            state.chains.entry(text(chain, "name")).or_default().base = base(chain);
        } else if let Some(rule) = object.get("rule") {
            let chain = state.chains.entry(text(rule, "chain")).or_default();
            if chain.rules == 0 {
                chain.fingerprint = text(rule, "comment");
            }
            chain.rules += 1;
        } else if let Some(set) = object.get("set").or_else(|| object.get("map")) {
            read_set(&mut state, set);
        }
    }
    // Rules that are not ours carry no fingerprint, or one that does not fit.
    state
}

fn base(chain: &Value) -> Option<Base> {
    Some(Base::new(chain.get("type")?.as_str()?, chain.get("hook")?.as_str()?, chain.get("prio")?.as_i64()?))
}

fn read_set(state: &mut State, object: &Value) {
    let name = text(object, "name");
    let kind = |field: &str| match object.get(field) {
        Some(Value::Array(parts)) => Some(joined(parts)),
        Some(Value::String(kind)) => Some(kind.clone()),
        _ => None,
    };
    let flag = |wanted: &str| match object.get("flags") {
        Some(Value::Array(flags)) => flags.iter().any(|flag| flag == wanted),
        Some(flag) => flag == wanted,
        None => false,
    };
    let timeout = object.get("timeout").and_then(Value::as_u64).map(Duration::from_secs);
    let set = Set { key: kind("type").unwrap_or_default(), value: kind("map"), interval: flag("interval"), timeout };
    if !(flag("timeout") || flag("dynamic")) {
        let elements = object.get("elem").and_then(Value::as_array);
        let present = state.elements.entry(name.clone()).or_default();
        present.extend(elements.into_iter().flatten().map(|element| match element.as_array().map(Vec::as_slice) {
            Some([key, value]) => (expression(key), expression(value)),
            _ => (expression(element), String::new()),
        }));
    }
    state.sets.insert(name, set);
}

/// A key, a value or a verdict as nft's language writes it.
fn expression(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Object(object) => object.iter().next().map(|(name, inner)| named(name, inner)).unwrap_or_default(),
        _ => String::new(),
    }
}

fn named(name: &str, inner: &Value) -> String {
    match (name, inner) {
        ("concat", Value::Array(parts)) => joined(parts),
        ("elem", inner) => inner.get("val").map(expression).unwrap_or_default(),
        ("goto" | "jump", inner) => format!("{name} {}", text(inner, "target")),
        ("prefix", inner) => {
            let length = inner.get("len").map(expression).unwrap_or_default();
            format!("{}/{length}", inner.get("addr").map(expression).unwrap_or_default())
        }
        ("range", Value::Array(ends)) => ends.iter().map(expression).collect::<Vec<_>>().join("-"),
        (verdict, _) => verdict.to_owned(),
    }
}

fn joined(parts: &[Value]) -> String {
    parts.iter().map(expression).collect::<Vec<_>>().join(" . ")
}

fn text(object: &Value, field: &str) -> String {
    object.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::table::Chain;
    use super::*;
    use serde_json::json;

    #[test]
    fn verdict_maps_and_sets_are_read() {
        let listed = json!([
            {"metainfo": {"version": "1.0.6"}},
            {"table": {"family": "ip", "name": "knarr", "handle": 1}},
            {"map": {"name": "ips", "type": ["ipv4_addr", "inet_proto", "inet_service"], "map": "verdict", "elem": [
                [{"elem": {"val": {"concat": ["10.43.0.5", "tcp", 80]}, "comment": "x"}}, {"goto": {"target": "a"}}],
                [{"concat": ["10.43.0.6", "udp", 53]}, {"drop": null}],
            ]}},
            {"set": {"name": "ranges", "type": "ipv4_addr", "flags": ["interval"], "elem": [
                {"prefix": {"addr": "10.0.0.0", "len": 8}}, "192.0.2.1", {"range": ["192.0.2.4", "192.0.2.6"]},
            ]}},
            {"set": {"name": "sticky", "type": "ipv4_addr", "flags": ["timeout"], "timeout": 10800, "elem": [
                {"elem": {"val": "10.42.0.1", "expires": 7}},
            ]}},
        ]);
        let state = table(listed.as_array().unwrap());
        let elements = |set: &str| -> Vec<(String, String)> { state.elements[set].clone().into_iter().collect() };
        assert_eq!(
            elements("ips"),
            [("10.43.0.5 . tcp . 80".into(), "goto a".into()), ("10.43.0.6 . udp . 53".into(), "drop".into())]
        );
        let ranges: Vec<_> = elements("ranges").into_iter().map(|(key, _)| key).collect();
        assert_eq!(ranges, ["10.0.0.0/8", "192.0.2.1", "192.0.2.4-192.0.2.6"]);
        assert!(!state.elements.contains_key("sticky"));
        assert_eq!(state.sets["ips"], Set::map("ipv4_addr . inet_proto . inet_service", "verdict"));
        assert_eq!(state.sets["ranges"], Set::ranges("ipv4_addr"));
        assert_eq!(state.sets["sticky"], Set::dynamic("ipv4_addr", Duration::from_secs(10800)));
    }

    #[test]
    fn chains_are_read_with_their_fingerprint() {
        let listed = json!([
            {"chain": {"name": "in", "type": "filter", "hook": "input", "prio": -110, "policy": "accept"}},
            {"chain": {"name": "a"}},
            {"rule": {"chain": "a", "comment": "c0ffee", "expr": []}},
            {"rule": {"chain": "a", "expr": [{"drop": null}]}},
        ]);
        let state = table(listed.as_array().unwrap());
        assert_eq!(state.chains["in"].base, Some(Base::new("filter", "input", -110)));
        let a = Chain { base: None, rules: 2, fingerprint: "c0ffee".into() };
        assert_eq!(state.chains["a"], a);
    }

    #[test]
    fn anything_else_is_no_panic() {
        let listed = json!([null, 3, {}, {"set": {}}, {"map": {"elem": [[]]}}, {"rule": {"chain": 7}}, {"chain": []}]);
        table(listed.as_array().unwrap());
    }
}
