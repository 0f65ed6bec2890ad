//! Watches that wait longer each time that they fail, up to a minute. Left to
//! itself the client's watcher says of every listing that it begins, which
//! counts as a success: one that is refused would be tried again each second
//! for ever. And a watch that was refused would go on where it was: whoever
//! forgot what it knew, because it may not know it any more, would never be
//! told again.

use std::fmt::Debug;

use futures::{Stream, StreamExt as _, stream, stream::BoxStream};
use kube::{
    Api, Resource,
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Config, Event, watcher},
    },
};
use serde::de::DeserializeOwned;

use super::fault::WatchFault;

/// As the client's watcher. That a listing begins is said once it succeeds,
/// and what was refused begins with one.
pub(super) fn watch<K>(
    api: Api<K>,
    config: Config,
) -> impl Stream<Item = watcher::Result<Event<K>>> + Send
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    patient(anew(move || watcher(api.clone(), config.clone()).boxed()))
}

/// Goes on with a new watch where one was refused.
fn anew<K: Send + 'static>(
    mut begin: impl FnMut() -> BoxStream<'static, watcher::Result<Event<K>>> + Send + 'static,
) -> impl Stream<Item = watcher::Result<Event<K>>> + Send {
    let first = begin();
    stream::unfold((first, begin), |(mut events, mut begin)| async move {
        let event = events.next().await?;
        let fault = event.as_ref().err().map(WatchFault::from);
        if fault.is_some_and(|fault| matches!(fault.code, Some(401 | 403))) {
            events = begin();
        }
        Some((event, (events, begin)))
    })
}

fn patient<K: Send>(
    events: impl Stream<Item = watcher::Result<Event<K>>> + Send,
) -> impl Stream<Item = watcher::Result<Event<K>>> + Send {
    let mut begins = false;
    let events = events.flat_map(move |event| {
        let begun = std::mem::take(&mut begins);
        let said = match event {
            Ok(Event::Init) => {
                begins = true;
                Vec::new()
            }
            Ok(event) if begun => vec![Ok(Event::Init), Ok(event)],
            event => vec![event],
        };
        stream::iter(said)
    });
    events.default_backoff()
}

#[cfg(test)]
mod tests {
    use std::{pin::pin, time::Duration};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn law10_a_listing_that_is_refused_is_tried_less_and_less() {
        let refused = || Err(watcher::Error::NoResourceVersion);
        let attempt = move || stream::iter([Ok(Event::<()>::Init), refused()]);
        let mut events = pin!(patient(stream::repeat_with(attempt).flatten()));
        let start = tokio::time::Instant::now();
        let mut attempts = 0;
        while start.elapsed() < Duration::from_secs(600) {
            assert!(events.next().await.is_some_and(|event| event.is_err()));
            attempts += 1;
        }
        // Between every 30 and every 60 seconds, after a few sooner ones.
        assert!((10..=26).contains(&attempts), "{attempts}");
    }

    #[tokio::test(start_paused = true)]
    async fn law8_what_was_refused_is_listed_anew() {
        let status = kube::core::Status::failure("no", "Forbidden").with_code(403);
        let refused = watcher::Error::WatchStartFailed(kube::Error::Api(status.boxed()));
        let mut refused = Some(refused);
        // It would go on with a change of what was listed long ago.
        let mut begin = move || {
            let listing = [Ok(Event::Init), Ok(Event::InitDone)];
            let refused = refused.take().map(Err);
            let rest = stream::iter([Ok(Event::Apply(1))]);
            stream::iter(listing)
                .chain(stream::iter(refused))
                .chain(rest)
                .boxed()
        };
        let said = patient(anew(move || begin())).map(|event| match event {
            Ok(Event::Init) => "begins",
            Ok(Event::InitDone) => "done",
            Ok(_) => "change",
            Err(_) => "refused",
        });
        let said: Vec<_> = said.collect().await;
        assert_eq!(
            said,
            ["begins", "done", "refused", "begins", "done", "change"]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_listing_begins_when_it_succeeds() {
        let all = [
            Ok(Event::Init),
            Err(watcher::Error::NoResourceVersion),
            Ok(Event::Init),
            Ok(Event::InitApply(1)),
            Ok(Event::InitDone),
            Ok(Event::Apply(2)),
        ];
        let said = patient(stream::iter(all)).map(|event| match event {
            Ok(Event::Init) => "begins",
            Ok(Event::InitApply(_)) => "one",
            Ok(Event::InitDone) => "done",
            Ok(_) => "change",
            Err(_) => "refused",
        });
        let said: Vec<_> = said.collect().await;
        assert_eq!(said, ["refused", "begins", "one", "done", "change"]);
    }
}
