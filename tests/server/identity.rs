//! Who is let in, and who is cut off, over both transports.

use std::sync::Arc;

use opamp_operator::{hub::Unknown, server::Limits};
use opamp_operator_api::{ProfileKey, v1alpha1::AgentSelector};
use opamp_operator_core::{
    catalog::Candidate,
    fleet::SettingsState,
    identity::{Authenticator, DenyList, Fingerprint, Ledger, LedgerEntry, Sources, Terms, Tokens},
};
use opamp_wire::{
    InstanceUid, Message as _,
    proto::{AgentToServer, ServerErrorResponseType},
};
use tokio_tungstenite::tungstenite::{Error, protocol::frame::coding::CloseCode};

use crate::{
    offers::{OFFERED, Offers, candidate, profile, publish, target},
    peer::{BOTH, Over, Peer, bare, full, pass},
    world::{OTHER, PROTOBUF, SOON, TOKEN, World, ask, close_code, hello, tokens},
};

pub(crate) fn uid(last: u8) -> InstanceUid {
    InstanceUid::from_bytes([last; 16])
}

fn denying(key: &str, entry: &str) -> Sources {
    let (list, problems) = DenyList::read([(key, entry.as_bytes())]);
    assert_eq!(problems, [""; 0]);
    Sources {
        authenticators: tokens(),
        deny: Some(list),
        ..Sources::default()
    }
}

pub(crate) fn bearer(token: &str) -> String {
    format!("Content-Type: application/x-protobuf\r\nAuthorization: Bearer {token}\r\n")
}

pub(crate) async fn refused(world: &World, token: &str) -> bool {
    match world.upgrade(Some(token)).await {
        Err(Error::Http(response)) => response.status() == 401,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn s12_law2_both_a_revocation_ends_live_sessions_and_keeps_them_out() {
    let world = World::trusting(Limits::default()).await;
    let mut mine = world.socket().await;
    ask(&mut mine, &hello(1)).await;
    let mut other = world.upgrade(Some(OTHER)).await.unwrap();
    ask(&mut other, &hello(2)).await;
    // One that has not said who it is yet.
    let mut silent = world.socket().await;
    world.judge(denying("identities", "bootstrap/bootstrap"));
    for socket in [&mut mine, &mut silent] {
        assert_eq!(close_code(socket).await, Some(CloseCode::Policy));
    }
    assert!(refused(&world, TOKEN).await);
    let body = hello(1).encode_to_vec();
    assert_eq!(world.post(PROTOBUF, &body).await.0, 401);
    // The neighbour notices nothing.
    assert!(ask(&mut other, &hello(2)).await.error_response.is_none());
}

#[tokio::test]
async fn s12_law2_a_revoked_instance_uid_is_nobodys() {
    let world = World::trusting(Limits::default()).await;
    let mut socket = world.socket().await;
    ask(&mut socket, &hello(1)).await;
    world.judge(denying("instanceUIDs", &uid(1).to_string()));
    assert_eq!(close_code(&mut socket).await, Some(CloseCode::Policy));
    // Its identity is not revoked: another agent of it is let in.
    let mut socket = world.socket().await;
    assert!(ask(&mut socket, &hello(2)).await.error_response.is_none());
    let body = hello(1).encode_to_vec();
    let answer = world.ask(PROTOBUF, &body).await;
    assert_eq!(answer.status, 403);
    let told = String::from_utf8(answer.body).unwrap();
    assert!(
        told.contains("revoked") && !told.contains("deny list"),
        "{told}"
    );
    let mut socket = world.socket().await;
    assert!(ask(&mut socket, &hello(1)).await.error_response.is_some());
}

#[tokio::test]
async fn law8_a_token_that_left_its_secret_cuts_no_session_off() {
    let world = World::trusting(Limits::default()).await;
    let mut socket = world.socket().await;
    ask(&mut socket, &hello(1)).await;
    world.judge(Sources {
        authenticators: vec![tokens().remove(1)],
        ..Sources::default()
    });
    assert!(refused(&world, TOKEN).await, "it admits nobody new");
    assert!(ask(&mut socket, &hello(1)).await.error_response.is_none());
    // It is counted, since it would be lost if it had to connect anew.
    let stranded = || {
        let record = world.hub.roster.record(uid(1), "default").unwrap();
        assert!(record.connected.is_some());
        record.cannot_return
    };
    let end = tokio::time::Instant::now() + SOON;
    while !stranded() {
        assert!(tokio::time::Instant::now() < end, "not counted");
        tokio::task::yield_now().await;
    }
    world.trust();
    let end = tokio::time::Instant::now() + SOON;
    while stranded() {
        assert!(tokio::time::Instant::now() < end, "counted for ever");
        tokio::task::yield_now().await;
    }
}

/// By the digest of what the revision offered, whatever else is shown.
#[tokio::test]
async fn s12_law2_a_revoked_revision_ends_the_sessions_of_whoever_shows_it() {
    let world = World::start(Limits::default()).await;
    let offers = Offers::new(world.hub.clock.now());
    let (target, entry) = offers.published(1, |_| {});
    let ledger = Ledger::new(vec![entry]);
    world.judge_by(denying("revisions", ""), &ledger);
    let mut holder = world.upgrade(Some(OFFERED)).await.unwrap();
    ask(&mut holder, &hello(1)).await;
    let mut other = world.socket().await;
    ask(&mut other, &hello(2)).await;
    let revoked = format!("{}/{}", profile().namespace, profile().name);
    world.judge_by(denying("revisions", &format!("{revoked}/2")), &ledger);
    assert!(ask(&mut holder, &hello(1)).await.error_response.is_none());
    let number = target.current.number();
    world.judge_by(
        denying("revisions", &format!("{revoked}/{number}")),
        &ledger,
    );
    assert_eq!(close_code(&mut holder).await, Some(CloseCode::Policy));
    assert!(refused(&world, OFFERED).await);
    assert!(ask(&mut other, &hello(2)).await.error_response.is_none());
}

/// A shared credential of a profile that is gone, and a profile that names
/// this agent: for that it must show who it is.
#[tokio::test]
async fn law2_both_who_shows_a_shared_credential_alone_awaits_proof_of_more() {
    let world = World::start(Limits::default()).await;
    let offers = Offers::new(world.hub.clock.now());
    let (target, entry) = offers.published(1, |_| {});
    let before = LedgerEntry {
        profile: ProfileKey::new("default", "before"),
        ..entry
    };
    let sources = Sources {
        authenticators: tokens(),
        ..Sources::default()
    };
    world.judge_by(sources, &Ledger::new(vec![before]));
    for (over, last) in BOTH.into_iter().zip(1..) {
        let named = Candidate {
            selector: Arc::new(AgentSelector {
                instance_uids: vec![uid(last).to_string()],
                ..AgentSelector::default()
            }),
            ..candidate()
        };
        let book = &world.hub.book;
        book.publish_candidates(vec![named], Unknown::default());
        book.publish_target(&profile(), Some(target.clone()));
        let mut holder = Peer::showing(&world, over, last, OFFERED, None).await;
        holder.stays_alone(full()).await;
        let record = holder.record().unwrap();
        assert_eq!(record.state, SettingsState::AwaitingProof, "{over:?}");
        assert_eq!(record.binding, None, "{over:?}");
        holder.leaves().await;
        let mut owner = Peer::new(&world, over, last).await;
        let heard = owner.say(full()).await;
        assert!(heard.connection_settings.is_some(), "{over:?}");
    }
}

/// Another holder of what was offered polls under the instance UID of an agent
/// that shows who it is.
#[tokio::test]
async fn law2_http_weaker_proof_never_displaces_stronger() {
    let world = World::start(Limits::default()).await;
    let offers = Offers::new(world.hub.clock.now());
    let (first, entry) = offers.published(1, |_| {});
    let sources = Sources {
        authenticators: tokens(),
        ..Sources::default()
    };
    world.judge_by(sources, &Ledger::new(vec![entry]));
    publish(&world.hub, first.clone());
    let mut owner = Peer::new(&world, Over::Http, 1).await;
    assert!(owner.say(full()).await.connection_settings.is_some());
    let mut owner = owner.back_with(TOKEN, first.current.marker()).await;
    owner.stays_alone(full()).await;
    let mut holder = Peer::showing(&world, Over::Http, 1, OFFERED, None).await;
    holder.stays_alone(full()).await;
    let applied = |peer: &Peer<'_>| peer.record().unwrap().state == SettingsState::Applied;
    assert!(applied(&owner), "nothing was taken back");
    pass(16).await;
    let second = offers.target(2, |spec| spec.opamp.heartbeat_interval_seconds = 20);
    publish(&world.hub, second);
    holder.stays_alone(bare()).await;
    assert!(owner.news().await.connection_settings.is_some());
}

/// Each is somebody else's, at home elsewhere, with settings of its own.
#[tokio::test]
async fn law9_one_uid_in_two_namespaces_is_two_agents() {
    let world = World::start(Limits::default()).await;
    let at_home = |(name, token, namespace): (&str, &str, &str)| {
        let known = Fingerprint::of_authorization(format!("Bearer {token}").as_bytes());
        Authenticator::token(name, namespace, name, [known])
    };
    let authenticators = [("one", TOKEN, "default"), ("two", OTHER, "elsewhere")].map(at_home);
    world.judge(Sources {
        authenticators: authenticators.into(),
        ..Sources::default()
    });
    publish(&world.hub, target(world.hub.clock.now()));
    let mut one = world.socket().await;
    let mut two = world.upgrade(Some(OTHER)).await.unwrap();
    assert!(ask(&mut one, &hello(1)).await.connection_settings.is_some());
    let heard = ask(&mut two, &hello(1)).await;
    assert!(heard.error_response.is_none() && heard.connection_settings.is_none());
    for (namespace, name) in [("default", "one"), ("elsewhere", "two")] {
        let record = world.hub.roster.record(uid(1), namespace).unwrap();
        assert_eq!(record.binding.unwrap().authenticator, name);
        assert!(record.connected.is_some());
    }
    drop(two);
    assert!(ask(&mut one, &hello(1)).await.error_response.is_none());
}

fn limited(terms: Terms) -> Sources {
    let known = Fingerprint::of_authorization(format!("Bearer {TOKEN}").as_bytes());
    let tokens = Tokens {
        accepted: vec![known],
        terms,
        ..Tokens::default()
    };
    Sources {
        authenticators: vec![Authenticator::Token {
            name: "bootstrap".into(),
            namespace: "default".into(),
            secret: "bootstrap".into(),
            tokens: Arc::new(tokens),
        }],
        ..Sources::default()
    }
}

#[tokio::test]
async fn law10_an_identity_has_as_many_agents_as_it_may() {
    let world = World::start(Limits::default()).await;
    world.judge(limited(Terms {
        max_agents: Some(2),
        allowed: None,
    }));
    for last in [1, 2, 1] {
        let body = hello(last).encode_to_vec();
        assert_eq!(world.post(PROTOBUF, &body).await.0, 200, "{last}");
    }
    let third = world.ask(PROTOBUF, &hello(3).encode_to_vec()).await;
    assert_eq!(third.status, 503);
    assert!(third.retry_after().is_some());
    let mut socket = world.socket().await;
    let error = ask(&mut socket, &hello(3)).await.error_response.unwrap();
    let unavailable = i32::from(ServerErrorResponseType::Unavailable);
    assert_eq!(error.r#type, unavailable);
    // A seat is free again once its agent is forgotten.
    let forgotten = world.hub.roster.forget(|record| record.uid == uid(2));
    assert_eq!(forgotten.len(), 0, "it is connected still");
    let leave = AgentToServer {
        agent_disconnect: Some(opamp_wire::proto::AgentDisconnect {}),
        ..hello(2)
    };
    world.post(PROTOBUF, &leave.encode_to_vec()).await;
    let forgotten = world.hub.roster.forget(|record| record.uid == uid(2));
    assert_eq!(forgotten.len(), 1);
    assert_eq!(world.post(PROTOBUF, &hello(3).encode_to_vec()).await.0, 200);
}

#[tokio::test]
async fn law2_a_token_may_be_for_some_instance_uids_only() {
    let world = World::start(Limits::default()).await;
    world.judge(limited(Terms {
        max_agents: None,
        allowed: Some(vec![uid(1)]),
    }));
    let of = |last| hello(last).encode_to_vec();
    assert_eq!(world.post(PROTOBUF, &of(1)).await.0, 200);
    let other = world.ask(PROTOBUF, &of(2)).await;
    assert_eq!(other.status, 403);
    assert!(
        String::from_utf8(other.body)
            .unwrap()
            .contains("may not use")
    );
}

#[tokio::test]
async fn law2_strangers_report_and_never_receive() {
    let world = World::start(Limits::default()).await;
    world.judge(Sources {
        authenticators: tokens(),
        anonymous: Some("default".into()),
        ..Sources::default()
    });
    let hub = &world.hub;
    hub.book
        .publish_candidates(vec![candidate()], Unknown::default());
    let target = target(hub.clock.now());
    hub.book.publish_target(&profile(), Some(target));
    let mut stranger = world.upgrade(None).await.unwrap();
    let polling = "Content-Type: application/x-protobuf\r\n";
    for turn in 0..3 {
        let heard = ask(&mut stranger, &hello(1)).await;
        assert!(heard.connection_settings.is_none() && heard.error_response.is_none());
        let (status, body) = world.post(polling, &hello(2).encode_to_vec()).await;
        assert_eq!(status, 200, "{turn}");
        let heard = opamp_wire::proto::ServerToAgent::decode(&body[..]).unwrap();
        assert!(heard.connection_settings.is_none());
    }
    for last in [1, 2] {
        let record = hub.roster.record(uid(last), "default").unwrap();
        assert_eq!(record.binding, None);
        assert_eq!(record.state, SettingsState::AwaitingProof, "{record:?}");
    }
    // Whoever proves somebody gets both the instance UID and the settings.
    let mut owner = world.socket().await;
    let heard = ask(&mut owner, &hello(1)).await;
    assert!(heard.connection_settings.is_some());
}

/// The credentials stay, and what they prove changes.
#[tokio::test]
async fn law2_a_poller_is_given_what_its_credentials_prove_by_now() {
    let world = World::start(Limits::default()).await;
    let strangers = |authenticators| Sources {
        authenticators,
        anonymous: Some("default".into()),
        ..Sources::default()
    };
    world.judge(strangers(Vec::new()));
    let hub = &world.hub;
    hub.book
        .publish_candidates(vec![candidate()], Unknown::default());
    let target = target(hub.clock.now());
    hub.book.publish_target(&profile(), Some(target));
    let poll = async |sequence_num| {
        let message = AgentToServer {
            sequence_num,
            ..hello(1)
        };
        let (status, body) = world.post(PROTOBUF, &message.encode_to_vec()).await;
        assert_eq!(status, 200);
        let heard = opamp_wire::proto::ServerToAgent::decode(&body[..]).unwrap();
        heard.connection_settings.is_some()
    };
    assert!(!poll(0).await, "nobody knows who it is");
    world.judge(strangers(tokens()));
    assert!(poll(1).await);
}

#[tokio::test]
async fn law2_all_agents_of_a_gateway_are_answered_and_recorded_and_none_is_offered_anything() {
    let world = World::trusting(Limits::default()).await;
    let mut socket = world.socket().await;
    let answer = ask(&mut socket, &hello(1)).await;
    assert!(answer.error_response.is_none());
    for last in 2..=5 {
        let answer = ask(&mut socket, &hello(last)).await;
        assert_eq!(answer.instance_uid[..], [last; 16]);
        assert_ne!(answer.capabilities, 0);
    }
    let hub = &world.hub;
    hub.book
        .publish_candidates(vec![candidate()], Unknown::default());
    let target = target(hub.clock.now());
    hub.book.publish_target(&profile(), Some(target));
    for last in (1..=5).rev() {
        let answer = ask(&mut socket, &hello(last)).await;
        assert!(answer.connection_settings.is_none(), "{last}");
        let record = hub.roster.record(uid(last), "default").unwrap();
        assert!(record.connected.is_some() && record.last_offer.is_none());
    }
    // One of somebody else's is refused for itself; the others go on.
    let mut other = world.upgrade(Some(OTHER)).await.unwrap();
    ask(&mut other, &hello(9)).await;
    assert!(ask(&mut socket, &hello(9)).await.error_response.is_some());
    assert!(ask(&mut socket, &hello(3)).await.error_response.is_none());
    // One that is revoked leaves and stays out; the others go on.
    world.judge(denying("instanceUIDs", &uid(4).to_string()));
    let connected = |last| {
        let record = hub.roster.record(uid(last), "default").unwrap();
        record.connected.is_some()
    };
    let end = tokio::time::Instant::now() + SOON;
    while connected(4) {
        assert!(tokio::time::Instant::now() < end, "still connected");
        tokio::task::yield_now().await;
    }
    assert!(connected(1) && connected(3));
    let told = ask(&mut socket, &hello(4)).await.error_response.unwrap();
    assert!(told.error_message.contains("revoked"), "{told:?}");
    assert!(ask(&mut socket, &hello(3)).await.error_response.is_none());
    drop(socket);
    let gone = || {
        let record = |last| hub.roster.record(uid(last), "default").unwrap();
        (1..=5).all(|last| record(last).connected.is_none())
    };
    let end = tokio::time::Instant::now() + SOON;
    while !gone() {
        assert!(tokio::time::Instant::now() < end, "still connected");
        tokio::task::yield_now().await;
    }
}
