use serde_json::{Value, json};

use super::*;

fn matches(selector: &str, labels: &[(&str, &str)]) -> bool {
    let selector = LabelSelector::parse(selector).unwrap();
    selector.matches(|key| labels.iter().find(|(own, _)| *own == key).map(|(_, value)| *value))
}

#[test]
fn label_selectors_select_what_upstream_selects() {
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], bool);
    let table: &[Case<'_>] = &[
        ("", &[("x", "y")], true),
        ("x=y", &[("x", "y")], true),
        ("x = y", &[("x", "y")], true),
        ("x==y", &[("x", "z")], false),
        ("x=y,z=w", &[("x", "y"), ("z", "w")], true),
        ("x!=y", &[], true),
        ("x!=y", &[("x", "y")], false),
        ("x=", &[("x", "")], true),
        ("x=", &[], false),
        ("x", &[("x", "")], true),
        ("!x", &[("x", "")], false),
        ("! x,y", &[("y", "1")], true),
        ("x in (a,b)", &[("x", "b")], true),
        ("x in (a,,b)", &[("x", "")], true),
        ("x in ()", &[("x", "")], true),
        ("x notin (a,b)", &[], true),
        ("x notin (a,b)", &[("x", "a")], false),
        ("in in (in, notin)", &[("in", "notin")], true),
        ("x=in", &[("x", "in")], true),
        ("x>1", &[("x", "2")], true),
        ("x<1", &[("x", "2")], false),
        ("x>1", &[("x", "a")], false),
        ("app.kubernetes.io/name=web", &[("app.kubernetes.io/name", "web")], true),
    ];
    for (selector, labels, expected) in table {
        assert_eq!(matches(selector, labels), *expected, "{selector:?} {labels:?}");
    }
}

#[test]
fn malformed_label_selectors_say_where() {
    let table = [
        ("x=y,", "found '', expected: identifier after ','"),
        ("x in", "unable to parse requirement: found '' expected: '('"),
        ("x in a", "unable to parse requirement: found 'a' expected: '('"),
        ("x in (a", "unable to parse requirement: found '', expected: ',' or ')'"),
        ("x in (a b)", "unable to parse requirement: found 'b', expected: ',' or ')'"),
        ("x in (!", "unable to parse requirement: found '!', expected: ',', ')' or identifier"),
        ("x in (a,!)", "unable to parse requirement: found '!', expected: ',', or identifier"),
        ("/x", "unable to parse requirement: <nil>: Invalid value: \"/x\": prefix part must be non-empty"),
        (
            "x in (a,-b)",
            "unable to parse requirement: values[0][x]: Invalid value: \"-b\": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
        ),
        ("x y", "unable to parse requirement: found 'y', expected: in, notin, =, ==, !=, gt, lt"),
        (",", "found ',', expected: !, identifier, or 'end of string'"),
        ("x=a=b", "found '=', expected: ',' or 'end of string'"),
        (
            "x>a",
            "unable to parse requirement: values[0]: Invalid value: \"a\": for 'Gt', 'Lt' operators, the value must be an integer",
        ),
    ];
    for (selector, expected) in table {
        assert_eq!(LabelSelector::parse(selector).unwrap_err().to_string(), expected, "{selector:?}");
    }
    for selector in ["-x", "a/b/c", "x=-", "x==!", "!!x", "x=(", "é", "x=é"] {
        assert!(LabelSelector::parse(selector).is_err(), "{selector:?}");
    }
}

#[test]
fn label_selectors_print_in_canonical_form() {
    let table = [("b==1,a", "a,b=1"), ("x in (b, a)", "x in (a,b)"), ("!x", "!x"), ("x!=1", "x!=1"), ("", "")];
    for (selector, expected) in table {
        assert_eq!(LabelSelector::parse(selector).unwrap().to_string(), expected);
    }
    let Value::Object(object) = json!({
        "matchLabels": {"b": "1"},
        "matchExpressions": [{"key": "a", "operator": "In", "values": ["y", "x"]}, {"key": "c", "operator": "Exists"}],
    }) else {
        unreachable!()
    };
    assert_eq!(LabelSelector::of(&object).unwrap().to_string(), "a in (x,y),b=1,c");
    let Value::Object(plain) = json!({"app": "web"}) else { unreachable!() };
    assert_eq!(LabelSelector::of(&plain).unwrap().to_string(), "app=web");
}

#[test]
fn field_selectors_are_read_with_escapes() {
    let selector = FieldSelector::parse(r"metadata.name=a\,b,spec.nodeName!=,x==y\\z").unwrap();
    let term = |field: &str, equal, value: &str| FieldTerm { field: field.into(), equal, value: value.into() };
    assert_eq!(
        selector.0,
        [term("metadata.name", true, "a,b"), term("spec.nodeName", false, ""), term("x", true, r"y\z")]
    );
    assert_eq!(selector.exact("metadata.name"), Some("a,b"));
    assert_eq!(selector.exact("spec.nodeName"), None);
    assert_eq!(FieldSelector::parse("foo").unwrap_err().to_string(), "invalid selector: 'foo'; can't understand 'foo'");
    assert!(FieldSelector::parse(r"a=\x").is_err());
    assert!(FieldSelector::parse("a=b=c").is_err());
}
