//! What several tests do and look for on the wire.

use anyhow::{Context, Result, ensure};

use crate::eventually::Look;
use crate::pki::Leaf;
use crate::scene::{OFFER, SOON, Scene};
use crate::tap::{Connection, Offer, Record};

/// The bit of `OffersConnectionSettings` in the server's capabilities.
pub const OFFERS_CONNECTION_SETTINGS: u64 = 0x20;

/// Everything ever offered to an agent, in order.
#[must_use]
pub fn offers(scene: &Scene, uid: &str) -> Vec<Offer> {
    let all = scene.tap.record().of(uid);
    all.iter().flat_map(Connection::offers).cloned().collect()
}

/// Waits until the operator has greeted the agent.
///
/// # Errors
/// When the deadline passes.
pub async fn greeted(scene: &Scene, uid: &str) -> Result<()> {
    let look = |record: &Record| {
        let known = record.of(uid).iter().any(|link| !link.sent.is_empty());
        Look::when(known, "no answer yet")
    };
    let what = format!("agent {uid} is greeted");
    scene.tap.record().wait(&what, SOON, look).await
}

/// Waits until the agent's newest connection is open, accepted and as wanted.
///
/// # Errors
/// When the deadline passes.
pub async fn comes_back(
    scene: &Scene,
    uid: &str,
    how: &str,
    wanted: impl Fn(&Connection) -> bool,
) -> Result<Connection> {
    let what = format!("agent {uid} comes back with {how}");
    let look = |record: &Record| {
        let last = record.of(uid).pop();
        let seen = last.as_ref().map(describe);
        let good = |last: &Connection| last.open && last.status == Some(101) && wanted(last);
        Look::some(last.filter(good), format!("{seen:?}"))
    };
    scene.tap.record().wait(&what, OFFER, look).await
}

fn describe(connection: &Connection) -> String {
    let Connection {
        id, certificate, ..
    } = connection;
    let (open, marker) = (connection.open, connection.marker());
    format!("#{id} open {open} certificate {certificate:?} marker {marker:?}")
}

/// Waits until the agent is back with this certificate and with a marker.
///
/// # Errors
/// When the deadline passes.
pub async fn shows_leaf(scene: &Scene, uid: &str, leaf: &Leaf) -> Result<Connection> {
    let shows = |last: &Connection| {
        last.certificate.as_deref() == Some(leaf.fingerprint()) && last.marker().is_some()
    };
    comes_back(scene, uid, "the offered certificate", shows).await
}

/// Waits until the operator has answered `more` further messages on the agent's
/// newest connection; returns that connection.
///
/// This is how a test shows that nothing was sent: first the condition that
/// names the cause, then an exchange on the same link, then a look for offers.
///
/// # Errors
/// When the deadline passes or the agent connects anew.
pub async fn exchanges(scene: &Scene, uid: &str, more: usize) -> Result<Connection> {
    let newest = scene.tap.record().of(uid).pop();
    let newest = newest.with_context(|| format!("agent {uid} never connected"))?;
    let wanted = newest.sent.len() + more;
    let what = format!("{more} more answers to agent {uid}");
    let look = |record: &Record| {
        let Some(last) = record.of(uid).pop() else {
            return Look::NotYet("no connection".into());
        };
        if last.id != newest.id {
            return Look::Never("the agent has made another connection".into());
        }
        let have = last.sent.len();
        Look::some((have >= wanted).then_some(last), have)
    };
    scene.tap.record().wait(&what, SOON, look).await
}

/// Nobody was refused, and nothing on the wire was unreadable.
///
/// # Errors
/// When somebody was.
pub fn nobody_was_refused(scene: &Scene) -> Result<()> {
    let refusals = scene.tap.record().refusals();
    ensure!(refusals.is_empty(), "{refusals:?}");
    Ok(())
}

/// How many connections of an agent are open now.
#[must_use]
pub fn open(scene: &Scene, uid: &str) -> usize {
    let all = scene.tap.record().of(uid);
    all.iter().filter(|connection| connection.open).count()
}

/// The agent is back on a restarted operator and is left alone, also after the
/// time in which an operator without memory holds back.
///
/// # Errors
/// When it does not come back or is offered anything.
pub async fn stays_unoffered(scene: &Scene, uid: &str, leaf: &Leaf) -> Result<()> {
    let before = offers(scene, uid).len();
    let back = comes_back(scene, uid, "what it had", |last| {
        let shows = last.certificate.as_deref() == Some(leaf.fingerprint());
        shows && last.marker().is_some() && last.received.len() + last.sent.len() >= 2
    });
    let back = back.await?;
    // Heartbeats are 5 s apart and the hold is 4 s long.
    exchanges(scene, uid, 2).await?;
    ensure!(back.offers().count() == 0, "{uid} was offered at once");
    let after = offers(scene, uid).len();
    ensure!(after == before, "{uid} was offered after the restart");
    Ok(())
}

/// Waits until somebody is offered this certificate.
///
/// # Errors
/// When the deadline passes.
pub async fn is_offered_to_somebody(scene: &Scene, leaf: &Leaf) -> Result<()> {
    let look = |record: &Record| {
        let all = record.connections();
        let mut offers = all.iter().flat_map(Connection::offers);
        let any = offers.any(|offer| offer.leaf() == Some(leaf.fingerprint()));
        Look::when(any, "no offer of this certificate")
    };
    let record = scene.tap.record();
    record.wait("the offer goes out", OFFER, look).await
}

/// Nobody is offered the settings that its very link shows.
///
/// # Errors
/// When somebody was.
pub fn no_offer_of_what_was_shown(scene: &Scene, uid: &str) -> Result<()> {
    for connection in scene.tap.record().of(uid) {
        for offer in connection.offers() {
            let marker = offer.header("OpAMP-Settings-Hash");
            ensure!(
                marker.is_none() || marker != connection.marker(),
                "{uid}: #{} runs what it is offered",
                connection.id
            );
        }
    }
    Ok(())
}

/// Kills a supervisor, starts it on the same storage and follows it back: it
/// comes with its bootstrap token and is offered exactly once.
///
/// # Errors
/// When anything else happens.
pub async fn is_offered_once_after_a_restart(
    scene: &mut Scene,
    name: &str,
    uid: &str,
    leaf: &Leaf,
) -> Result<()> {
    let (before, known) = (offers(scene, uid).len(), scene.tap.record().of(uid).len());
    scene.supervisor_mut(name)?.kill9()?;
    scene.timeline.note(name, "killed (SIGKILL)");
    scene.supervisor_mut(name)?.start_again()?;
    let what = "the restarted supervisor connects";
    let look = |record: &Record| Look::some(record.of(uid).get(known).cloned(), known);
    let first = scene.tap.record().wait(what, SOON, look).await?;
    let bearer = format!("Bearer {}", scene.bootstrap_token());
    ensure!(first.header("Authorization") == Some(bearer.as_str()));
    ensure!(first.certificate.is_none() && first.marker().is_none());
    // A refused supervisor tries again at once and without end.
    let look = |record: &Record| match record.refusals() {
        none if none.is_empty() => {
            let links = record.of(uid);
            let offered = links.iter().flat_map(Connection::offers).count();
            Look::when(offered > before, "no offer")
        }
        refusals => Look::Never(format!("{:?}", refusals.first())),
    };
    let what = "the restarted supervisor is offered settings";
    scene.tap.record().wait(what, OFFER, look).await?;

    let back = shows_leaf(scene, uid, leaf).await?;
    exchanges(scene, uid, 2).await?;
    let all = scene.tap.record().of(uid);
    ensure!(all.len() == known + 2, "{} connections", all.len());
    let after = offers(scene, uid).len();
    ensure!(after == before + 1, "not exactly one offer");
    ensure!(back.offers().count() == 0, "an offer on the new link");
    Ok(())
}
