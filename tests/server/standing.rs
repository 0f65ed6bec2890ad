//! Law 2 on connections that last: what their credentials are worth by now
//! decides what else may be done on them, and whoever proves less pushes nobody
//! aside.

use std::sync::Arc;

use opamp_operator::{hub::Clock, server::Limits};
use opamp_operator_core::{
    fleet::AgentRecord,
    identity::{DenyList, Ledger, Recognition, Rights, Sources},
};
use opamp_wire::{
    InstanceUid, Message as _,
    proto::{AgentDisconnect, AgentToServer},
};

use crate::{
    offers::{OFFERED, Offers, profile},
    world::{OTHER, PROTOBUF, TOKEN, World, ask, hello, tokens},
};

/// Asks for an instance UID (M16).
fn nameless() -> AgentToServer {
    AgentToServer {
        flags: 1,
        ..hello(1)
    }
}

/// `TOKEN` left its object.
fn retired(world: &World) {
    world.judge(Sources {
        authenticators: vec![tokens().remove(1)],
        ..Sources::default()
    });
}

fn uid(last: u8) -> InstanceUid {
    InstanceUid::from_bytes([last; 16])
}

#[tokio::test]
async fn law2_an_open_connection_brings_in_nobody_by_what_has_left_its_object() {
    let world = World::trusting(Limits {
        refusal_seconds: 1,
        ..Limits::default()
    })
    .await;
    // One that has an instance UID, one that was given another, one that has
    // said nothing yet, and a gateway.
    let mut known = world.socket().await;
    ask(&mut known, &hello(1)).await;
    let mut named = world.socket().await;
    let given = ask(&mut named, &nameless()).await.agent_identification;
    let given = given.expect("another instance UID").new_instance_uid;
    let mut silent = world.socket().await;
    retired(&world);
    let new = AgentToServer {
        instance_uid: given,
        ..hello(2)
    };
    assert!(ask(&mut named, &new).await.error_response.is_some());
    assert!(ask(&mut silent, &hello(3)).await.error_response.is_some());
    // Whoever was here before stays.
    assert!(ask(&mut known, &hello(1)).await.error_response.is_none());
    assert!(ask(&mut known, &hello(4)).await.error_response.is_some());
    assert!(ask(&mut known, &hello(1)).await.error_response.is_none());
    assert!(world.hub.roster.record(uid(3), "default").is_none());
    assert!(world.hub.roster.record(uid(4), "default").is_none());
}

#[tokio::test]
async fn s12_law2_revoking_cuts_off_one_agent_of_a_gateway() {
    let world = World::trusting(Limits::default()).await;
    let mut gateway = world.socket().await;
    for last in 1..=3 {
        assert!(
            ask(&mut gateway, &hello(last))
                .await
                .error_response
                .is_none()
        );
    }
    let (list, _) = DenyList::read([("instanceUIDs", uid(2).to_string().as_bytes())]);
    world.judge(Sources {
        authenticators: tokens(),
        deny: Some(list),
        ..Sources::default()
    });
    assert!(ask(&mut gateway, &hello(2)).await.error_response.is_some());
    assert!(ask(&mut gateway, &hello(3)).await.error_response.is_none());
    assert!(ask(&mut gateway, &hello(1)).await.error_response.is_none());
}

#[tokio::test]
async fn law10_a_gateway_brings_in_no_more_new_agents_than_its_identity_may() {
    let world = World::trusting(Limits {
        new_agents_per_identity: 3,
        ..Limits::default()
    })
    .await;
    let mut gateway = world.socket().await;
    let mut heard = 0;
    for last in 1..=20 {
        let answer = ask(&mut gateway, &hello(last)).await;
        heard += usize::from(answer.error_response.is_none());
    }
    assert_eq!(heard, 3);
}

/// Whoever is refused leaves nothing behind, and nobody gives way to it.
#[tokio::test]
async fn law9_who_is_not_admitted_drives_nobody_out() {
    let world = World::remembering(2, Limits::default()).await;
    world.trust();
    let leaving = AgentToServer {
        agent_disconnect: Some(AgentDisconnect {}),
        ..hello(1)
    };
    for message in [hello(1), leaving] {
        let (status, _) = world.post(PROTOBUF, &message.encode_to_vec()).await;
        assert_eq!(status, 200);
    }
    assert!(world.hub.roster.record(uid(1), "default").is_some());
    // `AGENTS` of an identity is two here: two are let in, no more.
    let other = PROTOBUF.replace(TOKEN, OTHER);
    world.judge(Sources {
        authenticators: limited(0),
        ..Sources::default()
    });
    for last in 2..=9 {
        let (status, _) = world.post(&other, &hello(last).encode_to_vec()).await;
        assert_eq!(status, 503, "{last}");
    }
    assert!(world.hub.roster.record(uid(9), "default").is_none());
    assert!(world.hub.roster.record(uid(1), "default").is_some());
}

/// `TOKEN` as ever; `OTHER` for so many agents.
pub(crate) fn limited(agents: usize) -> Vec<opamp_operator_core::identity::Authenticator> {
    use opamp_operator_core::identity::{Authenticator, Terms, Tokens};
    let mut all = tokens();
    let Authenticator::Token { tokens, .. } = &mut all[1] else {
        panic!("a token")
    };
    *tokens = Arc::new(Tokens {
        terms: Terms {
            max_agents: Some(agents),
            allowed: None,
        },
        ..Tokens::clone(tokens)
    });
    all
}

/// A poller with its own credentials, and another holder of what it was offered
/// that uses its instance UID.
#[tokio::test]
async fn law2_a_poller_is_not_displaced_by_weaker_proof() {
    let world = World::start(Limits::default()).await;
    let now = Clock::start().now();
    let (_, entry) = Offers::new(now).published(1, |_| {});
    let ledger = Ledger::new(vec![entry]);
    world.judge_by(
        Sources {
            authenticators: tokens(),
            ..Sources::default()
        },
        &ledger,
    );
    let (status, _) = world.post(PROTOBUF, &hello(1).encode_to_vec()).await;
    assert_eq!(status, 200);
    let of = world.hub.roster.record(uid(1), "default").unwrap();
    let binding = of.binding.clone().unwrap();
    let _ = world.hub.roster.forget(|_| false);
    // It was offered what the other one shows.
    let record = AgentRecord {
        uid: uid(2),
        binding: Some(binding),
        offered: vec![Recognition {
            profile: profile(),
            number: 1,
        }],
        ..of
    };
    world.hub.roster.restore(record, now);
    let weaker = PROTOBUF.replace(TOKEN, OFFERED);
    let poll = async |headers: &str, sequence_num| {
        let message = AgentToServer {
            sequence_num,
            ..hello(2)
        };
        world.post(headers, &message.encode_to_vec()).await.0
    };
    assert_eq!(poll(PROTOBUF, 0).await, 200);
    assert_eq!(poll(&weaker, 0).await, 200);
    let speaks = || {
        let header = format!("Bearer {TOKEN}");
        let presented = opamp_operator_core::identity::Presented::new(
            Vec::new(),
            Some(header.as_bytes()),
            None,
        );
        let trust = world.hub.trust.borrow().clone().unwrap();
        let proof = trust.verify(
            &presented,
            &opamp_operator_core::identity::Bearer::Nobody,
            world.hub.clock.now(),
        );
        let opamp_operator_core::identity::Proof::Proved(verdict) = proof else {
            panic!("nobody")
        };
        let agent = world
            .hub
            .roster
            .find(uid(2), &verdict, world.hub.clock.now());
        let agent = agent.unwrap();
        let agent = agent.lock();
        agent.newest_link().unwrap().rights.clone()
    };
    assert_eq!(speaks(), Rights::Everything);
}
