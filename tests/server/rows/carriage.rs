//! T: how messages are carried.

use futures::SinkExt as _;
use opamp_operator::{config::Config, server::Limits};
use opamp_wire::{
    Encoding, InstanceUid, Message as _, decompress, gzip,
    proto::{AgentToServer, ServerToAgent},
};
use tokio_tungstenite::tungstenite::{Error, Message, protocol::frame::coding::CloseCode};

use crate::{
    offers::{publish, target},
    peer::{BOTH, Peer, able, bad_request, full, offered},
    world::{PROTOBUF, TOKEN, World, answer, ask, close_code, hello},
};

#[tokio::test]
async fn t01_both_transports_are_served_at_the_same_address() {
    let world = World::trusting(Limits::default()).await;
    let mut peers = Vec::new();
    for (over, uid) in BOTH.into_iter().zip(1..) {
        let mut peer = Peer::new(&world, over, uid).await;
        assert!(peer.say(full()).await.error_response.is_none());
        peers.push(peer);
    }
    for peer in peers {
        assert!(
            peer.record().unwrap().connected.is_some(),
            "{:?}",
            peer.over
        );
    }
}

#[test]
fn t02_both_transports_are_at_port_4320_and_v1_opamp_by_default() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("operator.yaml");
    let example = include_str!("../../../examples/operator.yaml").lines();
    let unstated = |line: &&str| !line.starts_with("listen:") && !line.starts_with("path:");
    let example: Vec<_> = example.filter(unstated).collect();
    std::fs::write(&file, example.join("\n")).unwrap();
    let config = Config::read(&file).unwrap();
    assert_eq!((config.listen.port(), &*config.path), (4320, "/v1/opamp"));
}

#[tokio::test]
async fn t02_both_transports_are_at_the_configured_path_alone() {
    let world = World::at("/fleet/opamp", Limits::default()).await;
    world.trust();
    let headers = [("authorization", format!("Bearer {TOKEN}"))];
    let body = hello(1).encode_to_vec();
    assert!(world.upgrade_at("/fleet/opamp", &headers).await.is_ok());
    assert_eq!(
        world.ask_at("/fleet/opamp", PROTOBUF, &body).await.status,
        200
    );
    for other in ["/v1/opamp", "/", "/fleet/opamp/"] {
        match world.upgrade_at(other, &headers).await {
            Err(Error::Http(response)) => assert_eq!(response.status(), 404),
            other => panic!("{:?}", other.map(|_| "upgraded")),
        }
        assert_eq!(world.ask_at(other, PROTOBUF, &body).await.status, 404);
    }
}

#[tokio::test]
async fn t03_both_transports_are_told_apart_by_the_content_type_alone() {
    let world = World::trusting(Limits::default()).await;
    let body = hello(1).encode_to_vec();
    let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
    for present in ["application/x-protobuf", "Application/X-Protobuf; v=1"] {
        let headers = format!("{bearer}Content-Type: {present}\r\n");
        let answer = world.ask(&headers, &body).await;
        assert_eq!(answer.status, 200);
        assert_eq!(
            answer.header("content-type"),
            Some("application/x-protobuf")
        );
    }
    for absent in ["", "Content-Type: application/json\r\n"] {
        let (status, _) = world.post(&format!("{bearer}{absent}"), &body).await;
        assert_eq!(status, 400, "no upgrade either");
    }
    // Everything of an upgrade is there, and a plain exchange is what it is.
    let bearer = ("authorization", format!("Bearer {TOKEN}"));
    let plain = ("content-type", "application/x-protobuf".to_owned());
    assert!(
        world
            .upgrade_at("/v1/opamp", std::slice::from_ref(&bearer))
            .await
            .is_ok()
    );
    match world.upgrade_at("/v1/opamp", &[bearer, plain]).await {
        Err(Error::Http(response)) => assert_eq!(response.status(), 405),
        other => panic!("{:?}", other.map(|_| "upgraded")),
    }
}

#[tokio::test]
async fn t04_a_message_is_a_header_0_and_its_data() {
    let world = World::trusting(Limits::default()).await;
    let mut socket = world.socket().await;
    let data = hello(1).encode_to_vec();
    let mut say = async |header: &[u8], data: &[u8]| {
        let frame = [header, data].concat();
        socket.send(Message::Binary(frame.into())).await.unwrap();
        answer(&mut socket).await
    };
    assert!(say(&[0], &data).await.error_response.is_none());
    // The same number, written longer than needed.
    assert!(say(&[0x80, 0], &data).await.error_response.is_none());
    for header in [&[][..], &[1], &[0xac, 2], &[0x80]] {
        assert!(
            bad_request(&say(header, &data).await)
                .error_message
                .contains("header")
        );
    }
    // No data is a message of which no field is set: what is missing is its sender.
    let missing = &say(&[0], &[]).await;
    assert!(bad_request(missing).error_message.contains("instance_uid"));
    // What we say begins with the same header; `answer` reads nothing else.
}

#[tokio::test]
async fn t04_m10_text_is_no_message() {
    let world = World::trusting(Limits::default()).await;
    let mut socket = world.socket().await;
    socket.send(Message::Text("{}".into())).await.unwrap();
    assert!(
        bad_request(&answer(&mut socket).await)
            .error_message
            .contains("binary")
    );
    assert_eq!(close_code(&mut socket).await, Some(CloseCode::Unsupported));
}

#[tokio::test]
async fn t07_bodies_are_what_their_content_encoding_says() {
    let world = World::trusting(Limits::default()).await;
    let message = hello(1).encode_to_vec();
    let encoded = |encoding: &str| format!("{PROTOBUF}Content-Encoding: {encoding}\r\n");
    let post = async |headers: &str, body: &[u8]| world.post(headers, body).await.0;
    assert_eq!(post(PROTOBUF, &message).await, 200);
    assert_eq!(post(&encoded("identity"), &message).await, 200);
    assert_eq!(post(&encoded("gzip"), &gzip(&message)).await, 200);
    assert_eq!(post(&encoded("gzip"), &message).await, 400);
    assert_eq!(post(&encoded("br"), &message).await, 415);
}

#[tokio::test]
async fn t10_answers_are_compressed_for_whoever_reads_that() {
    let world = World::trusting(Limits::default()).await;
    publish(&world.hub, target(world.hub.clock.now()));
    let accepts = [
        ("", None),
        ("Accept-Encoding: gzip\r\n", Some("gzip")),
        ("Accept-Encoding: br, GZIP;q=0.5\r\n", Some("gzip")),
        (
            "Accept-Encoding: br\r\nAccept-Encoding: gzip\r\n",
            Some("gzip"),
        ),
        ("Accept-Encoding: gzip;q=0.00, br\r\n", None),
        ("Accept-Encoding: identity\r\n", None),
    ];
    for ((accepts, expected), uid) in accepts.into_iter().zip(1..) {
        let headers = format!("{PROTOBUF}{accepts}");
        let answer = world.ask(&headers, &hello(uid).encode_to_vec()).await;
        assert_eq!(answer.header("content-encoding"), expected, "{accepts}");
        let encoding = expected.map_or(Encoding::Identity, |_| Encoding::Gzip);
        let body = decompress(encoding, &answer.body, 1 << 20).unwrap();
        offered(&ServerToAgent::decode(body).unwrap());
    }
}

#[tokio::test]
async fn t12_the_header_names_the_agent_or_is_absent() {
    let world = World::trusting(Limits::default()).await;
    let message = hello(0xab).encode_to_vec();
    let uid = InstanceUid::from_bytes([0xab; 16]);
    let named = async |value: &str| {
        let headers = format!("{PROTOBUF}OpAMP-Instance-UID: {value}\r\n");
        let (status, body) = world.post(&headers, &message).await;
        assert_eq!(status, 200);
        ServerToAgent::decode(&body[..]).unwrap()
    };
    assert_eq!(world.post(PROTOBUF, &message).await.0, 200);
    let canonical = uid.to_string();
    for same in [&canonical, &canonical.to_uppercase()] {
        assert!(named(same).await.error_response.is_none());
    }
    let other = InstanceUid::from_bytes([0xac; 16]).to_string();
    for contradicts in [&other, "nobody", "", &canonical[1..], "\u{e4}"] {
        let reply = named(contradicts).await;
        assert!(
            bad_request(&reply)
                .error_message
                .contains("OpAMP-Instance-UID")
        );
        assert_eq!(reply.instance_uid, uid.to_bytes());
    }
}

/// The row is about HTTP: on a WebSocket nobody asks for the header, and it says
/// nothing about who speaks later.
#[tokio::test]
async fn t12_on_an_upgrade_the_header_says_nothing() {
    let world = World::trusting(Limits::default()).await;
    let headers = [
        ("authorization", format!("Bearer {TOKEN}")),
        ("opamp-instance-uid", InstanceUid::NIL.to_string()),
    ];
    let (mut socket, _) = world.upgrade_at("/v1/opamp", &headers).await.unwrap();
    let message = AgentToServer {
        instance_uid: vec![1; 16].into(),
        ..able(1)
    };
    assert!(ask(&mut socket, &message).await.error_response.is_none());
}
