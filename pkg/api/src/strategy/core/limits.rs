//! LimitRanges.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::Object;
use crate::field::{Errors, Path};
use crate::object::object_in;
use crate::quantity::{Format, Quantity};
use crate::strategy::fill::Fill::{Each, In, With};
use crate::strategy::pod::{can_overcommit, check_container_name, check_name, quantities};
use crate::strategy::row::Row;
use crate::strategy::rules::{At, formed};
use crate::strategy::{Context, forms};
use crate::tree::Tree;

/// LimitRanges.
pub(in crate::strategy) static LIMIT_RANGE: Row = Row {
    fills: &[In(&["spec"], &[Each(&["limits"], &[With(container_limits)])])],
    check: check_range,
    create_on_update: true,
    ..Row::PLAIN
};

/// For containers, what is not said follows from what is: max -> default -> defaultRequest <- min.
fn container_limits(item: &mut Object) {
    if item.text("type") != "Container" {
        return;
    }
    for (from, to) in [("max", "default"), ("default", "defaultRequest"), ("min", "defaultRequest")] {
        let known = item.map(from).clone();
        let derived = object_in(item.entry(to).or_insert(Value::Null));
        for (name, quantity) in known {
            derived.entry(name).or_insert(quantity);
        }
    }
}

const TYPES: &[&str] = &["Container", "PersistentVolumeClaim", "Pod"];

fn check_range(_cx: &Context<'_>, errors: &mut Errors, range: &Object) {
    let mut types = BTreeSet::new();
    let spec = At { path: Path::root("spec"), object: range.map("spec") };
    for limit in spec.each("limits") {
        let kind = limit.text("type");
        formed(errors, &limit.path("type"), kind, forms::qualified);
        if forms::qualified(kind).is_empty() && !kind.contains('/') && !TYPES.contains(&kind) {
            errors.invalid(limit.path("type"), kind, "must be a standard limit type or fully qualified");
        }
        if !types.insert(kind) {
            errors.duplicate(limit.path("type"), kind);
        }
        check_names(errors, &limit, kind);
        check_order(errors, &limit);
    }
}

fn check_names(errors: &mut Errors, limit: &At<'_>, kind: &str) {
    for field in ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"] {
        let list = limit.object.map(field);
        if kind == "Pod" && field.starts_with("default") && !list.is_empty() {
            errors.forbidden(limit.path(field), "may not be specified when `type` is 'Pod'");
            continue;
        }
        for name in list.keys() {
            let check = if matches!(kind, "Pod" | "Container") { check_container_name } else { check_name };
            check(errors, &limit.path(field).key(name), name);
        }
    }
    let has_storage = |field: &str| limit.object.map(field).contains_key("storage");
    if kind == "PersistentVolumeClaim" && !has_storage("min") && !has_storage("max") {
        let detail = "either minimum or maximum storage value is required, but neither was provided";
        errors.required(limit.path("limits"), detail);
    }
}

/// The first may not be more than the second; an error stands at the third and shows the value of the fourth.
const ORDER: &[([&str; 4], &str, &str)] = &[
    (["min", "max", "min", "min"], "min value", "max value"),
    (["min", "defaultRequest", "defaultRequest", "defaultRequest"], "min value", "default request value"),
    (["defaultRequest", "max", "defaultRequest", "defaultRequest"], "default request value", "max value"),
    (["defaultRequest", "default", "defaultRequest", "defaultRequest"], "default request value", "default limit value"),
    (["min", "default", "default", "min"], "min value", "default value"),
    (["default", "max", "default", "max"], "default value", "max value"),
];

fn check_order(errors: &mut Errors, limit: &At<'_>) {
    let is_pod = limit.text("type") == "Pod";
    let of = |field: &'static str| {
        let list = if is_pod && field.starts_with("default") { None } else { Some(limit.object.map(field)) };
        (field, list.into_iter().flat_map(quantities).collect::<BTreeMap<_, _>>())
    };
    let all: BTreeMap<_, _> = ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"].map(of).into();
    let get = |field: &str, name: &str| all.get(field).and_then(|list| list.get(name)).copied();
    let names: BTreeSet<_> = all.values().flat_map(BTreeMap::keys).copied().collect();
    for name in names {
        for ([less, more, place, shown], less_text, more_text) in ORDER {
            if let (Some(low), Some(high), Some(value)) = (get(less, name), get(more, name), get(shown, name))
                && low > high
            {
                let detail = format!("{less_text} {low} is greater than {more_text} {high}");
                errors.invalid(limit.path(place).key(name), value.to_string(), detail);
            }
        }
        if let Some(ratio) = get("maxLimitRequestRatio", name) {
            let path = limit.path("maxLimitRequestRatio").key(name);
            check_ratio(errors, &path, ratio, get("min", name).zip(get("max", name)));
        }
        if let (Some(most), Some(request)) = (get("default", name), get("defaultRequest", name))
            && !can_overcommit(name)
            && most != request
        {
            let detail = format!("default value {most} must equal to defaultRequest value {request} in {name}");
            errors.invalid(limit.path("defaultRequest").key(name), request.to_string(), detail);
        }
    }
}

fn check_ratio(errors: &mut Errors, path: &Path, ratio: Quantity, bounds: Option<(Quantity, Quantity)>) {
    if ratio < Quantity::new(1, Format::DecimalSi) {
        errors.invalid(path.clone(), ratio.to_string(), format!("ratio {ratio} is less than 1"));
    }
    if let Some((min, max)) = bounds {
        let most = max.as_f64() / min.as_f64();
        if ratio.as_f64() > most {
            let detail = format!("ratio {ratio} is greater than max/min = {most:.6}");
            errors.invalid(path.clone(), ratio.to_string(), detail);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strategy::Strategy;
    use crate::user::UserInfo;
    use serde_json::json;

    #[test]
    fn limits_of_containers_are_derived() {
        let Value::Object(mut item) = json!({"type": "Container", "max": {"cpu": "2"}, "min": {"memory": "1Mi"}})
        else {
            unreachable!()
        };
        container_limits(&mut item);
        assert_eq!(item["default"], json!({"cpu": "2"}));
        assert_eq!(item["defaultRequest"], json!({"cpu": "2", "memory": "1Mi"}));
    }

    #[test]
    fn limits_are_in_order() {
        let limits = json!([{"type": "Container", "min": {"cpu": "2"}, "max": {"cpu": "1"}}]);
        let Value::Object(range) = json!({"spec": {"limits": limits}}) else { unreachable!() };
        let user = UserInfo::default();
        let errors = LIMIT_RANGE.validate(&Context { user: &user, subresource: None, now: "" }, &range);
        let text = "spec.limits[0].min[cpu]: Invalid value: \"2\": min value 2 is greater than max value 1";
        assert_eq!(errors.to_string(), text);
    }
}
