//! Profile and objects → draft, or the one reason why not. Pure.
//!
//! The CRD's rules were judged before; whatever could lock an agent out is
//! checked here again, since an object may be older than its schema.

use std::{collections::BTreeSet, sync::Arc};

use opamp_operator_api::{
    reason::{ConditionType, Reason},
    v1alpha1::{Compatibility, OpAMPConnectionProfileSpec, ServedBy},
    values::{MARKER_HEADER, ObjectRef, ProfileKey},
};
use opamp_wire::proto::{Header, OpAmpConnectionSettings};
use prost::Message as _;

use super::{
    Context, Draft, Observed, Outcome, Refusal, Resolution, Revision,
    check::{credential, endpoint},
    encode::Plan,
    lockout,
    outcome::{Stop, refused},
    read::{Reader, Section, named},
    references::{part_references, references},
    sections::Sections,
};
use crate::{Now, earliest};

/// Largest `opamp` section, and largest message of all others, so that every
/// agent's receive limit holds it.
const MAX_SECTION_BYTES: usize = 256 * 1024;
/// A marker as a header's value.
const MARKER_CHARS: usize = 64;
/// Most objects that a profile may name: each is watched.
const MAX_OBJECTS: usize = 64;

/// Resolves a profile; `observe` says what is known of an object. What of
/// `last` stands beside OpAMP stays where the new is broken.
pub fn resolve<'a>(
    key: &ProfileKey,
    spec: &OpAMPConnectionProfileSpec,
    last: Option<&Revision>,
    observe: impl Fn(&ObjectRef) -> &'a Observed,
    context: &Context<'_>,
    now: Now,
) -> Resolution {
    let mut reader = Reader::new(key, observe, now);
    let mut beside = Vec::new();
    let outcome = match draft(&mut reader, spec, last, context, &mut beside) {
        Ok(draft) => Outcome::Resolved(Box::new(draft)),
        Err(Stop::Pending) => Outcome::Pending,
        Err(Stop::Refused(refusal)) => Outcome::Unresolved(refusal),
    };
    Resolution {
        outcome,
        beside,
        references: reader.references,
        until: reader.until,
    }
}

/// What keeps a profile's objects from being offered, as far as that can be
/// said away from the operator that would offer them: whether agents could come
/// back is not asked. Of one of the objects that is not known nothing is said.
pub fn preview<'a>(
    key: &ProfileKey,
    spec: &OpAMPConnectionProfileSpec,
    observe: impl Fn(&ObjectRef) -> &'a Observed,
    advertised_url: &url::Url,
    now: Now,
) -> Vec<Refusal> {
    let mut reader = Reader::new(key, observe, now);
    let mut beside = Vec::new();
    match previewed(&mut reader, spec, advertised_url, &mut beside) {
        Err(Stop::Refused(refusal)) => [vec![refusal], beside].concat(),
        Ok(()) => beside,
        Err(Stop::Pending) => Vec::new(),
    }
}

fn previewed<'a, F: Fn(&ObjectRef) -> &'a Observed>(
    reader: &mut Reader<'_, F>,
    spec: &OpAMPConnectionProfileSpec,
    advertised_url: &url::Url,
    beside: &mut Vec<Refusal>,
) -> Result<(), Stop> {
    named_objects(reader.key, spec)?;
    sections(reader, spec, None, beside);
    let plan = plan(reader, spec, advertised_url)?;
    fits(&plan.settings())
}

fn draft<'a, F: Fn(&ObjectRef) -> &'a Observed>(
    reader: &mut Reader<'_, F>,
    spec: &OpAMPConnectionProfileSpec,
    last: Option<&Revision>,
    context: &Context<'_>,
    beside: &mut Vec<Refusal>,
) -> Result<Draft, Stop> {
    // Pending first: half-read settings for OpAMP change no condition. What
    // stands beside them holds nothing of these back.
    let names = named_objects(reader.key, spec)?;
    let of_opamp = part_references(&reader.key.namespace, &spec.opamp_part());
    if of_opamp
        .iter()
        .any(|name| *(reader.observe)(name) == Observed::Pending)
    {
        return Err(Stop::Pending);
    }
    reader.references = names.iter().map(|name| reader.reference(name)).collect();
    let sections = sections(reader, spec, last, beside);
    let plan = plan(reader, spec, context.advertised_url)?;
    let credential = credential(&plan);
    let served_by = spec.opamp.served_by;
    lockout::check(&plan, served_by, &credential, context, reader.now)
        .map_err(|message| refused(ConditionType::Accepted, Reason::WouldLockOut, message))?;
    // At the end of our own certificate nobody could come back any more.
    let ours = context.serving.filter(|_| served_by == ServedBy::Operator);
    reader.until = earliest(reader.until, ours.map(|serving| serving.not_after));
    fits(&plan.settings())?;
    Ok(Draft::new(
        reader.key.clone(),
        Arc::new(spec.agent_selector.clone()),
        &plan,
        of_opamp,
        credential,
        served_by,
        sections,
        context.keys,
    ))
}

fn named_objects(
    key: &ProfileKey,
    spec: &OpAMPConnectionProfileSpec,
) -> Result<BTreeSet<ObjectRef>, Stop> {
    let names = references(&key.namespace, spec);
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
    Ok(names)
}

fn fits(settings: &OpAmpConnectionSettings) -> Result<(), Stop> {
    let marker = Header {
        key: MARKER_HEADER.into(),
        value: "0".repeat(MARKER_CHARS),
    };
    // With what tells a header from the next.
    let size = settings.encoded_len() + marker.encoded_len() + 8;
    too_large("the settings", size).map_or(Ok(()), |refusal| Err(Stop::Refused(refusal)))
}

/// What stands beside OpAMP: for others than before nothing stays as it was.
fn sections<'a, F: Fn(&ObjectRef) -> &'a Observed>(
    reader: &mut Reader<'_, F>,
    spec: &OpAMPConnectionProfileSpec,
    last: Option<&Revision>,
    broken: &mut Vec<Refusal>,
) -> Sections {
    let last = last.filter(|last| **last.selector() == spec.agent_selector);
    let last = last.map(Revision::sections);
    let (sections, wrong) = Sections::read(reader, spec, last);
    *broken = wrong;
    let Some(refusal) = too_large(
        "`ownTelemetry` and `otherConnections`",
        sections.encoded_len(),
    ) else {
        return sections;
    };
    broken.push(refusal);
    last.map_or_else(|| sections.forgotten(), Sections::clone)
}

fn too_large(what: &str, size: usize) -> Option<Refusal> {
    let message = format!(
        "{what} are {size} bytes, more than the {MAX_SECTION_BYTES} an agent is sure to take: shorten the CA bundle or \
         the headers"
    );
    (size > MAX_SECTION_BYTES).then_some(Refusal {
        condition: ConditionType::Accepted,
        reason: Reason::OfferTooLarge,
        message,
    })
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
