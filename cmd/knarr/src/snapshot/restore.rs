//! `knarr snapshot restore`.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use knarr_apiserver::encryption::Encryption;
use knarr_pki::disk::{self, Access};
use knarr_store::snapshot::{self, Passphrase, Reader, Summary};
use knarr_store::{Rules, check_readable, is_sealed};

use super::place::{self, NODE_NAME, Place, SEALING, STORE};
use super::{Restore, passphrase, shown};
use crate::cli::say;

pub(super) fn run(arguments: &Restore) -> Result<()> {
    ensure!(
        arguments.etcd_servers.is_empty(),
        "a snapshot is not restored into etcd: restore one of etcd's own there, by `etcdutl snapshot restore`"
    );
    let data = &arguments.directories.data_dir;
    Place::check(data, false)?;
    let summary = open(&arguments.file)?.verify().with_context(|| arguments.file.display().to_string())?;
    Place::check(data, summary.has_keys)?;
    let mut snapshot = open(&arguments.file)?;
    let keys = match summary.has_keys {
        true => {
            let text = passphrase::recall(arguments.passphrase_file.as_deref())?;
            let passphrase = Passphrase::new(&text).context("the passphrase is empty")?;
            snapshot.unlock(&passphrase).with_context(|| arguments.file.display().to_string())?
        }
        false => {
            check_sealed(arguments, &summary)?;
            Vec::new()
        }
    };
    let place = Place::take(data, summary.has_keys)?;
    snapshot::restore(snapshot, &place.at(STORE), |item| !(arguments.without_sealed && is_sealed(&item.value)))?;
    for file in &keys {
        place.write(&file.name, &file.content, place::access_of(&file.name)?)?;
    }
    place.write(NODE_NAME, &summary.head.node, Access::Public)?;
    let has_authority = summary.has_keys || data.join("pki/ca.key").exists();
    place.commit()?;
    tell(arguments, &summary, has_authority);
    Ok(())
}

fn open(file: &Path) -> Result<Reader<BufReader<File>>> {
    let input = File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    Reader::open(BufReader::new(input)).with_context(|| file.display().to_string())
}

/// Without its keys, a snapshot's sealed objects need those that the operator has.
fn check_sealed(arguments: &Restore, summary: &Summary) -> Result<()> {
    if summary.sealed == 0 || arguments.without_sealed {
        return Ok(());
    }
    let usual = arguments.directories.data_dir.join(SEALING);
    let path = arguments.encryption_provider_config.as_ref().unwrap_or(&usual);
    let Some(text) = disk::read(path)? else {
        bail!(
            "the snapshot has {} sealed objects and no keys: their keys are wanted in {}, or --without-sealed leaves them out",
            summary.sealed,
            path.display()
        );
    };
    let rules = Encryption::parse(&text).with_context(|| path.display().to_string())?.rules();
    check_rules(arguments, &rules).with_context(|| format!("{} has not the right keys", path.display()))
}

fn check_rules(arguments: &Restore, rules: &Rules) -> Result<()> {
    for item in open(&arguments.file)? {
        check_readable(rules, &item?)?;
    }
    Ok(())
}

fn tell(arguments: &Restore, summary: &Summary, has_authority: bool) {
    let Summary { head, objects, sealed, .. } = summary;
    let (node, revision, created) = (&head.node, head.revision, shown(head.created));
    say(&format!("restored {objects} objects of revision {revision}, saved by {node} at {created}"));
    if arguments.without_sealed && *sealed > 0 {
        say(&format!("{sealed} of them were sealed, and are left out"));
    }
    say(if has_authority {
        "the cluster's authorities are the old ones: its kubeconfigs and tokens stay valid"
    } else {
        "the first start makes new authorities: kubeconfigs and tokens of the old cluster are not valid any more"
    });
}
