//! Compiles `pause/main.rs` into a static program without a libc.

use std::path::PathBuf;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=pause/main.rs");
    let variable = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"));
    let output = PathBuf::from(variable("OUT_DIR")).join("pause");
    let status = Command::new(variable("RUSTC"))
        .args(["--edition=2024", "--crate-name=pause", "--crate-type=bin", "--target", &variable("TARGET")])
        .args(["-Copt-level=s", "-Cpanic=abort", "-Cstrip=symbols", "-Crelocation-model=static"])
        .args([
            "-Ctarget-feature=+crt-static",
            "-Clink-arg=-nostartfiles",
            "-Clink-arg=-nostdlib",
            "-Clink-arg=-static",
        ])
        .args(["-Clink-arg=-Wl,--build-id=none,-z,noseparate-code,-z,norelro"])
        .arg("pause/main.rs")
        .arg("-o")
        .arg(&output)
        .status()
        .expect("rustc runs");
    assert!(status.success(), "pause does not compile");
    println!("cargo::rustc-env=PAUSE={}", output.display());
}
