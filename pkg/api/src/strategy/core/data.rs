//! ConfigMaps and Secrets.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::Object;
use crate::field::{Errors, Path, Reason};
use crate::object::object_in;
use crate::strategy::fill::Fill::{Drop, With, Zero};
use crate::strategy::fill::Fixed::Text;
use crate::strategy::row::Row;
use crate::strategy::rules::formed;
use crate::strategy::{Context, forms};
use crate::tree::{Tree, same};

/// ConfigMaps.
pub(in crate::strategy) static CONFIG_MAP: Row = Row {
    fills: &[Drop(&["data", "binaryData", "immutable"])],
    check: check_map,
    check_update: |_, errors, new, old| keep_frozen(errors, new, old, &["data", "binaryData"]),
    ..Row::PLAIN
};

/// Secrets.
pub(in crate::strategy) static SECRET: Row = Row {
    fills: &[With(encode_strings), Drop(&["data", "immutable"]), Zero("type", Text("Opaque"))],
    prepare_update: keep_type,
    check: check_secret,
    check_update: |_, errors, new, old| keep_frozen(errors, new, old, &["data"]),
    immutable: &["type"],
    ..Row::PLAIN
};

/// `stringData` is a way to write `data`; it is never stored and never read.
fn encode_strings(secret: &mut Object) {
    if let Some(Value::Object(strings)) = secret.remove("stringData") {
        let data = object_in(secret.entry("data").or_insert(Value::Null));
        for (key, value) in strings {
            let encoded = STANDARD.encode(value.as_str().unwrap_or_default());
            data.insert(key, encoded.into());
        }
    }
}

fn keep_type(_cx: &Context<'_>, new: &mut Object, old: &Object) {
    if new.text("type").is_empty() {
        new.insert("type".into(), old.text("type").into());
    }
}

/// Bytes that all values together may have: 1 MiB.
const MOST: usize = 1024 * 1024;

fn keep_frozen(errors: &mut Errors, new: &Object, old: &Object, fields: &[&str]) {
    const FROZEN: &str = "field is immutable when `immutable` is set";
    if old.is_true("immutable") {
        if !new.is_true("immutable") {
            errors.forbidden(Path::root("immutable"), FROZEN);
        }
        for field in fields.iter().filter(|field| !same(new.get(**field), old.get(**field))) {
            errors.forbidden(Path::root(field), FROZEN);
        }
    }
}

/// Checks the keys of a map and gives the bytes of its values, which may be in base64.
fn check_keys(errors: &mut Errors, object: &Object, field: &str, encoded: bool) -> usize {
    let mut size = 0;
    for (key, value) in object.map(field) {
        formed(errors, &Path::root(field).key(key), key, forms::config_key);
        let text = value.as_str().unwrap_or_default();
        let padding = text.bytes().rev().take_while(|byte| *byte == b'=').count();
        size += if encoded { (text.len() / 4 * 3).saturating_sub(padding) } else { text.len() };
    }
    size
}

fn too_large(errors: &mut Errors, path: Path, size: usize) {
    if size > MOST {
        errors.push(Reason::TooLong, path, None, format!("may not be more than {MOST} bytes"));
    }
}

fn check_map(_cx: &Context<'_>, errors: &mut Errors, map: &Object) {
    let text = check_keys(errors, map, "data", false);
    for key in map.map("data").keys().filter(|key| map.map("binaryData").contains_key(*key)) {
        errors.invalid(Path::root("data").key(key), key.clone(), "duplicate of key present in binaryData");
    }
    let binary = check_keys(errors, map, "binaryData", true);
    too_large(errors, Path::root(""), text + binary);
}

/// Entries that a type of secret must have.
const REQUIRED: &[(&str, &[&str])] = &[
    ("kubernetes.io/dockercfg", &[".dockercfg"]),
    ("kubernetes.io/dockerconfigjson", &[".dockerconfigjson"]),
    ("kubernetes.io/ssh-auth", &["ssh-privatekey"]),
    ("kubernetes.io/tls", &["tls.crt", "tls.key"]),
];

fn check_secret(_cx: &Context<'_>, errors: &mut Errors, secret: &Object) {
    let path = Path::root("data");
    let size = check_keys(errors, secret, "data", true);
    too_large(errors, path.clone(), size);
    let (kind, data) = (secret.text("type"), secret.map("data"));
    for (_, keys) in REQUIRED.iter().filter(|(own, _)| *own == kind) {
        for key in keys.iter().filter(|key| !data.contains_key(**key)) {
            errors.required(path.key(key), "");
        }
    }
    match kind {
        "kubernetes.io/service-account-token" => {
            const NAME: &str = "kubernetes.io/service-account.name";
            let name = secret.map("metadata.annotations").get(NAME).and_then(Value::as_str);
            if name.unwrap_or_default().is_empty() {
                errors.required(Path::root("metadata").child("annotations").key(NAME), "");
            }
        }
        "kubernetes.io/basic-auth" if !data.contains_key("username") && !data.contains_key("password") => {
            errors.required(path.key("username"), "");
            errors.required(path.key("password"), "");
        }
        "kubernetes.io/dockercfg" => check_json(errors, data, ".dockercfg"),
        "kubernetes.io/dockerconfigjson" => check_json(errors, data, ".dockerconfigjson"),
        _ => {}
    }
}

fn check_json(errors: &mut Errors, data: &Object, key: &str) {
    let Some(text) = data.get(key).and_then(Value::as_str) else { return };
    let decoded = STANDARD.decode(text).unwrap_or_default();
    if let Err(fault) = serde_json::from_slice::<Object>(&decoded) {
        errors.invalid(Path::root("data").key(key), "<secret contents redacted>", fault.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strategy::Strategy;
    use crate::user::UserInfo;
    use serde_json::json;

    fn said(row: &Row, new: Value, old: Option<Value>) -> String {
        let user = UserInfo::default();
        let cx = Context { user: &user, subresource: None, now: "" };
        let full = |value: Value| {
            let Value::Object(mut object) = value else { unreachable!() };
            row.default(&mut object);
            object
        };
        let errors = match old {
            None => row.validate(&cx, &full(new)),
            Some(old) => row.validate_update(&cx, &full(new), &full(old)),
        };
        if errors.is_empty() { String::new() } else { errors.to_string() }
    }

    #[test]
    fn texts_are_upstreams() {
        const KEY: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
        for (row, new, old, text) in [
            (&CONFIG_MAP, json!({"data": {"a": "b"}}), None, String::new()),
            (&CONFIG_MAP, json!({"data": {"a b": ""}}), None, format!("data[a b]: Invalid value: \"a b\": {KEY}")),
            (
                &CONFIG_MAP,
                json!({"data": {"a": ""}, "binaryData": {"a": ""}}),
                None,
                "data[a]: Invalid value: \"a\": duplicate of key present in binaryData".into(),
            ),
            (
                &CONFIG_MAP,
                json!({"data": {"a": "x".repeat(MOST + 1)}}),
                None,
                ": Too long: may not be more than 1048576 bytes".into(),
            ),
            (
                &CONFIG_MAP,
                json!({"data": {"a": "2"}, "immutable": true}),
                Some(json!({"data": {"a": "1"}, "immutable": true})),
                "data: Forbidden: field is immutable when `immutable` is set".into(),
            ),
            (
                &SECRET,
                json!({"type": "kubernetes.io/tls", "stringData": {"tls.crt": "x"}}),
                None,
                "data[tls.key]: Required value".into(),
            ),
            (
                &SECRET,
                json!({"type": "a"}),
                Some(json!({"type": "b"})),
                "type: Invalid value: \"a\": field is immutable".into(),
            ),
            (
                &SECRET,
                json!({"type": "kubernetes.io/service-account-token"}),
                None,
                "metadata.annotations[kubernetes.io/service-account.name]: Required value".into(),
            ),
        ] {
            assert_eq!(said(row, new.clone(), old), text, "{new}");
        }
    }

    #[test]
    fn string_data_becomes_data() {
        let Value::Object(mut secret) = json!({"stringData": {"a": "hello"}, "data": {"b": "eA=="}}) else {
            unreachable!()
        };
        SECRET.default(&mut secret);
        assert_eq!(Value::Object(secret), json!({"type": "Opaque", "data": {"a": "aGVsbG8=", "b": "eA=="}}));
    }
}
