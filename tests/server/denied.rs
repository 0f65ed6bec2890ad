//! An agent that is denied waits: opamp-go connects again at once after a
//! Close, and backs off only when it cannot connect.

use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use opamp_operator::server::Limits;
use opamp_wire::{
    Message as _, encode_frame,
    proto::{ServerErrorResponseType, server_error_response::Details},
};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::{Message, protocol::frame::coding::CloseCode};

use crate::world::{AGENTS, OTHER, PROTOBUF, Socket, World, answer, ask, close_code, hello};

/// A socket of another identity that spoke under the UID of the first.
async fn foreign(world: &World) -> Socket {
    let mut owner = world.socket().await;
    ask(&mut owner, &hello(1)).await;
    let mut socket = world.upgrade(Some(OTHER)).await.unwrap();
    let error = ask(&mut socket, &hello(1)).await.error_response.unwrap();
    assert_eq!(error.r#type, i32::from(ServerErrorResponseType::BadRequest));
    socket
}

fn refusing(refusal_seconds: u64) -> Limits {
    Limits {
        refusal_seconds,
        ..Limits::default()
    }
}

#[tokio::test]
async fn m15_ws_a_denied_agent_is_told_and_kept_waiting() {
    let world = World::trusting(refusing(2)).await;
    let mut socket = foreign(&world).await;
    let told = Instant::now();
    // Whatever it says, it gets no answer but the end.
    let message = Message::Binary(encode_frame(&hello(1)));
    socket.send(message).await.unwrap();
    match timeout(crate::world::SOON, socket.next()).await {
        Ok(Some(Ok(Message::Close(Some(frame))))) => assert_eq!(frame.code, CloseCode::Policy),
        other => panic!("{other:?}"),
    }
    // It was told a little before we looked at the clock.
    assert!(told.elapsed() > Duration::from_millis(1500));
}

#[tokio::test]
async fn m12_both_a_full_server_says_when_to_come_back() {
    let world = World::trusting(refusing(2)).await;
    for uid in 1..=AGENTS {
        let (status, _) = world.post(PROTOBUF, &hello(uid).encode_to_vec()).await;
        assert_eq!(status, 200);
    }
    let one_more = hello(AGENTS + 1);
    let answer = world.ask(PROTOBUF, &one_more.encode_to_vec()).await;
    assert_eq!(answer.status, 503);
    assert!((2..4).contains(&answer.retry_after().unwrap()));
    let mut socket = world.socket().await;
    let error = ask(&mut socket, &one_more).await.error_response.unwrap();
    assert_eq!(
        error.r#type,
        i32::from(ServerErrorResponseType::Unavailable)
    );
    let Some(Details::RetryInfo(retry)) = error.details else {
        panic!("no retry_info");
    };
    assert!((2_000_000_000..4_000_000_000).contains(&retry.retry_after_nanoseconds));
    assert_eq!(close_code(&mut socket).await, Some(CloseCode::Again));
}

#[tokio::test]
async fn m15_http_the_denial_says_when_to_come_back() {
    let world = World::trusting(Limits::default()).await;
    assert_eq!(world.post(PROTOBUF, &hello(1).encode_to_vec()).await.0, 200);
    let other =
        format!("Content-Type: application/x-protobuf\r\nAuthorization: Bearer {OTHER}\r\n");
    let answer = world.ask(&other, &hello(1).encode_to_vec()).await;
    assert_eq!(answer.status, 403);
    assert!((30..60).contains(&answer.retry_after().unwrap()));
}

#[tokio::test]
async fn c02_c04_a_denied_agent_may_leave_and_so_may_the_server() {
    let world = World::trusting(refusing(600)).await;
    let mut leaving = foreign(&world).await;
    leaving.close(None).await.unwrap();
    assert_eq!(close_code(&mut leaving).await, None);
    let mut staying = foreign(&world).await;
    world.closing.cancel();
    assert_eq!(close_code(&mut staying).await, Some(CloseCode::Away));
}

#[tokio::test]
async fn law10_a_denied_agent_counts_among_the_connections() {
    let world = World::trusting(Limits {
        connections: 2,
        ..refusing(600)
    })
    .await;
    let mut owner = world.socket().await;
    ask(&mut owner, &hello(1)).await;
    let mut denied = world.upgrade(Some(OTHER)).await.unwrap();
    assert!(ask(&mut denied, &hello(1)).await.error_response.is_some());
    assert!(world.upgrade(Some(OTHER)).await.is_err());
}

#[tokio::test]
async fn t05_what_is_too_large_is_told_and_kept_waiting() {
    let world = World::trusting(Limits {
        message_bytes: 10_000,
        ..refusing(2)
    })
    .await;
    let mut socket = world.socket().await;
    let message = Message::Binary(vec![0; 20_000].into());
    socket.send(message).await.unwrap();
    assert!(answer(&mut socket).await.error_response.is_some());
    let told = Instant::now();
    assert_eq!(close_code(&mut socket).await, Some(CloseCode::Size));
    assert!(told.elapsed() > Duration::from_millis(1500));
}
