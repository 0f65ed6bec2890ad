//! Against an API that is made up: what a real one allows is seen in the tests
//! on a control plane. Time is paused.

mod api;

use std::time::Duration;

use opamp_operator_core::offer::Observed;

use self::api::{Cost, FakeApi, May};
use super::*;

/// Most that are watched one by one.
const MOST: usize = 500;

struct Bench {
    api: FakeApi,
    wanted: watch::Sender<Wanted>,
    observations: mpsc::Receiver<Observation>,
    next_ticket: Ticket,
    /// What was told of each: version, `absent` or `forbidden`, and whether it
    /// may be offered.
    told: BTreeMap<String, Vec<String>>,
    /// The last words of what is forbidden.
    remedies: BTreeMap<String, String>,
}

impl Bench {
    fn new(may: May) -> Self {
        Self::with(may, 2000)
    }

    /// One that may watch so many one by one.
    fn with(may: May, most: usize) -> Self {
        let (api, wanted) = (FakeApi::new(may), watch::Sender::default());
        let (sender, observations) = mpsc::channel(100_000);
        let remedy = Remedy::new("system:serviceaccount:ops:operator");
        let objects = Objects::new(api.client(), "ops", remedy, sender, most);
        tokio::spawn(objects.run(wanted.subscribe()));
        Self {
            api,
            wanted,
            observations,
            next_ticket: 0,
            told: BTreeMap::new(),
            remedies: BTreeMap::new(),
        }
    }

    /// Wants the first so many Secrets.
    fn want(&mut self, count: usize) {
        let names: BTreeSet<String> = (0..count).map(name).collect();
        self.wanted.send_modify(|wanted| {
            wanted.retain(|object, _| names.contains(&object.name));
            for name in names {
                wanted
                    .entry(ObjectRef::secret("a", name))
                    .or_insert_with(|| {
                        self.next_ticket += 1;
                        self.next_ticket
                    });
            }
        });
    }

    /// Lets time pass, and takes down what is told.
    async fn pass(&mut self, seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        while let Ok(told) = self.observations.try_recv() {
            let Observation::Object(object, _, observed) = told else {
                panic!("{told:?}");
            };
            let word = match observed {
                Observed::Present(found) => {
                    let version = found.resource_version.clone().unwrap();
                    format!(
                        "{version}{}",
                        if found.offerable { "" } else { " unlabelled" }
                    )
                }
                Observed::Absent => "absent".into(),
                Observed::Forbidden(remedy) => {
                    self.remedies.insert(object.name.clone(), remedy);
                    "forbidden".into()
                }
                Observed::Pending => panic!("nobody tells this"),
            };
            self.told.entry(object.name).or_default().push(word);
        }
    }

    fn last(&self, name: &str) -> Option<&str> {
        Some(self.told.get(name)?.last()?)
    }

    /// Everything wanted was told as it is now.
    fn knows_all(&self) {
        for object in self.wanted.borrow().keys() {
            let last = self
                .last(&object.name)
                .map(|word| word.replace(" unlabelled", ""));
            let now = self
                .api
                .version(&object.name)
                .unwrap_or_else(|| "absent".into());
            assert_eq!(last, Some(now), "{object}");
        }
    }
}

fn name(number: usize) -> String {
    format!("s{number:04}")
}

/// Each of the first so many, by its name.
fn names(count: usize) -> May {
    May::Names((0..count).map(name).collect())
}

/// All Secrets, labelled, are told; what that asked of the API.
async fn cost(may: May, count: usize) -> (Bench, Cost) {
    let mut bench = Bench::new(may);
    for number in 0..count {
        bench.api.put(&name(number), true);
    }
    bench.want(count);
    bench.pass(60).await;
    let cost = bench.api.cost();
    (bench, cost)
}

#[tokio::test(start_paused = true)]
async fn law10_what_each_mode_costs() {
    let mut lines = Vec::new();
    for count in [50, 60, 600] {
        for (mode, may) in [("label", May::All), ("names", names(count))] {
            let (bench, cost) = cost(may, count).await;
            let Cost {
                lists,
                watches,
                open,
                most_asking,
            } = cost;
            let all = format!("{count} Secrets, rights by {mode}");
            lines.push(format!(
                "{all}: {lists} lists ({most_asking} at a time), {watches} watches, {open} open"
            ));
            let by_label = mode == "label" && count > 50;
            let alone = if by_label { 0 } else { count.min(MOST) };
            assert_eq!(open, alone + usize::from(by_label), "{all}");
            // Without the right the label is tried again now and then.
            let tries = if by_label {
                1
            } else {
                usize::from(count > 50) * 10
            };
            assert!((alone..=alone + tries).contains(&lists), "{all}: {lists}");
            assert!(most_asking <= 17, "{all}: {most_asking}");
            if mode == "label" || count <= MOST {
                bench.knows_all();
            }
        }
    }
    println!("{}", lines.join("\n"));
}

/// A namespace may have 500, and there may be many namespaces.
#[tokio::test(start_paused = true)]
async fn law10_all_namespaces_together_have_so_many_watches() {
    let mut bench = Bench::with(names(80), 20);
    for number in 0..80 {
        bench.api.put(&name(number), true);
    }
    // Eight each of ten namespaces.
    bench.wanted.send_modify(|wanted| {
        for number in 0..80_u64 {
            let namespace = format!("n{}", number / 8);
            let secret = ObjectRef::secret(namespace, name(usize::try_from(number).unwrap()));
            wanted.insert(secret, number + 1);
        }
    });
    let declined = |bench: &Bench| {
        let told = |number| bench.last(&name(number)).map(|last| last == "forbidden");
        (0..80)
            .map(|number| told(number).unwrap())
            .filter(|no| *no)
            .count()
    };
    bench.pass(5).await;
    assert_eq!(bench.api.cost().open, 20);
    assert_eq!(declined(&bench), 60);
    let why = &bench.remedies[&name(79)];
    assert!(
        why.contains("20 of all namespaces (limits.watches)"),
        "{why}"
    );
    // What the operator needs itself does not wait for room.
    let own = ObjectRef::secret("ops", name(0));
    bench.wanted.send_modify(|wanted| {
        wanted.insert(own.clone(), 99);
    });
    bench.pass(5).await;
    assert_eq!(bench.api.cost().open, 21);
    bench
        .wanted
        .send_modify(|wanted| wanted.retain(|object, _| *object != own));
    bench.pass(5).await;
    assert_eq!(bench.api.cost().open, 20);
    // Those of one namespace that go make room for those of others.
    bench
        .wanted
        .send_modify(|wanted| wanted.retain(|object, _| object.namespace != "n0"));
    bench.pass(5).await;
    assert_eq!(bench.api.cost().open, 20);
    assert_eq!(declined(&bench), 52);
}

#[tokio::test(start_paused = true)]
async fn more_than_may_be_watched_one_by_one_says_which_role_helps() {
    let (mut bench, _) = cost(names(600), 600).await;
    // First come, first served: those before go on.
    for number in 0..600 {
        let declined = bench.last(&name(number)) == Some("forbidden");
        assert_eq!(declined, number >= MOST, "{number}");
    }
    let remedy = &bench.remedies[&name(599)];
    for part in [
        "kubectl create role opamp-operator-secrets -n a --verb=get,list,watch --resource=secrets`",
        "--serviceaccount=ops:operator",
    ] {
        assert!(remedy.contains(part), "{remedy}");
    }
    // One that goes makes room for another; the Role makes room for all.
    bench.want(600);
    bench
        .wanted
        .send_modify(|wanted| wanted.retain(|object, _| object.name != name(0)));
    bench.pass(5).await;
    assert_ne!(bench.last(&name(500)), Some("forbidden"));
    bench.api.allow(May::All);
    bench.pass(60).await;
    bench.knows_all();
    assert_eq!(bench.api.cost().open, 1);
    // Nobody was told twice, and those who had a watch no word of this.
    for (name, told) in &bench.told {
        let expected = if *name >= self::name(MOST) { 2 } else { 1 };
        assert_eq!(told.len(), expected, "{name}: {told:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_label_does_not_show_is_still_told_as_it_is() {
    let (mut bench, _) = cost(May::All, 60).await;
    let (bare, gone) = (name(60), name(61));
    let version = bench.api.put(&bare, false);
    bench.want(62);
    bench.pass(5).await;
    assert_eq!(bench.last(&bare), Some(&*format!("{version} unlabelled")));
    assert_eq!(bench.last(&gone), Some("absent"));
    assert_eq!(bench.api.cost().open, 3);

    // The label comes and goes: never is a Secret said to be away.
    let version = bench.api.put(&bare, true);
    bench.pass(5).await;
    assert_eq!(bench.last(&bare), Some(&*version));
    assert_eq!(bench.api.cost().open, 2, "the label shows it now");
    let version = bench.api.put(&bare, false);
    bench.pass(5).await;
    assert_eq!(bench.last(&bare), Some(&*format!("{version} unlabelled")));
    assert!(!bench.told[&bare].contains(&"absent".to_owned()));

    // A labelled one that is deleted is away, and comes back.
    let first = name(0);
    bench.api.delete(&first);
    bench.pass(5).await;
    assert_eq!(bench.last(&first), Some("absent"));
    bench.api.put(&first, true);
    bench.pass(5).await;
    bench.knows_all();
    assert_eq!(bench.told[&first].len(), 3);
}

#[tokio::test(start_paused = true)]
async fn law9_what_may_not_be_read_heals_by_itself_and_touches_nobody() {
    let mut bench = Bench::new(names(2));
    for number in 0..3 {
        bench.api.put(&name(number), true);
    }
    bench.want(3);
    bench.pass(300).await;
    let third = name(2);
    assert_eq!(bench.told[&third], ["forbidden"]);
    assert!(bench.remedies[&third].contains(&format!("--resource-name={third}")));
    bench.api.allow(names(3));
    bench.pass(60).await;
    bench.knows_all();
    assert_eq!(bench.told[&third].len(), 2);
    assert!((0..2).all(|number| bench.told[&name(number)].len() == 1));
}

/// Also what was known before, and was not written since.
#[tokio::test(start_paused = true)]
async fn law9_what_may_not_be_read_any_more_heals_without_a_write() {
    for (before, denied, objects) in [(names(3), names(0), 3), (May::All, names(0), 70)] {
        let mut bench = Bench::new(before.clone());
        for number in 0..objects {
            bench.api.put(&name(number), true);
        }
        bench.want(objects);
        bench.pass(300).await;
        bench.knows_all();
        bench.api.allow(denied);
        bench.api.cut();
        bench.pass(120).await;
        bench.api.allow(before);
        bench.pass(120).await;
        bench.knows_all();
    }
}

/// Any order of writes, rights, needs and interruptions: in the end everything
/// is known, nothing was told twice in a row, and nothing older than before.
#[tokio::test(start_paused = true)]
async fn law8_modes_that_change_lose_and_repeat_nothing() {
    for seed in 1..=15_u64 {
        let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut below = |bound: usize| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            usize::try_from(random % u64::try_from(bound).unwrap()).unwrap()
        };
        let mut bench = Bench::new(May::All);
        for number in 0..70 {
            bench.api.put(&name(number), true);
        }
        let mut denied = false;
        for _ in 0..200 {
            // Some change all the time, and are now wanted and now not.
            let one = if below(4) > 0 {
                50 + below(4)
            } else {
                below(70)
            };
            match below(16) {
                0 => bench.want(20 + below(50)),
                11 => bench.want(48 + below(8)),
                1 => bench.api.delete(&name(one)),
                2 | 3 => drop(bench.api.put(&name(one), false)),
                4 => bench.api.cut(),
                5 => {
                    denied = !denied;
                    let may = if denied { names(70) } else { May::All };
                    bench.api.allow(may);
                }
                6 => bench.pass(1 + u64::from(denied)).await,
                7..=10 => {
                    let pause = Duration::from_millis(u64::try_from(below(40)).unwrap());
                    tokio::time::sleep(pause).await;
                }
                _ => drop(bench.api.put(&name(one), true)),
            }
        }
        bench.pass(120).await;
        bench.knows_all();
        for (name, told) in &bench.told {
            let versions = told
                .iter()
                .filter_map(|word| word.split(' ').next()?.parse().ok());
            let versions: Vec<u64> = versions.collect();
            // One that was let go and wanted again is told again.
            assert!(versions.is_sorted(), "{seed} {name}: {told:?}");
        }
    }
}
