//! Traces: what happens of a change as spans, to an OTLP receiver. Nobody waits
//! for it: what it cannot take in time is left out and counted.

mod post;
mod rotation;
mod settings;
mod span;

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use jiff::Timestamp;
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};
use tokio_util::sync::CancellationToken;

use post::{Refused, post};
use rotation::Rotations;
pub use settings::Traces;
use span::Names;

use crate::hub::Follower;

/// Spans that wait to be sent.
const MAX_SPANS: usize = 4096;
/// As many are sent at once, and the rest of the last trace.
const AT_ONCE: usize = 512;
/// How long a receiver that did not take some is left alone.
const BETWEEN: Duration = Duration::from_secs(10);
/// How often it is said that they are not delivered.
const SAY_EVERY: Duration = Duration::from_secs(60);
/// How long the last ones may take.
const LAST: Duration = Duration::from_secs(2);
/// How often it is looked what is over.
const TICK: Duration = Duration::from_secs(1);

type Sending = Pin<Box<dyn Future<Output = (Vec<Vec<Span>>, Result<u64, Refused>)> + Send>>;

/// Sends what it is told.
pub struct Export {
    traces: Arc<Traces>,
    follower: Follower,
    rotations: Rotations,
    /// Traces, the oldest first.
    queue: VecDeque<Vec<Span>>,
    /// When the receiver is asked again.
    not_before: Instant,
    said: Option<Instant>,
    /// Spans that nobody got.
    left_out: u64,
}

impl Export {
    /// An export to where `traces` says.
    #[must_use]
    pub fn new(traces: Traces, follower: Follower) -> Self {
        let mut seed = [0; 16];
        // Without it traces are less apart from those of other processes.
        let _ = getrandom::fill(&mut seed);
        Self {
            rotations: Rotations::new(Names::new(seed), traces.ratio()),
            traces: Arc::new(traces),
            follower,
            queue: VecDeque::new(),
            not_before: Instant::now(),
            said: None,
            left_out: 0,
        }
    }

    /// Runs until `closing` is cancelled, and for as long as the last ones take.
    pub async fn run(mut self, closing: CancellationToken) {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut sending: Option<Sending> = None;
        loop {
            tokio::select! {
                () = closing.cancelled() => break,
                step = self.follower.steps.recv() => match step {
                    Some(step) => self.rotations.note(step),
                    None => break,
                },
                (sent, answer) = async {
                    match &mut sending {
                        Some(sending) => sending.await,
                        None => std::future::pending().await,
                    }
                } => {
                    sending = None;
                    self.sent(sent, answer);
                }
                _ = tick.tick() => {}
            }
            let over = self.rotations.over(Timestamp::now());
            self.wait(over);
            self.say();
            if sending.is_none() && self.not_before <= Instant::now() {
                sending = self.next();
            }
        }
        let end = Instant::now() + LAST;
        while let Ok(step) = self.follower.steps.try_recv() {
            self.rotations.note(step);
        }
        let last = self.rotations.finish();
        self.wait(last);
        while let Some(next) = sending.take().or_else(|| self.next()) {
            match timeout_at(end, next).await {
                Ok((sent, answer)) => {
                    let good = answer.is_ok();
                    self.sent(sent, answer);
                    if !good {
                        break;
                    }
                }
                Err(_) => break,
            }
        }
    }

    /// Puts traces into the queue, as far as there is room.
    fn wait(&mut self, traces: Vec<Vec<Span>>) {
        for trace in traces {
            let waiting: usize = self.queue.iter().map(Vec::len).sum();
            if waiting + trace.len() > MAX_SPANS {
                self.left_out += trace.len() as u64;
            } else {
                self.queue.push_back(trace);
            }
        }
    }

    /// The traces that are next.
    fn next(&mut self) -> Option<Sending> {
        let mut batch = Vec::new();
        while batch.iter().map(Vec::len).sum::<usize>() < AT_ONCE {
            match self.queue.pop_front() {
                Some(trace) => batch.push(trace),
                None => break,
            }
        }
        if batch.is_empty() {
            return None;
        }
        let traces = Arc::clone(&self.traces);
        Some(Box::pin(async move {
            let answer = post(&traces, batch.concat()).await;
            (batch, answer)
        }))
    }

    fn sent(&mut self, batch: Vec<Vec<Span>>, answer: Result<u64, Refused>) {
        let spans = batch.iter().map(Vec::len).sum::<usize>() as u64;
        match answer {
            Ok(rejected) => self.left_out += rejected,
            Err(Refused { why, again }) => {
                self.not_before = Instant::now() + BETWEEN;
                if again {
                    for trace in batch.into_iter().rev() {
                        self.queue.push_front(trace);
                    }
                } else {
                    self.left_out += spans;
                }
                if self.may_say() {
                    let endpoint = self.traces.endpoint();
                    tracing::warn!(%endpoint, error = why, "traces are not delivered");
                }
            }
        }
    }

    /// Says how much nobody got, now and then.
    fn say(&mut self) {
        let steps = self.follower.left_out.load(Ordering::Relaxed);
        let changes = self.rotations.left_out;
        if self.left_out + steps + changes > 0 && self.may_say() {
            self.follower.left_out.fetch_sub(steps, Ordering::Relaxed);
            self.rotations.left_out = 0;
            let spans = std::mem::take(&mut self.left_out);
            tracing::warn!(
                spans,
                steps,
                changes,
                "traces are incomplete: some are left out"
            );
        }
    }

    fn may_say(&mut self) -> bool {
        let now = Instant::now();
        let may = self.said.is_none_or(|said| said + SAY_EVERY <= now);
        if may {
            self.said = Some(now);
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::Trail;

    fn export() -> Export {
        let traces = serde_saphyr::from_str("{endpoint: 'http://localhost:1'}").unwrap();
        let (_, follower) = Trail::followed();
        Export::new(traces, follower)
    }

    fn trace(spans: usize) -> Vec<Span> {
        vec![Span::default(); spans]
    }

    #[tokio::test(start_paused = true)]
    async fn law10_what_waits_is_bounded_and_what_is_left_out_is_counted() {
        let mut export = export();
        export.wait(vec![trace(600); 7]);
        assert_eq!((export.queue.len(), export.left_out), (6, 600));
        // As many as fit into a request; they come back in their order.
        let (sent, answer) = export.next().unwrap().await;
        assert_eq!(sent.len(), 1);
        assert!(answer.as_ref().is_err_and(|refused| refused.again));
        export.sent(sent, answer);
        assert_eq!((export.queue.len(), export.left_out), (6, 600));
        assert!(export.not_before > Instant::now());
        // What will never be taken is not tried again.
        let refused = Refused {
            why: "it answers 400".into(),
            again: false,
        };
        export.sent(vec![trace(5)], Err(refused));
        export.sent(vec![trace(5)], Ok(2));
        assert_eq!((export.queue.len(), export.left_out), (6, 607));
    }

    #[tokio::test(start_paused = true)]
    async fn law10_it_is_said_once_a_minute() {
        let mut export = export();
        assert!(export.may_say());
        assert!(!export.may_say());
        tokio::time::advance(SAY_EVERY).await;
        assert!(export.may_say());
    }
}
