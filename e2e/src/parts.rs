//! The real parts: pinned Go modules under `e2e/parts`, built once per pin, and
//! beside them what is [`foreign`]: [`clients`] in other languages, a browser.
//!
//! A part lives in `<cache>/opamp-operator/parts/<key>/<name>`; the key covers
//! the module's pins and sources, the build flags and the Go version, so a
//! clone, a branch and a parallel build can share one cache.

pub mod clients;
pub mod foreign;
mod progress;
mod recipes;

use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use sha2::{Digest as _, Sha256};

use self::progress::Progress;
use self::recipes::{CONTROL_PLANE, DIRECTORY, MONITORING, NODE, RELEASES, Recipe};
use crate::process::{run, tail};

/// A set of parts that a tier of tests needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Set {
    /// Supervisor, collector, a client and a server of opamp-go: no cluster.
    Directory,
    /// The above and an older supervisor, for comparisons.
    Releases,
    /// The directory's, Prometheus and promtool.
    Monitoring,
    /// The releases' and a Kubernetes control plane, cert-manager and helm.
    ControlPlane,
    /// The control plane's and a node, on which Pods run.
    Node,
    /// Everything whose tools are there: the control plane's, a node's, the
    /// clients in other languages, and a browser.
    All,
}

/// Another release of Kubernetes than the tests' own: `1.34` is the folder
/// `kubernetes-1.34` of `e2e/parts`.
const KUBERNETES: &str = "E2E_KUBERNETES";

/// Says what to do when there is no Go; any Go since 1.21 fetches the pinned toolchain itself.
const NO_GO: &str = "the real parts are built with Go, and `go` was not found. Run:\n    \
                     apt-get install -y golang-go\n\
                     (or put any Go from 1.21 on into PATH: it fetches the pinned toolchain itself)";

/// Where the built parts are.
#[derive(Clone, Debug)]
pub struct Parts {
    found: Vec<(&'static str, PathBuf)>,
}

impl Parts {
    /// Builds what is missing of a set, saying so, and returns where all of it is.
    ///
    /// # Errors
    /// When Go is missing or a build fails.
    pub async fn ensure(set: Set) -> Result<Self> {
        let go = go_version()?;
        let mut found = Vec::new();
        for recipe in recipes(set) {
            let folder = cache()?.join("parts").join(key(recipe, &go)?);
            let path = folder.join(recipe.name);
            if !path.is_file() {
                // Blocking: it may wait minutes for another process that builds the same part.
                let recipe = *recipe;
                tokio::task::spawn_blocking(move || build(recipe, &folder)).await??;
            }
            found.push((recipe.name, path));
        }
        Ok(Self { found })
    }

    /// The binary of a part.
    ///
    /// # Errors
    /// When the part is not in the set.
    pub fn path(&self, name: &str) -> Result<&Path> {
        let part = self.found.iter().find(|(part, _)| *part == name);
        part.map(|(_, path)| path.as_path())
            .with_context(|| format!("{name} is not in the set of parts that was built"))
    }

    /// Names and places of all parts.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        self.found
            .iter()
            .map(|(name, path)| (*name, path.as_path()))
    }
}

/// The project's folder in the user's cache.
///
/// # Errors
/// When neither `XDG_CACHE_HOME` nor `HOME` is set.
pub fn cache() -> Result<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let base = set("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| set("HOME").map(|home| PathBuf::from(home).join(".cache")));
    let base = base.context("set HOME or XDG_CACHE_HOME: the built parts are kept there")?;
    Ok(base.join("opamp-operator"))
}

fn recipes(set: Set) -> impl Iterator<Item = &'static Recipe> {
    let groups: &[&[Recipe]] = match set {
        Set::Directory => &[&DIRECTORY],
        Set::Releases => &[&DIRECTORY, &RELEASES],
        Set::Monitoring => &[&DIRECTORY, &MONITORING],
        Set::ControlPlane => &[&DIRECTORY, &RELEASES, &CONTROL_PLANE],
        Set::Node => &[&DIRECTORY, &RELEASES, &CONTROL_PLANE, &NODE],
        Set::All if crate::node::lacks().is_some() => {
            &[&DIRECTORY, &RELEASES, &MONITORING, &CONTROL_PLANE]
        }
        Set::All => &[&DIRECTORY, &RELEASES, &MONITORING, &CONTROL_PLANE, &NODE],
    };
    groups.iter().copied().flatten()
}

fn module_folder(recipe: &Recipe) -> PathBuf {
    match std::env::var(KUBERNETES) {
        Ok(release) if recipe.module == "kubernetes" => {
            sources_of(&format!("{}-{release}", recipe.module))
        }
        _ => sources_of(recipe.module),
    }
}

/// The folder under `e2e/parts` with what a part is made from.
fn sources_of(part: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("parts")
        .join(part)
}

fn go_version() -> Result<String> {
    let mut command = std::process::Command::new("go");
    // From inside a module, so that the toolchain is the one the build will use.
    command
        .args(["env", "GOVERSION"])
        .current_dir(module_folder(&DIRECTORY[0]));
    match run(command) {
        Ok(version) => Ok(version.trim().to_owned()),
        Err(error) => match error.downcast_ref::<std::io::Error>() {
            Some(io) if io.kind() == std::io::ErrorKind::NotFound => bail!(NO_GO),
            _ => Err(error.context("`go env GOVERSION` failed")),
        },
    }
}

/// The cache key of a part: everything that may change its binary.
fn key(recipe: &Recipe, go: &str) -> Result<String> {
    let mut more = format!("{go}\0{:?}", flags(recipe)?);
    if recipe.cgo {
        more.push_str("cgo");
    }
    digest(&module_folder(recipe), &more)
}

/// Covers every file of a folder, and `more`.
fn digest(folder: &Path, more: &str) -> Result<String> {
    let mut files = Vec::new();
    sources(folder, &mut files)?;
    files.sort();
    let mut digest = Sha256::new();
    for file in files {
        let bytes = std::fs::read(&file)?;
        let name = file.strip_prefix(folder)?.to_string_lossy().into_owned();
        digest.update(format!("{name}\0{}\0", bytes.len()));
        digest.update(bytes);
    }
    digest.update(more);
    let mut text = hex::encode(digest.finalize());
    text.truncate(24);
    Ok(text)
}

fn sources(folder: &Path, into: &mut Vec<PathBuf>) -> Result<()> {
    let entries = std::fs::read_dir(folder);
    for entry in entries.with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            sources(&path, into)?;
        } else {
            into.push(path);
        }
    }
    Ok(())
}

/// Build flags; Kubernetes' own programs need their version stamped in, or they say v0.0.0.
fn flags(recipe: &Recipe) -> Result<Vec<String>> {
    let mut link = "-s -w".to_owned();
    if recipe.module == "kubernetes" {
        let pins = std::fs::read_to_string(module_folder(recipe).join("go.mod"))?;
        let version = pins
            .lines()
            .find_map(|line| line.trim().strip_prefix("k8s.io/kubernetes v"))
            .and_then(|rest| rest.split_whitespace().next())
            .context("no k8s.io/kubernetes version in its go.mod")?;
        let mut numbers = version.split('.');
        for (field, value) in [
            ("gitVersion", format!("v{version}")),
            ("gitMajor", numbers.next().unwrap_or_default().to_owned()),
            ("gitMinor", numbers.next().unwrap_or_default().to_owned()),
        ] {
            write!(link, " -X k8s.io/component-base/version.{field}={value}")?;
        }
    }
    let mut flags = vec!["-trimpath".into(), "-ldflags".into(), link];
    if recipe.module == "prometheus" {
        // Finding targets at clouds: the tests name theirs.
        flags.push("-tags=remove_all_sd".into());
    }
    if recipe.module == "containerd" {
        // File systems of which the tests use none, and whose headers few have.
        flags.push("-tags=no_btrfs,no_zfs,no_devmapper".into());
    }
    Ok(flags)
}

fn build(recipe: Recipe, folder: &Path) -> Result<()> {
    let module = module_folder(&recipe);
    let cgo = if recipe.cgo { "1" } else { "0" };
    let by_hand = format!(
        "cd {} && CGO_ENABLED={cgo} go build {}",
        module.display(),
        recipe.package
    );
    once(recipe.name, folder, &by_hand, |into| {
        let mut command = std::process::Command::new("go");
        command
            .arg("build")
            .args(flags(&recipe)?)
            .arg("-o")
            .args([into.as_os_str(), recipe.package.as_ref()])
            .current_dir(module)
            .env("CGO_ENABLED", cgo)
            .env("GOFLAGS", "-buildvcs=false");
        Ok(command)
    })
}

/// Makes the part `name` in `folder`, if it is not there, with a command that
/// is told where to put it. It appears whole or not at all; of several
/// processes that want it one works and the others wait.
fn once(
    name: &'static str,
    folder: &Path,
    by_hand: &str,
    command: impl FnOnce(&Path) -> Result<std::process::Command>,
) -> Result<()> {
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot create {}", folder.display()))?;
    let lock = File::create(folder.join(format!(".{name}.lock")))?;
    lock.lock()?;
    let done = folder.join(name);
    if done.exists() {
        return Ok(());
    }
    let temporary = folder.join(format!(".{name}.{}", std::process::id()));
    let log_path = folder.join(format!("{name}.build.log"));
    let log = File::create(&log_path)?;
    let mut command = command(&temporary)?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("cannot start {}", command.get_program().display()))?;
    let mut progress = Progress::start(name);
    let mut ended = None;
    // A build has no deadline of its own: a cold one on a small machine takes minutes,
    // and the person sees it count.
    while ended.is_none() {
        crate::eventually::blocking(Duration::from_secs(1), || {
            ended = child.try_wait().ok().flatten();
            ended.is_some()
        });
        progress.tick();
    }
    progress.end();
    if !ended.is_some_and(|status| status.success()) {
        let _ = std::fs::remove_file(&temporary);
        let _ = std::fs::remove_dir_all(&temporary);
        let text = std::fs::read_to_string(&log_path).unwrap_or_default();
        let end = tail(&text, 20);
        bail!("building {name} failed; try again by hand: {by_hand}\n{end}");
    }
    std::fs::rename(&temporary, &done)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_has_pins_and_a_key_of_its_own_module() {
        for recipe in recipes(Set::Node).chain(recipes(Set::Monitoring)) {
            assert!(module_folder(recipe).join("go.sum").is_file(), "{recipe:?}");
            let one = key(recipe, "go1").unwrap();
            assert_eq!(one, key(recipe, "go1").unwrap());
            assert_ne!(one, key(recipe, "go2").unwrap());
        }
    }

    #[test]
    fn kubernetes_knows_its_version() {
        let flags = flags(&CONTROL_PLANE[1]).unwrap().join(" ");
        assert!(flags.contains("gitVersion=v1."), "{flags}");
    }
}
