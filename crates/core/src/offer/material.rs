//! Certificates, keys and bundles: read, checked, or refused with a reason.
//!
//! Law 4: what does not parse, does not match, is expired, not yet valid or a
//! temporary certificate never leaves. What leaves is written anew from what
//! was checked: agents read PEM by other rules than we, and whatever else
//! stands in the text is nothing for them.

use jiff::Timestamp;
use opamp_operator_api::reason::Reason;
use rustls::{crypto::aws_lc_rs::sign::any_supported_type, sign::CertifiedKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use x509_parser::prelude::{FromDer as _, X509Certificate};
use zeroize::Zeroizing;

use super::{outcome::Validity, pem};
use crate::{Now, identity::Fingerprint};

/// Longest chain, in DER. TLS stacks refuse a longer handshake message, rustls
/// from 64 KiB on.
const MAX_CHAIN_BYTES: usize = 48 * 1024;

/// Why material cannot be used; never contains any of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct MaterialError {
    /// The one word.
    pub reason: Reason,
    /// What is wrong and what to do.
    pub message: String,
    /// When waiting alone mends it.
    pub until: Option<Timestamp>,
}

impl MaterialError {
    fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            until: None,
        }
    }
}

/// A client certificate with its key, fit to be offered. No `Debug`.
#[derive(Clone)]
pub struct ClientMaterial {
    /// PEM, leaf first.
    pub chain_pem: Zeroizing<Vec<u8>>,
    /// PEM.
    pub key_pem: Zeroizing<Vec<u8>>,
    /// DER, leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// Of the leaf.
    pub fingerprint: Fingerprint,
    /// From the beginning of the leaf to the earliest end in the chain.
    pub validity: Validity,
}

impl ClientMaterial {
    /// Reads and checks `tls.crt` and `tls.key` of one version of a Secret.
    ///
    /// # Errors
    /// With the first thing that would make an agent fail with it.
    pub fn read(crt: &[u8], key: &[u8], now: Now) -> Result<Self, MaterialError> {
        let (chain, key, validity) = pair(crt, key, now)?;
        check_usage(&parse_chain(&chain, "tls.crt")?[0])?;
        Ok(Self {
            chain_pem: Zeroizing::new(pem::certificates(&chain)),
            key_pem: pem::key(&key),
            fingerprint: Fingerprint::of(&chain[0]),
            validity,
            chain,
        })
    }
}

/// A chain, its key, and when it is valid.
type CheckedPair = (
    Vec<CertificateDer<'static>>,
    PrivateKeyDer<'static>,
    Validity,
);

/// Reads and checks a certificate chain and its key, of a client or a server.
pub(super) fn pair(crt: &[u8], key: &[u8], now: Now) -> Result<CheckedPair, MaterialError> {
    let chain = certificates(crt)
        .map_err(|error| MaterialError::new(Reason::InvalidPEM, format!("`tls.crt` {error}")))?;
    let parsed = parse_chain(&chain, "tls.crt")?;
    let key = check_pair(&chain, key)?;
    check_order(&parsed)?;
    check_length(&chain)?;
    refuse_temporary(&parsed[0])?;
    let validity = check_validity(&parsed, "tls.crt", now)?;
    Ok((chain, key, validity))
}

/// A bundle of certificate authorities: server trust, or client CAs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// DER, in the order of the file.
    pub certificates: Vec<CertificateDer<'static>>,
    /// Those and nothing else, in PEM.
    pub pem: Vec<u8>,
    /// When the next of its certificates ends.
    pub until: Option<Timestamp>,
}

impl Bundle {
    /// Reads and checks a PEM bundle. Expired members are tolerated beside
    /// valid ones: a bundle in the middle of a CA change has both.
    ///
    /// # Errors
    /// If it holds no valid CA, or anything but certificates.
    pub fn read(text: &[u8], key: &str, now: Now) -> Result<Self, MaterialError> {
        let certificates = certificates(text)
            .map_err(|error| MaterialError::new(Reason::InvalidPEM, format!("`{key}` {error}")))?;
        let parsed = parse_chain(&certificates, key)?;
        let ends: Vec<_> = parsed.iter().map(validity).collect();
        let valid = ends
            .iter()
            .filter(|(start, end)| *start <= now.wall && now.wall < *end);
        if valid.clone().next().is_none() {
            return Err(MaterialError::new(
                Reason::Expired,
                format!(
                    "every certificate authority in `{key}` is expired or not yet valid: add the current one"
                ),
            ));
        }
        let until = valid.map(|(_, end)| *end).min();
        Ok(Self {
            pem: pem::certificates(&certificates),
            certificates,
            until,
        })
    }
}

/// All certificates of a PEM text; refuses anything else in it, above all keys.
fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    if text.trim_ascii().is_empty() {
        return Err("is empty: store a PEM certificate there".into());
    }
    let mut found = Vec::new();
    for item in <(rustls_pki_types::pem::SectionKind, Vec<u8>)>::pem_slice_iter(text) {
        match item {
            Ok((rustls_pki_types::pem::SectionKind::Certificate, der)) => found.push(der.into()),
            Ok(_) => return Err("holds something that is not a certificate: remove it".into()),
            Err(_) => return Err("is not valid PEM: store it anew".into()),
        }
    }
    if found.is_empty() {
        return Err("holds no `BEGIN CERTIFICATE` block: store a PEM certificate there".into());
    }
    Ok(found)
}

fn parse_chain<'a>(
    chain: &'a [CertificateDer<'static>],
    key: &str,
) -> Result<Vec<X509Certificate<'a>>, MaterialError> {
    let parse = |der: &'a CertificateDer<'static>| match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err(MaterialError::new(
            Reason::InvalidPEM,
            format!("`{key}` holds a block that is not an X.509 certificate: store it anew"),
        )),
    };
    chain.iter().map(parse).collect()
}

fn check_pair(
    chain: &[CertificateDer<'static>],
    key: &[u8],
) -> Result<PrivateKeyDer<'static>, MaterialError> {
    if key.trim_ascii().is_empty() {
        return Err(MaterialError::new(
            Reason::InvalidPEM,
            "`tls.key` is empty: store the private key there",
        ));
    }
    let invalid = |what: &str| MaterialError::new(Reason::InvalidPEM, format!("`tls.key` {what}"));
    let der = PrivateKeyDer::from_pem_slice(key)
        .map_err(|_| invalid("holds no PEM private key (PKCS#1, PKCS#8 or SEC1, not encrypted)"))?;
    let signer = any_supported_type(&der).map_err(|_| {
        invalid("is no key we know (RSA ≥ 2048 bits, ECDSA P-256/P-384/P-521, Ed25519)")
    })?;
    match CertifiedKey::new(chain.to_vec(), signer).keys_match() {
        Ok(()) => Ok(der),
        Err(rustls::Error::InconsistentKeys(_)) => Err(MaterialError::new(
            Reason::KeyMismatch,
            "`tls.key` is not the key of the certificate in `tls.crt`: write both in one update, as cert-manager does",
        )),
        Err(error) => Err(MaterialError::new(
            Reason::InvalidPEM,
            format!(
                "the certificate in `tls.crt` cannot be used for TLS ({error}): issue it anew as X.509 v3"
            ),
        )),
    }
}

fn check_order(chain: &[X509Certificate<'_>]) -> Result<(), MaterialError> {
    let broken = chain
        .windows(2)
        .any(|pair| pair[0].issuer() != pair[1].subject());
    if broken {
        return Err(MaterialError::new(
            Reason::BadChain,
            "`tls.crt` is not a chain: put the leaf first and each issuer after what it signed",
        ));
    }
    Ok(())
}

fn check_length(chain: &[CertificateDer<'_>]) -> Result<(), MaterialError> {
    let size: usize = chain.iter().map(|certificate| certificate.len()).sum();
    if size > MAX_CHAIN_BYTES {
        return Err(MaterialError::new(
            Reason::BadChain,
            format!(
                "`tls.crt` is a chain of {size} bytes, more than the {MAX_CHAIN_BYTES} that TLS is sure to take: \
                 keep the leaf and its intermediates only"
            ),
        ));
    }
    Ok(())
}

/// cert-manager can put a throw-away certificate in place until the real one
/// is issued; it is signed by nobody and must not be offered.
fn refuse_temporary(leaf: &X509Certificate<'_>) -> Result<(), MaterialError> {
    let issuer = leaf
        .issuer()
        .iter_common_name()
        .next()
        .and_then(|name| name.as_str().ok());
    if issuer == Some("cert-manager.local") {
        return Err(MaterialError::new(
            Reason::TemporaryCertificate,
            "`tls.crt` is cert-manager's temporary certificate: wait until the real one is issued",
        ));
    }
    Ok(())
}

fn check_validity(
    chain: &[X509Certificate<'_>],
    key: &str,
    now: Now,
) -> Result<Validity, MaterialError> {
    let mut whole: Option<Validity> = None;
    for certificate in chain {
        let (start, end) = validity(certificate);
        if now.wall < start {
            return Err(MaterialError {
                until: Some(start),
                ..MaterialError::new(
                    Reason::NotYetValid,
                    format!(
                        "a certificate in `{key}` is not valid before {start}: check the clocks, or wait"
                    ),
                )
            });
        }
        if now.wall >= end {
            return Err(MaterialError::new(
                Reason::Expired,
                format!(
                    "a certificate in `{key}` expired at {end}: renew it (`cmctl renew <certificate>`)"
                ),
            ));
        }
        let leaf = whole.get_or_insert(Validity {
            not_before: start,
            not_after: end,
        });
        leaf.not_after = leaf.not_after.min(end);
    }
    whole.ok_or_else(|| MaterialError::new(Reason::InvalidPEM, format!("`{key}` is empty")))
}

/// In seconds; leaves room to add to.
const YEAR_9000: i64 = 221_845_392_000;

fn validity(certificate: &X509Certificate<'_>) -> (Timestamp, Timestamp) {
    // 99991231235959Z, 'no well-defined end' (RFC 5280, 4.1.2.5), is beyond
    // what a Timestamp holds.
    let at = |time: x509_parser::time::ASN1Time| {
        let second = time.timestamp().clamp(0, YEAR_9000);
        Timestamp::from_second(second).unwrap_or(Timestamp::UNIX_EPOCH)
    };
    let validity = certificate.validity();
    (at(validity.not_before), at(validity.not_after))
}

fn check_usage(leaf: &X509Certificate<'_>) -> Result<(), MaterialError> {
    let wrong = |message: &str| Err(MaterialError::new(Reason::WrongKeyUsage, message));
    match leaf.extended_key_usage() {
        Ok(None) => Ok(()),
        Ok(Some(usage)) if usage.value.client_auth || usage.value.any => Ok(()),
        Ok(Some(_)) => wrong(
            "the certificate in `tls.crt` is not for clients: add usage `client auth` to its Certificate",
        ),
        Err(_) => wrong("the certificate in `tls.crt` states its usages twice: issue it anew"),
    }
}
