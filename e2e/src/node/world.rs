//! The world of a test with a node: images, namespaces, Helm, kubectl, and a
//! timeline that is printed as it grows.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::secrets::Secrets;
use super::{Node, images, pods};
use crate::cluster::api::Api;
use crate::cluster::tools::{Helm, Kubectl};
use crate::eventually::{Look, eventually_async};
use crate::leaks::files_below;
use crate::operator;
use crate::parts::{Parts, Set};
use crate::process::{LogMark, read_from, run, tail};
use crate::timeline::Timeline;

/// The operator's namespace.
pub const OPERATOR: &str = "opamp-system";

/// The namespace of agents and profiles.
pub const TEAM: &str = "team-a";

/// The operator's image as an archive, instead of one that is made now.
const IMAGE: &str = "OPAMP_OPERATOR_IMAGE";

/// Everything that a test with a node has.
pub struct NodeWorld {
    /// The cluster.
    pub node: Node,
    /// kubectl, as somebody who may do everything.
    pub kubectl: Kubectl,
    /// Helm, as the same.
    pub helm: Helm,
    /// The API, as the same, in the operator's namespace.
    pub api: Api,
    /// What happened.
    pub timeline: Timeline,
    folder: PathBuf,
    parts: Parts,
    secrets: Secrets,
    finished: bool,
}

impl NodeWorld {
    /// Starts a cluster of one node that has the images, and namespaces that
    /// enforce the Pod Security Standard `restricted`.
    ///
    /// # Errors
    /// When something does not start.
    pub async fn start() -> Result<Self> {
        let world = Self::with_images().await?;
        for name in [OPERATOR, TEAM] {
            let labels = json!({"pod-security.kubernetes.io/enforce": "restricted"});
            let metadata = json!({"name": name, "labels": labels});
            let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata});
            world.api.apply(&namespace).await?;
        }
        Ok(world)
    }

    /// Starts a cluster of one node that has the images, and nothing else.
    ///
    /// # Errors
    /// When something does not start.
    pub async fn with_images() -> Result<Self> {
        let world = Self::empty().await?;
        let parts = &world.parts;
        let agents = [parts.path("opampsupervisor")?, parts.path("otelcol")?];
        let agents = images::archive(&world.folder, pods::IMAGE, &agents)?;
        world.node.import(&agents).await?;
        world.node.import(&operator_image()?).await?;
        world.timeline.add("node", "has the images");
        Ok(world)
    }

    /// Starts a cluster of one node with nothing on it.
    ///
    /// # Errors
    /// When something does not start.
    pub async fn empty() -> Result<Self> {
        let timeline = Timeline::start(true);
        let parts = Parts::ensure(Set::Node).await?;
        let node = Node::start(&parts).await?;
        timeline.add("node", "is ready");
        let kubectl = node.cluster.kubectl()?;
        let helm = node.cluster.helm()?.of(&node.cluster.admin());
        let api = node.cluster.api().await?.within(OPERATOR);
        Ok(Self {
            folder: node.cluster.folder(),
            node,
            kubectl,
            helm,
            api,
            timeline,
            parts,
            secrets: Secrets::default(),
            finished: false,
        })
    }

    /// The parts that were built.
    #[must_use]
    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    /// The folder of the test.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The API in the agents' namespace.
    #[must_use]
    pub fn team(&self) -> Api {
        self.api.within(TEAM)
    }

    /// Runs kubectl in a namespace.
    ///
    /// # Errors
    /// When it fails.
    pub async fn kubectl(
        &self,
        namespace: &str,
        arguments: &[&str],
        input: &str,
    ) -> Result<String> {
        let arguments = [&["--namespace", namespace], arguments].concat();
        self.kubectl.run_with(&arguments, input).await
    }

    /// Applies objects in a namespace as people do.
    ///
    /// # Errors
    /// When one is refused.
    pub async fn apply(&self, namespace: &str, objects: &[Value]) -> Result<()> {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
        let apply = ["apply", "-f", "-"];
        self.kubectl(namespace, &apply, &list.to_string()).await?;
        Ok(())
    }

    /// Runs Helm in the operator's namespace and notes how long that took.
    ///
    /// # Errors
    /// When it fails.
    pub async fn helm(&self, arguments: &[&str]) -> Result<String> {
        let begin = self.timeline.now();
        let all = [arguments, &["--namespace", OPERATOR]].concat();
        let said = self.helm.run(&all).await?;
        let took = self.timeline.now().saturating_sub(begin).as_secs_f64();
        let what = arguments.get(..2).unwrap_or(arguments).join(" ");
        self.timeline
            .add("helm", format!("{what} took {took:.1} s"));
        Ok(said)
    }

    /// Looks until the objects of a kind in a namespace are as wanted.
    ///
    /// # Errors
    /// When the deadline passes.
    pub async fn wait_for<T>(
        &self,
        what: &str,
        (namespace, kind): (&str, &str),
        within: Duration,
        wanted: impl Fn(&[Value]) -> Option<T>,
    ) -> Result<T> {
        let api = self.api.within(namespace);
        eventually_async(what, within, || async {
            match api.list(kind).await {
                Ok(all) => {
                    let items = all["items"].as_array().map_or(&[][..], Vec::as_slice);
                    let seen = items.iter().map(|item| item["status"].to_string());
                    Look::some(wanted(items), seen.collect::<Vec<_>>().join("\n"))
                }
                Err(error) => Look::NotYet(format!("{error:#}")),
            }
        })
        .await
    }

    /// All that the containers of Pods whose name begins so have said so far,
    /// by Pod; also of Pods that are gone.
    ///
    /// # Errors
    /// When a log cannot be read.
    pub fn pod_logs(&self, namespace: &str, pod: &str) -> Result<Vec<(String, String)>> {
        let prefix = format!("{namespace}_{pod}");
        let mut logs: Vec<(String, String)> = Vec::new();
        for file in self.log_files() {
            let below = file.strip_prefix(self.folder.join("pods"))?;
            let owner = below.iter().next().unwrap_or_default();
            let owner = owner.to_string_lossy().into_owned();
            if owner.starts_with(&prefix) {
                let text = read_from(&file, LogMark::default());
                match logs.iter_mut().find(|(known, _)| *known == owner) {
                    Some((_, all)) => all.push_str(&text),
                    None => logs.push((owner, text)),
                }
            }
        }
        Ok(logs)
    }

    fn log_files(&self) -> Vec<PathBuf> {
        let mut files = files_below(&self.folder.join("pods")).unwrap_or_default();
        files.sort();
        files
    }

    /// Takes in every key and token that is in a Secret now: the leak check of
    /// [`NodeWorld::finish`] looks for them.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn keeps_secrets(&self) -> Result<()> {
        self.secrets.take_in(&self.api).await
    }

    /// The end of every good test: no secret is in what the operator said and
    /// wrote.
    ///
    /// # Errors
    /// When one is.
    pub async fn finish(mut self) -> Result<()> {
        self.keeps_secrets().await?;
        self.secrets.are_kept(&self.kubectl, &self.folder).await?;
        self.finished = true;
        Ok(())
    }

    /// The end of a good test of the node itself, without any operator.
    pub fn abandon(mut self) {
        self.finished = true;
    }

    /// Everything a person needs after a failure.
    fn report(&self) -> String {
        let mut text = format!("=== timeline\n{}", self.timeline.render());
        for get in [
            "get pods,opcp,opag,certificates --all-namespaces -o wide",
            "get events --all-namespaces --sort-by=.lastTimestamp",
            "get opcp,opag --all-namespaces -o yaml",
        ] {
            let arguments: Vec<&str> = get.split(' ').collect();
            let said = run(self.kubectl.command(&arguments));
            let said = said.unwrap_or_else(|error| format!("{error:#}"));
            let _ = writeln!(text, "=== kubectl {get}\n{said}");
        }
        for log in self.log_files() {
            let end = tail(&read_from(&log, LogMark::default()), 40);
            let _ = writeln!(text, "=== end of {}\n{end}", log.display());
        }
        text + &self.node.ends_of_logs()
    }
}

impl Drop for NodeWorld {
    fn drop(&mut self) {
        if !self.finished {
            eprintln!("{}", self.report());
        }
    }
}

/// The archive of the operator's image: the one named, else the one that `make
/// image` wrote.
fn operator_image() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os(IMAGE) {
        return Ok(named.into());
    }
    let name = concat!(
        "image/opamp-operator-",
        env!("CARGO_PKG_VERSION"),
        ".oci.tar"
    );
    let image = operator::target()?.join(name);
    let missing = format!(
        "there is no {}: run `make image`, or set {IMAGE}",
        image.display()
    );
    image.is_file().then_some(image).context(missing)
}
