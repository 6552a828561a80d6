//! The label `pod-template-hash`, which tells the pods of a Deployment's ReplicaSets apart.

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::PodTemplateSpec;

/// The label's key.
pub(super) const LABEL: &str = "pod-template-hash";

/// Upstream's alphabet for names: no vowels, so that no words come out, and nothing that looks like something else.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// A stable name for a template: FNV-1a over its JSON (and the number of collisions seen), in decimal, in the safe alphabet.
pub(super) fn of(template: &PodTemplateSpec, collisions: Option<i32>) -> String {
    // A typed template always has a JSON form.
    let json = serde_json::to_vec(template).unwrap_or_default();
    let collisions = collisions.map(i32::to_le_bytes);
    let bytes = json.iter().chain(collisions.iter().flatten());
    let hash = bytes.fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    let safe = |digit: u8| ALPHABET.get(usize::from(digit) % ALPHABET.len()).copied().map_or('b', char::from);
    hash.to_string().bytes().map(safe).collect()
}

/// Whether a ReplicaSet makes the pods that `template` describes: equal but for the hash.
pub(super) fn is_of(set: &ReplicaSet, template: &PodTemplateSpec) -> bool {
    let bare = |template: &PodTemplateSpec| {
        let mut template = template.clone();
        if let Some(meta) = &mut template.metadata {
            meta.creation_timestamp = None;
            if let Some(labels) = &mut meta.labels {
                labels.remove(LABEL);
            }
            meta.labels = meta.labels.take().filter(|labels| !labels.is_empty());
        }
        template
    };
    set.spec.as_ref().and_then(|spec| spec.template.as_ref()).is_some_and(|own| bare(own) == bare(template))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stable_safe_and_different_after_a_collision() {
        let template: PodTemplateSpec =
            serde_json::from_str(r#"{"metadata":{"labels":{"app":"web"}},"spec":{"containers":[{"name":"a"}]}}"#)
                .unwrap();
        let hash = of(&template, None);
        // A change of this value rolls out every Deployment that exists.
        assert_eq!(hash, "7489d875c5");
        assert_ne!(of(&template, Some(1)), hash);
        assert!(hash.len() <= 10 && hash.bytes().all(|byte| ALPHABET.contains(&byte)));
    }
}
