//! How the programs of a node are configured.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::json;

use super::PLUGINS;
use crate::cluster::control_plane::{KUBELET, NODE};
use crate::cluster::files::flags;
use crate::manifests::write_atomically;
use crate::parts::Parts;

/// The image that holds a Pod's namespaces.
pub const PAUSE: &str = "registry.test/pause:1";

/// Where Pods have their addresses.
const PODS: &str = "10.244.0.0/24";

/// The names of Services end with it.
pub(super) const DOMAIN: &str = "cluster.local";

/// Where containerd listens.
pub(super) fn socket(folder: &Path) -> PathBuf {
    folder.join("containerd.sock")
}

pub(super) fn containerd(parts: &Parts, folder: &Path) -> Result<Command> {
    let path = |name: &str| folder.join(name).display().to_string();
    let socket = socket(folder);
    let socket = socket.display();
    let networks = folder.join("networks");
    std::fs::create_dir_all(&networks)?;
    // Without `restrict_oom_score_adj` runc fails where the limits of processes
    // may not be raised.
    let config = format!(
        r#"version = 3
root = "{root}"
state = "/run/containerd"
[grpc]
  address = "{socket}"
[ttrpc]
  address = "{socket}.ttrpc"
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "{PAUSE}"
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
[plugins."io.containerd.cri.v1.runtime".cni]
  bin_dirs = ["{PLUGINS}"]
  conf_dir = "{networks}"
"#,
        root = path("containerd"),
        networks = networks.display(),
    );
    write_atomically(&folder.join("containerd.toml"), &config)?;
    let network = json!({
        "cniVersion": "1.0.0",
        "name": "e2e",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "cni0",
                "isGateway": true,
                "ipMasq": true,
                "hairpinMode": true,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": PODS}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    });
    write_atomically(&networks.join("10-bridge.conflist"), &network.to_string())?;
    let mut command = Command::new(parts.path("containerd")?);
    command.arg("--config").arg(path("containerd.toml"));
    // It finds its shim as it finds runc.
    let shim = parts.path("containerd-shim-runc-v2")?;
    let shim = shim.parent().context("a part in a folder")?;
    let own = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{}:{own}", shim.display()));
    Ok(command)
}

pub(super) fn kubelet(folder: &Path, address: &str, group: &str) -> Result<Vec<String>> {
    let path = |name: &str| folder.join(name).display().to_string();
    let config = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": path("pki/ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": path("pki/kubelet.crt"),
        "tlsPrivateKeyFile": path("pki/kubelet.key"),
        "containerRuntimeEndpoint": format!("unix://{}", socket(folder).display()),
        // The machine may still have version 1.
        "failCgroupV1": false,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": group,
        "failSwapOn": false,
        "clusterDNS": [address],
        "clusterDomain": DOMAIN,
        "resolvConf": "",
        "enforceNodeAllocatable": [],
        "podLogsDir": path("pods"),
        // A full disk is not what is tested.
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {
            "nodefs.available": "0%",
            "imagefs.available": "0%",
            "memory.available": "1Mi",
        },
        // What is mounted is renewed as soon as a kubelet can.
        "syncFrequency": "10s",
    });
    let file = folder.join("kubelet.yaml");
    write_atomically(&file, &serde_saphyr::to_string(&config)?)?;
    Ok(flags(&[
        ("config", path("kubelet.yaml")),
        ("kubeconfig", path(KUBELET)),
        ("hostname-override", NODE.into()),
        ("node-ip", address.into()),
        ("root-dir", path("kubelet")),
        ("cert-dir", path("kubelet/pki")),
    ]))
}

/// It answers on the node's own address: Pods reach that too.
pub(super) fn dns(folder: &Path, kubeconfig: &Path, address: &str) -> Result<Vec<String>> {
    let kubeconfig = kubeconfig.display();
    let config = format!(
        "{DOMAIN}:53 {{
    bind {address}
    errors
    kubernetes {DOMAIN} {{
        kubeconfig {kubeconfig}
        ttl 5
    }}
}}
"
    );
    let file = folder.join("Corefile");
    write_atomically(&file, &config)?;
    Ok(vec!["-conf".into(), file.display().to_string()])
}

pub(super) fn scheduler(kubeconfig: &Path) -> Vec<String> {
    flags(&[
        ("kubeconfig", kubeconfig.display().to_string()),
        ("leader-elect", "false".into()),
    ])
}

pub(super) fn proxy(kubeconfig: &Path) -> Vec<String> {
    flags(&[
        ("kubeconfig", kubeconfig.display().to_string()),
        ("proxy-mode", "nftables".into()),
        ("hostname-override", NODE.into()),
        ("cluster-cidr", PODS.into()),
        // Of connection tracking only the machine has settings.
        ("conntrack-max-per-core", "0".into()),
        ("conntrack-tcp-timeout-established", "0".into()),
        ("conntrack-tcp-timeout-close-wait", "0".into()),
    ])
}
