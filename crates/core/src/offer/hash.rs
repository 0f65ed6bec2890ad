//! Marker and wire hash: frozen, versioned, keyed.
//!
//! Both forms are part of our contract with agents that run old settings: a
//! change here is a new version beside the old one, never an edit. Golden
//! vectors below hold them.

use opamp_wire::proto::OpAmpConnectionSettings;
use sha2::{Digest as _, Sha256};

use crate::identity::{Digest, KeyRing, Marker};

const MARKER_DOMAIN: &str = "opamp-operator/settings/v1";
const WIRE_DOMAIN: &str = "opamp-operator/offer/v1";

/// The marker of an `opamp` section that does not hold its marker header yet.
pub(super) fn marker(keys: &KeyRing, settings: &OpAmpConnectionSettings) -> Marker {
    keys.sign(MARKER_DOMAIN, &canonical(settings))
}

/// The hash sent beside the sections: covers all of them as sent, and the
/// retry counter, since a client may skip a hash it has seen (agents.md H17).
pub(super) fn wire_hash(keys: &KeyRing, sections: &SectionsDigest, retry: u32) -> Digest {
    let mut message = retry.to_be_bytes().to_vec();
    message.extend_from_slice(sections);
    keys.sign(WIRE_DOMAIN, &message)
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
    use opamp_wire::proto::{Header, Headers, TlsCertificate, TlsConnectionSettings};

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
        assert_eq!(wire_hash(&keys(), &sections, 0).to_hex(), GOLDEN_WIRE[0]);
        assert_eq!(wire_hash(&keys(), &sections, 1).to_hex(), GOLDEN_WIRE[1]);
    }

    const GOLDEN_MARKER: &str = "2e4ec139a7461bf281e45f91c07f8298793fb7fd959122ad1484171a022307c8";
    const GOLDEN_WIRE: [&str; 2] = [
        "638155a28cf6fe53dec1a2bff317ad08b48231394b8bd1c9c7bc8d19caf59b4f",
        "68a9b4769a9f423cd3c1fa304eb5b989173644f89291c5b68c0d9a8da6176071",
    ];

    #[test]
    fn every_field_moves_the_marker() {
        let base = marker(&keys(), &settings());
        let changes: [fn(&mut OpAmpConnectionSettings); 6] = [
            |s| s.destination_endpoint.push('x'),
            |s| s.headers.as_mut().unwrap().headers[0].value.push('x'),
            |s| s.headers.as_mut().unwrap().headers.clear(),
            |s| s.certificate.as_mut().unwrap().private_key = b"other".as_slice().into(),
            |s| s.heartbeat_interval_seconds = 31,
            |s| s.tls.as_mut().unwrap().include_system_ca_certs_pool = true,
        ];
        for (number, change) in changes.iter().enumerate() {
            let mut other = settings();
            change(&mut other);
            assert_ne!(base, marker(&keys(), &other), "change {number}");
        }
    }
}
