//! Plain HTTP: one message a request. The link is the sequence of polls that
//! show the same credentials and the same marker.

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use opamp_operator_core::fleet::{LinkId, Transport};
use opamp_wire::{
    BodyError, Encoding, InstanceUid, Message as _, decompress, gzip, proto::AgentToServer,
};
use tokio::time::timeout;

use super::{
    authenticate::{refusal, unavailable},
    budget::{Leave, SMALL},
    exchange::{Denied, bad_request, exchange as answer, find, join, new_uid, rename, verdict_for},
    quota::Account,
    shared::Shared,
    standing::{Standing, revoked},
    subscriptions::Subscriptions,
};
use crate::hub::Hub;

const INSTANCE_UID_HEADER: &str = "opamp-instance-uid";
/// Smaller answers do not get smaller.
const COMPRESS_ABOVE: usize = 512;

/// Serves one poll.
pub(super) async fn exchange(
    shared: &Shared,
    request: Request,
    standing: &Standing,
    account: &Account,
) -> Response {
    let (parts, body) = request.into_parts();
    // Held to the end: the message is as large as it is until then.
    let (message, _leave) = match read(shared, &parts.headers, body).await {
        Ok(read) => read,
        Err(refusal) => return *refusal,
    };
    shared.metrics.message(Transport::Http);
    let gzips = accepts_gzip(&parts.headers);
    let Ok(uid) = InstanceUid::try_from(&message.instance_uid[..]) else {
        let reply = bad_request(None, "`instance_uid` must be 16 bytes");
        return respond(&reply.to_body(), gzips);
    };
    let named = parts.headers.get(INSTANCE_UID_HEADER);
    let same = |value: &HeaderValue| value.to_str().is_ok_and(|text| text.parse() == Ok(uid));
    if !named.is_none_or(same) {
        let text = "OpAMP-Instance-UID contradicts `instance_uid` of the message";
        return respond(&bad_request(uid, text).to_body(), gzips);
    }
    if let Some(reply) = rename(uid, &message) {
        return respond(&reply.to_body(), gzips);
    }
    let hub = &shared.hub;
    let taken = shared
        .quotas
        .takes(account, hub, uid, &standing.verdict.for_uid(uid));
    match taken.and_then(|()| link(hub, uid, standing, &message)) {
        Ok((agent, id)) => {
            let mut subscriptions = Subscriptions::new(&hub.book, agent.lock().namespace());
            let heard = answer(shared, &agent, id, &mut subscriptions, &message);
            if message.agent_disconnect.is_some() || heard.is_err() {
                let mut agent = agent.lock();
                let step = agent.detach(id, hub.clock.now());
                hub.roster.note(&agent, &step.transitions);
            }
            match heard {
                Ok((mut reply, step)) => {
                    if step.rename {
                        reply.new_instance_uid = Some(new_uid());
                    }
                    respond(&reply.to_body(), gzips)
                }
                Err(denied) => deny(shared, uid, &denied),
            }
        }
        Err(denied) => deny(shared, uid, &denied),
    }
}

fn deny(shared: &Shared, uid: InstanceUid, denied: &Denied) -> Response {
    shared.metrics.denied(denied);
    tracing::info!(agent = %uid, why = %denied, "agent denied");
    let status = if denied.is_for_now() {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::FORBIDDEN
    };
    refusal(status, shared.refusal(), &denied.text())
}

/// The link that this poll continues, or a new one: a restarted sequence,
/// other credentials or another marker begin a new link.
fn link(
    hub: &Hub,
    uid: InstanceUid,
    standing: &Standing,
    message: &AgentToServer,
) -> Result<(crate::hub::SharedAgent, LinkId), Denied> {
    let now = hub.clock.now();
    let presented = &standing.presented;
    let verdict = verdict_for(&standing.verdict, uid)?;
    let shared = find(hub, uid, &verdict, now)?;
    let mut agent = shared.lock();
    if let Some(why) = revoked(hub, &agent, presented, &verdict) {
        return Err(Denied::Revoked(why));
    }
    let described = message.agent_description.is_some();
    let polls = |transport| transport == Transport::Http;
    let same = agent.links().iter().find(|l| {
        polls(l.transport)
            && l.presented == *presented
            && l.verdict.proves_nothing() == verdict.proves_nothing()
            && !(described && l.begins_anew(message.sequence_num))
    });
    if let Some(id) = same.map(|link| link.id) {
        // The same credentials may prove more than they did.
        agent.judge_again(id, verdict);
        drop(agent);
        return Ok((shared, id));
    }
    let old: Vec<_> = agent
        .links()
        .iter()
        .filter(|l| polls(l.transport))
        .map(|l| l.id)
        .collect();
    // The new one first: an agent that changes links was never gone. Nobody
    // comes in between: of two polls at once each would make a link, and the
    // one that polls go on by would not be the newest.
    let id = join(hub, &mut agent, Transport::Http, presented, verdict)?;
    for old in old {
        if !agent.gives_way(old, id) {
            continue;
        }
        let step = agent.detach(old, now);
        hub.roster.note(&agent, &step.transitions);
    }
    drop(agent);
    Ok((shared, id))
}

async fn read(
    shared: &Shared,
    headers: &HeaderMap,
    body: Body,
) -> Result<(AgentToServer, Leave), Box<Response>> {
    let limit = shared.limits.message_bytes;
    let encoding = headers
        .get(header::CONTENT_ENCODING)
        .map(|value| value.to_str().unwrap_or("?"));
    let encoding = encoding
        .map_or(Ok(Encoding::Identity), Encoding::parse)
        .map_err(|error| Box::new(refuse(shared, error)))?;
    let body = timeout(
        shared.limits.first_message(),
        Limited::new(body, limit).collect(),
    )
    .await;
    let body = match body {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            return Err(Box::new(too_large(shared)));
        }
        Ok(Err(_)) => {
            return Err(Box::new(bad(
                StatusCode::BAD_REQUEST,
                "the body ended early\n",
            )));
        }
        Err(_) => {
            return Err(Box::new(bad(
                StatusCode::REQUEST_TIMEOUT,
                "the body took too long\n",
            )));
        }
    };
    let (body, leave) = unpack(shared, encoding, &body).await?;
    // 200, as for every message that is answered: clients read no other body.
    let message = AgentToServer::decode(body).map_err(|_| {
        let text = "the body is not an OpAMP AgentToServer message";
        Box::new(respond(&bad_request(None, text).to_body(), false))
    })?;
    Ok((message, leave))
}

/// What is small is unpacked at once, anything else under the budget: how large
/// it gets is seen only then.
async fn unpack(
    shared: &Shared,
    encoding: Encoding,
    body: &[u8],
) -> Result<(Bytes, Leave), Box<Response>> {
    let limit = shared.limits.message_bytes;
    let refused = |error| Box::new(refuse(shared, error));
    match decompress(encoding, body, SMALL.min(limit)) {
        Ok(body) => return Ok((body, Leave::SMALL)),
        Err(BodyError::TooLarge { .. }) => {}
        Err(error) => return Err(refused(error)),
    }
    let Some(leave) = shared.leave(SMALL + 1).await else {
        shared.note_busy();
        let wait = shared.refusal();
        return Err(Box::new(unavailable(wait, "busy with large messages")));
    };
    let body = decompress(encoding, body, limit).map_err(refused)?;
    Ok((body, leave))
}

fn refuse(shared: &Shared, error: BodyError) -> Response {
    match error {
        BodyError::TooLarge { .. } => too_large(shared),
        BodyError::Encoding => bad(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "Content-Encoding must be gzip or identity\n",
        ),
        BodyError::Gzip => bad(
            StatusCode::BAD_REQUEST,
            "the body is not what its Content-Encoding says\n",
        ),
    }
}

fn too_large(shared: &Shared) -> Response {
    shared.note_too_large();
    bad(
        StatusCode::PAYLOAD_TOO_LARGE,
        "the message is larger than this server takes\n",
    )
}

fn bad(status: StatusCode, text: &'static str) -> Response {
    (status, text).into_response()
}

fn accepts_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter();
    let values = values.filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|item| {
        let mut parts = item.split(';').map(str::trim);
        let gzip = parts.next().is_some_and(|c| c.eq_ignore_ascii_case("gzip"));
        let weight = parts.find_map(|part| part.strip_prefix("q=")?.parse::<f32>().ok());
        gzip && weight.is_none_or(|weight| weight > 0.0)
    })
}

fn respond(body: &Bytes, gzips: bool) -> Response {
    let content_type = (header::CONTENT_TYPE, "application/x-protobuf");
    if gzips && body.len() > COMPRESS_ABOVE {
        let encoding = (header::CONTENT_ENCODING, "gzip");
        return ([content_type, encoding], gzip(body)).into_response();
    }
    ([content_type], body.clone()).into_response()
}
