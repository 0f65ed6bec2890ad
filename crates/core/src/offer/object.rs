//! Secrets and ConfigMaps as values, compared by content and never printed.

use std::{collections::BTreeMap, fmt, sync::Arc};

use opamp_operator_api::values::OFFERABLE_LABEL;
use zeroize::Zeroizing;

/// What matters of a Secret or ConfigMap.
///
/// Equality is by content: a relabelled Secret or a new `resourceVersion`
/// alone is no change, except for the label that permits offering it.
#[derive(Clone)]
pub struct Object {
    /// `type` of a Secret; empty for a ConfigMap.
    pub type_: String,
    /// Whether the opt-in label is there.
    pub offerable: bool,
    /// Values by key.
    pub data: BTreeMap<String, Arc<Zeroizing<Vec<u8>>>>,
    /// As the API server counts; shown in the status only.
    pub resource_version: Option<String>,
}

impl Object {
    /// From an object's parts; keeps only what matters.
    #[must_use]
    pub fn new(
        type_: &str,
        labels: Option<&BTreeMap<String, String>>,
        data: impl IntoIterator<Item = (String, Vec<u8>)>,
        resource_version: Option<String>,
    ) -> Self {
        let label = labels.and_then(|labels| labels.get(OFFERABLE_LABEL));
        Self {
            type_: type_.to_owned(),
            offerable: label.is_some_and(|value| value == "true"),
            data: data
                .into_iter()
                .map(|(key, value)| (key, Arc::new(Zeroizing::new(value))))
                .collect(),
            resource_version,
        }
    }

    /// The bytes under a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&[u8]> {
        self.data.get(key).map(|value| value.as_slice())
    }
}

impl PartialEq for Object {
    fn eq(&self, other: &Self) -> bool {
        self.type_ == other.type_ && self.offerable == other.offerable && self.data == other.data
    }
}

impl Eq for Object {}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<_> = self.data.keys().collect();
        write!(f, "Object(type {:?}, keys {keys:?})", self.type_)
    }
}

/// What is known of an object that somebody names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Observed {
    /// Not heard of yet: decides nothing.
    #[default]
    Pending,
    /// It does not exist.
    Absent,
    /// We may not read it; the text says what would let us.
    Forbidden(String),
    /// There it is.
    Present(Arc<Object>),
}
