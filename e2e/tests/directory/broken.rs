//! Broken Secrets: nothing leaves, the condition says why, agents keep what they have.

use anyhow::{Context as _, Result, ensure};
use e2e::manifests::{CLIENT_TLS, offerable_secret, offerable_tls, secret, with_pair};
use e2e::pki::{DAY, KeyKind, Leaf, Window};
use e2e::state::State;
use e2e::world::{PROFILE, SOON, Setup, World};
use serde_json::Value;

use crate::steps::{applies_leaf, exchanges, nobody_was_refused, offers};

/// A broken Secret, and the condition and reason the profile must give.
struct Case {
    what: &'static str,
    secret: Option<Value>,
    condition: &'static str,
    reason: &'static str,
}

fn cases(world: &mut World, good: &Leaf) -> Result<Vec<Case>> {
    let mut leaf = |name: &str, window| world.client_leaf(name, KeyKind::EcdsaP256, window);
    let month = Window::lasting(30 * DAY);
    let (fresh, other) = (leaf("fresh", month)?, leaf("other", month)?);
    let (expired, early) = (
        leaf("expired", Window::expired())?,
        leaf("early", Window::not_yet())?,
    );
    let empty = || offerable_secret(CLIENT_TLS, &[]);
    let pair = |certificate: &str, key: &str| with_pair(empty(), certificate, key);
    let mut without_key = offerable_tls(CLIENT_TLS, &fresh);
    let data = without_key["data"].as_object_mut().context("data")?;
    data.remove("tls.key");
    let unlabelled = with_pair(secret(CLIENT_TLS, &[]), &fresh.certificate, &fresh.key);
    let case = |what, secret, reason| Case {
        what,
        secret: Some(secret),
        condition: match reason {
            "Expired" | "NotYetValid" => "CredentialsValid",
            _ => "ResolvedRefs",
        },
        reason,
    };
    let gone = Case {
        what: "no Secret at all",
        secret: None,
        condition: "ResolvedRefs",
        reason: "SecretNotFound",
    };
    Ok(vec![
        case(
            "the key of another certificate",
            pair(&fresh.certificate, &other.key),
            "KeyMismatch",
        ),
        case(
            "no PEM as certificate",
            pair("garbage", &fresh.key),
            "InvalidPEM",
        ),
        case(
            "no PEM as key",
            pair(&fresh.certificate, "garbage"),
            "InvalidPEM",
        ),
        case(
            "an expired certificate",
            offerable_tls(CLIENT_TLS, &expired),
            "Expired",
        ),
        case(
            "a certificate of tomorrow",
            offerable_tls(CLIENT_TLS, &early),
            "NotYetValid",
        ),
        case("no tls.key", without_key, "KeyMissing"),
        case("no data", empty(), "KeyMissing"),
        case("empty values", pair("", ""), "InvalidPEM"),
        case("no label", unlabelled, "SecretNotOptedIn"),
        gone,
        // Back to what the agent has: not even this is offered again.
        case("", offerable_tls(CLIENT_TLS, good), ""),
    ])
}

/// Waits until the profile says of the Secret what it should.
async fn judged(state: &State, case: &Case) -> Result<()> {
    let (ready, condition, reason) = ("Ready", case.condition, case.reason);
    if reason.is_empty() {
        let ready = state.wait_for_condition(PROFILE, ready, "True", "", SOON);
        return ready.await.map(drop);
    }
    let why = state.wait_for_condition(PROFILE, condition, "False", reason, SOON);
    why.await?;
    let ready = state.wait_for_condition(PROFILE, ready, "False", reason, SOON);
    let said = ready.await?.message;
    ensure!(!said.is_empty(), "{reason} without a message");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_secret_never_leaves() -> Result<()> {
    let (mut world, good) = World::with_mutual_tls("broken", Setup::default()).await?;
    let uid = world.supervisor("a1").await?;
    applies_leaf(&world, &uid, &good).await?;
    let state = world.state();
    state
        .wait_for_condition(PROFILE, "Ready", "True", "", SOON)
        .await?;

    for case in cases(&mut world, &good)? {
        world
            .timeline
            .note("test", format!("Secret with {}", case.what));
        match &case.secret {
            Some(secret) => world.manifests.apply(secret)?,
            None => world.manifests.delete("Secret", CLIENT_TLS)?,
        }
        judged(&state, &case)
            .await
            .with_context(|| format!("Secret with {}", case.what))?;
        let link = exchanges(&world, &uid, 1).await?;
        ensure!(offers(&world, &uid).len() == 1, "{} was offered", case.what);
        ensure!(link.certificate.as_deref() == Some(good.fingerprint()));
        ensure!(
            state.profile(PROFILE)["revision"]["number"] == 1,
            "{}",
            case.what
        );
        ensure!(state.agent(&uid)["status"]["settings"]["state"] == "Applied");
    }

    let renewed = world.client_leaf("renewed", KeyKind::EcdsaP256, Window::lasting(60 * DAY))?;
    world
        .manifests
        .apply(&offerable_tls(CLIENT_TLS, &renewed))?;
    applies_leaf(&world, &uid, &renewed).await?;
    ensure!(offers(&world, &uid).len() == 2);
    nobody_was_refused(&world)?;
    world.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_is_broken_from_the_start_offers_nothing() -> Result<()> {
    let mut world = World::new("broken-start", Setup::default()).await?;
    let expired = world.client_leaf("expired", KeyKind::EcdsaP256, Window::expired())?;
    world.publish_mutual_tls(&expired)?;
    world.start_operator().await?;
    let uid = world.supervisor("a1").await?;
    let state = world.state();
    let expired = state.wait_for_condition(PROFILE, "CredentialsValid", "False", "Expired", SOON);
    expired.await?;
    let greeted = |record: &e2e::tap::Record| {
        let known = record.of(&uid).iter().any(|link| !link.sent.is_empty());
        e2e::eventually::Look::when(known, "no answer yet")
    };
    world
        .tap
        .record()
        .wait("the agent is greeted", SOON, greeted)
        .await?;
    ensure!(offers(&world, &uid).is_empty());

    let good = world.client_leaf("good", KeyKind::EcdsaP256, Window::lasting(30 * DAY))?;
    world.manifests.apply(&offerable_tls(CLIENT_TLS, &good))?;
    applies_leaf(&world, &uid, &good).await?;
    nobody_was_refused(&world)?;
    world.finish().await
}
