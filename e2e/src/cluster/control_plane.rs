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

/// The name of the node, where there is one.
pub(crate) const NODE: &str = "e2e";

/// The kubeconfig of its kubelet.
pub(crate) const KUBELET: &str = "kubelet.kubeconfig";

/// Where ServiceAccount tokens say they come from.
const ISSUER: &str = "https://kubernetes.default.svc";

/// From where the API server is reached.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reach {
    /// From this machine; there is no node.
    Loopback,
    /// Also from the Pods of the node with this address.
    Node(&'static str),
}

/// The first address of the range of Services is that of the API server.
const SERVICES: &str = "10.96.0.0/16";
const SERVICE: &str = "10.96.0.1";

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

pub(crate) fn flags(all: &[(&str, String)]) -> Vec<String> {
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
    fn write(folder: &Path, reach: Reach) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let files = Self {
            folder: folder.to_owned(),
            ca: Ca::new("kubernetes")?,
        };
        // Of the signer of tokens only the key pair is used.
        let tokens = Ca::new("service accounts")?;
        let more: &[&str] = match &reach {
            Reach::Loopback => &[],
            Reach::Node(address) => &[address, SERVICE, "kubernetes.default.svc"],
        };
        let serving = files.ca.server_at(more, Window::lasting(30 * DAY))?;
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
        // The API server shows it to the kubelet.
        for (end, text) in [("crt", &admin.certificate), ("key", &admin.key)] {
            write_atomically(&self.folder.join(format!("admin.{end}")), text)?;
        }
        Ok(self.kubeconfig_of(port, User::Certificate(admin)))
    }

    /// What the kubelet shows to the API server, and to who calls it.
    fn kubelet(&self, port: u16, address: &str) -> Result<Kubeconfig> {
        let node = format!("system:node:{NODE}");
        let subject = [
            (DnType::OrganizationName, "system:nodes"),
            (DnType::CommonName, &*node),
        ];
        let window = Window::lasting(30 * DAY);
        let client = self.ca.client_with(&subject, KeyKind::EcdsaP256, window)?;
        let serving = self.ca.server_at(&[address, NODE], window)?;
        for (end, text) in [("crt", &serving.certificate), ("key", &serving.key)] {
            write_atomically(&self.folder.join(format!("kubelet.{end}")), text)?;
        }
        Ok(self.kubeconfig_of(port, User::Certificate(client)))
    }

    fn kubeconfig_of(&self, port: u16, user: User) -> Kubeconfig {
        Kubeconfig {
            server: format!("https://127.0.0.1:{port}"),
            ca: self.ca.pem().to_owned(),
            user,
            namespace: "default".to_owned(),
        }
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    fn apiserver(&self, etcd: u16, secure: u16, reach: Reach) -> Vec<String> {
        let own = match reach {
            Reach::Loopback => flags(&[
                ("bind-address", "127.0.0.1".into()),
                // Nobody reaches it through a Service: there is no node.
                ("endpoint-reconciler-type", "none".into()),
                ("authorization-mode", "RBAC".into()),
            ]),
            Reach::Node(address) => flags(&[
                ("bind-address", "0.0.0.0".into()),
                ("advertise-address", address.into()),
                ("authorization-mode", "Node,RBAC".into()),
                ("kubelet-client-certificate", self.path("admin.crt")),
                ("kubelet-client-key", self.path("admin.key")),
                ("kubelet-certificate-authority", self.path("ca.crt")),
                ("kubelet-preferred-address-types", "InternalIP".into()),
            ]),
        };
        let all = flags(&[
            ("etcd-servers", local(etcd)),
            ("secure-port", secure.to_string()),
            ("service-cluster-ip-range", SERVICES.into()),
            ("tls-cert-file", self.path("apiserver.crt")),
            ("tls-private-key-file", self.path("apiserver.key")),
            ("client-ca-file", self.path("ca.crt")),
            ("service-account-issuer", ISSUER.into()),
            ("service-account-key-file", self.path("sa.crt")),
            ("service-account-signing-key-file", self.path("sa.key")),
        ]);
        [all, own].concat()
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
