//! What several tests do and look for.

use anyhow::{Context, Result, ensure};
use e2e::eventually::Look;
use e2e::pki::Leaf;
use e2e::tap::{Connection, Offer};
use e2e::world::{OFFER, SOON, World};

/// The bit of `OffersConnectionSettings` in the server's capabilities.
pub(crate) const OFFERS_CONNECTION_SETTINGS: u64 = 0x20;

/// Everything ever offered to an agent, in order.
pub(crate) fn offers(world: &World, uid: &str) -> Vec<Offer> {
    let all = world.tap.record().of(uid);
    all.iter().flat_map(Connection::offers).cloned().collect()
}

/// Waits until the agent's newest connection is open, accepted and as wanted.
pub(crate) async fn comes_back(
    world: &World,
    uid: &str,
    how: &str,
    wanted: impl Fn(&Connection) -> bool,
) -> Result<Connection> {
    let what = format!("agent {uid} comes back with {how}");
    let look = |record: &e2e::tap::Record| {
        let last = record.of(uid).pop();
        let seen = last.as_ref().map(describe);
        let good = |last: &Connection| last.open && last.status == Some(101) && wanted(last);
        Look::some(last.filter(good), format!("{seen:?}"))
    };
    world.tap.record().wait(&what, OFFER, look).await
}

fn describe(connection: &Connection) -> String {
    let Connection {
        id, certificate, ..
    } = connection;
    let (open, marker) = (connection.open, connection.marker());
    format!("#{id} open {open} certificate {certificate:?} marker {marker:?}")
}

/// Waits until the agent is back with this certificate, with a marker, and the
/// operator says `Applied` by the strongest evidence.
pub(crate) async fn applies_leaf(world: &World, uid: &str, leaf: &Leaf) -> Result<Connection> {
    let shows = |last: &Connection| {
        last.certificate.as_deref() == Some(leaf.fingerprint()) && last.marker().is_some()
    };
    let back = comes_back(world, uid, "the offered certificate", shows).await?;
    applied(world, uid).await?;
    Ok(back)
}

/// Waits until the agent is back with this bearer token and is `Applied`.
pub(crate) async fn applies_bearer(world: &World, uid: &str, token: &str) -> Result<Connection> {
    let value = format!("Bearer {token}");
    let shows = |last: &Connection| {
        last.header("Authorization") == Some(value.as_str()) && last.marker().is_some()
    };
    let back = comes_back(world, uid, "the offered token", shows).await?;
    applied(world, uid).await?;
    Ok(back)
}

/// Waits until the operator's file about the agent says `Applied` by the marker.
pub(crate) async fn applied(world: &World, uid: &str) -> Result<()> {
    let state = world.state();
    let file = state.wait_for_agent(uid, "Applied", "SettingsHeader", SOON);
    file.await.map(drop)
}

/// Waits until the operator has answered `more` further messages on the agent's
/// newest connection; returns that connection.
///
/// This is how a test shows that nothing was sent: first the condition that
/// names the cause, then an exchange on the same link, then a look for offers.
pub(crate) async fn exchanges(world: &World, uid: &str, more: usize) -> Result<Connection> {
    let newest = world.tap.record().of(uid).pop();
    let newest = newest.with_context(|| format!("agent {uid} never connected"))?;
    let wanted = newest.sent.len() + more;
    let what = format!("{more} more answers to agent {uid}");
    let look = |record: &e2e::tap::Record| {
        let Some(last) = record.of(uid).pop() else {
            return Look::NotYet("no connection".into());
        };
        if last.id != newest.id {
            return Look::Never("the agent has made another connection".into());
        }
        let have = last.sent.len();
        Look::some((have >= wanted).then_some(last), have)
    };
    world.tap.record().wait(&what, SOON, look).await
}

/// Nobody was refused, and nothing on the wire was unreadable.
pub(crate) fn nobody_was_refused(world: &World) -> Result<()> {
    let refusals = world.tap.record().refusals();
    ensure!(refusals.is_empty(), "{refusals:?}");
    Ok(())
}

/// How many connections of an agent are open now.
pub(crate) fn open(world: &World, uid: &str) -> usize {
    let all = world.tap.record().of(uid);
    all.iter().filter(|connection| connection.open).count()
}
