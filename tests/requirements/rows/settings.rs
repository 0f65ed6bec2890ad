//! What is offered, to whom, and when.

use super::{Applies::Both, Row, row};

pub(crate) const ROWS: &[Row] = &[
    row(
        Both,
        "S01",
        "M",
        "offers `opamp` only to agents with AcceptsOpAMPConnectionSettings",
        "Law 1; there is no offer of a heartbeat alone either.",
    ),
    row(
        Both,
        "S02",
        "M",
        "offers own metrics, traces and logs each only to agents that report them",
        "Those of a profile that an agent can use go together, and not with `opamp`.",
    ),
    row(
        Both,
        "S03",
        "M",
        "offers other connections only to agents that accept them",
        "By the names that the profile gives them.",
    ),
    row(
        Both,
        "S04",
        "M",
        "sends a hash of all settings, of those that it leaves out too",
        "An HMAC over every section of the revision and the number of the attempt; where `opamp` is not among the sections, also over which ones are.",
    ),
    row(
        Both,
        "S05",
        "M",
        "offers in its answer when the reported hash differs from its own, and not when it is equal",
        "Law 5 wins: an offer that is on its way, or was just made, is not repeated.",
    ),
    row(
        Both,
        "S06",
        "M",
        "names an endpoint, a WebSocket or HTTP URL",
        "That of the profile, else `advertisedURL`.",
    ),
    row(
        Both,
        "S07",
        "S",
        "offers own telemetry in its first message, then when it changed, to a full `https` URL",
        "To an agent that is given settings for OpAMP, in the first answer after it came back with them. Plaintext only where the profile says `http://`.",
    ),
    row(
        Both,
        "S08",
        "M",
        "pushes changed settings over WebSocket, and sends them with the next poll over HTTP",
        "One agent first: the others follow its proof.",
    ),
    row(
        Both,
        "S09",
        "M",
        "retires an old credential after the agent came back with the new one, not before",
        "What was offered is recognised until a certificate's end, and for 30 days after it was replaced.",
    ),
    row(
        Both,
        "S10",
        "M",
        "chooses the heartbeat interval deliberately; 0 turns heartbeats off",
        "Law 3 wins: at least 1 s, for 0 takes some agents off line for good.",
    ),
    row(
        Both,
        "S11",
        "M",
        "sends `ca_cert` with a certificate that a CA signed",
        "Law 3 wins in `Universal`: `ca_cert` is the CA that verifies this server, for agents take it for that, and absent where the system's roots do. `Strict` is the letter.",
    ),
    row(
        Both,
        "S12",
        "M",
        "ends the connections of a revoked credential, and refuses it from then on",
        "Revoked are what the deny list names, tokens that their Secret revokes, and deleted ServiceAccounts and Pods. What merely left its object is retired: it admits nobody new.",
    ),
    row(
        Both,
        "S13",
        "–",
        "keeps a reported failure and does not offer the same hash again",
        "The agent's state is `Failed`; the same settings are tried under another hash, 10 min later or more.",
    ),
];

const UNANSWERED: &str = "No request is answered, and none is an error: see M05.";

pub(crate) const REQUESTS: &[Row] = &[
    row(
        Both,
        "R01",
        "S",
        "validates a certificate request and answers with the certificate and its CA, without a key",
        UNANSWERED,
    ),
    row(
        Both,
        "R02",
        "M",
        "answers BAD_REQUEST when it issues none",
        UNANSWERED,
    ),
    row(
        Both,
        "R03",
        "M",
        "takes no instance UID in a request but the sender's",
        UNANSWERED,
    ),
    row(
        Both,
        "R04",
        "M",
        "takes the new instance UID that it has assigned itself",
        UNANSWERED,
    ),
    row(
        Both,
        "R05",
        "P",
        "may send other settings along",
        "A profile's settings are offered beside a request as without one.",
    ),
    row(
        Both,
        "R06",
        "–",
        "takes an empty request for none",
        "As if it were not there.",
    ),
];
