//! Agents as Pods: a real supervisor with a real collector, which proves who it
//! is by the projected token of its ServiceAccount.

use serde_json::{Value, json};

/// The image with supervisor and collector.
pub const IMAGE: &str = "registry.test/agent:1";

/// The ServiceAccount of the example, which may connect.
pub const ACCOUNT: &str = "edge-agent";

/// The name of the agents' Deployment.
pub const AGENTS: &str = "edge-agent";

/// The audience of the operator.
pub const AUDIENCE: &str = "opamp-operator.dev";

/// The configuration of supervisors that dial this, and of their collectors.
#[must_use]
pub fn configuration(endpoint: &str) -> Value {
    let supervisor = json!({
        "server": {
            "endpoint": endpoint,
            "tls": {"ca_file": "/etc/opamp/ca.crt"},
            "auth": "bearertokenauth",
        },
        "extensions": {"bearertokenauth": {"filename": "/var/run/opamp/token"}},
        "capabilities": {
            "accepts_opamp_connection_settings": true,
            "reports_heartbeat": true,
            "reports_effective_config": true,
            "reports_health": true,
        },
        "storage": {"directory": "/var/lib/opamp"},
        "agent": {
            "executable": "/otelcol",
            "config_files": ["/etc/opamp/config/collector.yaml"],
            "args": ["--set=service.telemetry.metrics.level=none"],
            "bootstrap_timeout": "60s",
        },
        "telemetry": {"logs": {"level": "debug", "output_paths": ["stdout"]}},
    });
    let collector = json!({
        "receivers": {"nop": {}},
        "exporters": {"nop": {}},
        "service": {
            "telemetry": {"metrics": {"level": "none"}},
            "pipelines": {"traces": {"receivers": ["nop"], "exporters": ["nop"]}},
        },
    });
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": AGENTS},
        // JSON is YAML.
        "data": {
            "supervisor.yaml": supervisor.to_string(),
            "collector.yaml": collector.to_string(),
        },
    })
}

/// So many agents; `server-ca` is the ConfigMap with the CA that they trust.
#[must_use]
pub fn deployment(replicas: usize) -> Value {
    let labels = json!({"app": AGENTS});
    let container = json!({
        "name": "supervisor",
        "image": IMAGE,
        "imagePullPolicy": "Never",
        "args": [
            "--config=/etc/opamp/config/supervisor.yaml",
            "--feature-gates=opampsupervisor.Extensions",
        ],
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "config", "mountPath": "/etc/opamp/config"},
            {"name": "ca", "mountPath": "/etc/opamp/ca.crt", "subPath": "ca.crt"},
            {"name": "token", "mountPath": "/var/run/opamp"},
            {"name": "storage", "mountPath": "/var/lib/opamp"},
        ],
    });
    let token = json!({"audience": AUDIENCE, "expirationSeconds": 3600, "path": "token"});
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": AGENTS},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "serviceAccountName": ACCOUNT,
                    "automountServiceAccountToken": false,
                    "enableServiceLinks": false,
                    "terminationGracePeriodSeconds": 5,
                    "securityContext": {
                        "runAsNonRoot": true,
                        "runAsUser": super::images::USER,
                        "runAsGroup": super::images::USER,
                        "fsGroup": super::images::USER,
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    "containers": [container],
                    "volumes": [
                        {"name": "config", "configMap": {"name": AGENTS}},
                        {"name": "ca", "configMap": {"name": "server-ca"}},
                        {"name": "token", "projected": {
                            "sources": [{"serviceAccountToken": token}],
                        }},
                        {"name": "storage", "emptyDir": {}},
                    ],
                },
            },
        },
    })
}

/// How many times a supervisor was given settings, by its log: it makes a new
/// client each time, and one at its start.
#[must_use]
pub fn times_offered(log: &str) -> usize {
    let clients = log.matches("Starting OpAMP client").count();
    clients.saturating_sub(1)
}
