//! The harness without the operator: a real supervisor and a small double
//! behind the tap, so that a red test of the product is not the harness' fault.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use e2e::eventually::Look;
use e2e::parts::{Parts, Set};
use e2e::pki::{Ca, DAY, KeyKind, Leaf, Wallet, Window, fingerprint};
use e2e::process::LogMark;
use e2e::supervisor::{Options, Supervisor};
use e2e::tap::Tap;
use e2e::timeline::Timeline;
use futures::{SinkExt as _, StreamExt as _};
use opamp_wire::proto::{
    ConnectionSettingsOffers, Header, Headers, OpAmpConnectionSettings, ServerToAgent,
    TlsCertificate,
};
use opamp_wire::{AgentToServer, decode_frame, encode_frame};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::WebPkiClientVerifier;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::Message;

const SOON: Duration = Duration::from_mins(1);

/// What the double offers to everyone without a client certificate.
#[derive(Clone)]
struct Offering {
    endpoint: String,
    leaf: Leaf,
    ca: String,
}

/// Listens as the operator would; tells the certificate of every connection.
async fn double(
    serving: &Leaf,
    client_ca: &Ca,
    offering: impl FnOnce() -> Offering,
) -> Result<(SocketAddr, mpsc::Receiver<Option<String>>)> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(client_ca.pem().as_bytes())?)?;
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .allow_unauthenticated()
            .build()?;
    let (chain, key) = serving.for_tls()?;
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (tell, told) = mpsc::channel(16);
    let offering = offering();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let serve = serve(stream, acceptor.clone(), offering.clone(), tell.clone());
            tokio::spawn(serve);
        }
    });
    Ok((address, told))
}

async fn serve(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    offering: Offering,
    tell: mpsc::Sender<Option<String>>,
) -> Result<()> {
    let stream = acceptor.accept(stream).await?;
    let chain = stream.get_ref().1.peer_certificates();
    let shown = chain.and_then(|chain| chain.first()).map(fingerprint);
    let first_time = shown.is_none();
    tell.send(shown).await?;
    let mut socket = tokio_tungstenite::accept_async(stream).await?;
    let mut offer = first_time.then(|| offer(&offering));
    while let Some(message) = socket.next().await {
        let Message::Binary(bytes) = message? else {
            continue;
        };
        let from: AgentToServer = decode_frame(bytes)?;
        let reply = ServerToAgent {
            instance_uid: from.instance_uid,
            connection_settings: offer.take(),
            ..ServerToAgent::default()
        };
        socket.send(Message::Binary(encode_frame(&reply))).await?;
    }
    Ok(())
}

fn offer(offering: &Offering) -> ConnectionSettingsOffers {
    let header = Header {
        key: "OpAMP-Settings-Hash".into(),
        value: "m1".into(),
    };
    ConnectionSettingsOffers {
        hash: vec![1, 2, 3].into(),
        opamp: Some(OpAmpConnectionSettings {
            destination_endpoint: offering.endpoint.clone(),
            headers: Some(Headers {
                headers: vec![header],
            }),
            certificate: Some(TlsCertificate {
                cert: offering.leaf.certificate.clone().into(),
                private_key: offering.leaf.key.clone().into(),
                ca_cert: offering.ca.clone().into(),
            }),
            heartbeat_interval_seconds: 1,
            ..OpAmpConnectionSettings::default()
        }),
        ..ConnectionSettingsOffers::default()
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
    let (address, mut told) = double(&serving, &client_ca, || Offering {
        endpoint: tap.url("wss"),
        leaf: leaf.clone(),
        ca: server_ca.pem().to_owned(),
    })
    .await?;
    tap.set_operator(address);
    let options = Options {
        endpoint: tap.url("wss"),
        token: "bootstrap".into(),
        token_from_file: false,
        accepts_settings: true,
        attributes: vec![("e2e.agent".into(), "one".into())],
    };
    let (home, ca) = (folder.path().join("one"), server_ca.pem());
    let mut supervisor =
        Supervisor::start("one", &parts, &home, folder.path(), ca, &options).await?;
    let uid = supervisor.uid().to_owned();
    let look = |record: &e2e::tap::Record| {
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
    assert_eq!(told.recv().await, Some(None));
    assert_eq!(told.recv().await, Some(Some(leaf.fingerprint().to_owned())));

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
