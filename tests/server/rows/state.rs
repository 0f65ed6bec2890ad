//! M08, M09, M13, M17, M18: what is known of an agent, and for how long.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::{SinkExt as _, StreamExt as _};
use opamp_operator::{hub::Unknown, server::Limits};
use opamp_operator_api::v1alpha1::AgentSelector;
use opamp_operator_core::{
    catalog::Candidate,
    fleet::Transport,
    identity::{Authenticator, Fingerprint, Sources},
};
use opamp_wire::{
    Message as _,
    proto::{AgentDescription, AgentToServer, AnyValue, KeyValue, any_value::Value},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::Barrier,
    time::timeout,
};
use tokio_tungstenite::tungstenite::Message;

use crate::{
    offers::{Offers, candidate, profile, publish, target},
    peer::{BOTH, Over, Peer, able, bare, full, pass},
    world::{PROTOBUF, SOON, TOKEN, World, hello, links},
};

const REPORT_FULL_STATE: u64 = 1;

/// A poll or message with this number in the sequence.
fn numbered(peer: &Peer<'_>, sequence_num: u64, message: AgentToServer) -> AgentToServer {
    AgentToServer {
        instance_uid: peer.uid.to_bytes(),
        sequence_num,
        ..message
    }
}

/// Law 10 beats the row: a second loss within half a minute is asked about
/// later, since the answer to the first may be on its way.
#[tokio::test]
async fn m08_h14_both_ask_for_full_state_after_a_gap_and_of_the_unknown() {
    let world = World::trusting(Limits::default()).await;
    for (over, uid) in BOTH.into_iter().zip(1..) {
        let mut peer = Peer::new(&world, over, uid).await;
        let steps = [
            (
                7,
                AgentToServer {
                    capabilities: 0x2101,
                    ..bare()
                },
                REPORT_FULL_STATE,
            ),
            (8, full(), 0),
            (9, bare(), 0),
            // 10 is lost.
            (11, bare(), REPORT_FULL_STATE),
            (12, full(), 0),
            (13, bare(), 0),
        ];
        for (sequence, message, asked) in steps {
            let message = numbered(&peer, sequence, message);
            assert_eq!(
                peer.send(&message).await.flags,
                asked,
                "{over:?} {sequence}"
            );
        }
        pass(31).await;
        let message = numbered(&peer, 15, bare());
        assert_eq!(
            peer.send(&message).await.flags,
            REPORT_FULL_STATE,
            "{over:?}"
        );
    }
}

#[tokio::test]
async fn m08_http_polls_are_one_link_until_the_sequence_begins_anew() {
    let world = World::trusting(Limits::default()).await;
    let poll = async |message: AgentToServer, sequence_num| {
        let message = AgentToServer {
            instance_uid: vec![1; 16].into(),
            sequence_num,
            ..message
        };
        assert_eq!(world.post(PROTOBUF, &message.encode_to_vec()).await.0, 200);
        links(&world, 1)
    };
    let first = poll(bare(), 0).await;
    assert_eq!(first.len(), 1);
    // Its full state, as it was asked for, and more of the same.
    for (message, sequence) in [(full(), 1), (bare(), 2), (full(), 3)] {
        assert_eq!(poll(message, sequence).await, first, "poll {sequence}");
    }
    let again = poll(full(), 0).await;
    assert!(again.len() == 1 && again != first);
}

/// They are what a link shows, and by them the agent proves what it runs.
#[tokio::test]
async fn law6_http_another_marker_or_credential_begins_another_link() {
    const SECOND: &str = "a-second-token-of-the-same-identity";
    let world = World::start(Limits::default()).await;
    let known = [TOKEN, SECOND]
        .map(|token| Fingerprint::of_authorization(format!("Bearer {token}").as_bytes()));
    world.judge(Sources {
        authenticators: vec![Authenticator::token("x", "default", "x", known)],
        ..Sources::default()
    });
    let marker = target(world.hub.clock.now()).current.marker().to_hex();
    let polled = async |token: &str, marker: Option<&str>, sequence_num| {
        let marker = marker.map(|marker| format!("OpAMP-Settings-Hash: {marker}\r\n"));
        let headers = format!(
            "Content-Type: application/x-protobuf\r\nAuthorization: Bearer {token}\r\n{}",
            marker.unwrap_or_default()
        );
        let message = AgentToServer {
            instance_uid: vec![1; 16].into(),
            sequence_num,
            ..full()
        };
        let (status, _) = world.post(&headers, &message.encode_to_vec()).await;
        assert_eq!(status, 200);
        let [link] = links(&world, 1)[..] else {
            panic!("the one before ends")
        };
        link
    };
    let first = polled(TOKEN, None, 0).await;
    assert_eq!(polled(TOKEN, None, 1).await, first);
    let with_it = polled(TOKEN, Some(&marker), 2).await;
    assert_ne!(with_it, first);
    assert_eq!(polled(TOKEN, Some(&marker), 3).await, with_it);
    let rotated = polled(SECOND, Some(&marker), 4).await;
    assert_ne!(rotated, with_it);
    assert_eq!(polled(SECOND, Some(&marker), 5).await, rotated);
}

/// However many come at once, one link is left, and that is the newest.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn law10_http_polls_of_one_agent_are_handled_singly() {
    const AT_ONCE: usize = 16;
    let world = World::trusting(Limits::default()).await;
    for last in 1..=40 {
        let (ready, body) = (Barrier::new(AT_ONCE), hello(last).encode_to_vec());
        let head = format!(
            "POST /v1/opamp HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n{PROTOBUF}\r\n",
            body.len()
        );
        let request = [head.as_bytes(), &body].concat();
        let polls = (0..AT_ONCE).map(|_| async {
            let mut stream = world.tls().await;
            ready.wait().await;
            stream.write_all(&request).await.unwrap();
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer).await;
            assert!(answer.starts_with(b"HTTP/1.1 200"));
        });
        let all = futures::future::join_all(polls);
        timeout(SOON, all).await.expect("answers in time");
        assert_eq!(links(&world, last).len(), 1, "agent {last}");
    }
}

/// What is written down about an agent is what changed of it.
#[tokio::test]
async fn law10_both_a_heartbeat_is_not_written_down() {
    let world = World::trusting(Limits::default()).await;
    for (over, uid) in BOTH.into_iter().zip(1..) {
        let mut peer = Peer::new(&world, over, uid).await;
        peer.say(full()).await;
        assert!(!world.hub.roster.take_dirty().agents.is_empty(), "{over:?}");
        for message in [bare(), full(), bare()] {
            peer.say(message).await;
            let dirty = world.hub.roster.take_dirty();
            assert!(dirty.agents.is_empty(), "{over:?}: {dirty:?}");
            assert!(dirty.profiles.is_empty(), "{over:?}: {dirty:?}");
        }
        peer.leaves().await;
        assert!(!world.hub.roster.take_dirty().agents.is_empty(), "{over:?}");
    }
}

fn described(team: &str) -> AgentToServer {
    let value = Some(AnyValue {
        value: Some(Value::StringValue(team.into())),
    });
    AgentToServer {
        agent_description: Some(AgentDescription {
            identifying_attributes: vec![KeyValue {
                key: "team".into(),
                value,
            }],
            ..AgentDescription::default()
        }),
        ..full()
    }
}

#[tokio::test]
async fn m09_both_keep_what_a_message_does_not_repeat() {
    let world = World::trusting(Limits::default()).await;
    let selector = AgentSelector {
        match_attributes: BTreeMap::from([("team".to_owned(), "a".to_owned())]),
        ..AgentSelector::default()
    };
    let selecting = Candidate {
        selector: Arc::new(selector.clone()),
        ..candidate()
    };
    let book = &world.hub.book;
    book.publish_candidates(vec![selecting], Unknown::default());
    let offers = Offers::new(world.hub.clock.now());
    for (over, uid) in BOTH.into_iter().zip([1, 11]) {
        book.publish_target(&profile(), None);
        let mut ours = Peer::new(&world, over, uid).await;
        let mut others = Peer::new(&world, over, uid + 1).await;
        ours.say(described("a")).await;
        others.say(described("b")).await;
        for peer in [&mut ours, &mut others] {
            // Neither description nor capabilities are gone.
            assert_eq!(peer.say(bare()).await.flags, 0, "{over:?}");
            assert!(peer.record().unwrap().capable, "{over:?}");
        }
        let target = offers.target(1, |spec| spec.agent_selector = selector.clone());
        book.publish_target(&profile(), Some(target));
        assert!(ours.news().await.connection_settings.is_some(), "{over:?}");
        others.stays_alone(bare()).await;
    }
}

#[tokio::test]
async fn m13_both_go_by_the_capabilities_of_the_last_message() {
    const ABLE: u64 = 0x101;
    const UNABLE: u64 = 1;
    let world = World::trusting(Limits::default()).await;
    let book = &world.hub.book;
    book.publish_candidates(vec![candidate()], Unknown::default());
    let target = target(world.hub.clock.now());
    for (over, uid) in BOTH.into_iter().zip([1, 11]) {
        book.publish_target(&profile(), None);
        let mut withdrawn = Peer::new(&world, over, uid).await;
        withdrawn.say(able(ABLE)).await;
        withdrawn
            .say(AgentToServer {
                capabilities: UNABLE,
                ..bare()
            })
            .await;
        let mut never = Peer::new(&world, over, uid + 1).await;
        never.say(able(UNABLE)).await;
        book.publish_target(&profile(), Some(target.clone()));
        for peer in [&mut withdrawn, &mut never] {
            peer.stays_alone(bare()).await;
            assert!(!peer.record().unwrap().capable);
            // It appears, in a message that says nothing else.
            let reply = peer
                .say(AgentToServer {
                    capabilities: ABLE,
                    ..bare()
                })
                .await;
            assert!(reply.connection_settings.is_some(), "{over:?}");
        }
    }
}

#[tokio::test]
async fn m17_both_take_an_agents_leave_at_its_word() {
    let world = World::trusting(Limits::default()).await;
    for (over, uid) in BOTH.into_iter().zip(1..) {
        let mut peer = Peer::new(&world, over, uid).await;
        peer.say(full()).await;
        assert!(peer.record().unwrap().connected.is_some(), "{over:?}");
        // On a WebSocket before any Close is exchanged: nothing is read of it.
        peer.leaves().await;
        assert!(links(&world, uid).is_empty(), "{over:?}");
    }
}

#[tokio::test]
async fn m18_both_take_any_message_with_a_uid_for_a_heartbeat() {
    let world = World::trusting(Limits::default()).await;
    for (over, uid) in BOTH.into_iter().zip(1..) {
        let mut peer = Peer::new(&world, over, uid).await;
        peer.say(full()).await;
        let before = peer.record().unwrap();
        let reply = peer.say(bare()).await;
        assert!(
            reply.error_response.is_none() && reply.flags == 0,
            "{over:?}"
        );
        let after = peer.record().unwrap();
        assert!(after.last_contact > before.last_contact, "{over:?}");
        assert_eq!(after.connected, before.connected, "{over:?}");
    }
}

/// Pings of the WebSocket tell, and an agent answers them that sends nothing.
#[tokio::test]
async fn m18_ws_an_agent_without_heartbeats_is_not_missed() {
    let world = World::trusting(Limits {
        idle_seconds: 1,
        ..Limits::default()
    })
    .await;
    let mut peer = Peer::new(&world, Over::WebSocket, 1).await;
    peer.say(able(0x101)).await;
    let link = links(&world, 1);
    for _ in 0..3 {
        match timeout(SOON, peer.socket().next())
            .await
            .expect("a ping in time")
        {
            // The client answers when it is read or written next.
            Some(Ok(Message::Ping(_))) => peer.socket().flush().await.unwrap(),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(links(&world, 1), link);
    assert!(peer.say(bare()).await.error_response.is_none());
}

/// A poll is no heartbeat: an agent polls whether it reports those or not, and
/// three that are missed say no more than that it is away.
#[tokio::test]
async fn m18_http_an_agent_that_was_away_is_served_as_before() {
    let world = World::trusting(Limits::default()).await;
    let tick = || world.hub.roster.tick(world.hub.clock.now());
    for (capabilities, uid) in [(0x101, 1), (0x2101, 2)] {
        let mut peer = Peer::new(&world, Over::Http, uid).await;
        peer.say(able(capabilities)).await;
        pass(60).await;
        tick();
        assert_eq!(peer.record().unwrap().connected, Some(Transport::Http));
        peer.say(bare()).await;
        pass(Duration::from_hours(1).as_secs()).await;
        tick();
        assert_eq!(peer.record().unwrap().connected, None);
        let reply = peer
            .say(AgentToServer {
                capabilities,
                ..bare()
            })
            .await;
        assert!(reply.error_response.is_none());
        assert_eq!(peer.record().unwrap().connected, Some(Transport::Http));
    }
    publish(&world.hub, target(world.hub.clock.now()));
    let mut peer = Peer::new(&world, Over::Http, 1).await;
    assert!(peer.say(able(0x101)).await.connection_settings.is_some());
}
