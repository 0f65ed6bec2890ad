//! Plain HTTP over both versions of TLS and of HTTP, with gzip both ways.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, body::Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use opamp_operator::{hub::Unknown, server::Limits};
use opamp_wire::{
    Encoding, Message as _, decompress, gzip,
    proto::{AgentToServer, ServerToAgent},
};
use rustls::{ProtocolVersion, SupportedProtocolVersion, version};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::client::TlsStream;

use crate::{
    offers::{OFFERED, candidate, profile, target},
    world::{SOON, TOKEN, World, hello},
};

fn request(message: &AgentToServer, version: http::Version) -> Request<Full<Bytes>> {
    let path = if version == http::Version::HTTP_2 {
        "https://localhost/v1/opamp"
    } else {
        "/v1/opamp"
    };
    Request::post(path)
        .version(version)
        .header("host", "localhost")
        .header("authorization", format!("Bearer {TOKEN}"))
        .header("content-type", "application/x-protobuf")
        .header("content-encoding", "gzip")
        .header("accept-encoding", "gzip")
        .body(Full::new(gzip(&message.encode_to_vec()).into()))
        .unwrap()
}

async fn send(
    stream: TlsStream<TcpStream>,
    http_version: http::Version,
    message: &AgentToServer,
) -> Response<Incoming> {
    let (io, request) = (TokioIo::new(stream), request(message, http_version));
    let answer = async {
        if http_version == http::Version::HTTP_2 {
            let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), io);
            let (mut sender, connection) = handshake.await.unwrap();
            tokio::spawn(connection);
            sender.send_request(request).await.unwrap()
        } else {
            let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
            tokio::spawn(connection);
            sender.send_request(request).await.unwrap()
        }
    };
    timeout(SOON, answer).await.expect("an answer in time")
}

#[tokio::test]
async fn t01_t03_t07_t10_http_an_offer_over_each_version_of_tls_and_http_compressed_both_ways() {
    let world = World::trusting(Limits::default()).await;
    let hub = &world.hub;
    hub.book
        .publish_candidates(vec![candidate()], Unknown::default());
    let target = target(hub.clock.now());
    hub.book.publish_target(&profile(), Some(target));
    let tls: [(&'static SupportedProtocolVersion, _); 2] = [
        (&version::TLS12, ProtocolVersion::TLSv1_2),
        (&version::TLS13, ProtocolVersion::TLSv1_3),
    ];
    let http: [(&[u8], _); 2] = [
        (b"h2", http::Version::HTTP_2),
        (b"http/1.1", http::Version::HTTP_11),
    ];
    let mut uid = 0;
    for (offered, negotiated) in tls {
        for (alpn, http_version) in http {
            uid += 1;
            let stream = world.tls_with(offered, alpn).await;
            let session = stream.get_ref().1;
            assert_eq!(session.protocol_version(), Some(negotiated));
            assert_eq!(session.alpn_protocol(), Some(alpn));
            let response = send(stream, http_version, &hello(uid)).await;
            assert_eq!(
                (response.status(), response.version()),
                (http::StatusCode::OK, http_version)
            );
            let headers = response.headers().clone();
            assert_eq!(headers["content-type"], "application/x-protobuf");
            assert_eq!(headers["content-encoding"], "gzip");
            let body = response.into_body().collect().await.unwrap().to_bytes();
            let body = decompress(Encoding::Gzip, &body, 1 << 20).unwrap();
            let message = ServerToAgent::decode(body).unwrap();
            let settings = message.connection_settings.unwrap().opamp.unwrap();
            let headers = settings.headers.unwrap().headers;
            assert!(headers.iter().any(|header| header.value.contains(OFFERED)));
        }
    }
}
