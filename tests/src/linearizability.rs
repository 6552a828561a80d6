//! Whether what concurrent clients saw of one key can be explained by one order of their operations.
//!
//! The search is that of Wing and Gong with Lowe's memory of the states that led nowhere ("Testing for linearizability",
//! 2017). It is small enough to be read here; the crates that have it bring a model checker along.
//!
//! ```text
//! client 1  |--- create 1: done ---|
//! client 2        |-- read: none --|      |-- read: 1 --|
//! ```
//!
//! is fine, because the first read may have happened before the create although it ended with it; the second one, begun when
//! the create had been answered, must see it. An operation whose answer never came may have happened at any time since it
//! began, or never.

use std::collections::HashSet;

/// What a key holds: each write has a value of its own.
pub type Value = u64;

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// What is there?
    Read,
    /// Make it, if it is not there.
    Create(Value),
    /// Replace it, if it is there.
    Replace(Value),
    /// Replace the first by the second, if the first is there.
    Swap(Value, Value),
    /// Remove it, if it is there.
    Delete,
}

/// What was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// To a read: this is there.
    Found(Value),
    /// It is not there.
    Missing,
    /// Done.
    Done,
    /// Not done: there is something else.
    Conflict,
    /// Nothing was answered.
    Unknown,
}

/// An operation of a client; the times count from whenever.
#[derive(Clone, Copy, Debug)]
pub struct Operation<T> {
    /// What was asked for.
    pub action: Action,
    /// What was answered.
    pub outcome: Outcome,
    /// When it was asked.
    pub begin: T,
    /// When it was answered; of no meaning where nothing was.
    pub end: T,
}

impl<T: Copy> Operation<T> {
    /// When it was answered.
    fn answered(&self) -> Option<T> {
        (self.outcome != Outcome::Unknown).then_some(self.end)
    }
}

impl Action {
    /// What is there afterwards if this happens now and is answered so; `None` when it cannot be answered so.
    fn apply(self, state: Option<Value>, outcome: Outcome) -> Option<Option<Value>> {
        let (answer, after) = match (self, state) {
            (Self::Read, None) => (Outcome::Missing, None),
            (Self::Read, Some(value)) => (Outcome::Found(value), state),
            (Self::Create(value), None) => (Outcome::Done, Some(value)),
            (Self::Create(_), Some(_)) => (Outcome::Conflict, state),
            (Self::Replace(_) | Self::Swap(..) | Self::Delete, None) => (Outcome::Missing, None),
            (Self::Replace(value), Some(_)) => (Outcome::Done, Some(value)),
            (Self::Swap(from, to), Some(value)) if value == from => (Outcome::Done, Some(to)),
            (Self::Swap(..), Some(_)) => (Outcome::Conflict, state),
            (Self::Delete, Some(_)) => (Outcome::Done, None),
        };
        (outcome == answer || outcome == Outcome::Unknown).then_some(after)
    }
}

/// A point of the search: some operations have their place.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Point {
    /// Operations from this one on have none yet.
    next: usize,
    /// Those before it that have none yet either, the soonest answered first.
    open: Vec<usize>,
    /// What the key holds.
    state: Option<Value>,
}

/// Whether there is an order of the operations on a key, absent at first, in which each could have been answered as it was,
/// and none comes before one that had been answered when it began.
#[must_use]
pub fn is_linearizable<T: Copy + Ord>(operations: &[Operation<T>]) -> bool {
    let mut operations = operations.to_vec();
    operations.sort_by_key(|operation| operation.begin);
    let first_ends = first_ends(&operations);
    let mut seen = HashSet::new();
    let mut ahead = vec![Point { next: 0, open: Vec::new(), state: None }];
    while let Some(mut point) = ahead.pop() {
        let of_open = point.open.iter().filter_map(|index| operations.get(*index).and_then(Operation::answered)).min();
        let of_rest = first_ends.get(point.next).copied().flatten();
        // The next one must have begun before any other was answered.
        let Some(limit) = of_open.into_iter().chain(of_rest).min() else { return true };
        while operations.get(point.next).is_some_and(|operation| operation.begin <= limit) {
            point.open.push(point.next);
            point.next += 1;
        }
        point.open.sort_by_key(|index| {
            let end = operations.get(*index).and_then(Operation::answered);
            (end.is_none(), end, *index)
        });
        if !seen.insert(point.clone()) {
            continue;
        }
        // The most likely one last, because that is where the search goes on.
        for (place, index) in point.open.iter().enumerate().rev() {
            let Some(operation) = operations.get(*index) else { continue };
            if let Some(state) = operation.action.apply(point.state, operation.outcome) {
                let mut open = point.open.clone();
                open.remove(place);
                ahead.push(Point { next: point.next, open, state });
            }
        }
    }
    false
}

/// For each operation, when it or one after it was answered first.
fn first_ends<T: Copy + Ord>(operations: &[Operation<T>]) -> Vec<Option<T>> {
    let mut first = None;
    let ends = operations.iter().rev().map(|operation| {
        first = operation.answered().into_iter().chain(first).min();
        first
    });
    let mut ends: Vec<_> = ends.collect();
    ends.reverse();
    ends
}

#[cfg(test)]
mod tests {
    use super::{Action::*, Outcome::*, *};

    fn check(history: &[(Action, Outcome, u32, u32)]) -> bool {
        let operations: Vec<_> =
            history.iter().map(|&(action, outcome, begin, end)| Operation { action, outcome, begin, end }).collect();
        is_linearizable(&operations)
    }

    #[test]
    fn what_one_order_explains_is_right() {
        for history in [
            &[][..],
            &[(Create(1), Done, 0, 5), (Read, Missing, 1, 5), (Read, Found(1), 6, 7)],
            &[(Create(1), Done, 0, 1), (Swap(1, 2), Done, 2, 9), (Swap(1, 3), Conflict, 3, 8), (Read, Found(2), 9, 10)],
            &[(Create(1), Done, 0, 1), (Delete, Done, 2, 9), (Delete, Missing, 2, 9), (Create(2), Done, 3, 8)],
            // Never answered: it has happened late, or never.
            &[(Create(1), Unknown, 0, 0), (Read, Missing, 1, 2), (Read, Found(1), 3, 4)],
            &[(Create(1), Unknown, 0, 0), (Read, Missing, 1, 2)],
            &[(Create(1), Done, 0, 1), (Replace(2), Unknown, 2, 2), (Read, Found(1), 3, 4), (Delete, Done, 5, 6)],
        ] {
            assert!(check(history), "{history:?}");
        }
    }

    #[test]
    fn what_no_order_explains_is_wrong() {
        for (history, why) in [
            (&[(Read, Found(1), 0, 1)][..], "nobody wrote it"),
            (&[(Create(1), Done, 0, 1), (Read, Missing, 2, 3)], "a stale read"),
            (&[(Create(1), Done, 0, 1), (Create(2), Done, 2, 3)], "created twice"),
            (&[(Create(1), Done, 0, 1), (Swap(1, 2), Done, 2, 5), (Swap(1, 3), Done, 2, 5)], "a lost update"),
            (&[(Create(1), Done, 0, 1), (Replace(2), Done, 2, 3), (Read, Found(1), 4, 5)], "an older value"),
            (
                &[(Create(1), Done, 0, 1), (Replace(2), Done, 2, 9), (Read, Found(2), 3, 4), (Read, Found(1), 5, 6)],
                "two readers see the write and then not",
            ),
            (&[(Create(1), Done, 0, 1), (Delete, Done, 2, 3), (Delete, Done, 4, 5)], "deleted twice"),
            (
                &[(Create(1), Done, 0, 1), (Replace(2), Unknown, 2, 2), (Read, Found(2), 3, 4), (Read, Found(1), 5, 6)],
                "what was in doubt has happened, and then it has not",
            ),
            (&[(Create(1), Unknown, 5, 5), (Read, Found(1), 0, 1)], "read before it was asked for"),
        ] {
            assert!(!check(history), "{why}: {history:?}");
        }
    }
}
