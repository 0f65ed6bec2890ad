//! Version `v1alpha1` of the API.

#[expect(
    clippy::duplicated_attributes,
    reason = "each printer column is a list of the same attributes"
)]
#[expect(
    unreachable_pub,
    reason = "the derive of KubeSchema copies each struct, `pub` included, into a function"
)]
pub mod profile;

pub use profile::*;
