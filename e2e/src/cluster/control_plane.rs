//! The programs of a control plane.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

use super::api::Api;
use super::files::{Files, etcd};
use super::tools::Kubectl;
use super::{admin_kubeconfig, cert_manager_definitions};
use crate::eventually::{Look, eventually_async};
use crate::parts::Parts;
use crate::process::{LogMark, Process, read_from, tail};

/// How long the API server may take to be ready on a busy machine.
const START: Duration = Duration::from_mins(1);

/// The name of the node, where there is one.
pub(crate) const NODE: &str = "e2e";

/// The kubeconfig of its kubelet.
pub(crate) const KUBELET: &str = "kubelet.kubeconfig";

/// From where the API server is reached.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reach {
    /// From this machine; there is no node.
    Loopback,
    /// Also from the Pods of the node with this address.
    Node(&'static str),
}

/// Running programs; they are killed when it is dropped.
pub(crate) struct ControlPlane {
    folder: PathBuf,
    reach: Reach,
    /// In the order of their start.
    programs: Vec<Process>,
}

impl ControlPlane {
    /// Starts everything with all files below `folder`.
    pub(crate) async fn start(parts: &Parts, folder: &Path, reach: Reach) -> Result<Self> {
        let mut plane = Self {
            folder: folder.to_owned(),
            reach,
            programs: Vec::new(),
        };
        std::fs::create_dir_all(folder.join("logs"))?;
        let started = plane.start_all(parts).await;
        started.map_err(|error| anyhow!("{error:#}\n{}", plane.ends_of_logs()))?;
        Ok(plane)
    }

    async fn start_all(&mut self, parts: &Parts) -> Result<()> {
        let [clients, peers, secure] = free_ports()?;
        let files = Files::write(&self.folder.join("pki"), self.reach)?;
        let admin = admin_kubeconfig(&self.folder);
        files.kubeconfig(secure)?.write(&admin)?;

        let etcd = etcd(&self.folder.join("etcd"), clients, peers);
        self.spawn(parts, "etcd", &etcd)?;
        let apiserver = files.apiserver(clients, secure, self.reach);
        self.spawn(parts, "kube-apiserver", &apiserver)?;
        let api = Api::of(&admin).await?;
        eventually_async("the API server is ready", START, || {
            let ended = self.ended();
            let api = &api;
            async move {
                match ended {
                    Some(log) => Look::Never(format!("a program has ended: see {log}")),
                    None => Look::when(api.is_ready().await, "not ready"),
                }
            }
        })
        .await?;

        let kubeconfig = format!("--kubeconfig={}", admin.display());
        let manager = [files.controller_manager(), vec![kubeconfig.clone()]].concat();
        self.spawn(parts, "kube-controller-manager", &manager)?;
        let kubectl = Kubectl::new(parts, &self.folder, &admin)?;
        let definitions = cert_manager_definitions()?;
        let definitions = definitions.to_str().context("a path in UTF-8")?;
        let apply = ["apply", "--server-side", "-f", definitions];
        kubectl.run(&apply).await?;
        let wait = ["wait", "--for=condition=Established", "--timeout=60s"];
        kubectl
            .run(&[&wait[..], &["-f", definitions]].concat())
            .await?;
        self.spawn(parts, "cert-manager", &[kubeconfig])?;
        if let Reach::Node(address) = self.reach {
            // The node itself is started by who wants it.
            let kubelet = files.kubelet(secure, address)?;
            kubelet.write(&self.folder.join(KUBELET))?;
        }
        Ok(())
    }

    pub(crate) fn spawn(&mut self, parts: &Parts, name: &str, arguments: &[String]) -> Result<()> {
        let mut command = Command::new(parts.path(name)?);
        command.args(arguments);
        self.spawn_command(name, command)
    }

    /// Starts one more program, to end with the others.
    pub(crate) fn spawn_command(&mut self, name: &str, mut command: Command) -> Result<()> {
        let log = self.folder.join("logs").join(format!("{name}.log"));
        command.current_dir(&self.folder);
        self.programs.push(Process::spawn(name, command, &log)?);
        Ok(())
    }

    /// The log of a program that has ended, if one has.
    pub(crate) fn ended(&mut self) -> Option<String> {
        self.programs.iter_mut().find_map(ended)
    }

    /// The ends of all logs.
    pub(crate) fn ends_of_logs(&self) -> String {
        let ends = self.programs.iter().map(|program| {
            let log = program.log();
            let end = tail(&read_from(log, LogMark::default()), 15);
            format!("=== end of {}\n{end}\n", log.display())
        });
        ends.collect()
    }
}

impl Drop for ControlPlane {
    /// Nobody wants its data: no time is spent on an orderly end.
    fn drop(&mut self) {
        for program in self.programs.iter_mut().rev() {
            let _ = program.kill9();
        }
    }
}

fn ended(program: &mut Process) -> Option<String> {
    program
        .has_ended()
        .then(|| program.log().display().to_string())
}

/// Ports that were free a moment ago, all different.
fn free_ports() -> Result<[u16; 3]> {
    let bind = || TcpListener::bind(("127.0.0.1", 0));
    let all = [bind()?, bind()?, bind()?];
    let port = |at: usize| anyhow::Ok(all[at].local_addr()?.port());
    Ok([port(0)?, port(1)?, port(2)?])
}
