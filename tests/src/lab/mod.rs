//! A lab: one knarr node and a second host on a small virtual LAN, apart from the machine's own network.
//!
//! ```text
//! machine                        NAME-node (network namespace)         NAME-lan (network namespace)
//! 127.0.0.1:6443  ==passed==>    knarr, containerd, pods
//!                                lan0 192.168.1.10/24  ---- veth ----  lan0 192.168.1.2/24
//! ```
//!
//! Everything of the node lives under one *holder*: the first process of a PID namespace with a private mount namespace,
//! in `NAME-node`. When the holder dies, the kernel ends every process and mount of the node: that is what `reset` uses, and
//! what a test calls a reboot.

mod cgroup;
pub mod holder;
mod inside;
mod net;
mod paths;

use std::fs;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::command::{output, run};
use crate::wait::until;
pub use inside::Host;
pub use paths::Paths;

/// The address of the node on the lab's LAN.
pub const NODE_ADDRESS: &str = "192.168.1.10";
/// The address of the other host on the lab's LAN.
pub const LAN_ADDRESS: &str = "192.168.1.2";
/// The lab of `make run`.
pub const USUAL_NAME: &str = "knarr-lab";
/// Longest name: with `-node` it must still be a link and namespace name that people can read.
const MAX_NAME: usize = 11;

/// One lab of this machine, running or not.
#[derive(Clone, Debug)]
pub struct Lab {
    name: String,
    binary: PathBuf,
    paths: Paths,
    arguments: Vec<String>,
}

impl Lab {
    /// A lab of that name whose node runs `binary`; `files` is where scripts find `kubeconfig` and `knarr.pid`.
    ///
    /// # Errors
    /// When the name cannot be one of links and directories.
    pub fn new(name: &str, binary: &Path, files: &Path) -> Result<Self> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(plain) || name.starts_with('-') {
            bail!("LAB={name}: a lab's name is 1 to {MAX_NAME} lower-case letters, digits and dashes");
        }
        let binary =
            binary.canonicalize().with_context(|| format!("{} does not exist: build it first", binary.display()))?;
        Ok(Self { name: name.into(), binary, paths: Paths::new(name, files), arguments: Vec::new() })
    }

    /// Adds arguments to `knarr server`.
    #[must_use]
    pub fn with_arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|&argument| argument.to_owned()));
        self
    }

    /// The lab's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where the lab keeps its files.
    #[must_use]
    pub fn paths(&self) -> &Paths {
        &self.paths
    }

    /// Makes sure that the lab's networks, cgroups, holder and server run, and that kubectl can reach the server.
    ///
    /// # Errors
    /// When another checkout owns the lab, or something cannot be made or started; what was made stays for `reset`.
    pub fn up(&self) -> Result<()> {
        self.boot()?;
        if self.server_pid().is_none() {
            self.add_images()?;
            self.start_server()?;
        }
        self.wait_for_api()
    }

    /// The first half of [`Lab::up`]: everything but the server.
    ///
    /// # Errors
    /// As [`Lab::up`].
    pub fn boot(&self) -> Result<()> {
        if !nix::unistd::geteuid().is_root() {
            bail!("a lab needs root: it makes network namespaces and starts containers");
        }
        self.paths.claim()?;
        if self.holder().is_none() {
            net::make(&self.name)?;
            cgroup::make(&self.name)?;
            self.start_holder()?;
        }
        Ok(())
    }

    /// Stops the server as a service supervisor would, and waits for its end. Pods, containerd, DNS and flows go on.
    ///
    /// # Errors
    /// When it does not end within half a minute.
    pub fn stop(&self) -> Result<()> {
        self.signal_server("TERM")
    }

    /// Kills the server as a crash would, and waits until it is gone.
    ///
    /// # Errors
    /// When it does not go away.
    pub fn kill_server(&self) -> Result<()> {
        self.signal_server("KILL")
    }

    fn signal_server(&self, signal: &str) -> Result<()> {
        let Some(pid) = self.server_pid() else { return Ok(()) };
        // The launcher's nsenter holds the listener as its standard input until it has seen the server end.
        let parent = holder::parent(pid);
        run("kill", &["-s", signal, &pid.to_string()])?;
        until("the server ends", Duration::from_secs(30), || match (self.server_pid(), parent) {
            (Some(now), _) if now == pid => Err(format!("process {pid} still runs")),
            (_, Some(parent)) if holder::runs(parent, &["nsenter"]) => Err(format!("its nsenter {parent} still runs")),
            _ => Ok(()),
        })?;
        remove_file(&self.paths.pid_file())
    }

    /// Turns the node off, and makes it a machine that has never seen knarr but for the images of its cache.
    ///
    /// # Errors
    /// As [`Lab::power_off`]; or when something cannot be removed.
    pub fn wipe(&self) -> Result<()> {
        self.power_off()?;
        self.paths.wipe()
    }

    /// Gives the node another address on the lab's LAN, in place of the one that it has.
    ///
    /// # Errors
    /// When the lab is not up.
    pub fn readdress(&self, address: &str) -> Result<()> {
        let namespace = format!("{}-node", self.name);
        run("ip", &["-n", &namespace, "address", "flush", "dev", "lan0"])?;
        run("ip", &["-n", &namespace, "address", "add", &format!("{address}/24"), "dev", "lan0"])?;
        Ok(())
    }

    /// Ends every process of the node at once, as a power cut would; state on disk stays.
    ///
    /// # Errors
    /// When the node's processes do not go away.
    pub fn power_off(&self) -> Result<()> {
        if let Some(holder) = self.holder() {
            run("kill", &["-s", "KILL", &holder.to_string()])?;
            until("the node's processes end", Duration::from_secs(30), || match self.holder() {
                Some(pid) => Err(format!("holder {pid} still runs")),
                None => Ok(()),
            })?;
        }
        cgroup::remove(&self.name)?;
        net::remove(&self.name)?;
        remove_file(&self.paths.pid_file())
    }

    /// Removes every trace of the lab. Safe to repeat, also on a lab that never was.
    ///
    /// # Errors
    /// When another checkout owns the lab or something resists.
    pub fn reset(&self) -> Result<()> {
        self.paths.check_owner()?;
        self.power_off()?;
        self.paths.remove()
    }

    /// A command that runs inside the node: its network, mounts and processes.
    ///
    /// # Errors
    /// When the lab is not up.
    pub fn on_node(&self, program: &str) -> Result<Command> {
        let holder = self.holder().with_context(|| format!("lab {} is not up", self.name))?;
        let mut command = Command::new("nsenter");
        command.args(["--target", &holder.to_string(), "--mount", "--net", "--pid", "--wd=/", "--", program]);
        Ok(command)
    }

    /// A command that runs on the LAN's other host.
    #[must_use]
    pub fn on_lan(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}-lan", self.name)).args(["--", program]);
        command
    }

    /// `kubectl` as the administrator, from the machine's own namespace.
    #[must_use]
    pub fn kubectl(&self) -> Command {
        let mut command = Command::new("kubectl");
        command.arg("--kubeconfig").arg(self.paths.kubeconfig());
        // By default it is kept in the home directory for ever, under the server's port.
        command.arg("--cache-dir").arg(self.paths.run().join("kubectl"));
        command
    }

    /// Runs kubectl and gives back its output.
    ///
    /// # Errors
    /// When kubectl fails; with what it printed.
    pub fn kubectl_output(&self, arguments: &[&str]) -> Result<String> {
        output(self.kubectl().args(arguments))
    }

    /// The pid of the running server, in the machine's own PID namespace.
    #[must_use]
    pub fn server_pid(&self) -> Option<u32> {
        let pid = fs::read_to_string(self.paths.pid_file()).ok()?.trim().parse().ok()?;
        self.is_server(pid).then_some(pid)
    }

    /// The pid in a file may be another process by now, even another lab's server: the run directory tells them apart.
    fn is_server(&self, pid: u32) -> bool {
        holder::runs(pid, &["server", &self.name])
    }

    /// The pid of the holder, if the node is up.
    #[must_use]
    pub fn holder(&self) -> Option<u32> {
        let pid = fs::read_to_string(self.paths.holder_pid_file()).ok()?.trim().parse().ok()?;
        holder::runs(pid, &[&self.name, holder::COMMAND]).then_some(pid)
    }

    /// Puts the archives of the example images where the node imports images from, unless those of this build are there.
    fn add_images(&self) -> Result<()> {
        let (directory, images) = (self.paths.state().join("images"), self.binary.with_file_name("images"));
        let changed = |path: &Path| fs::metadata(path).and_then(|file| file.modified());
        let built = changed(&images).with_context(|| format!("{} is not built", images.display()))?;
        if !changed(&directory.join("web.tar")).is_ok_and(|made| made > built) {
            let busybox = run("sh", &["-c", "command -v busybox"]).context("busybox is missing")?;
            output(Command::new(images).arg(&directory).args(["--busybox", busybox.trim()]))?;
        }
        Ok(())
    }

    fn start_holder(&self) -> Result<()> {
        let launcher =
            std::env::var_os("KNARR_LAB_LAUNCHER").map_or_else(|| self.binary.with_file_name("lab"), PathBuf::from);
        let mut holder = Command::new("nsenter");
        holder.arg(format!("--net=/run/netns/{}-node", self.name)).args([
            "unshare",
            "--mount",
            "--pid",
            "--fork",
            "--propagation=private",
            "--mount-proc",
            "--",
        ]);
        holder.arg(&launcher).args(["--name", &self.name, holder::COMMAND]);
        remove_file(&self.paths.run().join("holder.ready"))?;
        let log = fs::File::create(self.paths.run().join("holder.log"))?;
        let unshare = holder
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", launcher.display()))?;
        let pid = until("the node's holder starts", Duration::from_secs(10), || {
            let pid = holder::only_child(unshare.id())?;
            // The ready file is made by the holder once its private mounts are in place.
            if self.paths.run().join("holder.ready").exists() { Ok(pid) } else { Err("not ready".to_owned()) }
        })
        .with_context(|| fs::read_to_string(self.paths.run().join("holder.log")).unwrap_or_default())?;
        fs::write(self.paths.holder_pid_file(), pid.to_string())?;
        cgroup::attach(&self.name, pid)
    }

    /// Starts `knarr server` inside the node and hands it a listener of the machine's own namespace by socket activation
    /// (`sd_listen_fds(3)`): the listener travels as standard input and becomes descriptor 3.
    fn start_server(&self) -> Result<()> {
        let listener = self.paths.listener()?;
        let address = listener.local_addr()?;
        let log = fs::File::options().create(true).append(true).open(self.paths.log())?;
        let activate = "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=api exec setsid \"$@\"";
        let mut command = self.on_node("sh")?;
        command.args(["-c", activate, "sh"]).arg(&self.binary).args([
            "server",
            "--data-dir",
            &self.paths.state().to_string_lossy(),
            "--run-dir",
            &self.paths.run().to_string_lossy(),
            "--node-name",
            &format!("{}-node", self.name),
            "--cgroup-root",
            &format!("/{}", self.name),
            "--tls-san",
            "127.0.0.1",
        ]);
        if !self.arguments.iter().any(|argument| argument.starts_with("--node-ip")) {
            command.args(["--node-ip", NODE_ADDRESS]);
        }
        command.args(&self.arguments);
        let child = command
            .stdin(Stdio::from(OwnedFd::from(listener)))
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start the server")?;
        let pid = until("the server starts", Duration::from_secs(10), || {
            let pid = holder::only_child(child.id())?;
            if self.is_server(pid) { Ok(pid) } else { Err(format!("process {pid} is not knarr yet")) }
        })
        .with_context(|| self.log_tail())?;
        cgroup::attach(&self.name, pid)?;
        fs::write(self.paths.pid_file(), pid.to_string())?;
        fs::write(self.paths.address_file(), address.to_string())?;
        Ok(())
    }

    fn wait_for_api(&self) -> Result<()> {
        let address = fs::read_to_string(self.paths.address_file())?;
        until("the API server is ready", Duration::from_secs(30), || {
            // It will not be ready any more.
            if self.server_pid().is_none() {
                return Ok(Err(anyhow::anyhow!("the server has ended")));
            }
            self.write_kubeconfig(&address).map_err(|error| format!("{error:#}"))?;
            self.kubectl_output(&["get", "--raw", "/readyz"]).map(|_| Ok(())).map_err(|error| format!("{error:#}"))
        })
        .and_then(|ready| ready)
        .with_context(|| self.log_tail())
    }

    /// The administrator's kubeconfig with the address that the machine's own namespace can reach.
    fn write_kubeconfig(&self, address: &str) -> Result<()> {
        let own = fs::read_to_string(self.paths.state().join("admin.kubeconfig"))?;
        let mut text = String::with_capacity(own.len());
        for line in own.lines() {
            match line.split_once("server: ") {
                Some((indent, _)) => text.push_str(&format!("{indent}server: https://{address}\n")),
                None => text.extend([line, "\n"]),
            }
        }
        self.paths.write_private(&self.paths.kubeconfig(), &text)
    }

    /// The last lines of the server's log, for error messages.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let log = fs::read_to_string(self.paths.log()).unwrap_or_default();
        let lines: Vec<_> = log.lines().rev().take(15).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

/// A listener on 127.0.0.1: on the preferred port when it is free, else on any.
fn listen(preferred: u16) -> Result<TcpListener> {
    TcpListener::bind(("127.0.0.1", preferred))
        .or_else(|_| TcpListener::bind(("127.0.0.1", 0)))
        .context("cannot listen on 127.0.0.1")
}

fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
