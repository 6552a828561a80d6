//! Image references as users write them, and as containerd stores them.
//! <https://pkg.go.dev/github.com/distribution/reference>

/// The full form of a reference: `busybox` is `docker.io/library/busybox:latest`.
pub(crate) fn normalize(reference: &str) -> String {
    let (name, digest) = match reference.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (reference, None),
    };
    let full = match name.split_once('/') {
        Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => {
            if host == "docker.io" && !rest.contains('/') {
                format!("docker.io/library/{rest}")
            } else {
                name.to_owned()
            }
        }
        Some(_) => format!("docker.io/{name}"),
        None => format!("docker.io/library/{name}"),
    };
    match (digest, tag(&full)) {
        (Some(digest), _) => format!("{full}@{digest}"),
        (None, Some(_)) => full,
        (None, None) => format!("{full}:latest"),
    }
}

/// The tag of a reference; `None` when it has none, or a digest.
pub(crate) fn tag(reference: &str) -> Option<&str> {
    if reference.contains('@') {
        return None;
    }
    let last = reference.rsplit('/').next().unwrap_or(reference);
    last.split_once(':').map(|(_, tag)| tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_completed() {
        for (written, full) in [
            ("busybox", "docker.io/library/busybox:latest"),
            ("busybox:1.36", "docker.io/library/busybox:1.36"),
            ("library/busybox", "docker.io/library/busybox:latest"),
            ("docker.io/busybox", "docker.io/library/busybox:latest"),
            ("me/tool:2", "docker.io/me/tool:2"),
            ("localhost/tool", "localhost/tool:latest"),
            ("host:5000/tool", "host:5000/tool:latest"),
            ("registry.k8s.io/pause:3.10.1", "registry.k8s.io/pause:3.10.1"),
            ("busybox@sha256:00", "docker.io/library/busybox@sha256:00"),
        ] {
            assert_eq!(normalize(written), full);
        }
    }
}
