//! E1: from a bootstrap token to the profile's settings.

use anyhow::{Result, ensure};
use e2e::manifests::{CLIENT_TLS, offerable_tls};
use e2e::pki::{DAY, KeyKind, Window};
use e2e::supervisor::Options;
use e2e::world::{PROFILE, SOON, Setup, World};

use crate::steps::{
    OFFERS_CONNECTION_SETTINGS, applies_leaf, exchanges, nobody_was_refused, offers,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e1_h2_a_bootstrap_token_becomes_mutual_tls_with_a_marker() -> Result<()> {
    // Here also what libraries say is searched for secrets.
    let setup = Setup {
        log: "debug",
        ..Setup::default()
    };
    let (mut world, leaf) = World::with_mutual_tls("e1", setup).await?;
    let uid = world.supervisor("a1").await?;
    let back = applies_leaf(&world, &uid, &leaf).await?;

    let first = world.tap.record().of(&uid).remove(0);
    let bearer = format!("Bearer {}", world.bootstrap_token());
    ensure!(first.header("Authorization") == Some(bearer.as_str()));
    ensure!(first.certificate.is_none() && first.marker().is_none());
    let capabilities = first.sent.first().map_or(0, |message| message.capabilities);
    ensure!(
        capabilities & OFFERS_CONNECTION_SETTINGS != 0,
        "{capabilities:#x}"
    );

    let all = offers(&world, &uid);
    let [offer] = &all[..] else {
        anyhow::bail!("{all:?}");
    };
    ensure!(!offer.hash.is_empty(), "an offer without a hash");
    ensure!(offer.endpoint == world.tap.url("wss"), "{}", offer.endpoint);
    ensure!(offer.heartbeat == 5, "{}", offer.heartbeat);
    ensure!(offer.leaf() == Some(leaf.fingerprint()));
    let certificate = offer.certificate.as_ref();
    ensure!(certificate.is_some_and(|certificate| certificate.key));
    let ca = certificate.map(|certificate| certificate.ca.trim());
    ensure!(ca == Some(world.pki.server_ca.pem().trim()));
    ensure!(back.marker() == offer.header("OpAMP-Settings-Hash"));
    ensure!(
        back.header("Authorization").is_none(),
        "headers are replaced"
    );
    for message in first.sent.iter().filter(|message| message.offer.is_some()) {
        ensure!(!message.command && message.error.is_none(), "{message:?}");
    }

    let state = world.state();
    state
        .wait_for_condition(PROFILE, "Ready", "True", "", SOON)
        .await?;
    let status = state.profile(PROFILE);
    ensure!(status["agents"]["upToDate"] == 1, "{status}");
    ensure!(
        status["agents"]["evidence"]["settingsHeader"] == 1,
        "{status}"
    );
    ensure!(status["revision"]["number"] == 1, "{status}");
    let agent = state.agent(&uid);
    ensure!(agent["spec"]["instanceUID"] == uid.as_str(), "{agent}");
    ensure!(agent["status"]["connected"] == true, "{agent}");
    ensure!(agent["status"]["transport"] == "WebSocket", "{agent}");
    ensure!(agent["status"]["settings"]["revision"] == 1, "{agent}");
    nobody_was_refused(&world)?;
    world.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e1_an_rsa_certificate_is_offered_like_any_other() -> Result<()> {
    let mut world = World::new("e1-rsa", Setup::default()).await?;
    let leaf = world.client_leaf("rsa", KeyKind::Rsa2048, Window::lasting(30 * DAY))?;
    world.publish_mutual_tls(&leaf)?;
    world.start_operator().await?;
    let uid = world.supervisor("a1").await?;
    applies_leaf(&world, &uid, &leaf).await?;
    nobody_was_refused(&world)?;
    world.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e10_h19_only_the_capable_agent_is_offered() -> Result<()> {
    let (mut world, leaf) = World::with_mutual_tls("e10", Setup::default()).await?;
    let options = Options {
        accepts_settings: false,
        ..world.supervisor_options("incapable")
    };
    let incapable = world.supervisor_with("incapable", &options).await?;
    let capable = world.supervisor("capable").await?;
    applies_leaf(&world, &capable, &leaf).await?;

    let state = world.state();
    state
        .wait_for_condition(PROFILE, "Ready", "True", "", SOON)
        .await?;
    let status = state.profile(PROFILE);
    ensure!(status["agents"]["incapable"] == 1, "{status}");
    ensure!(status["agents"]["upToDate"] == 1, "{status}");

    // A new revision goes to the same one only.
    let renewed = world.client_leaf("renewed", KeyKind::EcdsaP256, Window::lasting(60 * DAY))?;
    world
        .manifests
        .apply(&offerable_tls(CLIENT_TLS, &renewed))?;
    applies_leaf(&world, &capable, &renewed).await?;
    let link = world.tap.record().of(&incapable);
    ensure!(
        link.len() == 1,
        "the incapable agent was disconnected: {link:?}"
    );
    exchanges(&world, &incapable, 1).await?;
    ensure!(offers(&world, &incapable).is_empty());
    ensure!(offers(&world, &capable).len() == 2);
    exchanges(&world, &capable, 1).await?;
    nobody_was_refused(&world)?;
    world.finish().await
}
