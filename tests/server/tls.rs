//! What a handshake proves, and that every connection makes one.

use std::sync::Arc;

use opamp_operator::server::Limits;
use opamp_operator_api::{ProfileKey, v1alpha1::ServedBy};
use opamp_operator_core::identity::{
    Authenticator, Fingerprint, KeyRing, Ledger, LedgerEntry, Sources,
};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::{
    ClientConfig, HandshakeKind, ProtocolVersion, SignatureScheme, client::ResolvesClientCert,
    sign::CertifiedKey, version,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    reviews::ACCOUNT_TOKEN,
    world::{SOON, TOKEN, World, tokens},
};

/// A certificate of a client, and its key.
struct Identity(CertificateDer<'static>, KeyPair);

struct Ca(CertificateParams, KeyPair);

impl Ca {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(params, KeyPair::generate().unwrap())
    }

    fn der(&self) -> CertificateDer<'static> {
        self.0.self_signed(&self.1).unwrap().der().clone()
    }

    fn issue(&self, end: i32) -> Identity {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "edge");
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(end, 1, 1);
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::from_params(&self.0, &self.1);
        let der = params.signed_by(&key, &issuer).unwrap().der().clone();
        Identity(der, key)
    }
}

fn config(
    world: &World,
    shows: Option<&Identity>,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(world.roots());
    match shows {
        None => builder.with_no_client_auth(),
        Some(Identity(der, key)) => {
            let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
            builder
                .with_client_auth_cert(vec![der.clone()], key)
                .unwrap()
        }
    }
}

async fn connect(world: &World, connector: &TlsConnector) -> TlsStream<TcpStream> {
    let name = ServerName::try_from("localhost").unwrap();
    let connecting = connector.connect(name, world.tcp(1).await);
    timeout(SOON, connecting)
        .await
        .expect("TLS in time")
        .unwrap()
}

/// The status of a poll without a body.
async fn poll(stream: &mut TlsStream<TcpStream>, token: Option<&str>) -> u16 {
    let bearer = token.map(|token| format!("Authorization: Bearer {token}\r\n"));
    let head = format!(
        "POST /v1/opamp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n{}\r\n",
        bearer.unwrap_or_default()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut status = [0; 12];
    timeout(SOON, stream.read_exact(&mut status))
        .await
        .expect("an answer in time")
        .unwrap();
    std::str::from_utf8(&status[9..]).unwrap().parse().unwrap()
}

#[tokio::test]
async fn law2_a_bad_certificate_counts_as_none() {
    let world = World::start(Limits::default()).await;
    let ca = Ca::new("fleet");
    let mut authenticators = tokens();
    authenticators.push(Authenticator::certificate("fleet", "default", &[ca.der()]).unwrap());
    world.judge(Sources {
        authenticators,
        ..Sources::default()
    });
    let cases = [
        ("good", ca.issue(2040), 200),
        ("ended", ca.issue(2021), 401),
        ("of a stranger's CA", Ca::new("fleet").issue(2040), 401),
    ];
    for (what, identity, alone) in cases {
        let config = config(&world, Some(&identity), rustls::DEFAULT_VERSIONS);
        let connector = TlsConnector::from(Arc::new(config));
        let mut stream = connect(&world, &connector).await;
        assert_eq!(poll(&mut stream, None).await, alone, "{what}");
        // It takes nothing away from what else is shown.
        let mut stream = connect(&world, &connector).await;
        assert_eq!(poll(&mut stream, Some(TOKEN)).await, 200, "{what}");
    }
}

/// Nobody has to be asked about it, and nobody answers.
#[tokio::test]
async fn law8_what_we_offered_lets_in_beside_a_token_that_cannot_be_judged() {
    let mut world = World::start(Limits::default()).await;
    drop(world.asked());
    let identity = Ca::new("anybody's").issue(2040);
    let keys = KeyRing::new(vec![[1; 32]]).unwrap();
    let entry = LedgerEntry {
        profile: ProfileKey::new("default", "agents"),
        number: 1,
        served_by: ServedBy::Operator,
        marker: keys.sign("test", b"marker"),
        leaf: Some(Fingerprint::of(&identity.0).keyed_leaf(&keys)),
        authorization: None,
        not_after: None,
        published: world.hub.clock.now().wall,
    };
    let sources = Sources {
        authenticators: vec![Authenticator::ServiceAccount {
            name: "cluster".into(),
            audience: "opamp".into(),
        }],
        ..Sources::default()
    };
    world.judge_by(sources, &Ledger::new(vec![entry]));
    for (shows, status) in [(Some(&identity), 200), (None, 503)] {
        let config = config(&world, shows, rustls::DEFAULT_VERSIONS);
        let connector = TlsConnector::from(Arc::new(config));
        let mut stream = connect(&world, &connector).await;
        assert_eq!(poll(&mut stream, Some(ACCOUNT_TOKEN)).await, status);
    }
}

/// Shows a certificate of which it does not have the key.
#[derive(Debug)]
struct Thief(Arc<CertifiedKey>);

impl ResolvesClientCert for Thief {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Certificates are no secrets: whoever sees one can show it.
#[tokio::test]
async fn law2_a_certificate_without_its_key_makes_no_connection() {
    let world = World::start(Limits::default()).await;
    let ca = Ca::new("fleet");
    let mut authenticators = tokens();
    authenticators.push(Authenticator::certificate("fleet", "default", &[ca.der()]).unwrap());
    world.judge(Sources {
        authenticators,
        ..Sources::default()
    });
    let Identity(certificate, its_key) = ca.issue(2040);
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    for version in [&version::TLS12, &version::TLS13] {
        for (key, owner) in [(&its_key, true), (&KeyPair::generate().unwrap(), false)] {
            let der = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
            let signer = provider.key_provider.load_private_key(der).unwrap();
            let shown = CertifiedKey::new(vec![certificate.clone()], signer);
            let mut config = config(&world, None, &[version]);
            config.client_auth_cert_resolver = Arc::new(Thief(Arc::new(shown)));
            let connector = TlsConnector::from(Arc::new(config));
            let name = ServerName::try_from("localhost").unwrap();
            let connecting = connector.connect(name, world.tcp(1).await);
            let answered = async {
                let mut stream = connecting.await?;
                // Also beside a token that is good: nothing more is heard.
                let head = format!(
                    "POST /v1/opamp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
                );
                stream.write_all(head.as_bytes()).await?;
                let mut status = [0; 12];
                stream.read_exact(&mut status).await
            };
            let answered = timeout(SOON, answered).await.expect("an end in time");
            assert_eq!(answered.is_ok(), owner, "{version:?}: {answered:?}");
        }
    }
}

#[tokio::test]
async fn law2_every_connection_shows_its_credentials_anew() {
    let world = World::trusting(Limits::default()).await;
    for version in [&version::TLS12, &version::TLS13] {
        // With the default of rustls: it would resume if it could.
        let connector = TlsConnector::from(Arc::new(config(&world, None, &[version])));
        for _ in 0..3 {
            let mut stream = connect(&world, &connector).await;
            // Tickets of TLS 1.3 come after the handshake.
            assert_eq!(poll(&mut stream, Some(TOKEN)).await, 200);
            let (_, connection) = stream.get_ref();
            assert_eq!(connection.handshake_kind(), Some(HandshakeKind::Full));
            let versions = [ProtocolVersion::TLSv1_2, ProtocolVersion::TLSv1_3];
            assert!(versions.contains(&connection.protocol_version().unwrap()));
        }
    }
}
