//! Secrets that are broken in every way people have seen, and what a profile
//! must say of each.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::manifests::{CLIENT_TLS, offerable_secret, offerable_tls, secret, with_pair};
use crate::pki::{DAY, KeyKind, Leaf, Window};
use crate::scene::Scene;
use crate::state::Condition;

/// A broken Secret, and the condition and reason the profile must give.
#[derive(Clone, Debug)]
pub struct Case {
    /// What is wrong, in words.
    pub what: &'static str,
    /// None: it does not exist.
    pub secret: Option<Value>,
    /// The condition that must be False.
    pub condition: &'static str,
    /// Its reason; none: the profile must be Ready.
    pub reason: &'static str,
    /// What its message must name, so that it helps.
    pub names: &'static str,
}

impl Case {
    /// Whether a profile's status says what it should, and how to help it.
    #[must_use]
    pub fn is_told_by(&self, status: &Value) -> bool {
        let told = |kind, parts: &[&str]| {
            let condition = Condition::of(status, kind);
            condition.is_some_and(|condition| {
                let names = parts.iter().all(|part| condition.message.contains(part));
                names && condition.is("False", self.reason)
            })
        };
        if self.reason.is_empty() {
            return Condition::of(status, "Ready").is_some_and(|ready| ready.is("True", ""));
        }
        // The summary says as well what agents go on with.
        told(self.condition, &[self.names])
            && told("Ready", &[self.names, "revision 1 stays in force"])
    }
}

/// All cases, with a Secret of this type; the last one is back to `good`.
///
/// # Errors
/// When a certificate cannot be made.
pub fn cases(scene: &mut Scene, good: &Leaf, of_type: &str) -> Result<Vec<Case>> {
    let mut leaf = |name: &str, window| scene.client_leaf(name, KeyKind::EcdsaP256, window);
    let month = Window::lasting(30 * DAY);
    let (fresh, other) = (leaf("fresh", month)?, leaf("other", month)?);
    let (expired, early) = (
        leaf("expired", Window::expired())?,
        leaf("early", Window::not_yet())?,
    );
    let empty = || offerable_secret(CLIENT_TLS, &[]);
    let pair = |certificate: &str, key: &str| with_pair(empty(), certificate, key);
    let mut without_key = offerable_tls(CLIENT_TLS, &fresh);
    let data = without_key["data"].as_object_mut().context("data")?;
    data.remove("tls.key");
    let unlabelled = with_pair(secret(CLIENT_TLS, &[]), &fresh.certificate, &fresh.key);
    let case = |what, mut secret: Value, reason, names| {
        secret["type"] = json!(of_type);
        Case {
            what,
            secret: Some(secret),
            condition: match reason {
                "Expired" | "NotYetValid" => "CredentialsValid",
                _ => "ResolvedRefs",
            },
            reason,
            names,
        }
    };
    let gone = Case {
        what: "no Secret at all",
        secret: None,
        condition: "ResolvedRefs",
        reason: "SecretNotFound",
        names: "kubectl get secret -n",
    };
    let key_of_other = pair(&fresh.certificate, &other.key);
    let label = "kubectl label secret fleet-client-tls -n";
    Ok(vec![
        case(
            "the key of another certificate",
            key_of_other,
            "KeyMismatch",
            "tls.key",
        ),
        case(
            "no PEM as certificate",
            pair("garbage", &fresh.key),
            "InvalidPEM",
            "tls.crt",
        ),
        case(
            "no PEM as key",
            pair(&fresh.certificate, "garbage"),
            "InvalidPEM",
            "tls.key",
        ),
        case(
            "an expired certificate",
            offerable_tls(CLIENT_TLS, &expired),
            "Expired",
            "tls.crt",
        ),
        case(
            "a certificate of tomorrow",
            offerable_tls(CLIENT_TLS, &early),
            "NotYetValid",
            "tls.crt",
        ),
        case("no tls.key", without_key, "KeyMissing", "tls.key"),
        case("no data", empty(), "KeyMissing", "tls.crt"),
        case("empty values", pair("", ""), "InvalidPEM", "tls.crt"),
        case("no label", unlabelled, "SecretNotOptedIn", label),
        gone,
        // Back to what the agent has: not even this is offered again.
        case("", offerable_tls(CLIENT_TLS, good), "", ""),
    ])
}
