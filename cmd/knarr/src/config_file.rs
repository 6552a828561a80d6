//! The configuration file: a YAML mapping whose keys are the long names of the command's flags.
//!
//! ```yaml
//! node-ip: 192.168.1.10
//! tls-san: [knarr.example, 10.0.0.5]
//! ```
//!
//! A flag on the command line replaces the file's value of that name.

use std::ffi::OsString;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The file that is read when it exists and `--config` names no other.
pub(crate) const DEFAULT: &str = "/etc/knarr/config.yaml";

/// The command line with what the configuration file adds to it. `cli` says which flags the subcommand has: the file is
/// written for `server`, so that the other subcommands take from it only what they know.
pub(crate) fn merge(arguments: Vec<OsString>, cli: &clap::Command) -> Result<Vec<OsString>> {
    let (mut subcommand, mut flags_at) = (cli, 1);
    while let Some(inner) = arguments.get(flags_at).and_then(|name| subcommand.find_subcommand(name)) {
        (subcommand, flags_at) = (inner, flags_at + 1);
    }
    if argument(subcommand, "config").is_none() {
        return Ok(arguments);
    }
    let Some(text) = read(&arguments)? else { return Ok(arguments) };
    let strict = subcommand.get_name() == "server";
    let added = flags(&text, &arguments, |flag| match argument(subcommand, flag) {
        Some(argument) if argument.get_action().takes_values() => Some(Flag::Valued),
        Some(_) => Some(Flag::Bare),
        // Is refused with the command line.
        None => strict.then_some(Flag::Valued),
    })?;
    let mut merged = arguments;
    merged.splice(flags_at..flags_at, added);
    Ok(merged)
}

/// What stands behind a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flag {
    Valued,
    Bare,
}

fn argument<'a>(subcommand: &'a clap::Command, flag: &str) -> Option<&'a clap::Arg> {
    subcommand.get_arguments().find(|argument| argument.get_long() == Some(flag))
}

fn read(arguments: &[OsString]) -> Result<Option<String>> {
    let named = arguments.iter().enumerate().find_map(|(position, argument)| {
        let argument = argument.to_str()?;
        match argument.strip_prefix("--config")? {
            "" => arguments.get(position + 1).cloned(),
            rest => rest.strip_prefix('=').map(OsString::from),
        }
    });
    match named {
        Some(path) => {
            let shown = Path::new(&path).display();
            std::fs::read_to_string(&path).map(Some).with_context(|| format!("cannot read --config {shown}"))
        }
        None => match std::fs::read_to_string(DEFAULT) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            other => other.map(Some).with_context(|| format!("cannot read {DEFAULT}")),
        },
    }
}

fn flags(text: &str, given: &[OsString], known: impl Fn(&str) -> Option<Flag>) -> Result<Vec<OsString>> {
    let parsed: Option<serde_json::Map<String, Value>> =
        serde_saphyr::from_str(text).context("the configuration file is no mapping of flags to values")?;
    let mut added = Vec::new();
    for (key, value) in parsed.unwrap_or_default() {
        let flag = format!("--{key}");
        let is_given = |argument: &OsString| {
            argument.to_str().is_some_and(|text| text == flag || text.starts_with(&format!("{flag}=")))
        };
        if let Some(kind) = known(&key).filter(|_| !given.iter().any(is_given)) {
            push(&mut added, &flag, kind, &value)?;
        }
    }
    Ok(added)
}

fn push(added: &mut Vec<OsString>, flag: &str, kind: Flag, value: &Value) -> Result<()> {
    match value {
        // YAML takes some words for one: `off`, `no`.
        Value::Bool(value) if kind == Flag::Valued => added.push(format!("{flag}={value}").into()),
        Value::Bool(true) => added.push(flag.into()),
        Value::Bool(false) | Value::Null => {}
        Value::String(text) => added.push(format!("{flag}={text}").into()),
        Value::Number(number) => added.push(format!("{flag}={number}").into()),
        Value::Array(items) => items.iter().try_for_each(|item| push(added, flag, kind, item))?,
        Value::Object(_) => bail!("the configuration file's value of {} is a mapping", flag.trim_start_matches('-')),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, given: &[&str], expect: &[&str]) {
        let given: Vec<_> = given.iter().map(OsString::from).collect();
        assert_eq!(flags(text, &given, known).unwrap(), expect.iter().map(OsString::from).collect::<Vec<_>>());
    }

    fn known(flag: &str) -> Option<Flag> {
        match flag {
            "unknown" => None,
            "without-keys" => Some(Flag::Bare),
            _ => Some(Flag::Valued),
        }
    }

    #[test]
    fn the_file_adds_what_the_command_line_lacks() {
        check("node-ip: 192.168.1.10\nsecure-port: 7443\n", &[], &["--node-ip=192.168.1.10", "--secure-port=7443"]);
        check("tls-san: [a, b]\n", &[], &["--tls-san=a", "--tls-san=b"]);
        check("node-ip: 192.168.1.10\n", &["--node-ip=10.0.0.1"], &[]);
        check("node-ip: 192.168.1.10\n", &["--node-ip", "10.0.0.1"], &[]);
        check("# nothing\n", &[], &[]);
        check("unknown: 1\n", &[], &[]);
        check("without-keys: true\n", &[], &["--without-keys"]);
        check("without-keys: false\n", &[], &[]);
        check("snapshot-schedule: off\n", &[], &["--snapshot-schedule=false"]);
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(flags("- a\n- b\n", &[], known).is_err());
        assert!(flags("node-ip: {a: b}\n", &[], known).is_err());
    }
}
