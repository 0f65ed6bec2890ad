//! Keys, certificates and command lines of the programs of a control plane.

use std::path::{Path, PathBuf};

use anyhow::Result;
use rcgen::DnType;

use super::control_plane::{NODE, Reach};
use super::kubeconfig::{Kubeconfig, User};
use crate::manifests::write_atomically;
use crate::pki::{Ca, DAY, KeyKind, Window};

/// The first address of the range of Services is that of the API server.
const SERVICES: &str = "10.96.0.0/16";
const SERVICE: &str = "10.96.0.1";

/// Where ServiceAccount tokens say they come from.
const ISSUER: &str = "https://kubernetes.default.svc";

pub(crate) fn flags(all: &[(&str, String)]) -> Vec<String> {
    let flag = |(name, value): &(&str, String)| format!("--{name}={value}");
    all.iter().map(flag).collect()
}

pub(super) fn etcd(data: &Path, clients: u16, peers: u16) -> Vec<String> {
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
pub(super) struct Files {
    folder: PathBuf,
    ca: Ca,
}

impl Files {
    pub(super) fn write(folder: &Path, reach: Reach) -> Result<Self> {
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

    pub(super) fn kubeconfig(&self, port: u16) -> Result<Kubeconfig> {
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
    pub(super) fn kubelet(&self, port: u16, address: &str) -> Result<Kubeconfig> {
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

    pub(super) fn apiserver(&self, etcd: u16, secure: u16, reach: Reach) -> Vec<String> {
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

    pub(super) fn controller_manager(&self) -> Vec<String> {
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
