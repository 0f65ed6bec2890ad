//! Law 8: the server ends, and its agents find another one.

use std::time::Duration;

use futures::future::join_all;
use opamp_operator::server::Limits;
use opamp_wire::Message as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, timeout},
};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::{
    offers::{profile, publish, target},
    peer::{Over, Peer, bare, full},
    world::{PROTOBUF, SOON, World, close_code, hello},
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

#[tokio::test]
async fn law8_who_polls_is_answered_and_then_has_to_dial_anew() {
    let world = World::trusting(Limits::default()).await;
    let mut polling = world.tls().await;
    let body = hello(1).encode_to_vec();
    let head = format!(
        "POST /v1/opamp HTTP/1.1\r\nHost: localhost\r\n{PROTOBUF}Expect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    polling.write_all(head.as_bytes()).await.unwrap();
    // The server waits for the body: the poll is under way.
    let mut go_on = [0; 25];
    let told = timeout(SOON, polling.read_exact(&mut go_on)).await;
    told.unwrap().unwrap();
    assert!(go_on.starts_with(b"HTTP/1.1 100"));
    let mut idle = world.tls().await;
    world.closing.cancel();
    let mut nothing = Vec::new();
    let ended = timeout(SOON, idle.read_to_end(&mut nothing)).await;
    assert!(ended.is_ok() && nothing.is_empty(), "{nothing:?}");
    polling.write_all(&body).await.unwrap();
    let mut answer = Vec::new();
    let ended = timeout(SOON, polling.read_to_end(&mut answer)).await;
    let answer = String::from_utf8_lossy(&answer).to_lowercase();
    assert!(
        ended.is_ok() && answer.starts_with("http/1.1 200"),
        "{answer}"
    );
    assert!(answer.contains("connection: close"), "{answer}");
    assert!(TcpStream::connect(world.address).await.is_err());
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
