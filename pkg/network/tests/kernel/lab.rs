//! Small networks of namespaces, made for one test and removed with it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use knarr_network::netlink::Netns;

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A namespace with an own name; its links, addresses and tables vanish with it.
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) netns: Netns,
}

impl Host {
    /// A new namespace with its loopback link up.
    pub(crate) fn new(role: &str) -> Self {
        let name = format!("kt{}-{}-{role}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        sh(&format!("ip netns add {name}"));
        let netns = Netns::open(&PathBuf::from(format!("/run/netns/{name}"))).unwrap();
        let host = Self { name, netns };
        host.sh("ip link set lo up");
        host
    }

    /// Where the namespace is mounted.
    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/run/netns/{}", self.name))
    }

    /// Runs a shell command inside and returns what it wrote.
    pub(crate) fn sh(&self, command: &str) -> String {
        sh(&format!("nsenter --net=/run/netns/{} sh -c '{command}'", self.name))
    }

    /// Runs `work` inside.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.netns.inside(|| Ok(work())).unwrap()
    }

    /// Runs async `work` inside.
    pub(crate) fn block_on<T: Send>(&self, work: impl Future<Output = T> + Send) -> T {
        // Everything runs in the one thread that is inside, programs that it starts too.
        self.run(|| tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work))
    }

    /// Answers each connection to `port` with the client's address, until the test ends.
    pub(crate) fn serve(&self, port: u16) -> JoinHandle<()> {
        self.serve_as(port, "")
    }

    /// As [`Host::serve`], and signs the answer.
    pub(crate) fn serve_as(&self, port: u16, name: &'static str) -> JoinHandle<()> {
        let listener = self.run(|| TcpListener::bind(("0.0.0.0", port)).unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let _client_left = write!(stream, "{}{name}", stream.peer_addr().unwrap().ip());
            }
        })
    }

    /// What a server at `address` sees of this host, or why there is no answer.
    pub(crate) fn ask(&self, address: impl AsRef<str>) -> Result<String, std::io::ErrorKind> {
        let address: SocketAddr = address.as_ref().parse().unwrap();
        self.run(|| {
            let mut stream =
                TcpStream::connect_timeout(&address, Duration::from_secs(2)).map_err(|error| error.kind())?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).map_err(|error| error.kind())?;
            Ok(answer)
        })
    }

    /// Connects two hosts by a link of the same name, with one address each.
    pub(crate) fn wire(&self, link: &str, address: &str, other: &Self, other_address: &str) {
        sh(&format!("ip link add {link} netns {} type veth peer name {link} netns {}", self.name, other.name));
        for (host, address) in [(self, address), (other, other_address)] {
            host.sh(&format!("ip addr add {address} dev {link}; ip link set {link} up"));
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let removed = Command::new("ip").args(["netns", "del", &self.name]).status();
        assert!(removed.is_ok_and(|status| status.success()) || std::thread::panicking(), "{} stays", self.name);
    }
}

/// Runs a shell command and returns what it wrote.
pub(crate) fn sh(command: &str) -> String {
    let output = Command::new("sh").args(["-ec", command]).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

/// A directory of one test.
pub(crate) struct Directory(pub(crate) PathBuf);

impl Directory {
    pub(crate) fn new() -> Self {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("knarr-network-{}-{count}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

/// Waits for a condition, for ten seconds.
pub(crate) fn eventually<T: PartialEq + std::fmt::Debug>(expected: T, mut look: impl FnMut() -> T) {
    let start = std::time::Instant::now();
    loop {
        let seen = look();
        if seen == expected {
            return;
        }
        assert!(start.elapsed() < Duration::from_secs(10), "still {seen:?} instead of {expected:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
