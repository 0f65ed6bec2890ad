//! ServiceAccounts of agents, their Pods and their tokens.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use e2e::cluster::ClusterWorld;
use e2e::cluster::api::Api;
use e2e::cluster::repository;
use jsonwebtoken::{Algorithm, EncodingKey, Header, decode_header, encode};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};

/// The audience of the operator.
pub(crate) const AUDIENCE: &str = "opamp-operator.dev";

/// The account of the example.
pub(crate) const EDGE: &str = "edge-agent";

/// The authenticator of the operator, as in the examples.
pub(crate) fn by_account() -> Value {
    json!([{"name": "cluster", "serviceAccount": {}}])
}

/// Applies the example in a namespace: its account may connect there.
pub(crate) async fn example(world: &ClusterWorld, api: &Api) -> Result<()> {
    let file = repository().join("examples/service-account-agents.yaml");
    let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    ensure!(text.contains("namespace: team-a"), "another example");
    let text = text.replace("team-a", api.namespace());
    let apply = ["apply", "-f", "-"];
    world.kubectl.run_with(&apply, &text).await.map(drop)
}

/// Makes an account that may not connect.
pub(crate) async fn account(api: &Api, name: &str) -> Result<()> {
    let object = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}});
    api.apply(&object).await.map(drop)
}

/// Makes an account that may connect as that of the example may.
pub(crate) async fn connecting(api: &Api, name: &str) -> Result<()> {
    account(api, name).await?;
    let subject = json!({"kind": "ServiceAccount", "name": name, "namespace": api.namespace()});
    let group = "rbac.authorization.k8s.io";
    let binding = json!({
        "apiVersion": format!("{group}/v1"),
        "kind": "RoleBinding",
        "metadata": {"name": format!("opamp-agents-{name}")},
        "roleRef": {"apiGroup": group, "kind": "Role", "name": "opamp-agents"},
        "subjects": [subject],
    });
    api.apply(&binding).await.map(drop)
}

/// A token for the operator, bound to nothing but the account.
pub(crate) async fn token(world: &mut ClusterWorld, api: &Api, account: &str) -> Result<String> {
    let spec = json!({"audiences": [AUDIENCE], "expirationSeconds": 3600});
    token_with(world, api, account, &spec).await
}

/// Any token of an account; the leak check knows it.
pub(crate) async fn token_with(
    world: &mut ClusterWorld,
    api: &Api,
    account: &str,
    spec: &Value,
) -> Result<String> {
    let token = api.token_with(account, spec).await?;
    world.keeps_secret(&format!("token of {account}"), &token);
    Ok(token)
}

/// A Pod on a node, and a token that is bound to it. Nothing runs: there is no
/// kubelet.
pub(crate) async fn pod(
    world: &mut ClusterWorld,
    api: &Api,
    account: &str,
    name: &str,
) -> Result<String> {
    let node = format!("node-of-{}", api.namespace());
    let object = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}});
    api.apply(&object).await?;
    let object = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "serviceAccountName": account,
            "nodeName": node,
            "containers": [{"name": "agent", "image": "example.com/agent:1"}],
        },
    });
    let made = api.apply(&object).await?;
    let bound =
        json!({"apiVersion": "v1", "kind": "Pod", "name": name, "uid": made["metadata"]["uid"]});
    let spec = json!({"audiences": [AUDIENCE], "expirationSeconds": 3600, "boundObjectRef": bound});
    token_with(world, api, account, &spec).await
}

/// The same token with other claims, signed as the API server signs.
pub(crate) fn forge(
    world: &mut ClusterWorld,
    token: &str,
    change: impl FnOnce(&mut Value),
) -> Result<String> {
    let file = world.control_plane_keys().join("sa.key");
    let key = PrivateKeyDer::from_pem_file(file)?;
    signed(world, token, key.secret_der(), change)
}

/// The same, signed by somebody whom the API server does not know.
pub(crate) fn forge_elsewhere(
    world: &mut ClusterWorld,
    token: &str,
    change: impl FnOnce(&mut Value),
) -> Result<String> {
    let key = rcgen::KeyPair::generate()?;
    signed(world, token, &key.serialize_der(), change)
}

fn signed(
    world: &mut ClusterWorld,
    token: &str,
    key: &[u8],
    change: impl FnOnce(&mut Value),
) -> Result<String> {
    let mut claims: Value = jsonwebtoken::dangerous::insecure_decode_claims(token)?;
    change(&mut claims);
    let header = Header {
        kid: decode_header(token)?.kid,
        ..Header::new(Algorithm::ES256)
    };
    let forged = encode(&header, &claims, &EncodingKey::from_ec_der(key))?;
    world.keeps_secret("forged token", &forged);
    Ok(forged)
}
