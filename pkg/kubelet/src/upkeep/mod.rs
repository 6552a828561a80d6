//! What grows is cut back: logs are rotated, dead containers and unused images removed.

mod containers;
mod logs;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use knarr_base::Shutdown;

use crate::containerd::Importer;
use crate::cri::Runtime;
use crate::image::gc::Collector;

const LOGS: Duration = Duration::from_secs(10);
const CONTAINERS: Duration = Duration::from_mins(1);
const IMAGES: Duration = Duration::from_mins(5);

/// Keeps the node tidy until the shutdown.
pub(crate) async fn run(
    runtime: Arc<dyn Runtime>,
    importer: Importer,
    data: PathBuf,
    pods_logs: PathBuf,
    shutdown: Shutdown,
) {
    let mut images = Collector::default();
    let (mut every_log, mut every_container, mut every_image) =
        (tokio::time::interval(LOGS), tokio::time::interval(CONTAINERS), tokio::time::interval(IMAGES));
    loop {
        let (what, outcome) = tokio::select! {
            () = shutdown.wait() => return,
            _ = every_log.tick() => ("logs", logs::rotate(runtime.as_ref(), &pods_logs).await),
            _ = every_container.tick() => ("containers", containers::collect(runtime.as_ref(), &pods_logs).await),
            _ = every_image.tick() => match importer.pinned().await {
                Ok(keep) => ("images", images.collect(runtime.as_ref(), &data, &keep).await),
                // Without knowing what must stay, nothing goes.
                Err(error) => {
                    tracing::debug!("images: {error}");
                    continue;
                }
            },
        };
        if let Err(error) = outcome {
            tracing::debug!("{what}: {error}");
        }
    }
}
