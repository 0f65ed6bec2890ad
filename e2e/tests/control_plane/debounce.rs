//! E8: changes that come together make one offer.

use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::cluster::ClusterWorld;
use e2e::eventually::throughout;
use e2e::manifests::{CLIENT_TLS, offerable_tls};
use e2e::pki::{DAY, KeyKind, Window};
use e2e::scene::Setup;

use crate::steps::{exchanges, nobody_was_refused, offers, ready, shows_leaf};

/// Between the two changes: less than a second, and longer than the operator
/// would need without gathering.
const BETWEEN: Duration = Duration::from_millis(700);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e8_two_changes_of_a_secret_within_a_second_make_one_offer() -> Result<()> {
    let setup = Setup {
        debounce: Duration::from_secs(2),
        ..Setup::default()
    };
    let (mut world, first) = ClusterWorld::with_mutual_tls("e8", setup).await?;
    let uid = world.supervisor("a1").await?;
    shows_leaf(&world, &uid, &first).await?;
    ready(&world, 1, 1).await?;
    // Heartbeats are 5 s apart.  Within 15 s of an offer there is no other for
    // another reason, and nothing would be shown.
    exchanges(&world, &uid, 4).await?;

    let window = Window::lasting(60 * DAY);
    let second = world.client_leaf("second", KeyKind::EcdsaP256, window)?;
    let third = world.client_leaf("third", KeyKind::EcdsaP256, window)?;
    world.api.apply(&offerable_tls(CLIENT_TLS, &second)).await?;
    let early = || (offers(&world, &uid).len() > 1).then(|| "an offer".to_owned());
    throughout("the time between the changes", BETWEEN, early).await?;
    world.api.apply(&offerable_tls(CLIENT_TLS, &third)).await?;
    shows_leaf(&world, &uid, &third).await?;
    ready(&world, 2, 1).await?;
    exchanges(&world, &uid, 1).await?;
    let all = offers(&world, &uid);
    let leaves: Vec<_> = all.iter().map(e2e::tap::Offer::leaf).collect();
    ensure!(
        leaves == [Some(first.fingerprint()), Some(third.fingerprint())],
        "{leaves:?}"
    );
    nobody_was_refused(&world)?;
    world.finish().await
}
