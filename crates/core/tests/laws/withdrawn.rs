//! Law 4: settings whose objects were taken away stay with the agents that have
//! them, and go to nobody else. Broken content is another matter: the last good
//! settings stay in force for everybody.

use opamp_operator_api::{
    reason::{ConditionType, Reason},
    values::ObjectRef,
};
use opamp_operator_core::{
    catalog::Settled,
    offer::Observed,
    rollout::Rollout,
    status::{Overlap, summarize},
};

use super::catalog::Bench;
use crate::common::{at, opaque, tls_secret};

/// A profile with revision 1 in force.
fn in_force() -> Bench {
    let mut bench = Bench::new();
    let spec = bench.world.spec.clone();
    bench.write(Ok(&spec), 0);
    bench.settle(2, false);
    assert_eq!((bench.number(), withdrawn(&bench)), (1, None));
    bench
}

/// What of the settings in force was taken away.
pub(super) fn withdrawn(bench: &Bench) -> Option<ObjectRef> {
    let state = bench.catalog.get(&bench.world.profile).unwrap();
    state.withdrawn.clone()
}

/// An object changes, and the profile is judged with it.
pub(super) fn observe(
    bench: &mut Bench,
    object: &ObjectRef,
    observed: Observed,
    seconds: u64,
) -> Settled {
    bench.catalog.set_object(object, observed, at(seconds));
    judge(bench, seconds + 2)
}

pub(super) fn judge(bench: &mut Bench, seconds: u64) -> Settled {
    let settled = bench.settle(seconds, true);
    let key = bench.world.profile.clone();
    bench.catalog.withdraw(&key);
    settled
}

/// Reason and message of a condition.
pub(super) fn says(bench: &Bench, kind: ConditionType) -> (String, String) {
    let state = bench.catalog.get(&bench.world.profile).unwrap();
    let status = summarize(
        state,
        &[],
        &Overlap::default(),
        &Rollout::default(),
        at(900),
    );
    let mut all = status.conditions.into_iter();
    let condition = all.find(|one| one.type_ == kind.as_str()).unwrap();
    (condition.reason, condition.message)
}

#[test]
fn law4_what_was_taken_away_goes_to_nobody_new() {
    let mut bench = in_force();
    let secret = ObjectRef::secret("a", "client");
    let bundle = ObjectRef::config_map("a", "bundle");
    let mut unlabelled = tls_secret("", "");
    unlabelled.offerable = false;
    let forbidden = || Observed::Forbidden("`kubectl create role`".into());
    let cases = [
        (&secret, Observed::Absent, Reason::SecretNotFound),
        (&secret, forbidden(), Reason::Forbidden),
        (
            &secret,
            Observed::Present(unlabelled.into()),
            Reason::SecretNotOptedIn,
        ),
        (&bundle, Observed::Absent, Reason::ConfigMapNotFound),
        (&bundle, forbidden(), Reason::Forbidden),
    ];
    for (case, (object, observed, reason)) in cases.into_iter().enumerate() {
        let second = 10 + 10 * u64::try_from(case).unwrap();
        let good = bench.catalog.object(object).clone();
        observe(&mut bench, object, observed, second);
        assert_eq!(withdrawn(&bench).as_ref(), Some(object), "{reason}");
        assert_eq!(bench.number(), 1);
        let (why, message) = says(&bench, ConditionType::Ready);
        assert_eq!(why, reason.as_str());
        for part in [
            "revision 1 stays in force for the agents that have it",
            "offered to nobody else",
            &object.name,
        ] {
            assert!(message.contains(part), "{part} in {message}");
        }
        let (why, _) = says(&bench, ConditionType::Progressing);
        assert_eq!(why, reason.as_str());

        // It comes back as it was: no new revision.
        let back = observe(&mut bench, object, good, second + 5);
        assert!(matches!(back, Settled::Retargeted), "{back:?}");
        assert_eq!((bench.number(), withdrawn(&bench)), (1, None));
    }
}

#[test]
fn law4_broken_content_takes_nothing_away() {
    let mut bench = in_force();
    let broken = Observed::Present(opaque(&[("token", "")]).into());
    observe(&mut bench, &ObjectRef::secret("a", "token"), broken, 10);
    assert_eq!((bench.number(), withdrawn(&bench)), (1, None));
    let (reason, message) = says(&bench, ConditionType::Ready);
    assert_eq!(reason, Reason::InvalidHeaderValue.as_str());
    assert!(message.ends_with("revision 1 stays in force"), "{message}");
}

/// A name in a new spec that is wrong says nothing about the objects of the
/// settings in force; these are watched as long as they are.
#[test]
fn law4_only_the_objects_of_what_is_in_force_count() {
    let mut bench = in_force();
    let mut spec = bench.world.spec.clone();
    let secret = spec.opamp.client_certificate.secret_ref.as_mut().unwrap();
    secret.name = "misspelt".into();
    bench.write(Ok(&spec), 10);
    judge(&mut bench, 12);
    let (reason, _) = says(&bench, ConditionType::Ready);
    assert_eq!(reason, Reason::SecretNotFound.as_str());
    assert_eq!((bench.number(), withdrawn(&bench)), (1, None));

    let before = ObjectRef::secret("a", "client");
    assert!(bench.catalog.wanted().contains(&before));
    observe(&mut bench, &before, Observed::Absent, 20);
    assert_eq!(withdrawn(&bench), Some(before.clone()));

    // The new name is there: what was before is nobody's concern any more.
    let pair = &bench.world.client;
    let good = Observed::Present(tls_secret(&pair.crt, &pair.key).into());
    observe(&mut bench, &ObjectRef::secret("a", "misspelt"), good, 30);
    assert_eq!(withdrawn(&bench), None);
    assert!(!bench.catalog.wanted().contains(&before));
}
