//! The operator with Roles that name each object, with many Secrets, and with
//! rights that come late.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use e2e::cluster::{ClusterWorld, RELEASE, api::Api, repository};
use e2e::manifests::{
    CLIENT_TLS, SERVING_TLS, config_map, mutual_tls, offerable_secret, offerable_tls, profile,
    secret,
};
use e2e::pki::{DAY, KeyKind, Window};
use e2e::process::{LogMark, read_from};
use e2e::scene::{PROFILE, SOON, Setup};
use serde_json::{Value, json};

use crate::steps::{is_left_alone, nobody_was_refused, ready, shows_leaf};

/// The commands of the documentation, for these objects.
fn commands(world: &ClusterWorld, namespace: &str, secret: &str, bundle: &str) -> Result<String> {
    let page = std::fs::read_to_string(repository().join("docs/operate.md"))?;
    let section = page.split("`rbac.secretAccess: None`").nth(1);
    let block = section.and_then(|section| section.split("```bash\n").nth(1));
    let block = block.and_then(|block| block.split("```").next());
    let own = format!("{}:{RELEASE}", world.api.namespace());
    Ok(block
        .context("no commands in docs/operate.md")?
        .replace("opamp-system:opamp-operator", &own)
        .replace("team-a", namespace)
        .replace("edge-client-tls", secret)
        .replace("server-ca-bundle", bundle))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roles_that_name_each_object_are_enough() -> Result<()> {
    let none = ["rbac.secretAccess=None"];
    let mut world = ClusterWorld::with_chart("names", Setup::default(), &["tenant"], &none).await?;
    let tenant = world.api.within(&world.namespace("tenant"));
    let month = Window::lasting(30 * DAY);
    let leaf = world.client_leaf("fleet-1", KeyKind::EcdsaP256, month)?;
    for api in [&world.api, &tenant] {
        api.apply(&offerable_tls(CLIENT_TLS, &leaf)).await?;
        api.apply(&profile(PROFILE, &mutual_tls())).await?;
    }
    let bundle = config_map("server-ca", "ca.crt", world.pki.server_ca.pem());
    tenant.apply(&bundle).await?;

    // What its own namespace needs, by the commands of the documentation.
    let own = world.api.namespace().to_owned();
    let secrets = [SERVING_TLS, "bootstrap-token", CLIENT_TLS].join(" --resource-name=");
    let bundles = ["client-ca", "server-ca"].join(" --resource-name=");
    let given = commands(&world, &own, &secrets, &bundles)?;
    world.kubectl.shell(&given).await?;
    world.start_operator().await?;
    let operator = Api::of(&world.operator_kubeconfig().await?).await?;
    let all = operator.list("Secret").await;
    ensure!(all.is_err(), "it may read more than was given");
    let uid = world.supervisor("a1").await?;
    shows_leaf(&world, &uid, &leaf).await?;
    ready(&world, 1, 1).await?;

    // The tenant gave nothing yet: that is said, and nobody else notices.
    let forbidden = tenant.wait_for_condition(PROFILE, "ResolvedRefs", "False", "Forbidden", SOON);
    let said = forbidden.await?.message;
    let role = format!(
        "kubectl create role opamp-operator-{CLIENT_TLS} -n {}",
        tenant.namespace()
    );
    let named = format!("--verb=get,list,watch --resource=secrets --resource-name={CLIENT_TLS}`");
    ensure!(said.contains(&role) && said.contains(&named), "{said}");
    let given = commands(&world, tenant.namespace(), CLIENT_TLS, "server-ca")?;
    world.kubectl.shell(&given).await?;
    let since = Instant::now();
    let within = SOON + SOON;
    let healed = tenant.wait_for_condition(PROFILE, "ResolvedRefs", "True", "Resolved", within);
    healed.await?;
    println!(
        "healed {:.1} s after the Role",
        since.elapsed().as_secs_f32()
    );
    is_left_alone(&world, &uid, &leaf, 1).await?;

    // A change of what is read by its name arrives as any other.
    let renewed = world.client_leaf("renewed", KeyKind::EcdsaP256, month)?;
    world
        .api
        .apply(&offerable_tls(CLIENT_TLS, &renewed))
        .await?;
    shows_leaf(&world, &uid, &renewed).await?;
    ready(&world, 2, 1).await?;
    nobody_was_refused(&world)?;
    world.finish().await
}

/// More Secrets than are watched one by one where they may all be read.
const MANY: usize = 60;
/// Of these to a profile.
const EACH: usize = 20;

/// A profile whose headers come from these Secrets.
fn headers(name: &str, secrets: &[String]) -> Value {
    let mut opamp = mutual_tls();
    let header = |(number, secret): (usize, &String)| {
        json!({"name": format!("X-Part-{number}"),
            "valueFrom": {"secretKeyRef": {"name": secret, "key": "value"}}})
    };
    opamp["headers"] = secrets.iter().enumerate().map(header).collect();
    profile(name, &opamp)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_secrets_are_watched_by_their_label_and_told_as_they_are() -> Result<()> {
    let mut world = ClusterWorld::new("many", Setup::default()).await?;
    let names: Vec<String> = (0..MANY)
        .map(|number| format!("part-{number:02}"))
        .collect();
    for name in &names {
        world
            .api
            .apply(&offerable_secret(name, &[("value", "1")]))
            .await?;
    }
    for (number, names) in names.chunks(EACH).enumerate() {
        world
            .api
            .apply(&headers(&format!("p{number}"), names))
            .await?;
    }
    let month = Window::lasting(30 * DAY);
    let leaf = world.client_leaf("fleet-1", KeyKind::EcdsaP256, month)?;
    world.api.apply(&offerable_tls(CLIENT_TLS, &leaf)).await?;
    world.start_operator().await?;
    let log = world.operator_mut()?.log().to_owned();
    let resolved = async |profile: &str, status: &str, reason: &str| {
        let condition = "ResolvedRefs";
        let api = &world.api;
        api.wait_for_condition(profile, condition, status, reason, SOON)
            .await
    };
    for number in 0..names.len().div_ceil(EACH) {
        resolved(&format!("p{number}"), "True", "Resolved").await?;
    }
    let log = read_from(&log, LogMark::default());
    ensure!(
        log.contains("with the opt-in label are watched at once"),
        "{log}"
    );

    // A change, the label that goes and comes, a Secret that does.
    let last = names.last().context("no name")?;
    let profile = format!("p{}", names.len() / EACH - 1);
    let number = async |wanted: u64| {
        let is = |status: &Value| (status["revision"]["number"] == wanted).then_some(());
        let what = format!("revision {wanted}");
        world.api.wait_for_status(&what, &profile, SOON, is).await
    };
    number(1).await?;
    world
        .api
        .apply(&offerable_secret(last, &[("value", "2")]))
        .await?;
    number(2).await?;
    world.api.apply(&secret(last, &[("value", "2")])).await?;
    let said = resolved(&profile, "False", "SecretNotOptedIn")
        .await?
        .message;
    ensure!(said.contains(last), "{said}");
    world
        .api
        .apply(&offerable_secret(last, &[("value", "2")]))
        .await?;
    resolved(&profile, "True", "Resolved").await?;
    world.api.delete("Secret", last).await?;
    let said = resolved(&profile, "False", "SecretNotFound").await?.message;
    ensure!(said.contains(last), "{said}");
    world
        .api
        .apply(&offerable_secret(last, &[("value", "2")]))
        .await?;
    resolved(&profile, "True", "Resolved").await?;
    number(2).await?;
    for other in ["p0", "p1"] {
        let status = world.api.status(other).await?;
        ensure!(status["revision"]["number"] == 1, "{status}");
    }
    world.finish().await
}
