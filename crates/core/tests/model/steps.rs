//! What can happen.

use opamp_operator_core::fleet::Transport;
use opamp_wire::proto::ConnectionSettingsStatuses::{self, Applied, Applying, Failed};
use proptest::prelude::*;

pub(crate) const AGENTS: usize = 3;
pub(crate) const CONTENTS: usize = 6;
/// What may stand beside each.
pub(crate) const BESIDES: usize = 4;

/// With what an agent comes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shows {
    /// Crashed: what its file says.
    Bootstrap,
    /// What it was offered last, marker and all.
    Offered,
    /// The credentials of the last offer, without the marker.
    Unmarked,
    /// The certificate of the last offer, and nothing else.
    Leaf,
    /// What it was offered before the last.
    Older,
    /// What it came with the last time.
    Same,
}

/// What an agent says.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Says {
    FullState,
    Bare,
    ZeroCapabilities,
    Incapable,
    /// Full state of an agent that reports nothing of its settings.
    ReportsNothing,
    /// Full state of one that takes own telemetry too, of one that takes a part
    /// of that, and of one that takes nothing else.
    Telemetry,
    Metrics,
    OnlyTelemetry,
    /// Only what it can do: telemetry too.
    BareTelemetry,
    AfterAGap,
    Report(ConnectionSettingsStatuses, Named),
    GoodBye,
}

/// Which hash a report names.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Named {
    Last,
    Before,
    /// What it was sent beside the settings for OpAMP.
    Beside,
    Unknown,
}

/// Agents and links go by number, counted modulo what there is; link 0 is the
/// newest.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    Connect {
        agent: usize,
        transport: Transport,
        shows: Shows,
        says: Option<Says>,
        sequence: u64,
    },
    /// As a supervisor does: closes and comes with what it was offered.
    Accept {
        agent: usize,
        leaves_the_old_link: bool,
    },
    /// New settings again and again, and each time the agent takes them.
    Rotate {
        agent: usize,
        times: usize,
    },
    /// It takes settings whose certificate ends, and comes with nothing else
    /// when it has.
    ComeLate {
        agent: usize,
    },
    /// It proves by its report alone, and then speaks of own telemetry.
    ByReport {
        agent: usize,
    },
    /// Full state at an interval, on the newest link.
    Poll {
        agent: usize,
        every: u64,
        times: usize,
    },
    Say {
        agent: usize,
        link: usize,
        says: Says,
    },
    Close {
        agent: usize,
        link: usize,
    },
    Refresh {
        agent: usize,
        link: usize,
    },
    /// Waits for the time that the core named, and asks it again.
    Follow {
        agent: usize,
    },
    /// Several instances speak on a link.
    Share {
        agent: usize,
        link: usize,
    },
    /// Somebody else claims the instance UID.
    Stranger {
        agent: usize,
    },
    Tick,
    Wait(u64),
    WallClockJumps(i64),
    Publish {
        content: usize,
    },
    /// The same, for the server of another.
    SendAway {
        content: usize,
    },
    /// It goes where it is sent, stays away, and perhaps only knocks.
    Depart {
        agent: usize,
        knocks: bool,
    },
    /// What stands beside the settings for OpAMP is another.
    Beside {
        beside: usize,
    },
    Pause(bool),
    OpenToNobody,
    OpenTo {
        agent: usize,
    },
    OpenToEveryone,
    /// Another profile is the best for the agents, or the only one.
    Select {
        profile: usize,
        alone: bool,
    },
    /// The records are written.
    Save,
    Restart {
        stale: bool,
    },
}

impl Step {
    /// Of which steps it consists, if it does.
    pub(crate) fn story(self) -> Vec<Self> {
        match self {
            Self::Rotate { agent, times } => {
                let once = |time: usize| {
                    let content = time % CONTENTS;
                    [Self::Wait(20), Self::Publish { content }, accept(agent)]
                };
                (0..times).flat_map(once).collect()
            }
            Self::Poll {
                agent,
                every,
                times,
            } => {
                let (link, says) = (0, Says::FullState);
                let once = |_| [Self::Wait(every), Self::Say { agent, link, says }];
                (0..times).flat_map(once).collect()
            }
            Self::ByReport { agent } => {
                let come = |says, sequence| Self::Connect {
                    agent,
                    transport: Transport::WebSocket,
                    shows: Shows::Bootstrap,
                    says: Some(says),
                    sequence,
                };
                let leave = Self::Close { agent, link: 0 };
                let (link, says) = (0, Says::Telemetry);
                vec![
                    Self::Wait(700),
                    Self::Beside { beside: 1 },
                    come(Says::FullState, 0),
                    leave,
                    Self::Wait(20),
                    come(Says::Report(Applied, Named::Last), 500),
                    Self::Say { agent, link, says },
                    leave,
                    Self::Wait(700),
                    come(Says::Report(Applied, Named::Beside), 500),
                ]
            }
            Self::Depart { agent, knocks } => {
                let come = |says| Self::Connect {
                    agent,
                    transport: Transport::WebSocket,
                    shows: Shows::Bootstrap,
                    says,
                    sequence: 0,
                };
                let leave = Self::Close { agent, link: 0 };
                let mut all = vec![
                    Self::Wait(700),
                    Self::SendAway { content: 3 },
                    come(Some(Says::FullState)),
                    leave,
                    Self::Tick,
                    Self::Wait(125),
                    Self::Tick,
                ];
                if knocks {
                    all.extend([come(None), leave, Self::Tick]);
                }
                all.push(come(Some(Says::FullState)));
                all
            }
            Self::ComeLate { agent } => vec![
                Self::Wait(20),
                Self::Publish {
                    content: CONTENTS - 1,
                },
                accept(agent),
                Self::Close { agent, link: 0 },
                Self::Wait(2 * 86_400),
                Self::Publish { content: 0 },
                Self::Connect {
                    agent,
                    transport: Transport::WebSocket,
                    shows: Shows::Leaf,
                    says: Some(Says::FullState),
                    sequence: 0,
                },
            ],
            _ => Vec::new(),
        }
    }
}

fn accept(agent: usize) -> Step {
    Step::Accept {
        agent,
        leaves_the_old_link: false,
    }
}

pub(crate) fn transport() -> impl Strategy<Value = Transport> {
    prop_oneof![3 => Just(Transport::WebSocket), 1 => Just(Transport::Http)]
}

pub(crate) fn seconds() -> impl Strategy<Value = u64> {
    prop::sample::select(vec![
        1, 5, 14, 15, 45, 60, 125, 310, 700, 4_000, 30_000, 86_400,
    ])
}

fn says() -> impl Strategy<Value = Says> {
    let status = prop::sample::select(vec![Applied, Applying, Failed]);
    let named = prop::sample::select(vec![
        Named::Last,
        Named::Last,
        Named::Before,
        Named::Beside,
        Named::Unknown,
    ]);
    prop_oneof![
        6 => Just(Says::FullState),
        3 => Just(Says::Bare),
        1 => Just(Says::ZeroCapabilities),
        1 => Just(Says::Incapable),
        1 => Just(Says::ReportsNothing),
        3 => Just(Says::Telemetry),
        1 => Just(Says::Metrics),
        1 => Just(Says::OnlyTelemetry),
        2 => Just(Says::BareTelemetry),
        1 => Just(Says::AfterAGap),
        1 => Just(Says::GoodBye),
        6 => (status, named).prop_map(|(status, named)| Says::Report(status, named)),
    ]
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    let agent = || 0..AGENTS;
    let link = || prop::sample::select(vec![0_usize, 0, 0, 1, 2]);
    let shows = prop_oneof![
        2 => Just(Shows::Bootstrap),
        3 => Just(Shows::Offered),
        1 => Just(Shows::Unmarked),
        1 => Just(Shows::Leaf),
        1 => Just(Shows::Older),
        2 => Just(Shows::Same),
    ];
    let says_first = prop::option::weighted(0.9, says());
    let sequence = prop::sample::select(vec![0_u64, 1, 500]);
    let connect = (agent(), transport(), shows, says_first, sequence).prop_map(
        |(agent, transport, shows, says, sequence)| Step::Connect {
            agent,
            transport,
            shows,
            says,
            sequence,
        },
    );
    let accept = (agent(), any::<bool>()).prop_map(|(agent, leaves_the_old_link)| Step::Accept {
        agent,
        leaves_the_old_link,
    });
    let say =
        (agent(), link(), says()).prop_map(|(agent, link, says)| Step::Say { agent, link, says });
    let rotate = (agent(), 2..14_usize).prop_map(|(agent, times)| Step::Rotate { agent, times });
    let every = prop::sample::select(vec![10, 30, 100, 310]);
    let poll = (agent(), every, 2..8_usize).prop_map(|(agent, every, times)| Step::Poll {
        agent,
        every,
        times,
    });
    prop_oneof![
        1 => rotate,
        2 => poll,
        1 => agent().prop_map(|agent| Step::ComeLate { agent }),
        1 => agent().prop_map(|agent| Step::ByReport { agent }),
        8 => connect,
        5 => accept,
        8 => say,
        5 => (agent(), link()).prop_map(|(agent, link)| Step::Close { agent, link }),
        3 => (agent(), link()).prop_map(|(agent, link)| Step::Refresh { agent, link }),
        8 => agent().prop_map(|agent| Step::Follow { agent }),
        1 => (agent(), link()).prop_map(|(agent, link)| Step::Share { agent, link }),
        1 => agent().prop_map(|agent| Step::Stranger { agent }),
        3 => Just(Step::Tick),
        8 => seconds().prop_map(Step::Wait),
        1 => prop::sample::select(vec![-86_400, -60, 60, 86_400]).prop_map(Step::WallClockJumps),
        6 => (0..CONTENTS).prop_map(|content| Step::Publish { content }),
        2 => (0..CONTENTS).prop_map(|content| Step::SendAway { content }),
        2 => (agent(), any::<bool>()).prop_map(|(agent, knocks)| Step::Depart { agent, knocks }),
        2 => (0..BESIDES).prop_map(|beside| Step::Beside { beside }),
        1 => any::<bool>().prop_map(Step::Pause),
        1 => Just(Step::OpenToNobody),
        1 => agent().prop_map(|agent| Step::OpenTo { agent }),
        3 => Just(Step::OpenToEveryone),
        1 => (0..2_usize, any::<bool>())
            .prop_map(|(profile, alone)| Step::Select { profile, alone }),
        1 => Just(Step::Save),
        2 => any::<bool>().prop_map(|stale| Step::Restart { stale }),
    ]
}
