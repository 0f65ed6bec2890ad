//! One of several processes writes, the others follow what it publishes.

use opamp_operator::backend::Observation;
use opamp_operator_api::{ObjectRef, v1alpha1::OpAMPConnectionProfileStatus};
use opamp_operator_core::{catalog::Bound, identity::LedgerEntry};
use serde_json::json;

use crate::{Bench, object, profile, spec};

impl Bench {
    async fn leads(&self, leads: bool) {
        self.observe(Observation::Leads(leads)).await;
    }

    /// A Secret changes, as this process sees it.
    async fn renew(&mut self, token: &str) {
        let secret = ObjectRef::secret("a", "token");
        let renewed = object(true, "token", &token.repeat(2));
        self.objects.insert(secret.clone(), renewed);
        self.tell(&secret).await;
    }

    /// What was published last, stored.
    async fn publishes(&mut self) -> LedgerEntry {
        self.seconds(4).await;
        let entry = self.ledger[0].0.clone();
        self.store(Ok);
        self.seconds(2).await;
        entry
    }

    async fn hears(&mut self, entry: &LedgerEntry) {
        self.observe(Observation::Ledger(Box::new(entry.clone())))
            .await;
        self.seconds(4).await;
    }

    /// The number in force, whether it is held, and how far it may go.
    fn offers(&self) -> Option<(u64, bool, Bound)> {
        let target = self.target("p")?;
        Some((target.current.number(), target.paused, target.bound))
    }
}

/// Two processes with one profile: one that leads, and one that follows.
async fn two() -> (Bench, Bench) {
    let (mut leader, mut follower) = (Bench::new(None), Bench::new(None));
    follower.objects.clone_from(&leader.objects);
    follower.leads(false).await;
    for bench in [&mut leader, &mut follower] {
        bench.write("p", 1, false).await;
        bench.list().await;
    }
    follower.seconds(10).await;
    (leader, follower)
}

#[tokio::test(start_paused = true)]
async fn law8_whoever_follows_offers_what_is_published_and_writes_nothing() {
    let (mut leader, mut follower) = two().await;
    assert_eq!(follower.offers(), None, "nothing was published");
    let first = leader.publishes().await;
    follower.hears(&first).await;
    assert_eq!(follower.offers(), Some((1, false, Bound::Nobody)));
    // The first agent of the leader proved it.
    let status: OpAMPConnectionProfileStatus = serde_json::from_value(json!({
        "revision": {"number": 1, "marker": "m", "startTime": "2026-01-02T03:04:05Z", "cause": "SpecChanged"},
        "agents": {"upToDate": 1},
    }))
    .unwrap();
    let told = Observation::Status(profile("p"), Box::new(status));
    follower.observe(told).await;
    follower.seconds(1).await;
    assert_eq!(follower.offers(), Some((1, false, Bound::Everyone)));

    // A renewal of which it hears before it sees it: the old goes to nobody.
    leader.renew("fedcba9876543210").await;
    let second = leader.publishes().await;
    assert_eq!(second.number, 2);
    follower.hears(&second).await;
    let offers = follower.offers().unwrap();
    assert_eq!((offers.0, offers.1), (1, true));
    follower.renew("fedcba9876543210").await;
    follower.seconds(4).await;
    assert_eq!(follower.offers(), Some((2, false, Bound::Nobody)));
    // And one that it sees before it is published: what is in force stays.
    follower.renew("0f1e2d3c4b5a6978").await;
    follower.seconds(10).await;
    assert_eq!(follower.offers(), Some((2, false, Bound::Nobody)));
    assert!(follower.ledger.is_empty() && follower.writes == 0);

    // The leader dies before it sees that one.
    follower.leads(true).await;
    let third = follower.publishes().await;
    assert_eq!(third.number, 3);
    assert_eq!(follower.offers().unwrap().0, 3);
    assert!(follower.writes > 0);
}

#[tokio::test(start_paused = true)]
async fn law8_whoever_takes_over_numbers_its_own_settings_anew() {
    let (mut leader, mut follower) = two().await;
    let first = leader.publishes().await;
    follower.hears(&first).await;
    // It never sees what the other one makes its second revision of.
    leader.renew("fedcba9876543210").await;
    let second = leader.publishes().await;
    follower.hears(&second).await;
    follower.leads(true).await;
    let third = follower.publishes().await;
    assert_eq!((third.number, third.marker), (3, first.marker));
    let offers = follower.offers().unwrap();
    assert_eq!((offers.0, offers.1), (3, false));
}

/// An edit is taken back, or broken, while its entry is being stored: it is
/// published, and in force nowhere.
#[tokio::test(start_paused = true)]
async fn law8_nobody_waits_for_settings_that_were_taken_back() {
    let edit = |seconds: u32, bundle: &str| {
        let mut spec = spec(false);
        spec.opamp.heartbeat_interval_seconds = seconds;
        spec.opamp.tls.ca_bundle_ref.as_mut().unwrap().name = bundle.into();
        spec
    };
    for last in [spec(false), edit(40, "misspelt")] {
        let (mut leader, mut follower) = two().await;
        let first = leader.publishes().await;
        follower.hears(&first).await;
        leader.write_spec("p", 2, edit(40, "ca")).await;
        leader.seconds(4).await;
        for bench in [&leader, &follower] {
            bench.write_spec("p", 3, last.clone()).await;
        }
        let second = leader.publishes().await;
        assert_eq!(leader.offers().unwrap().0, 1);
        follower.hears(&second).await;
        assert!(follower.offers().unwrap().1, "it cannot know yet");
        let third = leader.publishes().await;
        assert_eq!((third.number, third.marker), (3, first.marker));
        follower.hears(&third).await;
        for bench in [&mut leader, &mut follower] {
            bench.seconds(5).await;
            let offers = bench.offers().unwrap();
            assert_eq!((offers.0, offers.1), (3, false));
            assert!(bench.ledger.is_empty());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn law8_whoever_loses_the_lease_stops_to_write_and_goes_on_later() {
    let mut bench = Bench::new(None);
    bench.write("p", 1, false).await;
    bench.list().await;
    let first = bench.publishes().await;
    assert_eq!(first.number, 1);
    let writes = bench.writes;
    bench.leads(false).await;
    bench.renew("fedcba9876543210").await;
    bench.write("q", 1, false).await;
    bench.seconds(30).await;
    assert!(bench.ledger.is_empty() && bench.writes == writes);
    assert_eq!(bench.offers().unwrap().0, 1);
    bench.leads(true).await;
    bench.seconds(3).await;
    let mut waited: Vec<_> = bench.ledger.iter().map(|(e, _)| e.number).collect();
    waited.sort_unstable();
    assert_eq!(waited, [1, 2]);
}
