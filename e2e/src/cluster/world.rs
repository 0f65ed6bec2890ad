//! The world of a test with an API server: a scene around namespaces, with the
//! operator under the ServiceAccount that the chart gives it.

use std::fmt::Write as _;
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::api::Api;
use super::kubeconfig::{Kubeconfig, User};
use super::tools::Kubectl;
use super::{Cluster, random_suffix, repository, shared};
use crate::eventually::{Look, eventually_async};
use crate::manifests::{CLIENT_TLS, basics, mutual_tls, offerable_tls, profile};
use crate::operator::Backend;
use crate::parts::Set;
use crate::pki::{DAY, KeyKind, Leaf, Window};
use crate::process::run;
use crate::scene::{PROFILE, Scene, Setup};

/// The name of the release, and with it of the ServiceAccount and its Roles.
pub const RELEASE: &str = "opamp-operator";

/// Kinds of object that the operator writes, or could write a secret into.
const WRITTEN: [&str; 5] = [
    "OpAMPConnectionProfile",
    "OpAMPAgent",
    "Event",
    "ControllerRevision",
    "ConfigMap",
];

/// Everything a test of the control-plane tier has.
pub struct ClusterWorld {
    scene: Scene,
    /// The operator's namespace, and the profiles' unless a test has more.
    pub api: Api,
    /// kubectl as somebody who may do everything.
    pub kubectl: Kubectl,
    cluster: &'static Cluster,
    /// Namespaces that the operator watches, and its own.
    namespaces: Vec<String>,
}

/// Most of what a test asks of its world is asked of the scene in it.
impl Deref for ClusterWorld {
    type Target = Scene;

    fn deref(&self) -> &Scene {
        &self.scene
    }
}

impl DerefMut for ClusterWorld {
    fn deref_mut(&mut self) -> &mut Scene {
        &mut self.scene
    }
}

impl ClusterWorld {
    /// Makes a scene and a namespace with the chart, a serving certificate, CAs
    /// and a bootstrap token; nothing runs yet but the tap.
    ///
    /// # Errors
    /// When something cannot be made.
    pub async fn new(name: &str, setup: Setup) -> Result<Self> {
        Self::watching(name, setup, &[]).await
    }

    /// As [`ClusterWorld::new`], with further watched namespaces: see
    /// [`ClusterWorld::namespace`].
    ///
    /// # Errors
    /// When something cannot be made.
    pub async fn watching(name: &str, setup: Setup, more: &[&str]) -> Result<Self> {
        Self::with_chart(name, setup, more, &[]).await
    }

    /// As [`ClusterWorld::watching`], with further values of the chart.
    ///
    /// # Errors
    /// When something cannot be made.
    pub async fn with_chart(
        name: &str,
        setup: Setup,
        more: &[&str],
        values: &[&str],
    ) -> Result<Self> {
        let cluster = shared().await?;
        cluster.install_definitions().await?;
        // The chart makes permissions of what the operator is configured with.
        let authenticators = setup.authenticators.clone();
        let mut scene = Scene::new(name, setup, Set::ControlPlane).await?;
        let admin = cluster.api().await?;
        let own = format!("e2e-{name}-{}", random_suffix()?);
        let mut namespaces = vec![own.clone()];
        namespaces.extend(more.iter().map(|more| format!("{own}-{more}")));
        for namespace in &namespaces {
            admin.make_namespace(namespace).await?;
        }
        let kubectl = cluster.kubectl()?;
        let api = admin.within(&own);
        for object in basics(&scene.pki, scene.bootstrap_token()) {
            api.apply(&object).await?;
        }
        let authenticators = authenticators.as_ref();
        let objects = chart(cluster, &own, &namespaces, authenticators, values).await?;
        kubectl.run_with(&["apply", "-f", "-"], &objects).await?;
        scene.set_epilogue(epilogue(&kubectl, &namespaces));
        Ok(Self {
            scene,
            api,
            kubectl,
            cluster,
            namespaces,
        })
    }

    /// As [`ClusterWorld::new`], with the standard profile (mutual TLS) and a
    /// running operator; returns the certificate that agents are to be given.
    ///
    /// # Errors
    /// When something cannot be made or the operator does not start.
    pub async fn with_mutual_tls(name: &str, setup: Setup) -> Result<(Self, Leaf)> {
        let mut world = Self::new(name, setup).await?;
        let leaf = world.client_leaf("fleet-1", KeyKind::EcdsaP256, Window::lasting(30 * DAY))?;
        world.api.apply(&offerable_tls(CLIENT_TLS, &leaf)).await?;
        world.publish_profile(&mutual_tls()).await?;
        world.start_operator().await?;
        Ok((world, leaf))
    }

    /// Applies the standard profile as people do; `opamp` is its `spec.opamp`.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn publish_profile(&self, opamp: &Value) -> Result<()> {
        let text = serde_saphyr::to_string(&profile(PROFILE, opamp))?;
        self.kubectl(&["apply", "-f", "-"], &text).await.map(drop)
    }

    /// Runs kubectl in the world's namespace.
    ///
    /// # Errors
    /// When it fails.
    pub async fn kubectl(&self, arguments: &[&str], input: &str) -> Result<String> {
        let arguments = [&["--namespace", self.api.namespace()], arguments].concat();
        self.kubectl.run_with(&arguments, input).await
    }

    /// The full name of a further namespace.
    #[must_use]
    pub fn namespace(&self, more: &str) -> String {
        format!("{}-{more}", self.api.namespace())
    }

    /// Starts the operator as the chart's ServiceAccount.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start_operator(&mut self) -> Result<()> {
        let kubeconfig = self.operator_kubeconfig().await?;
        let backend = Backend::Cluster {
            kubeconfig,
            namespace: self.api.namespace().to_owned(),
            watched: self.namespaces.clone(),
        };
        self.run_operator(backend).await
    }

    /// The folder of the control plane's own keys.
    #[must_use]
    pub fn control_plane_keys(&self) -> PathBuf {
        self.cluster.pki()
    }

    /// A kubeconfig with a token of the chart's ServiceAccount.
    ///
    /// # Errors
    /// When the API server gives no token.
    pub async fn operator_kubeconfig(&mut self) -> Result<PathBuf> {
        let token = self.api.token(RELEASE).await?;
        self.keeps_secret("token of the operator's ServiceAccount", &token);
        let file = self.folder().join("operator.kubeconfig");
        let (admin, user) = (self.cluster.admin(), User::Token(token));
        Kubeconfig::like(&admin, self.api.namespace(), user)?.write(&file)?;
        Ok(file)
    }

    /// Waits until a Secret has a certificate and key that are `wanted`.
    ///
    /// # Errors
    /// When the deadline passes.
    pub async fn wait_for_pair(
        &mut self,
        secret: &str,
        within: Duration,
        wanted: impl Fn(&Leaf) -> bool,
    ) -> Result<Leaf> {
        let what = format!("Secret {secret} has the wanted certificate");
        let api = self.api.clone();
        let leaf = eventually_async(&what, within, || async {
            let object = api.get("Secret", secret).await;
            let object = object.ok().flatten().unwrap_or_default();
            let pair = super::pair(&object).filter(|leaf| wanted(leaf));
            Look::some(pair, "another or none")
        })
        .await?;
        self.knows(secret, &leaf);
        Ok(leaf)
    }

    /// The end of every good test: looks for leaks, also in everything that the
    /// operator writes into the API.
    ///
    /// # Errors
    /// When a secret leaked or the operator does not end as it should.
    pub async fn finish(self) -> Result<()> {
        let (api, namespaces) = (self.api, self.namespaces);
        let written = async || {
            let mut texts = Vec::new();
            for namespace in &namespaces {
                for kind in WRITTEN {
                    let all = api.within(namespace).list(kind).await?;
                    texts.push((format!("{kind}s in {namespace}"), all.to_string()));
                }
            }
            Ok(texts)
        };
        self.scene.finish(&[], written).await
    }
}

/// Kinds of what only a cluster with nodes and cert-manager has a use for.
const OF_A_POD: [&str; 6] = [
    "Deployment",
    "Service",
    "Pod",
    "ConfigMap",
    "Issuer",
    "Certificate",
];

/// What the chart makes of its values: the permissions. The definitions are the
/// cluster's, every test that runs shares them; and the operator runs here, with
/// a configuration of the test's own.
async fn chart(
    cluster: &Cluster,
    own: &str,
    namespaces: &[String],
    authenticators: Option<&Value>,
    more: &[&str],
) -> Result<String> {
    let folder = repository().join("charts/opamp-operator");
    let folder = folder.to_str().context("a path in UTF-8")?;
    let watched = format!("watchNamespaces={{{}}}", namespaces.join(","));
    let template = ["template", RELEASE, folder, "--namespace", own];
    let authenticators = authenticators.map_or_else(|| "[]".to_owned(), Value::to_string);
    let authenticators = format!("authenticators={authenticators}");
    let values = ["--set", "crds.enabled=false", "--set", &watched];
    let values = [&values[..], &["--set-json", &authenticators]].concat();
    let more: Vec<&str> = more.iter().flat_map(|value| ["--set", *value]).collect();
    let arguments = [&template[..], &values, &more].concat();
    let objects = cluster.helm()?.run(&arguments).await?;
    let wanted = objects.split("\n---\n").filter(|object| {
        let kind = object.lines().find_map(|line| line.strip_prefix("kind: "));
        kind.is_some_and(|kind| !OF_A_POD.contains(&kind))
    });
    Ok(wanted.collect::<Vec<_>>().join("\n---\n"))
}

/// What the API says, for a person who reads a failure.
fn epilogue(kubectl: &Kubectl, namespaces: &[String]) -> impl Fn() -> String + Send + Sync + use<> {
    let (kubectl, namespaces) = (kubectl.clone(), namespaces.to_vec());
    move || {
        let mut text = String::new();
        for namespace in &namespaces {
            for kinds in ["opcp", "events"] {
                let get = ["get", kinds, "-o", "yaml", "--namespace", namespace];
                let said = run(kubectl.command(&get)).unwrap_or_else(|error| format!("{error:#}"));
                let _ = write!(text, "=== kubectl {}\n{said}", get.join(" "));
            }
        }
        text
    }
}
