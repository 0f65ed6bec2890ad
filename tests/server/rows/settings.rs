//! S04, S05, S06, S08, S10, S11, S13: what is offered, and how often.

use std::collections::BTreeSet;

use opamp_operator::server::Limits;
use opamp_operator_api::v1alpha1::{
    CertificateSource, ClientCertificate, Compatibility, HeaderSetting, OpAMPConnectionProfileSpec,
    SecretRef,
};
use opamp_operator_core::fleet::SettingsState;
use opamp_wire::proto::{
    AgentToServer, ConnectionSettingsStatus, ConnectionSettingsStatuses, ServerToAgent,
};

use crate::{
    offers::{Offers, publish},
    peer::{BOTH, Over, Peer, bare, full, offered, pass},
    world::{TOKEN, World},
};

fn hash(reply: &ServerToAgent) -> Vec<u8> {
    let offers = reply.connection_settings.as_ref().expect("an offer");
    offers.hash.to_vec()
}

fn reported(status: ConnectionSettingsStatuses, hash: &[u8]) -> AgentToServer {
    AgentToServer {
        connection_settings_status: Some(ConnectionSettingsStatus {
            last_connection_settings_hash: hash.to_vec().into(),
            status: status.into(),
            error_message: "tls: bad certificate".into(),
        }),
        ..full()
    }
}

/// What is not sent again, such as a section that is the same, would still move
/// the hash: it is made of the whole revision.
#[tokio::test]
async fn s04_both_send_a_hash_of_all_settings() {
    type Edit = fn(&mut OpAMPConnectionProfileSpec);
    const EDITS: [Edit; 5] = [
        |_| {},
        |spec| spec.opamp.heartbeat_interval_seconds = 31,
        |spec| spec.opamp.endpoint = Some("https://localhost/v1/opamp".into()),
        |spec| {
            spec.opamp.headers.push(HeaderSetting {
                name: "X-Tenant".into(),
                value: Some("a".into()),
                value_from: None,
            });
        },
        |spec| spec.opamp.compatibility = Compatibility::Strict,
    ];
    let world = World::trusting(Limits::default()).await;
    let offers = Offers::new(world.hub.clock.now());
    let mut hashes = BTreeSet::new();
    for ((number, edit), uid) in (1..).zip(EDITS).zip((1..).step_by(4)) {
        publish(&world.hub, offers.target(number, edit));
        let mut same = BTreeSet::new();
        for (over, uid) in BOTH.into_iter().zip(uid..) {
            let mut peer = Peer::new(&world, over, uid).await;
            same.insert(hash(&peer.say(full()).await));
        }
        assert_eq!(same.len(), 1, "the same for every agent");
        hashes.extend(same);
    }
    assert_eq!(hashes.len(), EDITS.len());
}

/// Law 5 beats the row within its window: an offer that is on its way is not
/// made again, whatever hash the agent reports meanwhile.
#[tokio::test]
async fn s05_law5_both_offer_what_the_reported_hash_lacks_and_no_more() {
    let world = World::trusting(Limits::default()).await;
    let offers = Offers::new(world.hub.clock.now());
    let target = offers.target(1, |_| {});
    let ours = target.current.hash(0).as_bytes().to_vec();
    publish(&world.hub, target);
    let applied = |hash: &[u8]| reported(ConnectionSettingsStatuses::Applied, hash);
    for (over, uid) in BOTH.into_iter().zip([1, 11]) {
        // Different: the offer is in the answer, once.
        let mut differs = Peer::new(&world, over, uid).await;
        let reply = differs.say(applied(b"of another server")).await;
        assert_eq!(hash(&reply), ours, "{over:?}");
        differs.stays_alone(applied(b"of another server")).await;
        // Past the window again: with a poll, or on another WebSocket, since what
        // was pushed on this one has arrived.
        for _ in 0..3 {
            pass(30).await;
            differs.stays_alone(applied(b"of another server")).await;
        }
        pass(31).await;
        if over == Over::WebSocket {
            differs.stays_alone(bare()).await;
            differs = Peer::new(&world, over, uid).await;
        }
        let reply = differs.say(applied(b"of another server")).await;
        assert_eq!(hash(&reply), ours, "{over:?}");
        // Equal: nothing is sent.
        let mut equal = Peer::new(&world, over, uid + 1).await;
        equal.stays_alone(applied(&ours)).await;
        assert_eq!(equal.record().unwrap().state, SettingsState::Applied);
    }
}

#[tokio::test]
async fn s06_s10_law3_both_offer_an_endpoint_and_an_interval_always() {
    let world = World::trusting(Limits::default()).await;
    let offers = Offers::new(world.hub.clock.now());
    let stated = "https://localhost:4320/v1/opamp";
    let cases = [
        (None, 1, "wss://localhost/v1/opamp", 1),
        (Some(stated), 30, stated, 30),
        // A 0 that got past the rules of the profile would be a decision that
        // nobody made, and takes some agents off line for good: law 3 beats
        // what the row allows.
        (None, 0, "wss://localhost/v1/opamp", 1),
    ];
    for ((number, case), uid) in (1..).zip(cases).zip((1..).step_by(4)) {
        let (endpoint, heartbeat, expected, interval) = case;
        let target = offers.target(number, |spec| {
            spec.opamp.endpoint = endpoint.map(Into::into);
            spec.opamp.heartbeat_interval_seconds = heartbeat;
        });
        publish(&world.hub, target);
        for (over, uid) in BOTH.into_iter().zip(uid..) {
            let mut peer = Peer::new(&world, over, uid).await;
            let reply = peer.say(full()).await;
            let settings = offered(&reply);
            assert_eq!(settings.destination_endpoint, expected, "{over:?}");
            assert_eq!(settings.heartbeat_interval_seconds, interval, "{over:?}");
        }
    }
}

#[tokio::test]
async fn s08_ws_changed_settings_are_pushed_and_http_agents_get_them_with_the_next_poll() {
    let world = World::trusting(Limits::default()).await;
    let offers = Offers::new(world.hub.clock.now());
    let old = offers.target(1, |_| {});
    let new = offers.target(2, |spec| spec.opamp.heartbeat_interval_seconds = 60);
    let marker = old.current.marker();
    let mut peers = Vec::new();
    publish(&world.hub, old);
    for (over, uid) in BOTH.into_iter().zip(1..) {
        let mut peer = Peer::showing(&world, over, uid, TOKEN, Some(marker)).await;
        peer.stays_alone(full()).await;
        peers.push(peer);
    }
    publish(&world.hub, new);
    for peer in &mut peers {
        let news = peer.news().await;
        let interval = offered(&news).heartbeat_interval_seconds;
        assert_eq!(interval, 60, "{:?}", peer.over);
    }
}

/// Universal departs from the row: `ca_cert` is what verifies this server, for
/// agents take it for that (law 3), and it is left out where the system's roots
/// do. Strict is the letter: the CA of the client certificate.
#[tokio::test]
async fn s11_law3_both_send_the_ca_that_keeps_agents_verifying() {
    let world = World::trusting(Limits::default()).await;
    let mut offers = Offers::new(world.hub.clock.now());
    let key = rcgen::KeyPair::generate().unwrap();
    let mut client = rcgen::CertificateParams::new(vec!["agent".into()]).unwrap();
    client.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let client = client.self_signed(&key).unwrap().pem();
    let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let client_ca = ca.self_signed(&key).unwrap().pem().replace("\r\n", "\n");
    let key = key.serialize_pem();
    let data = [
        ("tls.crt", &*client),
        ("tls.key", &*key),
        ("ca.crt", &*client_ca),
    ];
    offers.secret("client", "kubernetes.io/tls", &data);
    let bundle = offers.ca.clone();
    let cases = [
        (Compatibility::Universal, &*bundle),
        (Compatibility::Strict, &*client_ca),
    ];
    for ((number, case), uid) in (1..).zip(cases).zip((1..).step_by(4)) {
        let (compatibility, expected) = case;
        let target = offers.target(number, |spec| {
            spec.opamp.compatibility = compatibility;
            spec.opamp.client_certificate = ClientCertificate {
                source: CertificateSource::Secret,
                secret_ref: Some(SecretRef {
                    name: "client".into(),
                }),
            };
        });
        publish(&world.hub, target);
        for (over, uid) in BOTH.into_iter().zip(uid..) {
            let mut peer = Peer::new(&world, over, uid).await;
            let reply = peer.say(full()).await;
            let settings = offered(&reply);
            let certificate = settings.certificate.as_ref().expect("a certificate");
            assert_eq!(certificate.cert, client.as_bytes(), "{over:?}");
            assert_eq!(certificate.ca_cert, expected.as_bytes(), "{over:?}");
            let tls = settings.tls.as_ref().unwrap();
            assert_eq!(tls.ca_pem_contents, bundle, "{over:?}");
        }
    }
}

#[tokio::test]
async fn s13_both_keep_a_reported_failure_and_never_answer_with_its_hash() {
    let world = World::trusting(Limits::default()).await;
    let offers = Offers::new(world.hub.clock.now());
    publish(&world.hub, offers.target(1, |_| {}));
    for (over, uid) in BOTH.into_iter().zip(1..) {
        let mut peer = Peer::new(&world, over, uid).await;
        let first = peer.say(full()).await;
        let failed = hash(&first);
        peer.stays_alone(reported(ConnectionSettingsStatuses::Failed, &failed))
            .await;
        let record = peer.record().unwrap();
        assert_eq!(record.state, SettingsState::Failed, "{over:?}");
        // Ten minutes later under another hash, with the same settings.
        pass(599).await;
        let before = peer.say(bare()).await;
        assert!(before.connection_settings.is_none(), "{over:?}");
        pass(2).await;
        let again = peer.news().await;
        assert_ne!(hash(&again), failed, "{over:?}");
        assert_eq!(offered(&again), offered(&first), "{over:?}");
    }
}
