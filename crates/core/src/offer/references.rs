//! Which objects a profile names.

use std::collections::BTreeSet;

use opamp_operator_api::{
    v1alpha1::{CABundleRef, ConnectionPart, OpAMPConnectionProfileSpec},
    values::ObjectRef,
};

/// The objects a profile names, all in its own namespace.
#[must_use]
pub fn references(namespace: &str, spec: &OpAMPConnectionProfileSpec) -> BTreeSet<ObjectRef> {
    let parts = spec.parts();
    let named = parts
        .iter()
        .flat_map(|part| part_references(namespace, part));
    named.collect()
}

/// Those that one connection of it names.
pub(super) fn part_references(namespace: &str, part: &ConnectionPart<'_>) -> BTreeSet<ObjectRef> {
    let secret = |name: &str| ObjectRef::secret(namespace, name);
    let headers = part.headers.iter().map(|header| &header.value_from);
    let proxy = part.proxy.iter().flat_map(|proxy| &proxy.connect_headers);
    let sources = headers.chain(proxy.map(|header| &header.value_from));
    let sources = sources.flatten();
    let mut found: BTreeSet<_> = sources
        .map(|source| secret(&source.secret_key_ref.name))
        .collect();
    let certificate = part.client_certificate.secret_ref.as_ref();
    found.extend(certificate.map(|r| secret(&r.name)));
    let bundle = part.tls.ca_bundle_ref.as_ref();
    found.extend(bundle.map(|r| bundle_object(namespace, r)));
    found
}

fn bundle_object(namespace: &str, reference: &CABundleRef) -> ObjectRef {
    ObjectRef::new(reference.kind.into(), namespace, &reference.name)
}
