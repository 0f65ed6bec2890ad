//! What waits to be written: of each thing only the newest, so there is never
//! more than there are things.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

pub(super) struct Latest<K, V> {
    waiting: Mutex<Waiting<K, V>>,
    changed: Notify,
}

struct Waiting<K, V> {
    /// And not before when.
    things: BTreeMap<K, (V, Instant)>,
    closing: bool,
}

impl<K: Ord + Clone, V> Latest<K, V> {
    pub(super) fn new() -> Self {
        Self {
            waiting: Mutex::new(Waiting {
                things: BTreeMap::new(),
                closing: false,
            }),
            changed: Notify::new(),
        }
    }

    /// How many wait.
    pub(super) fn depth(&self) -> usize {
        self.waiting.lock().things.len()
    }

    /// Puts a thing in the place of an older one, which `make` may look at.
    pub(super) fn put(&self, key: K, make: impl FnOnce(Option<V>) -> V) {
        let mut waiting = self.waiting.lock();
        // It keeps its turn: a stream of changes puts nothing off.
        let older = waiting.things.remove(&key);
        let turn = older.as_ref().map(|(_, at)| *at);
        let now = Instant::now();
        let thing = make(older.map(|(thing, _)| thing));
        let turn = turn.map_or(now, |turn| turn.min(now));
        waiting.things.insert(key, (thing, turn));
        drop(waiting);
        self.changed.notify_one();
    }

    /// Takes back what could not be written, unless a newer one came or nobody
    /// will try again.
    pub(super) fn put_back(&self, key: K, thing: V, at: Instant) {
        self.put_back_under(key, thing, at, |_, _| {});
    }

    /// The same, where the newer one is to be told of the older.
    pub(super) fn put_back_under(
        &self,
        key: K,
        thing: V,
        at: Instant,
        tell: impl FnOnce(&mut V, V),
    ) {
        let mut waiting = self.waiting.lock();
        let closing = waiting.closing;
        match waiting.things.get_mut(&key) {
            Some((newer, _)) => tell(newer, thing),
            None if closing => {}
            None => drop(waiting.things.insert(key, (thing, at))),
        }
    }

    /// Lets what waits out at once; then `next` ends.
    pub(super) fn close(&self) {
        self.waiting.lock().closing = true;
        self.changed.notify_one();
    }

    /// The next thing whose time has come; none once all is out and closed.
    pub(super) async fn next(&self) -> Option<(K, V)> {
        loop {
            let first = {
                let mut waiting = self.waiting.lock();
                let first = waiting.things.iter().min_by_key(|(_, (_, at))| *at);
                match first.map(|(key, (_, at))| (key.clone(), *at)) {
                    Some((key, at)) if waiting.closing || at <= Instant::now() => {
                        let (thing, _) = waiting.things.remove(&key)?;
                        return Some((key, thing));
                    }
                    None if waiting.closing => return None,
                    first => first.map(|(_, at)| at),
                }
            };
            match first {
                Some(at) => drop(timeout_at(at, self.changed.notified()).await),
                None => self.changed.notified().await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn law10_of_each_thing_only_the_newest_waits() {
        let queue = Latest::new();
        for number in 0..3 {
            queue.put("a", |_| number);
        }
        queue.put("b", |_| 9);
        assert_eq!(queue.next().await, Some(("a", 2)));
        assert_eq!(queue.next().await, Some(("b", 9)));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_put_back_waits_and_gives_way_to_what_is_newer() {
        let queue = Latest::new();
        let start = Instant::now();
        queue.put_back("a", 1, start + Duration::from_secs(5));
        assert_eq!(queue.next().await, Some(("a", 1)));
        assert!(start.elapsed() >= Duration::from_secs(5));
        queue.put("a", |_| 2);
        queue.put_back("a", 1, start);
        assert_eq!(queue.next().await, Some(("a", 2)));
    }

    #[tokio::test(start_paused = true)]
    async fn closing_lets_everything_out() {
        let queue = Latest::new();
        queue.put_back("a", 1, Instant::now() + Duration::from_secs(3600));
        queue.close();
        assert_eq!(queue.next().await, Some(("a", 1)));
        queue.put_back("a", 1, Instant::now());
        assert_eq!(queue.next().await, None);
    }
}
