//! The harness without the operator: a real supervisor and a server of the
//! test behind the tap, so that a red test of the product is not the harness'
//! fault.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use e2e::eventually::Look;
use e2e::parts::{Parts, Set};
use e2e::pki::{Ca, DAY, KeyKind, Leaf, Wallet, Window};
use e2e::process::LogMark;
use e2e::raw_server::RawServer;
use e2e::supervisor::{Options, Release, Supervisor};
use e2e::tap::{Record, Tap};
use e2e::timeline::Timeline;
use opamp_wire::proto::{
    ConnectionSettingsOffers, Header, Headers, OpAmpConnectionSettings, ServerToAgent,
    TlsCertificate,
};

const SOON: Duration = Duration::from_mins(1);

fn offer(endpoint: String, leaf: &Leaf, ca: &str) -> ServerToAgent {
    let header = Header {
        key: "OpAMP-Settings-Hash".into(),
        value: "m1".into(),
    };
    let opamp = OpAmpConnectionSettings {
        destination_endpoint: endpoint,
        headers: Some(Headers {
            headers: vec![header],
        }),
        certificate: Some(TlsCertificate {
            cert: leaf.certificate.clone().into(),
            private_key: leaf.key.clone().into(),
            ca_cert: ca.to_owned().into(),
        }),
        heartbeat_interval_seconds: 1,
        ..OpAmpConnectionSettings::default()
    };
    ServerToAgent {
        connection_settings: Some(ConnectionSettingsOffers {
            hash: vec![1, 2, 3].into(),
            opamp: Some(opamp),
            ..ConnectionSettingsOffers::default()
        }),
        ..ServerToAgent::default()
    }
}

async fn a_supervisor_moves(kind: KeyKind) -> Result<()> {
    let parts = Parts::ensure(Set::Directory).await?;
    let folder = tempfile::tempdir()?;
    let (server_ca, client_ca) = (Ca::new("server")?, Ca::new("client")?);
    let window = Window::lasting(DAY);
    let serving = server_ca.server(window)?;
    let leaf = client_ca.client("agent", kind, window)?;
    let wallet = Wallet::default();
    wallet.add(&leaf);
    let timeline = Timeline::start(false);
    let tap = Tap::start(timeline.clone(), &serving, server_ca.pem(), wallet).await?;
    let server = RawServer::start(&serving, &client_ca).await?;
    server.say(offer(tap.url("wss"), &leaf, server_ca.pem()));
    tap.set_operator(server.address());
    let options = Options {
        release: Release::V0_158,
        endpoint: tap.url("wss"),
        token: "bootstrap".into(),
        token_from_file: false,
        accepts_settings: true,
        own_telemetry: false,
        attributes: vec![("e2e.agent".into(), "one".into())],
    };
    let (home, ca) = (folder.path().join("one"), server_ca.pem());
    let mut supervisor =
        Supervisor::start("one", &parts, &home, folder.path(), ca, &options).await?;
    let uid = supervisor.uid().to_owned();
    let look = |record: &Record| {
        let all = record.of(&uid);
        let done = all.get(1).is_some_and(|last| last.received.len() >= 5);
        Look::some(done.then(|| all.clone()), format!("{all:?}"))
    };
    let record = tap.record();
    let seen = record
        .wait("the agent comes back and beats", SOON, look)
        .await;
    let all = seen.with_context(|| timeline.render())?;

    let [first, second] = &all[..] else {
        bail!("{all:?}");
    };
    assert_eq!(first.header("Authorization"), Some("Bearer bootstrap"));
    assert_eq!(
        (first.status, first.certificate.as_deref()),
        (Some(101), None)
    );
    assert!(first.received[0].described);
    let offers: Vec<_> = first.offers().collect();
    assert_eq!(offers.len(), 1);
    assert_eq!(offers[0].leaf(), Some(leaf.fingerprint()));
    assert_eq!(second.certificate.as_deref(), Some(leaf.fingerprint()));
    assert_eq!(second.marker(), Some("m1"));
    assert_eq!(second.header("Authorization"), None);
    assert!(second.open && !first.open);
    // What the tap says of the certificates is what came out on its other side.
    assert_eq!(server.shown(), [None, Some(leaf.fingerprint().to_owned())]);

    let mark = LogMark::end_of(supervisor.log());
    supervisor.kill9()?;
    supervisor.start_again()?;
    supervisor
        .wait_for_log("Connected to the", mark, SOON)
        .await?;
    let third = record.wait("the agent is back after SIGKILL", SOON, |record| {
        Look::some(record.of(&uid).get(2).cloned(), "two connections")
    });
    let third = third.await.with_context(|| timeline.render())?;
    assert_eq!(third.header("Authorization"), Some("Bearer bootstrap"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tap_sees_a_supervisor_move_to_an_ecdsa_key() -> Result<()> {
    a_supervisor_moves(KeyKind::EcdsaP256).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tap_sees_a_supervisor_move_to_an_rsa_key() -> Result<()> {
    a_supervisor_moves(KeyKind::Rsa2048).await
}
