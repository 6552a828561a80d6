//! Commands that ask the running server of this node, as its administrator.

use anyhow::{Result, bail};
use knarr_client::transport;

use crate::cli::Directories;

/// Does `work` with a client of the server.
pub(crate) fn ask<T>(directories: &Directories, work: impl AsyncFnOnce(kube::Client) -> Result<T>) -> Result<T> {
    let kubeconfig = directories.data_dir.join("admin.kubeconfig");
    if !kubeconfig.exists() {
        bail!("there is no node here: {} does not exist", kubeconfig.display());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { work(transport::kubeconfig(kubeconfig)?).await })
}
