//! Image archives: OCI image layouts (also what Docker 25 and newer saves) and older `docker save` files, plain or gzip.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom};

use flate2::read::GzDecoder;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Manifests and configurations are small; what is larger is refused before it is read.
const DOCUMENT_LIMIT: u64 = 8 << 20;

/// OCI's content descriptor.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Descriptor {
    pub(crate) media_type: String,
    pub(crate) digest: String,
    pub(crate) size: i64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) annotations: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<Platform>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Manifest {
    schema_version: i32,
    media_type: String,
    config: Descriptor,
    layers: Vec<Descriptor>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// One thing to store: where its bytes are, and which other content it keeps alive.
#[derive(Debug)]
pub(crate) struct Blob {
    pub(crate) digest: String,
    pub(crate) size: u64,
    /// containerd's garbage collection labels.
    pub(crate) labels: HashMap<String, String>,
    place: Place,
}

#[derive(Clone, Debug)]
enum Place {
    File { offset: u64 },
    Memory(Vec<u8>),
}

/// What an archive holds, ready to be stored in this order: content before what refers to it.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub(crate) blobs: Vec<Blob>,
    /// Name and target of each image.
    pub(crate) images: Vec<(String, Descriptor)>,
}

/// Where an archive's bytes come from.
pub(crate) trait Source: Read + Seek + Send {}
impl<T: Read + Seek + Send> Source for T {}

/// An archive whose entries have been located.
pub(crate) struct Archive {
    source: Box<dyn Source>,
    entries: HashMap<String, (u64, u64)>,
}

impl Archive {
    /// Opens a file. A compressed one is unpacked into an unnamed file in `scratch` first.
    pub(crate) fn open(mut file: File, scratch: &std::path::Path) -> io::Result<Self> {
        let mut magic = [0; 2];
        let read = file.read(&mut magic)?;
        file.seek(SeekFrom::Start(0))?;
        if read == 2 && magic == [0x1f, 0x8b] {
            let mut plain = tempfile::tempfile_in(scratch)?;
            io::copy(&mut GzDecoder::new(file), &mut plain)?;
            return Self::index(Box::new(plain));
        }
        Self::index(Box::new(file))
    }

    /// An archive in memory.
    pub(crate) fn embedded(bytes: &'static [u8]) -> io::Result<Self> {
        Self::index(Box::new(Cursor::new(bytes)))
    }

    fn index(mut source: Box<dyn Source>) -> io::Result<Self> {
        source.seek(SeekFrom::Start(0))?;
        let mut entries = HashMap::new();
        let mut links = Vec::new();
        for entry in tar::Archive::new(&mut source).entries_with_seek()? {
            let entry = entry?;
            let path = entry.path()?.to_string_lossy().trim_start_matches("./").to_owned();
            match entry.link_name()? {
                // Old `docker save` writes equal layers once and links the others.
                Some(target) => links.push((path, target.to_string_lossy().into_owned())),
                None => {
                    entries.insert(path, (entry.raw_file_position(), entry.size()));
                }
            }
        }
        for (path, target) in links {
            let beside = path.rsplit_once('/').map_or("", |(directory, _)| directory);
            let target = normalize(beside, &target);
            if let Some(place) = entries.get(&target).copied() {
                entries.insert(path, place);
            }
        }
        Ok(Self { source, entries })
    }

    fn document(&mut self, path: &str) -> io::Result<Option<Vec<u8>>> {
        let Some(&(offset, size)) = self.entries.get(path) else { return Ok(None) };
        if size > DOCUMENT_LIMIT {
            return Err(io::Error::other(format!("{path} is {size} bytes long")));
        }
        self.source.seek(SeekFrom::Start(offset))?;
        let mut bytes = Vec::new();
        (&mut self.source).take(size).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    /// Reads up to `limit` bytes of a blob from `position`.
    pub(crate) fn read(&mut self, blob: &Blob, position: u64, limit: u64) -> io::Result<Vec<u8>> {
        match &blob.place {
            Place::Memory(bytes) => {
                Ok(bytes.iter().skip(usize::try_from(position).unwrap_or(usize::MAX)).copied().collect())
            }
            Place::File { offset } => {
                self.source.seek(SeekFrom::Start(offset + position))?;
                let mut bytes = Vec::new();
                (&mut self.source).take(limit.min(blob.size - position)).read_to_end(&mut bytes)?;
                if bytes.is_empty() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                Ok(bytes)
            }
        }
    }

    /// Lists images and content for machines of `architecture` (as OCI names it).
    pub(crate) fn contents(&mut self, architecture: &str) -> io::Result<Contents> {
        let mut contents = Contents::default();
        if let Some(index) = self.document("index.json")? {
            let index: Index = serde_json::from_slice(&index)?;
            for descriptor in index.manifests {
                let name = descriptor.annotations.get("io.containerd.image.name").or_else(|| {
                    descriptor.annotations.get("org.opencontainers.image.ref.name").filter(|name| name.contains('/'))
                });
                let Some(name) = name.cloned() else { continue };
                self.tree(&descriptor, architecture, &mut contents, 0)?;
                contents.images.push((name, descriptor));
            }
        } else if let Some(list) = self.document("manifest.json")? {
            let images: Vec<DockerImage> = serde_json::from_slice(&list)?;
            for image in images {
                self.docker(&image, &mut contents)?;
            }
        }
        if contents.images.is_empty() {
            return Err(io::Error::other("it names no image in index.json or manifest.json"));
        }
        Ok(contents)
    }

    /// Adds a manifest or index with everything below it.
    fn tree(&mut self, root: &Descriptor, architecture: &str, into: &mut Contents, depth: u32) -> io::Result<()> {
        let bytes = self
            .document(&blob_path(&root.digest))?
            .ok_or_else(|| io::Error::other(format!("{} is missing", root.digest)))?;
        let mut labels = HashMap::new();
        if [OCI_INDEX, DOCKER_LIST].contains(&root.media_type.as_str()) && depth < 4 {
            let index: Index = serde_json::from_slice(&bytes)?;
            let wanted = |manifest: &&Descriptor| {
                manifest
                    .platform
                    .as_ref()
                    .is_none_or(|platform| platform.architecture == architecture && platform.os == "linux")
            };
            for (number, manifest) in index.manifests.iter().filter(wanted).enumerate() {
                if self.entries.contains_key(&blob_path(&manifest.digest)) {
                    self.tree(manifest, architecture, into, depth + 1)?;
                    labels.insert(format!("containerd.io/gc.ref.content.m.{number}"), manifest.digest.clone());
                }
            }
        } else {
            let manifest: Manifest = serde_json::from_slice(&bytes)?;
            self.leaf(&manifest.config.digest, into)?;
            for layer in &manifest.layers {
                self.leaf(&layer.digest, into)?;
            }
            labels = manifest_labels(&manifest);
        }
        let size = bytes.len() as u64;
        into.blobs.push(Blob { digest: root.digest.clone(), size, labels, place: Place::Memory(bytes) });
        Ok(())
    }

    fn leaf(&mut self, digest: &str, into: &mut Contents) -> io::Result<()> {
        let &(offset, size) =
            self.entries.get(&blob_path(digest)).ok_or_else(|| io::Error::other(format!("{digest} is missing")))?;
        let place = Place::File { offset };
        into.blobs.push(Blob { digest: digest.into(), size, labels: HashMap::new(), place });
        Ok(())
    }

    /// An old `docker save`: the manifest is ours to make, from the files it names.
    fn docker(&mut self, image: &DockerImage, into: &mut Contents) -> io::Result<()> {
        let mut manifest = Manifest { schema_version: 2, media_type: DOCKER_MANIFEST.into(), ..Default::default() };
        manifest.config = self.file_blob(&image.config, "application/vnd.docker.container.image.v1+json", into)?;
        for layer in &image.layers {
            let descriptor = self.file_blob(layer, "application/vnd.docker.image.rootfs.diff.tar", into)?;
            manifest.layers.push(descriptor);
        }
        let bytes = serde_json::to_vec(&manifest)?;
        let target = Descriptor {
            media_type: DOCKER_MANIFEST.into(),
            digest: format!("sha256:{}", hex(&Sha256::digest(&bytes))),
            size: i64::try_from(bytes.len()).map_err(io::Error::other)?,
            ..Default::default()
        };
        let labels = manifest_labels(&manifest);
        let size = bytes.len() as u64;
        into.blobs.push(Blob { digest: target.digest.clone(), size, labels, place: Place::Memory(bytes) });
        for name in image.repo_tags.iter().flatten() {
            into.images.push((crate::image::name::normalize(name), target.clone()));
        }
        Ok(())
    }

    fn file_blob(&mut self, path: &str, media_type: &str, into: &mut Contents) -> io::Result<Descriptor> {
        let &(offset, size) = self.entries.get(path).ok_or_else(|| io::Error::other(format!("{path} is missing")))?;
        self.source.seek(SeekFrom::Start(offset))?;
        let mut hash = Sha256::new();
        let mut rest = (&mut self.source).take(size);
        let mut buffer = vec![0; 1 << 16];
        loop {
            let read = rest.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            hash.update(buffer.get(..read).unwrap_or_default());
        }
        let digest = format!("sha256:{}", hex(&hash.finalize()));
        let place = Place::File { offset };
        into.blobs.push(Blob { digest: digest.clone(), size, labels: HashMap::new(), place });
        let size = i64::try_from(size).map_err(io::Error::other)?;
        Ok(Descriptor { media_type: media_type.into(), digest, size, ..Default::default() })
    }
}

fn manifest_labels(manifest: &Manifest) -> HashMap<String, String> {
    let layers = manifest.layers.iter().enumerate();
    std::iter::once(("containerd.io/gc.ref.content.config".to_owned(), manifest.config.digest.clone()))
        .chain(layers.map(|(number, layer)| (format!("containerd.io/gc.ref.content.l.{number}"), layer.digest.clone())))
        .collect()
}

fn blob_path(digest: &str) -> String {
    format!("blobs/{}", digest.replacen(':', "/", 1))
}

/// `target` as seen from `directory`, without `..`.
fn normalize(directory: &str, target: &str) -> String {
    let mut parts: Vec<&str> = directory.split('/').filter(|part| !part.is_empty()).collect();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    parts.join("/")
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tar_of(files: &[(&str, &[u8])]) -> &'static [u8] {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, path, *content).unwrap();
        }
        tar.into_inner().unwrap().leak()
    }

    #[test]
    fn an_oci_layout_lists_content_before_what_refers_to_it() {
        let archive: &[u8] = knarr_images::pause_archive().unwrap().leak();
        let contents = Archive::embedded(archive).unwrap().contents("amd64").unwrap();
        let (name, target) = contents.images.first().unwrap();
        assert_eq!(name, knarr_images::PAUSE_NAME);
        assert_eq!(target.media_type, "application/vnd.oci.image.manifest.v1+json");
        let last = contents.blobs.last().unwrap();
        assert_eq!(last.digest, target.digest);
        let present: Vec<&str> = contents.blobs.iter().map(|blob| blob.digest.as_str()).collect();
        assert_eq!(last.labels.len(), 2, "the configuration and one layer");
        assert!(last.labels.values().all(|digest| present.contains(&digest.as_str())));
    }

    #[test]
    fn an_old_docker_archive_gets_a_manifest() {
        let list = br#"[{"Config":"c.json","RepoTags":["busybox:1"],"Layers":["a/layer.tar","b/layer.tar"]}]"#;
        let files: &[(&str, &[u8])] =
            &[("manifest.json", list), ("c.json", b"{}"), ("a/layer.tar", b"AA"), ("b/layer.tar", b"BBB")];
        let mut archive = Archive::embedded(tar_of(files)).unwrap();
        let contents = archive.contents("amd64").unwrap();
        assert_eq!(contents.images.first().unwrap().0, "docker.io/library/busybox:1");
        assert_eq!(contents.blobs.len(), 4);
        for blob in &contents.blobs {
            let bytes = archive.read(blob, 0, 1 << 20).unwrap();
            assert_eq!(format!("sha256:{}", hex(&Sha256::digest(&bytes))), blob.digest);
        }
    }

    #[test]
    fn what_is_no_archive_is_refused() {
        for bytes in [&b"not a tar file at all"[..], tar_of(&[("index.json", b"[]")]), tar_of(&[("a", b"b")])] {
            let read = Archive::embedded(bytes).and_then(|mut archive| archive.contents("amd64").map(|_| ()));
            assert!(read.is_err());
        }
    }

    #[test]
    fn links_stay_inside_the_archive() {
        for (directory, target, expect) in
            [("a", "../b/layer.tar", "b/layer.tar"), ("a", "../../../etc", "etc"), ("", "./x", "x")]
        {
            assert_eq!(normalize(directory, target), expect);
        }
    }
}
