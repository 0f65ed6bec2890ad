//! Agents that prove who they are by the ServiceAccount of their Pod, and others
//! who would like to be them.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use e2e::cluster::ClusterWorld;
use e2e::cluster::api::Api;
use e2e::eventually::{Look, eventually_async};
use e2e::manifests::{CLIENT_TLS, config_map, mutual_tls, offerable_tls, profile};
use e2e::pki::{DAY, KeyKind, Leaf, Window};
use e2e::process::LogMark;
use e2e::scene::{PROFILE, SOON, Setup};
use e2e::tap::Connection;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::accounts::{
    AUDIENCE, EDGE, account, by_account, connecting, example, forge, forge_elsewhere, pod, token,
    token_with,
};
use crate::probe::{Probe, Shown, bearing};
use crate::steps::{nobody_was_refused, offers, ready, shows_leaf};

/// The standard profile, for one ServiceAccount only.
fn for_account(name: &str) -> Value {
    let mut object = profile(PROFILE, &mutual_tls());
    let chosen = json!([{"serviceAccount": {"name": name}}]);
    object["spec"]["agentSelector"] = json!({"authenticatedAs": chosen});
    object
}

/// The account of the example may connect, and gets the certificate.
async fn world(name: &str) -> Result<(ClusterWorld, Api, Leaf)> {
    let setup = Setup {
        authenticators: Some(by_account()),
        ..Setup::default()
    };
    let mut world = ClusterWorld::new(name, setup).await?;
    let leaf = world.client_leaf("fleet-1", KeyKind::EcdsaP256, Window::lasting(30 * DAY))?;
    let api = world.api.clone();
    example(&world, &api).await?;
    api.apply(&offerable_tls(CLIENT_TLS, &leaf)).await?;
    api.apply(&for_account(EDGE)).await?;
    world.start_operator().await?;
    Ok((world, api, leaf))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_supervisor_in_a_pod_is_given_what_its_service_account_may_have() -> Result<()> {
    let (mut world, api, leaf) = world("account").await?;
    let mut options = world.supervisor_options("edge-0");
    options.token_from_file = true;
    options.token = pod(&mut world, &api, EDGE, "edge-0").await?;
    let claimed = ("k8s.pod.name".to_owned(), "edge-0".to_owned());
    options.attributes.push(claimed);
    let uid = world.supervisor_with("edge-0", &options).await?;
    let shows = shows_leaf(&world, &uid, &leaf).await?;
    let bearer = format!("Bearer {}", options.token);
    ensure!(
        shows.header("Authorization") == Some(&bearer),
        "without its token"
    );
    ready(&world, 1, 1).await?;
    let agent = api.get("OpAMPAgent", &uid).await?.context("no agent")?;
    let identity = &agent["spec"]["identity"];
    ensure!(
        identity["method"] == "ServiceAccount" && identity["subject"] == EDGE,
        "{agent}"
    );

    // The kubelet renews the file; the next connection shows what it holds.
    let next = pod(&mut world, &api, EDGE, "edge-0").await?;
    world.supervisor_mut("edge-0")?.renew_token(&next)?;
    let renewed = world.client_leaf("fleet-2", KeyKind::EcdsaP256, Window::lasting(60 * DAY))?;
    api.apply(&offerable_tls(CLIENT_TLS, &renewed)).await?;
    let shows = shows_leaf(&world, &uid, &renewed).await?;
    let bearer = format!("Bearer {next}");
    ensure!(
        shows.header("Authorization") == Some(&bearer),
        "with another token"
    );
    ready(&world, 2, 1).await?;
    nobody_was_refused(&world)?;
    world.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn law2_impostors_get_nothing() -> Result<()> {
    let (mut world, api, leaf) = world("impostors").await?;
    connecting(&api, "other").await?;
    account(&api, "nobody").await?;
    let right = pod(&mut world, &api, EDGE, "edge-0").await?;
    let claims = [("service.name", "edge"), ("k8s.pod.name", "edge-0")];
    let mut rightful = Probe::enter(&world, &bearing(&right), &claims).await?;
    ensure!(rightful.is_offered().await? == leaf.fingerprint());
    let uid = rightful.uid();
    let given = offers(&world, &uid.to_string());
    let marker = given
        .first()
        .and_then(|offer| offer.header("OpAMP-Settings-Hash"));
    let marker = marker.context("an offer without marker")?.to_owned();

    // Let in, by an identity of its own, to which the profile gives nothing.
    let other = token(&mut world, &api, "other").await?;
    let service = [("service.name", "edge")];
    let with_it = |token| Shown {
        marker: Some(&*marker),
        ..bearing(token)
    };
    for shown in [bearing(&other), with_it(&other)] {
        let mut impostor = Probe::enter(&world, &shown, &service).await?;
        impostor.gets_nothing().await?;
    }
    // What it says of itself contradicts what the API says of it.
    for (token, claim) in [
        (&other, ("k8s.serviceaccount.name", EDGE)),
        (&right, ("k8s.pod.name", "edge-1")),
        (&right, ("k8s.node.name", "another")),
        (&right, ("k8s.namespace.name", "another")),
    ] {
        let mut impostor = Probe::enter(&world, &bearing(token), &[claim]).await?;
        impostor
            .is_denied(&format!("`{}` contradicts", claim.0))
            .await?;
    }
    // The instance UID is another's.
    let knocked = Probe::knock(&world, &bearing(&other), uid, &claims).await?;
    let mut thief = knocked.map_err(|status| anyhow::anyhow!("refused with {status}"))?;
    thief.is_denied("another identity").await?;

    // Not let in at all.
    let spec = |audiences: Value| json!({"audiences": audiences, "expirationSeconds": 3600});
    let hour = |claims: &mut Value, hours: i64| {
        for claim in ["iat", "nbf", "exp"] {
            let moved = claims[claim].as_i64().unwrap_or_default() + hours * 3600;
            claims[claim] = json!(moved);
        }
    };
    let audience = spec(json!(["opamp-operator.example.com"]));
    let refused = [
        (
            "no right to connect",
            token(&mut world, &api, "nobody").await?,
        ),
        (
            "expired",
            forge(&mut world, &right, |claims| hour(claims, -2))?,
        ),
        (
            "another audience",
            token_with(&mut world, &api, EDGE, &audience).await?,
        ),
        ("the API's audience", api.token(EDGE).await?),
        ("claims our audience", {
            let plain = api.token(EDGE).await?;
            forge_elsewhere(&mut world, &plain, |claims| {
                claims["aud"] = json!([AUDIENCE]);
            })?
        }),
    ];
    for (what, token) in &refused {
        world.keeps_secret(what, token);
        for shown in [bearing(token), with_it(token)] {
            let knocked = Probe::knock(&world, &shown, Uuid::now_v7(), &claims).await?;
            ensure!(knocked.err() == Some(401), "{what}: not refused with 401");
        }
    }
    let alone = Shown {
        marker: Some(&marker),
        ..Shown::default()
    };
    let knocked = Probe::knock(&world, &alone, uid, &claims).await?;
    ensure!(knocked.err() == Some(401), "a marker proves nobody");
    // It was the end of the token, and nothing else about the forged one.
    let good = forge(&mut world, &right, |claims| hour(claims, 0))?;
    let mut again = Probe::enter(&world, &bearing(&good), &claims).await?;
    again.exchange().await?;

    let all = world.tap.record().connections();
    let given: Vec<&Connection> = all
        .iter()
        .filter(|link| link.offers().count() > 0)
        .collect();
    let own = [uid.to_string(), again.uid().to_string()];
    for link in given {
        let to = link.uid.clone().unwrap_or_default();
        ensure!(own.contains(&to), "{to} was offered settings");
    }
    world.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn law9_a_shared_certificate_reaches_nobody_of_another_namespace() -> Result<()> {
    let setup = Setup {
        authenticators: Some(by_account()),
        configuration: json!({"adminNamespaces": []}),
        ..Setup::default()
    };
    let mut world = ClusterWorld::watching("shared", setup, &["tenant"]).await?;
    let (own, tenant) = (
        world.api.clone(),
        world.api.within(&world.namespace("tenant")),
    );
    let month = Window::lasting(30 * DAY);
    let bundle = config_map("server-ca", "ca.crt", world.pki.server_ca.pem());
    tenant.apply(&bundle).await?;
    let mut agents = Vec::new();
    for (api, name) in [(&own, "own-1"), (&tenant, "tenant-1")] {
        let leaf = world.client_leaf(name, KeyKind::EcdsaP256, month)?;
        example(&world, api).await?;
        api.apply(&offerable_tls(CLIENT_TLS, &leaf)).await?;
        api.apply(&profile(PROFILE, &mutual_tls())).await?;
        agents.push((token(&mut world, api, EDGE).await?, leaf));
    }
    world.start_operator().await?;
    let mut given = Vec::new();
    for (token, leaf) in &agents {
        let mut agent = Probe::enter(&world, &bearing(token), &[]).await?;
        ensure!(agent.is_offered().await? == leaf.fingerprint());
        given.push(agent.uid());
    }
    let [(_, shared), (token, theirs)] = &agents[..] else {
        anyhow::bail!("two agents");
    };
    let victim = given[1];
    let marker = offers(&world, &victim.to_string());
    let marker = marker
        .first()
        .and_then(|offer| offer.header("OpAMP-Settings-Hash"));
    let marker = marker.context("an offer without marker")?.to_owned();
    let returned = Shown {
        token: Some(token),
        marker: Some(&marker),
        certificate: Some(theirs),
    };
    let knocked = Probe::knock(&world, &returned, victim, &[]).await?;
    let mut agent = knocked.map_err(|status| anyhow::anyhow!("refused with {status}"))?;
    agent.exchange().await?;

    // Somebody of the first namespace, with its certificate and that name; then
    // with the marker too.
    let mut thieves = Vec::new();
    for marker in [None, Some(&*marker)] {
        let shown = Shown {
            marker,
            certificate: Some(shared),
            ..Shown::default()
        };
        let knocked = Probe::knock(&world, &shown, victim, &[]).await?;
        let mut thief = knocked.map_err(|status| anyhow::anyhow!("refused with {status}"))?;
        thief.exchange().await?;
        thieves.push(thief);
    }
    let renewed = world.client_leaf("tenant-2", KeyKind::EcdsaP256, month)?;
    tenant.apply(&offerable_tls(CLIENT_TLS, &renewed)).await?;
    ensure!(agent.is_offered().await? == renewed.fingerprint());
    for thief in &mut thieves {
        thief.exchange().await?;
    }
    for link in world.tap.record().of(&victim.to_string()) {
        if link.certificate.as_deref() == Some(shared.fingerprint()) {
            for offer in link.offers() {
                ensure!(
                    offer.leaf() == Some(shared.fingerprint()),
                    "given what is another namespace's"
                );
            }
        }
    }
    world.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_connect_is_configured_anew_without_a_restart() -> Result<()> {
    let setup = Setup {
        authenticators: Some(by_account()),
        ..Setup::default()
    };
    let mut world = ClusterWorld::watching("reload", setup, &["tenant"]).await?;
    let (own, tenant) = (
        world.api.clone(),
        world.api.within(&world.namespace("tenant")),
    );
    for api in [&own, &tenant] {
        example(&world, api).await?;
    }
    connecting(&tenant, "other").await?;
    world.start_operator().await?;
    let right = token(&mut world, &tenant, EDGE).await?;
    let other = token(&mut world, &tenant, "other").await?;
    let home = token(&mut world, &own, EDGE).await?;
    let mut first = Probe::enter(&world, &bearing(&right), &[]).await?;
    first.gets_nothing().await?;
    let uid = first.uid();
    let name = uid.to_string();
    eventually_async("it is recorded", SOON, || async {
        let agent = tenant.get("OpAMPAgent", &name).await.ok().flatten();
        Look::when(agent.is_some(), "no object")
    })
    .await?;

    // The namespace is no home any more: nobody new is let in from there.
    let only = json!([own.namespace()]);
    let operator = world.operator_mut()?;
    operator.reconfigure(|all| all["homeNamespaces"] = only)?;
    is_answered(&world, &right, Some(401)).await?;
    first.gets_nothing().await?;
    let mut at_home = Probe::enter(&world, &bearing(&home), &[]).await?;
    at_home.gets_nothing().await?;

    // A process that never knew who is bound to what in that namespace.
    world.kill_operator()?;
    world.start_operator_again().await?;
    is_answered(&world, &right, Some(401)).await?;
    let operator = world.operator_mut()?;
    let mark = LogMark::end_of(operator.log());
    operator.reconfigure(|all| all["authenticators"] = json!("nobody"))?;
    let said = operator.wait_for_log("cannot be used", mark, SOON);
    said.await?;
    is_answered(&world, &home, None).await?;
    let operator = world.operator_mut()?;
    operator.reconfigure(|all| {
        all["authenticators"] = by_account();
        all["homeNamespaces"] = Value::Null;
    })?;
    is_answered(&world, &right, None).await?;
    // Whose an instance UID is was known before anybody was let in.
    let knocked = Probe::knock(&world, &bearing(&other), uid, &[]).await?;
    let mut thief = knocked.map_err(|status| anyhow::anyhow!("refused with {status}"))?;
    thief.is_denied("another identity").await?;
    let knocked = Probe::knock(&world, &bearing(&right), uid, &[]).await?;
    let mut owner = knocked.map_err(|status| anyhow::anyhow!("refused with {status}"))?;
    owner.gets_nothing().await?;
    world.finish().await
}

/// Waits until a token is let in, or refused with this status.
async fn is_answered(world: &ClusterWorld, token: &str, status: Option<u16>) -> Result<()> {
    let what = format!("a token is answered {status:?}");
    eventually_async(&what, SOON, || async {
        match Probe::knock(world, &bearing(token), Uuid::now_v7(), &[]).await {
            Ok(knocked) => {
                let answered = knocked.err();
                Look::when(answered == status, format!("{answered:?}"))
            }
            Err(error) => Look::NotYet(format!("{error:#}")),
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_missing_is_named_with_the_command_that_gives_it() -> Result<()> {
    let setup = Setup {
        authenticators: Some(by_account()),
        ..Setup::default()
    };
    let mut world = ClusterWorld::new("remedies", setup).await?;
    let api = world.api.clone();
    let reviews = format!("{}-opamp-operator-reviews", api.namespace());
    api.delete("RoleBinding", "opamp-operator-agents").await?;
    api.delete("ClusterRoleBinding", &reviews).await?;
    account(&api, EDGE).await?;
    world.start_operator().await?;
    let token = token(&mut world, &api, EDGE).await?;

    is_answered(&world, &token, Some(503)).await?;
    remedy(&mut world, "reviews are not allowed").await?;
    is_answered(&world, &token, Some(401)).await?;
    remedy(&mut world, "may not connect").await?;
    is_answered(&world, &token, None).await?;
    let probe = Probe::enter(&world, &bearing(&token), &[]).await?;
    remedy(&mut world, "it is not seen which ServiceAccounts").await?;
    // From here on it is seen, at the latest when the watch is tried again.
    let deleted = Instant::now();
    api.delete("ServiceAccount", EDGE).await?;
    probe.closed(deleted, SOON).await?;
    world.finish().await
}

/// Runs the commands of the log line that says this.
async fn remedy(world: &mut ClusterWorld, words: &str) -> Result<()> {
    let operator = world.operator_mut()?;
    let said = operator.wait_for_log(words, LogMark::default(), SOON);
    let said = said.await?;
    let quoted: Vec<&str> = said.split('`').skip(1).step_by(2).collect();
    let commands: Vec<&&str> = quoted
        .iter()
        // That of an administrator of the namespace is for people to complete.
        .filter(|it| it.starts_with("kubectl ") && !it.contains("--clusterrole=NAME"))
        .collect();
    ensure!(commands.len() == 2, "{said}");
    // Names that are the whole cluster's must not be those of another test.
    let own = format!("opamp-operator-reviews-{}", world.api.namespace());
    for command in commands {
        let command = command.replace("opamp-operator-reviews", &own);
        world.kubectl.shell(&command).await?;
    }
    Ok(())
}
