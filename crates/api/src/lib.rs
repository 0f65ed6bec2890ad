//! The `opamp-operator.dev` API: the types behind the custom resources, the
//! rules that the API server and the offline judge enforce, the words for
//! outcomes (reasons, conditions) and the values that cross module borders.
//!
//! Nothing here does I/O or reads a clock.

#[expect(
    unreachable_pub,
    reason = "the derive of KubeSchema copies each struct, `pub` included, into a function"
)]
pub mod agent;
pub mod condition;
pub mod reason;
pub mod selector;
pub mod v1alpha1;
pub mod values;

mod schema;

pub use condition::{ConditionStatus, set_condition};
pub use reason::{ConditionType, Reason};
pub use values::{
    Attributes, Found, Identity, IdentityMethod, MARKER_HEADER, OFFERABLE_LABEL, ObjectKind,
    ObjectRef, ProfileKey,
};

/// The API group of every kind in this crate.
pub const GROUP: &str = "opamp-operator.dev";

/// `apiVersion` of every kind in this crate.
pub const API_VERSION: &str = "opamp-operator.dev/v1alpha1";
