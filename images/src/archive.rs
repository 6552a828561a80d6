//! Images as one archive file.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::layer::header;

/// One image of one layer.
pub struct Image {
    /// Full names, for example `docker.io/library/busybox:latest`.
    pub names: Vec<String>,
    /// The layer's tar file.
    pub layer: Vec<u8>,
    /// The `config` section of the OCI image configuration: `Entrypoint`, `Cmd`, `Env`, `WorkingDir`, `User`.
    pub config: Value,
}

struct Blob {
    digest: String,
    bytes: Vec<u8>,
}

impl Blob {
    fn new(bytes: Vec<u8>) -> Self {
        let digest: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        Self { digest, bytes }
    }

    fn path(&self) -> String {
        format!("blobs/sha256/{}", self.digest)
    }

    fn descriptor(&self, media_type: &str) -> Value {
        json!({"mediaType": media_type, "digest": format!("sha256:{}", self.digest), "size": self.bytes.len()})
    }
}

/// Writes all `images` as one OCI image layout.
///
/// # Errors
/// When `output` refuses bytes.
pub fn write_archive(images: &[Image], output: impl Write) -> io::Result<()> {
    let mut blobs = BTreeMap::new();
    let (mut manifests, mut docker) = (Vec::new(), Vec::new());
    for image in images {
        let layer = Blob::new(image.layer.clone());
        let config = Blob::new(encode(&json!({
            "architecture": architecture(),
            "config": image.config,
            "created": "1970-01-01T00:00:00Z",
            "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "knarr images"}],
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", layer.digest)]},
        }))?);
        let manifest = Blob::new(encode(&json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config.descriptor("application/vnd.oci.image.config.v1+json"),
            "layers": [layer.descriptor("application/vnd.oci.image.layer.v1.tar")],
        }))?);
        for name in &image.names {
            let mut descriptor = manifest.descriptor("application/vnd.oci.image.manifest.v1+json");
            if let Some(fields) = descriptor.as_object_mut() {
                let tag = name.rsplit_once(':').map_or("latest", |(_, tag)| tag);
                fields.insert(
                    "annotations".into(),
                    json!({"io.containerd.image.name": name, "org.opencontainers.image.ref.name": tag}),
                );
                fields.insert("platform".into(), json!({"architecture": architecture(), "os": "linux"}));
            }
            manifests.push(descriptor);
        }
        docker.push(json!({"Config": config.path(), "RepoTags": image.names, "Layers": [layer.path()]}));
        for blob in [layer, config, manifest] {
            blobs.insert(blob.path(), blob.bytes);
        }
    }
    let index = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": manifests,
    });
    let mut tar = tar::Builder::new(output);
    let mut put = |path: &str, bytes: &[u8]| {
        tar.append_data(&mut header(tar::EntryType::Regular, 0o644, bytes.len() as u64), path, bytes)
    };
    put("oci-layout", &encode(&json!({"imageLayoutVersion": "1.0.0"}))?)?;
    put("index.json", &encode(&index)?)?;
    put("manifest.json", &encode(&Value::Array(docker))?)?;
    for (path, bytes) in &blobs {
        put(path, bytes)?;
    }
    tar.into_inner()?.flush()
}

fn encode(value: &Value) -> io::Result<Vec<u8>> {
    Ok(serde_json::to_vec(value)?)
}

/// This machine's architecture as OCI names it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Layer;

    #[test]
    fn an_archive_is_reproducible_and_its_blobs_bear_their_digests() {
        let build = || {
            let mut layer = Layer::new();
            layer.directory("bin", 0o755).unwrap().file("bin/hello", 0o755, b"hi").unwrap();
            layer.hard_link("bin/again", "bin/hello").unwrap();
            let names = vec!["example.test/hello:1".to_owned(), "example.test/hello:latest".to_owned()];
            let image = Image { names, layer: layer.finish().unwrap(), config: json!({"Entrypoint": ["/bin/hello"]}) };
            let mut bytes = Vec::new();
            write_archive(&[image], &mut bytes).unwrap();
            bytes
        };
        let bytes = build();
        assert_eq!(bytes, build());
        let (mut blobs, mut index) = (0, Value::Null);
        for entry in tar::Archive::new(bytes.as_slice()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().to_str().unwrap().to_owned();
            let mut content = Vec::new();
            io::copy(&mut entry, &mut content).unwrap();
            if path == "index.json" {
                index = serde_json::from_slice(&content).unwrap();
            } else if path.starts_with("blobs/") {
                assert_eq!(Blob::new(content).path(), path);
                blobs += 1;
            }
        }
        assert_eq!(blobs, 3);
        let names: Vec<_> = index["manifests"]
            .as_array()
            .unwrap()
            .iter()
            .map(|manifest| manifest["annotations"]["io.containerd.image.name"].as_str().unwrap())
            .collect();
        assert_eq!(names, ["example.test/hello:1", "example.test/hello:latest"]);
    }
}
