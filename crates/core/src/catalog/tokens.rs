//! A Secret of agent tokens.

use std::{collections::BTreeSet, sync::Arc};

use opamp_operator_api::values::ObjectRef;

use super::own::{Built, Usable};
use crate::{
    identity::{Authenticator, Fingerprint, Held, KeyRing, Terms, Tokens},
    offer::Object,
};

/// Shortest token that is accepted: shorter ones can be guessed.
const MIN_TOKEN_BYTES: usize = 16;
/// Tokens of one Secret, revoked ones included.
const MAX_TOKENS: usize = 1024;
/// Instance UIDs that a Secret may name.
const MAX_UIDS: usize = 10_000;

/// Reads the Secret: `token` and `token-*`, and what limits them. A token that
/// is none is left out and told; a limit that cannot be read leaves the whole
/// Secret out, since nobody can say how far its tokens reach.
pub(super) fn read(
    name: &str,
    secret: &ObjectRef,
    object: &Object,
    keys: &KeyRing,
) -> Result<Built, String> {
    let is_token = |key: &str| key == "token" || key.starts_with("token-");
    let (mut accepted, mut problem) = (Vec::new(), None);
    for (key, value) in object.data.iter().filter(|(key, _)| is_token(key)) {
        match fingerprint(value) {
            Some(token) => accepted.push(token),
            None => {
                problem = Some(format!(
                    "key `{key}` of {secret} is not a token: it needs {MIN_TOKEN_BYTES} or more visible ASCII characters and no line break"
                ));
            }
        }
    }
    if accepted.len() > MAX_TOKENS {
        return Err(format!("it has more than {MAX_TOKENS} tokens"));
    }
    let (revoked, all_revoked) = revoked(object)?;
    if accepted.is_empty() && problem.is_some() {
        return Ok(Built::Unknown(problem));
    }
    let digest = |token: &Fingerprint| Held::Token(token.keyed_authorization(keys));
    let in_force = |token: &&Fingerprint| !all_revoked && !revoked.contains(token);
    let held: BTreeSet<_> = accepted.iter().filter(in_force).map(digest).collect();
    let gone = revoked
        .iter()
        .chain(accepted.iter().filter(|_| all_revoked));
    let gone = gone.map(digest).collect();
    accepted.retain(|token| !revoked.contains(token));
    let tokens = Tokens {
        accepted,
        revoked,
        all_revoked,
        expires: parsed(object, "expiration", "a time such as 2027-01-31T12:00:00Z")?,
        terms: Terms {
            max_agents: parsed(object, "maxAgents", "a number")?,
            allowed: allowed(object)?,
        },
        retired: Vec::new(),
    };
    Ok(Built::Usable(Box::new(Usable {
        authenticator: Authenticator::Token {
            name: name.to_owned(),
            namespace: secret.namespace.clone(),
            secret: secret.name.clone(),
            tokens: Arc::new(tokens),
        },
        held,
        revoked: gone,
        problem,
    })))
}

fn fingerprint(token: &[u8]) -> Option<Fingerprint> {
    let fits = token.len() >= MIN_TOKEN_BYTES && token.iter().all(u8::is_ascii_graphic);
    fits.then(|| Fingerprint::of_authorization(&[b"Bearer ", token].concat()))
}

/// `true` revokes all; anything else is a list of tokens, one a line.
fn revoked(object: &Object) -> Result<(Vec<Fingerprint>, bool), String> {
    let Some(value) = object.get("revoked") else {
        return Ok((Vec::new(), false));
    };
    match value.trim_ascii() {
        b"true" => return Ok((Vec::new(), true)),
        b"false" => return Ok((Vec::new(), false)),
        _ => {}
    }
    let lines = value.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let tokens: Option<Vec<_>> = lines
        .filter(|line| !line.is_empty())
        .map(fingerprint)
        .collect();
    let tokens = tokens
        .ok_or("key `revoked` must be `true`, or hold the tokens that are revoked, one a line")?;
    if tokens.len() > MAX_TOKENS {
        return Err(format!("key `revoked` has more than {MAX_TOKENS} tokens"));
    }
    Ok((tokens, false))
}

fn allowed(object: &Object) -> Result<Option<Vec<opamp_wire::InstanceUid>>, String> {
    let Some(text) = text(object, "allowedInstanceUIDs")? else {
        return Ok(None);
    };
    let uids: Result<Vec<_>, _> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(str::parse)
        .collect();
    let uids = uids.map_err(|_| "key `allowedInstanceUIDs` must hold instance UIDs, one a line")?;
    if uids.len() > MAX_UIDS {
        return Err(format!(
            "key `allowedInstanceUIDs` has more than {MAX_UIDS} lines"
        ));
    }
    Ok(Some(uids))
}

fn text<'a>(object: &'a Object, key: &str) -> Result<Option<&'a str>, String> {
    let Some(value) = object.get(key) else {
        return Ok(None);
    };
    let text = std::str::from_utf8(value).map_err(|_| format!("key `{key}` is not text"))?;
    Ok(Some(text.trim()).filter(|text| !text.is_empty()))
}

fn parsed<T: std::str::FromStr>(
    object: &Object,
    key: &str,
    what: &str,
) -> Result<Option<T>, String> {
    let Some(text) = text(object, key)? else {
        return Ok(None);
    };
    let value = text
        .parse()
        .map_err(|_| format!("key `{key}` must hold {what}"))?;
    Ok(Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "0123456789abcdef";
    const TWO: &str = "fedcba9876543210";

    fn secret(data: &[(&str, &str)]) -> Result<Built, String> {
        let data = data
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec()));
        let object = Object::new("Opaque", None, data, None);
        let keys = KeyRing::new(vec![[7; 32]]).unwrap();
        read("bootstrap", &ObjectRef::secret("a", "s"), &object, &keys)
    }

    fn tokens(data: &[(&str, &str)]) -> (Tokens, usize, usize) {
        let Ok(Built::Usable(usable)) = secret(data) else {
            panic!("not usable")
        };
        let Authenticator::Token { tokens, .. } = &usable.authenticator else {
            panic!("not tokens")
        };
        ((**tokens).clone(), usable.held.len(), usable.revoked.len())
    }

    #[test]
    fn tokens_and_what_limits_them() {
        let (tokens, held, revoked) = tokens(&[
            ("token", ONE),
            ("token-next", TWO),
            ("revoked", "fedcba9876543210\n"),
            ("expiration", "2030-01-01T00:00:00Z"),
            ("maxAgents", "3"),
            (
                "allowedInstanceUIDs",
                "0192aaaa-0000-7000-8000-000000000001\n",
            ),
        ]);
        assert_eq!((tokens.accepted.len(), tokens.revoked.len()), (1, 1));
        assert_eq!((held, revoked), (1, 1));
        assert!(tokens.expires.is_some());
        assert_eq!(tokens.terms.max_agents, Some(3));
        assert_eq!(tokens.terms.allowed.unwrap().len(), 1);
    }

    #[test]
    fn all_may_be_revoked_at_once() {
        let (tokens, held, revoked) = tokens(&[("token", ONE), ("revoked", "true")]);
        assert!(tokens.all_revoked);
        assert_eq!((held, revoked), (0, 1));
    }

    #[test]
    fn a_limit_that_cannot_be_read_leaves_the_secret_out() {
        for (key, value) in [
            ("revoked", "yes"),
            ("expiration", "tomorrow"),
            ("maxAgents", "-1"),
            ("allowedInstanceUIDs", "x7"),
        ] {
            let error = secret(&[("token", ONE), (key, value)]).unwrap_err();
            assert!(error.contains(key), "{error}");
            assert!(!error.contains(value), "{error}");
        }
    }
}
