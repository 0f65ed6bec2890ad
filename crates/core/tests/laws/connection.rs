//! Laws 3 and 4: proxy, forms of TLS, and verification that is switched off.

use opamp_operator_api::{
    reason::{ConditionType, Reason},
    v1alpha1::{
        CipherSuite, Compatibility, ConnectHeader, HeaderValueSource, ProxySettings, SecretKeyRef,
        SystemCAs, TLSVersion,
    },
};
use opamp_operator_core::offer::{Outcome, Serving, TrustRoots, hold_back, references};
use opamp_wire::proto::ProxyConnectionSettings;

use crate::common::{Ca, Issue, STRONG_TOKEN, World, at, offered, opaque};

fn proxy(url: &str) -> ProxySettings {
    let source = HeaderValueSource {
        secret_key_ref: SecretKeyRef {
            name: "proxy".into(),
            key: "password".into(),
        },
        prefix: Some("Basic ".into()),
    };
    ProxySettings {
        url: url.into(),
        connect_headers: vec![ConnectHeader {
            name: "Proxy-Authorization".into(),
            value: None,
            value_from: Some(source),
        }],
    }
}

#[test]
fn law3_a_proxy_and_its_headers_travel_with_the_rest() {
    let mut world = World::new();
    let before = world.revision(1);
    world.secret("proxy", opaque(&[("password", "dXNlcjpwYXNz")]));
    world.spec.opamp.proxy = Some(proxy("https://proxy.example.com:3128"));
    let revision = world.revision(2);
    let settings = offered(&revision).opamp.unwrap();
    let proxy = settings.proxy.unwrap();
    assert_eq!(proxy.url, "https://proxy.example.com:3128");
    let headers = proxy.connect_headers.unwrap().headers;
    assert_eq!(headers.len(), 1);
    assert_eq!(headers[0].key, "Proxy-Authorization");
    assert_eq!(headers[0].value, "Basic dXNlcjpwYXNz");
    // The headers of the connection itself are none of the proxy's business.
    assert_eq!(settings.headers.unwrap().headers.len(), 2);
    assert_ne!(revision.marker(), before.marker());
    let named = references("a", &world.spec);
    assert!(named.iter().any(|object| object.name == "proxy"));

    let printed = format!("{:?} {:?}", world.resolve(), revision);
    assert!(!printed.contains("dXNlcjpwYXNz"), "{printed}");
    world
        .spec
        .opamp
        .proxy
        .as_mut()
        .unwrap()
        .connect_headers
        .clear();
    let without = offered(&world.revision(3)).opamp.unwrap().proxy;
    let only = ProxyConnectionSettings {
        url: "https://proxy.example.com:3128".into(),
        connect_headers: None,
    };
    assert_eq!(without, Some(only));
}

#[test]
fn law2_no_credential_goes_to_a_proxy_in_the_clear() {
    let mut world = World::new();
    world.secret("proxy", opaque(&[("password", "dXNlcjpwYXNz")]));
    world.spec.opamp.proxy = Some(proxy("http://proxy.example.com:3128"));
    let refused = world.refused();
    assert_eq!(
        refused,
        (ConditionType::Accepted, Reason::InsecureNotAllowed)
    );
    world.spec.opamp.proxy = Some(proxy("https://proxy.example.com:3128"));
    world.secret("proxy", opaque(&[("password", "two\nlines")]));
    let refused = world.refused();
    assert_eq!(
        refused,
        (ConditionType::ResolvedRefs, Reason::InvalidHeaderValue)
    );
    world.secret("proxy", opaque(&[]));
    let refused = world.refused();
    assert_eq!(refused, (ConditionType::ResolvedRefs, Reason::KeyMissing));
}

#[test]
fn law3_forms_of_tls_are_said_only_where_the_profile_says_them() {
    let mut world = World::new();
    let before = world.revision(1);
    let tls = offered(&before).opamp.unwrap().tls.unwrap();
    assert!(tls.min_version.is_empty() && tls.max_version.is_empty());
    assert!(tls.cipher_suites.is_empty() && !tls.insecure_skip_verify);
    let limits = &mut world.spec.opamp.tls;
    limits.min_version = Some(TLSVersion::V1_2);
    limits.max_version = Some(TLSVersion::V1_3);
    limits.cipher_suites = vec![CipherSuite::Aes256, CipherSuite::EcdsaChaCha20];
    let after = world.revision(2);
    let tls = offered(&after).opamp.unwrap().tls.unwrap();
    assert_eq!((&*tls.min_version, &*tls.max_version), ("1.2", "1.3"));
    assert_eq!(
        tls.cipher_suites,
        [
            "TLS_AES_256_GCM_SHA384",
            "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"
        ]
    );
    assert_ne!(before.marker(), after.marker());
}

/// The serving keys of these tests are ECDSA.
#[test]
fn law4_h10_suites_that_this_operator_could_not_use_would_lock_out() {
    use CipherSuite::{Aes128, EcdsaAes128, RsaAes128};
    use TLSVersion::{V1_2, V1_3};
    let mut world = World::new();
    for (min, max, suites, good) in [
        (None, None, vec![RsaAes128], false),
        (None, None, vec![RsaAes128, EcdsaAes128], true),
        (None, None, vec![RsaAes128, Aes128], true),
        (None, Some(V1_2), vec![RsaAes128, Aes128], false),
        (None, Some(V1_2), vec![EcdsaAes128], true),
        (Some(V1_3), None, vec![EcdsaAes128], false),
        (Some(V1_3), None, vec![EcdsaAes128, Aes128], true),
        (Some(V1_3), Some(V1_3), vec![], true),
    ] {
        let tls = &mut world.spec.opamp.tls;
        (tls.min_version, tls.max_version) = (min, max);
        tls.cipher_suites.clone_from(&suites);
        let outcome = world.resolve().outcome;
        match outcome {
            Outcome::Resolved(_) => assert!(good, "{min:?} {max:?} {suites:?}"),
            Outcome::Unresolved(refusal) => {
                assert!(!good, "{min:?} {max:?} {suites:?}: {refusal:?}");
                assert_eq!(refusal.reason, Reason::WouldLockOut);
                assert!(refusal.message.contains("ECDSA"), "{refusal:?}");
            }
            Outcome::Pending => panic!("{min:?} {max:?} {suites:?}"),
        }
    }
}

/// Supervisors verify where they get a certificate, and do not where they get
/// none; other agents go by `tls`.
#[test]
fn law3_h4_verification_is_off_for_every_agent_or_for_none() {
    let mut world = World::new();
    world.without_certificate();
    world.spec.opamp.tls.ca_bundle_ref = None;
    let accepted = |reason| (ConditionType::Accepted, reason);
    assert_eq!(world.refused(), accepted(Reason::InvalidSpec));
    world.spec.opamp.tls.insecure_skip_verify = true;
    for compatibility in [Compatibility::Universal, Compatibility::Strict] {
        world.spec.opamp.compatibility = compatibility;
        let revision = world.revision(1);
        assert_eq!(revision.server_trust().roots, TrustRoots::Anything);
        let settings = offered(&revision).opamp.unwrap();
        assert_eq!(settings.certificate, None);
        let tls = settings.tls.unwrap();
        assert!(tls.insecure_skip_verify && !tls.include_system_ca_certs_pool);
        assert!(tls.ca_pem_contents.is_empty());
    }
    world.spec.opamp.tls.system_cas = SystemCAs::Include;
    assert_eq!(world.refused(), accepted(Reason::InvalidSpec));

    // Whoever verifies nothing waits for no serving certificate.
    world.spec.opamp.tls.system_cas = SystemCAs::Exclude;
    let revision = world.revision(1);
    let serving = |pair: &crate::common::Pair| {
        Serving::read(pair.crt.as_bytes(), pair.key.as_bytes(), at(0)).unwrap()
    };
    let old = serving(&world.ca.issue(&Issue::server()));
    let new = serving(&Ca::new("new").issue(&Issue::server()));
    assert_eq!(hold_back(&old, &new, [&*revision], at(0)), None);

    // A supervisor that gets a certificate would have no CA to verify us by.
    let mut with_certificate = World::new();
    with_certificate.spec.opamp.tls.ca_bundle_ref = None;
    with_certificate.spec.opamp.tls.insecure_skip_verify = true;
    assert_eq!(with_certificate.refused(), accepted(Reason::WouldLockOut));
    with_certificate.spec.opamp.compatibility = Compatibility::Strict;
    let settings = offered(&with_certificate.revision(1)).opamp.unwrap();
    assert!(settings.tls.unwrap().insecure_skip_verify);
    assert!(!settings.certificate.unwrap().cert.is_empty());
    let printed = format!("{:?}", with_certificate.resolve());
    assert!(!printed.contains(STRONG_TOKEN));
}
