//! Connections and authentication.

use super::{
    Applies::{Both, WebSocket},
    Row, row,
};

pub(crate) const ROWS: &[Row] = &[
    row(
        Both,
        "C01",
        "M",
        "answers 401 when authentication fails: before an upgrade, and to each HTTP request",
        "503 instead while not everybody who could judge was heard.",
    ),
    row(
        WebSocket,
        "C02",
        "M",
        "ends a connection with a Close",
        "1001 when the server ends; the TCP connection after the answer, or 5 s.",
    ),
    row(
        Both,
        "C03",
        "P",
        "may end or refuse a second connection of an agent",
        "Both stay; the newest gets the offers, and the end of the other is not the agent's.",
    ),
    row(
        WebSocket,
        "C04",
        "M",
        "answers an agent's Close at once",
        "Also while a refused agent is kept waiting.",
    ),
];
