//! Whom a client certificate names, and where that one is at home.

use opamp_operator_api::selector::{COMMON_NAME_SUBJECT, URI_SUBJECT};
use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

/// Longest name that counts.
const MAX_NAME: usize = 253;

/// Where the holders of certificates are at home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Home {
    /// All in one namespace.
    Namespace(String),
    /// In the namespace that their name says.
    Pattern(NamePattern),
}

/// A pattern of names, with one part that is the namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamePattern {
    /// What is to be found, in this order; between two of them is one part.
    literals: Vec<String>,
    /// Which part is the namespace.
    namespace: usize,
}

impl NamePattern {
    /// Reads for example `spiffe://example.org/ns/{namespace}/agent/{name}`:
    /// a part in braces stands for one or more characters without `/`.
    ///
    /// # Errors
    /// If it has no part `{namespace}`, or two, or parts that touch.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (mut literals, mut names) = (Vec::new(), Vec::new());
        let mut rest = text;
        while let Some((literal, after)) = rest.split_once('{') {
            let (name, after) = after
                .split_once('}')
                .ok_or("a `{` of the pattern is never closed")?;
            if literal.is_empty() && !names.is_empty() {
                return Err("between two parts of the pattern there must be something".into());
            }
            literals.push(literal.to_owned());
            names.push(name);
            rest = after;
        }
        literals.push(rest.to_owned());
        let mut found = (0..names.len()).filter(|at| names[*at] == "namespace");
        match (found.next(), found.next()) {
            (Some(namespace), None) => Ok(Self {
                literals,
                namespace,
            }),
            _ => Err("the pattern must have the part `{namespace}` once".into()),
        }
    }

    /// The namespace that `name` says, if the whole of it fits.
    fn namespace_of<'a>(&self, name: &'a str) -> Option<&'a str> {
        let (first, literals) = self.literals.split_first()?;
        let mut rest = name.strip_prefix(first.as_str())?;
        let mut namespace = None;
        for (at, literal) in literals.iter().enumerate() {
            let last = at + 1 == literals.len();
            let end = if last && literal.is_empty() {
                rest.len()
            } else {
                rest.find(literal.as_str())?
            };
            let part = &rest[..end];
            if part.is_empty() || part.contains('/') {
                return None;
            }
            if at == self.namespace {
                namespace = Some(part);
            }
            rest = &rest[end + literal.len()..];
        }
        namespace.filter(|_| rest.is_empty())
    }
}

/// The subject of a certificate's holder and its home: the first URI among its
/// alternative names, else its common name. A certificate with neither names
/// nobody.
pub(super) fn holder(leaf: &CertificateDer<'_>, home: &Home) -> Option<(String, String)> {
    let (_, certificate) = X509Certificate::from_der(leaf).ok()?;
    let names = certificate.subject_alternative_name().ok().flatten();
    let uri = names.and_then(|names| {
        let names = &names.value.general_names;
        names.iter().find_map(|name| match name {
            GeneralName::URI(uri) => Some((*uri).to_owned()),
            _ => None,
        })
    });
    let common_name = || {
        let name = certificate.subject().iter_common_name().next()?;
        name.as_str().ok().map(str::to_owned)
    };
    let (kind, name) = match uri {
        Some(uri) => (URI_SUBJECT, uri),
        None => (COMMON_NAME_SUBJECT, common_name()?),
    };
    // It goes into logs, and into the deny list one a line.
    if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
        return None;
    }
    let namespace = match home {
        Home::Namespace(namespace) => namespace.clone(),
        Home::Pattern(pattern) => pattern.namespace_of(&name)?.to_owned(),
    };
    Some((format!("{kind}{name}"), namespace))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_namespace_is_a_named_part_of_a_name_that_fits_whole() {
        let spiffe = NamePattern::parse("spiffe://x.org/ns/{namespace}/sa/{name}").unwrap();
        let of = |name| spiffe.namespace_of(name);
        assert_eq!(of("spiffe://x.org/ns/team-a/sa/collector"), Some("team-a"));
        for wrong in [
            "spiffe://x.org/ns/team-a/sa/",
            "spiffe://x.org/ns//sa/collector",
            "spiffe://x.org/ns/team-a/sa/collector/more",
            "spiffe://y.org/ns/team-a/sa/collector",
            "spiffe://x.org/ns/team-a/team-b/sa/collector",
            "spiffe://x.org/ns/team-a",
            "",
        ] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
        let host = NamePattern::parse("{name}.{namespace}.agents").unwrap();
        assert_eq!(host.namespace_of("one.team-a.agents"), Some("team-a"));
        assert_eq!(host.namespace_of("one.agents"), None);
        assert_eq!(host.namespace_of("one.team-a.agents.more"), None);
    }

    #[test]
    fn a_pattern_without_one_namespace_is_refused() {
        for wrong in [
            "spiffe://x.org/agent",
            "{name}",
            "{namespace}/{namespace}",
            "{namespace}{name}",
            "{namespace",
        ] {
            assert!(NamePattern::parse(wrong).is_err(), "{wrong}");
        }
    }
}
