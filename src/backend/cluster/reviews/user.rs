//! Who the API says somebody is, and what it says of him.

use std::collections::BTreeMap;

use k8s_openapi::api::{
    authentication::v1::TokenReviewStatus,
    authorization::v1::{
        ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec, SubjectAccessReviewStatus,
    },
};
use opamp_operator_api::GROUP;
use opamp_operator_core::identity::{Bound, Vouched};

use crate::backend::cluster::subjects::Seen;

/// Longest text of the API that goes into a log.
const MAX_WORDS: usize = 300;
/// Shorter parts of a token say nothing.
const MIN_PART: usize = 8;

const USER: &str = "system:serviceaccount:";
const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
const POD_UID: &str = "authentication.kubernetes.io/pod-uid";
const NODE_NAME: &str = "authentication.kubernetes.io/node-name";

/// Somebody as the API names them to itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct User {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
    groups: Vec<String>,
    extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// The one behind a user name of the API.
    fn named(username: &str) -> Option<Self> {
        let (namespace, name) = username.strip_prefix(USER)?.split_once(':')?;
        let is_name = |text: &str| !text.is_empty() && !text.contains([':', '/']);
        (is_name(namespace) && is_name(name)).then(|| Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            ..Self::default()
        })
    }

    /// As the API would name it if its token were shown again.
    pub(super) fn again(vouched: &Vouched, uid: &str, pod: Option<&Bound>) -> Self {
        let identity = &vouched.identity;
        let accounts = "system:serviceaccounts";
        let node = vouched.attributes.get("k8s.node.name");
        let extra = [
            (POD_NAME, pod.map(|pod| &pod.name)),
            (POD_UID, pod.map(|pod| &pod.uid)),
            (NODE_NAME, node),
        ];
        let extra = extra
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), vec![value?.clone()])));
        Self {
            namespace: identity.namespace.clone(),
            name: identity.subject.clone(),
            uid: uid.to_owned(),
            groups: vec![
                accounts.to_owned(),
                format!("{accounts}:{}", identity.namespace),
                "system:authenticated".to_owned(),
            ],
            extra: extra.collect(),
        }
    }

    fn extra(&self, key: &str) -> Option<String> {
        self.extra.get(key)?.first().cloned()
    }

    pub(super) fn node(&self) -> Option<String> {
        self.extra(NODE_NAME)
    }

    pub(super) fn pod(&self) -> Option<Bound> {
        Some(Bound {
            name: self.extra(POD_NAME)?,
            uid: self.extra(POD_UID)?,
        })
    }

    /// Whether the watch knows it; without a watch nobody can say otherwise.
    pub(super) fn is_seen(&self, seen: &Seen) -> bool {
        let known = seen.get(&self.namespace);
        known.is_none_or(|known| known.get(&self.name) == Some(&self.uid))
    }

    pub(super) fn access(&self) -> SubjectAccessReview {
        SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(format!("{USER}{}:{}", self.namespace, self.name)),
                uid: Some(self.uid.clone()),
                groups: Some(self.groups.clone()),
                extra: Some(self.extra.clone()),
                resource_attributes: Some(ResourceAttributes {
                    namespace: Some(self.namespace.clone()),
                    verb: Some("connect".into()),
                    group: Some(GROUP.into()),
                    resource: Some("opampagents".into()),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        }
    }
}

/// Whose token was reviewed, for this audience and no other; or why nobody's.
pub(super) fn holder(status: TokenReviewStatus, audience: &str) -> Result<User, String> {
    if status.authenticated != Some(true) {
        let error = status.error.unwrap_or_default();
        return Err(format!("the API does not know the token: {error}"));
    }
    // An API server that ignores audiences would take tokens for anybody.
    let audiences = status.audiences.unwrap_or_default();
    if !audiences.iter().any(|one| one == audience) {
        return Err("the API server did not say that the token is for our audience".into());
    }
    let user = status.user.unwrap_or_default();
    let named = user.username.as_deref().and_then(User::named);
    let (Some(named), Some(uid)) = (named, user.uid.filter(|uid| !uid.is_empty())) else {
        return Err("the token is not a ServiceAccount's".into());
    };
    Ok(User {
        uid,
        groups: user.groups.unwrap_or_default(),
        extra: user.extra.unwrap_or_default(),
        ..named
    })
}

/// A no that comes with an error may be a rule that could not be read.
pub(super) fn allowed(status: SubjectAccessReviewStatus) -> Result<bool, String> {
    let said_no = status.denied == Some(true);
    match status.evaluation_error.filter(|error| !error.is_empty()) {
        Some(error) if !status.allowed && !said_no => Err(short(&error)),
        _ => Ok(status.allowed && !said_no),
    }
}

/// Without the token, whoever repeats it.
pub(super) fn safe(words: &str, token: &str) -> String {
    let repeats = |part: &str| part.len() >= MIN_PART && words.contains(part);
    if token.split('.').any(repeats) {
        return "the answer repeats the token and is not logged".into();
    }
    short(words)
}

pub(super) fn short(words: &str) -> String {
    let words = words.trim();
    words[..words.floor_char_boundary(MAX_WORDS)].to_owned()
}
