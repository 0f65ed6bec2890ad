//! A validated, encoded, hashed set of settings. Neither it nor anything in it
//! prints its content.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use jiff::Timestamp;
use opamp_operator_api::{
    v1alpha1::{AgentSelector, ServedBy},
    values::{Attributes, Identity, MARKER_HEADER, ObjectRef, ProfileKey},
};
use opamp_wire::{
    AgentCapabilities, InstanceUid, OfferBytes,
    proto::{ConnectionSettingsOffers, Header, OpAmpConnectionSettings},
};
use prost::Message as _;
use rustls_pki_types::CertificateDer;

use super::{Beside, Change, TlsLimits, beside::Encoded, encode::Plan, hash, sections::Sections};
use crate::identity::{Digest, Fingerprint, KeyRing, LedgerEntry, Marker};

/// The hash that travels with an offer.
pub type WireHash = Digest;

/// What an agent that runs a revision will present.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credential {
    /// Of the offered client certificate.
    pub leaf: Option<Fingerprint>,
    /// Of the offered `Authorization` value.
    pub authorization: Option<Fingerprint>,
    /// The value has at least 128 bits, so it may be recognised by itself.
    pub strong: bool,
    /// End of the certificate.
    pub not_after: Option<Timestamp>,
}

/// How agents that run a revision verify the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTrust {
    /// Where they connect.
    pub endpoint: url::Url,
    /// What they verify it by.
    pub roots: TrustRoots,
    /// Which forms of TLS they may use.
    pub limits: TlsLimits,
}

/// The certificate authorities that agents trust.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrustRoots {
    /// These.
    Bundle(Vec<CertificateDer<'static>>),
    /// Those of the system that they run on.
    System,
    /// They verify nothing.
    Anything,
}

/// Settings that passed every check, not yet numbered.
#[derive(Clone)]
pub struct Draft {
    /// Whose settings.
    pub profile: ProfileKey,
    /// Of the section without its marker header.
    pub marker: Marker,
    /// Whom the settings are for. It travels with them, so that an edit of both
    /// can never bring the settings of one to the agents of another.
    pub selector: Arc<AgentSelector>,
    /// What agents will present.
    pub credential: Credential,
    /// How agents will verify us.
    pub trust: ServerTrust,
    /// Whose server it sends agents to.
    pub served_by: ServedBy,
    settings: OpAmpConnectionSettings,
    /// The objects of these.
    made_of: BTreeSet<ObjectRef>,
    /// One of them was taken away.
    withdrawn: bool,
    sections: Sections,
    keys: KeyRing,
}

impl Draft {
    #[expect(
        clippy::too_many_arguments,
        reason = "each is a part of what is made here, in one place"
    )]
    pub(super) fn new(
        profile: ProfileKey,
        selector: Arc<AgentSelector>,
        plan: &Plan,
        made_of: BTreeSet<ObjectRef>,
        credential: Credential,
        served_by: ServedBy,
        sections: Sections,
        keys: &KeyRing,
    ) -> Self {
        let mut settings = plan.settings();
        let marker = hash::marker(keys, &settings);
        let header = Header {
            key: MARKER_HEADER.into(),
            value: marker.to_hex(),
        };
        settings
            .headers
            .get_or_insert_default()
            .headers
            .push(header);
        Self {
            profile,
            selector,
            marker,
            credential,
            trust: plan.trust(),
            served_by,
            settings,
            made_of,
            withdrawn: false,
            sections,
            keys: keys.clone(),
        }
    }

    /// Size of the section on the wire.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        self.settings.encoded_len()
    }

    /// Whether it is made of the same objects, whatever is in them.
    #[must_use]
    pub fn is_made_of_the_same(&self, revision: &Revision) -> bool {
        self.made_of == revision.draft.made_of
    }

    /// Whether everything beside the `opamp` section is as it was.
    #[must_use]
    pub fn is_same_beside(&self, revision: &Revision) -> bool {
        self.sections == revision.draft.sections
    }

    /// The ledger's entry for this draft under `number`.
    #[must_use]
    pub fn ledger_entry(&self, number: u64, published: Timestamp) -> LedgerEntry {
        // What is for the server of another proves nothing here: that one may
        // show it to us as well.
        let ours = self.served_by == ServedBy::Operator;
        let credential = &self.credential;
        let strong = credential
            .authorization
            .filter(|_| ours && credential.strong);
        let leaf = credential.leaf.filter(|_| ours);
        LedgerEntry {
            profile: self.profile.clone(),
            number,
            marker: self.marker,
            leaf: leaf.map(|leaf| leaf.keyed_leaf(&self.keys)),
            authorization: strong.map(|value| value.keyed_authorization(&self.keys)),
            not_after: self.credential.not_after,
            served_by: self.served_by,
            published,
        }
    }
}

impl fmt::Debug for Draft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Draft({} {:?})", self.profile, self.marker)
    }
}

/// A draft with its number: what agents are offered.
pub struct Revision {
    draft: Draft,
    number: u64,
    /// Under which the same settings were published before.
    also: BTreeSet<u64>,
    /// What it was made for, and what stands beside `opamp` in it.
    change: Option<Change>,
    change_beside: Option<Change>,
    sections: OnceLock<hash::SectionsDigest>,
    first: OnceLock<OfferBytes>,
    beside: Encoded,
    largest: OnceLock<usize>,
}

impl Revision {
    /// Numbers a draft.
    #[must_use]
    pub fn new(draft: Draft, number: u64) -> Self {
        Self {
            draft,
            number,
            also: BTreeSet::new(),
            change: None,
            change_beside: None,
            sections: OnceLock::new(),
            first: OnceLock::new(),
            beside: Encoded::default(),
            largest: OnceLock::new(),
        }
    }

    /// The uptime at which the change was seen that it was made for, if this
    /// process saw it.
    #[must_use]
    pub fn changed(&self) -> Option<Duration> {
        let seen = self.change.filter(|change| !change.first);
        seen.map(|change| change.at.uptime)
    }

    /// The same settings had these numbers before.
    #[must_use]
    pub fn known_as(self, also: BTreeSet<u64>) -> Self {
        Self { also, ..self }
    }

    /// It was made for this change; none if an earlier process saw that.
    #[must_use]
    pub fn caused_by(self, change: Option<Change>) -> Self {
        Self {
            change,
            change_beside: change,
            ..self
        }
    }

    /// The change that it was made for, if this process saw it.
    #[must_use]
    pub fn change(&self) -> Option<Change> {
        self.change
    }

    /// The same of what stands beside `opamp`, which may change alone.
    #[must_use]
    pub fn change_beside(&self) -> Option<Change> {
        self.change_beside
    }

    /// The same as it is, under another number.
    #[must_use]
    pub fn renumbered(&self, number: u64, also: BTreeSet<u64>) -> Self {
        Self {
            change: self.change,
            change_beside: self.change_beside,
            ..Self::new(self.draft.clone(), number).known_as(also)
        }
    }

    /// These settings instead, under the same number: they differ in nothing
    /// that its marker covers.
    #[must_use]
    pub fn remade(&self, draft: Draft, change: Option<Change>) -> Self {
        let change_beside = if draft.is_same_beside(self) {
            self.change_beside
        } else {
            change
        };
        Self {
            change: self.change,
            change_beside,
            ..Self::new(draft, self.number).known_as(self.also.clone())
        }
    }

    /// Does this name these settings, by the number that they have or by one
    /// that they had?
    #[must_use]
    pub fn is_named(&self, profile: &ProfileKey, number: u64) -> bool {
        let known = self.number == number || self.also.contains(&number);
        known && *profile == self.draft.profile
    }

    /// Its entry in the ledger under `number`.
    #[must_use]
    pub fn ledger_entry(&self, number: u64, published: Timestamp) -> LedgerEntry {
        self.draft.ledger_entry(number, published)
    }

    /// Whose it is.
    #[must_use]
    pub fn profile(&self) -> &ProfileKey {
        &self.draft.profile
    }

    /// Its number within the profile.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// What agents that run it show.
    #[must_use]
    pub fn marker(&self) -> Marker {
        self.draft.marker
    }

    /// What agents that run it present.
    #[must_use]
    pub fn credential(&self) -> &Credential {
        &self.draft.credential
    }

    /// Whom it is for.
    #[must_use]
    pub fn selector(&self) -> &Arc<AgentSelector> {
        &self.draft.selector
    }

    /// Is it for this agent, as far as it is known?
    #[must_use]
    pub fn selects(
        &self,
        uid: InstanceUid,
        identity: Option<&Identity>,
        attributes: Option<&Attributes>,
    ) -> bool {
        let selector = self.selector();
        match attributes {
            None if selector.reads_attributes() => false,
            None => selector.matches(&uid.to_string(), identity, &Attributes::default()),
            Some(attributes) => selector.matches(&uid.to_string(), identity, attributes),
        }
    }

    /// Does it send agents to the server of another?
    #[must_use]
    pub fn is_external(&self) -> bool {
        self.draft.served_by == ServedBy::External
    }

    /// How agents that run it verify us.
    #[must_use]
    pub fn server_trust(&self) -> &ServerTrust {
        &self.draft.trust
    }

    /// The offer. The first attempt is encoded once and shared by
    /// all agents; a retry is rare and encoded when needed.
    #[must_use]
    pub fn offer(&self, retry: u32) -> OfferBytes {
        match retry {
            0 => self.first.get_or_init(|| self.encode(0)).clone(),
            _ => self.encode(retry),
        }
    }

    /// The hash of the offer.
    #[must_use]
    pub fn hash(&self, retry: u32) -> WireHash {
        hash::wire_hash(&self.draft.keys, self.marker(), &self.all(), retry)
    }

    /// Is it the hash of an offer of these settings for OpAMP, whatever stood
    /// beside them? By version 1 only of what stands there now, and of the
    /// first `retries`.
    #[must_use]
    pub fn is_hash(&self, hash: &[u8], retries: u32) -> bool {
        let keys = &self.draft.keys;
        let first = |retry| hash::wire_hash_1(keys, &self.all(), retry);
        hash::is_wire_hash(keys, self.marker(), hash)
            || (0..=retries).any(|retry| first(retry).as_bytes()[..] == *hash)
    }

    /// Was it sent with settings beside those for OpAMP, of whichever revision?
    #[must_use]
    pub fn is_hash_beside(&self, hash: &[u8]) -> bool {
        hash::is_beside_hash(&self.draft.keys, hash)
    }

    /// What an agent that can do this is sent beside `opamp`; none for nothing.
    #[must_use]
    pub fn beside(&self, agent: AgentCapabilities) -> Option<Arc<Beside>> {
        let draft = &self.draft;
        if draft.sections.is_empty() {
            return None;
        }
        let all = || self.all();
        self.beside.of(&draft.sections, agent, &draft.keys, all)
    }

    /// The size of the largest message that brings a part of it to an agent.
    #[must_use]
    pub fn largest(&self) -> usize {
        *self.largest.get_or_init(|| {
            let beside = self.beside(AgentCapabilities::from(u64::MAX));
            let beside = beside.map_or(0, |beside| beside.bytes.len());
            self.offer(0).len().max(beside)
        })
    }

    /// Whether another revision has the same sections beside `opamp`.
    #[must_use]
    pub fn is_same_beside(&self, other: &Self) -> bool {
        self.draft.is_same_beside(other)
    }

    /// The objects of which it is made, with those of what stands beside
    /// `opamp`.
    pub fn objects(&self) -> impl Iterator<Item = &ObjectRef> {
        self.draft
            .made_of
            .iter()
            .chain(self.draft.sections.objects())
    }

    /// An object of the `opamp` section that was taken away.
    pub fn taken(&self, taken: impl Fn(&ObjectRef) -> bool) -> Option<&ObjectRef> {
        self.draft.made_of.iter().find(|object| taken(object))
    }

    /// Was an object of the `opamp` section taken away?
    #[must_use]
    pub fn is_withdrawn(&self) -> bool {
        self.draft.withdrawn
    }

    /// This revision as far as it may be offered while such objects are taken
    /// away; none if that is as it was.
    #[must_use]
    pub fn withhold(&self, taken: impl Fn(&ObjectRef) -> bool) -> Option<Self> {
        let mut draft = self.draft.clone();
        draft.sections.withhold(&taken);
        draft.withdrawn = self.taken(&taken).is_some();
        let changed = draft.withdrawn != self.draft.withdrawn || !draft.is_same_beside(self);
        changed.then(|| Self {
            draft,
            number: self.number,
            also: self.also.clone(),
            change: self.change,
            change_beside: self.change_beside,
            sections: self.sections.clone(),
            first: self.first.clone(),
            largest: OnceLock::new(),
            beside: Encoded::default(),
        })
    }

    pub(super) fn sections(&self) -> &Sections {
        &self.draft.sections
    }

    /// The digest of all sections, also of those that an agent does not get.
    fn all(&self) -> hash::SectionsDigest {
        *self.sections.get_or_init(|| {
            let all = self.draft.sections.add_to(self.opamp());
            hash::sections_digest(&all.encode_to_vec())
        })
    }

    fn encode(&self, retry: u32) -> OfferBytes {
        OfferBytes::encode(&ConnectionSettingsOffers {
            hash: self.hash(retry).as_bytes().to_vec().into(),
            ..self.opamp()
        })
    }

    fn opamp(&self) -> ConnectionSettingsOffers {
        ConnectionSettingsOffers {
            opamp: Some(self.draft.settings.clone()),
            ..Default::default()
        }
    }
}

impl fmt::Debug for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Revision({}#{} {:?})",
            self.draft.profile, self.number, self.draft.marker
        )
    }
}
