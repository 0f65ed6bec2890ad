//! The operator's own objects: authenticators from Secrets and bundles.

use std::{collections::BTreeSet, sync::Arc};

use opamp_operator_api::values::ObjectRef;
use rustls_pki_types::CertificateDer;

use super::tokens;
use crate::{
    Now,
    identity::{Authenticator, Held, HeldBook, Home, JwtKeys, JwtRules, KeyRing, client_verifier},
    offer::{Bundle, Object, Observed},
};

/// An authenticator of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthenticatorSource {
    /// As configured.
    pub name: String,
    /// How it judges, and by what.
    pub kind: SourceKind,
}

/// How an authenticator judges, and by what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceKind {
    /// Tokens under `token` and `token-*`; the home namespace is the Secret's.
    AgentToken {
        /// A Secret.
        object: ObjectRef,
    },
    /// Certificates under the CAs in `key`.
    ClientCertificate {
        /// A Secret or a ConfigMap.
        object: ObjectRef,
        /// Key of the object that holds the bundle.
        key: String,
        /// Where the holders are at home.
        home: Home,
    },
    /// Tokens of ServiceAccounts, by the word of the Kubernetes API.
    ServiceAccount {
        /// The only audience that will do.
        audience: String,
    },
    /// JSON Web Tokens.
    Jwt {
        /// How they are read.
        rules: Arc<JwtRules>,
        /// The issuer's keys.
        keys: KeySource,
    },
}

/// Where the keys of an issuer are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeySource {
    /// Under a key of a Secret or ConfigMap.
    Object(ObjectRef, String),
    /// In a file of the operator's own.
    File(std::path::PathBuf),
    /// At an https URL.
    Url(String),
}

impl AuthenticatorSource {
    /// The object that it reads.
    #[must_use]
    pub fn object(&self) -> Option<&ObjectRef> {
        match &self.kind {
            SourceKind::AgentToken { object } | SourceKind::ClientCertificate { object, .. } => {
                Some(object)
            }
            SourceKind::Jwt {
                keys: KeySource::Object(object, _),
                ..
            } => Some(object),
            SourceKind::ServiceAccount { .. } | SourceKind::Jwt { .. } => None,
        }
    }
}

/// What is known of what an authenticator reads.
#[derive(Clone, Copy, Debug)]
pub enum Material<'a> {
    /// It reads nothing.
    Nothing,
    /// An object.
    Object(&'a Observed),
    /// A file or a page; none before it was read, else what it holds or why it
    /// cannot be had.
    Document(Option<&'a Result<Vec<u8>, String>>),
}

/// What came of building an authenticator.
#[derive(Debug)]
pub enum Built {
    /// It can judge.
    Usable(Box<Usable>),
    /// It cannot, as long as its object is as it is: nobody is refused on its
    /// account, and whoever knew it before keeps what was known. The text says
    /// what is wrong.
    Unknown(Option<String>),
}

/// An authenticator that can judge.
#[derive(Debug)]
pub struct Usable {
    /// Itself.
    pub authenticator: Authenticator,
    /// What it holds, to be remembered when it leaves.
    pub held: BTreeSet<Held>,
    /// What it says is revoked, to be forgotten.
    pub revoked: BTreeSet<Held>,
    /// A part of its object that is broken.
    pub problem: Option<String>,
}

impl Usable {
    fn plain(authenticator: Authenticator) -> Built {
        Built::Usable(Box::new(Self {
            authenticator,
            held: BTreeSet::new(),
            revoked: BTreeSet::new(),
            problem: None,
        }))
    }
}

/// Builds an authenticator from what is known of what it reads. The texts say
/// what is wrong, for the log.
#[must_use]
pub fn authenticator(
    source: &AuthenticatorSource,
    material: Material<'_>,
    keys: &KeyRing,
    now: Now,
) -> Built {
    let name = &source.name;
    match (&source.kind, material) {
        (SourceKind::ServiceAccount { audience }, _) => {
            Usable::plain(Authenticator::ServiceAccount {
                name: name.clone(),
                audience: audience.clone(),
            })
        }
        (SourceKind::Jwt { rules, .. }, Material::Document(read)) => match read {
            None => Built::Unknown(None),
            Some(Ok(json)) => jwt(name, rules, json),
            Some(Err(problem)) => Built::Unknown(Some(problem.clone())),
        },
        (kind, Material::Object(observed)) => {
            let (Some(named), object) = (source.object(), observed) else {
                return Built::Unknown(None);
            };
            let object = match present(named, object) {
                Ok(object) => object,
                Err(problem) => return Built::Unknown(problem),
            };
            let told = |problem: String| Built::Unknown(Some(format!("{named}: {problem}")));
            match kind {
                SourceKind::AgentToken { object: secret } => {
                    tokens::read(name, secret, object, keys).unwrap_or_else(told)
                }
                SourceKind::ClientCertificate { key, home, .. } => {
                    bundle(name, object, key, home, now).unwrap_or_else(told)
                }
                SourceKind::Jwt {
                    rules,
                    keys: KeySource::Object(_, key),
                } => match object.get(key) {
                    Some(json) => match jwt(name, rules, json) {
                        Built::Unknown(Some(problem)) => told(problem),
                        built => built,
                    },
                    None => told(format!("it has no key `{key}`")),
                },
                SourceKind::Jwt { .. } | SourceKind::ServiceAccount { .. } => Built::Unknown(None),
            }
        }
        _ => Built::Unknown(None),
    }
}

/// Gives an authenticator what it held before, so that those who came by it are
/// known.
pub fn remember(authenticator: &mut Authenticator, book: &HeldBook) {
    let name = authenticator.name().to_owned();
    match authenticator {
        Authenticator::Token { tokens, .. } => {
            let token = |(held, left): (&Held, _)| match held {
                Held::Token(digest) => Some((*digest, left)),
                Held::Authority(_) => None,
            };
            Arc::make_mut(tokens).retired = book.retired(&name).filter_map(token).collect();
        }
        Authenticator::Certificate { retired, .. } => {
            let authority = |(held, left): (&Held, _)| match held {
                Held::Authority(digits) => {
                    let der = CertificateDer::from(hex::decode(digits).ok()?);
                    Some((client_verifier(&[der]).ok()?, left))
                }
                Held::Token(_) => None,
            };
            *retired = book.retired(&name).filter_map(authority).collect();
        }
        _ => {}
    }
}

fn present<'a>(named: &ObjectRef, observed: &'a Observed) -> Result<&'a Object, Option<String>> {
    match observed {
        Observed::Pending => Err(None),
        Observed::Forbidden(remedy) => Err(Some(format!("{named} may not be read: {remedy}"))),
        // Objects that are replaced are away for a moment.
        Observed::Absent => Err(Some(format!("{named} does not exist"))),
        Observed::Present(object) => Ok(object),
    }
}

fn jwt(name: &str, rules: &Arc<JwtRules>, json: &[u8]) -> Built {
    match JwtKeys::read(json) {
        Ok(keys) => Usable::plain(Authenticator::Jwt {
            name: name.to_owned(),
            rules: Arc::clone(rules),
            keys,
        }),
        Err(problem) => Built::Unknown(Some(problem)),
    }
}

fn bundle(name: &str, object: &Object, key: &str, home: &Home, now: Now) -> Result<Built, String> {
    let pem = object
        .get(key)
        .ok_or_else(|| format!("it has no key `{key}`"))?;
    let bundle = Bundle::read(pem, key, now).map_err(|error| error.to_string())?;
    let authorities = &bundle.certificates;
    let verifier = client_verifier(authorities).map_err(|error| error.to_string())?;
    let held = |der: &CertificateDer<'_>| Held::Authority(hex::encode(der));
    Ok(Built::Usable(Box::new(Usable {
        authenticator: Authenticator::Certificate {
            name: name.to_owned(),
            home: home.clone(),
            verifier,
            retired: Vec::new(),
        },
        held: authorities.iter().map(held).collect(),
        revoked: BTreeSet::new(),
        problem: None,
    })))
}
