//! R: certificate requests. We answer none, say so (M05), and are otherwise as
//! if they were not there.

use opamp_operator::server::Limits;
use opamp_wire::proto::{
    AgentToServer, CertificateRequest, ConnectionSettingsRequest, OpAmpConnectionSettingsRequest,
};

use crate::{
    offers::{publish, target},
    peer::{BOTH, Peer, able, full, offered},
    world::World,
};

const CSR: &str = "-----BEGIN CERTIFICATE REQUEST-----\nMIH...";

/// With what the row is about: a request of `csr`, or of nothing.
fn requesting(csr: Option<&str>, message: AgentToServer) -> AgentToServer {
    let opamp = csr.map(|csr| OpAmpConnectionSettingsRequest {
        certificate_request: Some(CertificateRequest {
            csr: csr.to_owned().into(),
        }),
    });
    AgentToServer {
        connection_settings_request: Some(ConnectionSettingsRequest { opamp }),
        ..message
    }
}

/// No certificate for a good request and no error for a bad one, also not for
/// one that names another agent. The opamp-go example agent asks every server,
/// whatever that says of itself.
#[tokio::test]
async fn r01_r02_r03_m05_both_leave_certificate_requests_unanswered() {
    let world = World::trusting(Limits::default()).await;
    for (over, first) in BOTH.into_iter().zip([1, 11]) {
        let other = "urn:uuid:00000000-0000-0000-0000-000000000063";
        for (csr, uid) in [CSR, "", "no PEM", other].into_iter().zip(first..) {
            let mut peer = Peer::new(&world, over, uid).await;
            let first = peer.say(requesting(Some(csr), full())).await;
            assert_eq!(first.capabilities & 0x40, 0, "{over:?}");
            assert!(first.connection_settings.is_none(), "{over:?}");
            assert!(first.error_response.is_none(), "{over:?}");
            peer.stays_alone(requesting(Some(csr), full())).await;
        }
    }
}

/// Who asks for a name and for a certificate of that name gets the name.
#[tokio::test]
async fn r04_both_leave_a_request_under_a_new_name_unanswered() {
    let world = World::trusting(Limits::default()).await;
    for (over, uid) in BOTH.into_iter().zip(1..) {
        let mut peer = Peer::new(&world, over, uid).await;
        let asking = AgentToServer { flags: 1, ..full() };
        let reply = peer.say(requesting(Some(CSR), asking)).await;
        assert!(reply.connection_settings.is_none(), "{over:?}");
        let named = reply.agent_identification.expect("a new UID");
        peer.uid = (&named.new_instance_uid[..]).try_into().unwrap();
        peer.stays_alone(requesting(Some(CSR), full())).await;
    }
}

/// The profile's settings are offered beside a request as without it, to whoever
/// takes them and nobody else; none is an answer to it.
#[tokio::test]
async fn r05_both_offer_the_profiles_settings_beside_a_request() {
    let world = World::trusting(Limits::default()).await;
    publish(&world.hub, target(world.hub.clock.now()));
    for (over, uid) in BOTH.into_iter().zip([1, 11]) {
        let mut asks = Peer::new(&world, over, uid).await;
        let mut does_not = Peer::new(&world, over, uid + 1).await;
        let offer = asks.say(requesting(Some(CSR), full())).await;
        let plain = does_not.say(full()).await;
        assert_eq!(offer.connection_settings, plain.connection_settings);
        assert!(
            offered(&offer)
                .certificate
                .as_ref()
                .unwrap()
                .cert
                .is_empty()
        );
        let mut takes_none = Peer::new(&world, over, uid + 2).await;
        takes_none.stays_alone(requesting(Some(CSR), able(1))).await;
    }
}

#[tokio::test]
async fn r06_both_take_an_empty_request_for_none() {
    let world = World::trusting(Limits::default()).await;
    publish(&world.hub, target(world.hub.clock.now()));
    for (over, uid) in BOTH.into_iter().zip([1, 11]) {
        let mut empty = Peer::new(&world, over, uid).await;
        let mut without = Peer::new(&world, over, uid + 1).await;
        let mut replies = [
            empty.say(requesting(None, full())).await,
            without.say(full()).await,
        ];
        for reply in &mut replies {
            assert!(reply.connection_settings.is_some());
            reply.instance_uid.clear();
        }
        assert_eq!(replies[0], replies[1], "{over:?}");
    }
}
