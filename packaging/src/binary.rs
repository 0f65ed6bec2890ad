//! The operator as one static binary that is the same from every clone, with the
//! same compilers and C library.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use crate::output;

/// What it is built for: this machine's processor, with a C library that can be
/// linked into the binary.
pub(crate) fn triple() -> String {
    format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
}

/// Builds it, beside whatever else is built there.
pub(crate) fn build(workspace: &Path, target: &Path) -> Result<PathBuf> {
    let triple = triple();
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")))
        .context("neither CARGO_HOME nor HOME says where Cargo keeps sources")?;
    let (sysroot, commit) = compiler()?;
    // The last that fits applies.
    let paths = [
        (home.as_path(), "/cargo".to_owned()),
        (sysroot.as_path(), format!("/rustc/{commit}")),
        (workspace, "/src".to_owned()),
        (target, "/target".to_owned()),
    ];
    let mut flags = vec![
        "-Ctarget-feature=+crt-static".to_owned(),
        "-Cstrip=symbols".to_owned(),
    ];
    let mut c_flags = Vec::new();
    for (path, name) in &paths {
        let text = path.to_str().context("paths must be in UTF-8")?;
        flags.push(format!("--remap-path-prefix={text}={name}"));
        // C is in Cargo's registry, and in what is built.
        if [&*home, target].contains(path) {
            c_flags.push(format!("-ffile-prefix-map={text}={name}"));
        }
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--release", "--locked", "--package"])
        .args(["opamp-operator", "--target", &triple, "--target-dir"])
        .arg(target)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
        .env(
            format!("CFLAGS_{}", triple.replace('-', "_")),
            c_flags.join(" "),
        )
        .current_dir(workspace)
        .status()
        .context("cannot run cargo")?;
    ensure!(status.success(), "the operator cannot be built");
    Ok(target.join(triple).join("release/opamp-operator"))
}

/// Where the standard library's sources are, if they are installed, and which
/// version of them this is.
fn compiler() -> Result<(PathBuf, String)> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let said = |argument: &[&str]| -> Result<String> {
        let said = output(Command::new(&rustc).args(argument))?;
        Ok(String::from_utf8(said)?)
    };
    let sysroot = said(&["--print", "sysroot"])?;
    let verbose = said(&["--version", "--verbose"])?;
    let commit = verbose
        .lines()
        .find_map(|line| line.strip_prefix("commit-hash: "))
        .context("rustc does not say its commit")?;
    let sources = Path::new(sysroot.trim()).join("lib/rustlib/src/rust");
    Ok((sources, commit.to_owned()))
}
