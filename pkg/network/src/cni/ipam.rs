//! Which address belongs to which pod: one file per address, named after it.
//!
//! Files outlive every process of knarr, and two plugins that run at once exclude each other by a lock on the directory. An
//! entry of an earlier boot binds nobody: network namespaces do not survive one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use super::request::PortMapping;
use crate::error::Doing;
use crate::{Cidr, Error, Family, Result};

/// Where the plugin's files are, below knarr's data directory.
pub(super) fn state_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("cni").join("addresses")
}

/// Who has an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Owner {
    pub(super) container: String,
    pub(super) link: String,
    /// DEL must undo these even if its caller does not repeat them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) ports: Vec<PortMapping>,
    boot: String,
}

/// The addresses of a node's pods, locked.
#[derive(Debug)]
pub(super) struct Addresses {
    directory: PathBuf,
    boot: String,
    owners: BTreeMap<IpAddr, Owner>,
    _lock: Flock<File>,
}

impl Addresses {
    /// Waits for the lock and reads what is in use.
    pub(super) fn lock(directory: &Path) -> Result<Self> {
        let boot = knarr_base::clock::boot_id().doing(|| "read the boot id")?;
        std::fs::create_dir_all(directory).doing(|| format!("make {}", directory.display()))?;
        let file = File::open(directory).doing(|| format!("open {}", directory.display()))?;
        let lock = Flock::lock(file, FlockArg::LockExclusive)
            .map_err(|(_, errno)| errno)
            .doing(|| format!("lock {}", directory.display()))?;
        let mut addresses = Self { directory: directory.to_owned(), boot, owners: BTreeMap::new(), _lock: lock };
        addresses.read()?;
        Ok(addresses)
    }

    /// What a container's link has.
    pub(super) fn of(&self, container: &str, link: &str) -> BTreeMap<IpAddr, Owner> {
        let own = |owner: &Owner| owner.container == container && owner.link == link;
        self.owners.iter().filter(|(_, owner)| own(owner)).map(|(ip, owner)| (*ip, owner.clone())).collect()
    }

    /// Everything in use.
    pub(super) fn all(&self) -> &BTreeMap<IpAddr, Owner> {
        &self.owners
    }

    /// Takes an address of `range`: the one after the last one taken, so that an address rests before its next use. The
    /// first address is the range's name, the second the node's own, the last the broadcast address.
    pub(super) fn take(&mut self, range: Cidr, container: &str, link: &str, ports: &[PortMapping]) -> Result<IpAddr> {
        let owner = Owner {
            container: container.to_owned(),
            link: link.to_owned(),
            ports: ports.to_vec(),
            boot: self.boot.clone(),
        };
        let used = self.owners.keys().copied().collect();
        let ip = next_free(range, self.last(range.family()), &used)
            .ok_or_else(|| Error::Config(format!("no address of {range} is free")))?;
        let content = serde_json::to_vec(&owner).map_err(|error| Error::Malformed(error.to_string()))?;
        self.write(&ip.to_string(), &content)?;
        self.write(last_file(range.family()), ip.to_string().as_bytes())?;
        self.owners.insert(ip, owner);
        Ok(ip)
    }

    /// Gives an address back.
    pub(super) fn release(&mut self, ip: IpAddr) -> Result<()> {
        self.owners.remove(&ip);
        let path = self.directory.join(ip.to_string());
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).doing(|| format!("remove {}", path.display()))
            }
            _ => Ok(()),
        }
    }

    fn read(&mut self) -> Result<()> {
        let what = || format!("read {}", self.directory.display());
        for entry in std::fs::read_dir(&self.directory).doing(what)? {
            let entry = entry.doing(what)?;
            let Some(ip) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let content = std::fs::read(entry.path()).doing(|| format!("read {}", entry.path().display()))?;
            // Files are written whole; one that cannot be read was cut by a power failure, which ended its boot.
            if let Some(owner) = serde_json::from_slice(&content).ok().filter(|owner: &Owner| owner.boot == self.boot) {
                self.owners.insert(ip, owner);
            }
        }
        Ok(())
    }

    fn last(&self, family: Family) -> Option<IpAddr> {
        std::fs::read_to_string(self.directory.join(last_file(family))).ok()?.parse().ok()
    }

    fn write(&self, name: &str, content: &[u8]) -> Result<()> {
        let (path, half) = (self.directory.join(name), self.directory.join(".new"));
        let written = File::create(&half).and_then(|mut file| file.write_all(content));
        written.and_then(|()| std::fs::rename(&half, &path)).doing(|| format!("write {}", path.display()))
    }
}

const fn last_file(family: Family) -> &'static str {
    match family {
        Family::V4 => "last-ipv4",
        Family::V6 => "last-ipv6",
    }
}

/// Looks from `last` on, once around.
fn next_free(range: Cidr, last: Option<IpAddr>, used: &BTreeSet<IpAddr>) -> Option<IpAddr> {
    let last = last.filter(|last| range.contains(*last)).unwrap_or_else(|| range.address());
    let free = |ip: &IpAddr| *ip != range.last() && !used.contains(ip);
    let offset = crate::addr::bits(last) - crate::addr::bits(range.address());
    let size = crate::addr::bits(range.last()) - crate::addr::bits(range.address());
    let after = (offset.max(1) + 1)..=size;
    let before = 2..=offset.min(size);
    after.chain(before).filter_map(|offset| range.nth(offset)).find(free)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("knarr-ipam-{}-{name}", std::process::id()));
            let _absent = std::fs::remove_dir_all(&path);
            Self(path)
        }

        fn lock(&self) -> Addresses {
            Addresses::lock(&self.0).unwrap()
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _gone = std::fs::remove_dir_all(&self.0);
        }
    }

    fn range() -> Cidr {
        "10.42.0.0/29".parse().unwrap()
    }

    fn take(addresses: &mut Addresses, container: &str) -> Result<String> {
        addresses.take(range(), container, "eth0", &[]).map(|ip| ip.to_string())
    }

    #[test]
    fn addresses_rest_before_they_are_used_again_and_end() {
        let directory = Directory::new("rest");
        let mut addresses = directory.lock();
        let taken: Vec<_> = (0..3).map(|pod| take(&mut addresses, &pod.to_string()).unwrap()).collect();
        assert_eq!(taken, ["10.42.0.2", "10.42.0.3", "10.42.0.4"]);
        addresses.release("10.42.0.2".parse().unwrap()).unwrap();
        let more: Vec<_> = (3..6).map(|pod| take(&mut addresses, &pod.to_string()).unwrap()).collect();
        assert_eq!(more, ["10.42.0.5", "10.42.0.6", "10.42.0.2"]);
        assert_eq!(take(&mut addresses, "late").unwrap_err().to_string(), "no address of 10.42.0.0/29 is free");
    }

    #[test]
    fn owners_are_there_after_a_restart_but_not_after_a_boot() {
        let directory = Directory::new("boot");
        take(&mut directory.lock(), "a").unwrap();
        take(&mut directory.lock(), "b").unwrap();
        std::fs::write(directory.0.join("10.42.0.4"), r#"{"container":"old","link":"eth0","boot":"earlier"}"#).unwrap();
        std::fs::write(directory.0.join("10.42.0.5"), "").unwrap();
        let mut addresses = directory.lock();
        assert_eq!(addresses.of("b", "eth0").keys().map(ToString::to_string).collect::<Vec<_>>(), ["10.42.0.3"]);
        assert!(addresses.of("old", "eth0").is_empty());
        assert_eq!(take(&mut addresses, "c").unwrap(), "10.42.0.4");
    }

    #[test]
    fn an_ipv6_range_is_searched_lazily() {
        let range: Cidr = "fd00::/64".parse().unwrap();
        let used = BTreeSet::from(["fd00::2".parse().unwrap()]);
        assert_eq!(next_free(range, None, &used), Some("fd00::3".parse().unwrap()));
    }
}
