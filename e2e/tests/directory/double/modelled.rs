//! Supervisors that cannot be had here, with the operator.  What the double
//! does in these modes is **modelled, unverified**: the tests show that the
//! operator is right about such agents, if they are like that.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::double::{Double, Mode};
use e2e::eventually::{Look, throughout};
use e2e::manifests::{CLIENT_TLS, bearer, mutual_tls, offerable_secret, offerable_tls, profile};
use e2e::pki::{Ca, DAY, KeyKind, Leaf, Window};
use e2e::raw_server::RawServer;
use e2e::tap::{Connection, Offer, Record};
use e2e::world::{OFFER, PROFILE, SOON, Setup, World};
use opamp_wire::proto::ConnectionSettingsStatuses::{self, Applied, Applying, Failed};

use super::subject::double_options;
use crate::steps::{
    applied, applies_leaf, comes_back, exchanges, nobody_was_refused, offers, shows_leaf,
    stays_unoffered,
};

/// What an agent said of offers, in order; the hash that it speaks of first.
fn reports(world: &World, uid: &str) -> Vec<(String, ConnectionSettingsStatuses)> {
    let all = world.tap.record().of(uid);
    let said = all.iter().flat_map(|link| &link.received);
    let mut reports: Vec<_> = said
        .filter_map(|message| message.settings.as_ref())
        .map(|settings| (settings.hash.clone(), settings.status))
        .collect();
    reports.dedup();
    reports
}

/// Bootstrap token, mutual TLS, a renewed certificate, a restart of the operator.
async fn main_job(name: &str, mode: Mode) -> Result<(World, Double, Leaf)> {
    let (mut world, first) = World::with_mutual_tls(name, Setup::default()).await?;
    let double = Double::start(name, double_options(&world, mode))?;
    let uid = double.uid();
    // The bootstrap comes first; nothing is known of the double before.
    applies_leaf(&world, &uid, &first).await?;
    let renewed = world.client_leaf("renewed", KeyKind::EcdsaP256, Window::lasting(60 * DAY))?;
    world
        .manifests
        .apply(&offerable_tls(CLIENT_TLS, &renewed))?;
    applies_leaf(&world, &uid, &renewed).await?;
    let state = world.state();
    state
        .wait_for_condition(PROFILE, "Ready", "True", "", SOON)
        .await?;

    world.kill_operator()?;
    world.start_operator_again().await?;
    stays_unoffered(&world, &uid, &renewed).await?;
    applied(&world, &uid).await?;
    ensure!(
        offers(&world, &uid).len() == 2,
        "{:?}",
        offers(&world, &uid)
    );
    Ok((world, double, renewed))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn modelled_unverified_legacy_does_the_main_job() -> Result<()> {
    let (world, mut double, leaf) = main_job("legacy", Mode::Legacy).await?;
    let uid = double.uid();
    ensure!(reports(&world, &uid).is_empty());
    double.kill9().await;
    double.start_again()?;
    let plain = |last: &Connection| last.marker().is_none();
    comes_back(&world, &uid, "the token of its file", plain).await?;
    applies_leaf(&world, &uid, &leaf).await?;
    ensure!(offers(&world, &uid).len() == 3);
    nobody_was_refused(&world)?;
    world.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn modelled_unverified_persist_does_the_main_job_and_keeps_its_settings() -> Result<()> {
    let (world, mut double, leaf) = main_job("persist", Mode::Persist).await?;
    let uid = double.uid();
    let offered = offers(&world, &uid);
    let hashes: Vec<&str> = offered.iter().map(|offer| offer.hash.as_str()).collect();
    let expected: Vec<_> = hashes
        .iter()
        .flat_map(|hash| [Applying, Applied].map(|status| ((*hash).to_owned(), status)))
        .collect();
    ensure!(reports(&world, &uid) == expected);

    double.kill9().await;
    let known = world.tap.record().of(&uid).len();
    double.start_again()?;
    let again = |record: &Record| {
        let all = record.of(&uid);
        Look::some(all.get(known).cloned(), known)
    };
    let back = world.tap.record().wait("starts again", SOON, again).await?;
    ensure!(back.certificate.as_deref() == Some(leaf.fingerprint()));
    ensure!(
        back.marker()
            == offered
                .last()
                .and_then(|last| last.header("OpAMP-Settings-Hash"))
    );
    exchanges(&world, &uid, 2).await?;
    ensure!(
        offers(&world, &uid).len() == 2,
        "offered what it has: {:?}",
        offers(&world, &uid)
    );
    nobody_was_refused(&world)?;
    world.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn modelled_unverified_persist_is_believed_by_its_report_where_nothing_else_shows()
-> Result<()> {
    let mut world = World::new("persist-report", Setup::default()).await?;
    let token = world.bootstrap_token().to_owned();
    let secret = offerable_secret("bootstrap-token", &[("token", &token)]);
    world.manifests.apply(&secret)?;
    // The token that it has is the one it is offered: that it shows it proves nothing.
    world
        .manifests
        .apply(&profile(PROFILE, &bearer("bootstrap-token")))?;
    world.start_operator().await?;
    let mut options = double_options(&world, Mode::Persist);
    options.loses_marker = true;
    let double = Double::start("persist", options)?;
    let uid = double.uid();
    let state = world.state();
    let agent = state
        .wait_for_agent(&uid, "Applied", "Report", OFFER)
        .await?;
    ensure!(agent["status"]["settings"]["revision"] == 1, "{agent}");
    let hash = offers(&world, &uid).pop().context("no offer")?.hash;
    let reported = reports(&world, &uid);
    ensure!(
        reported == [(hash.clone(), Applying), (hash, Applied)],
        "{reported:?}"
    );
    exchanges(&world, &uid, 2).await?;
    ensure!(offers(&world, &uid).len() == 1);
    nobody_was_refused(&world)?;
    world.finish().await
}

/// Time to fail: shorter than the minute of the proposal, which nothing here
/// depends on.
const VERIFY: Duration = Duration::from_secs(5);

/// The least time between a reported failure and the next attempt.
const BACKOFF: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn modelled_unverified_persist_goes_back_and_is_tried_again_under_a_new_hash() -> Result<()> {
    let mut world = World::new("persist-failed", Setup::default()).await?;
    // A failure is tried again at the latest at half of what the old
    // certificate has left, and not within a minute.
    let short = Window::lasting(Duration::from_secs(180));
    let leaf = world.client_leaf("short", KeyKind::EcdsaP256, short)?;
    world.publish_mutual_tls(&leaf)?;
    world.start_operator().await?;
    let mut options = double_options(&world, Mode::Persist);
    options.verify = VERIFY;
    let double = Double::start("persist", options)?;
    let uid = double.uid();
    applies_leaf(&world, &uid, &leaf).await?;

    // There is a server at the new endpoint, of a CA that the bundle does not hold.
    let imposter = Ca::new("imposter")?.server(Window::lasting(DAY))?;
    let elsewhere = RawServer::start(&imposter, &world.pki.client_ca).await?;
    let mut moved = mutual_tls();
    moved["endpoint"] = format!("wss://localhost:{}/v1/opamp", elsewhere.address().port()).into();
    world.manifests.apply(&profile(PROFILE, &moved))?;

    let state = world.state();
    let failed = state.wait_for_agent(&uid, "Failed", "", OFFER).await?;
    let failed_at = std::time::Instant::now();
    world
        .timeline
        .note("test", format!("failed: {}", failed["status"]));
    ensure!(elsewhere.shown().is_empty(), "it trusted the imposter");
    let back = shows_leaf(&world, &uid, &leaf).await?;
    let first = offers(&world, &uid).pop().context("no offer")?;
    let said = reports(&world, &uid);
    ensure!(
        said.last() == Some(&(first.hash.clone(), Failed)),
        "{said:?}"
    );
    let progress = state
        .wait_for_condition(PROFILE, "Ready", "False", "", SOON)
        .await?;
    world.timeline.note("test", format!("{progress:?}"));

    let offered = || offers(&world, &uid).len();
    let too_early = BACKOFF.saturating_sub(failed_at.elapsed() + Duration::from_secs(5));
    throughout("the wait after a failure", too_early, || {
        (offered() > 2).then(|| "it was tried again".to_owned())
    })
    .await?;
    let again = |record: &Record| {
        let all = record.of(&uid);
        let offers: Vec<_> = all.iter().flat_map(Connection::offers).cloned().collect();
        Look::some(offers.get(2).cloned(), format!("{offers:?}"))
    };
    let again = world
        .tap
        .record()
        .wait("is tried again", 2 * BACKOFF, again)
        .await?;
    ensure!(again.hash != first.hash, "under the same hash");
    let marker = |offer: &Offer| offer.header("OpAMP-Settings-Hash").map(str::to_owned);
    ensure!(marker(&again) == marker(&first), "other settings");
    let links = world.tap.record().of(&uid);
    let link = links.iter().find(|link| link.id == back.id);
    ensure!(link.is_some_and(|link| link.offers().count() == 1));

    // Put right, it is left as it is: it runs what it should.
    world.manifests.apply(&profile(PROFILE, &mutual_tls()))?;
    applied(&world, &uid).await?;
    nobody_was_refused(&world)?;
    world.finish().await
}
