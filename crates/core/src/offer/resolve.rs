//! Profile and objects → draft, or the one reason why not. Pure.
//!
//! The CRD's rules were judged before; whatever could lock an agent out is
//! checked here again, since an object may be older than its schema.

use std::sync::Arc;

use jiff::Timestamp;
use opamp_operator_api::{
    reason::{ConditionType, Reason},
    v1alpha1::{
        BundleKind, CertificateSource, Compatibility, HeaderSetting, OpAMPConnectionProfileSpec,
        SecretKeyRef, SystemCAs,
    },
    values::{ObjectKind, ObjectRef, ProfileKey},
};
use zeroize::Zeroizing;

use super::{
    Context, Draft, Object, Observed, Outcome, ReferenceState, Refusal, Resolution,
    check::{credential, endpoint, header_value},
    encode::Plan,
    lockout,
    material::{Bundle, ClientMaterial, MaterialError},
    outcome::{Stop, refused},
    references,
};
use crate::{Now, earliest};

/// Largest `opamp` section, so that every agent's receive limit holds it.
const MAX_SECTION_BYTES: usize = 256 * 1024;
/// Types of Secrets that are credentials of the cluster itself.
const REFUSED_TYPES: [&str; 4] = [
    "kubernetes.io/service-account-token",
    "bootstrap.kubernetes.io/token",
    "helm.sh/release.v1",
    "opamp-operator.dev/agent-token",
];

/// Resolves a profile; `observe` says what is known of an object.
pub fn resolve<'a>(
    key: &ProfileKey,
    spec: &OpAMPConnectionProfileSpec,
    observe: impl Fn(&ObjectRef) -> &'a Observed,
    context: &Context<'_>,
    now: Now,
) -> Resolution {
    let mut resolver = Resolver {
        key,
        spec,
        observe,
        now,
        references: Vec::new(),
        until: None,
    };
    let outcome = match resolver.draft(context) {
        Ok(draft) => Outcome::Resolved(Box::new(draft)),
        Err(Stop::Pending) => Outcome::Pending,
        Err(Stop::Refused(refusal)) => Outcome::Unresolved(refusal),
    };
    Resolution {
        outcome,
        references: resolver.references,
        until: resolver.until,
    }
}

/// What keeps a profile's objects from being offered, as far as that can be
/// said away from the operator that would offer them: whether agents could come
/// back is not asked. None also while one of the objects is not known.
pub fn preview<'a>(
    key: &ProfileKey,
    spec: &OpAMPConnectionProfileSpec,
    observe: impl Fn(&ObjectRef) -> &'a Observed,
    advertised_url: &url::Url,
    now: Now,
) -> Option<Refusal> {
    let mut resolver = Resolver {
        key,
        spec,
        observe,
        now,
        references: Vec::new(),
        until: None,
    };
    match resolver.plan(advertised_url) {
        Err(Stop::Refused(refusal)) => Some(refusal),
        Ok(_) | Err(Stop::Pending) => None,
    }
}

/// A client certificate and, where it is offered, the `ca.crt` beside it.
type ClientPair = (ClientMaterial, Option<Vec<u8>>);

struct Resolver<'a, F> {
    key: &'a ProfileKey,
    spec: &'a OpAMPConnectionProfileSpec,
    observe: F,
    now: Now,
    references: Vec<ReferenceState>,
    until: Option<Timestamp>,
}

impl<'a, F: Fn(&ObjectRef) -> &'a Observed> Resolver<'_, F> {
    fn draft(&mut self, context: &Context<'_>) -> Result<Draft, Stop> {
        // Pending first: a half-read profile changes no condition.
        let names = references(&self.key.namespace, self.spec);
        if names
            .iter()
            .any(|name| *(self.observe)(name) == Observed::Pending)
        {
            return Err(Stop::Pending);
        }
        self.references = names.iter().map(|name| self.reference(name)).collect();
        let plan = self.plan(context.advertised_url)?;
        let credential = credential(&plan);
        lockout::check(&plan, &credential, context, self.now)
            .map_err(|message| refused(ConditionType::Accepted, Reason::WouldLockOut, message))?;
        // At the end of our own certificate nobody could come back any more.
        self.until = earliest(self.until, context.serving.map(|serving| serving.not_after));
        self.until = earliest(self.until, credential.not_after);
        let draft = Draft::new(
            self.key.clone(),
            Arc::new(self.spec.agent_selector.clone()),
            plan.settings(),
            credential,
            plan.trust(),
            context.keys,
        );
        if draft.encoded_len() > MAX_SECTION_BYTES {
            let message = format!(
                "the settings are {} bytes, more than the {MAX_SECTION_BYTES} an agent is sure to take: \
                 shorten the CA bundle or the headers",
                draft.encoded_len()
            );
            return Err(refused(
                ConditionType::Accepted,
                Reason::OfferTooLarge,
                message,
            ));
        }
        Ok(draft)
    }

    fn plan(&mut self, advertised_url: &url::Url) -> Result<Plan, Stop> {
        let opamp = &self.spec.opamp;
        let endpoint = endpoint(opamp.endpoint.as_deref(), advertised_url)?;
        let tls = matches!(endpoint.scheme(), "wss" | "https");
        let headers = opamp
            .headers
            .iter()
            .map(|header| self.header(header, tls))
            .collect::<Result<_, _>>()?;
        let client = self.client_certificate()?;
        let bundle = self.bundle()?;
        let system_roots = opamp.tls.system_cas == SystemCAs::Include;
        if tls && bundle.is_none() != system_roots {
            return Err(refused(
                ConditionType::Accepted,
                Reason::InvalidSpec,
                "`tls` must name exactly one kind of trust: `caBundleRef`, or `systemCAs: Include`",
            ));
        }
        let (client, client_ca) = client.map_or((None, None), |(c, ca)| (Some(c), ca));
        if !tls && (client.is_some() || bundle.is_some()) {
            return Err(refused(
                ConditionType::Accepted,
                Reason::InsecureNotAllowed,
                "credentials never travel in the clear: `endpoint` must be wss:// or https://",
            ));
        }
        Ok(Plan {
            endpoint,
            compatibility: opamp.compatibility,
            // 0 would switch heartbeats off, or an HTTP agent for good (H3).
            heartbeat_seconds: u64::from(opamp.heartbeat_interval_seconds).max(1),
            headers,
            client,
            client_ca,
            bundle,
            system_roots,
        })
    }

    fn header(
        &self,
        header: &HeaderSetting,
        tls: bool,
    ) -> Result<(String, Zeroizing<String>), Stop> {
        let value = match (&header.value, &header.value_from) {
            (Some(value), None) => Zeroizing::new(value.clone()),
            (None, Some(_)) if !tls => {
                return Err(refused(
                    ConditionType::Accepted,
                    Reason::InsecureNotAllowed,
                    format!(
                        "header `{}` comes from a Secret and never travels in the clear: `endpoint` must be wss:// or https://",
                        header.name
                    ),
                ));
            }
            (None, Some(source)) => {
                let bytes = self.secret_value(&source.secret_key_ref)?;
                let text = std::str::from_utf8(bytes).unwrap_or("\u{0}");
                Zeroizing::new(format!(
                    "{}{text}",
                    source.prefix.as_deref().unwrap_or_default()
                ))
            }
            _ => {
                return Err(refused(
                    ConditionType::Accepted,
                    Reason::InvalidSpec,
                    format!(
                        "header `{}` must have exactly one of `value` and `valueFrom`",
                        header.name
                    ),
                ));
            }
        };
        header_value(&header.name, &value)?;
        Ok((header.name.clone(), value))
    }

    fn secret_value(&self, reference: &SecretKeyRef) -> Result<&'a [u8], Stop> {
        let object = self.offerable_secret(&reference.name)?;
        self.value(object, "Secret", &reference.name, &reference.key)
    }

    fn value(
        &self,
        object: &'a Object,
        kind: &str,
        name: &str,
        key: &str,
    ) -> Result<&'a [u8], Stop> {
        object.get(key).ok_or_else(|| {
            let there: Vec<_> = object.data.keys().map(String::as_str).collect();
            refused(
                ConditionType::ResolvedRefs,
                Reason::KeyMissing,
                format!(
                    "{kind} `{name}` has no key `{key}` (it has: {}): see `kubectl describe {} {name} -n {}`",
                    if there.is_empty() { "none".to_owned() } else { there.join(", ") },
                    kind.to_lowercase(),
                    self.key.namespace
                ),
            )
        })
    }

    fn client_certificate(&mut self) -> Result<Option<ClientPair>, Stop> {
        let certificate = &self.spec.opamp.client_certificate;
        let name = match (certificate.source, &certificate.secret_ref) {
            (CertificateSource::None, None) => return Ok(None),
            (CertificateSource::Secret, Some(reference)) => &reference.name,
            _ => {
                return Err(refused(
                    ConditionType::Accepted,
                    Reason::InvalidSpec,
                    "`clientCertificate.secretRef` must be there exactly when `source` is Secret",
                ));
            }
        };
        let object = self.offerable_secret(name)?;
        let crt = self.value(object, "Secret", name, "tls.crt")?;
        let key = self.value(object, "Secret", name, "tls.key")?;
        let material = ClientMaterial::read(crt, key, self.now)
            .map_err(|error| self.broken("Secret", name, &error))?;
        let found = self
            .references
            .iter_mut()
            .find(|r| r.object.kind == ObjectKind::Secret && r.object.name == *name);
        if let Some(reference) = found {
            reference.validity = Some(material.validity);
        }
        let ca = self.client_ca(name, object)?;
        Ok(Some((material, ca)))
    }

    /// The CA beside a client certificate, if it is to be offered: a client
    /// that gets anything else for one may crash (agents.md 1.8). Public
    /// issuers leave it empty.
    fn client_ca(&mut self, name: &str, object: &Object) -> Result<Option<Vec<u8>>, Stop> {
        let strict = self.spec.opamp.compatibility == Compatibility::Strict;
        let pem = object
            .get("ca.crt")
            .filter(|pem| strict && !pem.trim_ascii().is_empty());
        let Some(pem) = pem else { return Ok(None) };
        let ca = Bundle::read(pem, "ca.crt", self.now)
            .map_err(|error| self.broken("Secret", name, &error))?;
        Ok(Some(ca.pem))
    }

    fn bundle(&mut self) -> Result<Option<Bundle>, Stop> {
        let Some(reference) = &self.spec.opamp.tls.ca_bundle_ref else {
            return Ok(None);
        };
        let (kind, object) = match reference.kind {
            BundleKind::ConfigMap => (
                "ConfigMap",
                self.object(ObjectKind::ConfigMap, &reference.name)?,
            ),
            BundleKind::Secret => ("Secret", self.offerable_secret(&reference.name)?),
        };
        if object.type_ == "kubernetes.io/tls" {
            return Err(refused(
                ConditionType::ResolvedRefs,
                Reason::SecretTypeRefused,
                format!(
                    "`tls.caBundleRef` names the TLS Secret `{}`: its `ca.crt` belongs to that leaf and cannot hold \
                     two CAs during a change; use a ConfigMap or an Opaque Secret (trust-manager makes one)",
                    reference.name
                ),
            ));
        }
        let pem = self.value(object, kind, &reference.name, &reference.key)?;
        let bundle = Bundle::read(pem, &reference.key, self.now)
            .map_err(|error| self.broken(kind, &reference.name, &error))?;
        self.until = earliest(self.until, bundle.until);
        Ok(Some(bundle))
    }

    fn broken(&mut self, kind: &str, name: &str, error: &MaterialError) -> Stop {
        self.until = earliest(self.until, error.until);
        let condition = match error.reason {
            Reason::Expired | Reason::NotYetValid | Reason::TemporaryCertificate => {
                ConditionType::CredentialsValid
            }
            _ => ConditionType::ResolvedRefs,
        };
        refused(condition, error.reason, format!("{kind} `{name}`: {error}"))
    }

    fn offerable_secret(&self, name: &str) -> Result<&'a Object, Stop> {
        let object = self.object(ObjectKind::Secret, name)?;
        let namespace = &self.key.namespace;
        if REFUSED_TYPES.contains(&object.type_.as_str()) {
            return Err(refused(
                ConditionType::ResolvedRefs,
                Reason::SecretTypeRefused,
                format!(
                    "Secret `{name}` has type {}, which is never offered: use another Secret",
                    object.type_
                ),
            ));
        }
        if !object.offerable {
            return Err(refused(
                ConditionType::ResolvedRefs,
                Reason::SecretNotOptedIn,
                format!(
                    "Secret `{name}` may not be offered to agents until somebody who owns it agrees: \
                     `kubectl label secret {name} -n {namespace} opamp-operator.dev/offerable=true` \
                     (cert-manager: `secretTemplate.labels` of the Certificate)"
                ),
            ));
        }
        Ok(object)
    }

    fn object(&self, kind: ObjectKind, name: &str) -> Result<&'a Object, Stop> {
        let (reason, word) = match kind {
            ObjectKind::Secret => (Reason::SecretNotFound, "Secret"),
            ObjectKind::ConfigMap => (Reason::ConfigMapNotFound, "ConfigMap"),
        };
        let namespace = &self.key.namespace;
        let reference = ObjectRef {
            kind,
            namespace: namespace.clone(),
            name: name.to_owned(),
        };
        match (self.observe)(&reference) {
            Observed::Present(object) => Ok(object),
            Observed::Pending => Err(Stop::Pending),
            Observed::Absent => Err(refused(
                ConditionType::ResolvedRefs,
                reason,
                format!(
                    "{word} `{name}` does not exist in namespace `{namespace}`: create it, or correct the name \
                     (`kubectl get {} -n {namespace}`)",
                    word.to_lowercase()
                ),
            )),
            Observed::Forbidden(remedy) => Err(refused(
                ConditionType::ResolvedRefs,
                Reason::Forbidden,
                format!("the operator may not read {word} `{name}`: {remedy}"),
            )),
        }
    }

    fn reference(&self, object: &ObjectRef) -> ReferenceState {
        let resource_version = match (self.observe)(object) {
            Observed::Present(present) => present.resource_version.clone(),
            _ => None,
        };
        ReferenceState {
            object: object.clone(),
            resource_version,
            validity: None,
        }
    }
}
