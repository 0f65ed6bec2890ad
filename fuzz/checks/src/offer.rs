//! Laws 3 and 4, judged by the bytes that leave and by nothing else: as an
//! agent reads them, and as this operator will see it come back.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue, Uri};
use opamp_operator_api::{
    Attributes, MARKER_HEADER, ObjectRef, ProfileKey,
    v1alpha1::{
        CertificateSource, Compatibility, HeaderSetting, OpAMPConnectionProfileSpec, ProxySettings,
        SecretKeyRef, SystemCAs, TLSVersion,
    },
};
use opamp_operator_core::{
    catalog::{Bound, Target},
    fleet::{Agent, Link, LinkId, SettingsState, Transport, Wish},
    identity::{Bearer, Ledger, Presented, Proof},
    offer::{Draft, Observed, Revision},
};
use opamp_wire::{
    AgentCapabilities, InstanceUid, Message as _, OfferBytes, Reply,
    proto::{
        AgentDescription, AgentToServer, ConnectionSettingsOffers, OpAmpConnectionSettings,
        ServerToAgent, TlsConnectionSettings,
    },
};
use rustls::{
    RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier as _},
    crypto::aws_lc_rs,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::{
    answer::MAX_SECTION,
    go,
    handshake::handshake,
    world::{ADVERTISED, BOOTSTRAP, WORLD, at},
};

/// Headers that belong to the transport (agents.md 1.7), and beginnings of
/// such; that of OpAMP itself.
const FORBIDDEN: [&str; 13] = [
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "opamp-instance-uid",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
const FORBIDDEN_BEGINNINGS: [&str; 2] = ["proxy-", "sec-websocket-"];

/// Checks what the agents of a profile would be offered.
pub(crate) fn check<'a>(
    key: &ProfileKey,
    spec: &OpAMPConnectionProfileSpec,
    observe: impl Fn(&ObjectRef) -> &'a Observed,
    draft: Draft,
) {
    let mut ledger = Ledger::default();
    ledger.put(draft.ledger_entry(1, at(0).wall));
    let revision = Arc::new(Revision::new(draft, 1));
    let opamp = only_settings(&revision);

    let seconds = opamp.heartbeat_interval_seconds;
    assert!((1..=86_400).contains(&seconds), "law 3: {seconds} s");
    let wanted = spec.opamp.heartbeat_interval_seconds;
    assert_eq!(seconds, u64::from(wanted));
    let value = &|source: &SecretKeyRef| {
        let secret = ObjectRef::secret(&key.namespace, &source.name);
        match observe(&secret) {
            Observed::Present(object) if object.offerable => object.get(&source.key),
            _ => None,
        }
    };
    headers(&opamp, &spec.opamp.headers, &revision, value);
    proxy(&opamp, spec.opamp.proxy.as_ref(), value);
    trust(&opamp, spec);
    let chain = certificate(&opamp, spec);
    reaches_us(&opamp, spec);
    is_let_in(&opamp, chain, &ledger);
    is_offered_once(&revision, spec.paused);
}

/// What an agent reads of an offer, whichever attempt it is.
fn only_settings(revision: &Revision) -> OpAmpConnectionSettings {
    let [first, second] = [0, 1].map(|retry| read(&revision.offer(retry)));
    assert!(first.hash[..] == revision.hash(0).as_bytes()[..]);
    assert!(first.hash != second.hash && first.opamp == second.opamp);
    let opamp = first.opamp.clone().expect("law 3: nothing is offered");
    let only = ConnectionSettingsOffers {
        hash: first.hash.clone(),
        opamp: Some(opamp.clone()),
        ..ConnectionSettingsOffers::default()
    };
    assert!(first == only, "more than settings for OpAMP");
    assert!(opamp.encoded_len() <= MAX_SECTION, "law 10: too large");
    opamp
}

fn read(offer: &OfferBytes) -> ConnectionSettingsOffers {
    let reply = Reply {
        offer: Some(offer.clone()),
        ..Reply::new(InstanceUid::from_bytes([1; 16]))
    };
    let message = ServerToAgent::decode(reply.to_body()).expect("an offer is readable");
    message.connection_settings.expect("the offer")
}

/// All that the profile names, in its order, then the marker.
fn headers<'a>(
    opamp: &OpAmpConnectionSettings,
    wanted: &[HeaderSetting],
    revision: &Revision,
    secret: impl Fn(&SecretKeyRef) -> Option<&'a [u8]>,
) {
    let offered = opamp.headers.as_ref().map(|headers| &headers.headers[..]);
    let (marker, offered) = offered.and_then(<[_]>::split_last).expect("a marker");
    assert_eq!(marker.key, MARKER_HEADER);
    assert_eq!(marker.value, revision.marker().to_hex());
    assert_eq!(offered.len(), wanted.len(), "law 3: all headers");
    let mut names = BTreeSet::new();
    for (header, wanted) in offered.iter().zip(wanted) {
        assert_eq!(header.key, wanted.name);
        let value = match (&wanted.value, &wanted.value_from) {
            (Some(value), None) => value.clone().into_bytes(),
            (None, Some(source)) => {
                let secret = secret(&source.secret_key_ref).expect("a Secret to be offered");
                [
                    source.prefix.as_deref().unwrap_or_default().as_bytes(),
                    secret,
                ]
                .concat()
            }
            _ => panic!("law 3: a header with two values, or none"),
        };
        assert!(header.value.as_bytes() == value, "law 3: another value");
        let sendable = HeaderValue::from_str(&header.value).is_ok_and(|v| v.to_str().is_ok());
        assert!(sendable && (1..=4096).contains(&value.len()), "H8: value");
        let at_ends = [value.first(), value.last()];
        assert!(!at_ends.contains(&Some(&b' ')), "H8: a space at an end");

        let name = HeaderName::from_bytes(header.key.as_bytes()).expect("H8: name");
        let name = name.as_str();
        assert!(!FORBIDDEN.contains(&name), "H8: {name}");
        let reserved = FORBIDDEN_BEGINNINGS.iter().any(|b| name.starts_with(b));
        assert!(!reserved, "H8: {name}");
        assert!(names.insert(name.to_owned()), "H8: {name} twice");
    }
}

/// A proxy only where the profile has one, and no credential to it in the clear.
fn proxy<'a>(
    opamp: &OpAmpConnectionSettings,
    wanted: Option<&ProxySettings>,
    secret: impl Fn(&SecretKeyRef) -> Option<&'a [u8]>,
) {
    let Some((offered, wanted)) = opamp.proxy.as_ref().zip(wanted) else {
        assert!(opamp.proxy.is_none() && wanted.is_none(), "law 3: proxy");
        return;
    };
    assert_eq!(offered.url, wanted.url);
    let headers = offered.connect_headers.iter().flat_map(|h| &h.headers);
    let headers: Vec<_> = headers.collect();
    assert_eq!(headers.len(), wanted.connect_headers.len());
    for (header, wanted) in headers.into_iter().zip(&wanted.connect_headers) {
        assert_eq!(header.key, wanted.name);
        let sendable = HeaderValue::from_str(&header.value).is_ok_and(|v| v.to_str().is_ok());
        assert!(sendable, "H8: value");
        if let Some(source) = &wanted.value_from {
            assert!(offered.url.starts_with("https://"), "law 2: in the clear");
            let secret = secret(&source.secret_key_ref).expect("a Secret to be offered");
            assert!(header.value.as_bytes().ends_with(secret));
        }
    }
}

/// H4: verification is neither switched off nor widened, unless it was asked for.
fn trust(opamp: &OpAmpConnectionSettings, spec: &OpAMPConnectionProfileSpec) {
    let system = spec.opamp.tls.system_cas == SystemCAs::Include;
    let tls = opamp.tls.as_ref().expect("law 3: trust");
    let wanted = &spec.opamp.tls;
    let blind = wanted.insecure_skip_verify;
    let version = |version: Option<TLSVersion>| version.map_or("", TLSVersion::as_str).to_owned();
    let suites = wanted.cipher_suites.iter();
    let only = TlsConnectionSettings {
        ca_pem_contents: tls.ca_pem_contents.clone(),
        include_system_ca_certs_pool: system,
        insecure_skip_verify: blind,
        min_version: version(wanted.min_version),
        max_version: version(wanted.max_version),
        cipher_suites: suites.map(|suite| suite.as_str().to_owned()).collect(),
    };
    assert!(*tls == only, "law 3: verification is weakened");
    assert!(!(system && blind), "law 3: trust");
    assert_eq!(
        tls.ca_pem_contents.is_empty(),
        system || blind,
        "law 3: trust"
    );
    let certificate = opamp.certificate.as_ref();
    if spec.opamp.compatibility == Compatibility::Universal && blind {
        assert!(certificate.is_none(), "H4: a supervisor would verify us");
    } else if spec.opamp.compatibility == Compatibility::Universal {
        let certificate = certificate.expect("H4: without it nothing is verified");
        let same = certificate.ca_cert[..] == *tls.ca_pem_contents.as_bytes();
        assert!(same, "H5: the supervisor trusts other CAs");
    }
}

/// The chain that agents show; H6: all of it, or nothing.
fn certificate(
    opamp: &OpAmpConnectionSettings,
    spec: &OpAMPConnectionProfileSpec,
) -> Vec<CertificateDer<'static>> {
    let wanted = spec.opamp.client_certificate.source == CertificateSource::Secret;
    let certificate = opamp.certificate.clone().unwrap_or_default();
    assert_eq!(wanted, !certificate.cert.is_empty(), "H6: certificate");
    assert_eq!(wanted, !certificate.private_key.is_empty(), "H6: key");
    only_certificates(&certificate.ca_cert);
    if !wanted {
        return Vec::new();
    }
    let chain = only_certificates(&certificate.cert);
    let key = go::only_key(&certificate.private_key);
    let server = (vec![WORLD.server.der.clone()], WORLD.server.private_key());
    let done = handshake(server, Some((chain.clone(), key)));
    assert_eq!(done, Ok(()), "law 4: nobody can connect with this");
    chain
}

/// What is called a certificate is one, and nothing stands beside it: a reader
/// that finds none in a text fails, one that expects none fails too (H5).
fn only_certificates(pem: &[u8]) -> Vec<CertificateDer<'static>> {
    let found = go::certificates(pem);
    assert_eq!(
        found.is_empty(),
        pem.is_empty(),
        "law 4: no certificate in it"
    );
    found
}

/// An agent that trusts what it was offered takes our certificate for that of
/// the host it was offered.
fn reaches_us(opamp: &OpAmpConnectionSettings, spec: &OpAMPConnectionProfileSpec) {
    let endpoint: Uri = opamp.destination_endpoint.parse().expect("H9: a URL");
    let scheme = endpoint.scheme_str().expect("H9: absolute");
    assert!(matches!(scheme, "wss" | "https"), "law 2: {endpoint}");
    let stated = spec.opamp.endpoint.as_deref().unwrap_or(ADVERTISED);
    assert!(stated.starts_with(scheme), "{endpoint} is not {stated}");
    assert_eq!(endpoint.path(), "/v1/opamp", "nobody listens there");
    let authority = endpoint.authority().expect("H9: a host").as_str();
    assert!(!authority.contains('@'), "law 7: {endpoint}");

    if spec.opamp.tls.insecure_skip_verify {
        return;
    }
    let mut roots = RootCertStore::empty();
    let bundle = opamp.tls.as_ref().map(|tls| tls.ca_pem_contents.as_bytes());
    roots.add_parsable_certificates(only_certificates(bundle.unwrap_or_default()));
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), provider).build();
    let host = endpoint.host().unwrap_or_default();
    let host = ServerName::try_from(host.trim_matches(['[', ']'])).expect("H9: a host");
    let seconds = u64::try_from(at(0).wall.as_second()).unwrap_or_default();
    let time = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    let outcome = verifier.expect("law 3: some CA").verify_server_cert(
        &WORLD.server.der,
        &[],
        &host,
        &[],
        time,
    );
    assert!(
        outcome.is_ok(),
        "law 3: agents cannot verify us at {endpoint}"
    );
}

/// With what it was offered the agent is let in again.
fn is_let_in(
    opamp: &OpAmpConnectionSettings,
    chain: Vec<CertificateDer<'static>>,
    ledger: &Ledger,
) {
    let headers = opamp.headers.iter().flat_map(|headers| &headers.headers);
    let value = |name: &str| {
        let mut headers = headers.clone();
        let found = headers.find(|header| header.key.eq_ignore_ascii_case(name));
        found.map(|header| header.value.as_bytes())
    };
    let shown = Presented::new(chain, value("authorization"), value(MARKER_HEADER));
    let proof = WORLD.trust(ledger).verify(&shown, &Bearer::Nobody, at(0));
    let Proof::Proved(verdict) = proof else {
        panic!("law 4: it would be locked out: {proof:?}");
    };
    assert!(!verdict.recognised.is_empty(), "it could not be rotated");
}

/// An agent that the profile selects is offered it, and when it shows the
/// marker it is not offered it again.
fn is_offered_once(revision: &Arc<Revision>, paused: bool) {
    let uid = InstanceUid::from_bytes([1; 16]);
    let target = Target {
        current: Arc::clone(revision),
        previous: None,
        bound: Bound::Everyone,
        paused,
    };
    let wish = Wish {
        target: Some(&target),
        trust: None,
        hold: Duration::ZERO,
    };
    let bootstrap = format!("Bearer {}", BOOTSTRAP[0]);
    let shown = |marker| Presented::new(Vec::new(), Some(bootstrap.as_bytes()), marker);
    let trust = WORLD.trust(&Ledger::default());
    let Proof::Proved(verdict) = trust.verify(&shown(None), &Bearer::Nobody, at(0)) else {
        panic!("the bootstrap token is not known");
    };
    let described = Attributes::default();
    let selected = revision.selects(uid, verdict.primary.as_ref(), Some(&described));

    let mut agent = Agent::new(uid, "a", at(0));
    let mut come = |presented: Presented, seconds: u64| {
        let (id, now) = (LinkId(seconds), at(seconds));
        let verdict = verdict.clone();
        let link = Link::new(id, Transport::WebSocket, presented, verdict, now.uptime);
        agent.attach(link, now).expect("its own UID");
        let message = AgentToServer {
            capabilities: AgentCapabilities::ACCEPTS_OPAMP_CONNECTION_SETTINGS,
            agent_description: Some(AgentDescription::default()),
            ..AgentToServer::default()
        };
        let (reply, _) = agent.hear(id, &message, now);
        let (reply, _) = agent.answer(id, reply, &wish, now);
        agent.detach(id, now);
        (reply.offer.is_some(), agent.record().state)
    };
    let (offered, _) = come(shown(None), 1);
    assert_eq!(offered, selected && !paused);
    let marker = revision.marker().to_hex();
    let (offered, state) = come(shown(Some(marker.as_bytes())), 1_000);
    assert!(!offered, "law 8: it runs what it is offered");
    assert!(!selected || state == SettingsState::Applied, "{state:?}");
}
