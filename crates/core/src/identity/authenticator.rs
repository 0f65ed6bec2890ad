//! The authenticators of the configuration, and what each makes of a link.

use std::{fmt, sync::Arc};

use jiff::Timestamp;
use opamp_operator_api::values::{Identity, IdentityMethod};
use opamp_wire::InstanceUid;
use rustls::{
    RootCertStore,
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};
use rustls_pki_types::{CertificateDer, UnixTime};
use subtle::{Choice, ConstantTimeEq as _};

use super::{
    Bearer, Digest, Fingerprint, Home, JwtKeys, JwtRules, KeyRing, Presented, Vouched, Voucher,
    certificate::holder,
};
use crate::Now;

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
        /// Where the holders are at home.
        home: Home,
        /// Of the CAs in force.
        verifier: Arc<dyn ClientCertVerifier>,
        /// Of CAs that left, and when.
        retired: Vec<(Arc<dyn ClientCertVerifier>, Timestamp)>,
    },
    /// Tokens of a Secret.
    Token {
        /// As configured.
        name: String,
        /// Home namespace: that of the Secret.
        namespace: String,
        /// Name of the Secret.
        secret: String,
        /// What it says.
        tokens: Arc<Tokens>,
    },
    /// Tokens of Kubernetes ServiceAccounts.
    ServiceAccount {
        /// As configured.
        name: String,
        /// The only audience that will do.
        audience: String,
    },
    /// JSON Web Tokens of an issuer.
    Jwt {
        /// As configured.
        name: String,
        /// How they are read.
        rules: Arc<JwtRules>,
        /// The issuer's keys.
        keys: JwtKeys,
    },
}

/// What a token Secret says; tokens are known by fingerprint only.
#[derive(Clone, Default)]
pub struct Tokens {
    /// Of `Bearer <token>`.
    pub accepted: Vec<Fingerprint>,
    /// Tokens that are revoked.
    pub revoked: Vec<Fingerprint>,
    /// All of them are, and whoever came by one.
    pub all_revoked: bool,
    /// When they end.
    pub expires: Option<Timestamp>,
    /// What binds their holders.
    pub terms: Terms,
    /// Keyed digests of tokens that left, and when.
    pub retired: Vec<(Digest, Timestamp)>,
}

/// What binds the holders of an identity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Instance UIDs that may be bound to it.
    pub max_agents: Option<usize>,
    /// The only instance UIDs that it may speak for.
    pub allowed: Option<Vec<InstanceUid>>,
}

impl Terms {
    /// May the identity speak for this instance UID?
    #[must_use]
    pub fn allow(&self, uid: InstanceUid) -> bool {
        let among = |allowed: &Vec<InstanceUid>| allowed.contains(&uid);
        self.allowed.as_ref().is_none_or(among)
    }
}

/// A client CA bundle that cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the client CA bundle holds no usable certificate authority: {0}")]
pub struct TrustError(String);

/// Judges by the CAs of `bundle`.
///
/// # Errors
/// If one of them cannot anchor trust.
pub fn client_verifier(
    bundle: &[CertificateDer<'static>],
) -> Result<Arc<dyn ClientCertVerifier>, TrustError> {
    let mut roots = RootCertStore::empty();
    for der in bundle {
        roots
            .add(der.clone())
            .map_err(|error| TrustError(error.to_string()))?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| TrustError(error.to_string()))
}

impl Authenticator {
    /// Certificates under the CAs of `bundle`, whose holders are at home in
    /// one namespace.
    ///
    /// # Errors
    /// If no certificate of the bundle can anchor trust.
    pub fn certificate(
        name: &str,
        namespace: &str,
        bundle: &[CertificateDer<'static>],
    ) -> Result<Self, TrustError> {
        Ok(Self::Certificate {
            name: name.into(),
            home: Home::Namespace(namespace.into()),
            verifier: client_verifier(bundle)?,
            retired: Vec::new(),
        })
    }

    /// Tokens that are in force, by the fingerprint of `Bearer <token>`.
    #[must_use]
    pub fn token(
        name: &str,
        namespace: &str,
        secret: &str,
        accepted: impl IntoIterator<Item = Fingerprint>,
    ) -> Self {
        Self::Token {
            name: name.into(),
            namespace: namespace.into(),
            secret: secret.into(),
            tokens: Arc::new(Tokens {
                accepted: accepted.into_iter().collect(),
                ..Tokens::default()
            }),
        }
    }

    /// As configured.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Unknown { name }
            | Self::Certificate { name, .. }
            | Self::Token { name, .. }
            | Self::ServiceAccount { name, .. }
            | Self::Jwt { name, .. } => name,
        }
    }

    /// What it makes of a link.
    pub(super) fn judge(&self, presented: &Presented, bearer: &Bearer, now: Now) -> Answer {
        match self {
            Self::Unknown { .. } => Answer::NotYet,
            Self::Token { tokens, .. } => {
                let over = tokens.expires.is_some_and(|end| end <= now.wall);
                let shown = presented.authorization;
                if over || !shown.is_some_and(|shown| among(&tokens.accepted, &shown)) {
                    return Answer::No;
                }
                self.token_identity().map_or(Answer::No, |identity| {
                    Answer::Yes(Box::new(Proved {
                        until: tokens.expires,
                        terms: tokens.terms.clone(),
                        ..Proved::by(identity)
                    }))
                })
            }
            Self::Certificate { verifier, .. } => self
                .holder(&**verifier, presented, now)
                .map_or(Answer::No, |identity| {
                    Answer::Yes(Box::new(Proved::by(identity)))
                }),
            Self::ServiceAccount { name, .. } | Self::Jwt { name, .. } => match bearer {
                Bearer::NotYet => Answer::NotYet,
                Bearer::Vouched(vouched)
                    if vouched.identity.authenticator == *name && self.still_trusts(vouched) =>
                {
                    Answer::Yes(Box::new(Proved {
                        until: vouched.expires,
                        vouched: Some(Arc::clone(vouched)),
                        ..Proved::by(vouched.identity.clone())
                    }))
                }
                Bearer::Nobody | Bearer::Vouched(_) => Answer::No,
            },
        }
    }

    fn still_trusts(&self, vouched: &Vouched) -> bool {
        match (self, &vouched.by) {
            (Self::Jwt { keys, .. }, Voucher::Key(key)) => keys.has(key),
            (Self::ServiceAccount { .. }, Voucher::Kubernetes { .. }) => true,
            _ => false,
        }
    }

    /// Whom a credential proves that left its object, and when it left.
    pub(super) fn judge_retired(
        &self,
        presented: &Presented,
        keys: &KeyRing,
        now: Now,
    ) -> Option<(Identity, Timestamp)> {
        match self {
            Self::Token { tokens, .. } => {
                let shown = presented.authorization.as_ref()?;
                let left = shown
                    .authorization_candidates(keys)
                    .find_map(|digest| tokens.retired.iter().find(|(left, _)| *left == digest))?;
                Some((self.token_identity()?, left.1))
            }
            Self::Certificate { retired, .. } => retired.iter().find_map(|(verifier, since)| {
                Some((self.holder(&**verifier, presented, now)?, *since))
            }),
            _ => None,
        }
    }

    /// Whoever has one of its tokens.
    pub(super) fn token_identity(&self) -> Option<Identity> {
        let Self::Token {
            name,
            namespace,
            secret,
            ..
        } = self
        else {
            return None;
        };
        Some(Identity {
            namespace: namespace.clone(),
            method: IdentityMethod::AgentToken,
            authenticator: name.clone(),
            subject: secret.clone(),
        })
    }

    fn holder(
        &self,
        verifier: &dyn ClientCertVerifier,
        presented: &Presented,
        now: Now,
    ) -> Option<Identity> {
        let Self::Certificate { name, home, .. } = self else {
            return None;
        };
        let (leaf, rest) = presented.chain.split_first()?;
        let at = u64::try_from(now.wall.as_second()).unwrap_or_default();
        let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(at));
        verifier.verify_client_cert(leaf, rest, time).ok()?;
        let (subject, namespace) = holder(leaf, home)?;
        Some(Identity {
            namespace,
            method: IdentityMethod::ClientCertificate,
            authenticator: name.clone(),
            subject,
        })
    }
}

/// What an authenticator says of a link.
pub(super) enum Answer {
    Yes(Box<Proved>),
    No,
    NotYet,
}

pub(super) struct Proved {
    pub(super) identity: Identity,
    pub(super) until: Option<Timestamp>,
    pub(super) terms: Terms,
    pub(super) vouched: Option<Arc<Vouched>>,
}

impl Proved {
    fn by(identity: Identity) -> Self {
        Self {
            identity,
            until: None,
            terms: Terms::default(),
            vouched: None,
        }
    }
}

/// Looks at every one, and at all of each: how long it takes tells nothing of
/// how much was right.
pub(super) fn among(known: &[Fingerprint], shown: &Fingerprint) -> bool {
    let equal = |all: Choice, one: &Fingerprint| all | one.as_bytes().ct_eq(shown.as_bytes());
    known.iter().fold(Choice::from(0), equal).into()
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { name } => write!(f, "Unknown({name})"),
            Self::Certificate { name, .. } => write!(f, "Certificate({name})"),
            Self::Token { name, tokens, .. } => write!(f, "Token({name}, {tokens:?})"),
            Self::ServiceAccount { name, audience } => {
                write!(f, "ServiceAccount({name}, {audience})")
            }
            Self::Jwt { name, keys, .. } => write!(f, "Jwt({name}, {keys:?})"),
        }
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tokens", self.accepted.len())
    }
}
