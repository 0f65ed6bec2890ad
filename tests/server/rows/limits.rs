//! T05, T06, T08, T09, T11: how large messages may be.

use futures::SinkExt as _;
use opamp_operator::server::Limits;
use opamp_operator_core::fleet::SettingsState;
use opamp_wire::{
    Message as _, gzip,
    proto::{AgentDescription, AgentToServer, AnyValue, KeyValue, any_value::Value},
};
use tokio_tungstenite::tungstenite::{
    Message,
    protocol::frame::{
        Frame,
        coding::{CloseCode, Data, OpCode},
    },
};

use crate::{
    offers::{Offers, publish},
    peer::{BOTH, Over, Peer, bad_request, bare, full, offered},
    world::{PROTOBUF, Socket, TOKEN, World, answer, close_code, hello},
};

/// Below the size from which messages wait for a place.
const LIMIT: usize = 10_000;

fn limited() -> Limits {
    Limits {
        message_bytes: LIMIT,
        refusal_seconds: 1,
        ..Limits::default()
    }
}

/// A message that encodes to so many bytes.
fn sized(uid: u8, bytes: usize) -> Vec<u8> {
    let filled = |length: usize| {
        let value = Value::StringValue("x".repeat(length));
        let attribute = KeyValue {
            key: "filler".into(),
            value: Some(AnyValue { value: Some(value) }),
        };
        let message = AgentToServer {
            agent_description: Some(AgentDescription {
                identifying_attributes: vec![attribute],
                ..AgentDescription::default()
            }),
            ..hello(uid)
        };
        message.encode_to_vec()
    };
    let around = filled(bytes - 100).len() - (bytes - 100);
    let message = filled(bytes - around);
    assert_eq!(message.len(), bytes);
    message
}

async fn is_too_large(mut socket: Socket) {
    assert!(
        bad_request(&answer(&mut socket).await)
            .error_message
            .contains("larger")
    );
    assert_eq!(close_code(&mut socket).await, Some(CloseCode::Size));
}

#[tokio::test]
async fn t05_the_limit_counts_the_header_and_ends_with_1009() {
    let world = World::trusting(limited()).await;
    let framed = |data: &[u8]| Message::Binary([&[0], data].concat().into());
    let mut socket = world.socket().await;
    socket.send(framed(&sized(1, LIMIT - 1))).await.unwrap();
    assert!(answer(&mut socket).await.error_response.is_none());
    socket.send(framed(&sized(1, LIMIT))).await.unwrap();
    is_too_large(socket).await;
}

#[tokio::test]
async fn t05_a_message_in_pieces_is_as_large_as_their_sum() {
    let world = World::trusting(limited()).await;
    let mut socket = world.socket().await;
    let piece = vec![0; LIMIT * 2 / 3];
    for (opcode, last) in [(Data::Binary, false), (Data::Continue, true)] {
        let frame = Frame::message(piece.clone(), OpCode::Data(opcode), last);
        // The server may have seen enough already.
        let _ = socket.send(Message::Frame(frame)).await;
    }
    is_too_large(socket).await;
}

/// So what is small on the wire is small in memory too.
#[tokio::test]
async fn t05_no_extension_compresses() {
    let world = World::trusting(limited()).await;
    let headers = [
        ("authorization", format!("Bearer {TOKEN}")),
        ("sec-websocket-extensions", "permessage-deflate".to_owned()),
    ];
    let (_, response) = world.upgrade_at("/v1/opamp", &headers).await.unwrap();
    assert!(!response.headers().contains_key("sec-websocket-extensions"));
}

#[tokio::test]
async fn t08_the_limit_counts_what_a_body_unpacks_to() {
    let world = World::trusting(limited()).await;
    let gzipped = format!("{PROTOBUF}Content-Encoding: gzip\r\n");
    let (fits, too_large) = (sized(1, LIMIT), sized(1, LIMIT + 1));
    assert_eq!(world.post(PROTOBUF, &fits).await.0, 200);
    assert_eq!(world.post(PROTOBUF, &too_large).await.0, 413);
    assert_eq!(world.post(&gzipped, &gzip(&fits)).await.0, 200);
    assert_eq!(world.post(&gzipped, &gzip(&too_large)).await.0, 413);
    let bomb = gzip(&vec![0; 10_000_000]);
    assert_eq!(world.post(&gzipped, &bomb).await.0, 413);
}

#[tokio::test]
async fn t11_both_limits_are_configured_and_lower_than_the_specifications_default() {
    let limits = Limits::default();
    assert_eq!(
        (limits.message_bytes, limits.sent_bytes),
        (1 << 20, 1 << 20)
    );
    let message = sized(1, LIMIT * 2);
    for (limits, takes) in [(Limits::default(), true), (limited(), false)] {
        let world = World::trusting(limits).await;
        let (status, _) = world.post(PROTOBUF, &message).await;
        assert_eq!(status, if takes { 200 } else { 413 });
        let mut socket = world.socket().await;
        let frame = Message::Binary([&[0], &message[..]].concat().into());
        socket.send(frame).await.unwrap();
        assert_eq!(answer(&mut socket).await.error_response.is_none(), takes);
    }
}

#[tokio::test]
async fn t06_what_cannot_be_sent_is_not_pushed_either() {
    let world = World::trusting(Limits {
        sent_bytes: 0,
        ..Limits::default()
    })
    .await;
    let offers = Offers::new(world.hub.clock.now());
    let current = offers.target(1, |_| {});
    let marker = current.current.marker();
    // Whoever has it already is still seen to run it, and answered.
    let mut runs = Peer::showing(&world, Over::WebSocket, 1, TOKEN, Some(marker)).await;
    let mut waits = Peer::new(&world, Over::WebSocket, 2).await;
    for peer in [&mut runs, &mut waits] {
        peer.say(full()).await;
    }
    publish(&world.hub, current);
    runs.stays_alone(bare()).await;
    waits.stays_alone(bare()).await;
    assert_eq!(runs.record().unwrap().state, SettingsState::Applied);
    assert_eq!(waits.record().unwrap().state, SettingsState::Pending);
}

/// What a resolved profile may hold, so that agents' own limits hold it: see
/// also `t06_t09_settings_larger_than_agents_take_are_no_revision`.
#[tokio::test]
async fn t06_t09_both_transports_carry_large_settings_by_default() {
    let world = World::trusting(Limits::default()).await;
    let mut offers = Offers::new(world.hub.clock.now());
    let long = "q0Zr7XvLkT2mWn8Y".repeat(250);
    offers.secret("token", "Opaque", &[("token", &long)]);
    let target = offers.target(1, |spec| {
        let header = spec.opamp.headers[0].clone();
        for number in 1..24 {
            let mut header = header.clone();
            header.name = format!("X-Long-{number}");
            spec.opamp.headers.push(header);
        }
    });
    publish(&world.hub, target);
    for (over, uid) in BOTH.into_iter().zip(1..) {
        let mut peer = Peer::new(&world, over, uid).await;
        let reply = peer.say(full()).await;
        assert!(offered(&reply).encoded_len() > 90_000, "{over:?}");
    }
}
