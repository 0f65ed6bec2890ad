//! A whole real node: containerd, kubelet, scheduler and kube-proxy beside the
//! control plane, so that Pods run.
//!
//! All of it lives in namespaces of its own ([`inside`]): nothing outlives a
//! test, and nothing reaches the machine's network, its mounts or its settings.
//! It takes root and some packages of Debian; where these are missing
//! [`lacks`] says so and the tier is left out, loudly.

mod cgroups;
pub mod images;
mod inside;
pub mod pods;
mod programs;
mod secrets;
mod surroundings;
mod world;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

use crate::cluster::Cluster;
use crate::cluster::control_plane::{ControlPlane, NODE, Reach};
use crate::eventually::{Look, eventually_async};
use crate::parts::Parts;
use crate::process::run;
use inside::Place;
pub use inside::{alone, is_inside};
pub use programs::PAUSE;
pub use world::{NodeWorld, OPERATOR, TEAM};

/// How the names of the tests begin that need a node.
pub const TESTS: &str = "on_a_node::";

/// The Debian packages that a node takes.
const PACKAGES: &str = "runc containernetworking-plugins nftables iproute2";

/// Where the network plugins of Debian are.
const PLUGINS: &str = "/usr/lib/cni";

/// The address of the node: one of those kept for documentation.
const ADDRESS: &str = "192.0.2.10";

/// How long a node may take to become ready on a busy machine.
const READY: Duration = Duration::from_mins(2);

/// Why there can be no node on this machine, if there can be none.
#[must_use]
pub fn lacks() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("only root may make a node; run as root".to_owned());
    }
    let mut missing: Vec<&str> = [("runc", "--version"), ("nft", "--version"), ("ip", "-V")]
        .into_iter()
        .filter(|(program, version)| run(command(program, &[version])).is_err())
        .map(|(program, _)| program)
        .collect();
    let plugins = ["bridge", "host-local", "loopback", "portmap"];
    if !plugins
        .iter()
        .all(|it| Path::new(PLUGINS).join(it).exists())
    {
        missing.push("network plugins");
    }
    if !missing.is_empty() {
        let missing = missing.join(", ");
        return Some(format!(
            "missing: {missing}; run as root: apt-get install -y {PACKAGES}"
        ));
    }
    let tried = surroundings::tried().and_then(|()| cgroups::tried());
    let why = tried.err()?;
    Some(format!("root may not do here what a node takes: {why:#}"))
}

fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

/// A running cluster of one node; all of it ends when it is dropped.
pub struct Node {
    /// How to speak with its API server.
    pub cluster: Cluster,
    plane: ControlPlane,
    parts: Parts,
    group: String,
}

impl Node {
    /// Starts everything. Only inside of [`alone`].
    ///
    /// # Errors
    /// When something does not start.
    pub async fn start(parts: &Parts) -> Result<Self> {
        let own = Place::own().context("a node is started inside of `alone`")?;
        let folder = own.folder.as_path();
        surroundings::prepare(ADDRESS)?;
        let plane = ControlPlane::start(parts, folder, Reach::Node(ADDRESS)).await?;
        let mut node = Self {
            cluster: Cluster::at(folder, parts),
            plane,
            parts: parts.clone(),
            group: own.group,
        };
        let started = node.start_programs(&own.folder).await;
        started.map_err(|error| anyhow!("{error:#}\n{}", node.plane.ends_of_logs()))?;
        Ok(node)
    }

    async fn start_programs(&mut self, folder: &Path) -> Result<()> {
        let containerd = programs::containerd(&self.parts, folder)?;
        self.plane.spawn_command("containerd", containerd)?;
        let socket = programs::socket(folder);
        eventually_async("containerd listens", READY, || {
            let ended = self.plane.ended();
            let there = socket.exists();
            async move {
                match ended {
                    Some(log) => Look::Never(format!("a program has ended: see {log}")),
                    None => Look::when(there, "no socket"),
                }
            }
        })
        .await?;
        let pause = images::archive(folder, programs::PAUSE, &[self.parts.path("pause")?])?;
        self.import(&pause).await?;
        let kubelet = programs::kubelet(folder, ADDRESS, &self.group)?;
        let (parts, plane) = (&self.parts, &mut self.plane);
        plane.spawn(parts, "kubelet", &kubelet)?;
        let admin = self.cluster.admin();
        let scheduler = programs::scheduler(&admin);
        plane.spawn(parts, "kube-scheduler", &scheduler)?;
        plane.spawn(parts, "kube-proxy", &programs::proxy(&admin))?;
        let dns = programs::dns(folder, &admin, ADDRESS)?;
        plane.spawn(parts, "coredns", &dns)?;
        let kubectl = self.cluster.kubectl()?;
        eventually_async("the node is ready", READY, || {
            let ended = self.plane.ended();
            let kubectl = &kubectl;
            async move {
                if let Some(log) = ended {
                    return Look::Never(format!("a program has ended: see {log}"));
                }
                let node = format!("node/{NODE}");
                let wait = ["wait", "--for=condition=Ready", "--timeout=5s", &node];
                match kubectl.output(&wait, "").await {
                    Ok(output) => Look::when(output.success, output.stderr),
                    Err(error) => Look::NotYet(format!("{error:#}")),
                }
            }
        })
        .await
    }

    /// Gives the node the images of an archive.
    ///
    /// # Errors
    /// When they are not taken.
    pub async fn import(&self, archive: &Path) -> Result<()> {
        let mut command = self.ctr()?;
        command.args(["images", "import"]).arg(archive);
        tokio::task::spawn_blocking(move || run(command)).await??;
        Ok(())
    }

    /// Kills the first process of a running container without warning.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn kill_container(&self, id: &str) -> Result<()> {
        let id = id.trim_start_matches("containerd://");
        let mut command = self.ctr()?;
        command.args(["task", "kill", "--signal", "SIGKILL", id]);
        run(command).map(drop)
    }

    /// The ends of the logs of all programs.
    #[must_use]
    pub fn ends_of_logs(&self) -> String {
        self.plane.ends_of_logs()
    }

    fn ctr(&self) -> Result<Command> {
        let mut command = Command::new(self.parts.path("ctr")?);
        // It wants an absolute path.
        let socket = programs::socket(&self.cluster.folder());
        command.arg("--address").arg(socket);
        command.args(["--namespace", "k8s.io"]);
        Ok(command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The runner installs what [`lacks`] asks for.
    #[test]
    fn the_runner_installs_the_packages_of_a_node() {
        let runner = std::fs::read_to_string(crate::cluster::repository().join(".ci/run"));
        let runner = runner.unwrap();
        for package in PACKAGES.split(' ') {
            assert!(runner.contains(package), "{package}");
        }
    }

    /// A name that no test has would leave out nothing.
    #[test]
    fn the_tests_that_may_be_left_out_exist() {
        let tests = crate::cluster::repository().join("e2e/tests/node");
        let main = std::fs::read_to_string(tests.join("main.rs")).unwrap();
        let module = TESTS.trim_end_matches("::");
        assert!(main.contains(&format!("mod {module};")), "{main}");
    }
}
