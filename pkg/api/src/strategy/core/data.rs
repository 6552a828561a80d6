//! ConfigMaps and Secrets.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::Object;
use crate::object::object_in;
use crate::strategy::Context;
use crate::strategy::fill::Fill::{Drop, With, Zero};
use crate::strategy::fill::Fixed::Text;
use crate::strategy::row::Row;
use crate::tree::Tree;

/// ConfigMaps.
pub(in crate::strategy) static CONFIG_MAP: Row =
    Row { fills: &[Drop(&["data", "binaryData", "immutable"])], ..Row::PLAIN };

/// Secrets.
pub(in crate::strategy) static SECRET: Row = Row {
    fills: &[With(encode_strings), Drop(&["data", "immutable"]), Zero("type", Text("Opaque"))],
    prepare_update: keep_type,
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
