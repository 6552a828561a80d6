//! What this machine is.

use std::collections::BTreeMap;
use std::path::Path;

use k8s_openapi::api::core::v1::NodeSystemInfo;

/// The machine.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) cpus: i64,
    /// Bytes.
    pub(crate) memory: i64,
    /// Bytes of each huge page size, by its name in the API.
    pub(crate) huge_pages: BTreeMap<String, i64>,
    /// Bytes of the file system of the data directory.
    pub(crate) disk: i64,
    /// Versions still empty.
    pub(crate) info: NodeSystemInfo,
}

impl Facts {
    /// Looks at the machine.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub(crate) fn look(data: &Path) -> std::io::Result<Self> {
        let read = |path: &str| std::fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default();
        let memory = memory(&std::fs::read_to_string("/proc/meminfo")?);
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let machine_id = read("/etc/machine-id");
        let uuid = read("/sys/class/dmi/id/product_uuid");
        let os = std::fs::read_to_string("/etc/os-release").or_else(|_| std::fs::read_to_string("/usr/lib/os-release"));
        let info = NodeSystemInfo {
            architecture: crate::containerd::architecture().into(),
            boot_id: knarr_base::clock::boot_id()?,
            kernel_version: read("/proc/sys/kernel/osrelease"),
            operating_system: "linux".into(),
            os_image: os_image(&os.unwrap_or_default()),
            system_uuid: if uuid.is_empty() { machine_id.clone() } else { uuid },
            machine_id,
            ..NodeSystemInfo::default()
        };
        let (disk, _) = crate::image::gc::disk(data).unwrap_or_default();
        Ok(Self {
            cpus: i64::try_from(cpus).unwrap_or(1),
            memory: memory.total,
            huge_pages: huge_pages(Path::new("/sys/kernel/mm/hugepages")),
            disk: i64::try_from(disk).unwrap_or(i64::MAX),
            info,
        })
    }
}

/// Bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) total: i64,
    pub(crate) available: i64,
}

/// Reads `/proc/meminfo`.
pub(crate) fn memory(meminfo: &str) -> Memory {
    let field = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|rest| rest.split_whitespace().next()?.parse::<i64>().ok()).unwrap_or(0) * 1024
    };
    Memory { total: field("MemTotal"), available: field("MemAvailable") }
}

fn os_image(os_release: &str) -> String {
    let name = os_release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map_or_else(|| "Linux".to_owned(), |name| name.trim_matches('"').to_owned())
}

/// Sizes and amounts, for example `hugepages-2Mi`: 0.
fn huge_pages(directory: &Path) -> BTreeMap<String, i64> {
    let mut pages = BTreeMap::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let size = name
            .strip_prefix("hugepages-")
            .and_then(|name| name.strip_suffix("kB"))
            .and_then(|size| size.parse::<i64>().ok());
        let count = std::fs::read_to_string(entry.path().join("nr_hugepages"))
            .ok()
            .and_then(|text| text.trim().parse::<i64>().ok());
        if let (Some(kilobytes), Some(count)) = (size, count) {
            let written = match kilobytes {
                size if size % (1 << 20) == 0 => format!("{}Gi", size >> 20),
                size if size % (1 << 10) == 0 => format!("{}Mi", size >> 10),
                size => format!("{size}Ki"),
            };
            pages.insert(format!("hugepages-{written}"), count * kilobytes * 1024);
        }
    }
    pages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_describes_itself() {
        let text = "MemTotal:       24681234 kB\nMemFree: 1 kB\nMemAvailable:   20000000 kB\n";
        assert_eq!(memory(text), Memory { total: 24_681_234 * 1024, available: 20_000_000 * 1024 });
        assert_eq!(
            os_image("ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n"),
            "Debian GNU/Linux 12 (bookworm)"
        );
        let directory = tempfile::tempdir().unwrap();
        for (name, count) in [("hugepages-2048kB", "4\n"), ("hugepages-1048576kB", "0\n")] {
            std::fs::create_dir(directory.path().join(name)).unwrap();
            std::fs::write(directory.path().join(name).join("nr_hugepages"), count).unwrap();
        }
        let pages = huge_pages(directory.path());
        assert_eq!(pages, [("hugepages-1Gi".to_owned(), 0), ("hugepages-2Mi".to_owned(), 8 << 20)].into());
    }
}
