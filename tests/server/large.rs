//! Law 10: a message may be small on the wire and large in memory, so only a
//! few that are not small once unpacked are decoded at once.

use futures::SinkExt as _;
use opamp_operator::server::Limits;
use opamp_wire::{
    Message as _, encode_frame, gzip,
    proto::{AgentDescription, AgentToServer, KeyValue, ServerErrorResponseType},
};
use tokio_tungstenite::tungstenite::Message;

use crate::world::{PROTOBUF, World, answer, ask, hello};

/// Two bytes an attribute on the wire, many in memory.
fn bloated(uid: u8) -> AgentToServer {
    let description = AgentDescription {
        identifying_attributes: vec![KeyValue::default(); 20_000],
        ..AgentDescription::default()
    };
    AgentToServer {
        agent_description: Some(description),
        ..hello(uid)
    }
}

#[test]
fn law10_a_mebibyte_is_enough_by_default() {
    let limits = Limits::default();
    assert!(limits.message_bytes <= 1024 * 1024);
    assert!(limits.large_messages <= 4);
}

#[tokio::test]
async fn law10_no_more_large_messages_are_decoded_than_there_are_places() {
    let world = World::trusting(Limits {
        first_message_seconds: 1,
        ..Limits::default()
    })
    .await;
    let places = u32::try_from(Limits::default().large_messages).unwrap();
    assert_eq!(world.large_messages.available_permits(), 4);
    // As many as may be are being decoded.
    let decoding = world.large_messages.acquire_many(places).await.unwrap();
    let mut socket = world.socket().await;
    ask(&mut socket, &hello(1)).await;
    let frame = Message::Binary(encode_frame(&bloated(1)));
    socket.send(frame.clone()).await.unwrap();
    // Small ones of others pass, whatever their encoding.
    let gzipped = format!("{PROTOBUF}Content-Encoding: gzip\r\n");
    let small = hello(2).encode_to_vec();
    assert_eq!(world.post(PROTOBUF, &small).await.0, 200);
    assert_eq!(world.post(&gzipped, &gzip(&small)).await.0, 200);
    let mut neighbour = world.socket().await;
    assert!(
        ask(&mut neighbour, &hello(3))
            .await
            .error_response
            .is_none()
    );
    // Large ones wait, and not for ever; over HTTP it is the size after
    // inflating that counts.
    let error = answer(&mut socket).await.error_response.unwrap();
    assert_eq!(
        error.r#type,
        i32::from(ServerErrorResponseType::Unavailable)
    );
    let body = gzip(&bloated(2).encode_to_vec());
    assert!(body.len() < 1024);
    let refused = world.ask(&gzipped, &body).await;
    assert_eq!(refused.status, 503);
    assert!(refused.retry_after().is_some());
    drop(decoding);
    // The same connection still works, and every place is given back.
    socket.send(frame).await.unwrap();
    assert!(answer(&mut socket).await.error_response.is_none());
    assert_eq!(world.post(&gzipped, &body).await.0, 200);
    assert_eq!(world.large_messages.available_permits(), 4);
}
