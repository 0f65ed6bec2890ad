//! C01 to C04, S09, S12: connections, and what lets an agent have one.

use std::collections::BTreeSet;

use futures::StreamExt as _;
use opamp_operator::server::Limits;
use opamp_operator_core::{
    fleet::{SettingsState, Transport},
    identity::{Ledger, Sources},
};
use opamp_wire::Message as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::{Duration, timeout},
};
use tokio_tungstenite::tungstenite::{Error, protocol::frame::coding::CloseCode};

use crate::{
    offers::{OFFERED, Offers, publish},
    peer::{BOTH, Over, Peer, bare, full},
    world::{OTHER, PROTOBUF, SOON, TOKEN, World, ask, close_code, hello, tokens},
};

/// What an upgrade and a poll with this token are answered.
async fn statuses(world: &World, token: Option<&str>, uid: u8) -> [u16; 2] {
    let upgraded = match world.upgrade(token).await {
        Ok(_) => 101,
        Err(Error::Http(response)) => response.status().as_u16(),
        Err(error) => panic!("{error}"),
    };
    let bearer = token.map(|token| format!("Authorization: Bearer {token}\r\n"));
    let headers = format!(
        "Content-Type: application/x-protobuf\r\n{}",
        bearer.unwrap_or_default()
    );
    let polled = world.post(&headers, &hello(uid).encode_to_vec()).await.0;
    [upgraded, polled]
}

#[tokio::test]
async fn c01_both_answer_401_to_who_proves_nothing() {
    let world = World::trusting(Limits::default()).await;
    for token in [None, Some("not-the-token-at-all-really"), Some("")] {
        assert_eq!(statuses(&world, token, 1).await, [401, 401], "{token:?}");
    }
    assert_eq!(statuses(&world, Some(TOKEN), 1).await, [101, 200]);
}

#[tokio::test]
async fn law2_m12_h21_both_answer_503_not_401_while_nobody_can_judge() {
    let world = World::start(Limits::default()).await;
    match world.upgrade(Some(TOKEN)).await {
        Err(Error::Http(response)) => {
            assert_eq!(response.status(), 503);
            let retry = response.headers()["retry-after"].to_str().unwrap();
            assert!((30..60).contains(&retry.parse().unwrap()));
        }
        other => panic!("{:?}", other.map(|_| "upgraded")),
    }
    let answer = world.ask(PROTOBUF, &hello(1).encode_to_vec()).await;
    assert_eq!(answer.status, 503);
    assert!((30..60).contains(&answer.retry_after().unwrap()));
    // Those who are refused together do not come back together.
    let mut times = BTreeSet::new();
    for _ in 0..20 {
        let answer = world.ask(PROTOBUF, &hello(1).encode_to_vec()).await;
        times.extend(answer.retry_after());
    }
    assert!(times.len() > 1, "{times:?}");
    world.trust();
    assert_eq!(statuses(&world, Some(TOKEN), 1).await, [101, 200]);
}

/// Whether this is a whole response.
fn is_complete(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer).to_ascii_lowercase();
    let Some((head, _)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head.split("content-length: ").nth(1).unwrap();
    let length: usize = length.lines().next().unwrap().parse().unwrap();
    answer.len() >= head.len() + 4 + length
}

#[tokio::test]
async fn c01_http_every_request_of_a_connection_is_judged() {
    let world = World::trusting(Limits::default()).await;
    let mut stream = world.tls().await;
    let body = hello(1).encode_to_vec();
    let plain = "Content-Type: application/x-protobuf\r\n";
    for (headers, status) in [(PROTOBUF, "200"), (plain, "401")] {
        let head = format!(
            "POST /v1/opamp HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n{headers}\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&body).await.unwrap();
        let mut answer = Vec::new();
        let read = async {
            while !is_complete(&answer) {
                assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0);
            }
        };
        timeout(SOON, read).await.expect("an answer in time");
        assert_eq!(&answer[9..12], status.as_bytes());
    }
}

#[tokio::test]
async fn c02_the_end_of_the_server_is_a_close_frame() {
    let world = World::trusting(Limits::default()).await;
    let mut socket = world.socket().await;
    ask(&mut socket, &hello(1)).await;
    world.closing.cancel();
    assert_eq!(close_code(&mut socket).await, Some(CloseCode::Away));
    // Our answer to it ends the connection, well before anybody gives up.
    let end = timeout(Duration::from_secs(4), socket.next()).await;
    assert!(matches!(end, Ok(None | Some(Err(_)))));
}

/// Neither is dropped nor refused: the older may be the ghost of an agent that
/// has left it, or the newer a detour. What there is to say is said to the newer.
#[tokio::test]
async fn c03_both_let_the_newest_link_win() {
    let world = World::trusting(Limits::default()).await;
    let offers = Offers::new(world.hub.clock.now());
    for (newer, uid) in BOTH.into_iter().zip(1..) {
        world
            .hub
            .book
            .publish_target(&crate::offers::profile(), None);
        let mut old = Peer::new(&world, Over::WebSocket, uid).await;
        old.say(full()).await;
        let mut new = Peer::new(&world, newer, uid).await;
        new.say(full()).await;
        publish(&world.hub, offers.target(1, |_| {}));
        assert!(new.news().await.connection_settings.is_some(), "{newer:?}");
        old.stays_alone(bare()).await;
        // Its end is not the agent's.
        old.socket().close(None).await.unwrap();
        assert_eq!(close_code(old.socket()).await, None);
        let expected = match newer {
            Over::WebSocket => Transport::WebSocket,
            Over::Http => Transport::Http,
        };
        assert_eq!(new.record().unwrap().connected, Some(expected));
    }
}

#[tokio::test]
async fn c04_h23_an_agents_close_is_answered_at_once() {
    let world = World::trusting(Limits::default()).await;
    let mut socket = world.socket().await;
    ask(&mut socket, &hello(1)).await;
    socket.close(None).await.unwrap();
    // The stream ends well before the five seconds after which clients give up.
    let ended = timeout(Duration::from_secs(4), async {
        while socket.next().await.is_some() {}
    })
    .await;
    assert!(ended.is_ok());
}

/// Until an agent was seen with the new settings, and after that as long as
/// the ledger has an entry of the old ones, the old credential lets it in.
#[tokio::test]
async fn s09_both_admit_the_old_credential_until_the_new_one_was_seen() {
    let world = World::trusting(Limits::default()).await;
    let mut offers = Offers::new(world.hub.clock.now());
    let (old, first) = offers.published(1, |_| {});
    let renewed = OFFERED.chars().rev().collect::<String>();
    offers.secret("token", "Opaque", &[("token", &renewed)]);
    let (new, second) = offers.published(2, |_| {});
    let ledger = Ledger::new(vec![first, second]);
    let sources = Sources {
        authenticators: tokens(),
        ..Sources::default()
    };
    world.judge_by(sources, &ledger);
    for (over, uid) in BOTH.into_iter().zip(1..) {
        publish(&world.hub, old.clone());
        // It proves itself once, is offered the first token and comes with it.
        let mut agent = Peer::new(&world, over, uid).await;
        assert!(agent.say(full()).await.connection_settings.is_some());
        let mut agent = agent.back_with(OFFERED, old.current.marker()).await;
        agent.stays_alone(full()).await;
        crate::peer::pass(16).await;
        publish(&world.hub, new.clone());
        assert!(agent.news().await.connection_settings.is_some(), "{over:?}");
        assert_eq!(statuses(&world, Some(OFFERED), uid).await, [101, 200]);
        let mut agent = agent.back_with(&renewed, new.current.marker()).await;
        agent.stays_alone(full()).await;
        assert_eq!(agent.record().unwrap().state, SettingsState::Applied);
    }
}

#[tokio::test]
async fn c01_both_refuse_a_credential_that_is_known_no_more() {
    let world = World::trusting(Limits::default()).await;
    assert_eq!(statuses(&world, Some(OTHER), 1).await, [101, 200]);
    world.judge(Sources {
        authenticators: tokens().into_iter().take(1).collect(),
        ..Sources::default()
    });
    assert_eq!(statuses(&world, Some(OTHER), 1).await, [401, 401]);
    assert_eq!(statuses(&world, Some(TOKEN), 2).await, [101, 200]);
}
