//! Law 10: how much may be said on one connection.

use std::time::Duration;

use bytes::Bytes;
use futures::SinkExt as _;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, client::conn::http1::SendRequest};
use hyper_util::rt::TokioIo;
use opamp_operator::server::Limits;
use opamp_wire::{
    Message as _, encode_frame,
    proto::{
        AgentDisconnect, AgentToServer, ServerErrorResponse, ServerErrorResponseType,
        server_error_response::Details,
    },
};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::{Message, protocol::frame::coding::CloseCode};

use crate::world::{SOON, TOKEN, World, answer, ask, close_code, hello, links};

const LIMIT: u32 = 20;

fn limits() -> Limits {
    Limits {
        messages_per_connection: LIMIT,
        refusal_seconds: 2,
        ..Limits::default()
    }
}

/// Seconds that whoever is told to wait has to.
pub(crate) fn told_to_wait(error: &ServerErrorResponse) -> Duration {
    let unavailable = i32::from(ServerErrorResponseType::Unavailable);
    assert_eq!(error.r#type, unavailable, "{error:?}");
    let Some(Details::RetryInfo(retry)) = &error.details else {
        panic!("no retry_info: {error:?}");
    };
    Duration::from_nanos(retry.retry_after_nanoseconds)
}

#[tokio::test]
async fn m12_law10_more_messages_than_may_come_are_refused_unheard() {
    let world = World::trusting(limits()).await;
    let mut socket = world.socket().await;
    // The upgrade was one.
    for _ in 1..LIMIT {
        let heard = ask(&mut socket, &hello(1)).await;
        assert!(heard.error_response.is_none());
    }
    let leave = AgentToServer {
        agent_disconnect: Some(AgentDisconnect {}),
        ..hello(1)
    };
    let refused = ask(&mut socket, &leave).await;
    assert_eq!(refused.instance_uid, hello(1).instance_uid);
    let wait = told_to_wait(&refused.error_response.unwrap());
    assert!((2..4).contains(&wait.as_secs()), "{wait:?}");
    assert_eq!(links(&world, 1).len(), 1, "it was heard");
    // Others are none the worse, and this connection is heard again by and by.
    let mut neighbour = world.socket().await;
    let heard = ask(&mut neighbour, &hello(2)).await;
    assert!(heard.error_response.is_none());
    let mut turn = tokio::time::interval(Duration::from_millis(200));
    let heard = async {
        loop {
            turn.tick().await;
            if ask(&mut socket, &hello(1)).await.error_response.is_none() {
                break;
            }
        }
    };
    timeout(SOON, heard).await.expect("heard again");
}

#[tokio::test]
async fn m12_law10_who_does_not_stop_is_not_read_for_a_while_and_then_closed() {
    let world = World::trusting(limits()).await;
    let mut socket = world.socket().await;
    let message = Message::Binary(encode_frame(&hello(1)));
    for _ in 0..LIMIT * 4 {
        socket.feed(message.clone()).await.unwrap();
    }
    socket.flush().await.unwrap();
    for _ in 1..LIMIT {
        assert!(answer(&mut socket).await.error_response.is_none());
    }
    // Refused as often as heard; the rest is not even answered.
    for _ in 0..LIMIT {
        told_to_wait(&answer(&mut socket).await.error_response.unwrap());
    }
    let told = Instant::now();
    assert!(links(&world, 1).is_empty());
    assert_eq!(close_code(&mut socket).await, Some(CloseCode::Again));
    // It was told a little before we looked at the clock.
    assert!(told.elapsed() > Duration::from_millis(1500));
}

#[tokio::test]
async fn law10_pings_are_counted_too() {
    let world = World::trusting(limits()).await;
    let mut socket = world.socket().await;
    ask(&mut socket, &hello(1)).await;
    for _ in 0..LIMIT * 3 {
        socket.feed(Message::Ping("more".into())).await.unwrap();
    }
    socket.flush().await.unwrap();
    assert_eq!(close_code(&mut socket).await, Some(CloseCode::Again));
}

async fn poll(sender: &mut SendRequest<Full<Bytes>>) -> Option<(u16, Option<u64>)> {
    let request = Request::post("/v1/opamp")
        .header("host", "localhost")
        .header("authorization", format!("Bearer {TOKEN}"))
        .header("content-type", "application/x-protobuf")
        .body(Full::new(hello(1).encode_to_vec().into()))
        .unwrap();
    sender.ready().await.ok()?;
    let response = timeout(SOON, sender.send_request(request)).await;
    let response = response.expect("an answer in time").ok()?;
    let retry = response.headers().get("retry-after");
    let retry = retry.map(|value| value.to_str().unwrap().parse().unwrap());
    let status = response.status().as_u16();
    response.into_body().collect().await.unwrap();
    Some((status, retry))
}

#[tokio::test]
async fn m12_law10_more_polls_than_may_come_are_told_when_to_come_back() {
    let world = World::trusting(limits()).await;
    let io = TokioIo::new(world.tls().await);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    tokio::spawn(connection);
    for _ in 0..LIMIT {
        assert_eq!(poll(&mut sender).await, Some((200, None)));
    }
    let mut refused = 0;
    while let Some((status, retry)) = poll(&mut sender).await {
        assert_eq!(status, 503);
        assert!((2..4).contains(&retry.unwrap()), "{retry:?}");
        refused += 1;
        assert!(refused <= LIMIT, "who does not stop is cut off");
    }
    assert_eq!(refused, LIMIT);
}
