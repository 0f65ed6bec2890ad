//! Everything that can prove who somebody is, as one immutable value.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};
use opamp_operator_api::values::{Identity, IdentityMethod, ProfileKey};
use opamp_wire::InstanceUid;

use super::{
    Authenticator, Bearer, Bound, DenyList, Digest, Inquiry, KeyRing, Ledger, Marker, Presented,
    Revoked, Terms, Vouched, Voucher,
    authenticator::{Answer, among},
    jwt,
    ledger::EXPIRED_GRACE,
};
use crate::{Now, after, earliest};

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
    /// What binds the holders of the primary identity.
    pub terms: Terms,
    /// When the token ends that proves it.
    pub primary_ends: Option<Timestamp>,
    /// Who vouches for the primary identity, if somebody else does.
    pub vouched: Option<Arc<Vouched>>,
    /// Proved by what the ledger says we offered.
    pub recognised: BTreeSet<Recognition>,
    /// In the same way, by a certificate that ended not long ago.
    pub expired: BTreeSet<Recognition>,
    /// Proved by what an authenticator held until this moment.
    pub retired: Option<(Identity, Timestamp)>,
    /// Nothing is proved; where strangers are at home, if they may report.
    pub anonymous: Option<String>,
    /// When the answer may change by time alone.
    pub until: Option<Timestamp>,
    /// Until when what was shown will be admitted again; none for no known end.
    pub lasts: Option<Timestamp>,
}

impl Verdict {
    /// The revisions that what it shows was offered by.
    pub fn shown(&self) -> impl Iterator<Item = &Recognition> {
        self.recognised.iter().chain(&self.expired)
    }

    /// The Pod that what it shows is bound to.
    #[must_use]
    pub fn pod(&self) -> Option<&Bound> {
        match &self.vouched.as_ref()?.by {
            Voucher::Kubernetes { pod, .. } => pod.as_ref(),
            Voucher::Key(_) => None,
        }
    }

    /// Neither an identity nor anything that we offered.
    #[must_use]
    pub fn proves_nothing(&self) -> bool {
        self.primary.is_none() && self.shown().next().is_none() && self.retired.is_none()
    }

    /// As it is for one instance UID: an identity may be bound to some.
    #[must_use]
    pub fn for_uid(&self, uid: InstanceUid) -> Self {
        let mut verdict = self.clone();
        if !verdict.terms.allow(uid) {
            verdict.primary = None;
        }
        verdict
    }
}

/// The answer to 'who is this?'.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "made once for a request and taken apart at once"
)]
pub enum Proof {
    /// Somebody we know.
    Proved(Verdict),
    /// Everybody who could judge said no: 401.
    Refused,
    /// What it shows was revoked: 401, whatever else it shows.
    Revoked(Revoked),
    /// Somebody who could judge has not been heard: 503.
    NotYet,
}

/// ServiceAccounts that exist, of the namespaces in which that is known: name
/// and `metadata.uid`.
pub type ServiceAccounts = BTreeMap<String, BTreeMap<String, String>>;

/// What trust is made of, beside key and ledger.
#[derive(Clone, Debug)]
pub struct Sources {
    /// In the order of the configuration.
    pub authenticators: Vec<Authenticator>,
    /// None while it is not known: then nobody is judged.
    pub deny: Option<DenyList>,
    /// Namespaces in which agents may be at home; none for any.
    pub homes: Option<BTreeSet<String>>,
    /// Home of agents that prove nothing, if they may connect and report.
    pub anonymous: Option<String>,
    /// Which ServiceAccounts exist, as far as it is known.
    pub service_accounts: Arc<ServiceAccounts>,
    /// How long agents may come back with what left its object.
    pub retirement: SignedDuration,
}

impl Default for Sources {
    fn default() -> Self {
        Self {
            authenticators: Vec::new(),
            deny: Some(DenyList::default()),
            homes: None,
            anonymous: None,
            service_accounts: Arc::default(),
            retirement: SignedDuration::from_hours(7 * 24),
        }
    }
}

/// An immutable snapshot of everything that can prove an identity.
#[derive(Clone, Debug)]
pub struct Trust {
    sources: Sources,
    keys: KeyRing,
    by_leaf: HashMap<Digest, Vec<(Recognition, Option<Timestamp>)>>,
    by_authorization: HashMap<Digest, Vec<Recognition>>,
    by_marker: HashMap<Marker, Vec<Recognition>>,
}

impl Trust {
    /// From the configuration's authenticators and the ledger.
    #[must_use]
    pub fn new(authenticators: Vec<Authenticator>, keys: KeyRing, ledger: &Ledger) -> Self {
        let sources = Sources {
            authenticators,
            ..Sources::default()
        };
        Self::of(sources, keys, ledger)
    }

    /// From everything.
    #[must_use]
    pub fn of(sources: Sources, keys: KeyRing, ledger: &Ledger) -> Self {
        let mut trust = Self {
            sources,
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

    /// What can be found out about the bearer token of a connection, given the
    /// value of its `Authorization` header. Nobody is asked about what is no
    /// token of theirs, or where an earlier authenticator knows the answer.
    #[must_use]
    pub fn inquire(
        &self,
        presented: &Presented,
        authorization: Option<&[u8]>,
        now: Now,
    ) -> Inquiry {
        let nobody = Inquiry::Known(Bearer::Nobody);
        let Some(token) = authorization.and_then(bearer_token) else {
            return nobody;
        };
        if !jwt::is_jwt(token) {
            return nobody;
        }
        let audiences = jwt::claimed_audiences(token);
        let (mut api, mut known) = (None, Bearer::Nobody);
        for authenticator in &self.sources.authenticators {
            match authenticator {
                Authenticator::ServiceAccount { name, audience } => {
                    if audiences.contains(audience) {
                        api.get_or_insert((name, audience));
                    }
                }
                Authenticator::Jwt { name, rules, keys } => {
                    if let Some(vouched) = jwt::judge(name, rules, keys, token, now) {
                        known = Bearer::Vouched(Arc::new(vouched));
                        break;
                    }
                }
                earlier => {
                    if let Answer::Yes(_) = earlier.judge(presented, &Bearer::Nobody, now) {
                        break;
                    }
                }
            }
        }
        match api {
            Some((authenticator, audience)) => Inquiry::Ask {
                authenticator: authenticator.clone(),
                audience: audience.clone(),
                otherwise: known,
            },
            None => Inquiry::Known(known),
        }
    }

    /// Who presented this? Recognised credentials are judged first, since they
    /// need nobody's answer.
    #[must_use]
    pub fn verify(&self, presented: &Presented, bearer: &Bearer, now: Now) -> Proof {
        let mut verdict = Verdict::default();
        self.recognise(presented, now, &mut verdict);
        let mut all_heard = self.sources.deny.is_some();
        for authenticator in &self.sources.authenticators {
            match authenticator.judge(presented, bearer, now) {
                Answer::Yes(proved) if !self.is_home(&proved.identity) => {}
                Answer::Yes(proved) => {
                    verdict.primary_was_offered =
                        self.was_offered(proved.identity.method, presented);
                    verdict.primary = Some(proved.identity);
                    verdict.until = earliest(verdict.until, proved.until);
                    verdict.primary_ends = proved.until;
                    verdict.terms = proved.terms;
                    verdict.vouched = proved.vouched;
                    break;
                }
                Answer::No => {}
                Answer::NotYet => all_heard = false,
            }
        }
        if let Some(revoked) = self.revoked(None, None, presented, &verdict) {
            return Proof::Revoked(revoked);
        }
        if verdict.primary.is_none() {
            verdict.retired = self.retired(presented, now);
        }
        if verdict.proves_nothing() {
            if !all_heard {
                return Proof::NotYet;
            }
            verdict.anonymous.clone_from(&self.sources.anonymous);
            if verdict.anonymous.is_none() {
                return Proof::Refused;
            }
        }
        if self.sources.deny.is_none() {
            return Proof::NotYet;
        }
        verdict.lasts = self.lasts(presented, &verdict);
        Proof::Proved(verdict)
    }

    /// Is what a link shows, or whom it speaks for, revoked? This and nothing
    /// else ends a session that was admitted.
    #[must_use]
    pub fn revoked(
        &self,
        uid: Option<InstanceUid>,
        binding: Option<&Identity>,
        presented: &Presented,
        verdict: &Verdict,
    ) -> Option<Revoked> {
        let unread = DenyList::default();
        let deny = self.sources.deny.as_ref().unwrap_or(&unread);
        if uid.is_some_and(|uid| deny.names_uid(uid)) {
            return Some(Revoked::InstanceUid);
        }
        if presented
            .leaf
            .is_some_and(|leaf| deny.names_certificate(&leaf))
        {
            return Some(Revoked::Certificate);
        }
        if let Some(revision) = verdict.shown().find(|r| deny.names_revision(r)) {
            return Some(Revoked::Revision(revision.clone()));
        }
        let token = |authenticator: &Authenticator| match authenticator {
            Authenticator::Token { tokens, .. } => presented.authorization.is_some_and(|shown| {
                among(&tokens.revoked, &shown)
                    || (tokens.all_revoked && among(&tokens.accepted, &shown))
            }),
            _ => false,
        };
        if self.sources.authenticators.iter().any(token) {
            return Some(Revoked::Token);
        }
        if let Some(vouched) = &verdict.vouched
            && self.took_back(vouched)
        {
            return Some(Revoked::Bearer);
        }
        let retired = verdict.retired.as_ref().map(|(identity, _)| identity);
        [verdict.primary.as_ref(), retired, binding]
            .into_iter()
            .flatten()
            .find_map(|identity| self.identity_revoked(identity, deny))
    }

    fn identity_revoked(&self, identity: &Identity, deny: &DenyList) -> Option<Revoked> {
        if deny.names_identity(identity) {
            return Some(Revoked::Identity(identity.clone()));
        }
        match identity.method {
            IdentityMethod::ServiceAccount => {
                let known = self.sources.service_accounts.get(&identity.namespace)?;
                let gone = !known.contains_key(&identity.subject);
                gone.then(|| Revoked::ServiceAccount(identity.clone()))
            }
            IdentityMethod::AgentToken => {
                let revoked = |authenticator: &&Authenticator| match authenticator {
                    Authenticator::Token { tokens, .. } => {
                        tokens.all_revoked
                            && authenticator.token_identity().as_ref() == Some(identity)
                    }
                    _ => false,
                };
                let found = self.sources.authenticators.iter().find(revoked);
                found.map(|_| Revoked::Identity(identity.clone()))
            }
            IdentityMethod::ClientCertificate | IdentityMethod::Jwt => None,
        }
    }

    /// The ServiceAccount was replaced by another of the same name.
    fn took_back(&self, vouched: &Vouched) -> bool {
        let identity = &vouched.identity;
        let known = self.sources.service_accounts.get(&identity.namespace);
        let Voucher::Kubernetes { uid, .. } = &vouched.by else {
            return false;
        };
        known
            .and_then(|known| known.get(&identity.subject))
            .is_some_and(|now| now != uid)
    }

    fn is_home(&self, identity: &Identity) -> bool {
        let homes = self.sources.homes.as_ref();
        homes.is_none_or(|homes| homes.contains(&identity.namespace))
    }

    fn retired(&self, presented: &Presented, now: Now) -> Option<(Identity, Timestamp)> {
        let judged = self
            .sources
            .authenticators
            .iter()
            .find_map(|one| one.judge_retired(presented, &self.keys, now));
        judged.filter(|(_, left)| after(*left, self.sources.retirement) > now.wall)
    }

    /// The last of the ends of all that admits; none if one of them has none.
    fn lasts(&self, presented: &Presented, verdict: &Verdict) -> Option<Timestamp> {
        let mut last: Option<Timestamp> = None;
        let mut add = |end: Option<Timestamp>| {
            last = last.max(end);
            end.is_none()
        };
        let by_certificate =
            |identity: &Identity| identity.method == IdentityMethod::ClientCertificate;
        let endless = match &verdict.primary {
            Some(identity) if by_certificate(identity) => add(presented.not_after()),
            Some(_) => add(verdict.primary_ends),
            None => false,
        };
        let leaf = presented.leaf.iter().any(|leaf| {
            let mut digests = leaf.leaf_candidates(&self.keys);
            digests.any(|digest| self.by_leaf.contains_key(&digest))
        });
        let by_leaf = leaf && add(presented.not_after().map(|end| after(end, EXPIRED_GRACE)));
        let token = presented.authorization.iter().any(|shown| {
            let mut digests = shown.authorization_candidates(&self.keys);
            digests.any(|digest| self.by_authorization.contains_key(&digest))
        });
        let left = verdict.retired.as_ref().map(|(_, left)| *left);
        let retired = left.is_some_and(|left| add(Some(after(left, self.sources.retirement))));
        if endless || by_leaf || token || retired || verdict.anonymous.is_some() {
            return None;
        }
        last
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
            IdentityMethod::AgentToken | IdentityMethod::Jwt | IdentityMethod::ServiceAccount => {
                presented.authorization.is_some_and(|shown| {
                    let mut digests = shown.authorization_candidates(&self.keys);
                    presented.marker.is_some()
                        && digests.any(|digest| self.by_authorization.contains_key(&digest))
                })
            }
        }
    }

    fn recognise(&self, presented: &Presented, now: Now, verdict: &mut Verdict) {
        if let Some(leaf) = &presented.leaf {
            for digest in leaf.leaf_candidates(&self.keys) {
                for (recognition, end) in self.by_leaf.get(&digest).into_iter().flatten() {
                    let grace = end.map(|end| after(end, EXPIRED_GRACE));
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

/// The token of a `Bearer` value (RFC 6750, section 2.1).
fn bearer_token(value: &[u8]) -> Option<&[u8]> {
    let value = value.trim_ascii();
    let scheme = value.get(..7)?;
    scheme
        .eq_ignore_ascii_case(b"Bearer ")
        .then(|| value[7..].trim_ascii())
}
