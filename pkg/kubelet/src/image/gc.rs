//! Removing images that nobody uses when the disk runs full.
//! <https://kubernetes.io/docs/concepts/architecture/garbage-collection/#container-image-lifecycle>

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::cri::{Error, Runtime, api};

/// Upstream's `--image-gc-high-threshold` and `--image-gc-low-threshold`, in per cent of the file system.
const HIGH: u64 = 85;
const LOW: u64 = 80;
/// An image that was seen in use, or first seen, less than this ago stays.
const YOUNG: Duration = Duration::from_mins(2);

/// What is remembered of images between two looks.
#[derive(Debug, Default)]
pub(crate) struct Collector {
    last_used: HashMap<String, Instant>,
}

impl Collector {
    /// Looks at the disk, and removes images if it is too full. `keep` are names that are never removed.
    ///
    /// # Errors
    /// When the runtime does not answer.
    pub(crate) async fn collect(&mut self, runtime: &dyn Runtime, data: &Path, keep: &[String]) -> Result<(), Error> {
        let images = runtime.list_images().await?;
        let used: BTreeSet<String> =
            runtime.list_containers(&[]).await?.into_iter().flat_map(|one| [one.image_ref, one.image_id]).collect();
        let now = Instant::now();
        self.last_used.retain(|id, _| images.iter().any(|image| image.id == *id));
        for image in &images {
            let seen = self.last_used.entry(image.id.clone()).or_insert(now);
            if used.contains(&image.id) || image.repo_digests.iter().any(|digest| used.contains(digest)) {
                *seen = now;
            }
        }
        let Some((size, free)) = disk(data) else { return Ok(()) };
        let too_much = excess(size, free);
        if too_much == 0 {
            return Ok(());
        }
        let mut left = too_much;
        for image in self.candidates(&images, keep, now) {
            if left == 0 {
                return Ok(());
            }
            tracing::info!(
                "the disk is full to {HIGH} %: removing image {}",
                image.repo_tags.first().unwrap_or(&image.id)
            );
            // One that cannot be removed must not keep the others.
            if let Err(error) = runtime.remove_image(&image.id).await {
                tracing::warn!("cannot remove image {}: {error}", image.id);
                continue;
            }
            self.last_used.remove(&image.id);
            left = left.saturating_sub(image.size);
        }
        if left > 0 {
            tracing::warn!("the disk is full to {HIGH} %, and no image is left that could be removed");
        }
        Ok(())
    }

    /// What may go, least recently used first.
    fn candidates<'a>(&self, images: &'a [api::Image], keep: &[String], now: Instant) -> Vec<&'a api::Image> {
        let age = |image: &api::Image| self.last_used.get(&image.id).map(|seen| now.duration_since(*seen));
        let mut candidates: Vec<&api::Image> = images
            .iter()
            .filter(|image| !image.pinned && !image.repo_tags.iter().any(|name| keep.contains(name)))
            .filter(|image| age(image).is_some_and(|age| age > YOUNG))
            .collect();
        candidates.sort_by_key(|image| std::cmp::Reverse(age(image)));
        candidates
    }
}

/// How many bytes must go: down to the low threshold once the high one is passed.
fn excess(size: u64, free: u64) -> u64 {
    let used = size.saturating_sub(free);
    if used * 100 < size * HIGH { 0 } else { used - size * LOW / 100 }
}

/// Size and free bytes of the file system that holds `path`.
pub(crate) fn disk(path: &Path) -> Option<(u64, u64)> {
    let found = nix::sys::statvfs::statvfs(path).ok()?;
    let unit = found.fragment_size();
    Some((found.blocks() * unit, found.blocks_available() * unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds() {
        for (size, free, expect) in [(1000, 500, 0), (1000, 151, 0), (1000, 150, 50), (1000, 0, 200), (0, 0, 0)] {
            assert_eq!(excess(size, free), expect, "{free} of {size} free");
        }
    }

    #[test]
    fn pinned_kept_and_young_images_stay() {
        let now = Instant::now() + YOUNG * 10;
        let image = |id: &str, tag: &str, pinned| api::Image {
            id: id.into(),
            repo_tags: vec![tag.into()],
            pinned,
            ..Default::default()
        };
        let images = [
            image("1", "a:1", false),
            image("2", "b:1", true),
            image("3", "pause:1", false),
            image("4", "c:1", false),
            image("5", "d:1", false),
        ];
        let ages = [("1", 5), ("2", 9), ("3", 9), ("4", 9), ("5", 1)];
        let last_used = ages.map(|(id, minutes)| (id.to_owned(), now - Duration::from_mins(minutes))).into();
        let collector = Collector { last_used };
        let ids: Vec<&str> =
            collector.candidates(&images, &["pause:1".into()], now).iter().map(|image| image.id.as_str()).collect();
        assert_eq!(ids, ["4", "1"]);
    }
}
