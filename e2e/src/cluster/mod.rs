//! A real control plane for the tests that need an API server: etcd,
//! kube-apiserver, kube-controller-manager and cert-manager, all on the
//! loopback.
//!
//! It runs once per test process and is shared by its tests, each of which
//! makes namespaces of its own.  A keeper process (`e2e up --attached`) owns it
//! and ends with the pipe to its owner: whatever happens to the test process,
//! nothing of the control plane outlives it.

pub mod api;
pub(crate) mod control_plane;
pub(crate) mod files;
mod keeper;
mod kubeconfig;
mod profiles;
pub mod rules;
pub mod tools;
mod world;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tokio::sync::OnceCell;

use crate::parts::{Parts, Set};
use crate::pki::{Leaf, random_token};
use crate::process::run;
use api::Api;
use keeper::Keeper;
pub use keeper::up;
pub use kubeconfig::{Kubeconfig, User};
use tools::{Helm, Kubectl};
pub use world::{ClusterWorld, RELEASE};

/// A control plane that is used instead of one of the tests' own: the folder
/// that `e2e up` printed.
const HOT: &str = "E2E_CLUSTER";

static SHARED: OnceCell<Result<Cluster, String>> = OnceCell::const_new();

/// A running control plane.
#[derive(Debug)]
pub struct Cluster {
    folder: PathBuf,
    parts: Parts,
    installed: OnceCell<()>,
    /// Ends the control plane when it is dropped or this process ends.
    _keeper: Option<Keeper>,
}

/// The control plane of this process; the first caller starts it.
///
/// # Errors
/// When it does not start; every later caller is told the same.
pub async fn shared() -> Result<&'static Cluster> {
    let start = || async { start().await.map_err(|error| format!("{error:#}")) };
    let cluster = SHARED.get_or_init(start).await;
    cluster
        .as_ref()
        .map_err(|why| anyhow!("the control plane did not start: {why}"))
}

async fn start() -> Result<Cluster> {
    // Here and not in the keeper: it may take minutes, and people want to see it.
    let parts = Parts::ensure(Set::ControlPlane).await?;
    let (folder, keeper) = if let Some(hot) = std::env::var_os(HOT) {
        (PathBuf::from(hot), None)
    } else {
        let started = tokio::task::spawn_blocking(Keeper::start).await?;
        started.map(|(folder, keeper)| (folder, Some(keeper)))?
    };
    Ok(Cluster {
        folder,
        parts,
        installed: OnceCell::new(),
        _keeper: keeper,
    })
}

impl Cluster {
    /// One that somebody else keeps in `folder`.
    pub(crate) fn at(folder: &Path, parts: &Parts) -> Self {
        Self {
            folder: folder.to_owned(),
            parts: parts.clone(),
            installed: OnceCell::new(),
            _keeper: None,
        }
    }

    /// Where its files are.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.folder.clone()
    }

    /// The kubeconfig of somebody who may do everything.
    #[must_use]
    pub fn admin(&self) -> PathBuf {
        admin_kubeconfig(&self.folder)
    }

    /// The logs of its programs.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.folder.join("logs")
    }

    /// The keys of its programs.
    #[must_use]
    pub fn pki(&self) -> PathBuf {
        self.folder.join("pki")
    }

    /// A client of somebody who may do everything.
    ///
    /// # Errors
    /// When the kubeconfig cannot be read.
    pub async fn api(&self) -> Result<Api> {
        Api::of(&self.admin()).await
    }

    /// kubectl, as somebody who may do everything.
    ///
    /// # Errors
    /// When it was not built.
    pub fn kubectl(&self) -> Result<Kubectl> {
        Kubectl::new(&self.parts, &self.folder, &self.admin())
    }

    /// Helm, without any cluster.
    ///
    /// # Errors
    /// When it was not built.
    pub fn helm(&self) -> Result<Helm> {
        Helm::new(&self.parts, &self.folder)
    }

    /// Installs our definitions as the README says, once.
    ///
    /// # Errors
    /// When they do not become Established.
    pub async fn install_definitions(&self) -> Result<()> {
        let install = || async {
            let kubectl = self.kubectl()?;
            let folder = repository().join("crds");
            let folder = folder.to_str().context("a path in UTF-8")?;
            kubectl.run(&["apply", "-f", folder]).await?;
            let wait = ["wait", "--for=condition=Established", "--timeout=30s"];
            kubectl.run(&[&wait[..], &["-f", folder]].concat()).await?;
            Ok(())
        };
        self.installed.get_or_try_init(install).await.map(drop)
    }

    /// Installs the Gateway API's definition of TLSRoute.
    ///
    /// # Errors
    /// When it does not become Established.
    pub async fn install_gateway_definitions(&self) -> Result<()> {
        let folder = module("sigs.k8s.io/gateway-api")?.join("config/crd/standard");
        let file = folder.join("gateway.networking.k8s.io_tlsroutes.yaml");
        self.install(&file).await
    }

    /// Installs what Prometheus Operator would, as far as the chart uses it.
    ///
    /// # Errors
    /// When it cannot be installed.
    pub async fn install_monitoring_definitions(&self) -> Result<()> {
        self.install(&repository().join("e2e/definitions")).await
    }

    /// Installs the definitions of a file or folder.
    async fn install(&self, path: &Path) -> Result<()> {
        let kubectl = self.kubectl()?;
        let path = path.to_str().context("a path in UTF-8")?;
        kubectl.run(&["apply", "--server-side", "-f", path]).await?;
        let wait = ["wait", "--for=condition=Established", "--timeout=30s"];
        kubectl.run(&[&wait[..], &["-f", path]].concat()).await?;
        Ok(())
    }
}

fn admin_kubeconfig(folder: &Path) -> PathBuf {
    folder.join("admin.kubeconfig")
}

/// Some letters that no other test has.
///
/// # Errors
/// When no randomness can be had.
pub fn random_suffix() -> Result<String> {
    let token = random_token()?;
    let suffix = token.get(4..12).context("a short token")?;
    Ok(suffix.to_owned())
}

/// The root of the repository.
#[must_use]
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The certificate and key of a TLS Secret.
#[must_use]
pub fn pair(secret: &Value) -> Option<Leaf> {
    let text = |key: &str| {
        let bytes = STANDARD.decode(secret["data"][key].as_str()?).ok()?;
        String::from_utf8(bytes).ok()
    };
    Leaf::read(&text("tls.crt")?, &text("tls.key")?)
}

/// cert-manager's own definitions, from the module that it was built from.
fn cert_manager_definitions() -> Result<PathBuf> {
    Ok(module("github.com/cert-manager/cert-manager")?.join("deploy/crds"))
}

/// The sources of a module that cert-manager is built from; they may be gone
/// while the built part is still cached.
fn module(path: &str) -> Result<PathBuf> {
    let mut command = std::process::Command::new("go");
    command
        .args(["mod", "download", "-json", path])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("parts/cert-manager"));
    let module: Value = serde_json::from_str(&run(command)?)?;
    let folder = module["Dir"].as_str().context("a module without folder")?;
    Ok(folder.into())
}
