//! OCI images made from scratch, reproducibly: the same inputs give the same bytes, on every machine and day.
//!
//! An image is one uncompressed layer, a configuration and a manifest, written as an OCI image layout inside a tar file
//! (<https://github.com/opencontainers/image-spec/blob/main/image-layout.md>) together with the `manifest.json` that
//! `docker load` wants. Each of its names stands in `index.json` as `io.containerd.image.name`.

mod archive;
mod layer;
mod recipes;

pub use archive::{Image, write_archive};
pub use layer::Layer;
pub use recipes::{BUSYBOX_NAMES, PAUSE_NAME, WEB_NAME, busybox, pause, pause_archive, web};

/// Why an image could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program to put into the image cannot be read.
    #[error("cannot read {path}: {cause}")]
    Program {
        /// Where it was looked for.
        path: String,
        /// What the kernel said.
        cause: std::io::Error,
    },
    /// A program needs libraries that an image made from scratch does not have.
    #[error("{0} is not a static program")]
    Dynamic(String),
    /// A program could not be asked for its applets.
    #[error("{program} --list: {cause}")]
    Applets {
        /// The program.
        program: String,
        /// What went wrong.
        cause: String,
    },
    /// The archive or a layer cannot be written.
    #[error("cannot write the archive: {0}")]
    Write(#[from] std::io::Error),
}
