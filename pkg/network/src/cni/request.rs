//! What the plugin is asked, and how it says no.

use std::fmt::Display;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::result::Version;
use crate::{Cidr, Error};

/// `CNI_COMMAND`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Connects a container.
    Add,
    /// Undoes ADD; succeeds when there is nothing to undo.
    Del,
    /// Looks whether everything that ADD made is there.
    Check,
    /// Says which versions of the specification are spoken.
    Version,
    /// Undoes the ADD of all containers but those named.
    Gc,
    /// Says whether ADD would work.
    Status,
}

/// One call of the plugin.
#[derive(Clone, Debug)]
pub struct Request {
    /// What to do.
    pub command: Command,
    /// `CNI_CONTAINERID`; empty where the command has none.
    pub container: String,
    /// `CNI_NETNS`; `None` when the namespace is gone already, or the command has none.
    pub netns: Option<PathBuf>,
    /// `CNI_IFNAME`.
    pub link: String,
    /// Standard input.
    pub config: Config,
}

/// The network configuration.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Config {
    /// The version of the specification that the caller speaks.
    pub cni_version: String,
    /// The name of the network.
    pub name: String,
    /// The plugin's name: `knarr` or `loopback`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What the runtime adds.
    pub runtime_config: RuntimeConfig,
    /// Who is still alive, for GC.
    #[serde(rename = "cni.dev/valid-attachments")]
    pub valid_attachments: Vec<Attachment>,
    /// knarr's own: where addresses in use are recorded.
    pub state_dir: Option<PathBuf>,
    /// knarr's own: the ranges of this node's pods, at most one per family.
    pub subnets: Vec<Cidr>,
    /// knarr's own: the largest packet that pods may send.
    pub mtu: u32,
}

/// `runtimeConfig`, as far as this plugin has the capability.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RuntimeConfig {
    /// The `hostPort`s of the pod's containers.
    pub port_mappings: Vec<PortMapping>,
}

/// A port of the node that leads to the pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PortMapping {
    /// The node's port.
    pub host_port: u16,
    /// The pod's port.
    pub container_port: u16,
    /// The transport.
    #[serde(default)]
    pub protocol: Protocol,
    /// Only this address of the node; empty or unspecified means all.
    #[serde(default, rename = "hostIP")]
    pub host_ip: String,
}

/// A transport protocol. Callers write it in either case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    #[default]
    #[serde(alias = "TCP")]
    Tcp,
    /// UDP.
    #[serde(alias = "UDP")]
    Udp,
    /// SCTP.
    #[serde(alias = "SCTP")]
    Sctp,
}

impl Protocol {
    /// As nftables writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

impl PortMapping {
    /// The one address of the node that it applies to, if it is limited to one.
    #[must_use]
    pub fn host_address(&self) -> Option<IpAddr> {
        self.host_ip.parse().ok().filter(|address: &IpAddr| !address.is_unspecified())
    }
}

/// An attachment that must not be collected.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Attachment {
    /// Its container.
    #[serde(rename = "containerID")]
    pub container: String,
    /// Its link.
    #[serde(rename = "ifname")]
    pub link: String,
}

/// An error in the form that the specification gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    code: u32,
    message: String,
    details: String,
    version: String,
}

impl Failure {
    /// The caller's version of the specification is not spoken.
    pub const INCOMPATIBLE_VERSION: u32 = 1;
    /// An environment variable is missing or wrong.
    pub const INVALID_ENVIRONMENT: u32 = 4;
    /// The system did not do what it was asked.
    pub const IO: u32 = 5;
    /// Standard input is no JSON of the expected form.
    pub const DECODE: u32 = 6;
    /// The configuration makes no sense.
    pub const INVALID_CONFIG: u32 = 7;
    /// Not now.
    pub const TRY_AGAIN: u32 = 11;
    /// Plugin specific: CHECK found something missing.
    pub const CHECK: u32 = 100;

    /// An error of `code`; `details` is for the log.
    #[must_use]
    pub fn new(code: u32, message: impl Into<String>, details: impl Display) -> Self {
        Self { code, message: message.into(), details: details.to_string(), version: Version::LATEST.to_owned() }
    }

    /// The error's number.
    #[must_use]
    pub const fn code(&self) -> u32 {
        self.code
    }

    /// What goes to standard output.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({"cniVersion": self.version, "code": self.code, "msg": self.message, "details": self.details})
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(Self::IO, error.to_string(), "")
    }
}

impl Request {
    /// Reads the environment and the standard input of the plugin.
    ///
    /// # Errors
    /// When either is not as the specification says.
    pub fn new(environment: impl Fn(&str) -> Option<String>, input: &[u8]) -> Result<Self, Failure> {
        let variable = |name: &str| environment(name).filter(|value| !value.is_empty());
        let needed = |name: &str| {
            variable(name).ok_or_else(|| Failure::new(Failure::INVALID_ENVIRONMENT, format!("{name} is missing"), ""))
        };
        let command = Command::parse(&needed("CNI_COMMAND")?)?;
        let config: Config = serde_json::from_slice(input)
            .map_err(|error| Failure::new(Failure::DECODE, "cannot read the network configuration", error))?;
        let version = config.cni_version.clone();
        let attaches = matches!(command, Command::Add | Command::Del | Command::Check);
        let read = || -> Result<Self, Failure> {
            if command != Command::Version {
                Version::check(&config.cni_version)?;
            }
            let netns = match command {
                Command::Add | Command::Check => Some(needed("CNI_NETNS")?.into()),
                _ => variable("CNI_NETNS").map(PathBuf::from),
            };
            let (container, link) = match attaches {
                true => (checked(needed("CNI_CONTAINERID")?)?, checked(needed("CNI_IFNAME")?)?),
                false => (String::new(), String::new()),
            };
            Ok(Self { command, container, netns, link, config })
        };
        read().map_err(|failure| Failure { version: Version::or_latest(&version), ..failure })
    }
}

impl Command {
    fn parse(text: &str) -> Result<Self, Failure> {
        Ok(match text {
            "ADD" => Self::Add,
            "DEL" => Self::Del,
            "CHECK" => Self::Check,
            "VERSION" => Self::Version,
            "GC" => Self::Gc,
            "STATUS" => Self::Status,
            other => {
                let message = format!("CNI_COMMAND {other:?} is unknown");
                return Err(Failure::new(Failure::INVALID_ENVIRONMENT, message, ""));
            }
        })
    }
}

/// The specification allows letters, digits and a few signs, the first being a letter or digit.
fn checked(id: String) -> Result<String, Failure> {
    let sign = |byte: u8| matches!(byte, b'_' | b'.' | b'-');
    let fits = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || sign(byte))
        && id.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    match fits {
        true => Ok(id),
        false => {
            Err(Failure::new(Failure::INVALID_ENVIRONMENT, format!("{id:?} has characters that are not allowed"), ""))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADD: [(&str, &str); 4] =
        [("CNI_COMMAND", "ADD"), ("CNI_CONTAINERID", "c0"), ("CNI_NETNS", "/run/netns/x"), ("CNI_IFNAME", "eth0")];

    fn request(environment: &[(&str, &str)], input: &str) -> Result<Request, Failure> {
        Request::new(
            |name| environment.iter().rev().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()),
            input.as_bytes(),
        )
    }

    fn with(change: (&'static str, &'static str)) -> Vec<(&'static str, &'static str)> {
        ADD.into_iter().chain([change]).collect()
    }

    #[test]
    fn what_does_not_follow_the_specification_has_its_code() {
        let config = r#"{"cniVersion":"1.0.0","name":"knarr","type":"knarr"}"#;
        for (environment, input, code) in [
            (with(("CNI_COMMAND", "")), config, Failure::INVALID_ENVIRONMENT),
            (with(("CNI_COMMAND", "PAINT")), config, Failure::INVALID_ENVIRONMENT),
            (with(("CNI_NETNS", "")), config, Failure::INVALID_ENVIRONMENT),
            (with(("CNI_IFNAME", "")), config, Failure::INVALID_ENVIRONMENT),
            (with(("CNI_CONTAINERID", "../../etc")), config, Failure::INVALID_ENVIRONMENT),
            (ADD.to_vec(), "", Failure::DECODE),
            (ADD.to_vec(), "[]x", Failure::DECODE),
            (ADD.to_vec(), r#"{"cniVersion":"9.9.9"}"#, Failure::INCOMPATIBLE_VERSION),
        ] {
            assert_eq!(request(&environment, input).unwrap_err().code(), code, "{environment:?} {input}");
        }
    }

    #[test]
    fn an_error_speaks_the_callers_version() {
        let failure = request(&with(("CNI_NETNS", "")), r#"{"cniVersion":"0.4.0"}"#).unwrap_err();
        assert_eq!(
            failure.to_json(),
            json!({"cniVersion": "0.4.0", "code": 4, "msg": "CNI_NETNS is missing", "details": ""})
        );
    }

    #[test]
    fn del_needs_no_namespace() {
        let environment =
            [("CNI_COMMAND", "DEL"), ("CNI_CONTAINERID", "c0"), ("CNI_IFNAME", "eth0"), ("CNI_NETNS", "")];
        assert!(request(&environment, r#"{"cniVersion":"1.0.0"}"#).unwrap().netns.is_none());
    }

    #[test]
    fn port_mappings_are_read_as_runtimes_write_them() {
        let input = r#"{"cniVersion":"1.0.0","runtimeConfig":{"portMappings":[
            {"hostPort":8080,"containerPort":80,"protocol":"tcp","hostIP":""},
            {"hostPort":53,"containerPort":53,"protocol":"UDP","hostIP":"192.0.2.1"}]}}"#;
        let mappings = request(&ADD, input).unwrap().config.runtime_config.port_mappings;
        let seen: Vec<_> = mappings.iter().map(|port| (port.protocol.as_str(), port.host_address())).collect();
        assert_eq!(seen, [("tcp", None), ("udp", Some(IpAddr::from([192, 0, 2, 1])))]);
    }
}
