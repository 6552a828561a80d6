//! What becomes of an object, given how its owners are: no I/O.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use knarr_client::cache::Metadata;

/// Set by a deletion with `propagationPolicy: Orphan`.
pub(super) const ORPHAN: &str = "orphan";
/// Set by a deletion with `propagationPolicy: Foreground`.
pub(super) const FOREGROUND: &str = "foregroundDeletion";

/// How an owner is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// It exists, and stays or goes without waiting.
    Solid,
    /// It does not exist.
    Absent,
    /// It is being deleted in the foreground: it waits for its dependents.
    Waiting,
}

/// How a deletion goes on to the object's own dependents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Propagation {
    Background,
    Foreground,
    Orphan,
}

/// What to do with an object.
#[derive(Debug, PartialEq)]
pub(super) enum Decision {
    Keep,
    /// It stays, without the owners that are or will be gone.
    Release(Vec<OwnerReference>),
    /// It goes. `unblock` first makes its owner references non-blocking: some of its dependents wait themselves, and a
    /// circle of blocking owners would wait for ever.
    Delete {
        propagation: Propagation,
        unblock: bool,
    },
}

pub(super) fn is_waiting(object: &Metadata) -> bool {
    object.deleting && has(object, FOREGROUND)
}

pub(super) fn has(object: &Metadata, finalizer: &str) -> bool {
    object.finalizers.iter().any(|own| own.as_ref() == finalizer)
}

/// Decides about an object with owners that is not being deleted. `owners` are its references with their states;
/// `dependents` are the objects that it owns itself.
pub(super) fn decide(
    object: &Metadata,
    owners: &[(OwnerReference, Owner)],
    dependents: &[impl AsRef<Metadata>],
) -> Decision {
    let any = |state| owners.iter().any(|(_, owner)| *owner == state);
    if owners.is_empty() {
        return Decision::Keep;
    }
    if any(Owner::Solid) {
        let kept: Vec<_> =
            owners.iter().filter(|(_, state)| *state == Owner::Solid).map(|(own, _)| own.clone()).collect();
        return if kept.len() == owners.len() { Decision::Keep } else { Decision::Release(kept) };
    }
    if any(Owner::Waiting) && !dependents.is_empty() {
        let unblock = dependents.iter().any(|dependent| is_waiting(dependent.as_ref()));
        return Decision::Delete { propagation: Propagation::Foreground, unblock };
    }
    let propagation = match () {
        () if has(object, ORPHAN) => Propagation::Orphan,
        () if has(object, FOREGROUND) => Propagation::Foreground,
        () => Propagation::Background,
    };
    Decision::Delete { propagation, unblock: false }
}

/// Whether `dependent` holds up the deletion of `owner` in the foreground.
pub(super) fn blocks(dependent: &Metadata, owner: &str) -> bool {
    dependent.owners.iter().any(|own| own.uid == owner && own.block_owner_deletion == Some(true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn owner(uid: &str) -> OwnerReference {
        OwnerReference { uid: uid.into(), ..Default::default() }
    }

    fn object(finalizers: &[&str], deleting: bool) -> Arc<Metadata> {
        let finalizers = finalizers.iter().map(|&finalizer| finalizer.into()).collect();
        Arc::new(Metadata { finalizers, deleting, ..Default::default() })
    }

    #[test]
    fn owners_decide() {
        use Decision::{Delete, Keep, Release};
        use Owner::{Absent, Solid, Waiting};
        let (plain, leaf) = (object(&[], false), Vec::<Arc<Metadata>>::new());
        let (parent, circular) = (vec![plain.clone()], vec![object(&[FOREGROUND], true)]);
        let delete = |propagation| Delete { propagation, unblock: false };
        let cases = [
            (&plain, vec![], &leaf, Keep),
            (&plain, vec![Solid], &leaf, Keep),
            (&plain, vec![Absent], &leaf, delete(Propagation::Background)),
            (&plain, vec![Absent, Solid], &leaf, Release(vec![owner("1")])),
            (&plain, vec![Waiting, Solid], &leaf, Release(vec![owner("1")])),
            (&plain, vec![Waiting], &leaf, delete(Propagation::Background)),
            (&plain, vec![Waiting, Absent], &parent, delete(Propagation::Foreground)),
            (&plain, vec![Waiting], &circular, Delete { propagation: Propagation::Foreground, unblock: true }),
            (&plain, vec![Absent], &circular, delete(Propagation::Background)),
            (&object(&[ORPHAN], false), vec![Absent], &parent, delete(Propagation::Orphan)),
            (&object(&[FOREGROUND], false), vec![Absent], &parent, delete(Propagation::Foreground)),
        ];
        for (object, states, dependents, expected) in cases {
            let owners: Vec<_> = states.iter().enumerate().map(|(n, state)| (owner(&n.to_string()), *state)).collect();
            assert_eq!(decide(object, &owners, dependents), expected, "{states:?}");
        }
    }
}
