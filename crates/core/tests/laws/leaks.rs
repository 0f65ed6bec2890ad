//! Law 7: nothing leaks.

use opamp_operator_core::{
    identity::{Ledger, Presented},
    offer::Revision,
};

use crate::common::{Bench, STRONG_TOKEN, World, at};

#[test]
fn law7_debug_shows_nothing_secret() {
    let world = World::new();
    let draft = world.draft();
    let mut ledger = Ledger::default();
    ledger.put(draft.ledger_entry(1, at(0).wall));
    let trust = world.trust(&ledger);
    let presented = Presented::new(
        vec![world.client.der.clone()],
        Some(format!("Bearer {STRONG_TOKEN}").as_bytes()),
        None,
    );
    let mut bench = Bench::new(world.revision(1));
    let (_, heard) = bench.come(presented.clone(), 0);
    assert!(heard.offers());
    let shown = [
        format!("{draft:?}"),
        format!("{:?}", Revision::new(draft.clone(), 1)),
        format!("{:?}", world.objects),
        format!("{presented:?}"),
        format!("{trust:?}"),
        format!("{ledger:?}"),
        format!("{:?}", world.keys),
        format!("{:?}", bench.agent),
        format!("{:?}", bench.agent.record()),
        format!("{:?}", bench.target),
        format!("{heard:?}"),
        format!("{:?}", world.resolve()),
    ];
    let key_body = world.client.key.lines().nth(1).unwrap();
    let key_hex: String = hex::encode(&world.client.key_der);
    let key_list = format!("{:?}", &world.client.key_der[..16]);
    let key_list = key_list.trim_matches(['[', ']']);
    let token_list = format!("{:?}", STRONG_TOKEN.as_bytes());
    let token_list = token_list.trim_matches(['[', ']']);
    for text in shown {
        for secret in [
            STRONG_TOKEN,
            "-----BEGIN",
            key_body,
            &key_hex,
            key_list,
            token_list,
        ] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
}
