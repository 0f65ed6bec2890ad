//! JSON Web Tokens of configured issuers (RFC 7519), judged by their keys.

use jiff::Timestamp;
use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey, Validation, decode, decode_header,
    jwk::{Jwk, PublicKeyUse, ThumbprintHash},
};
use opamp_operator_api::values::{Identity, IdentityMethod};
use serde_json::{Map, Value};

use super::{Fingerprint, Vouched, Voucher};
use crate::{Now, after};

/// Longest token that is looked at.
const MAX_TOKEN: usize = 16 * 1024;
/// Keys of one issuer.
const MAX_KEYS: usize = 64;
/// How far the issuer's clock may be from ours.
const LEEWAY: jiff::SignedDuration = jiff::SignedDuration::from_secs(60);
/// Longest subject and namespace.
const MAX_CLAIM: usize = 253;

/// How an issuer's tokens are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtRules {
    /// Value of `iss`.
    pub issuer: String,
    /// `aud` must hold one of these.
    pub audiences: Vec<String>,
    /// The claim that says who it is.
    pub subject_claim: String,
    /// Where the holders are at home.
    pub namespace: JwtHome,
    /// Claims that must have these values.
    pub required: Vec<(String, String)>,
}

/// Where the holders of an issuer's tokens are at home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JwtHome {
    /// All in one namespace.
    Namespace(String),
    /// In the namespace that this claim says.
    Claim(String),
}

/// Each is read for itself: one that cannot be must not take others with it
/// (RFC 7517, section 5).
#[derive(serde::Deserialize)]
struct KeySet {
    keys: Vec<Value>,
}

/// The keys of an issuer.
#[derive(Clone)]
pub struct JwtKeys(Vec<Key>);

#[derive(Clone)]
struct Key {
    id: Option<String>,
    algorithm: Option<Algorithm>,
    fingerprint: Fingerprint,
    decoding: DecodingKey,
}

impl std::fmt::Debug for JwtKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "JwtKeys({})", self.0.len())
    }
}

impl JwtKeys {
    /// Reads a JSON Web Key Set (RFC 7517). Keys that are not for signatures,
    /// or of a kind that is not known here, are left out.
    ///
    /// # Errors
    /// With what is wrong, if no key can be used.
    pub fn read(json: &[u8]) -> Result<Self, String> {
        // The parser would quote what is there, and that may be a secret which
        // somebody put into the wrong place.
        let set: KeySet = serde_json::from_slice(json).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            format!("it is not a JSON Web Key Set: see line {line}, column {column}")
        })?;
        if set.keys.len() > MAX_KEYS {
            return Err(format!("it has more than {MAX_KEYS} keys"));
        }
        let keys: Vec<_> = set.keys.into_iter().filter_map(Key::read).collect();
        if keys.is_empty() {
            return Err("it has no public key for RS, PS, ES or EdDSA signatures".into());
        }
        Ok(Self(keys))
    }

    pub(super) fn has(&self, fingerprint: &Fingerprint) -> bool {
        self.0.iter().any(|key| key.fingerprint == *fingerprint)
    }
}

impl Key {
    fn read(json: Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(json).ok()?;
        let common = &jwk.common;
        let signs = common.public_key_use.as_ref();
        if signs.is_some_and(|purpose| *purpose != PublicKeyUse::Signature) {
            return None;
        }
        let key = DecodingKey::from_jwk(&jwk).ok()?;
        // A symmetric key in a published set would let anybody sign.
        if key.family() == AlgorithmFamily::Hmac {
            return None;
        }
        let algorithm = match common.key_algorithm {
            Some(algorithm) => Some(algorithm.to_string().parse().ok()?),
            None => None,
        };
        Some(Self {
            id: common.key_id.clone(),
            algorithm,
            fingerprint: Fingerprint::of(jwk.thumbprint(ThumbprintHash::SHA256).ok()?.as_bytes()),
            decoding: key,
        })
    }
}

/// The compact form: three parts of base64url. Anything else is no JWT, and
/// nobody is asked about it.
#[must_use]
pub fn is_jwt(token: &[u8]) -> bool {
    let mut parts = token.split(|byte| *byte == b'.');
    let encoded = |part: &[u8]| {
        !part.is_empty()
            && part
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    token.len() <= MAX_TOKEN && parts.by_ref().take(3).filter(|p| encoded(p)).count() == 3 && {
        parts.next().is_none()
    }
}

/// The audiences that a token names, by its own unproved word: whether it is
/// worth a question to those who can judge it.
#[must_use]
pub fn claimed_audiences(token: &[u8]) -> Vec<String> {
    let claims = is_jwt(token)
        .then(|| jsonwebtoken::dangerous::insecure_decode_claims::<Map<String, Value>>(token));
    match claims {
        Some(Ok(claims)) => strings(claims.get("aud")),
        _ => Vec::new(),
    }
}

/// When a token ends, by its own word: for those that somebody else has proved.
#[must_use]
pub fn claimed_expiry(token: &[u8]) -> Option<Timestamp> {
    let claims: Map<String, Value> =
        jsonwebtoken::dangerous::insecure_decode_claims(is_jwt(token).then_some(token)?).ok()?;
    seconds(claims.get("exp"))
}

/// Whom the token proves to `authenticator`, if anybody.
#[must_use]
pub fn judge(
    authenticator: &str,
    rules: &JwtRules,
    keys: &JwtKeys,
    token: &[u8],
    now: Now,
) -> Option<Vouched> {
    if !is_jwt(token) {
        return None;
    }
    let header = decode_header(token).ok()?;
    // Headers that change what a token means must be understood (RFC 7515,
    // section 4.1.11); we understand none.
    if header.crit.is_some() {
        return None;
    }
    let mut validation = Validation::new(header.alg);
    // By our own clock, below: this one is read by nobody else.
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.set_required_spec_claims(&["exp", "iss", "aud"]);
    validation.set_issuer(&[&rules.issuer]);
    validation.set_audience(&rules.audiences);
    let fits = |key: &&Key| {
        let named = match (&header.kid, &key.id) {
            (Some(wanted), Some(id)) => wanted == id,
            _ => true,
        };
        named
            && key.decoding.family() == header.alg.family()
            && key
                .algorithm
                .is_none_or(|algorithm| algorithm == header.alg)
    };
    let (key, claims) = keys.0.iter().filter(fits).find_map(|key| {
        let decoded = decode::<Map<String, Value>>(token, &key.decoding, &validation).ok()?;
        Some((key, decoded.claims))
    })?;
    let expires = seconds(claims.get("exp"))?;
    let begins = match claims.get("nbf") {
        Some(value) => Some(seconds(Some(value))?),
        None => None,
    };
    if after(expires, LEEWAY) <= now.wall || begins.is_some_and(|begins| begins > now.wall + LEEWAY)
    {
        return None;
    }
    let required = |(claim, value): &(String, String)| {
        strings(claims.get(claim)).iter().any(|held| held == value)
    };
    if !rules.required.iter().all(required) {
        return None;
    }
    let text = |claim: &str| {
        let value = claims.get(claim)?.as_str()?;
        (!value.is_empty() && value.len() <= MAX_CLAIM && !value.chars().any(char::is_control))
            .then(|| value.to_owned())
    };
    let namespace = match &rules.namespace {
        JwtHome::Namespace(namespace) => namespace.clone(),
        JwtHome::Claim(claim) => text(claim)?,
    };
    Some(Vouched {
        identity: Identity {
            namespace,
            method: IdentityMethod::Jwt,
            authenticator: authenticator.to_owned(),
            subject: text(&rules.subject_claim)?,
        },
        by: Voucher::Key(key.fingerprint),
        expires: Some(expires),
        attributes: std::collections::BTreeMap::new(),
    })
}

/// A text, or the texts of a list.
fn strings(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Array(list)) => list
            .iter()
            .filter_map(|item| item.as_str().map(str::to_owned))
            .collect(),
        Some(Value::Bool(value)) => vec![value.to_string()],
        Some(Value::Number(value)) => vec![value.to_string()],
        _ => Vec::new(),
    }
}

/// A NumericDate (RFC 7519, section 2), fractions left out.
fn seconds(value: Option<&Value>) -> Option<Timestamp> {
    let value = value?;
    let whole = value.as_i64().or_else(|| {
        #[expect(clippy::cast_possible_truncation, reason = "a float cast saturates")]
        let whole = value.as_f64()?.floor() as i64;
        Some(whole)
    })?;
    // Some issuers write the end of the year 9999 for 'never', which is later
    // than a Timestamp can be.
    let whole = whole.clamp(0, Timestamp::MAX.as_second());
    Timestamp::from_second(whole).ok()
}
