//! E1: from a bootstrap token to the profile's settings.

use anyhow::{Context as _, Result, ensure};
use e2e::cluster::ClusterWorld;
use e2e::scene::{PROFILE, Setup};

use crate::steps::{
    OFFERS_CONNECTION_SETTINGS, exchanges, nobody_was_refused, offers, ready, shows_leaf,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e1_a_bootstrap_token_becomes_mutual_tls_with_a_marker() -> Result<()> {
    // Here also what libraries say is searched for secrets.
    let setup = Setup {
        log: "debug",
        ..Setup::default()
    };
    let (mut world, leaf) = ClusterWorld::with_mutual_tls("e1", setup).await?;
    let uid = world.supervisor("a1").await?;
    let back = shows_leaf(&world, &uid, &leaf).await?;
    ready(&world, 1, 1).await?;
    let wait = [
        "wait",
        "--for=condition=Ready",
        "opcp/fleet",
        "--timeout=5s",
    ];
    let said = world.kubectl(&wait, "").await?;
    ensure!(said.contains("condition met"), "{said}");

    let first = world.tap.record().of(&uid).remove(0);
    let bearer = format!("Bearer {}", world.bootstrap_token());
    ensure!(first.header("Authorization") == Some(bearer.as_str()));
    ensure!(first.certificate.is_none() && first.marker().is_none());
    let capabilities = first.sent.first().map_or(0, |message| message.capabilities);
    ensure!(capabilities & OFFERS_CONNECTION_SETTINGS != 0);

    let all = offers(&world, &uid);
    let [offer] = &all[..] else {
        anyhow::bail!("{all:?}");
    };
    ensure!(offer.endpoint == world.tap.url("wss"), "{}", offer.endpoint);
    ensure!(offer.heartbeat == 5 && offer.leaf() == Some(leaf.fingerprint()));
    let certificate = offer.certificate.as_ref().context("no certificate")?;
    ensure!(certificate.key && certificate.ca.trim() == world.pki.server_ca.pem().trim());
    ensure!(back.marker().is_some() && back.marker() == offer.header("OpAMP-Settings-Hash"));
    ensure!(back.header("Authorization").is_none());
    exchanges(&world, &uid, 1).await?;
    ensure!(offers(&world, &uid).len() == 1, "offered again");

    // What was published is in the ledger, and what was signed with has a key.
    let ledger = world.api.list("ControllerRevision").await?;
    let entries = ledger["items"].as_array().context("a list")?;
    ensure!(entries.len() == 1, "{ledger}");
    let labels = &entries[0]["metadata"]["labels"];
    ensure!(labels["opamp-operator.dev/ledger"] == "true", "{labels}");
    let key = world.api.get("Secret", "opamp-operator-hash-key").await?;
    ensure!(key.is_some(), "the key is not kept");
    let columns = world.kubectl(&["get", "opcp", PROFILE], "").await?;
    for word in ["READY", "True", "AGENTS"] {
        ensure!(columns.contains(word), "{columns}");
    }
    nobody_was_refused(&world)?;
    world.finish().await
}
