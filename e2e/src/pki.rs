//! Throw-away certificates with any validity, and the wallet of every known
//! client key (the tap presents those on towards the operator).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest as _, Sha256};

/// A day.
pub const DAY: Duration = Duration::from_hours(24);

/// The time between which a certificate is valid.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    not_before: SystemTime,
    not_after: SystemTime,
}

impl Window {
    /// From an hour ago for so long from now.
    #[must_use]
    pub fn lasting(time: Duration) -> Self {
        let now = SystemTime::now();
        Self {
            not_before: now - Duration::from_hours(1),
            not_after: now + time,
        }
    }

    /// Ended yesterday.
    #[must_use]
    pub fn expired() -> Self {
        let now = SystemTime::now();
        Self {
            not_before: now - 10 * DAY,
            not_after: now - DAY,
        }
    }

    /// Begins tomorrow.
    #[must_use]
    pub fn not_yet() -> Self {
        let now = SystemTime::now();
        Self {
            not_before: now + DAY,
            not_after: now + 10 * DAY,
        }
    }
}

/// The kind of a leaf's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// ECDSA on P-256.
    EcdsaP256,
    /// RSA with 2048 bits.
    Rsa2048,
}

/// A certificate with its key, as PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Leaf {
    /// The certificate, then any intermediates.
    pub certificate: String,
    /// The private key.
    pub key: String,
    fingerprint: String,
}

impl std::fmt::Debug for Leaf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Leaf")
            .field("fingerprint", &self.fingerprint)
            .finish_non_exhaustive()
    }
}

impl Leaf {
    /// A pair that was made elsewhere; none when the certificate is not PEM.
    #[must_use]
    pub fn read(certificate: &str, key: &str) -> Option<Self> {
        Some(Self {
            fingerprint: pem_fingerprint(certificate.as_bytes())?,
            certificate: certificate.to_owned(),
            key: key.to_owned(),
        })
    }

    /// SHA-256 over the certificate, in hex.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Certificate and key in the form the TLS library takes.
    ///
    /// # Errors
    /// When the PEM does not parse.
    pub fn for_tls(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
        let chain = CertificateDer::pem_slice_iter(self.certificate.as_bytes());
        let chain = chain.collect::<Result<_, _>>()?;
        Ok((chain, PrivateKeyDer::from_pem_slice(self.key.as_bytes())?))
    }
}

/// SHA-256 over a certificate, in hex.
#[must_use]
pub fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    hex::encode(Sha256::digest(certificate))
}

/// The fingerprint of the first certificate of a PEM text.
#[must_use]
pub fn pem_fingerprint(pem: &[u8]) -> Option<String> {
    let first = CertificateDer::pem_slice_iter(pem).next()?;
    Some(fingerprint(&first.ok()?))
}

/// A certificate authority that exists for one test.
pub struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    key: String,
}

impl Ca {
    /// A new self-signed root.
    ///
    /// # Errors
    /// When the certificate cannot be made.
    pub fn new(name: &str) -> Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        set_window(&mut params, Window::lasting(365 * DAY))?;
        Ok(Self {
            pem: params.self_signed(&key)?.pem(),
            key: key.serialize_pem(),
            issuer: Issuer::new(params, key),
        })
    }

    /// The root as PEM.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The root's private key (for the leak check: nobody is ever given it).
    #[must_use]
    pub fn key_pem(&self) -> &str {
        &self.key
    }

    /// A server certificate for `localhost` and `127.0.0.1`.
    ///
    /// # Errors
    /// When the certificate cannot be made.
    pub fn server(&self, window: Window) -> Result<Leaf> {
        self.server_at(&[], window)
    }

    /// A server certificate for further names and addresses.
    ///
    /// # Errors
    /// When the certificate cannot be made.
    pub fn server_at(&self, more: &[&str], window: Window) -> Result<Leaf> {
        let names = ["localhost", "127.0.0.1"].iter().chain(more);
        let names: Vec<String> = names.map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, "opamp");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(params, KeyKind::EcdsaP256, window)
    }

    /// A client certificate with a common name.
    ///
    /// # Errors
    /// When the certificate cannot be made.
    pub fn client(&self, name: &str, kind: KeyKind, window: Window) -> Result<Leaf> {
        self.client_with(&[(DnType::CommonName, name)], kind, window)
    }

    /// A client certificate with a whole subject.
    ///
    /// # Errors
    /// When the certificate cannot be made.
    pub fn client_with(
        &self,
        subject: &[(DnType, &str)],
        kind: KeyKind,
        window: Window,
    ) -> Result<Leaf> {
        let mut params = CertificateParams::default();
        for (part, value) in subject {
            params.distinguished_name.push(part.clone(), *value);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params, kind, window)
    }

    fn sign(&self, mut params: CertificateParams, kind: KeyKind, window: Window) -> Result<Leaf> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        set_window(&mut params, window)?;
        let key = KeyPair::generate_for(match kind {
            KeyKind::EcdsaP256 => &PKCS_ECDSA_P256_SHA256,
            KeyKind::Rsa2048 => &PKCS_RSA_SHA256,
        })?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Leaf {
            fingerprint: fingerprint(certificate.der()),
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }
}

fn set_window(params: &mut CertificateParams, window: Window) -> Result<()> {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    // Whole seconds: X.509 knows no others.
    let seconds = |time: SystemTime| -> Result<Duration> {
        let since = time.duration_since(UNIX_EPOCH);
        Ok(Duration::from_secs(since.context("before 1970")?.as_secs()))
    };
    params.not_before = epoch + seconds(window.not_before)?;
    params.not_after = epoch + seconds(window.not_after)?;
    Ok(())
}

/// Every client identity that a test made or the tap saw offered, by fingerprint.
#[derive(Clone, Debug, Default)]
pub struct Wallet(Arc<Mutex<HashMap<String, Leaf>>>);

impl Wallet {
    /// Remembers a leaf.
    pub fn add(&self, leaf: &Leaf) {
        let mut leaves = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        leaves.insert(leaf.fingerprint.clone(), leaf.clone());
    }

    /// All leaves.
    #[must_use]
    pub fn all(&self) -> Vec<Leaf> {
        let leaves = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        leaves.values().cloned().collect()
    }

    /// The leaf with this fingerprint, if it is known.
    #[must_use]
    pub fn find(&self, fingerprint: &str) -> Option<Leaf> {
        let leaves = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        leaves.get(fingerprint).cloned()
    }
}

/// A new token of 256 bits, with characters that escape differently in each form.
///
/// # Errors
/// When no randomness can be had.
pub fn random_token() -> Result<String> {
    let key = KeyPair::generate()?;
    let digest = Sha256::digest(key.serialized_der());
    Ok(format!("e2e+{}/=", hex::encode(digest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_of_both_kinds_load_and_keep_their_window() {
        let ca = Ca::new("test").unwrap();
        for kind in [KeyKind::EcdsaP256, KeyKind::Rsa2048] {
            let leaf = ca.client("agent", kind, Window::expired()).unwrap();
            let (chain, key) = leaf.for_tls().unwrap();
            let provider = rustls::crypto::aws_lc_rs::default_provider();
            let key = provider.key_provider.load_private_key(key).unwrap();
            let certified = rustls::sign::CertifiedKey::new(chain.clone(), key);
            certified.keys_match().unwrap();
            let (_, parsed) = x509_parser::parse_x509_certificate(&chain[0]).unwrap();
            assert!(!parsed.validity().is_valid());
            assert_eq!(
                pem_fingerprint(leaf.certificate.as_bytes()).as_deref(),
                Some(leaf.fingerprint())
            );
        }
    }

    #[test]
    fn a_wallet_finds_what_it_was_given() {
        let ca = Ca::new("test").unwrap();
        let leaf = ca
            .client("a", KeyKind::EcdsaP256, Window::lasting(DAY))
            .unwrap();
        let wallet = Wallet::default();
        assert!(wallet.find(leaf.fingerprint()).is_none());
        wallet.clone().add(&leaf);
        assert!(wallet.find(leaf.fingerprint()).is_some());
    }
}
