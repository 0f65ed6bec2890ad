//! Everything that can prove who somebody is, as one immutable value.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    sync::Arc,
};

use jiff::Timestamp;
use opamp_operator_api::values::{Identity, IdentityMethod, ProfileKey};
use rustls::{
    RootCertStore,
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};
use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use super::{Digest, Fingerprint, KeyRing, Ledger, Marker, Presented, ledger::EXPIRED_GRACE};
use crate::{Now, earliest};

/// A primary authenticator of the configuration, in its order.
#[derive(Clone)]
pub enum Authenticator {
    /// Its objects are not read yet: nobody is refused on its account.
    Unknown {
        /// As configured.
        name: String,
    },
    /// Client certificates under a configured CA.
    Certificate {
        /// As configured.
        name: String,
        /// Home namespace of whoever proves itself by it.
        namespace: String,
        /// None admits nobody: the CA object is absent or broken.
        verifier: Option<Arc<dyn ClientCertVerifier>>,
    },
    /// Tokens of a Secret, known by fingerprint only.
    Token {
        /// As configured.
        name: String,
        /// Home namespace: that of the Secret.
        namespace: String,
        /// Name of the Secret.
        secret: String,
        /// Of `Bearer <token>`.
        tokens: BTreeSet<Fingerprint>,
    },
}

/// A client CA bundle that cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the client CA bundle holds no usable certificate authority: {0}")]
pub struct TrustError(String);

impl Authenticator {
    /// Certificates under the CAs of `bundle`.
    ///
    /// # Errors
    /// If no certificate of the bundle can anchor trust.
    pub fn certificate(
        name: &str,
        namespace: &str,
        bundle: &[CertificateDer<'static>],
    ) -> Result<Self, TrustError> {
        let mut roots = RootCertStore::empty();
        for der in bundle {
            roots
                .add(der.clone())
                .map_err(|error| TrustError(error.to_string()))?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|error| TrustError(error.to_string()))?;
        Ok(Self::Certificate {
            name: name.into(),
            namespace: namespace.into(),
            verifier: Some(verifier),
        })
    }
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { name } => write!(f, "Unknown({name})"),
            Self::Certificate { name, verifier, .. } => {
                write!(f, "Certificate({name}, usable: {})", verifier.is_some())
            }
            Self::Token { name, tokens, .. } => write!(f, "Token({name}, {} tokens)", tokens.len()),
        }
    }
}

/// A credential that we offered ourselves: of which profile's revision.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Recognition {
    /// Whose revision offered it.
    pub profile: ProfileKey,
    /// Number of the newest such revision.
    pub number: u64,
}

/// Who somebody proved to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Proved by an authenticator of the configuration.
    pub primary: Option<Identity>,
    /// What proves it is itself something that we offered: it says how the
    /// agent was provided for and not with what it began.
    pub primary_was_offered: bool,
    /// Proved by what the ledger says we offered.
    pub recognised: BTreeSet<Recognition>,
    /// In the same way, by a certificate that ended not long ago.
    pub expired: BTreeSet<Recognition>,
    /// When the answer may change by time alone.
    pub until: Option<Timestamp>,
}

impl Verdict {
    /// The revisions that what it shows was offered by.
    pub fn shown(&self) -> impl Iterator<Item = &Recognition> {
        self.recognised.iter().chain(&self.expired)
    }
}

/// The answer to 'who is this?'.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Somebody we know.
    Proved(Verdict),
    /// Everybody who could judge said no: 401.
    Refused,
    /// Somebody who could judge has not been heard: 503.
    NotYet,
}

/// An immutable snapshot of everything that can prove an identity.
#[derive(Clone, Debug)]
pub struct Trust {
    authenticators: Vec<Authenticator>,
    keys: KeyRing,
    by_leaf: HashMap<Digest, Vec<(Recognition, Option<Timestamp>)>>,
    by_authorization: HashMap<Digest, Vec<Recognition>>,
    by_marker: HashMap<Marker, Vec<Recognition>>,
}

impl Trust {
    /// From the configuration's authenticators and the ledger.
    #[must_use]
    pub fn new(authenticators: Vec<Authenticator>, keys: KeyRing, ledger: &Ledger) -> Self {
        let mut trust = Self {
            authenticators,
            keys,
            by_leaf: HashMap::new(),
            by_authorization: HashMap::new(),
            by_marker: HashMap::new(),
        };
        for entry in ledger.entries() {
            let recognition = Recognition {
                profile: entry.profile.clone(),
                number: entry.number,
            };
            if let Some(leaf) = entry.leaf {
                let known = trust.by_leaf.entry(leaf).or_default();
                known.push((recognition.clone(), entry.not_after));
            }
            if let Some(authorization) = entry.authorization {
                trust
                    .by_authorization
                    .entry(authorization)
                    .or_default()
                    .push(recognition.clone());
            }
            trust
                .by_marker
                .entry(entry.marker)
                .or_default()
                .push(recognition);
        }
        trust
    }

    /// Who presented this? Recognised credentials are judged first, since they
    /// need nobody's answer.
    #[must_use]
    pub fn verify(&self, presented: &Presented, now: Now) -> Proof {
        let mut verdict = Verdict::default();
        self.recognise(presented, now, &mut verdict);
        let mut all_heard = true;
        for authenticator in &self.authenticators {
            match prove(authenticator, presented, now) {
                Answer::Yes(identity) => {
                    verdict.primary_was_offered = self.was_offered(identity.method, presented);
                    verdict.primary = Some(identity);
                    break;
                }
                Answer::No => {}
                Answer::NotYet => all_heard = false,
            }
        }
        if verdict.primary.is_some() || verdict.shown().next().is_some() {
            Proof::Proved(verdict)
        } else if all_heard {
            Proof::Refused
        } else {
            Proof::NotYet
        }
    }

    /// Which revisions of `profile` show this marker: the highest number.
    #[must_use]
    pub fn revision_of(&self, profile: &ProfileKey, marker: &Marker) -> Option<u64> {
        let known = self.by_marker.get(marker)?;
        known
            .iter()
            .filter(|r| r.profile == *profile)
            .map(|r| r.number)
            .max()
    }

    /// Did the credential by which this method judges come by an offer? A
    /// bootstrap token may be the very one that a profile offers; whoever has
    /// it from an offer shows the marker too, since headers come together.
    fn was_offered(&self, method: IdentityMethod, presented: &Presented) -> bool {
        match method {
            IdentityMethod::ClientCertificate => presented.leaf.is_some_and(|leaf| {
                let mut digests = leaf.leaf_candidates(&self.keys);
                digests.any(|digest| self.by_leaf.contains_key(&digest))
            }),
            IdentityMethod::AgentToken => presented.authorization.is_some_and(|shown| {
                let mut digests = shown.authorization_candidates(&self.keys);
                presented.marker.is_some()
                    && digests.any(|digest| self.by_authorization.contains_key(&digest))
            }),
        }
    }

    fn recognise(&self, presented: &Presented, now: Now, verdict: &mut Verdict) {
        if let Some(leaf) = &presented.leaf {
            for digest in leaf.leaf_candidates(&self.keys) {
                for (recognition, end) in self.by_leaf.get(&digest).into_iter().flatten() {
                    let grace = end.map(|end| end + EXPIRED_GRACE);
                    let (known, until) = if end.is_none_or(|end| now.wall < end) {
                        (&mut verdict.recognised, *end)
                    } else if grace.is_some_and(|grace| now.wall < grace) {
                        (&mut verdict.expired, grace)
                    } else {
                        continue;
                    };
                    known.insert(recognition.clone());
                    verdict.until = earliest(verdict.until, until);
                }
            }
        }
        if let Some(authorization) = &presented.authorization {
            for digest in authorization.authorization_candidates(&self.keys) {
                let known = self.by_authorization.get(&digest).into_iter().flatten();
                verdict.recognised.extend(known.cloned());
            }
        }
    }
}

enum Answer {
    Yes(Identity),
    No,
    NotYet,
}

fn prove(authenticator: &Authenticator, presented: &Presented, now: Now) -> Answer {
    match authenticator {
        Authenticator::Unknown { .. } => Answer::NotYet,
        Authenticator::Token {
            name,
            namespace,
            secret,
            tokens,
        } => {
            let shown = presented.authorization;
            if !shown.is_some_and(|shown| tokens.contains(&shown)) {
                return Answer::No;
            }
            Answer::Yes(Identity {
                namespace: namespace.clone(),
                method: IdentityMethod::AgentToken,
                authenticator: name.clone(),
                subject: secret.clone(),
            })
        }
        Authenticator::Certificate {
            name,
            namespace,
            verifier,
        } => {
            let (Some(verifier), Some((leaf, rest))) = (verifier, presented.chain.split_first())
            else {
                return Answer::No;
            };
            let at = u64::try_from(now.wall.as_second()).unwrap_or_default();
            let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(at));
            if verifier.verify_client_cert(leaf, rest, time).is_err() {
                return Answer::No;
            }
            let Some(subject) = subject_of(leaf) else {
                return Answer::No;
            };
            Answer::Yes(Identity {
                namespace: namespace.clone(),
                method: IdentityMethod::ClientCertificate,
                authenticator: name.clone(),
                subject,
            })
        }
    }
}

/// The name of a certificate's holder: its URI SAN, else its common name. A
/// certificate with neither names nobody.
fn subject_of(leaf: &CertificateDer<'_>) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(leaf).ok()?;
    let uri = certificate
        .subject_alternative_name()
        .ok()
        .flatten()
        .and_then(|san| {
            san.value.general_names.iter().find_map(|name| match name {
                GeneralName::URI(uri) => Some((*uri).to_owned()),
                _ => None,
            })
        });
    let common_name = || {
        let name = certificate.subject().iter_common_name().next()?;
        name.as_str().ok().map(str::to_owned)
    };
    uri.or_else(common_name)
        .filter(|name| !name.is_empty() && name.len() <= 253)
}
