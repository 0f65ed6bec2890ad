//! How messages are carried.

use super::{
    Applies::{Both, Http, WebSocket},
    Row, row,
};

pub(crate) const ROWS: &[Row] = &[
    row(
        Both,
        "T01",
        "S",
        "serves WebSockets and plain HTTP",
        "One listener; HTTP/1.1 and HTTP/2, TLS 1.2 and 1.3.",
    ),
    row(
        Both,
        "T02",
        "S",
        "is found at port 4320 and `/v1/opamp` unless configured otherwise",
        "`listen` and `path`; nothing else is served there.",
    ),
    row(
        Both,
        "T03",
        "S",
        "goes by `Content-Type: application/x-protobuf`: with it a plain exchange, without it an upgrade",
        "Nothing else is looked at, not even the headers of an upgrade.",
    ),
    row(
        WebSocket,
        "T04",
        "S",
        "frames a message as a varint header, which is 0, and protobuf; takes any other header for malformed, and no data for an empty message",
        "An empty message is answered for what it lacks, its sender (M11).",
    ),
    row(
        WebSocket,
        "T05",
        "M",
        "limits what it receives, header included and after decompression; over it the message is malformed, and the end is Close 1009",
        "`limits.messageBytes`. No extension that compresses is agreed to. The sender gets BAD_REQUEST, waits for `limits.refusalSeconds`, and is closed.",
    ),
    row(
        WebSocket,
        "T06",
        "M",
        "limits what it sends before compression; over it nothing is sent, and that is recorded",
        "Settings over 256 KiB are no revision: `Accepted=False/OfferTooLarge`. Those over `limits.sentBytes` are offered to nobody, and the log says so; nothing else comes near it.",
    ),
    row(
        Http,
        "T07",
        "M",
        "honours `Content-Encoding`: gzip and identity",
        "Another encoding is 415, and a body that is not what it says 400.",
    ),
    row(
        Http,
        "T08",
        "M",
        "limits a request's body after decompression; over it 413",
        "`limits.messageBytes`; unpacking stops there.",
    ),
    row(
        Http,
        "T09",
        "M",
        "limits a response's body before compression; over it nothing is sent, and that is recorded",
        "As T06.",
    ),
    row(
        Http,
        "T10",
        "S",
        "compresses a response if the request says that it may",
        "gzip, for bodies of more than 512 bytes: smaller ones do not get smaller.",
    ),
    row(
        Both,
        "T11",
        "S",
        "has limits of 64 MiB that can be configured",
        "`limits.messageBytes` and `limits.sentBytes`, 1 MiB each: what agents say of themselves is far smaller.",
    ),
    row(
        Http,
        "T12",
        "S",
        "reads `OpAMP-Instance-UID` as the UUID of `instance_uid`, does without it, and refuses a contradiction",
        "A contradiction is BAD_REQUEST.",
    ),
];
