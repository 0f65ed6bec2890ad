//! What several tests of this tier do and look for: the wire, and what the
//! operator's state files say of it.

use anyhow::Result;
use e2e::pki::Leaf;
pub(crate) use e2e::steps::{
    OFFERS_CONNECTION_SETTINGS, comes_back, exchanges, greeted, is_offered_once_after_a_restart,
    is_offered_to_somebody, no_offer_of_what_was_shown, nobody_was_refused, offers, open,
    shows_leaf, stays_unoffered,
};
use e2e::tap::Connection;
use e2e::world::{SOON, World};

/// Waits until the agent is back with this certificate, with a marker, and the
/// operator says `Applied` by the strongest evidence.
pub(crate) async fn applies_leaf(world: &World, uid: &str, leaf: &Leaf) -> Result<Connection> {
    let back = shows_leaf(world, uid, leaf).await?;
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
