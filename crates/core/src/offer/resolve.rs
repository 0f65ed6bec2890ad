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
/// back is not asked. Nothing also while one of the objects is not known.
pub fn preview<'a>(
    key: &ProfileKey,
    spec: &OpAMPConnectionProfileSpec,
    observe: impl Fn(&ObjectRef) -> &'a Observed,
    advertised_url: &url::Url,
    now: Now,
) -> Vec<Refusal> {
    let mut reader = Reader::new(key, observe, now);
    let mut beside = Vec::new();
    let read = sections(&mut reader, spec, None, &mut beside);
    let plan = read.and_then(|_| plan(&mut reader, spec, advertised_url));
    match plan {
        Err(Stop::Refused(refusal)) => [vec![refusal], beside].concat(),
        Ok(_) => beside,
        Err(Stop::Pending) => Vec::new(),
    }
}

fn draft<'a, F: Fn(&ObjectRef) -> &'a Observed>(
    reader: &mut Reader<'_, F>,
    spec: &OpAMPConnectionProfileSpec,
    last: Option<&Revision>,
    context: &Context<'_>,
    beside: &mut Vec<Refusal>,
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
    let sections = sections(reader, spec, last, beside)?;
    let plan = plan(reader, spec, context.advertised_url)?;
    let credential = credential(&plan);
    let served_by = spec.opamp.served_by;
    lockout::check(&plan, served_by, &credential, context, reader.now)
        .map_err(|message| refused(ConditionType::Accepted, Reason::WouldLockOut, message))?;
    // At the end of our own certificate nobody could come back any more.
    let ours = context.serving.filter(|_| served_by == ServedBy::Operator);
    reader.until = earliest(reader.until, ours.map(|serving| serving.not_after));
    let draft = Draft::new(
        reader.key.clone(),
        Arc::new(spec.agent_selector.clone()),
        &plan,
        part_references(&reader.key.namespace, &spec.opamp_part()),
        credential,
        served_by,
        sections,
        context.keys,
    );
    match too_large("the settings", draft.encoded_len()) {
        Some(refusal) => Err(Stop::Refused(refusal)),
        None => Ok(draft),
    }
}

/// What stands beside OpAMP: for others than before nothing stays as it was.
fn sections<'a, F: Fn(&ObjectRef) -> &'a Observed>(
    reader: &mut Reader<'_, F>,
    spec: &OpAMPConnectionProfileSpec,
    last: Option<&Revision>,
    broken: &mut Vec<Refusal>,
) -> Result<Sections, Stop> {
    let last = last.filter(|last| **last.selector() == spec.agent_selector);
    let last = last.map(Revision::sections);
    let (sections, wrong) = Sections::read(reader, spec, last)?;
    *broken = wrong;
    let Some(refusal) = too_large(
        "`ownTelemetry` and `otherConnections`",
        sections.encoded_len(),
    ) else {
        return Ok(sections);
    };
    broken.push(refusal);
    Ok(last.map_or_else(|| sections.forgotten(), Sections::clone))
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
