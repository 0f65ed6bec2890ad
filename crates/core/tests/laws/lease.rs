//! One writer: never two holders of a Lease, whatever their clocks show and
//! however long their requests take.

use std::time::Duration;

use opamp_operator_core::lease::{Claim, Seen, Step, Terms};
use proptest::prelude::*;

/// The Lease as the API server has it.
#[derive(Default)]
struct Server {
    stored: Option<Seen>,
    writes: u64,
}

impl Server {
    /// A conditional write, as the API server judges it.
    fn write(&mut self, version: Option<&str>, holder: Option<&str>) -> Option<String> {
        if self.stored.as_ref().map(|seen| seen.version.as_str()) != version {
            return None;
        }
        self.writes += 1;
        let version = self.writes.to_string();
        self.stored = Some(Seen {
            version: version.clone(),
            holder: holder.map(Into::into),
            lasts: Terms::default().lasts,
        });
        Some(version)
    }
}

/// A request between a process and the API server.
#[derive(Clone)]
enum Request {
    Read,
    Write(Option<String>, Option<String>),
}

enum Answer {
    Read(Option<Seen>),
    Written(Option<String>),
}

struct Process {
    name: &'static str,
    claim: Claim,
    /// Its clock begins here and runs at this rate.
    offset: Duration,
    rate: f64,
    /// Sent, when by its own clock, and perhaps answered.
    flight: Option<(Request, Duration, Option<Answer>)>,
    /// Nobody waits for these any more, but they may still land.
    adrift: Vec<Request>,
}

impl Process {
    fn new(name: &'static str, offset: u64, rate: f64) -> Self {
        Self {
            name,
            claim: Claim::new(name.into(), Terms::default()),
            offset: Duration::from_secs(offset),
            rate,
            flight: None,
            adrift: Vec::new(),
        }
    }

    fn clock(&self, time: Duration) -> Duration {
        self.offset + time.mul_f64(self.rate)
    }

    fn leads(&self, time: Duration) -> bool {
        self.claim.leads_until(self.clock(time)).is_some()
    }

    fn act(&mut self, server: &mut Server, act: Act, time: Duration) {
        let now = self.clock(time);
        match act {
            Act::Begin => {
                let request = match self.claim.next(now) {
                    Step::Read => Request::Read,
                    Step::Claim(version) => Request::Write(version, Some(self.name.into())),
                    Step::Wait(_) => return,
                };
                self.flight = Some((request, now, None));
            }
            Act::Land => {
                if let Some((request, _, answer @ None)) = &mut self.flight {
                    *answer = Some(land(server, request));
                }
            }
            Act::Answer => match self.flight.take() {
                Some((_, _, Some(Answer::Read(seen)))) => self.claim.observe(seen, now),
                Some((_, sent, Some(Answer::Written(Some(version))))) => {
                    self.claim.claimed(version, sent, now);
                }
                Some((_, _, Some(Answer::Written(None)))) => self.claim.outrun(now),
                waiting => self.flight = waiting,
            },
            Act::GiveUp => {
                if let Some((request, _, answer)) = self.flight.take() {
                    if answer.is_none() {
                        self.adrift.push(request);
                    }
                    self.claim.failed(now);
                }
            }
            Act::LandLate => {
                if let Some(request) = self.adrift.pop() {
                    land(server, &request);
                }
            }
            Act::Release => {
                if let Some(version) = self.claim.release(now) {
                    server.write(Some(&version), None);
                }
            }
            Act::GoOn => {
                let next = match &self.flight {
                    None => Act::Begin,
                    Some((_, _, None)) => Act::Land,
                    Some((_, _, Some(_))) => Act::Answer,
                };
                self.act(server, next, time);
            }
        }
    }
}

fn land(server: &mut Server, request: &Request) -> Answer {
    match request {
        Request::Read => Answer::Read(server.stored.clone()),
        Request::Write(version, holder) => {
            Answer::Written(server.write(version.as_deref(), holder.as_deref()))
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Act {
    /// The next of the three.
    GoOn,
    Begin,
    Land,
    Answer,
    GiveUp,
    LandLate,
    Release,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        60 => Just(Act::GoOn),
        2 => Just(Act::GiveUp),
        2 => Just(Act::LandLate),
        1 => Just(Act::Release),
    ]
}

/// Which process acts, how, and how many milliseconds pass before each: a
/// process that is not chosen is one that stands still.
fn steps() -> impl Strategy<Value = Vec<(usize, Vec<(Act, u64)>)>> {
    let pause = prop_oneof![30 => 0..900_u64, 4 => 2_000..6_000_u64, 1 => 6_000..40_000_u64];
    let run = prop::collection::vec((act(), pause), 1..60);
    prop::collection::vec((0..2_usize, run), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn law8_two_processes_never_hold_the_lease_at_a_time(
        steps in steps(),
        offsets in (0..1_000_000_u64, 0..1_000_000_u64),
        rates in (0.9..1.1_f64, 0.9..1.1_f64),
    ) {
        let mut server = Server::default();
        let mut processes = [
            Process::new("a", offsets.0, rates.0),
            Process::new("b", offsets.1, rates.1),
        ];
        let mut time = Duration::ZERO;
        let runs = steps.into_iter();
        let steps = runs.flat_map(|(who, run)| run.into_iter().map(move |(act, pause)| (who, act, pause)));
        for (who, act, pause) in steps {
            time += Duration::from_millis(pause);
            processes[who].act(&mut server, act, time);
            prop_assert!(
                !processes.iter().all(|process| process.leads(time)),
                "both hold it at {time:?}",
            );
        }
    }
}

/// Runs a process that everything goes well for, in steps of a quarter second,
/// until it leads; how long that took.
fn until_it_leads(process: &mut Process, server: &mut Server, from: Duration) -> Duration {
    let mut time = from;
    while !process.leads(time) {
        for _ in 0..3 {
            process.act(server, Act::GoOn, time);
        }
        time += Duration::from_millis(250);
        assert!(time < from + Duration::from_secs(60), "it never leads");
    }
    time.saturating_sub(from)
}

#[test]
fn law8_the_next_one_leads_within_the_lease_and_soon_after_a_release() {
    let terms = Terms::default();
    let mut server = Server::default();
    let (mut a, mut b) = (Process::new("a", 7, 1.0), Process::new("b", 90, 1.0));
    let none = until_it_leads(&mut a, &mut server, Duration::ZERO);
    assert!(none <= Duration::from_secs(1), "{none:?}");
    // The first one is killed: it never renews again.
    let killed = until_it_leads(&mut b, &mut server, none);
    let most = terms.lasts + terms.retry + Duration::from_secs(1);
    assert!(terms.lasts <= killed && killed <= most, "{killed:?}");
    // The second one ends in order.
    let time = none + killed;
    b.act(&mut server, Act::Release, time);
    assert!(!b.leads(time), "it writes nothing more");
    let mut c = Process::new("c", 0, 1.0);
    let released = until_it_leads(&mut c, &mut server, time);
    assert!(released <= terms.retry, "{released:?}");
}

#[test]
fn law8_a_holder_that_cannot_renew_stops_before_others_begin() {
    let terms = Terms::default();
    assert!(terms.retry < terms.deadline && terms.deadline < terms.lasts);
    let mut server = Server::default();
    let mut a = Process::new("a", 3, 1.0);
    let begun = until_it_leads(&mut a, &mut server, Duration::ZERO);
    let (mut time, mut tried) = (begun, 0);
    while a.leads(time) {
        time += terms.retry;
        a.act(&mut server, Act::Begin, time);
        tried += u32::from(a.flight.is_some());
        a.act(&mut server, Act::GiveUp, time);
    }
    assert!(tried >= 3, "{tried}");
    let stopped = time.saturating_sub(begun);
    assert!(stopped <= terms.deadline, "{stopped:?}");
    // Nobody took it meanwhile: it has it back as soon as it is answered.
    let again = until_it_leads(&mut a, &mut server, time);
    assert!(again <= terms.retry + Duration::from_secs(1), "{again:?}");
}
