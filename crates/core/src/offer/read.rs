//! What one connection needs, read from its part of the spec and from the
//! objects that this names.

use jiff::Timestamp;
use opamp_operator_api::{
    reason::{ConditionType, Reason},
    v1alpha1::{
        BundleKind, CertificateSource, ClientCertificate, HeaderSetting, HeaderValueSource,
        ProxySettings, SecretKeyRef, ServerTrust, SystemCAs,
    },
    values::{ObjectKind, ObjectRef, ProfileKey},
};
use zeroize::Zeroizing;

use super::{
    Object, Observed, ReferenceState,
    check::header_value,
    connection::{Connection, Proxy, Roots, TlsLimits, Values},
    material::{Bundle, ClientMaterial, MaterialError},
    outcome::{Stop, refused},
};
use crate::{Now, earliest};

/// Types of Secrets that are credentials of the cluster itself.
const REFUSED_TYPES: [&str; 4] = [
    "kubernetes.io/service-account-token",
    "bootstrap.kubernetes.io/token",
    "helm.sh/release.v1",
    "opamp-operator.dev/agent-token",
];

/// A header of any kind: name, and value or where it comes from.
pub(super) type Named<'s> = (&'s str, Option<&'s str>, Option<&'s HeaderValueSource>);

/// The part of a spec that describes one connection.
pub(super) struct Section<'s> {
    /// Where it stands, with a dot at its end; empty for the one of OpAMP.
    pub(super) path: &'s str,
    /// Whether its endpoint asks for TLS.
    pub(super) tls: bool,
    /// Whether `ca.crt` beside the client certificate is offered.
    pub(super) client_ca: bool,
    pub(super) headers: Vec<Named<'s>>,
    pub(super) client_certificate: &'s ClientCertificate,
    pub(super) trust: &'s ServerTrust,
    pub(super) proxy: Option<&'s ProxySettings>,
}

pub(super) fn named(headers: &[HeaderSetting]) -> Vec<Named<'_>> {
    let named = headers.iter().map(|header| {
        let source = header.value_from.as_ref();
        (&*header.name, header.value.as_deref(), source)
    });
    named.collect()
}

/// Reads objects, and remembers what it saw of them.
pub(super) struct Reader<'s, F> {
    pub(super) key: &'s ProfileKey,
    pub(super) observe: F,
    pub(super) now: Now,
    pub(super) references: Vec<ReferenceState>,
    /// When time alone may change what was read.
    pub(super) until: Option<Timestamp>,
}

impl<'a, 'k, F: Fn(&ObjectRef) -> &'a Observed> Reader<'k, F> {
    pub(super) fn new(key: &'k ProfileKey, observe: F, now: Now) -> Self {
        Self {
            key,
            observe,
            now,
            references: Vec::new(),
            until: None,
        }
    }

    pub(super) fn connection(&mut self, section: &Section<'_>) -> Result<Connection, Stop> {
        let headers = self.headers(&section.headers, section.tls, || {
            format!("`{}endpoint` must be wss:// or https://", section.path)
        })?;
        let client = self.client_certificate(section)?;
        let roots = self.roots(section)?;
        if !section.tls && (client.is_some() || section.trust.ca_bundle_ref.is_some()) {
            return Err(refused(
                ConditionType::Accepted,
                Reason::InsecureNotAllowed,
                format!(
                    "credentials never travel in the clear: `{}endpoint` must be wss:// or https://",
                    section.path
                ),
            ));
        }
        let client_ca = match &client {
            Some((name, _)) if section.client_ca => self.client_ca(name)?,
            _ => None,
        };
        Ok(Connection {
            tls: section.tls,
            headers,
            client: client.map(|(_, material)| material),
            client_ca,
            roots,
            limits: TlsLimits {
                min: section.trust.min_version,
                max: section.trust.max_version,
                suites: section.trust.cipher_suites.clone(),
            },
            proxy: self.proxy(section)?,
        })
    }

    fn proxy(&self, section: &Section<'_>) -> Result<Option<Proxy>, Stop> {
        let Some(proxy) = section.proxy else {
            return Ok(None);
        };
        let named = proxy.connect_headers.iter().map(|header| {
            let source = header.value_from.as_ref();
            (&*header.name, header.value.as_deref(), source)
        });
        let tls = proxy.url.starts_with("https://");
        let headers = self.headers(&named.collect::<Vec<_>>(), tls, || {
            format!("`{}proxy.url` must be https://", section.path)
        })?;
        let url = proxy.url.clone();
        Ok(Some(Proxy { url, headers }))
    }

    /// `remedy` is for those that may not travel in the clear.
    fn headers(
        &self,
        headers: &[Named<'_>],
        tls: bool,
        remedy: impl Fn() -> String,
    ) -> Result<Values, Stop> {
        let read = |(name, value, source): &Named<'_>| {
            let value = match (value, source) {
                (Some(value), None) => Zeroizing::new((*value).to_owned()),
                (None, Some(_)) if !tls => {
                    return Err(refused(
                        ConditionType::Accepted,
                        Reason::InsecureNotAllowed,
                        format!(
                            "header `{name}` comes from a Secret and never travels in the clear: {}",
                            remedy()
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
                        format!("header `{name}` must have exactly one of `value` and `valueFrom`"),
                    ));
                }
            };
            header_value(name, &value)?;
            Ok(((*name).to_owned(), value))
        };
        headers.iter().map(read).collect()
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

    fn client_certificate<'s>(
        &mut self,
        section: &Section<'s>,
    ) -> Result<Option<(&'s str, ClientMaterial)>, Stop> {
        let certificate = section.client_certificate;
        let name = match (certificate.source, &certificate.secret_ref) {
            (CertificateSource::None, None) => return Ok(None),
            (CertificateSource::Secret, Some(reference)) => &*reference.name,
            _ => {
                return Err(refused(
                    ConditionType::Accepted,
                    Reason::InvalidSpec,
                    format!(
                        "`{}clientCertificate.secretRef` must be there exactly when `source` is Secret",
                        section.path
                    ),
                ));
            }
        };
        let object = self.offerable_secret(name)?;
        let crt = self.value(object, "Secret", name, "tls.crt")?;
        let key = self.value(object, "Secret", name, "tls.key")?;
        let material = ClientMaterial::read(crt, key, self.now)
            .map_err(|error| self.broken("Secret", name, &error))?;
        self.until = earliest(self.until, Some(material.validity.not_after));
        let found = self
            .references
            .iter_mut()
            .find(|r| r.object.kind == ObjectKind::Secret && r.object.name == name);
        if let Some(reference) = found {
            reference.validity = Some(material.validity);
        }
        Ok(Some((name, material)))
    }

    /// The CA beside a client certificate, if it is to be offered: a client
    /// that gets anything else for one may crash (agents.md 1.8). Public
    /// issuers leave it empty.
    fn client_ca(&mut self, name: &str) -> Result<Option<Vec<u8>>, Stop> {
        let object = self.offerable_secret(name)?;
        let pem = object
            .get("ca.crt")
            .filter(|pem| !pem.trim_ascii().is_empty());
        let Some(pem) = pem else { return Ok(None) };
        let ca = Bundle::read(pem, "ca.crt", self.now)
            .map_err(|error| self.broken("Secret", name, &error))?;
        Ok(Some(ca.pem))
    }

    fn roots(&mut self, section: &Section<'_>) -> Result<Roots, Stop> {
        let (path, trust) = (section.path, section.trust);
        let bundle = self.bundle(section)?;
        let system = trust.system_cas == SystemCAs::Include;
        match (bundle, system, trust.insecure_skip_verify) {
            _ if !section.tls => Ok(Roots::None),
            (Some(bundle), false, false) => Ok(Roots::Bundle(bundle)),
            (None, true, false) => Ok(Roots::System),
            (None, false, true) => Ok(Roots::None),
            _ => Err(refused(
                ConditionType::Accepted,
                Reason::InvalidSpec,
                format!(
                    "`{path}tls` must name exactly one kind of trust: `caBundleRef`, `systemCAs: Include`, or \
                     `insecureSkipVerify`"
                ),
            )),
        }
    }

    fn bundle(&mut self, section: &Section<'_>) -> Result<Option<Bundle>, Stop> {
        let Some(reference) = &section.trust.ca_bundle_ref else {
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
                    "`{}tls.caBundleRef` names the TLS Secret `{}`: its `ca.crt` belongs to that leaf and cannot hold \
                     two CAs during a change; use a ConfigMap or an Opaque Secret (trust-manager makes one)",
                    section.path, reference.name
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

    pub(super) fn reference(&self, object: &ObjectRef) -> ReferenceState {
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
