//! What the parts are made from.

/// How one part is built.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recipe {
    pub(super) name: &'static str,
    /// Folder under `e2e/parts`.
    pub(super) module: &'static str,
    /// Go package inside that module.
    pub(super) package: &'static str,
    /// Whether it is linked with C.
    pub(super) cgo: bool,
}

const fn recipe(name: &'static str, module: &'static str, package: &'static str) -> Recipe {
    Recipe {
        name,
        module,
        package,
        cgo: false,
    }
}

/// The same program in every release.
const SUPERVISOR: &str =
    "github.com/open-telemetry/opentelemetry-collector-contrib/cmd/opampsupervisor";

pub(super) const DIRECTORY: [Recipe; 4] = [
    recipe("opampsupervisor", "opentelemetry", SUPERVISOR),
    recipe("otelcol", "opentelemetry", "./otelcol"),
    recipe("opamp-go-client", "opamp-go-client", "."),
    recipe("opamp-go-server", "opamp-go-client", "./server"),
];

/// Its collector is that of [`DIRECTORY`].
pub(super) const RELEASES: [Recipe; 1] = [recipe(
    "opampsupervisor-0.149",
    "opentelemetry-0.149",
    SUPERVISOR,
)];

pub(super) const MONITORING: [Recipe; 2] = [
    recipe(
        "promtool",
        "prometheus",
        "github.com/prometheus/prometheus/cmd/promtool",
    ),
    recipe(
        "prometheus",
        "prometheus",
        "github.com/prometheus/prometheus/cmd/prometheus",
    ),
];

pub(super) const CONTROL_PLANE: [Recipe; 6] = [
    recipe("etcd", "etcd", "go.etcd.io/etcd/server/v3"),
    recipe(
        "kube-apiserver",
        "kubernetes",
        "k8s.io/kubernetes/cmd/kube-apiserver",
    ),
    recipe(
        "kube-controller-manager",
        "kubernetes",
        "k8s.io/kubernetes/cmd/kube-controller-manager",
    ),
    recipe("kubectl", "kubernetes", "k8s.io/kubernetes/cmd/kubectl"),
    recipe("cert-manager", "cert-manager", "."),
    recipe("helm", "helm", "helm.sh/helm/v4/cmd/helm"),
];

pub(super) const NODE: [Recipe; 8] = [
    recipe(
        "kube-scheduler",
        "kubernetes",
        "k8s.io/kubernetes/cmd/kube-scheduler",
    ),
    recipe(
        "kube-proxy",
        "kubernetes",
        "k8s.io/kubernetes/cmd/kube-proxy",
    ),
    Recipe {
        // It mounts and measures through the C library.
        cgo: true,
        ..recipe("kubelet", "kubernetes", "k8s.io/kubernetes/cmd/kubelet")
    },
    recipe(
        "containerd",
        "containerd",
        "github.com/containerd/containerd/v2/cmd/containerd",
    ),
    recipe(
        "containerd-shim-runc-v2",
        "containerd",
        "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
    ),
    recipe(
        "ctr",
        "containerd",
        "github.com/containerd/containerd/v2/cmd/ctr",
    ),
    recipe("pause", "containerd", "./pause"),
    recipe("coredns", "coredns", "github.com/coredns/coredns"),
];
