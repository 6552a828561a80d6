//! LimitRanges and ResourceQuotas.

use serde_json::Value;

use crate::Object;
use crate::object::object_in;
use crate::strategy::fill::Fill::{Each, In, Make, With};
use crate::strategy::row::Row;
use crate::tree::Tree;

/// LimitRanges.
pub(in crate::strategy) static LIMIT_RANGE: Row = Row {
    fills: &[In(&["spec"], &[Each(&["limits"], &[With(container_limits)])])],
    create_on_update: true,
    ..Row::PLAIN
};

/// ResourceQuotas.
pub(in crate::strategy) static QUOTA: Row = Row { fills: &[Make("spec", &[])], ..Row::PLAIN };

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

#[cfg(test)]
mod tests {
    use super::*;
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
}
