//! What every answer promises, whatever it answers: a trace, security headers, and a problem document for every failure.

use serde_json::Value;

use crate::api::Answer;

/// Panics when an answer breaks a promise.
#[track_caller]
pub fn check(answer: &Answer, is_head: bool) {
    let request = &answer.request;
    let trace = answer.expect_header("traceresponse");
    assert_eq!(answer.header("traceparent"), Some(trace), "{request}");
    assert!(is_traceparent(trace), "{request}: {trace}");
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{request}");
    assert_eq!(answer.header("x-frame-options"), Some("DENY"), "{request}");
    assert!(
        answer.header("content-security-policy").is_some_and(|policy| policy.contains("default-src 'none'"))
    );
    assert!(answer.header("cache-control").is_some(), "{request}");
    if answer.status >= 400 {
        check_failure(answer, is_head);
    }
}

#[track_caller]
fn check_failure(answer: &Answer, is_head: bool) {
    let request = &answer.request;
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{request}");
    assert_eq!(answer.header("set-cookie"), None, "{request}: a failure changes no cookie");
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{request}");
    match answer.status {
        401 => assert_eq!(answer.header("www-authenticate"), Some("Bearer"), "{request}"),
        405 => assert!(!answer.expect_header("allow").is_empty(), "{request}"),
        429 | 503 => {
            let seconds = answer.expect_header("retry-after").parse::<u64>();
            assert!(seconds.is_ok_and(|seconds| seconds > 0), "{request}");
        }
        _ => {}
    }
    if !is_head {
        check_document(answer, &answer.json());
    }
}

/// RFC 9457, and the extensions.
#[track_caller]
fn check_document(answer: &Answer, document: &Value) {
    let request = &answer.request;
    let text = |member: &str| document[member].as_str().unwrap_or_default();
    assert_eq!(document["status"], answer.status, "{request}: {document}");
    assert!(!text("title").is_empty() && !text("detail").is_empty(), "{request}: {document}");
    assert_eq!(document["error"], document["detail"], "{request}: {document}");
    assert_eq!(text("traceId"), answer.trace_id(), "{request}");
    let path = request.split_once("://").and_then(|(_, rest)| rest.find('/').map(|start| &rest[start..]));
    let path = path.unwrap_or_default().split('?').next().unwrap_or_default();
    assert_eq!(text("instance"), path, "{request}");
    let code = text("code");
    let is_code = |code: &str| code.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    assert!(!code.is_empty() && is_code(code), "{request}: {document}");
    let kind = text("type");
    match answer.status {
        429 => assert!(kind.ends_with("#quota-exceeded"), "{request}: {document}"),
        503 if code == "CAPACITY" => assert!(kind.ends_with("#temporary-reduced-capacity"), "{document}"),
        _ => assert_eq!(kind, "about:blank", "{request}: {document}"),
    }
}

/// Version 00, and neither id all zeros.
fn is_traceparent(text: &str) -> bool {
    let fields: Vec<_> = text.split('-').collect();
    let [version, trace, span, flags] = fields[..] else { return false };
    let is_id = |id: &str, length| {
        id.len() == length
            && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
            && id.bytes().any(|byte| byte != b'0')
    };
    version == "00" && is_id(trace, 32) && is_id(span, 16) && matches!(flags, "00" | "01")
}
