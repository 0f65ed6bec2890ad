//! Marker and wire hash: frozen, versioned, keyed.
//!
//! Both forms are part of our contract with agents that run old settings: a
//! change here is a new version beside the old one, never an edit. Golden
//! vectors below hold them.

use opamp_wire::proto::OpAmpConnectionSettings;
use sha2::{Digest as _, Sha256};

use crate::identity::{Digest, KeyRing, Marker};

const MARKER_DOMAIN: &str = "opamp-operator/settings/v1";
const WIRE_DOMAIN_1: &str = "opamp-operator/offer/v1";
const WIRE_DOMAIN: &str = "opamp-operator/offer/v2";
const WIRE_OF_DOMAIN: &str = "opamp-operator/offer-of/v2";
const BESIDE_DOMAIN: &str = "opamp-operator/beside/v1";
const BESIDE_WIRE_DOMAIN: &str = "opamp-operator/offer-beside/v1";
const BESIDE_OF_DOMAIN: &str = "opamp-operator/offer-beside-of/v1";

/// The marker of an `opamp` section that does not hold its marker header yet.
pub(super) fn marker(keys: &KeyRing, settings: &OpAmpConnectionSettings) -> Marker {
    keys.sign(MARKER_DOMAIN, &canonical(settings))
}

/// The hash sent beside the sections: covers all of them as sent, and the
/// retry counter, since a client may skip a hash it has seen (agents.md H17).
///
/// Clients repeat the last one that they were sent, at any time. So its first
/// half says of the second to which `opamp` section it belongs, whatever stood
/// beside that, and nobody has to remember it.
pub(super) fn wire_hash(
    keys: &KeyRing,
    marker: Marker,
    sections: &SectionsDigest,
    retry: u32,
) -> Digest {
    let covers = keys.sign(WIRE_DOMAIN, &attempt(sections, retry));
    of_opamp(keys, marker, covers.half())
}

/// Is it the hash of an offer of this `opamp` section?
pub(super) fn is_wire_hash(keys: &KeyRing, marker: Marker, hash: &[u8]) -> bool {
    let covers = second_half(hash);
    covers.is_some_and(|covers| of_opamp(keys, marker, covers).as_bytes()[..] == *hash)
}

fn of_opamp(keys: &KeyRing, marker: Marker, covers: &[u8; 16]) -> Digest {
    let message = [&marker.as_bytes()[..], covers].concat();
    Digest::of_halves(keys.sign(WIRE_OF_DOMAIN, &message).half(), covers)
}

/// Version 1, which agents may still report.
pub(super) fn wire_hash_1(keys: &KeyRing, sections: &SectionsDigest, retry: u32) -> Digest {
    keys.sign(WIRE_DOMAIN_1, &attempt(sections, retry))
}

fn attempt(sections: &SectionsDigest, retry: u32) -> Vec<u8> {
    [&retry.to_be_bytes()[..], sections].concat()
}

/// The hash sent with sections beside `opamp`, of all there are; it differs
/// from those of every offer of `opamp`. Its first half says so.
pub(super) fn beside_hash(keys: &KeyRing, all: &SectionsDigest, these: &SectionsDigest) -> Digest {
    let covers = keys.sign(BESIDE_WIRE_DOMAIN, &[*all, *these].concat());
    let covers = covers.half();
    Digest::of_halves(keys.sign(BESIDE_OF_DOMAIN, covers).half(), covers)
}

/// Was it sent with sections beside `opamp`, whichever?
pub(super) fn is_beside_hash(keys: &KeyRing, hash: &[u8]) -> bool {
    second_half(hash).is_some_and(|covers| {
        let mut ours = keys.candidates(BESIDE_OF_DOMAIN, covers);
        ours.any(|of| Digest::of_halves(of.half(), covers).as_bytes()[..] == *hash)
    })
}

fn second_half(hash: &[u8]) -> Option<&[u8; 16]> {
    hash.last_chunk().filter(|_| hash.len() == 32)
}

/// What names these sections beside `opamp`.
pub(super) fn beside(keys: &KeyRing, these: &SectionsDigest) -> Digest {
    keys.sign(BESIDE_DOMAIN, these)
}

/// The same by each key, since an operator may have a new one.
pub(super) fn beside_by_each(keys: &KeyRing, these: &SectionsDigest) -> Vec<Digest> {
    keys.candidates(BESIDE_DOMAIN, these).collect()
}

/// SHA-256 of all sections as sent.
pub(super) type SectionsDigest = [u8; 32];

pub(super) fn sections_digest(sections: &[u8]) -> SectionsDigest {
    Sha256::digest(sections).into()
}

/// Version 1: each field as name, length and value, in this order, absent ones
/// left out. Independent of protobuf encoders and of fields added later.
fn canonical(settings: &OpAmpConnectionSettings) -> Vec<u8> {
    let mut out = Canonical(Vec::new());
    out.field("endpoint", settings.destination_endpoint.as_bytes());
    for header in settings.headers.iter().flat_map(|headers| &headers.headers) {
        out.field("header", header.key.as_bytes());
        out.field("value", header.value.as_bytes());
    }
    if let Some(certificate) = &settings.certificate {
        out.field("certificate", b"");
        out.field("cert", &certificate.cert);
        out.field("key", &certificate.private_key);
        out.field("ca", &certificate.ca_cert);
    }
    out.field(
        "heartbeat",
        &settings.heartbeat_interval_seconds.to_be_bytes(),
    );
    if let Some(tls) = &settings.tls {
        out.field("tls", b"");
        out.field("bundle", tls.ca_pem_contents.as_bytes());
        out.field("system", &[u8::from(tls.include_system_ca_certs_pool)]);
        out.field("insecure", &[u8::from(tls.insecure_skip_verify)]);
        out.field("min", tls.min_version.as_bytes());
        out.field("max", tls.max_version.as_bytes());
        for suite in &tls.cipher_suites {
            out.field("suite", suite.as_bytes());
        }
    }
    // Later than the rest. What has none has the marker that it always had.
    if let Some(proxy) = &settings.proxy {
        out.field("proxy", proxy.url.as_bytes());
        let headers = proxy.connect_headers.iter();
        for header in headers.flat_map(|headers| &headers.headers) {
            out.field("connect-header", header.key.as_bytes());
            out.field("connect-value", header.value.as_bytes());
        }
    }
    out.0
}

struct Canonical(Vec<u8>);

impl Canonical {
    fn field(&mut self, name: &str, value: &[u8]) {
        self.sized(name.as_bytes());
        self.sized(value);
    }

    fn sized(&mut self, bytes: &[u8]) {
        self.0
            .extend_from_slice(&(bytes.len() as u64).to_be_bytes());
        self.0.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opamp_wire::proto::{
        Header, Headers, ProxyConnectionSettings, TlsCertificate, TlsConnectionSettings,
    };

    fn settings() -> OpAmpConnectionSettings {
        OpAmpConnectionSettings {
            destination_endpoint: "wss://opamp.example.com:4320/v1/opamp".into(),
            headers: Some(Headers {
                headers: vec![Header {
                    key: "Authorization".into(),
                    value: "Bearer abc".into(),
                }],
            }),
            certificate: Some(TlsCertificate {
                cert: b"cert".as_slice().into(),
                private_key: b"key".as_slice().into(),
                ca_cert: b"ca".as_slice().into(),
            }),
            heartbeat_interval_seconds: 30,
            tls: Some(TlsConnectionSettings {
                ca_pem_contents: "ca".into(),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    fn keys() -> KeyRing {
        KeyRing::new(vec![*b"0123456789abcdef0123456789abcdef"]).unwrap()
    }

    /// If this fails, every agent in the field would be offered its settings
    /// again. Add a version 2 that still accepts these instead.
    #[test]
    fn law8_golden_vectors_of_marker_and_wire_hash() {
        assert_eq!(marker(&keys(), &settings()).to_hex(), GOLDEN_MARKER);
        let sections = sections_digest(b"sections");
        for retry in 0..2 {
            let at = retry as usize;
            let first = wire_hash_1(&keys(), &sections, retry);
            assert_eq!(first.to_hex(), GOLDEN_WIRE_1[at]);
            let marker = marker(&keys(), &settings());
            let hash = wire_hash(&keys(), marker, &sections, retry);
            assert_eq!(hash.to_hex(), GOLDEN_WIRE[at]);
        }
        let beside = beside_hash(&keys(), &sections, &sections_digest(b"these"));
        assert_eq!(beside.to_hex(), GOLDEN_BESIDE);
    }

    #[test]
    fn law8_a_hash_says_what_it_belongs_to_whatever_it_covers() {
        let (keys, other) = (keys(), KeyRing::new(vec![[1; 32]]).unwrap());
        let marker = marker(&keys, &settings());
        let another = keys.sign("another", b"");
        let beside = beside_hash(&keys, &[1; 32], &[2; 32]);
        for (sections, retry) in [([1; 32], 0), ([1; 32], 7), ([2; 32], 0)] {
            let hash = wire_hash(&keys, marker, &sections, retry);
            let hash = hash.as_bytes();
            assert!(is_wire_hash(&keys, marker, hash));
            assert!(!is_wire_hash(&keys, another, hash));
            assert!(!is_wire_hash(&other, marker, hash));
            assert!(!is_beside_hash(&keys, hash));
            for cut in [&hash[..31], &hash[16..], &hash[..0]] {
                assert!(!is_wire_hash(&keys, marker, cut) && !is_beside_hash(&keys, cut));
            }
        }
        assert!(is_beside_hash(&keys, beside.as_bytes()));
        assert!(!is_beside_hash(&other, beside.as_bytes()));
        assert!(!is_wire_hash(&keys, marker, beside.as_bytes()));
        let both = KeyRing::new(vec![[1; 32], *keys.raw().next().unwrap()]).unwrap();
        assert!(is_beside_hash(&both, beside.as_bytes()));
    }

    /// What was added to version 1: each has its own place behind the rest.
    #[test]
    fn law8_golden_vector_of_everything_that_was_added() {
        let mut all = settings();
        let tls = all.tls.as_mut().unwrap();
        tls.min_version = "1.2".into();
        tls.max_version = "1.3".into();
        tls.cipher_suites = vec!["TLS_AES_128_GCM_SHA256".into()];
        let header = |key: &str, value: &str| Header {
            key: key.into(),
            value: value.into(),
        };
        let connect_headers = Headers {
            headers: vec![header("Proxy-Authorization", "Basic abc")],
        };
        all.proxy = Some(ProxyConnectionSettings {
            url: "https://proxy.example.com:3128".into(),
            connect_headers: Some(connect_headers),
        });
        assert_eq!(marker(&keys(), &all).to_hex(), GOLDEN_ALL);
    }

    const GOLDEN_ALL: &str = "f625fe75889165d19e7658a8475c4a78107c7586273e3dd2c8a7130328c9c42e";
    const GOLDEN_MARKER: &str = "2e4ec139a7461bf281e45f91c07f8298793fb7fd959122ad1484171a022307c8";
    const GOLDEN_WIRE: [&str; 2] = [
        "f34d35cfded391ed5b5a1541f92561da859e56ebf67cc64930336e727adbaf47",
        "2fa4d3481b3bfa138d2dbcb6eaf73872e4b79bbe808399d38ddc24c99022ce3c",
    ];
    const GOLDEN_BESIDE: &str = "59fbe1b6d4089f331250ec077c152f365e8a25fc0843ac177bea9647e8beaf66";
    const GOLDEN_WIRE_1: [&str; 2] = [
        "638155a28cf6fe53dec1a2bff317ad08b48231394b8bd1c9c7bc8d19caf59b4f",
        "68a9b4769a9f423cd3c1fa304eb5b989173644f89291c5b68c0d9a8da6176071",
    ];

    #[test]
    fn every_field_moves_the_marker() {
        let base = marker(&keys(), &settings());
        let changes: [fn(&mut OpAmpConnectionSettings); 13] = [
            |s| s.destination_endpoint.push('x'),
            |s| s.headers.as_mut().unwrap().headers[0].value.push('x'),
            |s| s.headers.as_mut().unwrap().headers.clear(),
            |s| s.certificate.as_mut().unwrap().private_key = b"other".as_slice().into(),
            |s| s.heartbeat_interval_seconds = 31,
            |s| s.tls.as_mut().unwrap().include_system_ca_certs_pool = true,
            |s| s.tls.as_mut().unwrap().insecure_skip_verify = true,
            |s| s.tls.as_mut().unwrap().min_version = "1.2".into(),
            |s| s.tls.as_mut().unwrap().max_version = "1.3".into(),
            |s| s.tls.as_mut().unwrap().cipher_suites = vec!["TLS_AES_128_GCM_SHA256".into()],
            |s| s.proxy = Some(ProxyConnectionSettings::default()),
            |s| s.proxy.get_or_insert_default().url = "https://proxy.example.com".into(),
            |s| {
                let headers = &mut s.proxy.get_or_insert_default().connect_headers;
                headers.get_or_insert_default().headers = vec![Header::default()];
            },
        ];
        let mut seen = vec![base];
        for (number, change) in changes.iter().enumerate() {
            let mut other = settings();
            change(&mut other);
            let other = marker(&keys(), &other);
            assert!(!seen.contains(&other), "change {number}");
            seen.push(other);
        }
    }
}
