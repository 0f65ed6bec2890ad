//! What the operator reads for itself: whom it trusts, and whom not any more.

use std::{collections::BTreeSet, sync::Arc};

use opamp_operator_api::ObjectRef;
use opamp_operator_core::{
    catalog::{
        AuthenticatorSource, Built, KeySource, Material, SourceKind, authenticator, remember,
    },
    identity::{Authenticator, DenyList, Sources, Trust},
    offer::{Change, Observed},
};

use super::Controller;
use crate::{backend::Report, config::Authentication};

/// What is wrong with the deny list is remembered under a name that no
/// authenticator can have.
const DENY_LIST: &str = "/";

impl Controller {
    pub(super) fn is_own(&self, object: &ObjectRef) -> bool {
        let authentication = &self.setup.authentication;
        let reads = |source: &AuthenticatorSource| source.object() == Some(object);
        *object == self.setup.serving
            || authentication.deny_list.as_ref() == Some(object)
            || authentication.authenticators.iter().any(reads)
    }

    /// Takes in a change of an own object: every profile is judged anew by it.
    pub(super) fn read_own(&mut self, object: &ObjectRef, change: Change) {
        if *object == self.setup.serving {
            self.read_serving(change);
        }
        if self.setup.authentication.deny_list.as_ref() == Some(object) {
            self.read_deny_list(object);
        }
        self.change_trust();
        self.catalog.touch_all(change, self.hub.clock.now());
    }

    /// Who may connect is configured anew. What an authenticator of the same
    /// name knew stays until its objects are read.
    pub(super) fn reload(&mut self, authentication: Authentication) {
        if self.setup.authentication == authentication {
            return;
        }
        let now = self.hub.clock.now();
        let change = self.catalog.change(now);
        tracing::info!(change = %change.id, "who may connect is configured anew");
        let kept: BTreeSet<_> = authentication
            .authenticators
            .iter()
            .filter(|source| self.setup.authentication.authenticators.contains(source))
            .map(|source| source.name.clone())
            .collect();
        self.authenticators.retain(|name, _| kept.contains(name));
        self.impaired.retain(|name, _| kept.contains(name));
        if self.setup.authentication.deny_list != authentication.deny_list {
            self.impaired.remove(DENY_LIST);
        }
        self.setup.authentication = authentication;
        self.want();
        if let Some(list) = self.setup.authentication.deny_list.clone() {
            self.read_deny_list(&list);
        }
        self.change_trust();
        self.catalog.touch_all(change, now);
    }

    /// What is revoked. A line that cannot be read takes nothing back: what was
    /// revoked before stays so until the list can be read whole.
    fn read_deny_list(&mut self, object: &ObjectRef) {
        let problem = match self.catalog.object(object) {
            Observed::Pending => return,
            Observed::Forbidden(remedy) => Some(format!("{object} may not be read: {remedy}")),
            // One that is replaced is away for a moment. At the start, or if its
            // name is wrong, nothing is revoked by it, which must not be missed.
            Observed::Absent => {
                self.deny.get_or_insert_default();
                Some(format!("{object} does not exist"))
            }
            Observed::Present(object) => {
                let data = object.data.iter();
                let data = data.map(|(key, value)| (key.as_str(), value.as_slice()));
                let (mut list, problems) = DenyList::read(data);
                let problem = (!problems.is_empty()).then(|| problems.join("; "));
                if let Some(before) = self.deny.take().filter(|_| problem.is_some()) {
                    list.extend(&before);
                }
                self.deny = Some(list);
                problem
            }
        };
        self.impair(DENY_LIST, problem, "the deny list");
    }

    /// Says what is wrong with something of ours, once.
    fn impair(&mut self, name: &str, problem: Option<String>, what: &str) {
        match problem {
            Some(problem) if self.impaired.get(name) != Some(&problem) => {
                tracing::warn!(
                    name,
                    problem,
                    "{what} is impaired; what it said before stays in force"
                );
                self.impaired.insert(name.to_owned(), problem);
            }
            Some(_) => {}
            None => drop(self.impaired.remove(name)),
        }
    }

    /// Trust differs in more than what we offered ourselves: open sessions are
    /// judged again.
    pub(super) fn change_trust(&mut self) {
        self.publish_trust();
        self.hub.judgement.send_modify(|turn| *turn += 1);
    }

    /// Builds trust anew from objects and ledger.
    pub(super) fn publish_trust(&mut self) {
        let sources = Sources {
            authenticators: self.build(),
            deny: match self.setup.authentication.deny_list {
                Some(_) => self.deny.clone(),
                None => Some(DenyList::default()),
            },
            homes: Some(self.setup.authentication.homes.clone()),
            anonymous: self.setup.authentication.anonymous.clone(),
            service_accounts: Arc::clone(&self.service_accounts),
            retirement: self.setup.authentication.retirement,
        };
        self.trust = Arc::new(Trust::of(sources, self.keys.clone(), &self.ledger));
        if self.synced() {
            self.hub.trust.send_replace(Some(Arc::clone(&self.trust)));
            self.tell_readiness();
        }
    }

    /// The authenticators as far as they can be built, each with what it held
    /// before.
    fn build(&mut self) -> Vec<Authenticator> {
        let now = self.hub.clock.now();
        let look = |source: &AuthenticatorSource| {
            let document = match &source.kind {
                SourceKind::Jwt { keys, .. } => self.documents.get(keys),
                _ => None,
            };
            let material = match (&source.kind, source.object()) {
                (_, Some(object)) => Material::Object(self.catalog.object(object)),
                (SourceKind::Jwt { .. }, None) => Material::Document(document),
                _ => Material::Nothing,
            };
            authenticator(source, material, &self.keys, now)
        };
        let sources = &self.setup.authentication.authenticators;
        let names: Vec<_> = sources.iter().map(|source| source.name.clone()).collect();
        let built: Vec<_> = sources.iter().map(look).collect();
        for (name, built) in names.iter().zip(built) {
            let problem = match built {
                Built::Usable(usable) => {
                    let (held, revoked) = (&usable.held, &usable.revoked);
                    self.held_changed |= self.held.observe(name, held, revoked, now.wall);
                    self.authenticators
                        .insert(name.clone(), usable.authenticator);
                    usable.problem
                }
                Built::Unknown(problem) => problem,
            };
            self.impair(name, problem, "an authenticator");
        }
        let known = |name: String| match self.authenticators.get(&name).cloned() {
            Some(mut known) => {
                remember(&mut known, &self.held);
                known
            }
            None => Authenticator::Unknown { name },
        };
        names.into_iter().map(known).collect()
    }

    /// Files and pages that authenticators read.
    pub(super) fn wanted_documents(&self) -> BTreeSet<KeySource> {
        let document = |source: &AuthenticatorSource| match &source.kind {
            SourceKind::Jwt { keys, .. } if source.object().is_none() => Some(keys.clone()),
            _ => None,
        };
        let sources = self.setup.authentication.authenticators.iter();
        sources.filter_map(document).collect()
    }

    /// Those who came by what left long ago had their time.
    pub(super) fn forget_held(&mut self) {
        let retirement = self.setup.authentication.retirement;
        if self.held.prune(retirement, self.hub.clock.now().wall) {
            self.held_changed = true;
            self.change_trust();
        }
    }

    /// Stores what authenticators hold and held.
    pub(super) async fn store_held(&mut self) {
        if self.leads && std::mem::take(&mut self.held_changed) {
            let held = self.held.entries().to_vec();
            // A backend that is gone stores nothing any more.
            let _ = self.port.reports.send(Report::Held(held)).await;
        }
    }
}
