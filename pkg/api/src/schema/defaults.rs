//! Static defaults, and the zero values that Go writes whether or not they were given.
//!
//! Upstream's published defaults are exactly the fields that its JSON always has: `status: {}`, `resources: {}`,
//! `protocol: TCP`. Filling them makes an object look as it would there. Defaults that depend on other fields are the
//! strategies'.

use serde_json::Value;

use super::table::{Default, Field, Shape, Type};
use crate::Object;

/// Fills what is absent from `object`, an object of type `ty`.
pub fn fill(object: &mut Object, ty: Type<'_>) {
    for field in ty.fields() {
        let Some(of) = field.ty() else { continue };
        match object.get_mut(field.name()) {
            Some(value) => fill_value(value, of),
            None => {
                if let Some(mut value) = value_of(field) {
                    fill_value(&mut value, of);
                    object.insert(field.name().into(), value);
                }
            }
        }
    }
}

fn fill_value(value: &mut Value, ty: Type<'_>) {
    match (value, ty.shape()) {
        (Value::Object(object), Shape::Struct { .. }) => fill(object, ty),
        (Value::Object(object), Shape::Map { .. }) => {
            let Some(item) = ty.item() else { return };
            object.values_mut().for_each(|value| fill_value(value, item));
        }
        (Value::Array(items), Shape::List { .. }) => {
            let Some(item) = ty.item() else { return };
            items.iter_mut().for_each(|value| fill_value(value, item));
        }
        _ => {}
    }
}

fn value_of(field: Field<'_>) -> Option<Value> {
    match field.default() {
        Default::None => None,
        Default::Empty => Some(Value::Object(Object::new())),
        Default::Bool(value) => Some(value.into()),
        Default::Int(value) => Some(value.into()),
        Default::Text(text) => Some(field.default_text(text).into()),
    }
}
