//! Law 10: whoever is slow on purpose, or small on the wire and large in
//! memory, costs a bounded amount of both and nothing of anybody else's.

use std::{io::Write as _, sync::Arc, time::Duration};

use futures::{FutureExt as _, SinkExt as _};
use opamp_operator::{hub::Unknown, server::Limits};
use opamp_wire::encode_frame;
use rustls::{ClientConnection, pki_types::ServerName};
use tokio::{
    io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    time::{Instant, interval, timeout},
};
use tokio_tungstenite::tungstenite::Message;

use crate::{
    offers::{candidate, profile, with_bundle},
    world::{PROTOBUF, SOON, TOKEN, World, ask, hello, links},
};

/// Writes byte by byte, and begins anew at the end, until it is cut off.
async fn drip(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) {
    let mut next = interval(Duration::from_millis(20));
    for byte in bytes.iter().cycle() {
        next.tick().await;
        if stream.write_all(&[*byte]).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn law10_a_request_that_drips_is_cut_off() {
    let world = World::trusting(Limits {
        handshake_seconds: 1,
        first_message_seconds: 1,
        ..Limits::default()
    })
    .await;
    let mut stream = world.tls().await;
    let head = format!("GET /v1/opamp HTTP/1.1\r\nHost: localhost\r\n{PROTOBUF}");
    stream.write_all(head.as_bytes()).await.unwrap();
    let header = drip(&mut stream, b"X-Nothing: x\r\n");
    timeout(SOON, header).await.expect("closed in time");
}

#[tokio::test]
async fn law10_tls_that_drips_is_cut_off() {
    let world = World::trusting(Limits {
        handshake_seconds: 1,
        ..Limits::default()
    })
    .await;
    let mut stream = world.tcp(1).await;
    // Long enough that it is not over before its time.
    let record = [
        [22, 3, 1, 0x3f, 0xff, 1, 0, 0x3f, 0xfb].as_slice(),
        &[3; 250],
    ]
    .concat();
    timeout(SOON, drip(&mut stream, &record))
        .await
        .expect("closed in time");
}

/// Every place is held by somebody that sends a byte now and then. Whoever
/// comes next waits for a part of the time for TLS, not for all of it.
#[tokio::test]
async fn law10_those_that_drip_make_way_for_those_that_speak() {
    let limits = Limits {
        handshakes: 4,
        handshake_seconds: 8,
        first_message_seconds: 600,
        ..Limits::default()
    };
    let world = Arc::new(World::trusting(limits).await);
    let mut dripping = Vec::new();
    for from in 2..=5 {
        let mut stream = world.tls_from(from).await;
        dripping.push(tokio::spawn(async move {
            drip(&mut stream, b"GET /v1/opamp HTTP/1.1\r\nX-Nothing: x\r\n").await;
        }));
    }
    let mut agent = world.socket().await;
    ask(&mut agent, &hello(1)).await;
    drop(agent);
}

/// The same while they say nothing at all, and have not begun TLS.
#[tokio::test]
async fn law10_the_silent_hold_nobody_up() {
    let world = World::trusting(Limits {
        handshakes: 4,
        handshake_seconds: 600,
        ..Limits::default()
    })
    .await;
    let mut silent = Vec::new();
    for from in [2, 3, 4, 5, 2, 3, 4, 5] {
        silent.push(world.tcp(from).await);
    }
    let mut agent = world.socket().await;
    ask(&mut agent, &hello(1)).await;
}

#[tokio::test]
async fn law10_seats_of_the_silent_are_taken_back_when_all_are_taken() {
    let world = World::trusting(Limits {
        waiting: 4,
        handshake_seconds: 24,
        ..Limits::default()
    })
    .await;
    let begun = Instant::now();
    let mut silent = Vec::new();
    for from in [2, 3, 4, 5, 6, 7] {
        silent.push(world.tcp(from).await);
    }
    let mut agent = world.socket().await;
    ask(&mut agent, &hello(1)).await;
    // A quarter of the time for TLS, if nothing else takes any.
    assert!(begun.elapsed() >= Duration::from_secs(5));
}

/// An agent that takes an offer and does not read it.
#[tokio::test]
async fn law10_one_that_never_reads_what_is_pushed_ends() {
    let world = World::trusting(Limits {
        write_seconds: 1,
        ..Limits::default()
    })
    .await;
    let book = &world.hub.book;
    book.publish_candidates(vec![candidate()], Unknown::default());
    let stream = world.tls_over(world.narrow_tcp().await).await;
    let mut socket = World::upgrade_over(stream, Some(TOKEN)).await.unwrap();
    ask(&mut socket, &hello(1)).await;
    // Almost as large as may be offered, more than the system holds for us.
    let target = with_bundle(150, world.hub.clock.now());
    book.publish_target(&profile(), Some(target));
    let mut look = interval(Duration::from_millis(20));
    let gone = async {
        while !links(&world, 1).is_empty() {
            look.tick().await;
        }
    };
    timeout(SOON, gone).await.expect("closed in time");
}

/// It asks as much as it can and reads the answers byte by byte. What it could
/// send until nobody took more is an upper bound of all that is held for it.
#[tokio::test]
async fn law10_a_slow_reader_costs_a_bounded_amount_of_memory() {
    const BOUND: usize = 1024 * 1024;
    let world = World::trusting(Limits {
        messages_per_connection: u32::MAX,
        ..Limits::default()
    })
    .await;
    let stream = world.tls_over(world.narrow_tcp().await).await;
    let mut socket = World::upgrade_over(stream, Some(TOKEN)).await.unwrap();
    let frame = encode_frame(&hello(1));
    let mut sent = 0;
    // Not taken for as long as this: full.
    while timeout(
        Duration::from_secs(2),
        socket.send(Message::Binary(frame.clone())),
    )
    .await
    .is_ok_and(|sent| sent.is_ok())
    {
        sent += frame.len();
        assert!(sent < BOUND, "it takes everything");
        // A byte, if there is one.
        let _ = socket.get_mut().read(&mut [0; 1]).now_or_never();
    }
    let mut out = std::io::stderr();
    writeln!(out, "a slow reader could send {sent} bytes").unwrap();
    let mut neighbour = world.socket().await;
    ask(&mut neighbour, &hello(2)).await;
}

/// What a client says first, over and over, is no handshake either.
#[tokio::test]
async fn law10_a_client_hello_and_then_nothing_ends() {
    let world = World::trusting(Limits {
        handshake_seconds: 1,
        ..Limits::default()
    })
    .await;
    let mut stream = world.tcp(1).await;
    stream.write_all(&client_hello()).await.unwrap();
    let mut rest = Vec::new();
    let _ = timeout(SOON, stream.read_to_end(&mut rest))
        .await
        .expect("closed in time");
    assert!(!rest.is_empty(), "the server answered");
}

fn client_hello() -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    hello
}
