//! What one connection showed of itself: the only input to any judgement.

use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::{KeyRing, Marker};

/// SHA-256 of a certificate's DER or of a normalised `Authorization` value.
///
/// Held in memory only; what is stored is a keyed digest of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Of arbitrary bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// A fingerprint that people wrote down: of a certificate, never of a token.
    pub(super) fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        Some(Self(bytes))
    }

    pub(super) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Of an `Authorization` value: the scheme's name counts without regard to
    /// case and the space around it is folded (RFC 9110, section 11.4).
    #[must_use]
    pub fn of_authorization(value: &[u8]) -> Self {
        let value = value.trim_ascii();
        let Some(end) = value.iter().position(u8::is_ascii_whitespace) else {
            return Self::of(value);
        };
        let mut hasher = Sha256::new();
        hasher.update(value[..end].to_ascii_lowercase());
        hasher.update(b" ");
        hasher.update(value[end..].trim_ascii());
        Self(hasher.finalize().into())
    }

    /// The keyed digest under which a certificate is remembered.
    #[must_use]
    pub fn keyed_leaf(&self, keys: &KeyRing) -> super::Digest {
        keys.sign(LEAF_DOMAIN, &self.0)
    }

    /// The keyed digest under which an `Authorization` value is remembered.
    #[must_use]
    pub fn keyed_authorization(&self, keys: &KeyRing) -> super::Digest {
        keys.sign(AUTHORIZATION_DOMAIN, &self.0)
    }

    pub(super) fn leaf_candidates<'a>(
        &'a self,
        keys: &'a KeyRing,
    ) -> impl Iterator<Item = super::Digest> + 'a {
        keys.candidates(LEAF_DOMAIN, &self.0)
    }

    pub(super) fn authorization_candidates<'a>(
        &'a self,
        keys: &'a KeyRing,
    ) -> impl Iterator<Item = super::Digest> + 'a {
        keys.candidates(AUTHORIZATION_DOMAIN, &self.0)
    }
}

const LEAF_DOMAIN: &str = "opamp-operator/leaf/v1";
const AUTHORIZATION_DOMAIN: &str = "opamp-operator/authorization/v1";

impl std::fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A plain hash of a short token could be guessed, so not even that.
        f.write_str("Fingerprint")
    }
}

/// More certificates than a chain can have: a leaf, six authorities and their
/// root. Strangers choose what they show, and every order of it may be tried.
const MAX_CHAIN: usize = 8;

/// What a link showed: certificates whose key it possesses, the fingerprint of
/// its `Authorization` header, and the marker of the settings it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Presented {
    /// Leaf first; nothing else of a chain that is too long. Possession of the
    /// leaf's key is proved; trust is not.
    pub chain: Vec<CertificateDer<'static>>,
    /// Of the leaf.
    pub leaf: Option<Fingerprint>,
    /// Of the header; the value itself is dropped as soon as it is read.
    pub authorization: Option<Fingerprint>,
    /// A hint about live settings, never a proof of identity.
    pub marker: Option<Marker>,
}

impl Presented {
    /// From what the transport saw. A marker that does not parse is no marker.
    #[must_use]
    pub fn new(
        mut chain: Vec<CertificateDer<'static>>,
        authorization: Option<&[u8]>,
        marker: Option<&[u8]>,
    ) -> Self {
        if chain.len() > MAX_CHAIN {
            chain.truncate(1);
        }
        Self {
            leaf: chain.first().map(|leaf| Fingerprint::of(leaf)),
            chain,
            authorization: authorization
                .filter(|value| !value.trim_ascii().is_empty())
                .map(Fingerprint::of_authorization),
            marker: marker
                .and_then(|value| std::str::from_utf8(value).ok())
                .and_then(Marker::from_hex),
        }
    }

    /// The end of the certificate that it showed.
    #[must_use]
    pub fn not_after(&self) -> Option<Timestamp> {
        let (_, leaf) = X509Certificate::from_der(self.chain.first()?).ok()?;
        // None for an end that no Timestamp holds: it has none.
        Timestamp::from_second(leaf.validity().not_after.timestamp()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_of_an_authorization_is_case_insensitive_the_rest_is_not() {
        let a = Fingerprint::of_authorization(b"Bearer abc");
        assert_eq!(a, Fingerprint::of_authorization(b" bearer   abc "));
        assert_ne!(a, Fingerprint::of_authorization(b"Bearer ABC"));
        assert_ne!(a, Fingerprint::of_authorization(b"Basic abc"));
    }

    #[test]
    fn an_empty_authorization_and_a_garbled_marker_count_as_none() {
        let presented = Presented::new(vec![], Some(b"  "), Some(b"zz"));
        assert_eq!(presented, Presented::default());
    }
}
