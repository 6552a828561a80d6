//! A real etcd for tests: TLS, client certificates required, ports that are free, nothing left behind.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

use crate::netns;
use crate::wait::until;

/// A chosen port may be taken before etcd listens on it.
const ATTEMPTS: usize = 5;

/// The running members of one etcd. Dropping it ends them.
#[derive(Debug)]
pub struct Etcd {
    members: Vec<Member>,
    directory: TempDir,
    namespace: PathBuf,
}

#[derive(Debug)]
struct Member {
    name: String,
    client: u16,
    peer: u16,
    process: Option<Child>,
}

impl Etcd {
    /// Starts that many members on loopback ports of this network.
    ///
    /// # Errors
    /// When there is no etcd, or it does not start; with its log.
    pub fn start(members: usize) -> Result<Self> {
        Self::start_in(Path::new("/proc/self/ns/net"), members)
    }

    /// Like [`Etcd::start`], in the network namespace of that file.
    ///
    /// # Errors
    /// As [`Etcd::start`].
    pub fn start_in(namespace: &Path, members: usize) -> Result<Self> {
        let mut failure = None;
        for _ in 0..ATTEMPTS {
            match Self::try_start(namespace, members) {
                Ok(etcd) => return Ok(etcd),
                Err(error) => failure = Some(error),
            }
        }
        bail!("etcd does not start: {:#}", failure.context("it was not tried")?)
    }

    fn try_start(namespace: &Path, members: usize) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        certificates(directory.path()).context("certificates")?;
        let mut ports = free_ports(namespace, 2 * members)?.into_iter();
        let mut next = || ports.next().context("too few ports");
        let member =
            |index| anyhow::Ok(Member { name: format!("m{index}"), client: next()?, peer: next()?, process: None });
        let members = (0..members).map(member).collect::<Result<_>>()?;
        let mut etcd = Self { members, directory, namespace: namespace.to_owned() };
        for index in 0..etcd.members.len() {
            etcd.launch(index)?;
        }
        for index in 0..etcd.members.len() {
            etcd.wait(index)?;
        }
        Ok(etcd)
    }

    /// The URLs for clients.
    #[must_use]
    pub fn servers(&self) -> Vec<String> {
        self.members.iter().map(|member| format!("https://127.0.0.1:{}", member.client)).collect()
    }

    /// The certificate authority of both sides.
    #[must_use]
    pub fn ca_file(&self) -> PathBuf {
        self.directory.path().join("ca.crt")
    }

    /// The certificate for clients.
    #[must_use]
    pub fn cert_file(&self) -> PathBuf {
        self.directory.path().join("client.crt")
    }

    /// Its key.
    #[must_use]
    pub fn key_file(&self) -> PathBuf {
        self.directory.path().join("client.key")
    }

    /// Ends one member as a crash would.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub fn kill(&mut self, member: usize) -> Result<()> {
        let process = self.members.get_mut(member).and_then(|member| member.process.take());
        let mut process = process.context("the member does not run")?;
        process.kill()?;
        process.wait()?;
        Ok(())
    }

    /// Starts a member again with what it has on disk.
    ///
    /// # Errors
    /// When it does not start.
    pub fn restart(&mut self, member: usize) -> Result<()> {
        self.launch(member)?;
        self.wait(member)
    }

    fn launch(&mut self, index: usize) -> Result<()> {
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let cluster: Vec<_> = self.members.iter().map(|it| format!("{}={}", it.name, url(it.peer))).collect();
        let member = self.members.get_mut(index).context("no such member")?;
        let file = |name: &str| self.directory.path().join(name);
        let client = format!("https://127.0.0.1:{}", member.client);
        let log = File::options().create(true).append(true).open(file(&format!("{}.log", member.name)))?;
        // Ends with the thread that started it, whatever happens to that.
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.namespace.display())).args(["--", "setpriv", "--pdeathsig", "KILL", "--"]);
        command.args(["etcd", "--logger", "zap", "--log-level", "warn", "--name", &member.name]);
        command.args(["--heartbeat-interval", "20", "--election-timeout", "200", "--client-cert-auth"]);
        command.arg("--data-dir").arg(file(&member.name));
        command.arg("--trusted-ca-file").arg(self.directory.path().join("ca.crt"));
        command.arg("--cert-file").arg(file("server.crt")).arg("--key-file").arg(file("server.key"));
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &url(member.peer), "--initial-advertise-peer-urls", &url(member.peer)]);
        command.args(["--initial-cluster", &cluster.join(",")]);
        let process = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn();
        member.process = Some(process.context("cannot start nsenter")?);
        Ok(())
    }

    /// Waits until a member takes connections.
    fn wait(&mut self, index: usize) -> Result<()> {
        let log = self.directory.path().join(format!("m{index}.log"));
        let member = self.members.get_mut(index).context("no such member")?;
        let address = SocketAddr::from(([127, 0, 0, 1], member.client));
        let namespace = self.namespace.clone();
        let log = move || fs::read_to_string(&log).unwrap_or_default();
        until("etcd takes connections", Duration::from_secs(20), || {
            let process = member.process.as_mut().and_then(|process| process.try_wait().ok().flatten());
            if let Some(status) = process {
                return Ok(Err(anyhow::anyhow!("etcd ended with {status}")));
            }
            let connect = move || Ok(TcpStream::connect_timeout(&address, Duration::from_secs(1))?);
            netns::inside(namespace.clone(), connect).map(|_| Ok(())).map_err(|error| format!("{error:#}"))
        })
        .and_then(|ended| ended)
        .with_context(log)
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        for process in self.members.iter_mut().filter_map(|member| member.process.as_mut()) {
            // What has ended already needs no killing.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn free_ports(namespace: &Path, count: usize) -> Result<Vec<u16>> {
    netns::inside(namespace.to_owned(), move || {
        let bound = (0..count).map(|_| TcpListener::bind(("127.0.0.1", 0))).collect::<Result<Vec<_>, _>>()?;
        bound.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
    })
}

/// An authority, and a certificate by it for each side.
fn certificates(directory: &Path) -> Result<()> {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
    fs::write(directory.join("ca.crt"), authority.pem())?;
    for (name, names) in [("server", vec!["127.0.0.1".to_owned()]), ("client", Vec::new())] {
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(names)?.signed_by(&key, &authority)?;
        fs::write(directory.join(format!("{name}.crt")), certificate.pem())?;
        fs::write(directory.join(format!("{name}.key")), key.serialize_pem())?;
    }
    Ok(())
}
