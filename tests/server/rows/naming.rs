//! M15, M16: a new instance UID for a clone, and for whoever asks.

use std::collections::BTreeSet;

use opamp_operator::server::Limits;
use opamp_operator_core::fleet::Transport;
use opamp_wire::{
    InstanceUid, Message as _,
    proto::{
        AgentDescription, AgentDisconnect, AgentToServer, AnyValue, KeyValue, ServerToAgent,
        any_value::Value,
    },
};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::{
    offers::{OFFERED, publish, target},
    peer::{BOTH, Over, Peer, bad_request, bare, full, offered, pass},
    world::{OTHER, TOKEN, World, close_code},
};

/// `AgentToServerFlags_RequestInstanceUid`.
fn asking() -> AgentToServer {
    AgentToServer { flags: 1, ..full() }
}

fn assigned(reply: &ServerToAgent) -> InstanceUid {
    let named = reply.agent_identification.as_ref().expect("a new UID");
    let uid = InstanceUid::try_from(&named.new_instance_uid[..]).unwrap();
    assert_eq!(uid.as_bytes()[6] >> 4, 7, "a UUIDv7");
    assert_eq!(uid.as_bytes()[8] >> 6, 0b10);
    // Neither full state, which opamp-go would answer with the same request,
    // nor an offer to an agent that is about to be another.
    assert_eq!((reply.flags, &reply.connection_settings), (0, &None));
    uid
}

#[tokio::test]
async fn m16_both_assign_a_uid_that_belongs_to_who_asked() {
    let world = World::trusting(Limits::default()).await;
    publish(&world.hub, target(world.hub.clock.now()));
    let mut given = Vec::new();
    for (over, uid) in BOTH.into_iter().zip(1..) {
        let mut peer = Peer::new(&world, over, uid).await;
        let new = assigned(&peer.say(asking()).await);
        // What it called itself before is forgotten.
        assert_eq!(peer.record(), None, "{over:?}");
        peer.uid = new;
        let reply = peer.say(full()).await;
        assert!(reply.connection_settings.is_some(), "{over:?}");
        assert_eq!(reply.agent_identification, None, "{over:?}");
        let owner = peer.record().unwrap().binding.unwrap();
        assert_eq!(owner.authenticator, "bootstrap", "{over:?}");
        // Nobody else may use it, over whichever transport.
        let mut impostor = Peer::showing(&world, Over::WebSocket, 0, OTHER, None).await;
        impostor.uid = new;
        bad_request(&impostor.say(full()).await);
        let stolen = AgentToServer {
            instance_uid: new.to_bytes(),
            ..full()
        };
        let headers =
            format!("Content-Type: application/x-protobuf\r\nAuthorization: Bearer {OTHER}\r\n");
        assert_eq!(world.post(&headers, &stolen.encode_to_vec()).await.0, 403);
        given.push(new);
    }
    assert_ne!(given[0], given[1]);
}

/// Clients may all begin with the same temporary UID, and it may be one that
/// somebody has for good: who asks gets a name, and nobody else is touched.
#[tokio::test]
async fn m16_both_give_many_who_begin_with_one_temporary_uid_a_name_each() {
    let world = World::trusting(Limits::default()).await;
    let mut owner = Peer::new(&world, Over::WebSocket, 1).await;
    owner.say(full()).await;
    let before = owner.record();
    let mut given = BTreeSet::new();
    for over in BOTH {
        for token in [TOKEN, OTHER] {
            let mut peer = Peer::showing(&world, over, 1, token, None).await;
            for _ in 0..2 {
                given.insert(assigned(&peer.say(asking()).await));
            }
        }
    }
    assert_eq!(given.len(), 8);
    assert_eq!(owner.record(), before);
    let next = owner.say(bare()).await;
    assert_eq!((next.flags, next.agent_identification), (0, None));
}

/// The plainest temporary UID, and as good a name as any (M11).
#[tokio::test]
async fn m03_m16_both_answer_who_calls_itself_zeros() {
    let world = World::trusting(Limits::default()).await;
    for over in BOTH {
        let mut peer = Peer::new(&world, over, 0).await;
        peer.uid = assigned(&peer.say(asking()).await);
        assert!(peer.say(full()).await.error_response.is_none());
    }
}

/// opamp-go speaks under its new name when it has something to say, which may
/// be its next heartbeat.
#[tokio::test]
async fn m16_ws_waits_for_the_new_name_as_for_any_agent() {
    let world = World::trusting(Limits::default()).await;
    let mut peer = Peer::new(&world, Over::WebSocket, 1).await;
    peer.uid = assigned(&peer.say(asking()).await);
    pass(40).await;
    assert_eq!(peer.say(bare()).await.flags & 1, 1, "full state, once");
    assert_eq!(peer.say(full()).await.flags, 0);
    assert_eq!(peer.record().unwrap().connected, Some(Transport::WebSocket));
    // But not for ever.
    let mut silent = Peer::new(&world, Over::WebSocket, 2).await;
    assigned(&silent.say(asking()).await);
    pass(Limits::default().idle_seconds).await;
    assert_eq!(close_code(silent.socket()).await, Some(CloseCode::Policy));
}

#[tokio::test]
async fn m16_ws_a_gateway_stays_one_whoever_gets_a_new_name() {
    let world = World::trusting(Limits::default()).await;
    let mut gateway = Peer::new(&world, Over::WebSocket, 1).await;
    let first = gateway.uid;
    gateway.say(full()).await;
    let mut say_as = async |uid: InstanceUid, message: AgentToServer| {
        gateway.uid = uid;
        gateway.say(message).await
    };
    // A second instance asks, then the first.
    let second = assigned(&say_as(InstanceUid::from_bytes([2; 16]), asking()).await);
    say_as(second, full()).await;
    let renamed = assigned(&say_as(first, asking()).await);
    publish(&world.hub, target(world.hub.clock.now()));
    for uid in [renamed, second, renamed] {
        let reply = say_as(uid, full()).await;
        assert!(reply.error_response.is_none() && reply.connection_settings.is_none());
    }
    // Nothing keeps the offer but the gateway.
    let mut alone = Peer::new(&world, Over::WebSocket, 3).await;
    let reply = alone.say(full()).await;
    let headers = offered(&reply).headers.as_ref().unwrap();
    assert!(headers.headers.iter().any(|h| h.value.contains(OFFERED)));
}

#[tokio::test]
async fn m16_m17_both_let_who_leaves_go_without_a_name() {
    let world = World::trusting(Limits::default()).await;
    for (over, uid) in BOTH.into_iter().zip(1..) {
        let mut peer = Peer::new(&world, over, uid).await;
        peer.say(full()).await;
        let leaving = AgentToServer {
            flags: 1,
            agent_disconnect: Some(AgentDisconnect {}),
            ..bare()
        };
        assert_eq!(peer.say(leaving).await.agent_identification, None);
    }
}

/// On another host; the rest of the disk is the same.
fn on(host: &str) -> AgentToServer {
    let value = Some(AnyValue {
        value: Some(Value::StringValue(host.into())),
    });
    AgentToServer {
        agent_description: Some(AgentDescription {
            non_identifying_attributes: vec![KeyValue {
                key: "host.name".into(),
                value,
            }],
            ..AgentDescription::default()
        }),
        ..full()
    }
}

#[tokio::test]
async fn m15_ws_the_newer_of_two_clones_is_named_anew() {
    let world = World::trusting(Limits::default()).await;
    let mut one = Peer::new(&world, Over::WebSocket, 1).await;
    one.say(on("one")).await;
    let mut two = Peer::new(&world, Over::WebSocket, 1).await;
    let first = two.say(on("two")).await;
    assert_eq!(first.agent_identification, None, "it may have moved");
    publish(&world.hub, target(world.hub.clock.now()));
    pass(61).await;
    two.uid = assigned(&two.news().await);
    // Each is offered the settings under its own name.
    assert!(two.say(on("two")).await.connection_settings.is_some());
    pass(31).await;
    assert!(one.news().await.connection_settings.is_some());
}

/// What an agent does that says its full state when it is asked.
async fn poll(peer: &mut Peer<'_>, host: &str) -> Option<InstanceUid> {
    let mut reply = peer.say(bare()).await;
    if reply.flags & 1 != 0 {
        reply = peer.say(on(host)).await;
    }
    let named = reply.agent_identification.is_some();
    named.then(|| assigned(&reply))
}

/// They look like one link until each was asked for its full state, which is
/// whichever polls first when it is time to ask.
#[tokio::test]
async fn m15_http_one_of_two_clones_is_named_anew() {
    let world = World::trusting(Limits::default()).await;
    let mut one = Peer::new(&world, Over::Http, 1).await;
    one.say(on("one")).await;
    let mut two = Peer::new(&world, Over::Http, 1).await;
    two.say(on("two")).await;
    let mut named = Vec::new();
    for round in 0..8 {
        pass(35).await;
        let order = if round % 2 == 0 {
            [(&mut one, "one"), (&mut two, "two")]
        } else {
            [(&mut two, "two"), (&mut one, "one")]
        };
        for (peer, host) in order {
            named.extend(poll(peer, host).await.map(|uid| (host, uid)));
        }
        if !named.is_empty() {
            break;
        }
    }
    let [(host, uid)] = named[..] else {
        panic!("{named:?}");
    };
    let renamed = if host == "one" { &mut one } else { &mut two };
    renamed.uid = uid;
    assert!(renamed.say(on(host)).await.error_response.is_none());
    assert!(renamed.record().unwrap().connected.is_some());
}
