//! Law 4, for the bytes themselves: what was checked is what leaves, and what
//! every peer reads of it is the same.

use opamp_operator_api::{
    reason::{ConditionType, Reason},
    v1alpha1::Compatibility,
};
use opamp_operator_core::offer::Object;

use crate::common::{Ca, Issue, World, offered, opaque, tls_secret};

/// Around and between the sections of a PEM text may stand words, other
/// sections and further keys, which not every peer reads as we do.
#[test]
fn law4_what_leaves_is_written_anew_from_what_was_checked() {
    let foreign = "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n";
    let encrypted = foreign.replace("OPENSSH", "ENCRYPTED");
    type Dirty<'a> = &'a dyn Fn(&str) -> String;
    let dirty: [(&str, Dirty<'_>); 4] = [
        ("words", &|text| format!("# a word\n{text}")),
        ("sections", &|text| format!("{foreign}{encrypted}{text}")),
        ("line breaks of old", &|text| text.replace('\n', "\r")),
        ("more behind the end", &|text| {
            format!("{}x\n", text.trim_end())
        }),
    ];
    let mut world = World::new();
    let (crt, key, ca) = (
        world.client.crt.clone(),
        world.client.key.clone(),
        world.ca.pem.clone(),
    );
    let other = Ca::new("others").issue(&Issue::client());
    for (what, dirty) in dirty {
        let keys = format!("{}{}", dirty(&key), other.key);
        world.secret("client", tls_secret(&dirty(&crt), &keys));
        let bundle = [("ca.crt".to_owned(), dirty(&ca).into_bytes())];
        world.bundle(Object::new("", None, bundle, None));
        let settings = offered(&world.revision(1)).opamp.unwrap();
        let certificate = settings.certificate.unwrap();
        assert_eq!(certificate.cert[..], *crt.as_bytes(), "{what}");
        assert_eq!(certificate.private_key[..], *key.as_bytes(), "{what}");
        assert_eq!(certificate.ca_cert[..], *ca.as_bytes(), "{what}");
        assert_eq!(settings.tls.unwrap().ca_pem_contents, ca, "{what}");
    }
}

#[test]
fn law4_a_chain_longer_than_tls_takes_never_leaves() {
    let mut world = World::new();
    let root = world.client_ca.pem.clone();
    let times = 48 * 1024 / world.client_ca.der().len();
    let (crt, key) = (world.client.crt.clone(), world.client.key.clone());
    let chain = |times: usize| tls_secret(&format!("{crt}{}", root.repeat(times)), &key);
    world.secret("client", chain(times - 3));
    world.draft();
    world.secret("client", chain(times + 1));
    let refused = (ConditionType::ResolvedRefs, Reason::BadChain);
    assert_eq!(world.refused(), refused);
}

/// A client that is offered anything but certificates for a CA may crash
/// (agents.md 1.8); and whoever put the CA's key there did not mean it.
#[test]
fn law4_the_ca_beside_a_client_certificate_holds_certificates_or_is_left_out() {
    let mut world = World::new();
    let ca = world.client_ca.pem.clone();
    let beside = |world: &mut World, ca: &str| {
        let (crt, key) = (&world.client.crt, &world.client.key);
        let secret = opaque(&[("tls.crt", crt), ("tls.key", key), ("ca.crt", ca)]);
        world.secret("client", secret);
    };
    let offers = |world: &World| {
        let settings = offered(&world.revision(1)).opamp.unwrap();
        settings.certificate.unwrap().ca_cert
    };
    world.spec.opamp.compatibility = Compatibility::Strict;
    for (written, expected) in [(format!("# the CA\n{ca}"), &*ca), ("\n".into(), "")] {
        beside(&mut world, &written);
        assert_eq!(offers(&world)[..], *expected.as_bytes());
    }
    for broken in ["hello".to_owned(), format!("{ca}{}", world.client.key)] {
        beside(&mut world, &broken);
        let refused = (ConditionType::ResolvedRefs, Reason::InvalidPEM);
        assert_eq!(world.refused(), refused);
    }
    // It is not offered in the other form, so nobody minds.
    world.spec.opamp.compatibility = Compatibility::Universal;
    assert_eq!(offers(&world)[..], *world.ca.pem.as_bytes());
}
