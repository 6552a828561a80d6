//! Pod groups as systemd slices, by its D-Bus interface through `busctl`, which comes with systemd.
//! <https://www.freedesktop.org/software/systemd/man/latest/org.freedesktop.systemd1.html>

use std::io;

use tokio::process::Command;

use super::Limits;
use super::files::weight;

const MANAGER: [&str; 4] =
    ["call", "org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"];

/// Makes a transient slice, or changes the limits of an existing one.
pub(crate) async fn start_slice(slice: &str, limits: &Limits, unified: bool) -> io::Result<()> {
    let properties = properties(limits, unified);
    match busctl(start_arguments(slice, &properties)).await {
        Err(error) if error.to_string().contains("already") => busctl(set_arguments(slice, &properties)).await,
        outcome => outcome,
    }
}

/// Stops a slice and with it everything inside.
pub(crate) async fn stop_slice(slice: &str) -> io::Result<()> {
    let arguments = ["StopUnit", "ss", slice, "replace"];
    busctl(MANAGER.into_iter().chain(arguments).map(Into::into).collect()).await
}

fn start_arguments(slice: &str, properties: &[[String; 3]]) -> Vec<String> {
    let call = ["StartTransientUnit", "ssa(sv)a(sa(sv))", slice, "fail"];
    let words = MANAGER.into_iter().chain(call).map(Into::into);
    let count = std::iter::once(properties.len().to_string());
    words.chain(count).chain(properties.iter().flatten().cloned()).chain(["0".to_owned()]).collect()
}

fn set_arguments(slice: &str, properties: &[[String; 3]]) -> Vec<String> {
    let words = MANAGER.into_iter().chain(["SetUnitProperties", "sba(sv)", slice, "true"]).map(Into::into);
    words.chain(std::iter::once(properties.len().to_string())).chain(properties.iter().flatten().cloned()).collect()
}

/// Name, D-Bus type and value of each property.
fn properties(limits: &Limits, unified: bool) -> Vec<[String; 3]> {
    let number = |name: &str, value: u64| [name.to_owned(), "t".to_owned(), value.to_string()];
    let unlimited = |value: i64| u64::try_from(value).unwrap_or(u64::MAX);
    let flag = |name: &str| [name.to_owned(), "b".to_owned(), "true".to_owned()];
    let mut properties = vec![flag("CPUAccounting"), flag("MemoryAccounting"), flag("TasksAccounting")];
    properties.extend(limits.cpu_shares.map(|shares| match unified {
        true => number("CPUWeight", weight(shares)),
        false => number("CPUShares", shares),
    }));
    // systemd counts microseconds per second; the period of a quota is a tenth of that.
    properties.extend(limits.cpu_quota.map(|quota| number("CPUQuotaPerSecUSec", unlimited(quota.saturating_mul(10)))));
    properties
        .extend(limits.memory.map(|bytes| number(if unified { "MemoryMax" } else { "MemoryLimit" }, unlimited(bytes))));
    properties.extend(limits.pids.map(|count| number("TasksMax", unlimited(count))));
    properties
}

async fn busctl(arguments: Vec<String>) -> io::Result<()> {
    let mut command = Command::new("busctl");
    // It would tell systemd of its own end there, in our name.
    command.env_remove("NOTIFY_SOCKET").args(["--system", "--quiet"]).args(&arguments);
    let output = command.output().await?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("busctl: {}", String::from_utf8_lossy(&output.stderr).trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_starts_with_its_limits() {
        let limits = Limits { cpu_shares: Some(1024), cpu_quota: Some(50_000), memory: Some(4096), pids: None };
        let call = start_arguments("kubepods-pod1.slice", &properties(&limits, true)).join(" ");
        let (_, arguments) = call.split_once("systemd1.Manager ").unwrap();
        assert_eq!(
            arguments,
            "StartTransientUnit ssa(sv)a(sa(sv)) kubepods-pod1.slice fail 6 CPUAccounting b true MemoryAccounting b true \
             TasksAccounting b true CPUWeight t 100 CPUQuotaPerSecUSec t 500000 MemoryMax t 4096 0"
        );
        let v1 = properties(&Limits { cpu_shares: Some(2), memory: Some(-1), ..Limits::default() }, false);
        assert_eq!(v1[3], ["CPUShares", "t", "2"]);
        assert_eq!(v1[4], ["MemoryLimit", "t", "18446744073709551615"]);
    }
}
