//! What the operator's ServiceAccount may do: what the chart says, and no more.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use e2e::cluster::api::Api;
use e2e::cluster::rules::lines;
use e2e::cluster::{Kubeconfig, RELEASE, User};
use e2e::node::{NodeWorld, OPERATOR, TEAM};
use serde_json::{Value, json};

/// Compares what the API server allows with what the release says, and tries.
pub(crate) async fn are_what_the_chart_says(world: &NodeWorld) -> Result<()> {
    let nobody =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "nobody"}});
    world.api.apply(&nobody).await?;
    let (operator, nobody) = (user(world, RELEASE).await?, user(world, "nobody").await?);
    let objects = released(world).await?;
    let mut count = 0;
    for namespace in [OPERATOR, TEAM, "default", "kube-system"] {
        // Every ServiceAccount may ask who it is and what there is.
        let everybody = Api::of(&nobody).await?.rules(namespace).await?;
        let may = Api::of(&operator).await?.rules(namespace).await?;
        let may: BTreeSet<&String> = may.difference(&everybody).collect();
        let said = said(&objects, namespace);
        let said: BTreeSet<&String> = said.iter().collect();
        ensure!(
            may == said,
            "in {namespace}\n  not said: {:?}\n  not allowed: {:?}",
            may.difference(&said).collect::<Vec<_>>(),
            said.difference(&may).collect::<Vec<_>>()
        );
        count += may.len();
    }
    ensure!(count > 0, "the chart gives nothing");
    let tried = tries(world, &operator).await?;
    let what = format!(
        "may do {count} things in 4 namespaces, as the chart says; {tried} others were refused"
    );
    world.timeline.add("account", what);
    Ok(())
}

/// The kubeconfig of a ServiceAccount of the operator's namespace.
async fn user(world: &NodeWorld, account: &str) -> Result<std::path::PathBuf> {
    let token = world.api.token(account).await?;
    let file = world.folder().join(format!("{account}.kubeconfig"));
    let admin = world.node.cluster.admin();
    Kubeconfig::like(&admin, OPERATOR, User::Token(token))?.write(&file)?;
    Ok(file)
}

/// The objects of the release, as Helm keeps them.
async fn released(world: &NodeWorld) -> Result<Vec<Value>> {
    let text = world.helm(&["get", "manifest", RELEASE]).await?;
    let documents = text.split("\n---\n").map(|document| {
        let document = document.trim_start_matches("---\n");
        serde_saphyr::from_str(document).with_context(|| document.to_owned())
    });
    documents.collect()
}

/// What those objects let the operator do in a namespace.
fn said(objects: &[Value], namespace: &str) -> BTreeSet<String> {
    let place = |object: &Value| object["metadata"]["namespace"].as_str().map(str::to_owned);
    let mut all = BTreeSet::new();
    for binding in objects {
        let kind = binding["kind"].as_str().unwrap_or_default();
        let here = match kind {
            "ClusterRoleBinding" => true,
            "RoleBinding" => place(binding).as_deref() == Some(namespace),
            _ => false,
        };
        let subjects = binding["subjects"].as_array().into_iter().flatten();
        let mut own = subjects.filter(|one| one["name"] == RELEASE && one["namespace"] == OPERATOR);
        if !here || own.next().is_none() {
            continue;
        }
        let role = objects.iter().filter(|object| {
            let cluster = object["kind"] == "ClusterRole";
            object["kind"] == binding["roleRef"]["kind"]
                && object["metadata"]["name"] == binding["roleRef"]["name"]
                && (cluster || place(object) == place(binding))
        });
        all.extend(role.flat_map(|role| lines(&role["rules"])));
    }
    all
}

/// Does as the operator what it may not; returns how many things were tried.
async fn tries(world: &NodeWorld, operator: &std::path::Path) -> Result<usize> {
    let kubectl = world.kubectl.with(operator);
    let account = format!("--serviceaccount={OPERATOR}:{RELEASE}");
    let all: [&[&str]; 18] = [
        &["get", "secrets", "--all-namespaces"],
        &["get", "secrets", "--namespace=kube-system"],
        &["get", "configmaps", "--namespace=default"],
        &["get", "opcp", "--all-namespaces"],
        &["get", "pods", "--namespace=default"],
        &["get", "nodes"],
        &["get", "namespaces"],
        &["get", "opcp", "--namespace=team-a", "--as=system:admin"],
        &["create", "token", "default", "--namespace=team-a"],
        &[
            "create",
            "clusterrolebinding",
            "x",
            "--clusterrole=cluster-admin",
            &account,
        ],
        &[
            "create",
            "rolebinding",
            "x",
            "--clusterrole=admin",
            &account,
        ],
        &["create", "secret", "generic", "x", "--namespace=team-a"],
        &["run", "x", "--image=x", "--namespace=team-a"],
        &["run", "x", "--image=x"],
        &["delete", "deployment", RELEASE],
        &["delete", "opcp", "fleet", "--namespace=team-a"],
        &["delete", "crd", "opampagents.opamp-operator.dev"],
        &[
            "label",
            "namespace",
            TEAM,
            "pod-security.kubernetes.io/enforce=privileged",
            "--overwrite",
        ],
    ];
    for arguments in all {
        let output = kubectl.output(arguments, "").await?;
        let refused = !output.success && output.stderr.contains("forbidden");
        ensure!(
            refused,
            "{arguments:?} was not refused:\n{}{}",
            output.stdout,
            output.stderr
        );
    }
    // It is its own word that is believed: what it may do works.
    kubectl
        .run(&["get", "secrets", "--namespace=team-a"])
        .await?;
    Ok(all.len())
}
