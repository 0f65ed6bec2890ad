//! E11: hand-broken Secrets and profiles: nothing leaves, the condition says
//! why and what helps, agents keep what they have.

use anyhow::{Context as _, Result, ensure};
use e2e::broken::{Case, cases};
use e2e::cluster::{ClusterWorld, RELEASE};
use e2e::manifests::{CLIENT_TLS, config_map, mutual_tls, offerable_secret, offerable_tls};
use e2e::pki::{Ca, DAY, KeyKind, Window};
use e2e::scene::{PROFILE, SOON, Setup};
use serde_json::{Value, json};

use crate::steps::{is_left_alone, nobody_was_refused, offers, ready, shows_leaf};

/// With this type the API server lets also those Secrets pass that lack a key.
const TYPE: &str = "Opaque";

/// Waits until the profile says of the Secret what it should.
async fn judged(world: &ClusterWorld, case: &Case) -> Result<()> {
    let what = format!("the profile says what is wrong with {}", case.what);
    let told = |status: &Value| case.is_told_by(status).then_some(());
    world.api.wait_for_status(&what, PROFILE, SOON, told).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e11_a_broken_secret_never_leaves() -> Result<()> {
    let mut world = ClusterWorld::new("e11", Setup::default()).await?;
    let month = Window::lasting(30 * DAY);
    let good = world.client_leaf("fleet-1", KeyKind::EcdsaP256, month)?;
    let mut secret = offerable_tls(CLIENT_TLS, &good);
    secret["type"] = json!(TYPE);
    world.api.apply(&secret).await?;
    world.publish_profile(&mutual_tls()).await?;
    world.start_operator().await?;
    let uid = world.supervisor("a1").await?;
    shows_leaf(&world, &uid, &good).await?;
    ready(&world, 1, 1).await?;

    for case in cases(&mut world, &good, TYPE)? {
        world
            .timeline
            .note("test", format!("Secret with {}", case.what));
        match &case.secret {
            Some(secret) => world.api.apply(secret).await.map(drop)?,
            None => world.api.delete("Secret", CLIENT_TLS).await?,
        }
        judged(&world, &case).await?;
        let alone = is_left_alone(&world, &uid, &good, 1).await;
        alone.with_context(|| format!("Secret with {}", case.what))?;
        let status = world.api.status(PROFILE).await?;
        ensure!(status["revision"]["number"] == 1, "{status}");
    }
    ready(&world, 1, 1).await?;
    let events = world.api.list("Event").await?.to_string();
    for reason in [
        "KeyMismatch",
        "Expired",
        "SecretNotOptedIn",
        "SecretNotFound",
    ] {
        ensure!(events.contains(reason), "no event {reason}: {events}");
    }

    let renewed = world.client_leaf("renewed", KeyKind::EcdsaP256, month)?;
    let mut secret = offerable_tls(CLIENT_TLS, &renewed);
    secret["type"] = json!(TYPE);
    world.api.apply(&secret).await?;
    shows_leaf(&world, &uid, &renewed).await?;
    ready(&world, 2, 1).await?;
    ensure!(offers(&world, &uid).len() == 2);
    nobody_was_refused(&world)?;
    world.finish().await
}

/// A change that breaks the profile, and what must be said of it.
struct Change {
    endpoint: Option<&'static str>,
    bundle: Option<Value>,
    condition: &'static str,
    reason: &'static str,
    names: &'static str,
}

fn changes() -> Result<Vec<Change>> {
    let endpoint = |endpoint, names| Change {
        endpoint: Some(endpoint),
        bundle: None,
        condition: "Accepted",
        reason: "WouldLockOut",
        names,
    };
    let bundle = |key: &str, text: &str, condition, reason, names| Change {
        endpoint: None,
        bundle: Some(config_map("server-ca", key, text)),
        condition,
        reason,
        names,
    };
    let stranger = Ca::new("somebody else's CA")?;
    let (accepted, resolved) = ("Accepted", "ResolvedRefs");
    let lock_out = "WouldLockOut";
    Ok(vec![
        endpoint("wss://elsewhere.test:4320/v1/opamp", "`elsewhere.test`"),
        endpoint("https://192.0.2.1/v1/opamp", "`192.0.2.1`"),
        bundle("ca.crt", stranger.pem(), accepted, lock_out, "caBundleRef"),
        bundle("ca.crt", "garbage", resolved, "InvalidPEM", "server-ca"),
        bundle("ca.pem", stranger.pem(), resolved, "KeyMissing", "ca.crt"),
    ])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e11_a_wrong_endpoint_or_bundle_never_leaves() -> Result<()> {
    let (mut world, leaf) = ClusterWorld::with_mutual_tls("e11-profile", Setup::default()).await?;
    let uid = world.supervisor("a1").await?;
    shows_leaf(&world, &uid, &leaf).await?;
    ready(&world, 1, 1).await?;
    let good = config_map("server-ca", "ca.crt", world.pki.server_ca.pem());

    for change in changes()? {
        let mut opamp = mutual_tls();
        if let Some(endpoint) = change.endpoint {
            opamp["endpoint"] = json!(endpoint);
            world.publish_profile(&opamp).await?;
        }
        if let Some(bundle) = &change.bundle {
            world.api.apply(bundle).await?;
        }
        let (condition, reason) = (change.condition, change.reason);
        let why = world
            .api
            .wait_for_condition(PROFILE, condition, "False", reason, SOON);
        let said = why.await?.message;
        ensure!(said.contains(change.names), "{reason} says only {said:?}");
        is_left_alone(&world, &uid, &leaf, 1).await?;

        world.api.apply(&good).await?;
        world.publish_profile(&mutual_tls()).await?;
        ready(&world, 1, 1).await?;
        is_left_alone(&world, &uid, &leaf, 1).await?;
    }
    nobody_was_refused(&world)?;
    world.finish().await
}

/// A good profile that comes to name something which never leaves.
struct Turn {
    what: &'static str,
    object: Option<Value>,
    opamp: Value,
    condition: &'static str,
    reason: &'static str,
    names: &'static str,
}

/// The standard profile with a header from key `value` of this Secret.
fn with_header(secret: &str) -> Value {
    let mut opamp = mutual_tls();
    opamp["headers"] = json!([{"name": "X-Part",
        "valueFrom": {"secretKeyRef": {"name": secret, "key": "value"}}}]);
    opamp
}

fn with_bundle(reference: &Value) -> Value {
    let mut opamp = mutual_tls();
    opamp["tls"]["caBundleRef"] = reference.clone();
    opamp
}

fn turns(ca: &str) -> Vec<Turn> {
    let refs = |what, object: Option<Value>, opamp, reason, names| Turn {
        what,
        object,
        opamp,
        condition: "ResolvedRefs",
        reason,
        names,
    };
    let typed = |of_type: &'static str, name: &'static str| {
        let mut object = offerable_secret(name, &[("value", "x")]);
        object["type"] = json!(of_type);
        // Without it the API server takes no such Secret.
        let account = json!({"kubernetes.io/service-account.name": RELEASE});
        object["metadata"]["annotations"] = account;
        let refused = "SecretTypeRefused";
        refs(of_type, Some(object), with_header(name), refused, of_type)
    };
    let long = "x".repeat(4097);
    let long = offerable_secret("long", &[("value", &long)]);
    let other = offerable_secret("other", &[("another", "x")]);
    let many = config_map("many", "ca.crt", &ca.repeat(700));
    vec![
        typed("helm.sh/release.v1", "release"),
        typed("bootstrap.kubernetes.io/token", "bootstrap"),
        typed("kubernetes.io/service-account-token", "account"),
        refs(
            "a value that servers refuse",
            Some(long),
            with_header("long"),
            "InvalidHeaderValue",
            "longer than 4096 bytes",
        ),
        refs(
            "a Secret without that key",
            Some(other),
            with_header("other"),
            "KeyMissing",
            "it has: another",
        ),
        refs(
            "a leaf's Secret as trust",
            None,
            with_bundle(&json!({"kind": "Secret", "name": CLIENT_TLS, "key": "ca.crt"})),
            "SecretTypeRefused",
            "caBundleRef",
        ),
        refs(
            "no such ConfigMap",
            None,
            with_bundle(&json!({"name": "misspelt", "key": "ca.crt"})),
            "ConfigMapNotFound",
            "kubectl get configmap -n",
        ),
        Turn {
            what: "more than agents take",
            object: Some(many),
            opamp: with_bundle(&json!({"name": "many", "key": "ca.crt"})),
            condition: "Accepted",
            reason: "OfferTooLarge",
            names: "shorten the CA bundle",
        },
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e11_a_good_profile_that_comes_to_name_what_never_leaves() -> Result<()> {
    let (mut world, leaf) = ClusterWorld::with_mutual_tls("e11-turns", Setup::default()).await?;
    let uid = world.supervisor("a1").await?;
    shows_leaf(&world, &uid, &leaf).await?;
    ready(&world, 1, 1).await?;
    let ca = world.pki.server_ca.pem().to_owned();
    for turn in turns(&ca) {
        world.timeline.note("test", turn.what);
        if let Some(object) = &turn.object {
            world.api.apply(object).await?;
        }
        world.publish_profile(&turn.opamp).await?;
        // What is in force is still there, and goes on for everybody.
        for (kind, names) in [
            (turn.condition, turn.names),
            ("Ready", "; revision 1 stays in force"),
        ] {
            let why = world
                .api
                .wait_for_condition(PROFILE, kind, "False", turn.reason, SOON);
            let said = why.await.context(turn.what)?.message;
            let whole = kind != "Ready" || said.ends_with(names);
            ensure!(whole && said.contains(names), "{}: {said:?}", turn.what);
        }
        is_left_alone(&world, &uid, &leaf, 1).await?;
        world.publish_profile(&mutual_tls()).await?;
        ready(&world, 1, 1).await?;
    }
    is_left_alone(&world, &uid, &leaf, 1).await?;
    nobody_was_refused(&world)?;
    world.finish().await
}
