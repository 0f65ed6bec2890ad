//! Law 9: what one identity takes leaves something to the others; law 10: and
//! has limits.

use opamp_operator::server::Limits;
use opamp_operator_core::identity::Sources;
use opamp_wire::{
    Message as _,
    proto::{AgentDisconnect, AgentToServer},
};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::{
    standing::limited,
    throttle::told_to_wait,
    world::{
        OTHER, PROTOBUF, SOON, Socket, TOKEN, World, ask, close_code, hello, refused_for_room,
    },
};

fn polls_as(token: &str) -> String {
    PROTOBUF.replace(TOKEN, token)
}

fn leave(uid: u8) -> AgentToServer {
    AgentToServer {
        sequence_num: 1,
        agent_disconnect: Some(AgentDisconnect {}),
        ..hello(uid)
    }
}

#[test]
fn law10_no_default_throttles_a_fleet_of_one_identity_that_comes_back_whole() {
    let limits = Limits::default();
    let fleet = limits.connections;
    assert!(limits.connections_per_identity >= fleet);
    let fleet = u32::try_from(fleet).unwrap();
    assert!(limits.new_agents_per_identity >= fleet);
    // All of them say five things at once, and half of it is for others.
    assert!(limits.messages / 2 >= fleet * 5);
    // One heartbeat a second, the shortest, of an agent whose limit is used up.
    assert!(limits.messages_per_connection >= 10);
}

#[tokio::test]
async fn m12_law10_an_identity_has_so_many_connections() {
    let world = World::trusting(Limits {
        connections_per_identity: 2,
        ..Limits::default()
    })
    .await;
    let mut open: Vec<Socket> = Vec::new();
    for uid in 1..=2 {
        let mut socket = world.socket().await;
        ask(&mut socket, &hello(uid)).await;
        open.push(socket);
    }
    refused_for_room(&world, TOKEN).await;
    let answer = world.ask(PROTOBUF, &hello(3).encode_to_vec()).await;
    assert_eq!(answer.status, 503);
    assert!((30..60).contains(&answer.retry_after().unwrap()));
    // Another identity is none the worse.
    let mut other = world.upgrade(Some(OTHER)).await.unwrap();
    ask(&mut other, &hello(4)).await;
    // One that ends makes room.
    open.swap_remove(0).close(None).await.unwrap();
    let again = async {
        loop {
            if let Ok(socket) = world.upgrade(Some(TOKEN)).await {
                break socket;
            }
        }
    };
    let mut again = timeout(SOON, again).await.expect("room in time");
    ask(&mut again, &hello(3)).await;
    refused_for_room(&world, TOKEN).await;
}

#[tokio::test]
async fn m12_law10_an_identity_brings_in_so_many_new_agents() {
    let world = World::trusting(Limits {
        new_agents_per_identity: 2,
        refusal_seconds: 2,
        ..Limits::default()
    })
    .await;
    assert_eq!(world.post(PROTOBUF, &hello(1).encode_to_vec()).await.0, 200);
    let mut socket = world.socket().await;
    ask(&mut socket, &hello(2)).await;
    // The next new one is one too many, over both transports.
    let answer = world.ask(PROTOBUF, &hello(3).encode_to_vec()).await;
    assert_eq!(answer.status, 503);
    assert!((2..4).contains(&answer.retry_after().unwrap()));
    let mut third = world.socket().await;
    let refused = ask(&mut third, &hello(3)).await;
    assert_eq!(refused.instance_uid, hello(3).instance_uid);
    told_to_wait(&refused.error_response.unwrap());
    assert_eq!(close_code(&mut third).await, Some(CloseCode::Again));
    // Those that are known come and go as they like.
    for _ in 0..3 {
        assert_eq!(world.post(PROTOBUF, &hello(1).encode_to_vec()).await.0, 200);
        let mut again = world.socket().await;
        assert!(ask(&mut again, &hello(2)).await.error_response.is_none());
    }
    // Another identity is none the worse.
    let other = polls_as(OTHER);
    assert_eq!(world.post(&other, &hello(4).encode_to_vec()).await.0, 200);
}

/// A limit is no trap for a fleet that draws an instance UID at every start.
#[tokio::test]
async fn m12_law10_who_is_away_gives_its_seat_to_a_newcomer_of_its_identity() {
    let world = World::start(Limits::default()).await;
    world.judge(Sources {
        authenticators: limited(2),
        ..Sources::default()
    });
    let headers = polls_as(OTHER);
    let mut stays = world.upgrade(Some(OTHER)).await.unwrap();
    ask(&mut stays, &hello(1)).await;
    for last in 2..=9 {
        for message in [hello(last), leave(last)] {
            let (status, _) = world.post(&headers, &message.encode_to_vec()).await;
            assert_eq!(status, 200, "{last}");
        }
    }
    let forgotten = world.hub.roster.take_dirty().forgotten;
    let forgotten: Vec<_> = forgotten.iter().map(|(_, uid)| uid.as_bytes()[0]).collect();
    assert_eq!(forgotten, [2, 3, 4, 5, 6, 7, 8]);
    // Who is here keeps its seat.
    let mut second = world.upgrade(Some(OTHER)).await.unwrap();
    assert!(ask(&mut second, &hello(9)).await.error_response.is_none());
    let third = world.ask(&headers, &hello(10).encode_to_vec()).await;
    assert_eq!(third.status, 503);
    assert!(ask(&mut stays, &hello(1)).await.error_response.is_none());
}

/// They come over one connection, and count as any others.
#[tokio::test]
async fn m12_law10_a_gateway_brings_in_no_more_new_agents_than_its_identity_may() {
    let world = World::trusting(Limits {
        new_agents_per_identity: 2,
        refusal_seconds: 2,
        ..Limits::default()
    })
    .await;
    let mut gateway = world.socket().await;
    for known in [1, 2] {
        let heard = ask(&mut gateway, &hello(known)).await;
        assert!(heard.error_response.is_none(), "{known}");
    }
    let refused = ask(&mut gateway, &hello(3)).await;
    assert_eq!(refused.instance_uid, hello(3).instance_uid);
    told_to_wait(&refused.error_response.unwrap());
    // The others go on, on the same connection.
    assert!(ask(&mut gateway, &hello(2)).await.error_response.is_none());
}

#[tokio::test]
async fn m12_law10_a_gateway_carries_so_many_agents() {
    let world = World::remembering(
        3000,
        Limits {
            messages_per_connection: u32::MAX,
            refusal_seconds: 2,
            ..Limits::default()
        },
    )
    .await;
    world.trust();
    let mut gateway = world.socket().await;
    let of = |number: u16| AgentToServer {
        instance_uid: [&[7; 14][..], &number.to_be_bytes()].concat().into(),
        ..hello(0)
    };
    // The first of the connection, and 1024 behind it.
    for number in 0..=1024 {
        let heard = ask(&mut gateway, &of(number)).await;
        assert!(heard.error_response.is_none(), "{number}");
    }
    let refused = ask(&mut gateway, &of(1025)).await;
    told_to_wait(&refused.error_response.unwrap());
    assert!(ask(&mut gateway, &of(9)).await.error_response.is_none());
}

/// Sends until it is refused.
async fn flood(loud: &mut Socket) -> u32 {
    for heard in 0..1000 {
        if let Some(error) = ask(loud, &hello(1)).await.error_response {
            told_to_wait(&error);
            return heard;
        }
    }
    panic!("it is never refused");
}

#[tokio::test]
async fn m12_law9_an_identity_that_sends_too_much_leaves_others_heard() {
    let world = World::trusting(Limits {
        messages: 40,
        messages_per_connection: u32::MAX,
        refusal_seconds: 2,
        ..Limits::default()
    })
    .await;
    let mut quiet = world.upgrade(Some(OTHER)).await.unwrap();
    ask(&mut quiet, &hello(9)).await;
    let mut loud = world.socket().await;
    // Its quarter, and what leaves half to the others.
    assert!(flood(&mut loud).await >= 19);
    // Its polls are refused too, and a newcomer is told to come later. A token
    // comes in every quarter of a second, so it may take another try.
    let answer = loop {
        flood(&mut loud).await;
        let answer = world.ask(PROTOBUF, &hello(1).encode_to_vec()).await;
        if answer.status != 200 {
            break answer;
        }
    };
    assert_eq!(answer.status, 503);
    assert!((2..4).contains(&answer.retry_after().unwrap()));
    let mut newcomer = loop {
        let mut newcomer = world.socket().await;
        flood(&mut loud).await;
        if let Some(error) = ask(&mut newcomer, &hello(2)).await.error_response {
            told_to_wait(&error);
            break newcomer;
        }
    };
    assert_eq!(close_code(&mut newcomer).await, Some(CloseCode::Again));
    // Whoever sends less than a quarter is heard all the time.
    for sequence_num in 1..8 {
        flood(&mut loud).await;
        let beat = AgentToServer {
            sequence_num,
            agent_description: None,
            ..hello(9)
        };
        assert!(ask(&mut quiet, &beat).await.error_response.is_none());
    }
    let other = polls_as(OTHER);
    assert_eq!(world.post(&other, &hello(8).encode_to_vec()).await.0, 200);
}
