//! The front door, byte by byte.

use std::sync::Arc;

use lambda_http::request::RequestContext;
use lambda_http::{Body, Request, RequestExt, Response};
use serde_json::{Value, json};
use tidegate_cloud::{Backend, FrontDoor, MAX_BODY_BYTES, OPERATOR_ARN, OperatorKey};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::Outcome;
use crate::conversation::{ask, say};

const KEY: &str = "0123456789abcdef";

/// Answers with what it was asked, except on the paths that misbehave.
struct Echo;

impl Backend for Echo {
    async fn call(&self, request: Request) -> Response<Body> {
        match request.raw_http_path() {
            "/panic" => panic!("as the test asked"),
            "/slow" => tokio::time::sleep(std::time::Duration::from_secs(20)).await,
            "/dated" => {
                let response = Response::builder().header("date", "never").header("transfer-encoding", "chunked");
                return response.body(Body::from("{}")).expect("these are headers");
            }
            "/binary" => return Response::new(Body::from(vec![0xff, 0x00])),
            "/nothing" => return Response::new(Body::Empty),
            _ => {}
        }
        let mut response = Response::new(Body::from(seen(&request).to_string()));
        response.headers_mut().insert("content-type", lambda_http::http::HeaderValue::from_static("application/json"));
        response
    }
}

/// What a service sees of a request.
fn seen(request: &Request) -> Value {
    let RequestContext::ApiGatewayV2(context) = request.request_context() else {
        return Value::Null;
    };
    let headers = request.headers();
    let header = |name: &str| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    json!({
        "method": request.method().as_str(),
        "path": request.uri().path(),
        "rawPath": request.raw_http_path(),
        "query": request.query_string_parameters().first("q"),
        "body": match request.body() {
            Body::Text(text) => json!({ "text": text }),
            Body::Binary(bytes) => json!({ "binary": bytes }),
            _ => Value::Null,
        },
        "authorization": header("authorization"),
        "x-twice": header("x-twice"),
        "x-utf8": header("x-utf8"),
        "x-broken": header("x-broken"),
        "userArn": context.authorizer.as_ref().and_then(|authorizer| authorizer.iam.as_ref()?.user_arn.clone()),
        "requestId": context.request_id,
        "sourceIp": context.http.source_ip,
        "userAgent": context.http.user_agent,
        "time": context.time,
        "timeEpoch": context.time_epoch,
    })
}

async fn front_door() -> Result<FrontDoor, Box<dyn std::error::Error + Send + Sync>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    Ok(FrontDoor::serve(listener, OperatorKey::parse(KEY)?, Arc::new(Echo)))
}

#[tokio::test]
async fn a_service_sees_what_api_gateway_would_show_it() -> Outcome {
    let door = front_door().await?;
    let url = format!("{}/v1/updates/1.2.3%2Bbuild?q=a%20b", door.url());
    let headers = [("User-Agent", "lamp/1.0"), ("X-Twice", "one"), ("X-Twice", "two"), ("Authorization", "bearer tok")];
    let answer = ask("POST", &url, &headers, b"{\"id\":1}").await?;
    assert_eq!(answer.status, 200);
    let seen: Value = serde_json::from_slice(&answer.body)?;
    assert_eq!(seen["method"], "POST");
    assert_eq!(seen["rawPath"], "/v1/updates/1.2.3+build");
    assert_eq!(seen["query"], "a b");
    assert_eq!(seen["body"]["text"], "{\"id\":1}");
    assert_eq!(seen["authorization"], "bearer tok");
    assert_eq!(seen["x-twice"], "one,two");
    assert_eq!(seen["userArn"], Value::Null);
    assert_eq!(seen["sourceIp"], "127.0.0.1");
    assert_eq!(seen["userAgent"], "lamp/1.0");
    assert_eq!(seen["requestId"].as_str(), answer.header("apigw-requestid"));

    let now_ms = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_millis();
    let age_ms = now_ms.abs_diff(u128::try_from(seen["timeEpoch"].as_i64().unwrap_or_default())?);
    assert!(age_ms < 60_000, "{seen}");
    let time = seen["time"].as_str().unwrap_or_default();
    assert!(time.len() == "21/Nov/2026:04:28:00 +0000".len() && time.ends_with(" +0000"), "{time}");
    Ok(())
}

#[tokio::test]
async fn every_request_has_its_own_id() -> Outcome {
    let door = front_door().await?;
    let first = ask("GET", &format!("{}/v1/check", door.url()), &[], b"").await?;
    let second = ask("GET", &format!("{}/v1/check", door.url()), &[], b"").await?;
    assert_ne!(first.header("apigw-requestid"), second.header("apigw-requestid"));
    Ok(())
}

#[tokio::test]
async fn a_body_that_is_not_text_arrives_as_bytes() -> Outcome {
    let door = front_door().await?;
    let answer = ask("POST", &format!("{}/v1/report", door.url()), &[], &[0xff, 0x00, 0x7f]).await?;
    let seen: Value = serde_json::from_slice(&answer.body)?;
    assert_eq!(seen["body"], json!({ "binary": [0xff, 0x00, 0x7f] }));
    let binary = ask("GET", &format!("{}/binary", door.url()), &[], b"").await?;
    assert_eq!((binary.body.as_slice(), binary.header("content-length")), ([0xff, 0x00].as_slice(), Some("2")));
    Ok(())
}

#[tokio::test]
async fn content_length_is_spelled_so_and_is_never_the_last_header() -> Outcome {
    let door = front_door().await?;
    for path in ["/v1/check", "/healthz", "/v1/products/lamp", "/panic", "/dated", "/nothing", "/%zz"] {
        let answer = ask("POST", &format!("{}{path}", door.url()), &[], b"{}").await?;
        let names = answer.header_names();
        assert!(names.contains(&"Content-Length"), "{path}: {}", answer.head);
        assert_eq!(names.last(), Some(&"Date"), "{path}: {}", answer.head);
        assert!(!names.iter().any(|name| name.eq_ignore_ascii_case("transfer-encoding")), "{path}: {}", answer.head);
        let length = answer.header("content-length").and_then(|length| length.parse().ok());
        assert_eq!(length, Some(answer.body.len()), "{path}");
    }
    Ok(())
}

#[tokio::test]
async fn an_operator_route_needs_the_operator_key() -> Outcome {
    let door = front_door().await?;
    let url = format!("{}/v1/products/lamp/updates", door.url());
    let refused: [&[(&str, &str)]; 4] = [
        &[],
        &[("Authorization", "Bearer 0123456789abcdeF")],
        &[("Authorization", "0123456789abcdef")],
        &[("Authorization", "Bearer ")],
    ];
    for headers in refused {
        let answer = ask("GET", &url, headers, b"").await?;
        assert_eq!((answer.status, answer.text().as_str()), (403, r#"{"message":"Forbidden"}"#), "{headers:?}");
    }
    let answer = ask("GET", &url, &[("Authorization", &format!("Bearer {KEY}"))], b"").await?;
    let seen: Value = serde_json::from_slice(&answer.body)?;
    assert_eq!(seen["userArn"], OPERATOR_ARN);
    assert_eq!(seen["authorization"], Value::Null, "the key goes no further than the door");
    Ok(())
}

#[tokio::test]
async fn no_spelling_of_an_operator_route_gets_past_the_key() -> Outcome {
    let door = front_door().await?;
    let spellings = [
        "/v1/%70roducts/lamp",
        "/v1/check/../products/lamp",
        "/v1/check/%2e%2e/products/lamp",
        "/v1/check/%252e%252e/products/lamp",
        "/v1/./products/lamp",
        "/v1%2Fproducts%2Flamp",
        "/v1%5Cproducts%5Clamp",
        "/v1/prod%09ucts/lamp",
        "/v1/prod%0Aucts/lamp",
    ];
    for spelling in spellings {
        let answer = ask("GET", &format!("{}{spelling}", door.url()), &[], b"").await?;
        assert!([400, 403].contains(&answer.status), "{spelling}: {} {}", answer.status, answer.text());
    }
    Ok(())
}

#[tokio::test]
async fn the_key_opens_nothing_but_operator_routes() -> Outcome {
    let door = front_door().await?;
    let headers = [("Authorization", format!("Bearer {KEY}"))];
    let answer = ask("GET", &format!("{}/v1/check", door.url()), &[("Authorization", &headers[0].1)], b"").await?;
    let seen: Value = serde_json::from_slice(&answer.body)?;
    assert_eq!(seen["userArn"], Value::Null);
    Ok(())
}

#[tokio::test]
async fn healthz_is_answered_at_the_door() -> Outcome {
    let door = front_door().await?;
    let answer = ask("GET", &format!("{}/healthz", door.url()), &[], b"").await?;
    assert_eq!((answer.status, answer.text().as_str()), (200, r#"{"ok":true}"#));
    Ok(())
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused() -> Outcome {
    let door = front_door().await?;
    let url = format!("{}/v1/report", door.url());
    let too_large = r#"{"message":"Request Entity Too Large"}"#;
    let announced = (MAX_BODY_BYTES + 1).to_string();
    let answer = ask("POST", &url, &[("Content-Length", &announced)], b"").await?;
    assert_eq!((answer.status, answer.text().as_str()), (413, too_large));

    // Without a length the door finds out by reading.
    let host = url.trim_start_matches("http://").split('/').next().unwrap_or_default();
    let mut request = format!(
        "POST /v1/report HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n",
        MAX_BODY_BYTES + 1
    );
    request.push_str(&"x".repeat(MAX_BODY_BYTES + 1));
    let answer = say(&url, request.as_bytes()).await?;
    assert_eq!((answer.status, answer.text().as_str()), (413, too_large));

    let answer = ask("POST", &url, &[], &vec![b'x'; MAX_BODY_BYTES + 5_000_000]).await?;
    assert_eq!((answer.status, answer.text().as_str()), (413, too_large), "the sender gets to read the answer");
    let answer = ask("POST", &url, &[], &vec![b'x'; MAX_BODY_BYTES]).await?;
    assert_eq!(answer.status, 200);
    Ok(())
}

#[tokio::test]
async fn hostile_requests_are_answered_and_the_door_stays_open() -> Outcome {
    let door = front_door().await?;
    let hostile: [&[u8]; 9] = [
        b"GET / HTTP/1.1\r\nHost: [::\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 1.2.3.999\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a b\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a/../b?c#d\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n",
        b"GET http://other/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET //// HTTP/1.1\r\nHost: x\r\nX-Forwarded-Proto: ://\r\nConnection: close\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"not HTTP at all\r\n\r\n",
    ];
    for request in hostile {
        let answer = say(&door.url(), request).await?;
        assert!((200..500).contains(&answer.status), "{}: {}", String::from_utf8_lossy(request), answer.head);
    }
    let answer = ask("GET", &format!("{}/healthz", door.url()), &[], b"").await?;
    assert_eq!(answer.status, 200);
    Ok(())
}

#[tokio::test]
async fn a_header_that_is_not_utf_8_is_left_out() -> Outcome {
    let door = front_door().await?;
    let request =
        b"GET /v1/check HTTP/1.1\r\nHost: x\r\nX-Utf8: \xc3\xbc\r\nX-Broken: \xff\r\nConnection: close\r\n\r\n";
    let answer = say(&door.url(), request).await?;
    let seen: Value = serde_json::from_slice(&answer.body)?;
    assert_eq!(seen["x-utf8"], "ü");
    assert_eq!(seen["x-broken"], Value::Null);
    Ok(())
}

#[tokio::test]
async fn neither_a_panic_nor_a_slow_answer_holds_up_anybody_else() -> Outcome {
    let door = front_door().await?;
    let host = door.url().replace("http://", "");
    let mut waiting = tokio::net::TcpStream::connect(&host).await?;
    waiting.write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await?;
    let answer = ask("GET", &format!("{}/panic", door.url()), &[], b"").await?;
    assert_eq!((answer.status, answer.text().as_str()), (500, r#"{"message":"Internal Server Error"}"#));
    let answer = ask("GET", &format!("{}/v1/check", door.url()), &[], b"").await?;
    assert_eq!(answer.status, 200);
    Ok(())
}

#[tokio::test]
async fn a_shutdown_lets_an_idle_connection_go_at_once() -> Outcome {
    let door = front_door().await?;
    let _idle = tokio::net::TcpStream::connect(door.url().replace("http://", "")).await?;
    let address = door.url().replace("http://", "");
    let began = std::time::Instant::now();
    door.shutdown().await;
    assert!(began.elapsed() < std::time::Duration::from_millis(1500), "took {:?}", began.elapsed());
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
    Ok(())
}
