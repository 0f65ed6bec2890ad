//! Profile and objects → draft, or the one reason why not. Pure.
//!
//! The CRD's rules were judged before; whatever could lock an agent out is
//! checked here again, since an object may be older than its schema.

use std::sync::Arc;

use opamp_operator_api::{
    reason::{ConditionType, Reason},
    v1alpha1::{Compatibility, OpAMPConnectionProfileSpec, ServedBy},
    values::{ObjectRef, ProfileKey},
};

use super::{
    Context, Draft, Observed, Outcome, Refusal, Resolution,
    check::{credential, endpoint},
    encode::Plan,
    lockout,
    outcome::{Stop, refused},
    read::{Reader, Section, named},
    references,
    sections::Sections,
};
use crate::{Now, earliest};

/// Largest `opamp` section, and largest message of all others, so that every
/// agent's receive limit holds it.
const MAX_SECTION_BYTES: usize = 256 * 1024;
/// Most objects that a profile may name: each is watched.
const MAX_OBJECTS: usize = 64;

/// Resolves a profile; `observe` says what is known of an object.
pub fn resolve<'a>(
    key: &ProfileKey,
    spec: &OpAMPConnectionProfileSpec,
    observe: impl Fn(&ObjectRef) -> &'a Observed,
    context: &Context<'_>,
    now: Now,
) -> Resolution {
    let mut reader = Reader::new(key, observe, now);
    let outcome = match draft(&mut reader, spec, context) {
        Ok(draft) => Outcome::Resolved(Box::new(draft)),
        Err(Stop::Pending) => Outcome::Pending,
        Err(Stop::Refused(refusal)) => Outcome::Unresolved(refusal),
    };
    Resolution {
        outcome,
        references: reader.references,
        until: reader.until,
    }
}

/// What keeps a profile's objects from being offered, as far as that can be
/// said away from the operator that would offer them: whether agents could come
/// back is not asked. None also while one of the objects is not known.
pub fn preview<'a>(
    key: &ProfileKey,
    spec: &OpAMPConnectionProfileSpec,
    observe: impl Fn(&ObjectRef) -> &'a Observed,
    advertised_url: &url::Url,
    now: Now,
) -> Option<Refusal> {
    let mut reader = Reader::new(key, observe, now);
    let read = plan(&mut reader, spec, advertised_url);
    let read = read.and_then(|_| Sections::read(&mut reader, spec));
    match read {
        Err(Stop::Refused(refusal)) => Some(refusal),
        Ok(_) | Err(Stop::Pending) => None,
    }
}

fn draft<'a, F: Fn(&ObjectRef) -> &'a Observed>(
    reader: &mut Reader<'_, F>,
    spec: &OpAMPConnectionProfileSpec,
    context: &Context<'_>,
) -> Result<Draft, Stop> {
    // Pending first: a half-read profile changes no condition.
    let names = references(&reader.key.namespace, spec);
    if names.len() > MAX_OBJECTS {
        return Err(refused(
            ConditionType::Accepted,
            Reason::InvalidSpec,
            format!(
                "the profile names {} Secrets and ConfigMaps, more than {MAX_OBJECTS}: put several keys into one",
                names.len()
            ),
        ));
    }
    if names
        .iter()
        .any(|name| *(reader.observe)(name) == Observed::Pending)
    {
        return Err(Stop::Pending);
    }
    reader.references = names.iter().map(|name| reader.reference(name)).collect();
    let plan = plan(reader, spec, context.advertised_url)?;
    let credential = credential(&plan);
    let served_by = spec.opamp.served_by;
    lockout::check(&plan, served_by, &credential, context, reader.now)
        .map_err(|message| refused(ConditionType::Accepted, Reason::WouldLockOut, message))?;
    // At the end of our own certificate nobody could come back any more.
    let ours = context.serving.filter(|_| served_by == ServedBy::Operator);
    reader.until = earliest(reader.until, ours.map(|serving| serving.not_after));
    let sections = Sections::read(reader, spec)?;
    let draft = Draft::new(
        reader.key.clone(),
        Arc::new(spec.agent_selector.clone()),
        &plan,
        credential,
        served_by,
        sections,
        context.keys,
    );
    let largest = draft.encoded_len().max(draft.beside_len());
    if largest > MAX_SECTION_BYTES {
        let message = format!(
            "the settings are {largest} bytes, more than the {MAX_SECTION_BYTES} an agent is sure to take: \
             shorten the CA bundle or the headers"
        );
        return Err(refused(
            ConditionType::Accepted,
            Reason::OfferTooLarge,
            message,
        ));
    }
    Ok(draft)
}

fn plan<'a, F: Fn(&ObjectRef) -> &'a Observed>(
    reader: &mut Reader<'_, F>,
    spec: &OpAMPConnectionProfileSpec,
    advertised_url: &url::Url,
) -> Result<Plan, Stop> {
    let opamp = &spec.opamp;
    let endpoint = endpoint(opamp.endpoint.as_deref(), advertised_url)?;
    let connection = reader.connection(&Section {
        path: "",
        tls: matches!(endpoint.scheme(), "wss" | "https"),
        client_ca: opamp.compatibility == Compatibility::Strict,
        headers: named(&opamp.headers),
        client_certificate: &opamp.client_certificate,
        trust: &opamp.tls,
        proxy: opamp.proxy.as_ref(),
    })?;
    Ok(Plan {
        endpoint,
        compatibility: opamp.compatibility,
        // 0 would switch heartbeats off, or an HTTP agent for good (H3).
        heartbeat_seconds: u64::from(opamp.heartbeat_interval_seconds).max(1),
        connection,
    })
}
