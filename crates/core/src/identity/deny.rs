//! The deny list: what is revoked, whatever else vouches for it.

use std::collections::BTreeSet;

use opamp_operator_api::values::{Identity, IdentityMethod, ProfileKey};
use opamp_wire::InstanceUid;

use super::{Fingerprint, Recognition};

/// What is revoked by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DenyList {
    instance_uids: BTreeSet<InstanceUid>,
    certificates: BTreeSet<Fingerprint>,
    identities: BTreeSet<Named>,
    revisions: BTreeSet<Recognition>,
}

/// An identity; without `at`, of any namespace and by any method.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Named {
    at: Option<(String, IdentityMethod)>,
    authenticator: String,
    subject: String,
}

impl Named {
    fn new(at: Option<(String, IdentityMethod)>, entry: &str) -> Option<Self> {
        let (authenticator, subject) = entry.split_once('/')?;
        Some(Self {
            at,
            authenticator: authenticator.to_owned(),
            subject: subject.to_owned(),
        })
    }

    /// `namespace/method/authenticator/subject`.
    fn whole(entry: &str) -> Option<Self> {
        let (namespace, rest) = entry.split_once('/')?;
        let (method, rest) = rest.split_once('/')?;
        let method = IdentityMethod::ALL
            .into_iter()
            .find(|m| m.as_str() == method)?;
        Self::new(Some((namespace.to_owned(), method)), rest)
    }

    fn is(&self, identity: &Identity) -> bool {
        let there = |(namespace, method): &(String, IdentityMethod)| {
            *namespace == identity.namespace && *method == identity.method
        };
        self.authenticator == identity.authenticator
            && self.subject == identity.subject
            && self.at.as_ref().is_none_or(there)
    }
}

/// Why somebody is cut off at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revoked {
    /// The deny list names the instance UID.
    InstanceUid,
    /// The deny list names the certificate.
    Certificate,
    /// The deny list names the identity, or its Secret says that it is revoked.
    Identity(Identity),
    /// The deny list names the revision that offered what is shown.
    Revision(Recognition),
    /// The token's Secret names the token.
    Token,
    /// The ServiceAccount does not exist any more.
    ServiceAccount(Identity),
    /// The Pod to which the token was bound does not exist any more, or the
    /// API does not vouch for it any more.
    Bearer,
}

impl std::fmt::Display for Revoked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::InstanceUid => f.write_str("the deny list names the instance UID"),
            Self::Certificate => f.write_str("the deny list names the certificate"),
            Self::Identity(identity) => write!(f, "identity {identity} is revoked"),
            Self::Revision(of) => write!(
                f,
                "the deny list names revision {} of {}, which offered the credential",
                of.number, of.profile
            ),
            Self::Token => f.write_str("the token's Secret says that it is revoked"),
            Self::ServiceAccount(identity) => {
                write!(f, "the ServiceAccount of {identity} does not exist")
            }
            Self::Bearer => f.write_str("what the bearer token is bound to is gone"),
        }
    }
}

impl DenyList {
    /// Reads the keys of a ConfigMap: one entry a line, `#` begins a comment.
    /// What cannot be read is told, and everything else counts.
    #[must_use]
    pub fn read<'a>(data: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> (Self, Vec<String>) {
        let (mut list, mut problems) = (Self::default(), Vec::new());
        for (key, value) in data {
            let Ok(text) = std::str::from_utf8(value) else {
                problems.push(format!("key `{key}` is not text"));
                continue;
            };
            for (number, line) in (1..).zip(text.lines()) {
                let entry = without_comment(line);
                if entry.is_empty() {
                    continue;
                }
                if let Err(expected) = list.add(key, entry) {
                    problems.push(format!("line {number} of key `{key}` is not {expected}"));
                }
            }
        }
        (list, problems)
    }

    fn add(&mut self, key: &str, entry: &str) -> Result<(), &'static str> {
        match key {
            "instanceUIDs" => {
                let uid = entry.parse().map_err(|_| "an instance UID")?;
                self.instance_uids.insert(uid);
            }
            "certificates" => {
                let digits = entry.replace(':', "");
                let certificate = Fingerprint::from_hex(&digits)
                    .ok_or("the SHA-256 of a certificate: 64 hexadecimal digits")?;
                self.certificates.insert(certificate);
            }
            "identities" => {
                // A subject may hold anything: what can be read both ways
                // revokes both.
                let named = Named::new(None, entry).ok_or(
                    "`authenticator/subject` or `namespace/method/authenticator/subject`, as an OpAMPAgent shows them",
                )?;
                self.identities.insert(named);
                self.identities.extend(Named::whole(entry));
            }
            "revisions" => {
                self.revisions
                    .insert(revision(entry).ok_or("`namespace/profile/number`")?);
            }
            _ => {
                return Err(
                    "under one of `instanceUIDs`, `certificates`, `identities` and `revisions`",
                );
            }
        }
        Ok(())
    }

    /// Also all that `other` names.
    pub fn extend(&mut self, other: &Self) {
        self.instance_uids.extend(&other.instance_uids);
        self.certificates.extend(&other.certificates);
        self.identities.extend(other.identities.iter().cloned());
        self.revisions.extend(other.revisions.iter().cloned());
    }

    pub(super) fn names_uid(&self, uid: InstanceUid) -> bool {
        self.instance_uids.contains(&uid)
    }

    pub(super) fn names_certificate(&self, leaf: &Fingerprint) -> bool {
        self.certificates.contains(leaf)
    }

    pub(super) fn names_identity(&self, identity: &Identity) -> bool {
        self.identities.iter().any(|named| named.is(identity))
    }

    pub(super) fn names_revision(&self, revision: &Recognition) -> bool {
        self.revisions.contains(revision)
    }
}

/// A name may hold a `#` of its own, such as a URI with a fragment: revoked
/// must be whom the line names and nobody else.
fn without_comment(line: &str) -> &str {
    let mut marks = line.match_indices('#').map(|(at, _)| at);
    let begins = |at: &usize| !line[..*at].ends_with(|c: char| !c.is_whitespace());
    let end = marks.find(begins).unwrap_or(line.len());
    line[..end].trim()
}

fn revision(entry: &str) -> Option<Recognition> {
    let mut parts = entry.split('/');
    let (namespace, name, number) = (parts.next()?, parts.next()?, parts.next()?);
    (parts.next().is_none() && !namespace.is_empty() && !name.is_empty()).then_some(())?;
    Some(Recognition {
        profile: ProfileKey::new(namespace, name),
        number: number.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_told_and_the_rest_counts() {
        let certificate = Fingerprint::of(b"a certificate");
        let digits = hex::encode(sha2::Sha256::digest(b"a certificate")).to_uppercase();
        let pairs: Vec<_> = digits.as_bytes().chunks(2).collect();
        let colons = pairs.join(&b':');
        let data: [(&str, &[u8]); 5] = [
            ("certificates", &colons),
            (
                "identities",
                b"fleet/URI:spiffe://x/y # stolen\n#\nnobody\nfleet/URI:urn:x#1\n",
            ),
            ("instanceUIDs", b"0192aaaa-0000-7000-8000-000000000001\nx"),
            ("revisions", b"a/p/3\na/p\na/p/x\n"),
            ("others", b"y"),
        ];
        let (list, problems) = DenyList::read(data);
        assert!(list.names_certificate(&certificate));
        let identity = |subject: &str| Identity {
            namespace: "a".into(),
            method: opamp_operator_api::values::IdentityMethod::ClientCertificate,
            authenticator: "fleet".into(),
            subject: subject.into(),
        };
        assert!(list.names_identity(&identity("URI:spiffe://x/y")));
        assert!(!list.names_identity(&identity("URI:spiffe://x/z")));
        assert!(list.names_identity(&identity("URI:urn:x#1")));
        assert!(!list.names_identity(&identity("URI:urn:x")));
        assert!(list.names_uid("0192aaaa-0000-7000-8000-000000000001".parse().unwrap()));
        assert!(list.names_revision(&revision("a/p/3").unwrap()));
        let lines: Vec<_> = problems.iter().map(|p| p.split(" is ").next()).collect();
        let expected = [
            "line 3 of key `identities`",
            "line 2 of key `instanceUIDs`",
            "line 2 of key `revisions`",
            "line 3 of key `revisions`",
            "line 1 of key `others`",
        ];
        assert_eq!(lines, expected.map(Some));
    }

    use sha2::Digest as _;
}
