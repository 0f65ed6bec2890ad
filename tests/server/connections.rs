//! Law 10: who may hold a connection, and for how long.

use std::{sync::Arc, time::Duration};

use futures::SinkExt as _;
use opamp_operator::{hub::Unknown, server::Limits};
use opamp_wire::{Message as _, encode_frame};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::{Instant, timeout},
};
use tokio_tungstenite::tungstenite::{Message, protocol::frame::coding::CloseCode};

use crate::{
    h2::H2,
    offers::{candidate, profile, target},
    world::{
        PROTOBUF, SOON, Socket, TOKEN, World, ask, close_code, hello, links, refused_for_room,
    },
};

fn short() -> Limits {
    Limits {
        handshake_seconds: 1,
        first_message_seconds: 1,
        idle_seconds: 1,
        ..Limits::default()
    }
}

/// Waits for the end of what the server sends.
async fn ends(mut stream: impl tokio::io::AsyncRead + Unpin) {
    let mut rest = Vec::new();
    let _ = timeout(SOON, stream.read_to_end(&mut rest))
        .await
        .expect("closed in time");
}

#[tokio::test]
async fn law10_whoever_does_not_authenticate_is_cut_off_whatever_it_sends() {
    let world = World::trusting(short()).await;
    // TLS and then silence.
    ends(world.tls().await).await;
    // Neither of the two versions of HTTP yet.
    let mut undecided = world.tls().await;
    undecided.write_all(b"PRI").await.unwrap();
    ends(undecided).await;
    let pinging = H2::begin(world.tls().await).await;
    timeout(SOON, pinging.answer_pings())
        .await
        .expect("closed in time");
    // Requests, but without credentials.
    let mut nobody = world.tls().await;
    nobody
        .write_all(b"GET /v1/opamp HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    ends(nobody).await;
}

#[tokio::test]
async fn law10_silence_ends_in_a_bounded_time() {
    let world = World::trusting(short()).await;
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
    ends(half).await;
    // A WebSocket without a message.
    let mut socket = world.socket().await;
    assert_eq!(close_code(&mut socket).await, Some(CloseCode::Policy));
}

#[tokio::test]
async fn law10_a_connection_without_requests_ends() {
    let world = World::trusting(Limits {
        idle_seconds: 2,
        ..short()
    })
    .await;
    let body = hello(1).encode_to_vec();
    let begun = Instant::now();
    let mut quiet = world.tls().await;
    let head = format!(
        "POST /v1/opamp HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n{PROTOBUF}\r\n",
        body.len()
    );
    quiet.write_all(head.as_bytes()).await.unwrap();
    quiet.write_all(&body).await.unwrap();
    ends(quiet).await;
    assert!(begun.elapsed().as_secs() >= 2, "a poll's interval fits in");
    let mut pinging = H2::begin(world.tls().await).await;
    pinging.post(&format!("Bearer {TOKEN}"), &body).await;
    timeout(SOON, pinging.answer_pings())
        .await
        .expect("closed in time");
}

#[tokio::test]
async fn law10_strangers_do_not_use_up_the_room_of_agents() {
    let limits = Limits {
        handshakes: 8,
        connections: 1,
        handshake_seconds: 600,
        first_message_seconds: 600,
        ..Limits::default()
    };
    let world = Arc::new(World::trusting(limits).await);
    let mut strangers = Vec::new();
    for from in [2, 2, 3, 3, 4, 4] {
        strangers.push(world.tls_from(from).await);
    }
    // An address has a quarter, so one alone never takes all places: its next
    // connection waits, and nobody for it.
    let third = tokio::spawn({
        let world = Arc::clone(&world);
        async move { world.tls_from(2).await }
    });
    let mut agent = world.socket().await;
    ask(&mut agent, &hello(1)).await;
    assert!(!third.is_finished());
    drop(strangers.swap_remove(0));
    timeout(SOON, third).await.expect("its turn").unwrap();
}

#[tokio::test]
async fn law10_one_address_leaves_seats_to_others() {
    let world = World::trusting(Limits {
        waiting: 4,
        handshake_seconds: 600,
        ..Limits::default()
    })
    .await;
    let mut silent = Vec::new();
    for _ in 0..3 {
        silent.push(world.tcp(2).await);
    }
    let mut fourth = world.tcp(2).await;
    let ended = timeout(SOON, fourth.read(&mut [0; 16])).await;
    assert!(matches!(ended.expect("closed in time"), Ok(0) | Err(_)));
    let mut agent = world.socket().await;
    ask(&mut agent, &hello(1)).await;
}

#[tokio::test]
async fn law10_a_websocket_counts_as_long_as_it_lives() {
    let world = World::trusting(Limits {
        connections: 2,
        ..Limits::default()
    })
    .await;
    let mut open: Vec<Socket> = Vec::new();
    for uid in 1..=2 {
        let mut socket = world.socket().await;
        ask(&mut socket, &hello(uid)).await;
        open.push(socket);
    }
    // More are answered, not left in the backlog.
    refused_for_room(&world, TOKEN).await;
    let answer = world.ask(PROTOBUF, &hello(3).encode_to_vec()).await;
    assert_eq!(answer.status, 503);
    assert!(answer.retry_after().is_some());
    // One that ends makes room.
    ends_as_agent(open.pop().unwrap()).await;
    let mut again = timeout(SOON, async {
        loop {
            if let Ok(socket) = world.upgrade(Some(TOKEN)).await {
                break socket;
            }
        }
    })
    .await
    .expect("room in time");
    ask(&mut again, &hello(3)).await;
    refused_for_room(&world, TOKEN).await;
}

async fn ends_as_agent(mut socket: Socket) {
    socket.close(None).await.unwrap();
    assert_eq!(close_code(&mut socket).await, None);
}

#[tokio::test]
async fn law10_pings_are_no_first_message() {
    let world = World::trusting(short()).await;
    let mut socket = world.socket().await;
    socket.send(Message::Ping("hello".into())).await.unwrap();
    assert_eq!(close_code(&mut socket).await, Some(CloseCode::Policy));
}

#[tokio::test]
async fn law10_a_body_that_drips_is_cut_off() {
    let world = World::trusting(short()).await;
    let mut stream = world.tls().await;
    let head = format!(
        "POST /v1/opamp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n{PROTOBUF}\r\nx"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 12];
    timeout(SOON, stream.read_exact(&mut answer))
        .await
        .expect("an answer in time")
        .unwrap();
    assert_eq!(answer, b"HTTP/1.1 408");
    ends(stream).await;
}

#[tokio::test]
async fn law10_a_websocket_that_never_reads_ends() {
    let world = World::trusting(Limits {
        write_seconds: 1,
        messages_per_connection: u32::MAX,
        ..Limits::default()
    })
    .await;
    let mut socket = world.socket().await;
    let message = Message::Binary(encode_frame(&hello(1)));
    // Its answers fill every buffer on their way back, until the server gives up.
    timeout(SOON, async {
        while socket.send(message.clone()).await.is_ok() {}
    })
    .await
    .expect("closed in time");
}

/// A peer that is gone without a word: what we tell it is no sign of its life.
#[tokio::test]
async fn law10_news_for_a_dead_connection_do_not_keep_it() {
    let world = World::trusting(Limits {
        idle_seconds: 1,
        ..Limits::default()
    })
    .await;
    let book = &world.hub.book;
    book.publish_candidates(vec![candidate()], Unknown::default());
    let mut target = target(world.hub.clock.now());
    target.paused = true;
    let mut socket = world.socket().await;
    ask(&mut socket, &hello(1)).await;
    // It is not read any more, so no ping is answered.
    let mut news = tokio::time::interval(Duration::from_millis(100));
    let closed = async {
        while !links(&world, 1).is_empty() {
            news.tick().await;
            let next = book
                .target(&profile())
                .borrow()
                .is_none()
                .then(|| target.clone());
            book.publish_target(&profile(), next);
        }
    };
    timeout(SOON, closed).await.expect("closed in time");
}

/// Whoever comes after this process expects them back, and no status says
/// meanwhile that they are away.
#[tokio::test]
async fn law8_the_end_of_this_process_is_not_the_agents_doing() {
    let world = World::trusting(Limits {
        connections: 1,
        ..Limits::default()
    })
    .await;
    let uid = opamp_wire::InstanceUid::from_bytes([1; 16]);
    for closing in [false, true] {
        let mut socket = world.socket().await;
        ask(&mut socket, &hello(1)).await;
        if closing {
            world.hub.roster.leave();
        }
        drop(socket);
        let ended = async { while world.upgrade(Some(TOKEN)).await.is_err() {} };
        timeout(SOON, ended).await.expect("its connection ends");
        let record = world.hub.roster.record(uid, "default").unwrap();
        assert_eq!(record.connected.is_some(), closing);
    }
}
