//! What the protocol asks for: authentication, greetings, and what bad input
//! gets.

use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use opamp_operator::server::Limits;
use opamp_wire::{
    Message as _, gzip,
    proto::{AgentToServer, ServerErrorResponseType, ServerToAgent},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};
use tokio_tungstenite::tungstenite::{Error, Message, protocol::frame::coding::CloseCode};

use crate::world::{PROTOBUF, SOON, TOKEN, World, answer, ask, close_code, hello};

#[tokio::test]
async fn law1_m04_the_first_answer_offers_connection_settings_whatever_the_agent_can_do() {
    let world = World::trusting(Limits::default()).await;
    let mut socket = world.socket().await;
    let incapable = AgentToServer {
        capabilities: 1,
        ..hello(1)
    };
    let first = ask(&mut socket, &incapable).await;
    // AcceptsStatus and OffersConnectionSettings.
    assert_eq!(first.capabilities & 0x21, 0x21);
    assert_eq!(first.instance_uid, incapable.instance_uid);
    let second = AgentToServer {
        sequence_num: 1,
        agent_description: None,
        ..incapable.clone()
    };
    let second = ask(&mut socket, &second).await;
    // M02: nothing to say.
    let nothing = ServerToAgent {
        instance_uid: incapable.instance_uid.clone(),
        ..ServerToAgent::default()
    };
    assert_eq!(second, nothing);
    let (status, body) = world.post(PROTOBUF, &hello(2).encode_to_vec()).await;
    assert_eq!(status, 200);
    assert_eq!(
        ServerToAgent::decode(&body[..]).unwrap().capabilities & 0x21,
        0x21
    );
}

#[tokio::test]
async fn c01_credentials_that_prove_nobody_get_401_before_the_upgrade() {
    let world = World::trusting(Limits::default()).await;
    for token in [None, Some("not-the-token-at-all-really")] {
        match world.upgrade(token).await {
            Err(Error::Http(response)) => assert_eq!(response.status(), 401),
            other => panic!("{:?}", other.map(|_| "upgraded")),
        }
    }
    let (status, _) = world
        .post(
            "Content-Type: application/x-protobuf\r\n",
            &hello(1).encode_to_vec(),
        )
        .await;
    assert_eq!(status, 401);
}

#[tokio::test]
async fn law2_h21_while_nobody_can_judge_the_answer_is_503_not_401() {
    let world = World::start(Limits::default()).await;
    match world.upgrade(Some(TOKEN)).await {
        Err(Error::Http(response)) => {
            assert_eq!(response.status(), 503);
            let retry: u64 = response.headers()["retry-after"]
                .to_str()
                .unwrap()
                .parse()
                .unwrap();
            assert!((30..60).contains(&retry));
        }
        other => panic!("{:?}", other.map(|_| "upgraded")),
    }
    world.trust();
    world.socket().await;
}

#[tokio::test]
async fn m08_h14_a_gap_or_a_bare_reconnect_is_asked_for_full_state() {
    let world = World::trusting(Limits::default()).await;
    let mut socket = world.socket().await;
    let bare = AgentToServer {
        sequence_num: 7,
        agent_description: None,
        ..hello(1)
    };
    assert_eq!(ask(&mut socket, &bare).await.flags & 1, 1);
    let full = AgentToServer {
        sequence_num: 8,
        ..hello(1)
    };
    assert_eq!(ask(&mut socket, &full).await.flags & 1, 0);
    let gap = AgentToServer {
        sequence_num: 10,
        agent_description: None,
        ..hello(1)
    };
    assert_eq!(ask(&mut socket, &gap).await.flags & 1, 1);
}

#[tokio::test]
async fn m10_m11_t04_garbage_is_answered_and_the_neighbour_notices_nothing() {
    let world = World::trusting(Limits::default()).await;
    let mut neighbour = world.socket().await;
    ask(&mut neighbour, &hello(9)).await;
    let mut socket = world.socket().await;
    for garbage in [&b"\x00\xff\xff\xff"[..], b"\x01\x00", b"\x00"] {
        socket
            .send(Message::Binary(garbage.to_vec().into()))
            .await
            .unwrap();
        let error = answer(&mut socket).await.error_response.expect("an error");
        assert_eq!(error.r#type, i32::from(ServerErrorResponseType::BadRequest));
        assert!(!error.error_message.is_empty());
    }
    let short = AgentToServer {
        instance_uid: vec![1; 5].into(),
        ..hello(1)
    };
    assert!(ask(&mut socket, &short).await.error_response.is_some());
    // The same connection still works, and so does the neighbour's.
    assert!(ask(&mut socket, &hello(1)).await.error_response.is_none());
    let next = AgentToServer {
        sequence_num: 1,
        agent_description: None,
        ..hello(9)
    };
    assert!(ask(&mut neighbour, &next).await.error_response.is_none());
}

#[tokio::test]
async fn t05_t08_law10_what_is_too_large_is_refused() {
    let world = World::trusting(Limits {
        message_bytes: 10_000,
        refusal_seconds: 1,
        ..Limits::default()
    })
    .await;
    let mut socket = world.socket().await;
    socket
        .send(Message::Binary(vec![0; 20_000].into()))
        .await
        .unwrap();
    assert!(answer(&mut socket).await.error_response.is_some());
    assert_eq!(close_code(&mut socket).await, Some(CloseCode::Size));
    let (status, _) = world.post(PROTOBUF, &vec![0; 20_000]).await;
    assert_eq!(status, 413);
    // A bomb: small on the wire, large when unpacked.
    let headers = format!("{PROTOBUF}Content-Encoding: gzip\r\n");
    let (status, _) = world.post(&headers, &gzip(&vec![0; 1_000_000])).await;
    assert_eq!(status, 413);
}

#[tokio::test]
async fn law10_silence_ends_in_a_bounded_time() {
    let limits = Limits {
        handshake_seconds: 1,
        first_message_seconds: 1,
        ..Limits::default()
    };
    let world = World::trusting(limits).await;
    // Not even TLS.
    let mut raw = world.tcp(1).await;
    let ended = timeout(SOON, raw.read(&mut [0; 16]))
        .await
        .expect("closed in time");
    assert!(matches!(ended, Ok(0) | Err(_)));
    // Half a request.
    let mut half = world.tls().await;
    half.write_all(b"POST /v1/opamp HTTP/1.1\r\nHo")
        .await
        .unwrap();
    let mut rest = Vec::new();
    let _ = timeout(SOON, half.read_to_end(&mut rest))
        .await
        .expect("closed in time");
    // A WebSocket without a message.
    let mut socket = world.socket().await;
    assert_eq!(close_code(&mut socket).await, Some(CloseCode::Policy));
}

#[tokio::test]
async fn t03_t07_t12_plain_http_is_judged_by_its_headers() {
    let world = World::trusting(Limits::default()).await;
    let message = hello(1).encode_to_vec();
    let gzipped = format!("{PROTOBUF}Content-Encoding: gzip\r\n");
    assert_eq!(world.post(&gzipped, &gzip(&message)).await.0, 200);
    assert_eq!(world.post(&gzipped, &message).await.0, 400);
    let unknown = format!("{PROTOBUF}Content-Encoding: br\r\n");
    assert_eq!(world.post(&unknown, &message).await.0, 415);
    let other = format!("{PROTOBUF}OpAMP-Instance-UID: 00000000-0000-0000-0000-000000000000\r\n");
    assert_eq!(world.post(&other, &message).await.0, 400);
    let plain = "Authorization: Bearer a-token-that-is-long-enough\r\n";
    assert_eq!(world.post(plain, &message).await.0, 400);
    assert_eq!(world.post(PROTOBUF, b"\xff\xff").await.0, 400);
}

#[tokio::test]
async fn c02_the_end_of_the_server_is_a_close_frame() {
    let world = World::trusting(Limits::default()).await;
    let mut socket = world.socket().await;
    ask(&mut socket, &hello(1)).await;
    world.closing.cancel();
    assert_eq!(close_code(&mut socket).await, Some(CloseCode::Away));
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
