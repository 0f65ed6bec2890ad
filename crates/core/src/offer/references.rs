//! Which objects a profile names.

use std::collections::BTreeSet;

use opamp_operator_api::{
    v1alpha1::{CABundleRef, OpAMPConnectionProfileSpec},
    values::ObjectRef,
};

/// The objects a profile names, all in its own namespace.
#[must_use]
pub fn references(namespace: &str, spec: &OpAMPConnectionProfileSpec) -> BTreeSet<ObjectRef> {
    let secret = |name: &str| ObjectRef::secret(namespace, name);
    let opamp = &spec.opamp;
    let headers = opamp.headers.iter().map(|header| &header.value_from);
    let connect = opamp.proxy.iter().flat_map(|proxy| &proxy.connect_headers);
    let mut found: BTreeSet<_> = headers
        .chain(connect.map(|header| &header.value_from))
        .flatten()
        .map(|source| secret(&source.secret_key_ref.name))
        .collect();
    found.extend(
        opamp
            .client_certificate
            .secret_ref
            .as_ref()
            .map(|r| secret(&r.name)),
    );
    found.extend(
        opamp
            .tls
            .ca_bundle_ref
            .as_ref()
            .map(|r| bundle_object(namespace, r)),
    );
    found
}

fn bundle_object(namespace: &str, reference: &CABundleRef) -> ObjectRef {
    ObjectRef::new(reference.kind.into(), namespace, &reference.name)
}
