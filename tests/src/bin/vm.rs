//! `vm --knarr FILE`: boots the virtual machine of `make test-vm` with that binary. `vm guest`: the checks, inside of it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail};
use knarr_tests::vm;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let passed = match words.as_slice() {
        ["guest"] => Ok(vm::guest::run_all()),
        ["--knarr", knarr] => host(&PathBuf::from(knarr)),
        _ => Err(anyhow::anyhow!("usage: vm --knarr FILE | vm guest")),
    };
    match passed {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("vm: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[allow(clippy::print_stdout, reason = "the sum is what the caller reads")]
fn host(knarr: &Path) -> Result<bool> {
    if !knarr.is_file() {
        bail!("{} does not exist: build it first", knarr.display());
    }
    let outcome = vm::run(knarr)?;
    let good = outcome.complete && outcome.failed == 0 && outcome.passed > 0;
    if !good {
        eprintln!("== the machine's console\n{}", outcome.console.trim_end());
    }
    if !outcome.complete {
        eprintln!("the machine ended before the last check");
    }
    println!("{} passed, {} failed", outcome.passed, outcome.failed + usize::from(!outcome.complete));
    Ok(good)
}
