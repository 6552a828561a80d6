//! The order of a merged list.
//!
//! Items that the patch names keep the order of the patch, all others keep the order of the live list, and the two are
//! interleaved so that the live order of any two items holds as far as it can:
//!
//! ```text
//! live     [a, b, c, d]      patch [c, a, x]
//! ours     [c, a, x]         theirs [b, d]
//! result   [c, a, x, b, d]   (b comes after a, as in the live list; d after c)
//! ```

use serde_json::Value;

/// What an item is known by: the value of its merge key, or itself in a list of scalars.
pub(super) fn id<'a>(item: &'a Value, merge_key: &str) -> Option<&'a Value> {
    if merge_key.is_empty() { Some(item) } else { item.get(merge_key) }
}

/// Sorts `merged` by the order of `wanted`, and what that does not name by the order of `live`.
pub(super) fn restore(merged: Vec<Value>, wanted: &[Value], live: &[Value], merge_key: &str) -> Vec<Value> {
    let place = |order: &[Value], item: &Value| {
        let own = id(item, merge_key);
        order.iter().position(|other| id(other, merge_key) == own)
    };
    let (mut ours, mut theirs): (Vec<_>, Vec<_>) = merged.into_iter().partition(|item| place(wanted, item).is_some());
    ours.sort_by_key(|item| place(wanted, item));
    theirs.sort_by_key(|item| place(live, item));

    let mut sorted = Vec::with_capacity(ours.len() + theirs.len());
    let mut theirs = theirs.into_iter().peekable();
    for item in ours {
        let here = place(live, &item);
        while let Some(other) = theirs.next_if(|other| place(live, other).zip(here).is_some_and(|(a, b)| a < b)) {
            sorted.push(other);
        }
        sorted.push(item);
    }
    sorted.extend(theirs);
    sorted
}
