//! Under which name the log tells what came of a change.

use std::sync::Arc;

use opamp_operator_api::values::ObjectRef;
use opamp_operator_core::{
    catalog::Settled,
    offer::{Change, Observed, Revision},
};

use crate::{
    catalog::Bench,
    common::{STRONG_TOKEN, at, opaque},
};

/// The profile's token becomes another.
fn renew(bench: &mut Bench, token: &str, seconds: u64) -> Change {
    let object = opaque(&[("token", token)]);
    let observed = Observed::Present(Arc::new(object));
    let token = ObjectRef::secret("a", "token");
    let told = bench.catalog.set_object(&token, observed, at(seconds));
    assert_eq!(told.len(), 1, "{told:?}");
    told[0]
}

fn change(bench: &Bench) -> Option<Change> {
    bench.catalog.get(&bench.world.profile).unwrap().change()
}

/// Settles the profile; what is to be adopted.
fn draft(bench: &mut Bench, seconds: u64) -> (Revision, Settled) {
    let settled = bench.judge(seconds);
    let Settled::Draft(draft, _) = &settled else {
        panic!("{settled:?}")
    };
    let made_for = bench.catalog.get(&bench.world.profile).unwrap();
    let made_for = made_for.awaited_change();
    let revision = Revision::new((**draft).clone(), bench.number() + 1);
    (revision.caused_by(made_for), settled)
}

fn adopt(bench: &mut Bench, (revision, settled): (Revision, Settled), seconds: u64) {
    let Settled::Draft(_, spec) = settled else {
        unreachable!()
    };
    let at = at(seconds).wall;
    bench.catalog.adopt(Arc::new(revision), spec, at, true);
}

fn token(n: u8) -> String {
    format!("{n:032}")
}

#[test]
fn a_profile_and_the_objects_that_it_was_waiting_for_are_one_change() {
    let mut bench = Bench::new();
    let name = ObjectRef::secret("a", "token");
    bench.world.objects.insert(name, Observed::Pending);
    bench.write(Ok(&bench.world.spec.clone()), 0);
    assert!(matches!(bench.judge(2), Settled::Unchanged));
    renew(&mut bench, &token(0), 3);
    let first = draft(&mut bench, 5);
    let made_for = first.0.change().unwrap();
    assert_eq!(made_for.at, at(0));
    assert_eq!(change(&bench), Some(made_for));
    adopt(&mut bench, first, 5);
    assert_eq!(change(&bench), Some(made_for), "it is in force");
}

#[test]
fn changes_that_are_judged_together_have_the_name_of_the_first() {
    let mut bench = Bench::new();
    bench.write(Ok(&bench.world.spec.clone()), 0);
    let first = draft(&mut bench, 2);
    let before = first.0.change();
    adopt(&mut bench, first, 2);
    let one = renew(&mut bench, &token(1), 10);
    let two = renew(&mut bench, &token(2), 11);
    assert_eq!(one, two);
    assert_eq!(one.at, at(10));
    assert_ne!(Some(one), before);
    let both = draft(&mut bench, 12);
    assert_eq!(both.0.change(), Some(one));
    // While the ledger's entry is written, another comes.
    let three = renew(&mut bench, &token(3), 13);
    assert_ne!(three, one);
    adopt(&mut bench, both, 14);
    assert_eq!(change(&bench), Some(one));
    let next = draft(&mut bench, 15);
    assert_eq!(next.0.change(), Some(three));
    // It is judged again before it is stored, and is the same change.
    let next = draft(&mut bench, 16);
    assert_eq!(next.0.change(), Some(three));
    adopt(&mut bench, next, 17);
    // Nothing came of one that was taken back in time.
    let taken_back = renew(&mut bench, &token(4), 20);
    assert_eq!(renew(&mut bench, &token(3), 21), taken_back);
    assert!(matches!(bench.judge(22), Settled::Unchanged));
    assert_eq!(change(&bench), Some(three));
}

#[test]
fn what_is_held_back_is_told_under_its_own_name_and_not_that_of_what_is_in_force() {
    let mut bench = Bench::new();
    bench.write(Ok(&bench.world.spec.clone()), 0);
    let first = draft(&mut bench, 2);
    let in_force = first.0.change();
    adopt(&mut bench, first, 2);
    let broken = renew(&mut bench, "", 10);
    assert!(matches!(bench.judge(12), Settled::Unchanged));
    assert_eq!(change(&bench), Some(broken));
    // Judged again without a change it still is that.
    assert!(matches!(bench.judge(20), Settled::Unchanged));
    assert_eq!(change(&bench), Some(broken));
    // Mended by what is in force already: the status tells of that.
    let back = renew(&mut bench, STRONG_TOKEN, 25);
    assert!(matches!(bench.judge(27), Settled::Unchanged));
    let state = bench.catalog.get_mut(&bench.world.profile).unwrap();
    assert_eq!(state.told_change(), Some(back));
    assert_eq!(state.told_change(), in_force, "and that once");
    let mended = renew(&mut bench, &token(1), 30);
    let next = draft(&mut bench, 32);
    assert_eq!(next.0.change(), Some(mended));
    assert!(![Some(broken), in_force].contains(&Some(mended)));
}

#[test]
fn what_an_earlier_process_published_has_no_name() {
    let mut bench = Bench::new();
    bench.write(Ok(&bench.world.spec.clone()), 0);
    let (revision, settled) = draft(&mut bench, 2);
    adopt(&mut bench, (revision.caused_by(None), settled), 2);
    assert_eq!(change(&bench), None);
}
