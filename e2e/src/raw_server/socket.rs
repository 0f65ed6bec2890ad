//! The server of a test over WebSocket.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use opamp_wire::{AgentToServer, ServerToAgent, decode_frame, encode_frame};
use tokio::sync::watch;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::{Shared, Weak, only};

pub(super) fn upgrade(
    request: Request<Incoming>,
    key: &HeaderValue,
    server: &Shared,
    shared: Weak,
) -> Response<Full<Bytes>> {
    let mut response = only(StatusCode::SWITCHING_PROTOCOLS);
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    if let Ok(accept) = derive_accept_key(key.as_bytes()).parse() {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    let link = server.newest.fetch_add(1, Ordering::Relaxed) + 1;
    let (news, listens) = (server.news.subscribe(), server.listens.subscribe());
    server.spawn(async move {
        if let Ok(upgraded) = hyper::upgrade::on(request).await {
            let io = TokioIo::new(upgraded);
            let socket = WebSocketStream::from_raw_socket(io, Role::Server, None).await;
            talk(socket, link, &shared, news, listens).await;
        }
    });
    response
}

async fn talk(
    mut socket: WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>,
    link: u64,
    shared: &Weak,
    mut news: watch::Receiver<()>,
    mut listens: watch::Receiver<bool>,
) {
    let mut uid = Bytes::new();
    loop {
        let reads = *listens.borrow_and_update();
        let received = tokio::select! {
            received = socket.next(), if reads => match received {
                Some(Ok(received)) => Some(received),
                Some(Err(_)) | None => return,
            },
            // Nothing can be addressed to an agent that has not said its name.
            changed = news.changed(), if !uid.is_empty() => match changed {
                Ok(()) => None,
                Err(_) => return,
            },
            changed = listens.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
        };
        let mut replies = Vec::new();
        match received {
            Some(Message::Binary(bytes)) => {
                let Ok(message) = decode_frame::<AgentToServer>(bytes) else {
                    return;
                };
                uid = message.instance_uid;
                replies.push(ServerToAgent {
                    instance_uid: uid.clone(),
                    ..ServerToAgent::default()
                });
            }
            // The library answers it when it is asked for more.
            Some(_) => continue,
            None => {}
        }
        let Some(server) = shared.upgrade() else {
            return;
        };
        replies.extend(server.take(link, &uid));
        drop(server);
        for reply in replies {
            let frame = Message::Binary(encode_frame(&reply));
            if socket.send(frame).await.is_err() {
                return;
            }
        }
    }
}
