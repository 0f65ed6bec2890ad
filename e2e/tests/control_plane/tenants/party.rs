//! A tenant or an administrator: a namespace, and a supervisor with the token of
//! a ServiceAccount there.

use anyhow::{Result, ensure};
use e2e::cluster::ClusterWorld;
use e2e::cluster::api::Api;
use e2e::eventually::{Look, eventually_async};
use e2e::manifests::{CLIENT_TLS, config_map, mutual_tls, offerable_tls, profile};
use e2e::pki::{DAY, KeyKind, Leaf, Window};
use e2e::scene::{OFFER, SOON};
use e2e::state::Condition;
use serde_json::{Value, json};

use crate::accounts::{connecting, example, pod};
use crate::steps::{offers, shows_leaf};

pub(super) const KIND: &str = "OpAMPConnectionProfile";
/// A Secret beside the standard one, which only one namespace has.
pub(super) const OTHER_TLS: &str = "other-tls";

/// One of the three: its namespace, account and certificate, and its agent.
pub(super) struct Party {
    pub(super) api: Api,
    pub(super) account: &'static str,
    pub(super) leaf: Leaf,
    pub(super) uid: String,
}

impl Party {
    /// Makes what its agent and its profiles need; the agent is not there yet.
    pub(super) async fn new(
        world: &mut ClusterWorld,
        api: Api,
        account: &'static str,
    ) -> Result<Self> {
        example(world, &api).await?;
        connecting(&api, account).await?;
        let month = Window::lasting(30 * DAY);
        let leaf = world.client_leaf(account, KeyKind::EcdsaP256, month)?;
        let bundle = config_map("server-ca", "ca.crt", world.pki.server_ca.pem());
        api.apply(&bundle).await?;
        api.apply(&offerable_tls(CLIENT_TLS, &leaf)).await?;
        let uid = String::new();
        Ok(Self {
            api,
            account,
            leaf,
            uid,
        })
    }

    /// Starts its supervisor with the token of a Pod, in a file.
    pub(super) async fn connects(&mut self, world: &mut ClusterWorld) -> Result<()> {
        let mut options = world.supervisor_options(self.account);
        options.token_from_file = true;
        options.token = pod(world, &self.api, self.account, self.account).await?;
        self.uid = world.supervisor_with(self.account, &options).await?;
        Ok(())
    }

    /// Its agent is back with a certificate, and is recorded as running the
    /// revision in force of a profile, by the strongest evidence.
    pub(super) async fn runs(
        &self,
        world: &ClusterWorld,
        by: &Api,
        name: &str,
        leaf: &Leaf,
    ) -> Result<()> {
        shows_leaf(world, &self.uid, leaf).await?;
        let what = format!("agent {} runs {}/{name}", self.account, by.namespace());
        eventually_async(&what, SOON, || async {
            let revision = by.status(name).await.unwrap_or_default()["revision"]["number"].take();
            let agent = self.api.get("OpAMPAgent", &self.uid).await.ok().flatten();
            let status = agent.unwrap_or_default()["status"].take();
            let settings = &status["settings"];
            let right = status["profile"] == json!({"namespace": by.namespace(), "name": name})
                && settings["state"] == "Applied"
                && settings["evidence"] == "SettingsHeader"
                && revision.is_number()
                && settings["revision"] == revision;
            Look::when(right, status)
        })
        .await
    }

    /// Waits until a profile of its has a condition and such counts.
    pub(super) async fn says(
        &self,
        name: &str,
        (kind, status, reason): (&str, &str, &str),
        counts: &[(&str, u64)],
    ) -> Result<String> {
        let (namespace, account) = (self.api.namespace(), self.account);
        let what =
            format!("{namespace}/{name} of {account} has {kind}={status} {reason} {counts:?}");
        let right = |seen: &Value| {
            let condition = Condition::of(seen, kind)?;
            let counted = counts
                .iter()
                .all(|(of, count)| seen["agents"][of] == *count);
            (condition.is(status, reason) && counted).then_some(condition.message)
        };
        self.api.wait_for_status(&what, name, OFFER, right).await
    }
}

/// A profile by name, selector, priority and the Secret with its certificate.
pub(super) fn profile_of(name: &str, selector: Value, priority: i32, secret: &str) -> Value {
    let mut opamp = mutual_tls();
    opamp["clientCertificate"]["secretRef"]["name"] = json!(secret);
    let mut object = profile(name, &opamp);
    object["spec"]["agentSelector"] = selector;
    object["spec"]["priority"] = json!(priority);
    object
}

/// Selects agents by what they proved to be.
pub(super) fn accounts(names: &[&str]) -> Value {
    let all = names
        .iter()
        .map(|name| json!({"serviceAccount": {"name": name}}));
    json!({"authenticatedAs": all.collect::<Vec<_>>()})
}

/// What people see of this test's namespaces.
pub(super) async fn shown(world: &ClusterWorld, when: &str) -> Result<String> {
    // kubectl knows categories by what it read of the server before.
    world.kubectl.run(&["api-resources", "-o", "name"]).await?;
    let table = world.kubectl.run(&["get", "opamp", "-A"]).await?;
    let own = |line: &&str| {
        let rest = line.strip_prefix(world.api.namespace());
        line.starts_with("NAMESPACE") || rest.is_some_and(|rest| rest.starts_with(['-', ' ']))
    };
    let lines: Vec<_> = table.lines().filter(own).collect();
    Ok(format!(
        "# {when}\n$ kubectl get opamp -A\n{}",
        lines.join("\n")
    ))
}

/// Exactly these certificates were ever offered to an agent, in this order.
pub(super) fn was_offered(world: &ClusterWorld, party: &Party, leaves: &[&Leaf]) -> Result<()> {
    let all = offers(world, &party.uid);
    let given: Vec<_> = all.iter().map(|offer| offer.leaf()).collect();
    let expected: Vec<_> = leaves.iter().map(|leaf| Some(leaf.fingerprint())).collect();
    ensure!(
        given == expected,
        "agent {} was offered {given:?}",
        party.account
    );
    Ok(())
}
