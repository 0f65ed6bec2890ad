//! From what somebody writes to what agents are offered.

use std::{collections::BTreeMap, sync::LazyLock};

use arbitrary::{Arbitrary as _, Unstructured};
use opamp_operator::{
    backend::directory::Found,
    judge::{Judge, Refusal},
};
use opamp_operator_api::{ObjectRef, ProfileKey};
use opamp_operator_core::offer::{Observed, Outcome};
use serde_json::Value;

use crate::{
    offer,
    shape::Shape,
    world::{WORLD, at},
};

/// The first byte of an input that describes one profile, and is no text.
pub(crate) const SHAPE: u8 = 0;
/// Longest path of a field, and longest message about it.
const MAX_REFUSAL: usize = 2000;

static JUDGE: LazyLock<Judge> = LazyLock::new(Judge::new);

/// Reads `data` as manifests: profiles, and objects that stand for those of
/// the world. What the judge accepts it accepts again; what is resolved is
/// complete and safe, in the eyes of an agent that knows only what it is sent.
pub fn profile(data: &[u8]) {
    offers(data);
}

/// How many of the profiles bring an offer.
pub(crate) fn offers(data: &[u8]) -> usize {
    if let Some((&SHAPE, rest)) = data.split_first() {
        let shape = Shape::arbitrary(&mut Unstructured::new(rest));
        let offers = |shape: Shape| judged(shape.document(), &BTreeMap::new(), &[]);
        return shape.is_ok_and(offers).into();
    }
    let Ok(text) = std::str::from_utf8(data) else {
        return 0;
    };
    // What is wrong may be shown to people.
    let found = match Found::read(text) {
        Ok((found, wrong)) => {
            for wrong in wrong {
                silent(&wrong, data);
            }
            found
        }
        Err(wrong) => {
            silent(&wrong, data);
            return 0;
        }
    };
    let objects = found.objects.into_iter();
    let objects = objects.map(|(name, object)| (name, Observed::Present(object)));
    let objects = objects.collect();
    let documents = found.profiles.into_values().take(4);
    documents
        .filter(|document| judged(document.clone(), &objects, data))
        .count()
}

/// Whether it brings an offer. `said` is what its writer wrote, and may be told.
fn judged(document: Value, objects: &BTreeMap<ObjectRef, Observed>, said: &[u8]) -> bool {
    let profile = match JUDGE.read(document.clone()) {
        Ok(profile) => profile,
        Err(refusals) => {
            refused(&refusals, said);
            return false;
        }
    };
    let stored = JUDGE
        .read_stored(document)
        .expect("the API server takes it");
    assert_eq!(stored.spec, profile.spec, "stored, it says something else");
    let written = serde_json::to_value(&profile).expect("a profile is plain data");
    let again = JUDGE
        .read(written)
        .expect("what was accepted is acceptable");
    assert_eq!(
        again.spec, profile.spec,
        "read twice, it says something else"
    );

    let key = ProfileKey::from(&profile);
    let observe = |name: &ObjectRef| {
        assert_eq!(name.namespace, key.namespace, "a tenant reads of another");
        objects.get(name).unwrap_or_else(|| WORLD.observe(name))
    };
    let resolution = WORLD.resolve(&key, &profile.spec, observe);
    silent(&format!("{resolution:?}"), said);
    assert!(resolution.until.is_none_or(|until| at(0).wall < until));
    match resolution.outcome {
        Outcome::Pending => false,
        Outcome::Unresolved(refusal) => {
            assert!(!refusal.message.is_empty());
            false
        }
        Outcome::Resolved(draft) => {
            offer::check(&key, &profile.spec, observe, *draft);
            true
        }
    }
}

fn refused(refusals: &[Refusal], said: &[u8]) {
    assert!((1..=50).contains(&refusals.len()), "{}", refusals.len());
    for Refusal { field, message } in refusals {
        assert!(field.len() <= MAX_REFUSAL, "{field}");
        assert!(message.len() <= MAX_REFUSAL, "{message}");
        silent(message, said);
    }
}

/// Law 7; a secret that somebody wrote where names belong is none any more.
fn silent(printed: &str, said: &[u8]) {
    for secret in WORLD.secrets() {
        let known = || said.windows(secret.len()).any(|w| w == secret.as_bytes());
        assert!(!printed.contains(secret) || known(), "law 7: {printed}");
    }
}
