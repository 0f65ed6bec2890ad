//! The operator's own key: markers and digests that nobody else can compute.

use hmac::{Hmac, Mac};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use sha2::Sha256;
use zeroize::Zeroizing;

/// A keyed digest of something secret. Harmless to store: without the key it
/// cannot be guessed even for a short token.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

/// The keyed hash of an `opamp` section, sent as header `OpAMP-Settings-Hash`:
/// an agent that shows it runs those settings.
pub type Marker = Digest;

impl Digest {
    /// The digest as lower-case hexadecimal, 64 characters.
    #[must_use]
    pub fn to_hex(self) -> String {
        hex::encode(self.0)
    }

    /// The first 12 characters: enough to tell revisions apart for people.
    #[must_use]
    pub fn short(self) -> String {
        hex::encode(&self.0[..6])
    }

    /// Reads 64 hexadecimal characters.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text.trim(), &mut bytes).ok()?;
        Some(Self(bytes))
    }

    /// Half of one and half of another.
    pub(crate) fn of_halves(first: &[u8; 16], second: &[u8; 16]) -> Self {
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(first);
        bytes[16..].copy_from_slice(second);
        Self(bytes)
    }

    /// The first half.
    pub(crate) fn half(&self) -> &[u8; 16] {
        #[expect(clippy::expect_used, reason = "32 bytes have 16")]
        self.0.first_chunk().expect("it is longer")
    }

    /// The bytes, for the wire.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.short())
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_hex())
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::from_hex(&text).ok_or_else(|| D::Error::custom("expected 64 hexadecimal characters"))
    }
}

/// The keys of `opamp-operator-hash-key`: the first signs, all verify.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyRing(Vec<Zeroizing<[u8; 32]>>);

impl KeyRing {
    /// A ring of at least one key; none if `keys` is empty.
    #[must_use]
    pub fn new(keys: Vec<[u8; 32]>) -> Option<Self> {
        (!keys.is_empty()).then(|| Self(keys.into_iter().map(Zeroizing::new).collect()))
    }

    /// Signs `message` under `domain` with the first key.
    #[must_use]
    pub fn sign(&self, domain: &str, message: &[u8]) -> Digest {
        mac(&self.0[0], domain, message)
    }

    /// What each key makes of `message`, the signing one first.
    pub fn candidates<'a>(
        &'a self,
        domain: &'a str,
        message: &'a [u8],
    ) -> impl Iterator<Item = Digest> + 'a {
        self.0.iter().map(move |key| mac(key, domain, message))
    }

    /// The raw keys, for whoever stores them.
    pub fn raw(&self) -> impl Iterator<Item = &[u8; 32]> {
        self.0.iter().map(|key| &**key)
    }
}

impl std::fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyRing({} keys)", self.0.len())
    }
}

/// HMAC-SHA256 over `domain`, a zero byte and `message`: the domain keeps a
/// digest of one purpose from ever being valid for another.
fn mac(key: &[u8; 32], domain: &str, message: &[u8]) -> Digest {
    #[expect(clippy::expect_used, reason = "HMAC takes a key of any length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length is accepted");
    mac.update(domain.as_bytes());
    mac.update(&[0]);
    mac.update(message);
    Digest(mac.finalize().into_bytes().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn law7_a_key_ring_shows_no_key() {
        let ring = KeyRing::new(vec![[7; 32]]).unwrap();
        assert_eq!(format!("{ring:?}"), "KeyRing(1 keys)");
    }

    #[test]
    fn domains_separate_and_old_keys_verify() {
        let old = KeyRing::new(vec![[1; 32]]).unwrap();
        let new = KeyRing::new(vec![[2; 32], [1; 32]]).unwrap();
        let digest = old.sign("a", b"x");
        assert_ne!(digest, old.sign("b", b"x"));
        assert_ne!(digest, new.sign("a", b"x"));
        assert!(new.candidates("a", b"x").any(|d| d == digest));
        assert_eq!(Digest::from_hex(&digest.to_hex()), Some(digest));
        assert!(KeyRing::new(vec![]).is_none());
    }
}
