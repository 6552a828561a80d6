//! The flags of the store that several servers share: etcd. Without them the server keeps everything in a log of its own.

use std::path::PathBuf;

use clap::Args;
use knarr_apiserver::registry::ROOT;
use knarr_store::EtcdOptions;

/// Named as kube-apiserver's.
#[derive(Clone, Debug, Args)]
pub(crate) struct Etcd {
    /// URLs of the etcd servers that keep the cluster's state, the preferred one first; without them this machine keeps it
    #[arg(long, value_name = "URL", value_delimiter = ',')]
    etcd_servers: Vec<String>,
    /// Certificate authority of the etcd servers
    #[arg(long, value_name = "FILE", requires = "etcd_servers")]
    etcd_cafile: Option<PathBuf>,
    /// Certificate that is shown to the etcd servers
    #[arg(long, value_name = "FILE", requires = "etcd_keyfile")]
    etcd_certfile: Option<PathBuf>,
    /// Key of that certificate
    #[arg(long, value_name = "FILE", requires = "etcd_certfile")]
    etcd_keyfile: Option<PathBuf>,
    /// What all keys in etcd begin with: it stands where the server's own keys have /registry
    #[arg(long, value_name = "PREFIX", default_value = "/registry")]
    etcd_prefix: String,
}

impl Etcd {
    /// `None` when no server is named.
    pub(crate) fn options(&self) -> Option<EtcdOptions> {
        (!self.etcd_servers.is_empty()).then(|| EtcdOptions {
            servers: self.etcd_servers.clone(),
            ca_file: self.etcd_cafile.clone(),
            cert_file: self.etcd_certfile.clone(),
            key_file: self.etcd_keyfile.clone(),
            prefix: self.etcd_prefix.clone(),
            root: format!("{ROOT}/"),
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        etcd: Etcd,
    }

    fn parse(arguments: &str) -> Result<Option<EtcdOptions>, String> {
        let parsed = Command::try_parse_from(std::iter::once("knarr").chain(arguments.split_whitespace()));
        parsed.map(|command| command.etcd.options()).map_err(|error| error.to_string())
    }

    #[test]
    fn flags_are_upstreams() {
        assert!(parse("").unwrap().is_none());
        let files = "--etcd-cafile=ca --etcd-certfile=crt --etcd-keyfile=key";
        let options = parse(&format!("--etcd-servers=https://a:2379,https://b:2379 {files}")).unwrap().unwrap();
        assert_eq!(options.servers, ["https://a:2379", "https://b:2379"]);
        assert_eq!(options.prefix, "/registry");
        assert_eq!(options.cert_file.unwrap().to_str(), Some("crt"));
        for wrong in ["--etcd-cafile=ca", "--etcd-servers=https://a:2379 --etcd-certfile=crt"] {
            assert!(parse(wrong).unwrap_err().contains("required arguments were not provided"), "{wrong}");
        }
    }
}
