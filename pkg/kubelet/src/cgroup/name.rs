//! Names of groups, and how each driver spells them.

/// A path of components below the root of all cgroups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Name(Vec<String>);

/// Quality of service of a pod (<https://kubernetes.io/docs/concepts/workloads/pods/pod-qos/>).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Qos {
    /// Every container has limits equal to its requests.
    Guaranteed,
    /// Something is requested or limited.
    Burstable,
    /// Nothing is.
    BestEffort,
}

impl Qos {
    pub(crate) const ALL: [Self; 3] = [Self::Guaranteed, Self::Burstable, Self::BestEffort];

    /// As `status.qosClass` spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Guaranteed => "Guaranteed",
            Self::Burstable => "Burstable",
            Self::BestEffort => "BestEffort",
        }
    }

    /// The group of this class below the group of all pods.
    pub(crate) fn below(self, pods: &Name) -> Name {
        match self {
            Self::Guaranteed => pods.clone(),
            Self::Burstable => pods.child("burstable"),
            Self::BestEffort => pods.child("besteffort"),
        }
    }
}

impl Name {
    pub(crate) fn parse(path: &str) -> Self {
        Self(path.split('/').filter(|part| !part.is_empty()).map(Into::into).collect())
    }

    pub(crate) fn child(&self, name: &str) -> Self {
        Self(self.0.iter().map(String::as_str).chain([name]).map(Into::into).collect())
    }

    /// `/kubepods/burstable/pod1-2`.
    pub(crate) fn path(&self) -> String {
        format!("/{}", self.0.join("/"))
    }

    /// `kubepods-burstable-pod1_2.slice`: a dash separates levels, so those inside a component become underscores.
    pub(crate) fn slice(&self) -> String {
        let parts: Vec<String> = self.0.iter().map(|part| part.replace('-', "_")).collect();
        format!("{}.slice", parts.join("-"))
    }

    /// Where systemd puts that slice: `/kubepods.slice/kubepods-burstable.slice/...`.
    pub(crate) fn slice_path(&self) -> String {
        (1..=self.0.len())
            .map(|depth| format!("/{}", Self(self.0.iter().take(depth).cloned().collect()).slice()))
            .collect()
    }
}

/// The pod whose group has this directory name, in either spelling.
pub(crate) fn pod_uid(directory: &str) -> Option<String> {
    let plain = directory.strip_suffix(".slice").map_or(directory, |slice| slice.rsplit('-').next().unwrap_or(slice));
    let uid = plain.strip_prefix("pod")?;
    let spelled = if directory.ends_with(".slice") { uid.replace('_', "-") } else { uid.to_owned() };
    (!spelled.is_empty()).then_some(spelled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_drivers_spell_a_pod_as_upstream_does() {
        let pod = Qos::Burstable.below(&Name::parse("/").child("kubepods")).child("pod12-ab");
        assert_eq!(pod.path(), "/kubepods/burstable/pod12-ab");
        assert_eq!(pod.slice(), "kubepods-burstable-pod12_ab.slice");
        assert_eq!(pod.slice_path(), "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod12_ab.slice");
        let lab = Qos::Guaranteed.below(&Name::parse("/lab/n-1").child("kubepods")).child("pod1");
        assert_eq!(
            (lab.path().as_str(), lab.slice().as_str()),
            ("/lab/n-1/kubepods/pod1", "lab-n_1-kubepods-pod1.slice")
        );
    }

    #[test]
    fn a_directory_tells_its_pod() {
        for (directory, uid) in [
            ("pod12-ab", Some("12-ab")),
            ("kubepods-burstable-pod12_ab.slice", Some("12-ab")),
            ("burstable", None),
            ("kubepods-burstable.slice", None),
            ("pod", None),
        ] {
            assert_eq!(pod_uid(directory).as_deref(), uid, "{directory}");
        }
    }
}
