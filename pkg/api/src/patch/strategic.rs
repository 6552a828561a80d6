//! Strategic merge patches: a merge patch in which a list may be merged too, item by item, because the schema says by which
//! key its items are known. Upstream: `k8s.io/apimachinery/pkg/util/strategicpatch`.
//!
//! ```text
//! object  containers: [{name: a, image: a:1}, {name: b, image: b:1}]     (merge key: name)
//! patch   containers: [{name: b, image: b:2}, {name: a, $patch: delete}, {name: c, image: c:1}]
//! result  containers: [{name: b, image: b:2}, {name: c, image: c:1}]
//! ```
//!
//! | Directive | Where | Means |
//! |---|---|---|
//! | `$patch: replace` | object, or an item of a list | the patch replaces what is there |
//! | `$patch: delete` | object, or an item of a list | what is there is deleted |
//! | `$deleteFromPrimitiveList/F: [...]` | beside list `F` | these values are removed |
//! | `$setElementOrder/F: [...]` | beside list `F` | the order of the items of the result |
//! | `$retainKeys: [...]` | object | all other fields are removed |

use serde_json::Value;

use super::{order, unprocessable};
use crate::Object;
use crate::schema::{Field, Type};
use crate::status::Status;

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList";
const SET_ORDER: &str = "$setElementOrder";

/// Why a patch cannot be applied; the texts are upstream's.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("invalid patch format of primitive list")]
    PrimitiveList,
    #[error("invalid patch format of setElementOrder list")]
    SetElementOrder,
    #[error("invalid patch format of retainKeys")]
    RetainKeys,
    #[error("lists of lists are not supported")]
    ListOfLists,
    #[error("list element types are not identical: {0}")]
    MixedList(String),
    #[error("cannot merge lists without merge key for struct")]
    NoDeclaredKey,
    #[error("map: {0} does not contain declared merge key: {1}")]
    NoMergeKey(String, String),
    #[error("merging lists cannot yet be specified in the patch")]
    MergeDirective,
    #[error("unknown patch type: {0} in map: {1}")]
    Directive(String, String),
    #[error("The order in patch list:\n{0}\n doesn't match $setElementOrder list:\n{1}\n")]
    Order(String, String),
    #[error("expected a {0}, but received a {1}")]
    Type(&'static str, &'static str),
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        match error {
            Error::PrimitiveList | Error::SetElementOrder | Error::RetainKeys => Self::bad_request(error.to_string()),
            // Upstream answers 500 to most of these, though the fault is the patch's.
            _ => unprocessable(error.to_string()),
        }
    }
}

type Result<T> = std::result::Result<T, Error>;

/// What the schema says of the value at hand: nothing inside of values that have no schema.
type Schema<'t> = Option<Type<'t>>;

/// Merges `patch` into `object`, which is of type `ty`.
pub(super) fn merge(object: Object, patch: Object, ty: Type<'_>) -> Result<Object> {
    merge_objects(object, patch, Some(ty))
}

fn merge_objects(mut original: Object, mut patch: Object, schema: Schema<'_>) -> Result<Object> {
    if let Some(directive) = patch.remove(DIRECTIVE) {
        return match directive.as_str() {
            Some("replace") => Ok(patch),
            Some("delete") => Ok(Object::new()),
            _ => Err(Error::Directive(directive.to_string(), Value::Object(patch).to_string())),
        };
    }
    retain_keys(&mut original, &mut patch)?;
    set_orders(&mut original, &mut patch, schema)?;
    for (key, value) in patch {
        if key.starts_with(DELETE_FROM) {
            delete_from(&mut original, directed(&key, DELETE_FROM).ok_or(Error::PrimitiveList)?, value)?;
        } else if value.is_null() {
            original.remove(&key);
        } else {
            let field = schema.and_then(|ty| ty.field(&key));
            let merged = match original.remove(&key) {
                Some(old) => merge_values(old, value, field, schema)?,
                None => added(value),
            };
            if let Some(merged) = merged {
                original.insert(key, merged);
            }
        }
    }
    Ok(original)
}

/// Merges what is at a field, or under a key of a map. `None` when nothing is left.
fn merge_values(old: Value, new: Value, field: Option<Field<'_>>, parent: Schema<'_>) -> Result<Option<Value>> {
    let ty = field.and_then(Field::ty).or_else(|| parent.and_then(Type::item));
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => Ok(Some(Value::Object(merge_objects(old, new, ty)?))),
        (Value::Array(old), Value::Array(new)) => match field {
            Some(field) if field.merges() => {
                merge_lists(old, new, ty.and_then(Type::item), field.merge_key()).map(|list| Some(Value::Array(list)))
            }
            _ => Ok(Some(Value::Array(new))),
        },
        (_, new) => Ok(added(new)),
    }
}

fn delete_from(original: &mut Object, field: &str, values: Value) -> Result<()> {
    match (original.get_mut(field), values) {
        (_, Value::Null) => {
            original.remove(field);
        }
        (Some(Value::Array(list)), Value::Array(values)) => {
            element_kind(list.iter().chain(&values))?;
            list.retain(|value| !values.contains(value));
        }
        _ => {}
    }
    Ok(())
}

fn merge_lists(mut original: Vec<Value>, patch: Vec<Value>, item: Schema<'_>, merge_key: &str) -> Result<Vec<Value>> {
    if element_kind(original.iter().chain(&patch))? != Some("map") {
        let mut merged: Vec<Value> = Vec::new();
        for value in original.iter().chain(&patch) {
            if !merged.contains(value) {
                merged.push(value.clone());
            }
        }
        return Ok(order::restore(merged, &patch, &original, ""));
    }
    if merge_key.is_empty() {
        return Err(Error::NoDeclaredKey);
    }
    let (mut replaces, mut changes) = (false, Vec::new());
    for value in patch {
        match value.get(DIRECTIVE) {
            None => changes.push(value),
            Some(Value::String(directive)) if directive == "delete" => {
                let gone = key_of(&value, merge_key)?;
                original.retain(|old| old.get(merge_key) != Some(gone));
            }
            Some(Value::String(directive)) if directive == "replace" => replaces = true,
            Some(Value::String(directive)) if directive == "merge" => return Err(Error::MergeDirective),
            Some(other) => return Err(Error::Directive(other.to_string(), value.to_string())),
        }
    }
    if replaces {
        check_keys(&changes, merge_key)?;
        return Ok(changes);
    }
    check_keys(&original, merge_key)?;
    check_keys(&changes, merge_key)?;
    let mut merged = original.clone();
    for change in &changes {
        let known = merged.iter_mut().find(|old| old.get(merge_key) == change.get(merge_key));
        match (known, change) {
            (Some(Value::Object(known)), Value::Object(change)) => {
                *known = merge_objects(std::mem::take(known), change.clone(), item)?;
            }
            _ => merged.push(change.clone()),
        }
    }
    check_keys(&merged, merge_key)?;
    Ok(order::restore(merged, &changes, &original, merge_key))
}

/// `$retainKeys`: clears all other fields, and checks that the patch sets none of those.
fn retain_keys(original: &mut Object, patch: &mut Object) -> Result<()> {
    let Some(keys) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
    let keys = keys.as_array().ok_or(Error::RetainKeys)?;
    let is_kept = |key: &str| keys.iter().any(|kept| kept.as_str() == Some(key));
    let is_free = |key: &str| key.starts_with(DELETE_FROM) || key.starts_with(SET_ORDER);
    if patch.iter().any(|(key, value)| !value.is_null() && !is_free(key) && !is_kept(key)) {
        return Err(Error::RetainKeys);
    }
    original.retain(|key, _| is_kept(key));
    Ok(())
}

/// `$setElementOrder`: merges the lists that have one, which are then done with.
fn set_orders(original: &mut Object, patch: &mut Object, schema: Schema<'_>) -> Result<()> {
    let directives: Vec<String> = patch.keys().filter(|key| key.starts_with(SET_ORDER)).cloned().collect();
    for directive in directives {
        let key = directed(&directive, SET_ORDER).ok_or(Error::SetElementOrder)?;
        let wanted = list_of(patch.remove(&directive))?.unwrap_or_default();
        let (old, new) = (list_of(original.get(key).cloned())?, list_of(patch.remove(key))?);
        let field = schema.and_then(|ty| ty.field(key));
        let merge_key = field.map_or("", Field::merge_key);
        check_order(new.as_deref().unwrap_or_default(), &wanted, merge_key)?;
        let live = live_order(old.as_deref().unwrap_or_default(), new.as_deref().unwrap_or_default(), merge_key);
        let merged = match (old, new) {
            (None, None) => continue,
            (Some(old), None) => old,
            (None, Some(new)) => list_of(added(Value::Array(new)))?.unwrap_or_default(),
            (Some(old), Some(new)) => match merge_values(Value::Array(old), Value::Array(new), field, schema)? {
                Some(Value::Array(list)) => list,
                _ => Vec::new(),
            },
        };
        if !merge_key.is_empty() {
            check_keys(&merged, merge_key)?;
            check_keys(&wanted, merge_key)?;
        }
        original.insert(key.into(), order::restore(merged, &wanted, &live, merge_key).into());
    }
    Ok(())
}

/// The order of the live list, as upstream knows it while it applies an order from a patch: new items have taken the places
/// that deleted ones left free at the end. (Its lists share memory; clients have come to rely on what that does.)
///
/// ```text
/// live [d, f, a, c]    patch [{a, $patch: delete}, b, e]    order [d, f, c, b]
/// ```
fn live_order(old: &[Value], new: &[Value], merge_key: &str) -> Vec<Value> {
    if merge_key.is_empty() {
        return old.to_vec();
    }
    let has = |list: &[Value], item: &Value| list.iter().any(|other| other.get(merge_key) == item.get(merge_key));
    let deleted: Vec<Value> = new.iter().filter(|item| item.get(DIRECTIVE).is_some()).cloned().collect();
    let mut live: Vec<Value> = old.iter().filter(|item| !has(&deleted, item)).cloned().collect();
    for item in new.iter().filter(|item| item.get(DIRECTIVE).is_none()) {
        if live.len() < old.len() && !has(&live, item) {
            live.push(item.clone());
        }
    }
    live
}

/// The items of the patch must come in the order that the directive names, and be named by it.
fn check_order(patch: &[Value], wanted: &[Value], merge_key: &str) -> Result<()> {
    if patch.is_empty() || wanted.is_empty() {
        return Ok(());
    }
    let mut wanted_left = wanted.iter();
    for item in patch.iter().filter(|item| item.get(DIRECTIVE).is_none()) {
        if !merge_key.is_empty() {
            key_of(item, merge_key)?;
        }
        if !wanted_left.any(|wanted| order::id(wanted, merge_key) == order::id(item, merge_key)) {
            let text = |list: &[Value]| Value::Array(list.to_vec()).to_string();
            return Err(Error::Order(text(patch), text(wanted)));
        }
    }
    Ok(())
}

/// What a patch's value is where nothing was before: without nulls in objects and without what carries a directive.
fn added(value: Value) -> Option<Value> {
    match value {
        Value::Object(fields) if fields.contains_key(DIRECTIVE) => None,
        Value::Object(fields) => {
            let fields = fields.into_iter().filter(|(_, value)| !value.is_null());
            Some(Value::Object(fields.filter_map(|(key, value)| Some((key, added(value)?))).collect()))
        }
        Value::Array(items) => Some(items.into_iter().filter_map(added).collect()),
        scalar => Some(scalar),
    }
}

/// The field that a directive such as `$setElementOrder/containers` is about.
fn directed<'a>(key: &'a str, prefix: &str) -> Option<&'a str> {
    key.strip_prefix(prefix)?.strip_prefix('/')
}

fn list_of(value: Option<Value>) -> Result<Option<Vec<Value>>> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(list)) => Ok(Some(list)),
        Some(other) => Err(Error::Type("[]interface {}", go_kind(&other))),
    }
}

fn key_of<'a>(item: &'a Value, merge_key: &str) -> Result<&'a Value> {
    item.get(merge_key).ok_or_else(|| Error::NoMergeKey(item.to_string(), merge_key.into()))
}

fn check_keys(items: &[Value], merge_key: &str) -> Result<()> {
    items.iter().try_for_each(|item| key_of(item, merge_key).map(|_| ()))
}

/// The one kind that all elements are of; `None` when there are none.
fn element_kind<'a>(elements: impl Iterator<Item = &'a Value>) -> Result<Option<&'static str>> {
    let mut kind = None;
    for element in elements {
        let own = match go_kind(element) {
            "[]interface {}" => return Err(Error::ListOfLists),
            "map[string]interface {}" => "map",
            scalar => scalar,
        };
        if kind.is_some_and(|kind| kind != own) {
            return Err(Error::MixedList(element.to_string()));
        }
        kind = Some(own);
    }
    Ok(kind)
}

fn go_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nil",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}
