//! The programs of a control plane.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use rcgen::DnType;

use super::api::Api;
use super::kubeconfig::{Kubeconfig, User};
use super::tools::Kubectl;
use super::{admin_kubeconfig, cert_manager_definitions};
use crate::eventually::{Look, eventually_async};
use crate::manifests::write_atomically;
use crate::parts::Parts;
use crate::pki::{Ca, DAY, KeyKind, Window};
use crate::process::{LogMark, Process, read_from, tail};

/// How long the API server may take to be ready on a busy machine.
const START: Duration = Duration::from_mins(1);

/// Where ServiceAccount tokens say they come from.
const ISSUER: &str = "https://kubernetes.default.svc";

/// Running programs; they are killed when it is dropped.
pub(super) struct ControlPlane {
    folder: PathBuf,
    /// In the order of their start.
    programs: Vec<Process>,
}

impl ControlPlane {
    /// Starts everything with all files below `folder`.
    pub(super) async fn start(parts: &Parts, folder: &Path) -> Result<Self> {
        let mut plane = Self {
            folder: folder.to_owned(),
            programs: Vec::new(),
        };
        std::fs::create_dir_all(folder.join("logs"))?;
        let started = plane.start_all(parts).await;
        started.map_err(|error| anyhow!("{error:#}\n{}", plane.ends_of_logs()))?;
        Ok(plane)
    }

    async fn start_all(&mut self, parts: &Parts) -> Result<()> {
        let [clients, peers, secure] = free_ports()?;
        let files = Files::write(&self.folder.join("pki"))?;
        let admin = admin_kubeconfig(&self.folder);
        files.kubeconfig(secure)?.write(&admin)?;

        let etcd = etcd(&self.folder.join("etcd"), clients, peers);
        self.spawn(parts, "etcd", &etcd)?;
        self.spawn(parts, "kube-apiserver", &files.apiserver(clients, secure))?;
        let api = Api::of(&admin).await?;
        eventually_async("the API server is ready", START, || {
            let ended = self.programs.iter_mut().find_map(ended);
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
        self.spawn(parts, "cert-manager", &[kubeconfig])
    }

    fn spawn(&mut self, parts: &Parts, name: &str, arguments: &[String]) -> Result<()> {
        let log = self.folder.join("logs").join(format!("{name}.log"));
        let mut command = Command::new(parts.path(name)?);
        command.args(arguments).current_dir(&self.folder);
        self.programs.push(Process::spawn(name, command, &log)?);
        Ok(())
    }

    /// The ends of all logs.
    fn ends_of_logs(&self) -> String {
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

fn flags(all: &[(&str, String)]) -> Vec<String> {
    let flag = |(name, value): &(&str, String)| format!("--{name}={value}");
    all.iter().map(flag).collect()
}

fn etcd(data: &Path, clients: u16, peers: u16) -> Vec<String> {
    let (clients, peers) = (local(clients), local(peers));
    flags(&[
        ("data-dir", data.display().to_string()),
        ("unsafe-no-fsync", "true".into()),
        ("listen-client-urls", clients.clone()),
        ("advertise-client-urls", clients),
        ("listen-peer-urls", peers.clone()),
        ("initial-advertise-peer-urls", peers.clone()),
        ("initial-cluster", format!("default={peers}")),
        ("log-level", "warn".into()),
    ])
}

fn local(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

/// Keys and certificates of the programs.
struct Files {
    folder: PathBuf,
    ca: Ca,
}

impl Files {
    fn write(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let files = Self {
            folder: folder.to_owned(),
            ca: Ca::new("kubernetes")?,
        };
        // Of the signer of tokens only the key pair is used.
        let tokens = Ca::new("service accounts")?;
        let serving = files.ca.server(Window::lasting(30 * DAY))?;
        for (name, text) in [
            ("ca.crt", files.ca.pem()),
            ("ca.key", files.ca.key_pem()),
            ("sa.key", tokens.key_pem()),
            ("sa.crt", tokens.pem()),
            ("apiserver.crt", &serving.certificate),
            ("apiserver.key", &serving.key),
        ] {
            write_atomically(&folder.join(name), text)?;
        }
        Ok(files)
    }

    fn kubeconfig(&self, port: u16) -> Result<Kubeconfig> {
        let subject = [
            (DnType::OrganizationName, "system:masters"),
            (DnType::CommonName, "admin"),
        ];
        let window = Window::lasting(30 * DAY);
        let admin = self.ca.client_with(&subject, KeyKind::EcdsaP256, window)?;
        Ok(Kubeconfig {
            server: format!("https://127.0.0.1:{port}"),
            ca: self.ca.pem().to_owned(),
            user: User::Certificate(admin),
            namespace: "default".to_owned(),
        })
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    fn apiserver(&self, etcd: u16, secure: u16) -> Vec<String> {
        flags(&[
            ("etcd-servers", local(etcd)),
            ("bind-address", "127.0.0.1".into()),
            ("secure-port", secure.to_string()),
            // Nobody reaches it through a Service: there is no node.
            ("endpoint-reconciler-type", "none".into()),
            ("service-cluster-ip-range", "10.96.0.0/16".into()),
            ("tls-cert-file", self.path("apiserver.crt")),
            ("tls-private-key-file", self.path("apiserver.key")),
            ("client-ca-file", self.path("ca.crt")),
            ("authorization-mode", "RBAC".into()),
            ("service-account-issuer", ISSUER.into()),
            ("service-account-key-file", self.path("sa.crt")),
            ("service-account-signing-key-file", self.path("sa.key")),
        ])
    }

    fn controller_manager(&self) -> Vec<String> {
        flags(&[
            ("secure-port", "0".into()),
            ("leader-elect", "false".into()),
            ("use-service-account-credentials", "true".into()),
            ("root-ca-file", self.path("ca.crt")),
            ("service-account-private-key-file", self.path("sa.key")),
            ("cluster-signing-cert-file", self.path("ca.crt")),
            ("cluster-signing-key-file", self.path("ca.key")),
        ])
    }
}
