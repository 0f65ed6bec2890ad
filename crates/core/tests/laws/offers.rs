//! Laws 3 and 4: what may leave, and what may not.

use jiff::SignedDuration;
use opamp_operator_api::{
    reason::{ConditionType, Reason},
    v1alpha1::{BundleKind, Compatibility, HeaderSetting},
    values::{MARKER_HEADER, ObjectRef},
};
use opamp_operator_core::{
    Now,
    offer::{Object, Observed, Outcome, Serving, hold_back},
};
use rcgen::ExtendedKeyUsagePurpose;

use crate::common::{Ca, Issue, Pair, STRONG_TOKEN, World, at, offered, opaque, tls_secret};

#[test]
fn law3_h3_h4_h5_h7_h28_universal_is_a_complete_snapshot() {
    let mut world = World::new();
    for heartbeat in [0, 1, 30] {
        let revision = world.revision_with(1, heartbeat);
        let offers = offered(&revision);
        assert_eq!(offers.hash[..], revision.hash(0).as_bytes()[..]);
        // A supervisor would restart its collector for these.
        assert_eq!(offers.own_metrics, None);
        assert_eq!(offers.own_traces, None);
        assert_eq!(offers.own_logs, None);
        assert!(offers.other_connections.is_empty());
        let settings = offers.opamp.unwrap();
        assert_eq!(
            settings.destination_endpoint,
            "wss://opamp.example.com:4320/v1/opamp"
        );
        assert_eq!(
            settings.heartbeat_interval_seconds,
            u64::from(heartbeat.max(1))
        );
        let certificate = settings.certificate.unwrap();
        assert_eq!(certificate.cert[..], *world.client.crt.as_bytes());
        assert_eq!(certificate.private_key[..], *world.client.key.as_bytes());
        assert_eq!(certificate.ca_cert[..], *world.ca.pem.as_bytes());
        let tls = settings.tls.unwrap();
        assert_eq!(tls.ca_pem_contents, world.ca.pem);
        assert!(!tls.insecure_skip_verify && !tls.include_system_ca_certs_pool);
        let headers: Vec<_> = settings
            .headers
            .unwrap()
            .headers
            .into_iter()
            .map(|header| (header.key, header.value))
            .collect();
        assert_eq!(
            headers,
            [
                ("Authorization".to_owned(), format!("Bearer {STRONG_TOKEN}")),
                (MARKER_HEADER.to_owned(), revision.marker().to_hex()),
            ]
        );
    }
}

#[test]
fn law3_h4_universal_without_a_client_certificate_still_carries_trust() {
    let mut world = World::new();
    world.without_certificate();
    let settings = offered(&world.revision(1)).opamp.unwrap();
    let certificate = settings.certificate.unwrap();
    assert!(certificate.cert.is_empty() && certificate.private_key.is_empty());
    assert_eq!(certificate.ca_cert[..], *world.ca.pem.as_bytes());
}

#[test]
fn law3_strict_is_the_letter_of_the_specification() {
    let mut world = World::new();
    world.spec.opamp.compatibility = Compatibility::Strict;
    let settings = offered(&world.revision(1)).opamp.unwrap();
    // `ca_cert` is the CA of the client certificate, trust in the server is in `tls`.
    let certificate = settings.certificate.unwrap();
    assert_eq!(certificate.cert[..], *world.client.crt.as_bytes());
    assert_eq!(certificate.private_key[..], *world.client.key.as_bytes());
    assert_eq!(certificate.ca_cert[..], *world.client.crt.as_bytes());
    assert_eq!(settings.tls.unwrap().ca_pem_contents, world.ca.pem);

    world.without_certificate();
    let settings = offered(&world.revision(2)).opamp.unwrap();
    assert!(settings.certificate.is_none());
    assert_eq!(settings.tls.unwrap().ca_pem_contents, world.ca.pem);
}

#[test]
fn law3_h17_each_retry_has_its_own_hash_and_the_same_settings() {
    let revision = World::new().revision(1);
    let mut hashes: Vec<_> = (0..4).map(|retry| revision.hash(retry)).collect();
    let first = offered(&revision).opamp;
    for retry in 1..4 {
        let again = crate::common::decode(revision.offer(retry));
        assert_eq!(again.opamp, first);
    }
    hashes.sort();
    hashes.dedup();
    assert_eq!(hashes.len(), 4);
}

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one table of everything that can be broken"
)]
fn law4_h6_a_broken_client_certificate_never_leaves() {
    use ConditionType::{CredentialsValid, ResolvedRefs};
    let ca = Ca::new("clients");
    let good = ca.issue(&Issue::client());
    let other = ca.issue(&Issue::client());
    let expired = ca.issue(&Issue {
        to: (2029, 6, 1),
        ..Issue::client()
    });
    let early = ca.issue(&Issue {
        from: (2030, 2, 1),
        ..Issue::client()
    });
    let server = ca.issue(&Issue {
        usage: ExtendedKeyUsagePurpose::ServerAuth,
        ..Issue::client()
    });
    let temporary = Ca::new("cert-manager.local").issue(&Issue::client());
    let garbage = "-----BEGIN CERTIFICATE-----\nnot base64!\n-----END CERTIFICATE-----\n";
    let unordered = format!("{}{}", good.crt, other.crt);
    let with_key = format!("{}{}", good.crt, good.key);
    let table = [
        (
            "mismatch",
            &good.crt[..],
            &other.key[..],
            ResolvedRefs,
            Reason::KeyMismatch,
        ),
        (
            "garbage",
            garbage,
            &good.key,
            ResolvedRefs,
            Reason::InvalidPEM,
        ),
        (
            "no PEM at all",
            "hello",
            &good.key,
            ResolvedRefs,
            Reason::InvalidPEM,
        ),
        (
            "garbage key",
            &good.crt,
            "hello",
            ResolvedRefs,
            Reason::InvalidPEM,
        ),
        (
            "empty certificate",
            "",
            &good.key,
            ResolvedRefs,
            Reason::InvalidPEM,
        ),
        (
            "empty key",
            &good.crt,
            "\n",
            ResolvedRefs,
            Reason::InvalidPEM,
        ),
        (
            "a key among certificates",
            &with_key,
            &good.key,
            ResolvedRefs,
            Reason::InvalidPEM,
        ),
        (
            "no chain",
            &unordered,
            &good.key,
            ResolvedRefs,
            Reason::BadChain,
        ),
        (
            "expired",
            &expired.crt,
            &expired.key,
            CredentialsValid,
            Reason::Expired,
        ),
        (
            "early",
            &early.crt,
            &early.key,
            CredentialsValid,
            Reason::NotYetValid,
        ),
        (
            "wrong usage",
            &server.crt,
            &server.key,
            ResolvedRefs,
            Reason::WrongKeyUsage,
        ),
        (
            "temporary",
            &temporary.crt,
            &temporary.key,
            CredentialsValid,
            Reason::TemporaryCertificate,
        ),
    ];
    let mut world = World::new();
    for (what, crt, key, condition, reason) in table {
        world.secret("client", tls_secret(crt, key));
        assert_eq!(world.refused(), (condition, reason), "{what}");
        let until = world.resolve().until;
        let start =
            (reason == Reason::NotYetValid).then(|| "2030-02-01T00:00:00Z".parse().unwrap());
        assert_eq!(until, start, "{what}");
    }
    world.secret("client", tls_secret(&good.crt, &good.key));
    assert!(matches!(world.resolve().outcome, Outcome::Resolved(_)));
    assert_eq!(
        world.resolve().until,
        Some("2031-01-01T00:00:00Z".parse().unwrap())
    );
}

#[test]
fn law4_a_broken_secret_never_leaves() {
    let refs = |reason| (ConditionType::ResolvedRefs, reason);
    let World { client, .. } = World::new();
    let no_label = |object: Object| Object {
        offerable: false,
        ..object
    };
    let typed = |type_: &str, object: Object| Object {
        type_: type_.to_owned(),
        ..object
    };
    let certificate = || tls_secret(&client.crt, &client.key);
    let token = || opaque(&[("token", STRONG_TOKEN)]);
    let newline = format!("{STRONG_TOKEN}\n");
    let table = [
        (
            "client",
            opaque(&[("tls.crt", &client.crt)]),
            Reason::KeyMissing,
        ),
        (
            "client",
            opaque(&[("tls.key", &client.key)]),
            Reason::KeyMissing,
        ),
        ("client", opaque(&[]), Reason::KeyMissing),
        ("client", no_label(certificate()), Reason::SecretNotOptedIn),
        (
            "client",
            typed("helm.sh/release.v1", certificate()),
            Reason::SecretTypeRefused,
        ),
        (
            "token",
            opaque(&[("other", STRONG_TOKEN)]),
            Reason::KeyMissing,
        ),
        (
            "token",
            opaque(&[("token", &newline)]),
            Reason::InvalidHeaderValue,
        ),
        (
            "token",
            opaque(&[("token", "")]),
            Reason::InvalidHeaderValue,
        ),
        (
            "token",
            opaque(&[("token", "a\u{7f}b")]),
            Reason::InvalidHeaderValue,
        ),
        (
            "token",
            opaque(&[("token", "a\r\nX: b")]),
            Reason::InvalidHeaderValue,
        ),
        (
            "token",
            opaque(&[("token", &"x".repeat(5000))]),
            Reason::InvalidHeaderValue,
        ),
        ("token", no_label(token()), Reason::SecretNotOptedIn),
        (
            "token",
            typed("kubernetes.io/service-account-token", token()),
            Reason::SecretTypeRefused,
        ),
        (
            "token",
            typed("opamp-operator.dev/agent-token", token()),
            Reason::SecretTypeRefused,
        ),
    ];
    for (number, (name, object, reason)) in table.into_iter().enumerate() {
        let mut world = World::new();
        world.secret(name, object);
        assert_eq!(world.refused(), refs(reason), "case {number} {name}");
    }
    let mut world = World::new();
    for (observed, reason) in [
        (Observed::Absent, Reason::SecretNotFound),
        (Observed::Forbidden("grant it".into()), Reason::Forbidden),
    ] {
        world
            .objects
            .insert(ObjectRef::secret("a", "client"), observed);
        assert_eq!(world.refused(), refs(reason));
    }
    world
        .objects
        .insert(ObjectRef::secret("a", "client"), Observed::Pending);
    assert!(matches!(world.resolve().outcome, Outcome::Pending));
}

#[test]
fn law4_a_broken_bundle_never_leaves() {
    let refs = |reason| (ConditionType::ResolvedRefs, reason);
    let mut world = World::new();
    let key = world.client.key.clone();
    for (text, reason) in [
        ("", Reason::InvalidPEM),
        ("hello", Reason::InvalidPEM),
        (&key, Reason::InvalidPEM),
    ] {
        world.bundle(Object {
            type_: String::new(),
            ..opaque(&[("ca.crt", text)])
        });
        assert_eq!(world.refused(), refs(reason), "{text:.20}");
    }
    world.bundle(opaque(&[]));
    assert_eq!(world.refused(), refs(Reason::KeyMissing));
    world.objects.remove(&ObjectRef::config_map("a", "bundle"));
    assert_eq!(world.refused(), refs(Reason::ConfigMapNotFound));

    let reference = world.spec.opamp.tls.ca_bundle_ref.as_mut().unwrap();
    reference.kind = BundleKind::Secret;
    reference.name = "client".into();
    assert_eq!(world.refused(), refs(Reason::SecretTypeRefused));
}

/// What is too large to send is not even published, and the profile says so.
#[test]
fn t06_t09_settings_larger_than_agents_take_are_no_revision() {
    const MOST: usize = 256 * 1024;
    let mut world = World::new();
    let mut bundle = world.ca.pem.clone();
    // It is in the settings twice.
    while bundle.len() * 2 + 3 * world.ca.pem.len() < MOST {
        bundle.push_str(&world.ca.pem);
    }
    let mut settings = |bundle: &str| {
        let data = [("ca.crt".to_owned(), bundle.as_bytes().to_vec())];
        world.bundle(Object::new("", None, data, None));
        world.resolve().outcome
    };
    let Outcome::Resolved(draft) = settings(&bundle) else {
        panic!("fits");
    };
    assert!((MOST - 10_000..=MOST).contains(&draft.encoded_len()));
    match settings(&bundle.repeat(2)) {
        Outcome::Unresolved(refusal) => assert_eq!(refusal.reason, Reason::OfferTooLarge),
        other => panic!("{other:?}"),
    }
}

#[test]
fn law4_h10_what_would_lock_agents_out_never_leaves() {
    let locked = (ConditionType::Accepted, Reason::WouldLockOut);
    let mut wrong_host = World::new();
    wrong_host.spec.opamp.endpoint = Some("wss://other.example.com/v1/opamp".into());
    assert_eq!(wrong_host.refused(), locked, "host");

    let mut wrong_path = World::new();
    for endpoint in [
        "wss://opamp.example.com:4320",
        "wss://opamp.example.com:4320/v1/opamp/",
    ] {
        wrong_path.spec.opamp.endpoint = Some(endpoint.into());
        assert_eq!(wrong_path.refused(), locked, "path of {endpoint}");
    }

    let mut wrong_bundle = World::new();
    wrong_bundle.bundle(opaque(&[("ca.crt", &Ca::new("serving").pem)]));
    assert_eq!(wrong_bundle.refused(), locked, "bundle");
    // A bundle with both, as in the middle of a change of CA, is good.
    let both = format!("{}{}", Ca::new("new").pem, wrong_bundle.ca.pem);
    wrong_bundle.bundle(opaque(&[("ca.crt", &both)]));
    assert!(matches!(
        wrong_bundle.resolve().outcome,
        Outcome::Resolved(_)
    ));

    let mut plaintext = World::new();
    plaintext.spec.opamp.endpoint = Some("ws://opamp.example.com/v1/opamp".into());
    let insecure = (ConditionType::Accepted, Reason::InsecureNotAllowed);
    assert_eq!(plaintext.refused(), insecure, "credentials over ws://");
    plaintext.spec.opamp.headers = vec![HeaderSetting {
        name: "X-Team".into(),
        value: Some("blue".into()),
        value_from: None,
    }];
    assert_eq!(plaintext.refused(), insecure, "certificate over ws://");
    plaintext.without_certificate();
    plaintext.spec.opamp.tls.ca_bundle_ref = None;
    assert_eq!(plaintext.refused(), locked, "ws://");

    let mut nobody = World::new();
    nobody.without_certificate();
    nobody.secret("token", opaque(&[("token", "weak")]));
    assert_eq!(
        nobody.refused(),
        locked,
        "a token that could not be rotated"
    );
    nobody.spec.opamp.headers.clear();
    assert_eq!(nobody.refused(), locked, "no credential");
}

#[test]
fn law4_a_serving_certificate_that_agents_could_not_verify_waits() {
    let mut world = World::new();
    let only_old = world.revision(1);
    let new_ca = Ca::new("new");
    let both = format!("{}{}", new_ca.pem, world.ca.pem);
    world.bundle(opaque(&[("ca.crt", &both)]));
    let both = world.revision(2);
    let serving =
        |pair: &Pair, now| Serving::read(pair.crt.as_bytes(), pair.key.as_bytes(), now).unwrap();
    let old = serving(&world.ca.issue(&Issue::server()), at(0));
    let new = serving(&new_ca.issue(&Issue::server()), at(0));
    let renewed = serving(&world.ca.issue(&Issue::server()), at(0));

    let held = hold_back(&old, &new, [&*only_old, &*both], at(0)).unwrap();
    assert_eq!(held.until, old.not_after - SignedDuration::from_hours(1));
    let message = &held.profiles[&world.profile];
    assert!(message.contains("opamp.example.com"), "{message}");
    // Agents with both CAs, and nobody at all, wait for nothing.
    assert_eq!(hold_back(&old, &new, [&*both], at(0)), None);
    assert_eq!(hold_back(&old, &new, [], at(0)), None);
    assert_eq!(hold_back(&old, &renewed, [&*only_old], at(0)), None);
    // Whoever cannot verify the old one either loses nothing.
    let wrong = serving(&Ca::new("other").issue(&Issue::server()), at(0));
    assert_eq!(hold_back(&wrong, &new, [&*only_old], at(0)), None);
    // Nobody would verify the old one after its end.
    let end = Now {
        wall: held.until,
        ..at(0)
    };
    assert_eq!(hold_back(&old, &new, [&*only_old], end), None);
}

#[test]
fn law4_the_end_of_our_own_certificate_is_not_slept_through() {
    let mut world = World::new();
    let short = world.ca.issue(&Issue {
        to: (2030, 1, 3),
        ..Issue::server()
    });
    world.serve(&short);
    let until = world.resolve().until;
    assert_eq!(until, Some(world.serving().not_after));
}
