//! M01 to M07, M10, M11, M14: what every message is answered. `Peer` checks
//! M03, M04, M06 and M07 of each answer in every other test too.

use opamp_operator::server::Limits;
use opamp_wire::{
    Message as _,
    proto::{AgentToServer, ServerToAgent},
};

use crate::{
    offers::{publish, target},
    peer::{BOTH, Over, Peer, able, bad_request, bare, full},
    world::{OTHER, World, hello},
};

/// Every capability that the specification defines.
const ALL: u64 = 0xffff;

#[tokio::test]
async fn m01_m03_both_answer_every_message_duplicates_too() {
    let world = World::trusting(Limits::default()).await;
    for (over, uid) in BOTH.into_iter().zip(1..) {
        let mut peer = Peer::new(&world, over, uid).await;
        peer.say(full()).await;
        for sequence_num in [1, 1, 1, 2, 2, 0] {
            let message = AgentToServer {
                instance_uid: peer.uid.to_bytes(),
                sequence_num,
                ..bare()
            };
            let reply = peer.send(&message).await;
            assert_eq!(reply.instance_uid, message.instance_uid, "{over:?}");
            assert!(reply.error_response.is_none(), "{over:?}");
        }
    }
}

#[tokio::test]
async fn m02_ws_nothing_to_say_is_the_uid_alone() {
    let world = World::trusting(Limits::default()).await;
    let mut peer = Peer::new(&world, Over::WebSocket, 1).await;
    peer.say(able(1)).await;
    let nothing = ServerToAgent {
        instance_uid: peer.uid.to_bytes(),
        ..ServerToAgent::default()
    };
    assert_eq!(peer.say(bare()).await, nothing);
}

/// A poll is a connection of its own, so M04 beats M02 in one field.
#[tokio::test]
async fn m02_http_nothing_to_say_is_the_uid_and_the_capabilities() {
    let world = World::trusting(Limits::default()).await;
    let mut peer = Peer::new(&world, Over::Http, 1).await;
    peer.say(able(1)).await;
    let nothing = ServerToAgent {
        instance_uid: peer.uid.to_bytes(),
        capabilities: 0x21,
        ..ServerToAgent::default()
    };
    assert_eq!(peer.say(bare()).await, nothing);
}

#[tokio::test]
async fn law1_m04_m05_both_say_what_we_can_do_whatever_the_agent_can() {
    let world = World::trusting(Limits::default()).await;
    for (over, first) in [(Over::WebSocket, 1), (Over::Http, 11)] {
        for (capabilities, uid) in [0, 1, 0x2101, ALL, u64::MAX].into_iter().zip(first..) {
            let mut peer = Peer::new(&world, over, uid).await;
            let said = peer.say(able(capabilities)).await.capabilities;
            // AcceptsStatus and OffersConnectionSettings; neither
            // AcceptsConnectionSettingsRequest nor a bit that is not defined.
            assert_eq!(said, 0x21, "{over:?} {capabilities:#x}");
        }
    }
}

#[tokio::test]
async fn m06_both_send_an_error_alone_or_none() {
    let world = World::trusting(Limits::default()).await;
    publish(&world.hub, target(world.hub.clock.now()));
    for (over, uid) in BOTH.into_iter().zip(1..) {
        let mut peer = Peer::new(&world, over, uid).await;
        // There would be capabilities, a flag and an offer to send.
        let malformed = AgentToServer {
            instance_uid: vec![uid; 15].into(),
            ..full()
        };
        let error = peer.bytes(&malformed.encode_to_vec()).await;
        bad_request(&error);
        let reply = peer.say(full()).await;
        assert!(reply.connection_settings.is_some(), "{over:?}");
        assert!(reply.error_response.is_none(), "{over:?}");
    }
}

/// We send no command: `Peer` looks at every answer.
#[tokio::test]
async fn m07_both_send_no_command_to_who_takes_one() {
    let world = World::trusting(Limits::default()).await;
    publish(&world.hub, target(world.hub.clock.now()));
    for (over, uid) in BOTH.into_iter().zip(1..) {
        let mut peer = Peer::new(&world, over, uid).await;
        let first = peer.say(able(ALL)).await;
        assert!(first.connection_settings.is_some() && first.command.is_none());
        for _ in 0..3 {
            assert!(peer.say(able(ALL)).await.command.is_none(), "{over:?}");
        }
    }
}

#[tokio::test]
async fn m10_both_say_what_is_malformed_and_the_neighbour_notices_nothing() {
    let world = World::trusting(Limits::default()).await;
    for (over, uid) in BOTH.into_iter().zip(1..) {
        let mut neighbour = Peer::new(&world, over, 10 + uid).await;
        neighbour.say(full()).await;
        let mut peer = Peer::new(&world, over, uid).await;
        let cut = full().encode_to_vec();
        let mistyped = [0x08, 1];
        for garbage in [&b"\xff\xff\xff"[..], &cut[..cut.len() - 1], &mistyped] {
            let reply = peer.bytes(garbage).await;
            assert!(bad_request(&reply).error_message.contains(' '), "{over:?}");
        }
        // The same connection still works, and so does the neighbour's.
        assert!(peer.say(full()).await.error_response.is_none(), "{over:?}");
        let next = neighbour.say(bare()).await;
        assert_eq!((next.error_response, next.flags), (None, 0), "{over:?}");
    }
}

#[tokio::test]
async fn m11_both_take_instance_uids_of_16_bytes_only() {
    let world = World::trusting(Limits::default()).await;
    for (over, uid) in BOTH.into_iter().zip(1..) {
        let mut peer = Peer::new(&world, over, uid).await;
        for length in [0, 1, 15, 17, 26, 36] {
            let message = AgentToServer {
                instance_uid: vec![uid; length].into(),
                ..full()
            };
            let reply = peer.bytes(&message.encode_to_vec()).await;
            assert!(bad_request(&reply).error_message.contains("16 bytes"));
        }
        assert!(peer.say(full()).await.error_response.is_none(), "{over:?}");
    }
}

#[tokio::test]
async fn m14_both_ignore_what_they_do_not_know() {
    let world = World::trusting(Limits::default()).await;
    publish(&world.hub, target(world.hub.clock.now()));
    for (over, uid) in BOTH.into_iter().zip(1..) {
        let mut peer = Peer::new(&world, over, uid).await;
        let known = AgentToServer {
            instance_uid: peer.uid.to_bytes(),
            flags: u64::MAX << 1,
            ..able(u64::MAX)
        };
        // Fields 1000 (varint), 1001 (bytes) and 1002 (64 bits).
        let unknown = [
            &known.encode_to_vec()[..],
            &[0xc0, 0x3e, 7],
            &[0xca, 0x3e, 1, 0xff],
            &[0xd1, 0x3e, 1, 2, 3, 4, 5, 6, 7, 8],
        ];
        let reply = peer.bytes(&unknown.concat()).await;
        assert_eq!(reply.instance_uid, known.instance_uid);
        assert!(reply.error_response.is_none() && reply.connection_settings.is_some());
        assert_eq!(reply.agent_identification, None);
    }
}

/// The row lets a server refuse a duplicate: another identity's.
#[tokio::test]
async fn m15_both_refuse_the_uid_of_another_identity() {
    let world = World::trusting(Limits::default()).await;
    let mut owner = Peer::new(&world, Over::WebSocket, 1).await;
    owner.say(full()).await;
    let mut impostor = Peer::showing(&world, Over::WebSocket, 1, OTHER, None).await;
    let refused = impostor.say(full()).await;
    assert!(
        bad_request(&refused)
            .error_message
            .contains("another identity")
    );
    let headers =
        format!("Content-Type: application/x-protobuf\r\nAuthorization: Bearer {OTHER}\r\n");
    assert_eq!(world.post(&headers, &hello(1).encode_to_vec()).await.0, 403);
    // Its owner is not touched.
    let reply = owner.say(bare()).await;
    assert_eq!(
        (reply.error_response, reply.agent_identification),
        (None, None)
    );
}
