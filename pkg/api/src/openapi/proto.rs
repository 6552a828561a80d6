//! The protobuf form of version 2: `application/com.github.proto-openapi.spec.v2@v1.0+protobuf`, which is all that
//! client-go's `OpenAPISchema` asks for. The messages are those of `github.com/google/gnostic-models/openapiv2`.
//!
//! A message is a table that says which field of the JSON becomes which field of the message, so that one function
//! encodes them all. Fields that are messages may come several times and are merged by the reader: that is how a document
//! is written piece by piece.

use serde_json::Value;

/// How a value of the JSON is written.
enum Form {
    /// A string.
    Text,
    /// A boolean.
    Flag,
    /// The fields of a message.
    Message(&'static Message),
    /// One value per item of a list.
    Each(&'static Form),
    /// A message with a name (1) and a value (2) per field of an object.
    Named(&'static Form),
    /// A message around the value, which is its field of that number.
    In(u32, &'static Form),
    /// One of the messages for parameters, by where the parameter is.
    Parameter,
}

struct Message {
    fields: &'static [(&'static str, u32, Form)],
    /// The number of `vendor_extension`, for the fields whose names start with `x-`.
    extensions: u32,
}

use Form::{Each, Flag, In, Named, Parameter, Text};

static TEXTS: Form = Each(&Text);
static SCHEMA_FORM: Form = Form::Message(&SCHEMA);

static SCHEMA: Message = Message {
    fields: &[
        ("$ref", 1, Text),
        ("format", 2, Text),
        ("description", 4, Text),
        ("required", 19, Each(&Text)),
        ("additionalProperties", 21, In(1, &SCHEMA_FORM)),
        ("type", 22, In(1, &Text)),
        ("items", 23, In(1, &SCHEMA_FORM)),
        ("properties", 25, In(1, &Named(&SCHEMA_FORM))),
    ],
    extensions: 31,
};

static PATH_ITEM: Message = Message {
    fields: &[
        ("get", 2, Form::Message(&OPERATION)),
        ("put", 3, Form::Message(&OPERATION)),
        ("post", 4, Form::Message(&OPERATION)),
        ("delete", 5, Form::Message(&OPERATION)),
        ("patch", 8, Form::Message(&OPERATION)),
        ("parameters", 9, Each(&Parameter)),
    ],
    extensions: 10,
};

static OPERATION: Message = Message {
    fields: &[
        ("tags", 1, Each(&Text)),
        ("description", 3, Text),
        ("operationId", 5, Text),
        ("produces", 6, Each(&Text)),
        ("consumes", 7, Each(&Text)),
        ("parameters", 8, Each(&Parameter)),
        ("responses", 9, In(1, &Named(&In(1, &Form::Message(&RESPONSE))))),
        ("schemes", 10, Each(&Text)),
    ],
    extensions: 13,
};

static RESPONSE: Message =
    Message { fields: &[("description", 1, Text), ("schema", 2, In(1, &SCHEMA_FORM))], extensions: 5 };

static BODY: Message = Message {
    fields: &[
        ("description", 1, Text),
        ("name", 2, Text),
        ("in", 3, Text),
        ("required", 4, Flag),
        ("schema", 5, Form::Message(&SCHEMA)),
    ],
    extensions: 6,
};

static QUERY: Message = Message {
    fields: &[
        ("required", 1, Flag),
        ("in", 2, Text),
        ("description", 3, Text),
        ("name", 4, Text),
        ("type", 6, Text),
        ("uniqueItems", 20, Flag),
    ],
    extensions: 23,
};

static PATH: Message = Message {
    fields: &[
        ("required", 1, Flag),
        ("in", 2, Text),
        ("description", 3, Text),
        ("name", 4, Text),
        ("type", 5, Text),
        ("uniqueItems", 19, Flag),
    ],
    extensions: 22,
};

static API_KEY: Message = Message {
    fields: &[("type", 1, Text), ("name", 2, Text), ("in", 3, Text), ("description", 4, Text)],
    extensions: 5,
};

static DOCUMENT: Message = Message {
    fields: &[
        ("swagger", 1, Text),
        ("info", 2, Form::Message(&Message { fields: &[("title", 1, Text), ("version", 2, Text)], extensions: 7 })),
        ("paths", 8, In(2, &Named(&Form::Message(&PATH_ITEM)))),
        ("definitions", 9, In(1, &Named(&SCHEMA_FORM))),
        ("security", 12, Each(&In(1, &Named(&In(1, &TEXTS))))),
        ("securityDefinitions", 13, In(1, &Named(&In(2, &Form::Message(&API_KEY))))),
    ],
    extensions: 16,
};

/// Encodes some fields of a document. Encodings may be appended to each other.
pub(super) fn document(part: &Value) -> Vec<u8> {
    message(&DOCUMENT, part)
}

fn message(of: &Message, value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in value.as_object().into_iter().flatten() {
        if let Some((_, number, form)) = of.fields.iter().find(|(field, ..)| field == name) {
            put(&mut out, *number, form, value);
        } else if name.starts_with("x-") {
            // Values of extensions are YAML, which JSON is.
            let mut any = Vec::new();
            put_bytes(&mut any, 2, value.to_string().as_bytes());
            put_bytes(&mut out, of.extensions, &named(name, &any));
        }
    }
    out
}

fn put(out: &mut Vec<u8>, number: u32, form: &Form, value: &Value) {
    match form {
        Text => put_bytes(out, number, value.as_str().unwrap_or_default().as_bytes()),
        Flag => {
            put_varint(out, u64::from(number << 3));
            put_varint(out, u64::from(value == &Value::Bool(true)));
        }
        Form::Message(of) => put_bytes(out, number, &message(of, value)),
        Each(form) => value.as_array().into_iter().flatten().for_each(|item| put(out, number, form, item)),
        Named(form) => {
            for (name, value) in value.as_object().into_iter().flatten() {
                let mut inner = Vec::new();
                put(&mut inner, 2, form, value);
                let mut pair = Vec::new();
                put_bytes(&mut pair, 1, name.as_bytes());
                pair.extend_from_slice(&inner);
                put_bytes(out, number, &pair);
            }
        }
        In(field, form) => {
            let mut inner = Vec::new();
            put(&mut inner, *field, form, value);
            put_bytes(out, number, &inner);
        }
        Parameter => {
            static IN_BODY: Form = In(1, &In(1, &Form::Message(&BODY)));
            static IN_PATH: Form = In(1, &In(2, &In(4, &Form::Message(&PATH))));
            static IN_QUERY: Form = In(1, &In(2, &In(3, &Form::Message(&QUERY))));
            let form = match value.get("in").and_then(Value::as_str) {
                Some("body") => &IN_BODY,
                Some("path") => &IN_PATH,
                _ => &IN_QUERY,
            };
            put(out, number, form, value);
        }
    }
}

/// A message of a name (1) and a value (2).
fn named(name: &str, value: &[u8]) -> Vec<u8> {
    let mut pair = Vec::new();
    put_bytes(&mut pair, 1, name.as_bytes());
    put_bytes(&mut pair, 2, value);
    pair
}

fn put_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    put_varint(out, u64::from(number << 3 | 2));
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_written_as_the_messages_say() {
        assert_eq!(document(&json!({"swagger": "2.0"})), b"\x0a\x032.0");
        let definition = json!({"definitions": {"A": {"type": "object", "x-b": 1}}});
        assert_eq!(
            document(&definition),
            b"\x4a\x1f\x0a\x1d\x0a\x01A\x12\x18\xb2\x01\x08\x0a\x06object\xfa\x01\x0a\x0a\x03x-b\x12\x03\x12\x011"
                .as_slice()
        );
    }

    #[test]
    fn long_values_have_long_lengths() {
        let text = "x".repeat(300);
        let bytes = document(&json!({"swagger": text}));
        assert_eq!(bytes.get(..3), Some(b"\x0a\xac\x02".as_slice()));
        assert_eq!(bytes.len(), 303);
    }
}
