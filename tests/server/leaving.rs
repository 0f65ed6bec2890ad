//! Law 8: the server ends, and its agents find another one.

use std::time::Duration;

use futures::future::join_all;
use opamp_operator::server::Limits;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::{
    offers::{profile, publish, target},
    peer::{Over, Peer, bare, full},
    world::{World, close_code},
};

/// A connection each: of so many no two hundred milliseconds' worth leave at
/// once by chance.
const PEERS: u8 = 60;

#[tokio::test]
async fn law8_sockets_are_closed_a_few_at_a_time() {
    let world = World::trusting(Limits::default()).await;
    let mut peers = Vec::new();
    for uid in 1..=PEERS {
        let mut peer = Peer::new(&world, Over::WebSocket, uid).await;
        peer.say(full()).await;
        peers.push(peer);
    }
    world.closing.cancel();
    let closed = peers.iter_mut().map(async |peer| {
        let code = close_code(peer.socket()).await;
        (code, Instant::now())
    });
    let closed = join_all(closed).await;
    assert!(
        closed
            .iter()
            .all(|(code, _)| *code == Some(CloseCode::Away)),
        "{closed:?}"
    );
    let (first, last) = (
        closed.iter().map(|(_, at)| at).min().unwrap(),
        closed.iter().map(|(_, at)| at).max().unwrap(),
    );
    let spread = last.duration_since(*first);
    assert!(spread > Duration::from_millis(200), "{spread:?}");
    // It is the server that left: nobody is told that they did.
    for peer in &peers {
        assert!(peer.record().unwrap().connected.is_some());
    }
}

/// What is offered by a process that ends would be shown to another one, which
/// knows nothing of it yet.
#[tokio::test]
async fn law8_whoever_leaves_offers_nothing() {
    let world = World::trusting(Limits::default()).await;
    let hub = &world.hub;
    publish(hub, target(hub.clock.now()));
    hub.roster.leave();
    let mut peer = Peer::new(&world, Over::WebSocket, 1).await;
    let reply = peer.say(full()).await;
    assert!(reply.connection_settings.is_none());
    let record = peer.record().unwrap();
    assert_eq!(record.profile, Some(profile()), "it knows what applies");
    let reply = peer.say(bare()).await;
    assert!(reply.connection_settings.is_none());
}
